"""`nexus-oci verify`."""

from __future__ import annotations

from pathlib import Path

import click

from nexus_oci.cli.console import Console, human_size
from nexus_oci.cli.options import access, transfer_options
from nexus_oci.errors import VerificationError


@click.command()
@click.argument("target", metavar="[REFERENCE|DIST]", required=False)
@click.option("--release", help="The version to verify, where a store has several.")
@transfer_options
@click.pass_obj
def command(console: Console, target: str | None, release: str | None, plain_http: bool, ca_file: Path | None, jobs: int) -> None:
    """Read everything that a release holds, in a store or a registry, and recompute every digest and size."""
    from nexus_oci.cli.session import open_release
    from nexus_oci.pipeline.verify import verify_graph

    source, root = open_release(console, target, release, access(console, plain_http, ca_file))
    result = verify_graph(source, root, jobs=jobs)
    if console.as_json:
        console.data(
            {
                "digest": root.digest,
                "manifests": result.manifests,
                "blobs": result.blobs,
                "size": result.size,
                "faults": result.faults,
                "verified": not result.faults,
            }
        )
    if result.faults:
        raise VerificationError(
            f"{target or console.dist}: {len(result.faults)} of its parts are not what they should be",
            why="; ".join(result.faults[:10]),
            hint="build or pull it again, and do not use what is there",
        )
    if not console.as_json:
        console.result(f"verified {root.digest}: {result.manifests} manifests, {result.blobs} blobs, {human_size(result.size)}")
