"""`nexus-oci pull`."""

from __future__ import annotations

from pathlib import Path

import click

from nexus_oci.cli.console import Console
from nexus_oci.cli.options import access, transfer_options


@click.command()
@click.argument("reference")
@click.option("--output", "-o", type=click.Path(path_type=Path), default=Path(), help="Where to. Default: this folder.")
@click.option("--format", "-f", "formats", multiple=True, help="Only files of this format; repeatable.")
@click.option("--platform", "-p", "platforms", multiple=True, help="Only files for this platform; repeatable.")
@click.option("--distribution", "-d", "distributions", multiple=True, help="Only files of this distribution; repeatable.")
@transfer_options
@click.pass_obj
def command(
    console: Console,
    reference: str,
    output: Path,
    formats: tuple[str, ...],
    platforms: tuple[str, ...],
    distributions: tuple[str, ...],
    plain_http: bool,
    ca_file: Path | None,
    jobs: int,
) -> None:
    """Bring a release into OUTPUT/oci, or with --format just those files into OUTPUT. Every digest is checked.

    Prints the digest that REFERENCE names, then each file.
    """
    from nexus_oci.cli.session import parse_platforms
    from nexus_oci.cli.transfer_display import transfer_events
    from nexus_oci.oci.reference import Reference
    from nexus_oci.pipeline.progress import StepChanged
    from nexus_oci.pipeline.pull import parse_formats, pull

    source = Reference.parse(reference)
    wanted = parse_formats(formats)
    with console.display() as display:
        display.step(StepChanged(step="pull", state="started"))
        pulled = pull(
            source,
            output,
            access(console, plain_http, ca_file),
            formats=wanted,
            platforms=parse_platforms(platforms),
            distributions=distributions,
            jobs=jobs,
            on_event=transfer_events(display, "pull"),
        )
        display.step(StepChanged(step="pull", state="done"))
    if console.as_json:
        console.data({"digest": pulled.root.digest, "files": [str(path) for path in pulled.files]})
        return
    console.result(pulled.root.digest)
    for path in pulled.files:
        console.result(str(path))
