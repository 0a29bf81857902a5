"""`nexus-oci build`."""

from __future__ import annotations

from pathlib import Path

import click

from nexus_oci.cli.console import Console, human_size
from nexus_oci.cli.options import openpgp_key as read_key
from nexus_oci.cli.options import openpgp_options


@click.command()
@click.option("--output", "-o", type=click.Path(path_type=Path), help="Where the store and files go. Default: dist.")
@click.option("--distribution", "-d", "distributions", multiple=True, help="Only this distribution; repeatable.")
@click.option("--platform", "-p", "platforms", multiple=True, help="Only this platform, as in linux/arm64; repeatable.")
@click.option("--format", "-f", "formats", multiple=True, help="Only this format beside the image, or all; repeatable.")
@click.option("--jobs", "-j", default=4, show_default=True, type=click.IntRange(1, 64), help="Steps at once.")
@click.option("--locked", is_flag=True, help="Fail where a locked package is gone, rather than refresh the lock.")
@click.option("--no-cache", is_flag=True, help="Let the engine run every stage anew.")
@openpgp_options
@click.pass_obj
def command(
    console: Console,
    output: Path | None,
    distributions: tuple[str, ...],
    platforms: tuple[str, ...],
    formats: tuple[str, ...],
    jobs: int,
    locked: bool,
    no_cache: bool,
    openpgp_key: str | None,
    openpgp_passphrase_file: Path | None,
    openpgp_certificate: Path | None,
) -> None:
    """Build the distributions into the store; a step whose inputs are known is not run again.

    Prints the release's digest.
    """
    from nexus_oci.cli.session import Session
    from nexus_oci.pipeline.build import BuildOptions, build_release

    key = read_key(console, openpgp_key, openpgp_passphrase_file, openpgp_certificate)
    session = Session(console)
    with session.display() as display:
        settings = session.settings(distributions=distributions, platforms=platforms, formats=formats, key=key, say=display.say)
        options = BuildOptions(output=output or console.dist, jobs=jobs, locked=locked, no_cache=no_cache)
        release = build_release(settings, options, session.engine, display)
        for item in () if console.quiet else release.outputs:
            place = " ".join(str(part) for part in (item.distribution, item.platform) if part)
            display.say(f"  {item.format:<8} {place:<24} {human_size(item.descriptor.size):>10}  {item.path}")
    if console.as_json:
        console.data(
            {"version": release.version, "digest": release.descriptor.digest, "outputs": [o.to_json() for o in release.outputs]}
        )
    else:
        console.result(release.descriptor.digest)
