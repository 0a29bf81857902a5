"""What two rpm packages differ in: which tag of the header, or which file, and of it which field, line or byte.

What follows from something else is not told again: sizes and digests of files, of the payload and of the whole package.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import closing
from typing import Any, Final

from nexus_oci.oci.rpm import Header, Unpack, read_rpm
from nexus_oci.release.tree_difference import (
    MOST_CONTENT,
    MOST_FILES,
    ArchiveDifference,
    Open,
    digest_of_pieces,
    inside_differences,
    shown_name,
)

_FILES: Final = {
    1030: "mode",
    1033: "device",
    1034: "mtime",
    1036: "target",
    1037: "flags",
    1039: "user",
    1040: "group",
    1045: "verify flags",
    1097: "language",
    5010: "capabilities",
}
"""Tags that have a value for each file, and what they say of it."""
_BASENAMES, _DIRECTORIES, _INDEXES, _DIGESTS = 1117, 1118, 1116, 1035
_DIGEST: Final = "digest"
_FOLLOW: Final = frozenset(
    {63, 1009, 1027, 1028, 1035, 1095, 1096, 1141, 1140, 1142, 1143, 271, 5009, 5011, 5092, 5093, 5097, 5098, 5099}
    | {_BASENAMES, _DIRECTORIES, _INDEXES}
)
"""Tags that say again what the files say, or where they are: sizes, digests, inodes, classes."""
_SIGNATURES: Final = frozenset({256, 259, 261, 262, 267, 268, 278, 1002, 1005})
"""Tags of signatures proper; what else is in their header are sizes and digests."""
_NAMES: Final = {
    1000: "name",
    1001: "version",
    1002: "release",
    1003: "epoch",
    1004: "summary",
    1005: "description",
    1006: "build time",
    1007: "build host",
    1011: "vendor",
    1014: "license",
    1015: "packager",
    1016: "group",
    1020: "url",
    1021: "os",
    1022: "architecture",
    1023: "script before installation",
    1024: "script after installation",
    1025: "script before removal",
    1026: "script after removal",
    1044: "source package",
    1047: "provides",
    1048: "requirements' flags",
    1049: "requires",
    1050: "requirements' versions",
    1054: "conflicts",
    1064: "rpm version",
    1080: "times of the change log",
    1081: "names in the change log",
    1082: "change log",
    1090: "obsoletes",
    1113: "versions of what is provided",
    1151: "script before the transaction",
    1152: "script after the transaction",
}


def rpm_differences(
    then: Open, now: Open, origin: str, *, signatures: bool, unzstd: Unpack | None = None
) -> Iterator[ArchiveDifference]:
    """The differences of two packages; without `signatures` nobody asks who signed them. Raises `ArchiveError`.

    Where nobody unpacks the payload, files are compared by the digests in the header.
    """
    before, contents = _read(then, origin, unzstd)
    after, others = _read(now, origin, unzstd)
    if signatures:
        a, b = ({tag: before_or[0].get(tag) for tag in _SIGNATURES} for before_or in (before, after))
        if a != b:
            yield ArchiveDifference(where=("signatures",), field="signature", then=_signed(a), now=_signed(b))
    for tag in sorted({*before[1], *after[1]} - _FOLLOW - _FILES.keys()):
        values = before[1].get(tag), after[1].get(tag)
        if values[0] != values[1]:
            yield ArchiveDifference(
                where=("header",), field=_NAMES.get(tag, f"tag {tag}"), then=_shown(values[0]), now=_shown(values[1])
            )
    old, new = _attributes(before[1]), _attributes(after[1])
    changed: list[str] = []
    for name in sorted({*old, *new}):
        if name not in old or name not in new:
            yield ArchiveDifference(
                where=(), field=shown_name(name), then="there" if name in old else "", now="there" if name in new else ""
            )
            continue
        for field in sorted({*old[name], *new[name]}):
            was, is_now = old[name].get(field), new[name].get(field)
            if was != is_now:
                yield ArchiveDifference(
                    where=(shown_name(name),), field=field, then=_value(field, was), now=_value(field, is_now)
                )
        if contents.get(name) != others.get(name):
            changed.append(name)
    looked_into = changed[:MOST_FILES]
    first, second = _contents(then, looked_into, origin, unzstd), _contents(now, looked_into, origin, unzstd)
    for name in changed:
        if name in first and name in second:
            yield from inside_differences((shown_name(name),), name, first[name], second[name], origin)
        else:
            was, is_now = contents.get(name, ""), others.get(name, "")
            yield ArchiveDifference(where=(shown_name(name),), field="content", then=was[:12], now=is_now[:12])


def _read(open_: Open, origin: str, unzstd: Unpack | None) -> tuple[tuple[Header, Header], dict[str, str]]:
    """The headers of a package, and the digest of each file's data."""
    with closing(open_()) as reader:
        found = read_rpm(reader, origin, unzstd)
        headers = found.signatures, found.header
        if found.files is None:
            said = _attributes(found.header, {_DIGESTS: _DIGEST})
            return headers, {name: str(each.get(_DIGEST, "")) for name, each in said.items()}
        return headers, {name: digest_of_pieces(data) for name, data in found.files}


def _contents(open_: Open, wanted: Collection[str], origin: str, unzstd: Unpack | None) -> dict[str, bytes]:
    """The data of a few files; of one that is too large nothing."""
    kept: dict[str, bytes] = {}
    if wanted:
        with closing(open_()) as reader:
            for name, data in read_rpm(reader, origin, unzstd).files or ():
                if name in wanted:
                    pieces: list[bytes] = []
                    size = 0
                    for piece in data:
                        size += len(piece)
                        if size > MOST_CONTENT:
                            break
                        pieces.append(bytes(piece))
                    else:
                        kept[name] = b"".join(pieces)
    return kept


def _attributes(header: Header, tags: Mapping[int, str] = _FILES) -> dict[str, dict[str, Any]]:
    """What the header says of each file, by its path without a slash in front; `tags` has the field's name for each tag."""
    names, folders = header.get(_BASENAMES, ()), header.get(_DIRECTORIES, ())
    places = header.get(_INDEXES, ())
    found: dict[str, dict[str, Any]] = {}
    for number, (name, place) in enumerate(zip(names, places, strict=False)):
        folder = folders[place] if place < len(folders) else ""
        found[f"{folder}{name}".lstrip("/")] = {
            field: header[tag][number] for tag, field in tags.items() if number < len(header.get(tag, ()))
        }
    return found


def _value(field: str, value: object) -> str:
    if value is None:
        return ""
    return f"{value:06o}" if field == "mode" and isinstance(value, int) else str(value)


def _shown(values: tuple[Any, ...] | None) -> str:
    words = (value.hex() if isinstance(value, bytes) else str(value) for value in values or ())
    return ", ".join(words)[:160]


def _signed(values: Mapping[int, tuple[Any, ...] | None]) -> str:
    kinds = [str(tag) for tag in sorted(values) if values[tag]]
    return f"signed, tags {', '.join(kinds)}" if kinds else ""
