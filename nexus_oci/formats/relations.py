"""Relations to other packages, written once as Debian does, in the spelling of each format; and what a package needs by itself.

Sources: deb-control(5) and Debian Policy 7; rpm's manual, "Boolean dependencies"; apk-world(5); PKGBUILD(5).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from nexus_oci.errors import DefinitionError
from nexus_oci.formats.launcher import interpreter_relations
from nexus_oci.formats.package import LinuxPackage, Relations

_ONE = re.compile(
    r"(?P<name>[^\s(:]+)(?P<architecture>:\S+)?(?:\s*\(\s*(?P<operator><<|<=|>=|>>|=)\s*(?P<version>[^\s)]+)\s*\))?"
)
_OPERATORS = {"<<": "<", ">>": ">"}


def spelled(relations: Mapping[str, Iterable[str]], package_format: str) -> Relations:
    """Relations by kind, each as in `libc6 (>= 2.36)` or `systemd | passwd`, in a format's own spelling.

    deb and ipk take them as they are, rpm has `libc6 >= 2.36` and `(systemd or passwd)`, apk and pacman `libc6>=2.36`. Those two
    have no alternatives: raises `DefinitionError` for one.
    """
    return Relations(**{kind: tuple(_spelled(one, package_format) for one in values) for kind, values in relations.items()})


def needed(package: LinuxPackage, package_format: str) -> tuple[str, ...]:
    """What the package depends on without anybody's word: the interpreter of its launcher; for a deb, who makes its user."""
    found = interpreter_relations(package.launcher.interpreter, package_format) if package.launcher else ()
    if package_format == "deb" and package.user:
        return ("passwd", *found)
    return found


def _spelled(relation: str, package_format: str) -> str:
    if package_format in ("deb", "ipk", "tar"):
        return relation
    parts = [_parsed(one) for one in relation.split("|")]
    if package_format == "rpm":
        words = [" ".join(filter(None, part)) for part in parts]
        return words[0] if len(words) == 1 else f"({' or '.join(words)})"
    if len(parts) > 1:
        raise DefinitionError(
            f"{package_format} cannot say {relation!r}",
            why="it has no alternatives between packages",
            hint=f"say under `package.overrides.{package_format}.relations` which one it is there",
        )
    return "".join(parts[0])


def _parsed(text: str) -> tuple[str, str, str]:
    """Name, operator and version; the last two are empty where none is asked for."""
    found = _ONE.fullmatch(text.strip())
    if found is None:
        raise DefinitionError(f"{text.strip()!r} is no relation to a package", hint="write it as in passwd, or libc6 (>= 2.36)")
    operator = found["operator"] or ""
    return found["name"], _OPERATORS.get(operator, operator), found["version"] or ""
