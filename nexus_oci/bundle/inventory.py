"""The inventory: the first entry of a bundle, which says what every other byte of it is. It is what is signed.

Its JSON has one encoding only (`canonical_json`). Sizes and offsets are bytes. An `offset` counts from the header of the entry
`oci-layout`, the first one after the inventory and its signature, so that it does not depend on how long these are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from nexus_oci.bundle.layout import Place, entry_name, place_entries
from nexus_oci.errors import NexusError, VerificationError
from nexus_oci.oci.values import Descriptor, Digest, canonical_json

MEDIA_TYPE: Final = "application/vnd.nexus-oci.bundle.inventory.v1+json"
LARGEST: Final = 64 << 20
"""Bytes of the largest inventory that is read: some 300 000 blobs."""

_MOST_SIZE: Final = 1 << 60


@dataclass(frozen=True, kw_only=True)
class File:
    """An entry that is no blob of the layout: its name in the tar, its size in bytes, its digest."""

    name: str
    size: int
    digest: Digest


@dataclass(frozen=True, kw_only=True)
class Base:
    """What a delta stands on: the name that it was computed against, and the blobs and manifests that a site must have."""

    name: str
    needed: tuple[Descriptor, ...]


@dataclass(frozen=True, kw_only=True)
class Program:
    """The program that a bundle carries: the entry, and the interpreter that it was made for."""

    name: str
    python: str
    platform: str

    def to_json(self) -> dict[str, str]:
        """The object in the inventory."""
        return {"name": self.name, "python": self.python, "platform": self.platform}


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """Everything that is in a bundle, and what it is called.

    `names` are those of a store: `TAG` of the release, `REPOSITORY:TAG` of what has a friendly name. `prefix` is the
    HOST/NAMESPACE that the release came from or was built for, `repository` the root's own repository below it. `left_out` are
    manifests of platforms that were not asked for. `contents` are in the order of the file.
    """

    release: Descriptor
    repository: str
    prefix: str
    names: Mapping[str, Descriptor]
    files: tuple[File, ...]
    contents: tuple[Descriptor, ...]
    platforms: tuple[str, ...] = ()
    left_out: tuple[Descriptor, ...] = ()
    base: Base | None = None
    program: Program | None = None
    registry_image: str | None = None

    def places(self) -> tuple[tuple[Place, ...], int]:
        """Where each file and then each content stands, and how many bytes all of them take with the tar's end."""
        entries = [(file.name, file.size) for file in self.files]
        entries += [(entry_name(content.digest), content.size) for content in self.contents]
        return place_entries(entries)

    def to_bytes(self) -> bytes:
        """The inventory as it is written and signed."""
        places, size = self.places()
        offsets = [place.offset for place in places]
        data: dict[str, Any] = {
            "schemaVersion": 1,
            "mediaType": MEDIA_TYPE,
            "release": _plain(self.release),
            "repository": self.repository,
            "prefix": self.prefix,
            "names": {name: _plain(descriptor) for name, descriptor in self.names.items()},
            "files": [
                {"name": file.name, "size": file.size, "digest": file.digest, "offset": offset}
                for file, offset in zip(self.files, offsets, strict=False)
            ],
            "contents": [
                _plain(content) | {"offset": offset}
                for content, offset in zip(self.contents, offsets[len(self.files) :], strict=True)
            ],
            "size": size,
        }
        if self.platforms:
            data["platforms"] = list(self.platforms)
            data["leftOut"] = [_plain(one) for one in self.left_out]
        if self.base is not None:
            data["base"] = {"name": self.base.name, "needed": [_plain(one) for one in self.base.needed]}
        if self.program is not None:
            data["program"] = self.program.to_json()
        if self.registry_image is not None:
            data["registryImage"] = self.registry_image
        return canonical_json(data)

    @classmethod
    def parse(cls, raw: bytes) -> Inventory:
        """Read an inventory; raises `VerificationError` for one that contradicts itself, or that is encoded otherwise.

        The places are computed anew from the names and sizes: an offset that says anything else is a lie.
        """
        try:
            data = json.loads(raw)
            if not isinstance(data, dict) or data.get("mediaType") != MEDIA_TYPE or data.get("schemaVersion") != 1:
                raise _unreadable("it is of another kind or version", "a newer nexus-oci may have made it")
            found = cls(
                release=Descriptor.from_json(data["release"]),
                repository=_text(data["repository"]),
                prefix=_text(data["prefix"]),
                names={_text(name): Descriptor.from_json(one) for name, one in sorted(data["names"].items())},
                files=tuple(_file(one) for one in data["files"]),
                contents=tuple(Descriptor.from_json(one) for one in data["contents"]),
                platforms=tuple(map(_text, data.get("platforms", ()))),
                left_out=tuple(Descriptor.from_json(one) for one in data.get("leftOut", ())),
                base=_base(data.get("base")),
                program=_program(data.get("program")),
                registry_image=data.get("registryImage"),
            )
            if max([file.size for file in found.files] + [one.size for one in found.contents], default=0) > _MOST_SIZE:
                raise _unreadable("it lists a size that no disk has")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise _unreadable(f"{type(error).__name__}: {error}"[:200]) from None
        _check(found, data, raw)
        return found


def _check(found: Inventory, data: Mapping[str, Any], raw: bytes) -> None:
    """Refuse an inventory that lists something twice, says wrong offsets, or names what is not in it."""
    entries = [file.name for file in found.files] + [entry_name(content.digest) for content in found.contents]
    if len(set(entries)) != len(entries):
        twice = next(name for name in entries if entries.count(name) > 1)
        raise _unreadable(f"it lists {twice} twice")
    places, size = found.places()
    for stated, place in zip([*data["files"], *data["contents"]], places, strict=True):
        if stated.get("offset") != place.offset:
            raise _unreadable(f"it says that {place.name} begins at {stated.get('offset')}, and it begins at {place.offset}")
    if data.get("size") != size:
        raise _unreadable(f"it says that the entries take {data.get('size')} bytes, and they take {size}")
    sizes = {content.digest: content.size for content in found.contents}
    sizes |= {one.digest: one.size for one in (*found.left_out, *(found.base.needed if found.base else ()))}
    for name, descriptor in (*found.names.items(), ("the release", found.release)):
        if sizes.get(descriptor.digest) != descriptor.size:
            raise _unreadable(f"{name} is {descriptor.digest}, of {descriptor.size} bytes, which it does not list")
    if found.to_bytes() != raw:
        raise _unreadable("it is not encoded as this program encodes it")


def _plain(descriptor: Descriptor) -> dict[str, Any]:
    return {"mediaType": descriptor.media_type, "digest": str(descriptor.digest), "size": descriptor.size}


def _file(data: Mapping[str, Any]) -> File:
    name, size = _text(data["name"]), data["size"]
    if type(size) is not int or size < 0:
        raise ValueError("a size is no number of bytes")
    if not name or "/" in name or name.startswith(".") or len(name) > 100 or not name.isascii():
        raise ValueError(f"{name!r} is no name of a file of a bundle")
    return File(name=name, size=size, digest=Digest(data["digest"]))


def _base(data: Mapping[str, Any] | None) -> Base | None:
    if data is None:
        return None
    return Base(name=_text(data["name"]), needed=tuple(Descriptor.from_json(one) for one in data["needed"]))


def _program(data: Mapping[str, Any] | None) -> Program | None:
    if data is None:
        return None
    return Program(name=_text(data["name"]), python=_text(data["python"]), platform=_text(data["platform"]))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{str(value)[:50]} is no text")
    return value


def _unreadable(why: str, hint: str | None = None) -> NexusError:
    return VerificationError(
        "the bundle's inventory cannot be believed", why=why, hint=hint or "get the bundle again from where it was made"
    )
