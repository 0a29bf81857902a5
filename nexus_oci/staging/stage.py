"""The program of the `staged` stage: checks what goes into the bundles of one distribution and platform, and lays them out.

    PYTHONPATH=/nexus PYTHONDONTWRITEBYTECODE=1 python3 -m nexus_oci.staging.stage /package/stage.json

It needs no network and no other program, and runs with python3-minimal. (Run it with `-m`: as a file, `secrets.py` beside it
would hide the standard library's.) In this order it

1. reads the sources of every layout, refuses two of them that give one path in different ways, and checks each path, kind, size,
   mode and link (`checks.py`);
2. searches the files of all sources for secrets (`secrets.py`), by their installed paths;
3. lays out each layout's tree (`layout.py`): hard links, so nothing is copied twice; modes 0755 and 0644 unless `files` says
   otherwise; every time SOURCE_DATE_EPOCH, whatever the umask was;
4. adds the list of what of others is inside, and the licence texts that are not there yet (`licences.py`);
5. writes each layout's manifest.json and SHA256SUMS (`bundle.py`).

The configuration is JSON. Paths in a tree are absolute installed paths:

    {
      "name": "nexus-engine", "version": "1.0.0", "platform": "linux/amd64", "distribution": "runtime",
      "commit": "0123abc…", "epoch": 1700000000,
      "secrets": {"allow": {"/usr/lib/nexus-engine/lib/*/tests/*": "why these are none"}},
      "texts": "/licences",                                 optional: what a Go compile stage left, as MODULE@VERSION/LICENSE; may
                                                            be absent on disk
      "layouts": [
        {
          "tree": "/staged/packages",                       made here; must not exist
          "sources": [                                      laid over one another; one that is not on disk has nothing
            {"from": "/payload", "name": "the engine"},     what the compile stage left; `name` is for messages
            {"from": "/package/tree", "name": "package.files"}
          ],
          "formats": ["deb", "rpm"],                        whose limits the files must keep
          "files": {                                        what the definition says of single paths; every key is optional
            "/etc/nexus-engine/runtime.toml": {"type": "config|noreplace", "mode": "0640", "owner": "root", "group": "engine"}
          },
          "licences": "/usr/share/doc/nexus-engine/licenses",     optional: where texts and THIRD-PARTY-LICENSES go
          "manifest": "/usr/share/nexus-engine/manifest.json",
          "sums": "/usr/share/nexus-engine/SHA256SUMS",     checked with `cd / && sha256sum -c`
          "edited": true                                    leave configuration out of the sums: administrators change it
        },
        {
          "tree": "/staged/archive/nexus-engine-1.0.0-linux-amd64",
          "sources": [
            {"from": "/payload", "moves": {"/usr": "/"}},   links are adapted
            {"from": "/package/tree", "moves": {"/usr": "/"}},
            {"from": "/package/archive"}                    install.sh, uninstall.sh
          ],
          "formats": ["tar.gz", "tar.zst"],
          "files": {},                                      by the path in this tree, after the moves
          "licences": "/share/doc/nexus-engine/licenses",
          "manifest": "/manifest.json",
          "sums": "/SHA256SUMS"
        }
      ]
    }

Ends with 0, or with 1 and one line for every problem on stderr: `nexus-oci: PATH: what is wrong; what to do`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nexus_oci.staging.bundle import Declared, Release, declared, lay, normalise, seal
from nexus_oci.staging.checks import Problem, check_items, check_links, shown
from nexus_oci.staging.layout import Source, merged
from nexus_oci.staging.licences import collect, read_texts
from nexus_oci.staging.secrets import scan
from nexus_oci.staging.tree import Item, read_tree


def stage(configuration: Mapping[str, Any]) -> list[str]:
    """Do all that the configuration asks for, and give every problem, a line each; with one, no tree is made."""
    problems: dict[str, None] = {}
    trees = {said["from"]: read_tree(said["from"]) for layout in configuration["layouts"] for said in layout["sources"]}
    laid: list[tuple[Mapping[str, Any], list[Item]]] = []
    for layout in configuration["layouts"]:
        sources = [
            Source(name=said.get("name", said["from"]), items=trees[said["from"]], moves=said.get("moves", {}))
            for said in layout["sources"]
        ]
        items, found = merged(sources)
        modes = {path: said.mode for path, said in declared(layout.get("files", {})).items() if said.mode is not None}
        found += check_items(items, layout.get("formats", ()), modes) + _reserved(layout, items)
        # Before anything moves: in an archive a link to what is missing is one to the host.
        found += check_links(item for source in sources for item in source.items)
        problems |= dict.fromkeys(map(str, found))
        laid.append((layout, items))
    allow = configuration.get("secrets", {}).get("allow", {})
    for tree in trees.values():
        problems |= dict.fromkeys(map(str, scan(tree, allow)))
    if not problems:
        for place in trees:
            normalise(place, configuration["epoch"], {})
        _write(configuration, laid)
    return list(problems)


def _reserved(layout: Mapping[str, Any], items: Sequence[Item]) -> list[Problem]:
    """A bundle's own list of its files cannot come from a source."""
    own = (layout["manifest"], layout["sums"])
    do = "give the file another path in `package.files`"
    return [Problem(path=item.path, what="the build writes this file itself", do=do) for item in items if item.path in own]


def _write(configuration: Mapping[str, Any], laid: Sequence[tuple[Mapping[str, Any], list[Item]]]) -> None:
    release = Release(
        name=configuration["name"],
        version=configuration["version"],
        platform=configuration["platform"],
        distribution=configuration["distribution"],
        commit=configuration["commit"],
        epoch=configuration["epoch"],
    )
    texts = read_texts(configuration["texts"]) if configuration.get("texts") else {}
    for layout, items in laid:
        files: Mapping[str, Declared] = declared(layout.get("files", {}))
        tree = layout["tree"]
        lay(tree, items, files)
        if layout.get("licences"):
            _add(tree, collect(items, layout["licences"], texts))
        normalise(tree, release.epoch, files)
        seal(tree, release, files, layout["manifest"], layout["sums"], edited=layout.get("edited", False))
        normalise(tree, release.epoch, files)


def _add(tree: str, files: Mapping[str, bytes]) -> None:
    for path, data in files.items():
        place = Path(f"{tree}{path}")
        if not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)


def main(path: str) -> int:
    """Stage what the configuration in a file asks for; the exit code."""
    os.umask(0o022)
    problems = stage(json.loads(Path(path).read_text(encoding="utf-8")))
    for problem in problems:
        sys.stderr.write(f"nexus-oci: {shown(problem, most=2000)}\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
