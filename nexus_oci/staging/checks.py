"""Rules on the files that go into packages and archives. Pure functions: each returns every problem, in the order of the paths.

What is allowed, and why:

* Names may have blanks, quotes, any Unicode and a leading dash. They must be UTF-8, since rpm and OCI images have to name them in
  text, and free of control characters, since dpkg's and apk's lists of files, and SHA256SUMS, have one name a line.
* A component has at most 245 bytes: Linux takes 255 (NAME_MAX), and package managers unpack to a longer name first, or keep a
  second file beside it (`NAME.dpkg-new`, `NAME.dpkg-dist`, `NAME;12345678` of rpm, `NAME.pacnew`).
* A path has at most 4095 bytes (PATH_MAX less its final zero): beyond that no Linux file system unpacks it. deb, rpm, apk and
  archlinux set no smaller limit: long paths of a tar go into GNU or pax records.
* Names that differ by case only are two names on Linux; Debian's own packages ship such (`terminfo/n` and `terminfo/N`).
* A link to an absolute path that the package does not have, such as /usr/bin/python3, may well be there on the host. A link to
  something in the package's own folders that is missing there is dangling wherever it is installed, and is refused.
* Sizes: nfpm 2.48 was given a sparse file of 5 GiB. deb, apk, archlinux and ipk came out whole (apk takes 5 GiB of memory for it,
  ipk 10 GiB); for rpm it refuses with the limit of the cpio format, after the build. The limit of deb is that of ar(5).
"""

from __future__ import annotations

import posixpath
import stat
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from nexus_oci.staging.contents import is_system_folder
from nexus_oci.staging.tree import Item, parents

MOST_COMPONENT: Final = 245
"""Bytes of one component of a path that every package manager can unpack."""
MOST_PATH: Final = 4095
"""Bytes of a path that a Linux system call takes."""
_CPIO: Final = "the sizes in an rpm's payload (cpio, newc) have 32 bits"
_AR: Final = "the size of an ar member has ten decimal digits, and nobody knows beforehand how well the files compress"
MOST_FILE: Final[Mapping[str, tuple[int, str]]] = {"rpm": (4_294_967_295, _CPIO), "srpm": (4_294_967_295, _CPIO)}
"""Bytes of the largest file in a format, and why; in the others, a tar, a file system meets its own limit first."""
MOST_TOTAL: Final[Mapping[str, tuple[int, str]]] = {"deb": (9_999_999_999, _AR)}
"""Bytes of all files of a format together, and why."""
_MOST_HOPS = 40
"""How many symbolic links Linux follows in one path."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What is wrong with a path, and what the user can do about it."""

    path: str
    what: str
    do: str

    def __str__(self) -> str:
        """One line; what a terminal could not show is written as an escape."""
        return f"{shown(self.path)}: {self.what}; {self.do}"


def shown(text: str, most: int = 300) -> str:
    """A path in a message: control characters and bytes that are no UTF-8 as escapes; of more than `most` letters, both ends."""
    safe = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
    return safe if len(safe) <= most else f"{safe[: most // 2]}…{safe[-most // 2 :]}"


def check_items(items: Iterable[Item], formats: Collection[str], modes: Mapping[str, int] | None = None) -> list[Problem]:
    """Every problem of the single paths of a tree that is to become `formats`: names, kinds, modes and sizes.

    `modes` are those that the definition gives for single paths: only they may have the setuid, setgid or sticky bit.
    """
    tree = sorted(items, key=lambda item: item.path)
    return [
        *(problem for item in tree for problem in (*_name(item), *_kind(item), *_mode(item, modes or {}))),
        *_sizes(tree, formats),
    ]


def check_links(items: Iterable[Item]) -> list[Problem]:
    """Every link of a whole tree that can lead nowhere; a part of a tree cannot be judged."""
    tree = {item.path: item for item in items}
    folders = {above for path in tree for above in parents(path)} | {i.path for i in tree.values() if i.kind == "directory"}
    return [problem for _, item in sorted(tree.items()) if item.kind == "link" for problem in _link(item, tree, folders)]


def conflicts(sources: Sequence[tuple[str, Iterable[Item]]], digest: Callable[[Item], str]) -> list[Problem]:
    """Every path that two of the named sources give in different ways, and every file where another needs a folder.

    Two files of the same content and mode are no conflict, nor are two folders. `digest` is asked only for files of equal size.
    """
    problems = []
    seen: dict[str, tuple[str, Item]] = {}
    for name, items in sources:
        for item in items:
            other, first = seen.setdefault(item.path, (name, item))
            if first is not item and not same(first, item, digest):
                problems.append(_twice(item.path, (other, first), (name, item)))
    for path, (name, _) in sorted(seen.items()):
        for above in parents(path):
            if above in seen and seen[above][1].kind != "directory" and seen[above][0] != name:
                kind, other = seen[above][1].kind, seen[above][0]
                problems.append(
                    Problem(
                        path=path,
                        what=f"{name} needs a folder at {shown(above)}, where {other} has a {kind}",
                        do="give one of them another path in `package.files`",
                    )
                )
    return problems


def same(one: Item, other: Item, digest: Callable[[Item], str]) -> bool:
    """Whether two items are the same thing, so that either can stand for both."""
    if one.kind != other.kind:
        return False
    if one.kind == "link":
        return one.target == other.target
    return one.kind == "directory" or (one.size == other.size and digest(one) == digest(other))


def _twice(path: str, first: tuple[str, Item], second: tuple[str, Item]) -> Problem:
    kinds = [item.kind if item.kind != "link" else f"link to {shown(item.target)}" for _, item in (first, second)]
    what = "of different content" if kinds[0] == kinds[1] else f"a {kinds[0]} and a {kinds[1]}"
    return Problem(
        path=path,
        what=f"both {first[0]} and {second[0]} have it, {what}",
        do="leave one of them out, or give it another path in `package.files`",
    )


def _name(item: Item) -> list[Problem]:
    try:
        raw = item.path.encode()
    except UnicodeEncodeError:
        return [Problem(path=item.path, what="the name is not UTF-8, which rpm and OCI images need", do="rename the file")]
    found = []
    control = sorted({letter for letter in item.path if ord(letter) < 32 or 127 <= ord(letter) < 160})
    if control:
        named = ", ".join("a newline" if letter == "\n" else ascii(letter) for letter in control)
        what = f"the name has {named}, and lists of files (dpkg, apk, SHA256SUMS) have one name a line"
        found.append(Problem(path=item.path, what=what, do="rename the file"))
    longest = max(len(part) for part in raw.split(b"/"))
    if longest > MOST_COMPONENT:
        what = f"a component has {longest} bytes, and what package managers can unpack has {MOST_COMPONENT}"
        found.append(Problem(path=item.path, what=what, do="use a shorter name"))
    if len(raw) > MOST_PATH:
        what = f"the path has {len(raw)} bytes, and Linux takes {MOST_PATH}"
        found.append(Problem(path=item.path, what=what, do="use fewer or shorter folders"))
    return found


def _kind(item: Item) -> list[Problem]:
    if item.kind not in ("device", "socket", "pipe"):
        return []
    names = {"device": "a device node", "socket": "a socket", "pipe": "a named pipe"}
    what = f"{names[item.kind]} cannot be packaged: it belongs to a running system"
    return [
        Problem(path=item.path, what=what, do="let the service or tmpfiles.d make it, and leave it out of the engine's output")
    ]


def _mode(item: Item, modes: Mapping[str, int]) -> list[Problem]:
    special = item.mode & (stat.S_ISUID | stat.S_ISGID | stat.S_ISVTX)
    if item.kind != "file" or not special or modes.get(item.path, 0) & special == special:
        return []
    bits = {stat.S_ISUID: "setuid", stat.S_ISGID: "setgid", stat.S_ISVTX: "sticky"}
    named = " and ".join(name for bit, name in bits.items() if special & bit)
    return [
        Problem(
            path=item.path,
            what=f"the file is {named} ({item.mode:04o}), which lets whoever runs it act as another user",
            do=f'take the bit away, or say `mode: "{item.mode:04o}"` for that path in `package.files`',
        )
    ]


def _link(item: Item, tree: Mapping[str, Item], folders: Collection[str]) -> list[Problem]:
    if not item.target or "\0" in item.target or not _utf8(item.target):
        return [Problem(path=item.path, what="the link's target is empty or not UTF-8", do="make the link anew")]
    at, told = item, shown(item.target)
    for _ in range(_MOST_HOPS):
        goal = posixpath.join(posixpath.dirname(at.path), at.target)
        if not at.target.startswith("/") and _climbs(at):
            what = f"the link leads to {told}, above the root of the file system"
            return [Problem(path=item.path, what=what, do="use a path inside of the package, or an absolute one")]
        goal, through = _resolved(posixpath.normpath(goal), tree)
        if through is not None:
            at = through
            continue
        if goal in folders or goal in tree or goal == "/" or not _owned(goal, folders):
            return []
        what = f"the link leads to {told}, which is in the package's own folder and not there"
        return [Problem(path=item.path, what=what, do="add the file that it leads to, or leave the link out")]
    what = f"the link leads to {told} and from there in a circle"
    return [Problem(path=item.path, what=what, do="leave one of the links out")]


def _resolved(goal: str, tree: Mapping[str, Item]) -> tuple[str, Item | None]:
    """A path, and where a link of the package stands on the way to it, a link as it would be from there."""
    for above in reversed([goal, *parents(goal)]):
        link = tree.get(above)
        if link is not None and link.kind == "link":
            rest = goal[len(above) :]
            return goal, Item(path=link.path, kind="link", target=link.target + rest)
    return goal, None


def _climbs(link: Item) -> bool:
    depth = link.path.count("/") - 1
    for part in link.target.split("/"):
        depth += {"..": -1, ".": 0, "": 0}.get(part, 1)
        if depth < 0:
            return True
    return False


def _owned(path: str, folders: Collection[str]) -> bool:
    """Whether the nearest folder of the package around a path is the package's alone."""
    above = next((folder for folder in parents(path) if folder in folders), "")
    return bool(above) and not is_system_folder(above)


def _utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _sizes(tree: Sequence[Item], formats: Collection[str]) -> list[Problem]:
    found = []
    total = sum(item.size for item in tree)
    for name in sorted(formats):
        if name in MOST_FILE:
            most, why = MOST_FILE[name]
            do = f"split the file, or leave {name} out of `formats`"
            for item in tree:
                if item.size > most:
                    what = f"its {item.size} bytes do not fit into {name}, which takes {most}: {why}"
                    found.append(Problem(path=item.path, what=what, do=do))
        if name in MOST_TOTAL and total > MOST_TOTAL[name][0]:
            most, why = MOST_TOTAL[name]
            what = f"all files together have {total} bytes, and {name} takes {most}: {why}"
            found.append(Problem(path="/", what=what, do=f"package less, or leave {name} out of `formats`"))
    return found
