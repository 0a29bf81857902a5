"""Lists nfpm's `contents` inside a build: every file of the staged trees, with what the definition says of it.

    PYTHONPATH=/nexus PYTHONDONTWRITEBYTECODE=1 python3 -m nexus_oci.staging.contents /package/stage.json

The configuration is that of `stage.py`, where `contents` is a list of the packages to be made:

    {"packager": "deb", "tree": "/staged/deb", "output": "/staged/deb.contents", "entries": {PATH: …}}

An entry of `entries` has what is special about a path: `type` as nfpm names it, `mode` in octal digits, `owner`, `group`,
`language`, `time`; `disowned` for a folder of somebody else. The output is the end of a configuration of nfpm, so that `cat`
completes one that lacks only this.

nfpm's own `tree` is not used: it would refuse a second word on any path in it, take modes from the disk, and decide for itself
which folders are ours.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nexus_oci.staging.tree import read_tree

_RPM = ("rpm", "srpm")
_RPM_ONLY = ("ghost", "doc", "licence", "license", "readme")
"""Types that nfpm knows for rpm, and silently leaves out of everything else."""
_SYSTEM = frozenset(f"/{name}" for name in (
    "bin", "boot", "dev", "etc", "etc/opt", "etc/pki", "etc/skel", "etc/sysconfig", "etc/xdg", "home", "lib", "lib64", "media",
    "mnt", "opt", "proc", "root", "run", "sbin", "srv", "sys", "tmp", "usr", "usr/bin", "usr/games", "usr/include", "usr/lib",
    "usr/lib64", "usr/lib/debug", "usr/lib/modules", "usr/lib/systemd", "usr/lib/systemd/system",
    "usr/lib/systemd/system-preset", "usr/lib/systemd/user", "usr/lib/sysusers.d", "usr/lib/tmpfiles.d", "usr/libexec",
    "usr/local", "usr/local/bin", "usr/local/etc", "usr/local/include", "usr/local/lib", "usr/local/lib64",
    "usr/local/libexec", "usr/local/sbin", "usr/local/share", "usr/sbin", "usr/share", "usr/share/applications",
    "usr/share/doc", "usr/share/icons", "usr/share/info", "usr/share/licenses", "usr/share/locale", "usr/share/man",
    "usr/share/pixmaps", "usr/src", "var", "var/cache", "var/db", "var/empty", "var/lib", "var/local", "var/lock", "var/log",
    "var/mail", "var/opt", "var/run", "var/spool", "var/tmp",
))  # fmt: skip
_SYSTEM_TREES = re.compile(
    r"/usr(?:/local)?/share/(?:man/(?:man[^/]+|(?!man)[^/]+(?:/man[^/]+)?)|locale/.+|icons/hicolor(?:/.+)?)"
)
_DOCUMENTS = {"/usr/share/licenses/": "licence", "/usr/share/doc/": "doc", "/usr/share/man/": "doc", "/usr/share/info/": "doc"}
_UNSAFE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
"""What JSON leaves as it is, and YAML, as which nfpm reads it, refuses or takes for the end of a line."""


def is_system_folder(path: str) -> bool:
    """Whether a folder is there on every Linux, and so belongs to no package of ours (FHS 3.0; Fedora's `filesystem`)."""
    return path in _SYSTEM or _SYSTEM_TREES.fullmatch(path) is not None


def contents(packager: str, tree: str, entries: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """nfpm's `contents`: everything in a tree, and the ghosts among `entries` (for rpm), sorted by path."""
    found = []
    for item in read_tree(tree):
        entry = entries.get(item.path, {})
        if item.kind == "link":
            found.append({"src": item.target, "dst": item.path, "type": "symlink", "file_info": _facts(entry)})
        elif item.kind != "directory":
            kind = _type(packager, item.path, entry)
            facts = _facts(entry, item.mode)
            found.append({"src": item.place, "dst": item.path, **({"type": kind} if kind else {}), "file_info": facts})
        elif not entry.get("disowned") and (entry or not is_system_folder(item.path)):
            found.append({"dst": item.path, "type": "dir", "file_info": _facts(entry, 0o755)})
    if packager in _RPM:
        ghosts = {path: entry for path, entry in entries.items() if entry.get("type") == "ghost"}
        found += [{"dst": path, "type": "ghost", "file_info": _facts(entry, 0o644)} for path, entry in ghosts.items()]
    return sorted(found, key=lambda entry: str(entry["dst"]))


def document(data: Any) -> str:
    """JSON that is YAML too."""
    text = json.dumps(data, ensure_ascii=False, indent=1, sort_keys=True)
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text) + "\n"


def _type(packager: str, path: str, entry: Mapping[str, Any]) -> str:
    """What nfpm shall take a file for; rpm's documents are told by their folder, as rpmbuild does."""
    kind = str(entry.get("type", ""))
    if packager not in _RPM:
        return "" if kind in _RPM_ONLY else kind
    return kind or next((kind for folder, kind in _DOCUMENTS.items() if path.startswith(folder)), "")


def _facts(entry: Mapping[str, Any], mode: int | None = None) -> dict[str, Any]:
    """nfpm's `file_info`; `mode` is that of a path of which the definition says nothing, and None for a link."""
    facts = {"owner": entry.get("owner", "root"), "group": entry.get("group", "root")}
    if mode is not None:
        facts["mode"] = int(str(entry["mode"]), 8) if entry.get("mode") else mode
    return facts | {key: entry[name] for name, key in (("language", "lang"), ("time", "mtime")) if entry.get(name)}


def main(path: str) -> None:
    """Write all the lists that the configuration in a file asks for."""
    for said in json.loads(Path(path).read_text(encoding="utf-8"))["contents"]:
        listed = contents(said["packager"], said["tree"], said["entries"])
        Path(said["output"]).write_text(document(listed) + "}\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
