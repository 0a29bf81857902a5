"""A semantic version in the words of each package manager, so that its own comparison gives semver's order.

What holds, for pre-releases made of numbers and words (`rc.1`, `alpha.beta`, `2`): where semver.org's clause 11 puts one
version before another, so does the manager; and build metadata, which semver leaves unordered, comes after the version without
it and before the next one. What does not:

- an identifier of letters and digits together (`rc1`) is compared by its number, as managers do and people mean: `rc9` comes
  before `rc10`. `rc1` and `rc.1` are the same to some of them, so a project should keep to one of the two;
- a hyphen inside a pre-release becomes a dot, since no format has hyphens to spare;
- Debian puts letters before dots, so a word must not begin with another that is also used: `a.1` comes after `alpha.1`.

apk has four words for pre-releases and none for the rest, so for apk some versions are refused, with what to write instead.

Sources: deb-version(7), rpm-version(7), vercmp(8), apk-tools' version.c, nfpm's use of each.
"""

from __future__ import annotations

import re

from nexus_oci.errors import DefinitionError
from nexus_oci.formats.package import LinuxPackage, architecture

_NUMBER = re.compile(r"[0-9]+")
_WORD = re.compile(r"[A-Za-z]+")
_COMMIT = re.compile(r"g[0-9a-f]{7,40}")
"""What the version of an untagged commit ends with; it tells versions apart and orders nothing."""
_ABOVE_NUMBERS = "9" * 15
"""To rpm and pacman a number is newer than a word; semver says the opposite. A word that may meet numbers follows this one."""
_APK_WORDS = {"alpha": "alpha", "beta": "beta", "dev": "pre_alpha", "pre": "pre", "rc": "rc"}
"""apk's suffixes in semver's order: what it has no word for, `dev`, is the alpha of a `pre`."""
_APK_LARGEST = 18
"""apk counts in 64 bits: digits that surely fit."""


def package_version(version: str, package_format: str) -> str:
    """The version field of a package, without its release: `1.0.0-rc.1+build.5` is `1.0.0~rc.1+build.5` to deb, rpm and ipk,
    `1.0.0rc.1+build.5` to pacman and `1.0.0_rc1_git5` to apk. Raises `DefinitionError` for what apk cannot say.
    """
    core, plus, build = version.partition("+")
    number, dash, pre = core.partition("-")
    identifiers = pre.replace("-", ".").split(".") if dash else []
    labels = build.replace("-", ".").split(".") if plus else []
    identifiers, labels = list(filter(None, identifiers)), list(filter(None, labels))
    if package_format == "apk":
        return number + _apk_suffixes(version, identifiers, labels)
    if package_format in ("rpm", "archlinux"):
        first = {"rpm": ("~", "~~"), "archlinux": ("", "A.")}[package_format]
        number += _in_segments(identifiers, *first)
        if labels and _NUMBER.match(labels[0]):
            labels[0] = f"b{labels[0]}"
    elif identifiers:
        number += "~" + ".".join(identifiers)
    return number + ("+" + ".".join(labels) if labels else "")


def full_version(version: str, release: str, package_format: str) -> str:
    """The version with its release, as the manager names an installed package: `1.0.0~rc.1-1` (rpm), `1.0.0_rc1-r1` (apk). A
    deb or an ipk is native and has none.
    """
    text = package_version(version, package_format)
    return text + {"rpm": f"-{release}", "archlinux": f"-{release}", "apk": f"-r{release}"}.get(package_format, "")


def file_name(package: LinuxPackage, package_format: str) -> str:
    """The customary name of a package's file.

    `srpm` is the source rpm. It holds what was compiled for one machine, so its name tells that too.
    """
    if package_format == "srpm":
        machine = architecture("rpm", package.architecture)
        return f"{package.name}-{full_version(package.version, package.release, 'rpm')}.{machine}.src.rpm"
    version = full_version(package.version, package.release, package_format)
    machine = architecture(package_format, package.architecture)
    return {
        "deb": f"{package.name}_{version}_{machine}.deb",
        "rpm": f"{package.name}-{version}.{machine}.rpm",
        "apk": f"{package.name}_{version}_{machine}.apk",
        "archlinux": f"{package.name}-{version}-{machine}.pkg.tar.zst",
        "ipk": f"{package.name}_{version}_{machine}.ipk",
    }[package_format]


def _in_segments(identifiers: list[str], before_word: str, before_number: str) -> str:
    """A pre-release for those who compare runs of letters and of digits (rpmvercmp), where a word is older than a number."""
    if not identifiers:
        return ""
    words = [identifiers[0]]
    for one in identifiers[1:]:
        if _WORD.fullmatch(one) and not _COMMIT.fullmatch(one):
            words.append(_ABOVE_NUMBERS)
        words.append(one)
    return (before_number if _NUMBER.match(words[0]) else before_word) + ".".join(words)


def _apk_suffixes(version: str, identifiers: list[str], labels: list[str]) -> str:
    """A word's number follows it, more numbers are `_p`, and those of the build metadata `_git`, which comes before `_p`. Words
    of the build metadata are left out, and all of it where apk would put it behind the word's next number.
    """
    build = "".join(f"_git{one}" for one in labels if _fits_apk(one))
    if not identifiers:
        return build
    found = re.fullmatch(r"([a-z]+)([0-9]*)", identifiers[0])
    rest = [one for one in identifiers[1:] if not _COMMIT.fullmatch(one)]
    if found and found[2]:
        rest.insert(0, found[2])
    if not found or found[1] not in _APK_WORDS or not all(map(_fits_apk, rest)):
        raise DefinitionError(
            f"apk cannot say the version {version}",
            why="before a release it knows alpha, beta, pre and rc, each with numbers after it, and nothing else",
            hint=f"call it {version.partition('-')[0]}-rc.1 (or alpha, beta, dev, pre), or leave apk out of `formats`",
        )
    if not rest:
        return f"_{_APK_WORDS[found[1]]}"
    return f"_{_APK_WORDS[found[1]]}{rest[0]}" + "".join(f"_p{one}" for one in rest[1:]) + build


def _fits_apk(text: str) -> bool:
    return bool(_NUMBER.fullmatch(text)) and len(text) <= _APK_LARGEST
