"""Relations to other packages in each format's spelling."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nexus_oci.errors import DefinitionError
from nexus_oci.formats.package import Interpreter, Launcher, LinuxPackage
from nexus_oci.formats.relations import needed, spelled


def test_each_format_gets_its_own_spelling() -> None:
    given = {"depends": ["passwd", "libc6 (>= 2.36)"], "conflicts": ["old (<< 2)"]}
    found = {name: spelled(given, name) for name in ("deb", "rpm", "apk", "archlinux", "ipk")}
    assert found["deb"].depends == found["ipk"].depends == ("passwd", "libc6 (>= 2.36)")
    assert found["rpm"].depends == ("passwd", "libc6 >= 2.36")
    assert found["rpm"].conflicts == ("old < 2",)
    assert found["apk"] == found["archlinux"]
    assert found["apk"].depends == ("passwd", "libc6>=2.36")


def test_alternatives_are_said_where_they_can_be() -> None:
    given = {"depends": ["systemd | passwd (>= 4)"]}
    assert spelled(given, "deb").depends == ("systemd | passwd (>= 4)",)
    assert spelled(given, "rpm").depends == ("(systemd or passwd >= 4)",)
    with pytest.raises(DefinitionError, match=r"apk cannot say 'systemd \| passwd \(>= 4\)'"):
        spelled(given, "apk")


def test_what_is_no_relation_is_refused() -> None:
    with pytest.raises(DefinitionError, match="'libc6 >= 2' is no relation"):
        spelled({"depends": ["libc6 >= 2"]}, "rpm")


@pytest.mark.parametrize(
    ("interpreter", "deb", "rpm", "archlinux"),
    [
        (Interpreter(language="python", version="3.13.5", exact=True), ("python3 (>= 3.13~)", "python3 (<< 3.14~)"),
         ("python(abi) = 3.13",), ("python>=3.13", "python<3.14")),
        (Interpreter(language="python", version="3.13.5"), ("python3 (>= 3.13~)",), ("python3 >= 3.13",), ("python>=3.13",)),
        (Interpreter(language="node", version="20.19.2", exact=True), ("nodejs (>= 20~)", "nodejs (<< 21~)"),
         ("nodejs >= 20", "nodejs < 21"), ("nodejs>=20", "nodejs<21")),
        (Interpreter(language="node", version=""), ("nodejs",), ("nodejs",), ("nodejs",)),
    ],
)  # fmt: skip
def test_an_engine_of_an_interpreter_needs_it(
    package: LinuxPackage, launcher: Launcher, interpreter: Interpreter, deb: tuple[str, ...], rpm: tuple[str, ...],
    archlinux: tuple[str, ...],
) -> None:  # fmt: skip
    own = replace(package, launcher=replace(launcher, interpreter=interpreter))
    assert needed(own, "deb") == ("passwd", *deb)
    assert needed(own, "rpm") == rpm
    assert needed(own, "archlinux") == archlinux


def test_a_package_without_user_and_interpreter_needs_nothing(package: LinuxPackage) -> None:
    assert needed(replace(package, user=""), "deb") == ()
    assert needed(package, "rpm") == ()
