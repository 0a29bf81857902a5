"""What the host can say of a package's files before any work: the same rules that the staged tree has to keep later."""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Iterable, Mapping, Sequence

from nexus_oci.errors import DefinitionError
from nexus_oci.render.context import ContextFile
from nexus_oci.staging.checks import Problem, check_items, conflicts
from nexus_oci.staging.secrets import allowed, scan_bytes, scan_file
from nexus_oci.staging.tree import Item, Kind

Part = tuple[str, Mapping[str, ContextFile]]
"""Where the definition asks for files, in words for a message, and the files by installed path."""


def path_problems(parts: Sequence[Part], verified: Mapping[str, ContextFile], formats: Collection[str]) -> list[str]:
    """Everything wrong with the paths that the definition gives to one layout: what two parts give in different ways, what a
    format cannot carry, and what would stand among the verified policies without being one of them.

    Where links lead is judged later, with the files that the engine's build leaves. A mode in the definition is the definition's
    word: it may be setuid.
    """
    named = [(name, [_item(path, entry) for path, entry in files.items()]) for name, files in parts]
    items = {item.path: item for _, found in named for item in found}
    modes = {path: item.mode for path, item in items.items()}
    problems = [*conflicts(named, lambda item: item.digest), *check_items(items.values(), formats, modes)]
    sealed = {posixpath.dirname(path) for path in verified}
    problems += [
        Problem(path=path, what="only verified policies can be in this folder", do="sign it, and put it into `policies.path`")
        for path in items
        if posixpath.dirname(path) in sealed
    ]
    return [str(problem) for problem in problems]


def secret_problems(trees: Iterable[Mapping[str, ContextFile]], allow: Mapping[str, str]) -> list[str]:
    """The secrets in all files of some trees; what is in several is read once."""
    files = {(path, entry.digest): entry for tree in trees for path, entry in tree.items() if not allowed(path, allow)}
    found = []
    for (path, _), entry in sorted(files.items(), key=lambda pair: pair[0]):
        if entry.data is not None:
            found += scan_bytes(path, entry.data)
        elif entry.path is not None:
            found += scan_file(path, str(entry.path))
    return [str(finding) for finding in found]


def refuse(problems: Iterable[str]) -> None:
    """Raise `DefinitionError` with every problem, each once; do nothing where there is none."""
    told = tuple(dict.fromkeys(problems))
    if told:
        raise DefinitionError("the package's files cannot be packaged", problems=told)


def _item(path: str, entry: ContextFile) -> Item:
    kind: Kind = "link" if entry.link is not None else "directory" if entry.folder else "file"
    return Item(path=path, kind=kind, mode=entry.mode, size=entry.size, target=entry.link or "", digest=entry.digest)
