"""What two archives differ in: which file, and of it which field, line or byte."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Final, Literal

from nexus_oci.errors import ArchiveError
from nexus_oci.oci.ar import ar_members, unpacked
from nexus_oci.oci.gzip import inflated
from nexus_oci.oci.rpm import Unpack
from nexus_oci.oci.store import VerifiedReader
from nexus_oci.oci.tar import Source, TarReader
from nexus_oci.oci.tar_header import Buffer, Entry, Kind

Form = Literal["tar", "tar.gz", "tar.zst", "deb", "rpm", "bytes"]
Open = Callable[[], VerifiedReader]
_FIELDS: Final = ("kind", "target", "mode", "uid", "gid", "mtime", "xattrs", "device")
MOST_FILES: Final = 20
"""How many files that differ are looked into. A change that shows in more has one cause, which these will tell."""
MOST_CONTENT: Final = 64 << 20
"""Bytes of a file that are compared; of a larger one only digests."""
_LONGEST: Final = 160


@dataclass(frozen=True, kw_only=True)
class ArchiveDifference:
    """One thing that is not the same in two archives; `where` goes down from the archive, and may be empty for itself."""

    where: tuple[str, ...]
    field: str
    then: str
    now: str


def archive_differences(
    form: Form, then: Open, now: Open, origin: str, *, signatures: bool = True, unzstd: Unpack | None = None
) -> Iterator[ArchiveDifference]:
    """The differences of two files that are not the same; their content by what they are, else byte by byte.

    Without `signatures` those inside of packages are not looked at, and may be all that differs. `unzstd` unpacks what is
    compressed so; without it that is compared as bytes, as is what cannot be read. Raises `VerificationError` for damaged blobs.
    """
    if form == "bytes" or (form == "tar.zst" and unzstd is None):
        yield from file_differences((), _whole(then), _whole(now))
        return
    try:
        found = _causes(list(_members_differ(form, then, now, origin, signatures=signatures, unzstd=unzstd)))
    except ArchiveError:
        # It is something else than its type says: then its bytes are all that there is.
        yield from file_differences((), _whole(then), _whole(now))
        return
    if found or (form == "rpm" and not signatures):
        yield from found
    else:
        yield ArchiveDifference(
            where=(), field="encoding", then="the same files", now="the same files, written or compressed otherwise"
        )


def _causes(found: list[ArchiveDifference]) -> list[ArchiveDifference]:
    """The differences without those that follow from others, unless there are no others."""
    changed = {each.where for each in found}
    return [each for each in found if not _follows(each, changed)] or found


def _follows(each: ArchiveDifference, changed: Collection[tuple[str, ...]]) -> bool:
    """Whether a difference is in what says again how the files are: a package's lists of checksums, its size, its signature."""
    if not each.where:
        return False
    *above, path = each.where
    folder, slash, name = path.rpartition("/")
    sums = f"{folder}{slash}SHA256SUMS"
    return (
        (bool(above) and path == "md5sums")
        or each.where in ((".MTREE",), ("signatures",))
        or (path == ".PKGINFO" and each.then.startswith(("datahash = ", "size = ")))
        or path == sums
        or (name == "manifest.json" and (*above, sums) in changed)
    )


def _members_differ(
    form: Form, then: Open, now: Open, origin: str, *, signatures: bool, unzstd: Unpack | None
) -> Iterator[ArchiveDifference]:
    if form == "rpm":
        from nexus_oci.release.rpm_difference import rpm_differences

        yield from rpm_differences(then, now, origin, signatures=signatures, unzstd=unzstd)
    elif form == "deb":
        yield from _debs(then, now, origin)
    else:
        yield from _tars((), _tar(form, then, origin, unzstd), _tar(form, now, origin, unzstd), origin)


Tar = Callable[[], Iterator[Buffer]]


def _tar(form: Form, open_: Open, origin: str, unzstd: Unpack | None) -> Tar:
    def chunks() -> Iterator[Buffer]:
        with closing(open_()) as reader:
            if form == "tar.zst" and unzstd is not None:
                yield from unzstd(reader)
            else:
                yield from inflated(reader, origin) if form == "tar.gz" else reader

    return chunks


def _debs(then: Open, now: Open, origin: str) -> Iterator[ArchiveDifference]:
    before, after = _members(then, origin), _members(now, origin)
    for name in sorted({*before, *after}):
        if before.get(name) == after.get(name):
            continue
        if name not in before or name not in after:
            yield ArchiveDifference(
                where=(), field=name, then="there" if name in before else "", now="there" if name in after else ""
            )
        elif ".tar" in name:
            yield from _tars((name,), _member(then, name, origin), _member(now, name, origin), origin)
        else:
            yield ArchiveDifference(where=(name,), field="content", then=before[name][:12], now=after[name][:12])


def _members(open_: Open, origin: str) -> dict[str, str]:
    """The digest of each member of a Debian package."""
    with closing(open_()) as reader:
        return {name: digest_of_pieces(data) for name, data in ar_members(reader, origin)}


def _member(open_: Open, wanted: str, origin: str) -> Tar:
    def chunks() -> Iterator[Buffer]:
        with closing(open_()) as reader:
            for name, data in ar_members(reader, origin):
                if name == wanted:
                    yield from unpacked(name, data, origin)

    return chunks


def digest_of_pieces(chunks: Iterable[Buffer]) -> str:
    """The SHA-256 of data, in hexadecimal digits."""
    found = hashlib.sha256()
    for chunk in chunks:
        found.update(chunk)
    return found.hexdigest()


def _tars(where: tuple[str, ...], then: Tar, now: Tar, origin: str) -> Iterator[ArchiveDifference]:
    before, after = _listing(then(), origin), _listing(now(), origin)
    changed: list[str] = []
    for name in sorted({*before, *after}):
        if name not in before or name not in after:
            yield ArchiveDifference(
                where=where, field=shown_name(name), then="there" if name in before else "", now="there" if name in after else ""
            )
            continue
        (a, content), (b, other) = before[name], after[name]
        for field in _FIELDS:
            if getattr(a, field) != getattr(b, field):
                yield ArchiveDifference(
                    where=(*where, shown_name(name)), field=field, then=_value(field, a), now=_value(field, b)
                )
        if content != other:
            changed.append(name)
    looked_into = changed[:MOST_FILES]
    old, new = _contents(then(), looked_into, origin), _contents(now(), looked_into, origin)
    for name in looked_into:
        yield from inside_differences((*where, shown_name(name)), name, old.get(name), new.get(name), origin)
    for name in changed[MOST_FILES:]:
        yield ArchiveDifference(
            where=(*where, shown_name(name)), field="content", then=before[name][1][:12], now=after[name][1][:12]
        )
    if list(before) != list(after) and before.keys() == after.keys():
        yield ArchiveDifference(where=where, field="order of the files", then=_first(before, after), now=_first(after, before))


def inside_differences(
    where: tuple[str, ...], name: str, then: bytes | None, now: bytes | None, origin: str
) -> Iterator[ArchiveDifference]:
    """The differences of a file's content, called `name`; of a compressed one those of what is in it, where there are any."""
    if then is not None and now is not None and name.endswith((".tgz", ".gz")):
        before, after = ([b"".join(inflated([data], origin))] for data in (then, now))
        if before != after and name.endswith((".tar.gz", ".tgz")):
            yield from _tars(where, lambda: iter(before), lambda: iter(after), origin)
            return
        if before != after:
            then, now = before[0], after[0]
    yield from file_differences(where, then, now)


def _listing(chunks: Iterable[Buffer], origin: str) -> dict[str, tuple[Entry, str]]:
    """Every entry with the digest of its data, in the archive's order."""
    reader = TarReader(Source(chunks), origin=origin, allow_devices=True)
    return {entry.name: (entry, digest_of_pieces(reader.data()) if entry.kind == Kind.FILE else "") for entry in reader.entries()}


def _contents(chunks: Iterable[Buffer], wanted: Collection[str], origin: str) -> dict[str, bytes]:
    """The data of a few files; of one that is too large nothing."""
    if not wanted:
        return {}
    reader = TarReader(Source(chunks), origin=origin, allow_devices=True)
    return {
        entry.name: b"".join(map(bytes, reader.data()))
        for entry in reader.entries()
        if entry.name in wanted and entry.size <= MOST_CONTENT
    }


def _whole(open_: Open) -> bytes | None:
    """A file's bytes; None for one that is too large."""
    kept: list[bytes] = []
    size = 0
    with closing(open_()) as reader:
        for block in reader:
            size += len(block)
            if size > MOST_CONTENT:
                return None
            kept.append(block)
    return b"".join(kept)


def file_differences(where: tuple[str, ...], then: bytes | None, now: bytes | None) -> Iterator[ArchiveDifference]:
    """Of a text the first line that differs, of anything else the first byte, and the size where that differs."""
    if then is None or now is None:
        yield ArchiveDifference(where=where, field="content", then="too large to be looked into", now="")
        return
    if len(then) != len(now):
        yield ArchiveDifference(where=where, field="size", then=str(len(then)), now=str(len(now)))
    texts = _text(then), _text(now)
    if texts[0] is not None and texts[1] is not None:
        lines = texts[0].splitlines(), texts[1].splitlines()
        for number in range(max(map(len, lines))):
            before, after = (found[number] if number < len(found) else "" for found in lines)
            if before != after:
                yield ArchiveDifference(where=where, field=f"line {number + 1}", then=before[:_LONGEST], now=after[:_LONGEST])
                return
    at = next((at for at, (a, b) in enumerate(zip(then, now, strict=False)) if a != b), min(len(then), len(now)))
    yield ArchiveDifference(where=where, field=f"byte {at}", then=then[at : at + 16].hex(" "), now=now[at : at + 16].hex(" "))


def _text(data: bytes) -> str | None:
    try:
        return None if b"\0" in data else data.decode()
    except UnicodeDecodeError:
        return None


def _value(field: str, entry: Entry) -> str:
    value = getattr(entry, field)
    if field == "mode":
        return f"{value:04o}"
    if field == "xattrs":
        return ", ".join(f"{key}={data.hex()}" for key, data in value)
    return str(value)


def shown_name(name: str) -> str:
    """A file's name as text that every encoding can say."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _first(names: Mapping[str, object], others: Mapping[str, object]) -> str:
    """The first name that stands elsewhere in the other archive."""
    return shown_name(next(name for name, other in zip(names, others, strict=True) if name != other))
