"""Fetching: the cache first, every byte checked, and three different ways of not getting a package told apart."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from nexus_oci.bases import fetch as fetching
from nexus_oci.bases.apt import Source
from nexus_oci.bases.commands import Finished
from nexus_oci.bases.fetch import LockedPackageGone, cached, fetch
from nexus_oci.bases.host import Host
from nexus_oci.bases.values import DebianBase, LockedPackage
from nexus_oci.errors import BuildError, UnreachableError, VerificationError

BASE = DebianBase(suite="trixie", packages=("a",))
SOURCES = (
    Source(uri="http://main.example/debian", suite="trixie"),
    Source(uri="http://security.example/debian", suite="trixie-security"),
)

Answer = Callable[[str], bytes | str]


def package(name: str, data: bytes, pool: str = "pool") -> LockedPackage:
    sha256 = hashlib.sha256(data).hexdigest()
    return LockedPackage(
        name=name, version="1+b1", architecture="all", filename=f"{pool}/{name}_1+b1_all.deb", size=len(data), sha256=sha256
    )


@pytest.fixture
def archive(monkeypatch: pytest.MonkeyPatch) -> Callable[[Answer], list[str]]:
    """Stands in for apt-helper: an address gives bytes, or what apt would say."""

    def install(answer: Answer) -> list[str]:
        asked: list[str] = []

        def run(argv: Sequence[object], **_: object) -> Finished:
            words = [str(word) for word in argv]
            arguments = words[words.index("download-file") + 1 :]
            errors = []
            for address, path in zip(arguments[::3], arguments[1::3], strict=True):
                asked.append(address)
                got = answer(address)
                if isinstance(got, bytes):
                    Path(path).write_bytes(got)
                else:
                    errors.append(f"E: Failed to fetch {address.replace('+', '%2b')}  {got}")
            return Finished(code=100 if errors else 0, output="", errors="\n".join(errors))

        monkeypatch.setattr(fetching, "run", run)
        monkeypatch.setattr(Host, "sources", lambda *_: SOURCES)
        return asked

    return install


def test_packages_come_into_the_cache_under_their_sha256(archive: Callable[[Answer], list[str]], tmp_path: Path) -> None:
    host = Host(cache=tmp_path)
    wanted = [package("a", b"A"), package("b", b"B")]
    archive(lambda address: address.rpartition("/")[2][0].upper().encode())
    fetch(BASE, wanted, host)
    assert [cached(entry, tmp_path).read_bytes() for entry in wanted] == [b"A", b"B"]
    assert sorted(path.name for path in (tmp_path / "debs").iterdir()) == sorted(entry.sha256 for entry in wanted)


def test_what_is_cached_needs_no_archive_at_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    wanted = package("a", b"A")
    cached(wanted, tmp_path).parent.mkdir()
    cached(wanted, tmp_path).write_bytes(b"A")
    monkeypatch.setattr(Host, "sources", lambda *_: pytest.fail("the archive was asked for"))
    fetch(BASE, [wanted], Host(cache=tmp_path))


def test_a_damaged_file_in_the_cache_is_fetched_again(archive: Callable[[Answer], list[str]], tmp_path: Path) -> None:
    wanted = package("a", b"A")
    cached(wanted, tmp_path).parent.mkdir()
    cached(wanted, tmp_path).write_bytes(b"x")
    archive(lambda _: b"A")
    fetch(BASE, [wanted], Host(cache=tmp_path))
    assert cached(wanted, tmp_path).read_bytes() == b"A"


def test_the_security_archive_is_asked_first_for_what_lies_in_its_pool(
    archive: Callable[[Answer], list[str]], tmp_path: Path
) -> None:
    asked = archive(lambda _: b"A")
    fetch(BASE, [package("a", b"A", pool="pool/updates")], Host(cache=tmp_path))
    assert asked == ["http://security.example/debian/pool/updates/a_1+b1_all.deb"]


def test_a_version_that_every_archive_has_dropped_is_named(archive: Callable[[Answer], list[str]], tmp_path: Path) -> None:
    asked = archive(lambda address: "404  Not Found" if "/a_" in address else b"B")
    wanted = [package("a", b"A"), package("b", b"B")]
    with pytest.raises(LockedPackageGone, match=r"locked package a 1\+b1 \(all\) is no longer on the mirror") as caught:
        fetch(BASE, wanted, Host(cache=tmp_path))
    assert caught.value.packages == (wanted[0],)
    assert caught.value.exit_code == 2
    assert len([address for address in asked if "/a_" in address]) == len(SOURCES)
    assert cached(wanted[1], tmp_path).is_file()


def test_an_archive_that_does_not_answer_is_not_a_dropped_version(archive: Callable[[Answer], list[str]], tmp_path: Path) -> None:
    archive(lambda address: "404  Not Found" if "security" in address else "Could not resolve 'main.example'")
    with pytest.raises(UnreachableError, match=r"a 1\+b1 \(all\) could not be fetched[\s\S]*Could not resolve"):
        fetch(BASE, [package("a", b"A")], Host(cache=tmp_path))


def test_other_bytes_than_the_locked_ones_are_never_kept(archive: Callable[[Answer], list[str]], tmp_path: Path) -> None:
    archive(lambda _: "Hash Sum mismatch")
    with pytest.raises(VerificationError, match="not what the lock says"):
        fetch(BASE, [package("a", b"A")], Host(cache=tmp_path))
    assert list((tmp_path / "debs").iterdir()) == []


def test_a_full_disk_is_called_that(archive: Callable[[Answer], list[str]], tmp_path: Path) -> None:
    archive(lambda _: "Error writing to file - write (28: No space left on device)")
    with pytest.raises(BuildError, match="no space left while fetching packages"):
        fetch(BASE, [package("a", b"A")], Host(cache=tmp_path))
