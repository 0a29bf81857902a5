"""What the lock answers, and what it says when it cannot."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

import pytest

from nexus_oci.bases.values import (
    BaseLock,
    DebianBase,
    LockedDebian,
    LockedImage,
    LockedPackage,
    RegistryBase,
    definition_checksum,
)
from nexus_oci.errors import LockError
from nexus_oci.oci.values import digest_of

BASE = DebianBase(suite="trixie", packages=("base-files", "tzdata"), exclude=("dpkg",))
PACKAGE = LockedPackage(
    name="tzdata", version="2026a-1", architecture="all", filename="pool/t/tzdata_2026a-1_all.deb", size=5, sha256="a" * 64
)
ENTRY = LockedDebian(definition=definition_checksum(BASE), epoch=7, packages=MappingProxyType({"amd64": (PACKAGE,)}))


def test_the_order_of_names_does_not_make_a_lock_stale() -> None:
    shuffled = replace(BASE, packages=("tzdata", "base-files"))
    assert definition_checksum(shuffled) == definition_checksum(BASE)


@pytest.mark.parametrize(
    "changed",
    [
        replace(BASE, suite="forky"),
        replace(BASE, packages=("base-files",)),
        replace(BASE, components=("main", "contrib")),
        replace(BASE, exclude=()),
        replace(BASE, dependencies=False),
    ],
)
def test_every_field_that_chooses_packages_makes_a_lock_stale(changed: DebianBase) -> None:
    lock = BaseLock(bases={"small": ENTRY})
    with pytest.raises(LockError, match=r"'small' has changed since images/bases\.lock was made"):
        lock.debian("small", changed, "amd64")


def test_a_lock_answers_with_the_packages_of_the_architecture() -> None:
    assert BaseLock(bases={"small": ENTRY}).debian("small", BASE, "amd64") == (ENTRY, (PACKAGE,))


def test_a_base_that_is_not_locked_is_named_with_what_to_do() -> None:
    with pytest.raises(LockError, match=r"base 'small' is not in images/bases\.lock[\s\S]*nexus-oci lock") as caught:
        BaseLock().debian("small", BASE, "amd64")
    assert caught.value.exit_code == 2


def test_an_architecture_that_is_not_locked_is_named() -> None:
    with pytest.raises(LockError, match="not locked for riscv64"):
        BaseLock(bases={"small": ENTRY}).debian("small", BASE, "riscv64")


def test_a_registry_base_answers_with_its_digest_and_not_for_another_image() -> None:
    base = RegistryBase(image="registry.example/base:1")
    digest = digest_of(b"index")
    lock = BaseLock(bases={"b": LockedImage(definition=definition_checksum(base), image=base.image, digest=digest)})
    assert lock.image("b", base).digest == digest
    with pytest.raises(LockError, match="has changed"):
        lock.image("b", RegistryBase(image="registry.example/base:2"))


def test_a_projects_lock_stands_over_the_shipped_one_base_by_base() -> None:
    own = replace(ENTRY, epoch=9)
    merged = BaseLock(bases={"a": own}).over(BaseLock(bases={"a": ENTRY, "b": ENTRY}))
    assert merged.bases == {"a": own, "b": ENTRY}
