"""Reads layers and archives once, streamed, and lays them over one another as a container engine does.

OCI image-spec 1.1, layer.md: `.wh.NAME` takes NAME of the layers below away, `.wh..wh..opq` everything in its folder. Of a file
only digests are kept, the text of those that describe packages, and what a program or a JAR says of its parts.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import IO, Final

from nexus_oci.oci.tar import Source, TarReader
from nexus_oci.oci.tar_header import Buffer, Entry, Kind
from nexus_oci.sbom.model import File, Part
from nexus_oci.sbom.programs import is_program, parts_of

Watch = Callable[[Entry, Iterator[memoryview]], Iterator[memoryview]]
"""Sees every entry of a layer, whiteouts too, with its data, all of which it hands on."""
_WHITEOUT: Final = ".wh."
_OPAQUE: Final = ".wh..wh..opq"
_MOST_TEXT: Final = 32 << 20
"""Bytes of a file that describes packages; dpkg's status of a full desktop has a tenth of that."""
_DESCRIBING: Final = re.compile(
    r"""(?x)
    var/lib/dpkg/(?: status | status\.d/[^/]+ | info/[^/]+\.(?:list|md5sums) )
    | usr/share/doc/[^/]+/copyright
    | (?:etc|usr/lib)/os-release
    | (?:.*/)?[^/]+\.dist-info/(?: METADATA | RECORD )
    | (?:.*/)?[^/]+\.egg-info(?: /PKG-INFO )?
    | (?:.*/)?node_modules/(?:@[^/]+/)?[^/]+/package\.json
    """
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One path: a file with its digests, a link with its target, or a folder. `text` is of files that describe packages."""

    kind: Kind
    file: File | None = None
    target: str = ""
    text: bytes = b""
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Layer:
    """What one layer brings, by path, and what it takes away of those below."""

    nodes: Mapping[str, Node]
    removed: frozenset[str] = frozenset()
    emptied: frozenset[str] = frozenset()


@dataclass(kw_only=True)
class Tree:
    """The files that are there in the end."""

    nodes: dict[str, Node] = field(default_factory=dict)

    @classmethod
    def of_files(cls, files: Iterable[File]) -> Tree:
        """A tree of files of which nothing is known but their digests."""
        return cls(nodes={file.path: Node(kind=Kind.FILE, file=file) for file in files})

    def files(self) -> Iterator[File]:
        """The regular files, by path."""
        for _, node in sorted(self.nodes.items()):
            if node.file is not None:
                yield node.file

    def texts(self, pattern: re.Pattern[str]) -> Iterator[tuple[re.Match[str], str]]:
        """The files that describe packages whose whole path matches, by path, with their text."""
        for path, node in sorted(self.nodes.items()):
            if node.file is not None and (match := pattern.fullmatch(path)):
                yield match, node.text.decode("utf-8", "replace")

    def real(self, path: str) -> str:
        """The path with the links among its folders followed; itself where they lead nowhere."""
        done: list[str] = []
        rest = [part for part in path.split("/") if part]
        for _ in range(64):
            if not rest:
                break
            part = rest.pop(0)
            if part == "..":
                done = done[:-1]
                continue
            node = self.nodes.get("/".join([*done, part]))
            if node is not None and node.kind == Kind.SYMLINK and rest:
                if node.target.startswith("/"):
                    done = []
                rest = [step for step in node.target.split("/") if step not in ("", ".")] + rest
            else:
                done.append(part)
        return "/".join([*done, *rest])


def read_layer(chunks: Iterable[Buffer], *, origin: str, watch: Watch | None = None) -> Layer:
    """Everything in an uncompressed tar; raises `ArchiveError` where it is none. `watch` looks at the entries as they pass."""
    reader = TarReader(Source(chunks), origin=origin, allow_devices=True)
    nodes: dict[str, Node] = {}
    removed: set[str] = set()
    emptied: set[str] = set()
    for entry in reader.entries():
        name = entry.name
        folder, _, last = name.rpartition("/")
        data = reader.data() if entry.kind == Kind.FILE else iter(())
        if watch is not None:
            data = watch(entry, data)
        if entry.kind != Kind.FILE or last.startswith(_WHITEOUT):
            for _ in data:
                pass
        if last == _OPAQUE:
            emptied.add(folder)
        elif last.startswith(_WHITEOUT):
            removed.add(f"{folder}/{last[len(_WHITEOUT) :]}" if folder else last[len(_WHITEOUT) :])
        else:
            nodes[name] = _node(entry, data, nodes)
    return Layer(nodes=nodes, removed=frozenset(removed), emptied=frozenset(emptied))


def lay_over(layers: Sequence[Layer], base_layers: int = 0) -> Tree:
    """The layers over one another, the lowest first; files of the first `base_layers` are the base's."""
    tree = Tree()
    for number, layer in enumerate(layers):
        _take_away(tree.nodes, layer)
        for path, node in layer.nodes.items():
            if number < base_layers and node.file is not None:
                tree.nodes[path] = replace(node, file=replace(node.file, in_base=True))
            else:
                tree.nodes[path] = node
    return tree


def _take_away(nodes: dict[str, Node], layer: Layer) -> None:
    """What a layer removes, and what stands below a path that it makes a file or a link."""
    covered = {path for path, node in layer.nodes.items() if node.kind != Kind.DIRECTORY}
    whole = layer.removed | covered
    if not (whole or layer.emptied):
        return
    for path in list(nodes):
        parents = list(_parents(path))
        if path in whole or any(parent in whole for parent in parents) or any(parent in layer.emptied for parent in parents):
            del nodes[path]


def _parents(path: str) -> Iterator[str]:
    """The folders above a path, the nearest first, and the top as an empty text."""
    while path:
        path = path.rpartition("/")[0]
        yield path


def _node(entry: Entry, data: Iterator[memoryview], nodes: Mapping[str, Node]) -> Node:
    if entry.kind == Kind.LINK:
        first = nodes[entry.target]
        return replace(first, file=replace(first.file, path=entry.name)) if first.file else first
    if entry.kind != Kind.FILE:
        return Node(kind=entry.kind, target=entry.target)
    return _file(entry.name, entry.size, data)


def _file(name: str, size: int, data: Iterator[memoryview]) -> Node:
    """Hashes a file as it passes; programs and JARs are kept for as long as it takes to look into them."""
    sha1, sha256 = hashlib.sha1(usedforsecurity=False), hashlib.sha256()
    kept: IO[bytes] | None = None
    head = b""
    describes = size <= _MOST_TEXT and _DESCRIBING.fullmatch(name) is not None
    text: list[bytes] = []
    try:
        for piece in data:
            sha1.update(piece)
            sha256.update(piece)
            if describes:
                text.append(bytes(piece))
            if len(head) < 8:
                head += bytes(piece)
                if len(head) < min(size, 8) or not is_program(name, head):
                    continue
                kept = tempfile.TemporaryFile()  # noqa: SIM115  closed below
                kept.write(head)
            elif kept is not None:
                kept.write(piece)
        parts: tuple[Part, ...] = ()
        if kept is not None:
            kept.seek(0)
            parts = parts_of(name, kept)
    finally:
        if kept is not None:
            kept.close()
    file = File(path=name, size=size, sha1=sha1.hexdigest(), sha256=sha256.hexdigest())
    return Node(kind=Kind.FILE, file=file, text=b"".join(text), parts=parts)
