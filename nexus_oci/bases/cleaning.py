"""From mmdebstrap's tar to a base's: what one machine or a package manager wants goes, what a container needs comes.

The result depends on the packages and the epoch alone: owners, special mode bits and times are normalised, so root
and other users, this machine and a container, today and next year give the same bytes. Packages are unpacked but not
configured; the few results of their configuration that programs look for are written here.
"""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO

from nexus_oci.errors import ArchiveError

FORMAT = 1
"""Raised with every change that gives other bytes for the same packages: it is part of a root filesystem's key."""

NONROOT = 65532
"""User and group that images run as; the number that is customary for small images."""

_HOME = "home/nonroot"
_BUNDLE = "etc/ssl/certs/ca-certificates.crt"

_KINDS = (*tarfile.REGULAR_TYPES, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE)
_DROPPED = re.compile(
    r"""(?x)
    (?: dev | proc | sys | run | tmp | boot | media | mnt | srv
        | var/(?: backups | cache | local | lock | log | mail | opt | run | spool | tmp ) )/.+
    | etc/(?: hostname | hosts | resolv\.conf | machine-id | fstab | mtab | motd | issue(?:\.net)? | \.pwd\.lock )
    | etc/(?: apt | dpkg | cron\.[a-z]+ | default | init\.d | rc[0-9S]\.d | logrotate\.d | skel | systemd | profile\.d
            | update-motd\.d | ca-certificates | emacs | bash_completion\.d )(?:/.*)?
    | var/lib/(?: apt | dpkg | systemd | ucf )(?:/.*)?
    | usr/lib/(?: systemd | tmpfiles\.d | sysusers\.d | init )(?:/.*)?
    | usr/share/(?: man | info | lintian | bug | doc-base | menu | pixmaps | applications | icons | bash-completion
            | zsh | fish | locale | base-files | binfmts | initramfs-tools | gdb | emacs )(?:/.*)?
    | usr/lib/[^/]+/gconv/(?!gconv-modules|(?:ANSI_X3\.110|CP1252|ISO8859-15?|UTF-(?:7|16|32))\.so\Z).+
    | usr/(?:lib|share)/go-[0-9.]+/(?: api | test )(?:/.*)?
    | usr/share/zoneinfo/(?: posix | right )(?:/.*)?
    | usr/share/doc/[^/]+/(?!copyright\Z).*
    | .*\.py[co]
    """
)
"""What no base keeps; of libc's character sets the everyday ones stay. The licences
in usr/share/doc/*/copyright and usr/share/common-licenses stay."""

_UNUSABLE = re.compile(r"usr/share/ca-certificates(?:/.*)?|usr/sbin/update-ca-certificates")
"""What only serves to make the bundle of certificate authorities again, which needs the program openssl."""

_DIRECTORIES: Mapping[str, int] = {
    "dev": 0o755,
    "etc": 0o755,
    "home": 0o755,
    "proc": 0o555,
    "root": 0o700,
    "run": 0o755,
    "sys": 0o555,
    "tmp": 0o1777,
    "var": 0o755,
    "var/cache": 0o755,
    "var/lib": 0o755,
    "var/log": 0o755,
    "var/tmp": 0o1777,
}
"""Directories that every base has, and their modes."""

_LINKS: Mapping[str, str] = {"var/lock": "/run/lock", "var/run": "/run"}
"""Links that base-files would make."""

_FILES: Mapping[str, str] = {
    "etc/passwd": (
        "root:x:0:0:root:/root:/sbin/nologin\n"
        "nobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin\n"
        f"nonroot:x:{NONROOT}:{NONROOT}:nonroot:/{_HOME}:/sbin/nologin\n"
    ),
    "etc/group": f"root:x:0:\ntty:x:5:\nstaff:x:50:\nnogroup:x:65534:\nnonroot:x:{NONROOT}:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nnetworks: files\n",
}

_ALTERNATIVES: Mapping[str, tuple[str, ...]] = {
    "usr/bin/awk": ("mawk", "gawk", "original-awk"),
    "usr/bin/c++": ("g++", "clang++"),
    "usr/bin/cc": ("gcc", "clang"),
    "usr/bin/nawk": ("mawk", "gawk", "original-awk"),
    "usr/bin/nc": ("nc.openbsd", "nc.traditional"),
    "usr/bin/pager": ("less",),
    "usr/bin/vi": ("vim.tiny", "nvi"),
    "usr/bin/which": ("which.debianutils", "which.gnu"),
}
"""Links that update-alternatives would make, and what they may name, best first."""


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """What a package says of itself: its control stanza, and the md5sums of its files."""

    name: str
    control: bytes
    md5sums: bytes


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """One entry of the result. A file's bytes are `data`, or those of `origin` in mmdebstrap's tar."""

    kind: bytes
    mode: int
    link: str = ""
    data: bytes = b""
    origin: tarfile.TarInfo | None = None
    owner: int = 0
    mtime: int | None = None


def clean(raw: IO[bytes], output: IO[bytes], packages: Sequence[Metadata], epoch: int) -> None:
    """Write the base's tar to `output`, sorted by name. Raises `ArchiveError` where `raw` is no tar."""
    try:
        with (
            tarfile.open(fileobj=raw, mode="r:") as source,
            tarfile.open(fileobj=output, mode="w", format=tarfile.PAX_FORMAT) as target,
        ):
            entries = _kept(source)
            entries |= {name: _Entry(kind=tarfile.DIRTYPE, mode=mode) for name, mode in _DIRECTORIES.items()}
            entries |= {name: _file(text.encode()) for name, text in _FILES.items()}
            entries |= {name: _symlink(to) for name, to in _LINKS.items()}
            entries[_HOME] = _Entry(kind=tarfile.DIRTYPE, mode=0o700, owner=NONROOT)
            entries |= _alternatives(entries)
            entries |= _authorities(source, entries)
            if "usr/bin/openssl" not in entries:
                entries = {name: entry for name, entry in entries.items() if not _UNUSABLE.fullmatch(name)}
            entries |= _status(entries, packages)
            entries |= _parents(entries)
            _write(source, entries, target, epoch)
    except tarfile.TarError as error:
        raise ArchiveError("mmdebstrap's tar cannot be read", why=str(error)) from error


def _kept(source: tarfile.TarFile) -> dict[str, _Entry]:
    """What stays of mmdebstrap's tar; owner and special bits go, and nobody but the owner may write."""
    entries: dict[str, _Entry] = {}
    for member in source:
        name = _plain(member.name)
        if name and member.type in _KINDS and not _DROPPED.fullmatch(name):
            directory = member.isdir()
            entries[name] = _Entry(
                kind=member.type,
                mode=0o777 if member.issym() else member.mode & 0o755,
                link=_plain(member.linkname) if member.islnk() else member.linkname,
                origin=None if directory or member.issym() else member,
                mtime=None if directory else int(member.mtime),
            )
    return entries


def _plain(name: str) -> str:
    """A member's name with nothing before its first directory; empty for the root itself."""
    path = name.removeprefix("./").strip("/")
    return "" if path == "." else path


def _file(data: bytes) -> _Entry:
    return _Entry(kind=tarfile.REGTYPE, mode=0o644, data=data)


def _symlink(target: str) -> _Entry:
    return _Entry(kind=tarfile.SYMTYPE, mode=0o777, link=target)


def _alternatives(entries: Mapping[str, _Entry]) -> dict[str, _Entry]:
    """The links of update-alternatives whose program is there."""
    links = {}
    for name, choices in _ALTERNATIVES.items():
        there = [choice for choice in choices if f"{name.rpartition('/')[0]}/{choice}" in entries]
        if there and name not in entries:
            links[name] = _symlink(there[0])
    return links


def _authorities(source: tarfile.TarFile, entries: Mapping[str, _Entry]) -> dict[str, _Entry]:
    """The bundle of certificate authorities, and the links by which OpenSSL's defaults find it."""
    pattern = re.compile(r"usr/share/ca-certificates/.*\.crt")
    names = sorted(name for name, entry in entries.items() if entry.origin is not None and pattern.fullmatch(name))
    if not names:
        return {}
    parts = (_read(source, entries[name]).rstrip(b"\n") + b"\n" for name in names)
    made = {_BUNDLE: _file(b"".join(parts))}
    if any(re.fullmatch(r"(?:usr/)?lib/(?:[^/]+/)?libssl\.so\.\d+", name) for name in entries):
        links = {"usr/lib/ssl/cert.pem": f"/{_BUNDLE}", "usr/lib/ssl/certs": "/etc/ssl/certs"}
        made |= {name: _symlink(target) for name, target in links.items() if name not in entries}
    return made


def _status(entries: Mapping[str, _Entry], packages: Sequence[Metadata]) -> dict[str, _Entry]:
    """One control stanza and one list of checksums a package, where scanners of small images look for them."""
    made = {}
    for package in packages:
        lines = (line for line in package.md5sums.splitlines(keepends=True))
        kept = b"".join(line for line in lines if line[34:].strip().decode(errors="replace") in entries)
        made[f"var/lib/dpkg/status.d/{package.name}"] = _file(package.control)
        made[f"var/lib/dpkg/status.d/{package.name}.md5sums"] = _file(kept)
    return made


def _parents(entries: Mapping[str, _Entry]) -> dict[str, _Entry]:
    """The directories that files stand in and that nothing else brought."""
    needed = {name[:at] for name in entries for at, sign in enumerate(name) if sign == "/"}
    return {name: _Entry(kind=tarfile.DIRTYPE, mode=0o755) for name in needed - entries.keys()}


def _read(source: tarfile.TarFile, entry: _Entry) -> bytes:
    content = source.extractfile(entry.origin) if entry.origin else None
    return content.read() if content else entry.data


def _write(source: tarfile.TarFile, entries: Mapping[str, _Entry], target: tarfile.TarFile, epoch: int) -> None:
    """All entries in the order of their names. Of hard-linked names the first carries the bytes."""
    first: dict[str, str] = {}
    for name, entry in sorted(entries.items()):
        info = tarfile.TarInfo(name)
        info.type, info.mode, info.linkname = entry.kind, entry.mode, entry.link
        info.uid = info.gid = entry.owner
        info.mtime = epoch if entry.mtime is None else min(entry.mtime, epoch)
        if entry.origin is None:
            info.size = len(entry.data)
            target.addfile(info, io.BytesIO(entry.data) if entry.data else None)
            continue
        partner = first.setdefault(entry.link or name, name)
        if partner != name:
            info.type, info.linkname = tarfile.LNKTYPE, partner
            target.addfile(info)
            continue
        content = source.extractfile(entry.origin)
        if content is None:
            raise ArchiveError(f"mmdebstrap's tar has no bytes for {name}")
        info.type, info.linkname, info.size = tarfile.REGTYPE, "", content.seek(0, io.SEEK_END)
        content.seek(0)
        target.addfile(info, content)
