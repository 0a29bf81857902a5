"""The files that a package gets beside the engine's own: copyright, changelogs, overrides, manual, completions, and systemd's.

Sources: Debian's copyright-format 1.0; Debian Policy 4.4 (changelogs), 12.1 and 12.7 (compression); lintian's override format;
chglog's format, which nfpm reads; keepachangelog.com 1.1.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import format_datetime

from nexus_oci.errors import DefinitionError
from nexus_oci.formats import units
from nexus_oci.formats.launcher import launcher_script
from nexus_oci.formats.package import ARCHIVE, LinuxPackage, Shell
from nexus_oci.formats.units import one_line
from nexus_oci.formats.versions import full_version
from nexus_oci.oci.gzip import GzipWriter

COMMON_LICENCES: Mapping[str, str] = {
    "Apache-2.0": "Apache-2.0", "Artistic-1.0-Perl": "Artistic", "BSD-3-Clause": "BSD", "CC0-1.0": "CC0-1.0",
    "GFDL-1.2-only": "GFDL-1.2", "GFDL-1.3-only": "GFDL-1.3", "GPL-1.0-only": "GPL-1", "GPL-2.0-only": "GPL-2",
    "GPL-2.0-or-later": "GPL-2", "GPL-3.0-only": "GPL-3", "GPL-3.0-or-later": "GPL-3", "LGPL-2.0-only": "LGPL-2",
    "LGPL-2.1-only": "LGPL-2.1", "LGPL-2.1-or-later": "LGPL-2.1", "LGPL-3.0-only": "LGPL-3", "LGPL-3.0-or-later": "LGPL-3",
    "MPL-1.1": "MPL-1.1", "MPL-2.0": "MPL-2.0",
}  # fmt: skip
"""SPDX's name of a licence → its text in Debian's /usr/share/common-licenses."""
_LICENCE_TEXT = re.compile(r"(?:LICEN[CS]E|COPYING)(?:[.-].*)?", re.IGNORECASE)
_PAGE = re.compile(r"[A-Za-z0-9@][A-Za-z0-9@_.+:-]*\.(?P<section>[1-9])[a-z]*")
_HEADING = re.compile(r"##\s+\[?v?(?P<version>[0-9]+\.[0-9]+\.[0-9]+[^\s\]()]*)\]?(?P<rest>.*)")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")


@dataclass(frozen=True, kw_only=True)
class ChangelogEntry:
    """What changed in one version. `date` is in seconds since 1970, UTC."""

    version: str
    date: int
    changes: tuple[str, ...]


def staged_files(package: LinuxPackage, package_format: str) -> Mapping[str, tuple[bytes, int]]:
    """Every generated file of a package in one format (or `tar`), by its installed path, with its mode.

    Raises `DefinitionError` for a manual page whose name has no section.
    """
    name = package.name
    shells = {shell: _completion(package, shell, package_format) for shell in package.completions}
    files = {shells[shell]: data for shell, data in package.completions.items()}
    files |= {_manual_page(page): compressed(data) for page, data in package.manual.items()}
    files |= _systemd_files(package)
    texts = f"/usr/share/doc/{name}" if package_format in ("deb", ARCHIVE) else f"/usr/share/licenses/{name}"
    for file, data in package.licences.items():
        # Debian wants licences in the copyright file and nowhere else.
        if package_format != "deb" or not _LICENCE_TEXT.fullmatch(file):
            files[f"{texts}/{file}"] = data
    if package_format == "deb":
        files[f"/usr/share/doc/{name}/copyright"] = copyright_file(package)
        files[f"/usr/share/doc/{name}/changelog.gz"] = compressed(debian_changelog(package))
        files[f"/usr/share/lintian/overrides/{name}"] = lintian_overrides(package)
    elif package.changelog:
        files[f"/usr/share/doc/{name}/CHANGELOG.md"] = package.changelog.encode()
    found = {path: (data, 0o644) for path, data in files.items() if data}
    if package.launcher:
        found[f"/usr/bin/{package.launcher.name}"] = (launcher_script(package.launcher), 0o755)
    return found


def meta_package(package: LinuxPackage, package_format: str) -> LinuxPackage:
    """The meta-package as a package of its own: no files, and the first package in the very same version."""
    meta = package.meta
    if meta is None:
        raise DefinitionError(f"{package.name} has no meta-package", hint="describe one under `package.meta`")
    epoch = package.nfpm.get("epoch")
    version = (f"{epoch}:" if epoch else "") + full_version(package.version, package.release, package_format)
    own = f"{package.name} = {version}" if package_format == "rpm" else f"{package.name} (= {version})"
    return replace(
        package, name=meta.name, description=meta.description or package.description, section="metapackages", meta=None,
        relations=replace(meta.relations, depends=(own, *meta.relations.depends)), files=(), user="", service=None, socket=None,
        scripts={}, launcher=None, completions={}, manual={}, lintian={}, nfpm={"epoch": epoch} if epoch else {},
    )  # fmt: skip


def _completion(package: LinuxPackage, shell: Shell, package_format: str) -> str:
    program = package.program or package.name
    zsh = "vendor-completions" if package_format == "deb" else "site-functions"
    return {
        "bash": f"/usr/share/bash-completion/completions/{program}",
        "zsh": f"/usr/share/zsh/{zsh}/_{program}",
        "fish": f"/usr/share/fish/vendor_completions.d/{program}.fish",
    }[shell]


def _manual_page(file: str) -> str:
    found = _PAGE.fullmatch(file)
    if found is None:
        raise DefinitionError(f"{file!r} is no manual page", why="its name does not end with a section", hint="as in engine.8")
    return f"/usr/share/man/man{found['section']}/{file}.gz"


def _systemd_files(package: LinuxPackage) -> Mapping[str, bytes]:
    name, systemd = package.name, "/usr/lib/systemd"
    files = {
        f"/usr/lib/sysusers.d/{name}.conf": units.sysusers(package),
        f"/usr/lib/tmpfiles.d/{name}.conf": units.tmpfiles(package),
        f"{systemd}/system-preset/80-{name}.preset": units.preset(package),
        f"/usr/share/{name}/sockets.json": units.socket_manifest(package),
    }
    if package.service:
        files[f"{systemd}/system/{package.service.name}.service"] = units.service_unit(package.service, package.socket)
    if package.socket:
        files[f"{systemd}/system/{package.socket.name}.socket"] = units.socket_unit(package.socket)
    return files


def copyright_file(package: LinuxPackage) -> bytes:
    """Debian's machine-readable copyright file; the texts of licences that Debian does not have are put in."""
    lines = ["Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/", f"Upstream-Name: {package.name}"]
    if package.homepage:
        lines.append(f"Source: {package.homepage}")
    licence = package.licence or "unspecified"
    owner = one_line(package.vendor or package.maintainer)
    short = licence.replace(" AND ", " and ").replace(" OR ", " or ")
    lines += ["", "Files: *", f"Copyright: {datetime.fromtimestamp(package.epoch, UTC).year} {owner}", f"License: {short}"]
    names = [name for name in re.split(r"[\s()]+", licence) if name in COMMON_LICENCES]
    for name in names:
        lines.append(f" On Debian systems the text of {name} is in /usr/share/common-licenses/{COMMON_LICENCES[name]}.")
    for file, data in sorted(package.licences.items()) if not names else ():
        lines += [f" The file {file} says:", " .", *_continued(data.decode(errors="replace"))]
    if not names and not package.licences:
        lines.append(" No text of the licence was given.")
    return ("\n".join(lines) + "\n").encode()


def changelog_entries(package: LinuxPackage) -> tuple[ChangelogEntry, ...]:
    """What the changelog says of the package's version and those before it, newest first.

    Headings are `## [1.0.0] - 2026-01-31`; one without a date has the package's. A version of which nothing is said has one
    change: that it was released.
    """
    found: list[ChangelogEntry] = []
    for entry in _read(package.changelog, package.epoch):
        # None is newer than the one above it, which rpm would otherwise put below.
        found.append(replace(entry, date=min(entry.date, found[-1].date)) if found else entry)
    for index, entry in enumerate(found):
        if entry.version == package.version:
            return tuple(found[index:])
    own = ChangelogEntry(version=package.version, date=package.epoch, changes=(f"Release of version {package.version}.",))
    return (own, *found)


def debian_changelog(package: LinuxPackage) -> bytes:
    """The changelog of a native Debian package, not compressed."""
    parts = []
    for entry in changelog_entries(package):
        version = full_version(entry.version, package.release, "deb")
        changes = [textwrap.fill(one, 78, initial_indent="  * ", subsequent_indent="    ") for one in entry.changes]
        date = format_datetime(datetime.fromtimestamp(entry.date, UTC))
        head = f"{package.name} ({version}) unstable; urgency=medium"
        parts.append("\n".join([head, "", *changes, "", f" -- {one_line(package.maintainer)}  {date}"]))
    return ("\n\n".join(parts) + "\n").encode()


def nfpm_changelog(package: LinuxPackage) -> bytes:
    """The changelog that nfpm puts into an rpm: chglog's YAML, written as JSON."""
    entries = [
        {
            "semver": full_version(entry.version, package.release, "rpm"),
            "date": datetime.fromtimestamp(entry.date, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "packager": one_line(package.maintainer),
            "changes": [{"note": change} for change in entry.changes],
        }
        for entry in changelog_entries(package)
    ]
    return json.dumps(entries, indent=1, ensure_ascii=False).encode() + b"\n"


def lintian_overrides(package: LinuxPackage) -> bytes:
    """The file of lintian's overrides, each behind its reason; empty where nothing is overridden."""
    parts = []
    for tag, reason in sorted(package.lintian.items()):
        parts += [f"# {line}" for line in textwrap.wrap(one_line(reason), 100)]
        parts.append(f"{package.name}: {one_line(tag)}")
    return "".join(f"{line}\n" for line in parts).encode()


def compressed(data: bytes) -> bytes:
    """`data` in gzip's format as Debian wants it (highest level, no name, no time): the same bytes on every machine."""
    parts: list[bytes] = []
    with GzipWriter(parts.append, level=9, workers=1) as writer:
        writer.write(data)
    # RFC 1952: XFL 2 says that the highest level was used, which lintian looks for.
    return b"\x1f\x8b\x08\0\0\0\0\0\x02\x03" + b"".join(parts)[10:]


def _continued(text: str) -> Sequence[str]:
    """Lines of a field's continuation: an empty one is a dot."""
    return [f" {line.rstrip()}" if line.strip() else " ." for line in text.strip().splitlines()]


def _read(text: str, epoch: int) -> Iterator[ChangelogEntry]:
    version, date, changes = "", epoch, list[str]()
    for line in [*text.splitlines(), "## end"]:
        if line.startswith("## "):
            if version:
                yield ChangelogEntry(version=version, date=date, changes=tuple(changes) or (f"Release of version {version}.",))
            heading = _HEADING.match(line)
            version, changes = (heading["version"], []) if heading else ("", [])
            date = _date(heading["rest"], epoch) if heading else epoch
        elif re.match(r"\s{0,1}[-*+]\s", line):
            changes.append(_plain(line.strip()[1:]))
        elif line.startswith((" ", "\t")) and line.strip() and changes:
            changes[-1] += " " + _plain(line.strip().removeprefix("- "))
        elif line.strip() and not line.startswith(("#", "[")) and version:
            changes.append(_plain(line))


def _plain(text: str) -> str:
    return one_line(_LINK.sub(r"\1", text).replace("`", "").replace("**", ""))


def _date(text: str, epoch: int) -> int:
    found = _DATE.search(text)
    try:
        return int(datetime.fromisoformat(f"{found[0]}T00:00:00+00:00").timestamp()) if found else epoch
    except ValueError:
        return epoch
