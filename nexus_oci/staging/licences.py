"""What of others is inside a bundle, under which licence, and where the text stands.

Found in the files themselves, so that it holds whatever built them: Python's installed distributions (`*.dist-info`), Node's
packages (`node_modules`), and the build information that Go writes into its programs. Texts of Python and Node packages are in
the bundle already; those of Go modules are what the compile stage left; Go's own, that of its standard library, is here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, Final

from nexus_oci.staging.tree import Item

INDEX: Final = "THIRD-PARTY-LICENSES"
"""The name of the list."""
_TEXT = re.compile(r"(?i)(?:licen[sc]es?|copying|copyright|notice|unlicense|authors)(?:[-._].*)?")
_PROGRAM = (b"\x7fELF", b"MZ", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe")
"""How a program begins: Linux, Windows, macOS."""
_GO_MAGIC = b"\xff Go buildinf:"
_MOST_METADATA = 1 << 20
NODE_PACKAGE: Final = re.compile(r"(.*/node_modules/(?:@[^/]+/)?[^/@.][^/]*)/package\.json")
"""The file that says what an installed Node package is; its folder is the group."""
GO_LICENCE: Final = """\
Copyright 2009 The Go Authors.

Redistribution and use in source and binary forms, with or without
modification, are permitted provided that the following conditions are
met:

   * Redistributions of source code must retain the above copyright
notice, this list of conditions and the following disclaimer.
   * Redistributions in binary form must reproduce the above
copyright notice, this list of conditions and the following disclaimer
in the documentation and/or other materials provided with the
distribution.
   * Neither the name of Google LLC nor the names of its
contributors may be used to endorse or promote products derived from
this software without specific prior written permission.

THIS SOFTWARE IS PROVIDED BY THE COPYRIGHT HOLDERS AND CONTRIBUTORS
"AS IS" AND ANY EXPRESS OR IMPLIED WARRANTIES, INCLUDING, BUT NOT
LIMITED TO, THE IMPLIED WARRANTIES OF MERCHANTABILITY AND FITNESS FOR
A PARTICULAR PURPOSE ARE DISCLAIMED. IN NO EVENT SHALL THE COPYRIGHT
OWNER OR CONTRIBUTORS BE LIABLE FOR ANY DIRECT, INDIRECT, INCIDENTAL,
SPECIAL, EXEMPLARY, OR CONSEQUENTIAL DAMAGES (INCLUDING, BUT NOT
LIMITED TO, PROCUREMENT OF SUBSTITUTE GOODS OR SERVICES; LOSS OF USE,
DATA, OR PROFITS; OR BUSINESS INTERRUPTION) HOWEVER CAUSED AND ON ANY
THEORY OF LIABILITY, WHETHER IN CONTRACT, STRICT LIABILITY, OR TORT
(INCLUDING NEGLIGENCE OR OTHERWISE) ARISING IN ANY WAY OUT OF THE USE
OF THIS SOFTWARE, EVEN IF ADVISED OF THE POSSIBILITY OF SUCH DAMAGE.
"""
"""The licence of Go (go.dev/LICENSE), which what is compiled with it has to carry."""


@dataclass(frozen=True, kw_only=True, order=True)
class Component:
    """A part of others: `kind` says by which means it came, `texts` are paths in the bundle."""

    name: str
    version: str
    kind: str
    licence: str = ""
    texts: tuple[str, ...] = ()


def collect(items: Sequence[Item], folder: str, texts: Mapping[str, bytes]) -> dict[str, bytes]:
    """What to add to a bundle of these items, by path: the list in `folder`, and beside it the texts that no item has yet.

    `texts` are those of Go modules, as `MODULE@VERSION/FILE`. Where nothing of others is found, nothing is added.
    """
    files: dict[str, bytes] = {}
    folders = _folders(items)
    components: set[Component] = {*_python(items, folders), *_node(items, folders)}
    for name, version in sorted({part for item in items if item.kind == "file" for part in go_modules(item.place)}):
        label = f"{name}@{version}" if version else name
        found = {path: data for path, data in texts.items() if path.startswith(f"{label}/")}
        if name == "go":
            found = {f"{label}/LICENSE": GO_LICENCE.encode()}
        placed = {f"{folder}/{path}": data for path, data in found.items()}
        files |= placed
        licence = "BSD-3-Clause" if name == "go" else ""
        components.add(Component(name=name, version=version, kind="go", licence=licence, texts=tuple(sorted(placed))))
    if not components:
        return {}
    return files | {f"{folder}/{INDEX}": index(components)}


def index(components: Iterable[Component]) -> bytes:
    """The list, one paragraph a component, sorted; paths are relative to the bundle's root."""
    lines = ["What of others is in this bundle. Paths are relative to its root, and to / where it is installed."]
    for part in sorted(components):
        lines += ["", f"Component: {part.name}", f"Version: {part.version or 'unknown'}", f"Kind: {part.kind}"]
        lines += [f"License: {part.licence}"] if part.licence else []
        lines += [f"Text: {path[1:]}" for path in part.texts] or ["Text: none came with it"]
    return ("\n".join(lines) + "\n").encode("utf-8", "replace")


def read_texts(folder: str) -> dict[str, bytes]:
    """The texts that a compile stage left, by their path in `folder`; none where there is no such folder."""
    root = Path(folder)
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


_Folders = Mapping[str, Sequence[str]]
"""The paths of the files in each folder."""


def _folders(items: Iterable[Item]) -> _Folders:
    found: dict[str, list[str]] = {}
    for item in items:
        if item.kind == "file":
            found.setdefault(item.path.rpartition("/")[0], []).append(item.path)
    return found


def _python(items: Sequence[Item], folders: _Folders) -> list[Component]:
    found = []
    for item in items:
        top, _, name = item.path.rpartition("/")
        if name == "METADATA" and top.endswith(".dist-info") and item.kind == "file" and item.size <= _MOST_METADATA:
            about = python_metadata(Path(item.place).read_text(encoding="utf-8", errors="replace"))
            listed = {f"{top}/{sub}{path}" for path in about.licence_files for sub in ("", "licenses/")}
            found.append(
                Component(
                    name=about.name,
                    version=about.version,
                    kind="python",
                    licence=about.licence,
                    texts=_texts(folders, top, listed),
                )
            )
    return found


@dataclass(frozen=True, kw_only=True)
class PythonMetadata:
    """What a Python distribution says of itself (core metadata 2.4)."""

    name: str
    version: str
    licence: str
    licence_files: tuple[str, ...]
    author: str
    home: str


def python_metadata(text: str) -> PythonMetadata:
    """Reads METADATA or PKG-INFO; a field that is missing is empty."""
    fields = re.findall(r"(?m)^([A-Za-z-]+): *(.*)$", text.partition("\n\n")[0])
    values = {key.lower(): value.strip() for key, value in reversed(fields)}
    return PythonMetadata(
        name=values.get("name", ""),
        version=values.get("version", ""),
        licence=_python_licence(values, fields),
        licence_files=tuple(value.strip() for key, value in fields if key == "License-File"),
        author=values.get("author") or values.get("author-email", ""),
        home=values.get("home-page", ""),
    )


def _python_licence(values: Mapping[str, str], fields: Sequence[tuple[str, str]]) -> str:
    """The licence that a distribution declares (core metadata 2.4); a whole text in the old field is not repeated."""
    given = values.get("license-expression") or values.get("license", "")
    if given and given != "UNKNOWN" and len(given) <= 100:
        return given
    named = [value.rpartition("::")[2].strip() for key, value in fields if key == "Classifier" and value.startswith("License ::")]
    return ", ".join(named)


def _node(items: Sequence[Item], folders: _Folders) -> list[Component]:
    found = []
    for item in items:
        match = NODE_PACKAGE.fullmatch(item.path)
        if match and item.kind == "file" and item.size <= _MOST_METADATA:
            data = _json(item.place)
            if not isinstance(data.get("name"), str):
                continue
            found.append(
                Component(
                    name=data["name"],
                    version=str(data.get("version", "")),
                    kind="node",
                    licence=node_licence(data),
                    texts=_texts(folders, match[1], ()),
                )
            )
    return found


def _json(place: str) -> dict[str, Any]:
    try:
        data = json.loads(Path(place).read_bytes())
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}


def node_licence(data: Mapping[str, Any]) -> str:
    """The `license` of package.json, or the older forms of it, joined as one SPDX expression."""
    given = data.get("license") or data.get("licenses") or ""
    listed = given if isinstance(given, list) else [given]
    names = [str(each.get("type", "")) if isinstance(each, dict) else str(each) for each in listed]
    return " OR ".join(name for name in names if name)


def _texts(folders: _Folders, top: str, listed: Iterable[str]) -> tuple[str, ...]:
    """The licence texts of a package whose files are in `top`: those with such a name, those in `licenses`, those it lists."""
    named = [path for path in folders.get(top, ()) if _TEXT.fullmatch(path.rpartition("/")[2])]
    there = [path for path in listed if path in folders.get(path.rpartition("/")[0], ())]
    return tuple(sorted({*named, *folders.get(f"{top}/licenses", ()), *there}))


@cache
def go_modules(place: str) -> frozenset[tuple[str, str]]:
    """The modules in a Go program, and Go itself as `go`, each with its version; none for any other file."""
    with Path(place).open("rb") as file:
        build = go_build(file)
    if build is None:
        return frozenset()
    return frozenset({("go", build.version), *((module.path, module.version) for module in build.modules)})


@dataclass(frozen=True, kw_only=True)
class GoModule:
    """A module in a Go program; `checksum` is as in go.sum, `h1:` and base64, or nothing."""

    path: str
    version: str
    checksum: str = ""


@dataclass(frozen=True, kw_only=True)
class GoBuild:
    """What Go wrote into a program: its own version, the module of the program itself, and those that it was linked with."""

    version: str
    main: GoModule | None
    modules: tuple[GoModule, ...]


def go_build(file: BinaryIO) -> GoBuild | None:
    """The build information of a Go program, from the beginning of its file; None for any other file.

    Reads the form that Go has written since 1.18 (debug/buildinfo): after a magic number two strings, each with its length in
    front, are Go's version and, between sentinels of 16 bytes, the lines of `go version -m`.
    """
    if not file.read(4).startswith(_PROGRAM):
        return None
    file.seek(0)
    data = _from_magic(file)
    if len(data) < 32 or not data[15] & 2:
        return None
    version, at = _text(data, 32)
    lines, _ = _text(data, at)
    main: GoModule | None = None
    modules: list[GoModule] = []
    for line in lines[16:-16].splitlines():
        kind, *fields = line.split("\t")
        if kind not in ("mod", "dep", "=>") or len(fields) < 2:
            continue
        module = GoModule(path=fields[0], version=fields[1], checksum=fields[2] if len(fields) > 2 else "")
        if kind == "mod":
            main = module
            continue
        if kind == "=>" and modules:
            modules.pop()
        modules.append(module)
    return GoBuild(version=version.partition(" ")[0].removeprefix("go"), main=main, modules=tuple(modules))


def _from_magic(file: BinaryIO) -> bytes:
    """What follows Go's magic number in a file, itself included, as far as build information can reach."""
    tail = b""
    while block := file.read(1 << 22):
        window = tail + block
        at = window.find(_GO_MAGIC)
        if at >= 0:
            return window[at:] + file.read(1 << 20)
        tail = window[-len(_GO_MAGIC) :]
    return b""


def _text(data: bytes, at: int) -> tuple[str, int]:
    """A string with its length in front as a varint (encoding/binary), and where it ends."""
    length = shift = 0
    while at < len(data):
        byte = data[at]
        length |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            break
    return data[at : at + length].decode("utf-8", "replace"), at + length
