"""`nexus-oci inventory`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from nexus_oci.cli.console import Console
from nexus_oci.cli.options import access, transfer_options
from nexus_oci.errors import StoreError


@click.command()
@click.argument("destination", metavar="HOST/NAMESPACE|FOLDER")
@click.option("--output", "-o", type=click.Path(path_type=Path), help="The file to write. Default: stdout.")
@transfer_options
@click.pass_obj
def command(console: Console, /, destination: str, output: Path | None, jobs: int, **registry: Any) -> None:
    """List what a site has, to carry back on a stick: `bundle create --since-inventory` then packs only what it lacks.

    DESTINATION is what `load` loads to: a namespace of a registry, or a folder with a store. The list is JSON: digests by
    repository, of all releases that have a tag.
    """
    from nexus_oci.cli.session import find_store
    from nexus_oci.pipeline.push import parse_destination
    from nexus_oci.pipeline.site_inventory import registry_inventory, store_inventory

    store = find_store(console, destination)
    if store is not None:
        data = store_inventory(store)
    else:
        data = registry_inventory(parse_destination(destination), access(console, **registry), jobs=jobs)
    if output is None:
        console.data(data)
        return
    try:
        output.write_text(json.dumps(data, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    except OSError as error:
        raise StoreError(f"cannot write {output}", why=error.strerror or str(error)) from error
    console.result(str(output))
