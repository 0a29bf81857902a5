"""By what a program is known as the engine: its bytes, its name, and the module that Go says it was built from."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nexus_oci.pipeline.checker import is_checked
from nexus_oci.pipeline.inspection import PROGRAMS, SeenFile

if TYPE_CHECKING:
    from nexus_oci.definition.definition import Definition

_INTERPRETERS: Final = re.compile(
    r"(?:python|pypy|node|nodejs|ruby|perl|php|java|dotnet|bash|dash|sh|env|busybox|tini|dumb-init|catatonit|gunicorn|uvicorn|npm|npx"
    r"|gosu|su-exec|setpriv)[0-9.]*\Z"
)
_FEW_BLOCKS: Final = 8
_ALIKE: Final = 0.8
"""The share of a program's pages that a file has to have to be a changed copy of it. Programs of one compiler share its runtime,
which is much less."""
_ENDINGS: Final = re.compile(r"(?i)\.(?:exe|com|bin|run|appimage)\Z")
_SUFFIX: Final = re.compile(
    r"(?i)[-_.]?(?:v?\d[\w.+~]*|linux|darwin|macos|windows|win32|win64|freebsd|amd64|arm64|x86[-_]64|x64|aarch64|386|i686|armv?\d?\w*|static|musl|gnu|universal)\Z"
)
_LIBRARIES: Final = re.compile(
    r"(?:^|/)(?:site-packages|dist-packages|node_modules)/.*\.(?:so(?:\.[\w.]*)?|node|pyd|dll|dylib)\Z"
)


@dataclass(frozen=True, kw_only=True)
class Marks:
    """What tells the engine. `digests` say where a program of these bytes is, for messages."""

    names: frozenset[str] = frozenset()
    modules: frozenset[str] = frozenset()
    digests: Mapping[str, str] = field(default_factory=dict)
    blocks: Mapping[str, frozenset[bytes]] = field(default_factory=dict)
    """The pages of each program, by what messages call it."""

    def why(self, file: SeenFile) -> str:
        """Why a file counts as the engine; nothing where it does not."""
        if not file.program:
            return ""
        if place := self.digests.get(file.digest):
            return f"it is the program {place}, byte for byte"
        if file.module and file.module in self.modules:
            return f"Go built it from the engine's module {file.module}"
        name = plain_name(file.path)
        if name in self.names:
            return f"it is a program with the engine's name, {name}"
        for place, blocks in self.blocks.items():
            if len(blocks) >= _FEW_BLOCKS and len(blocks & file.blocks) >= _ALIKE * len(blocks):
                return f"it is the program {place}, changed in places"
        return ""


def plain_name(path: str) -> str:
    """The name of a program without folder, `.exe`, version and platform: `engine` of `bin/engine-1.2-linux-amd64`."""
    name = _ENDINGS.sub("", re.split(r"[/!\\]", path)[-1].lower())
    while (shorter := _SUFFIX.sub("", name)) and shorter != name:
        name = shorter
    return name


def marks_of(
    configs: Iterable[Mapping[str, Any]],
    programs: Iterable[tuple[str, SeenFile]],
    definition: Definition | None,
    titles: Iterable[str],
) -> Marks:
    """The marks of a release's engine.

    `configs` are those of the images that run it, `programs` the programs that these bring beside their bases, each with the
    name of its distribution, `titles` what the release calls itself. The definition says more, where there is one.
    """
    own = list(programs)
    commands = {plain_name(word) for config in configs for word in _command(config)}
    names = {name for name in commands if name and not _INTERPRETERS.match(name)}
    given = defined(definition) if definition is not None else Marks()
    names |= given.names
    names |= {title.lower() for title in titles if re.fullmatch(r"[A-Za-z0-9_-]+", title)}
    started = {file.module for _, file in own if file.module and plain_name(file.path) in names}
    modules = started or {file.module for _, file in own if file.module}
    digests = dict(given.digests) | {
        file.digest: f"{file.path.rpartition('!')[2]} of {distribution}"
        for distribution, file in own
        if not _LIBRARIES.search(file.path)
    }
    blocks = {digests[file.digest]: file.blocks for _, file in own if file.digest in digests}
    return Marks(names=frozenset(names), modules=frozenset(modules) | given.modules, digests=digests, blocks=blocks)


def defined(definition: Definition) -> Marks:
    """What the definition and the engine's source say of it: its names, the module in its go.mod, and programs built elsewhere.

    So an engine is known in an SDK also where nothing else is in the release. A source in another repository is not looked at.
    """
    from nexus_oci.definition.engine_model import PathSource

    engine = definition.engine
    names = {engine.name.lower(), plain_name(engine.go.binary or engine.name)}
    names |= {plain_name(word) for word in engine.command[:1] if not _INTERPRETERS.match(plain_name(word))}
    if not isinstance(engine.source, PathSource):
        return Marks(names=frozenset(names))
    source = definition.root / engine.source.path
    modules: set[str] = set()
    digests: dict[str, str] = {}
    with contextlib.suppress(OSError):
        if engine.runtime == "go":
            found = re.search(r"(?m)^module\s+(\S+)", (source / "go.mod").read_text(encoding="utf-8", errors="replace"))
            modules = {found[1]} if found else set()
        for tree in engine.binary.trees.values() if engine.runtime == "binary" else ():
            digests |= _programs(source / tree)
    return Marks(names=frozenset(names), modules=frozenset(modules), digests=digests)


def _programs(folder: Path) -> dict[str, str]:
    """The programs in a tree that was built elsewhere, by digest."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink() and not _LIBRARIES.search(path.as_posix()):
            with path.open("rb") as file:
                if file.read(8).startswith(PROGRAMS):
                    file.seek(0)
                    found[hashlib.file_digest(file, "sha256").hexdigest()] = f"{path.relative_to(folder)} of the engine's source"
    return found


def _command(config: Mapping[str, Any]) -> Sequence[str]:
    """The first word of what an image runs, behind the checker of entitlements where there is one."""
    run = config.get("config")
    entries = [*(run.get("Entrypoint") or ()), *(run.get("Cmd") or ())] if isinstance(run, dict) else []
    words = [str(word) for word in entries]
    return words[2:3] if is_checked(words) else words[:1]
