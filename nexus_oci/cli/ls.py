"""`nexus-oci ls`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from nexus_oci.cli.console import Console, human_size
from nexus_oci.cli.options import access, registry_options


@click.command("ls")
@click.argument("target", metavar="[REFERENCE|DIST]", required=False)
@click.option("--release", help="The version to show, where a store has several. Default: all.")
@registry_options
@click.pass_obj
def command(console: Console, target: str | None, release: str | None, plain_http: bool, ca_file: Path | None) -> None:
    """Show a store, or what a reference names in a registry, as a tree with sizes."""
    from nexus_oci.cli.session import open_all
    from nexus_oci.pipeline.tree import describe

    source, roots = open_all(console, target, release, access(console, plain_http, ca_file))
    trees = [describe(source, name, root) for name, root in roots]
    if console.as_json:
        console.data([tree.to_json() for tree in trees])
        return
    for tree in trees:
        _show(console, tree, "", "")


def _show(console: Console, node: Any, lead: str, below: str) -> None:
    console.result(f"{lead}{node.label}  {human_size(node.size)}  {node.descriptor.digest.short}")
    for index, child in enumerate(node.children):
        last = index == len(node.children) - 1
        _show(console, child, below + ("└─ " if last else "├─ "), below + ("   " if last else "│  "))
