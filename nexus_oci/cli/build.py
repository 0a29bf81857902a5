"""`nexus-oci build`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nexus_oci.cli.console import Console, human_size
from nexus_oci.cli.options import openpgp_key as read_key
from nexus_oci.cli.options import openpgp_options, read_signer, signing_options
from nexus_oci.errors import UsageError

if TYPE_CHECKING:
    from nexus_oci.release.outputs import Output


def _summary(outputs: Iterable[Output]) -> Iterator[str]:
    """A line for each output; the files of a repository share one, and all SBOMs."""
    lines: dict[str, tuple[str, str, int]] = {}
    for item in outputs:
        path, name = item.path, item.format
        place = " ".join(str(part) for part in (item.distribution, item.platform) if part)
        if path.startswith("sbom/"):
            path, name, place = "sbom/", "sbom", ""
        elif item.is_file and item.distribution and item.platform is None:
            path = "/".join(path.split("/")[:3]) + "/"
        size = item.descriptor.size + (lines[path][2] if path in lines else 0)
        lines[path] = (name, place, size)
    for path, (name, place, size) in lines.items():
        yield f"  {name:<9} {place:<24} {human_size(size):>10}  {path}"


@click.command()
@click.option("--output", "-o", type=click.Path(path_type=Path), help="Where the store and files go. Default: dist.")
@click.option("--distribution", "-d", "distributions", multiple=True, help="Only this distribution; repeatable.")
@click.option("--platform", "-p", "platforms", multiple=True, help="Only this platform, as in linux/arm64; repeatable.")
@click.option("--format", "-f", "formats", multiple=True, help="Only this format beside the image, or all; repeatable.")
@click.option("--jobs", "-j", default=4, show_default=True, type=click.IntRange(1, 64), help="Steps at once.")
@click.option("--locked", is_flag=True, help="Fail where a locked package is gone, rather than refresh the lock.")
@click.option("--no-cache", is_flag=True, help="Let the engine run every stage anew.")
@click.option("--sbom", is_flag=True, help="Write an SBOM in SPDX and CycloneDX for every image and artifact.")
@signing_options("--sign", "sign")
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
    sbom: bool,
    sign: str | None,
    passphrase_file: str | None,
    identity: str | None,
    openpgp_key: str | None,
    openpgp_passphrase_file: Path | None,
    openpgp_certificate: Path | None,
) -> None:
    """Build the distributions into the store; a step whose inputs are known is not run again.

    Prints the release's digest.
    """
    from nexus_oci.cli.session import Session
    from nexus_oci.pipeline.build import BuildOptions, build_release
    from nexus_oci.pipeline.push import parse_destination

    key = read_key(console, openpgp_key, openpgp_passphrase_file, openpgp_certificate)
    if sign is None and (passphrase_file is not None or identity is not None):
        raise UsageError(
            "no key was given to sign with", why="--passphrase-file and --identity are about it", hint="add --sign KEY"
        )
    signer = read_signer(console, sign, passphrase_file) if sign else None
    identity = str(parse_destination(identity)) if identity else None
    session = Session(console)
    with session.display() as display:
        settings = session.settings(distributions=distributions, platforms=platforms, formats=formats, key=key, say=display.say)
        options = BuildOptions(
            output=output or console.dist,
            jobs=jobs,
            locked=locked,
            no_cache=no_cache,
            signer=signer,
            identity=identity,
            sbom=sbom,
        )
        release = build_release(settings, options, session.engine, display)
        for line in () if console.quiet else _summary(release.outputs):
            display.say(line)
    if console.as_json:
        console.data(
            {"version": release.version, "digest": release.descriptor.digest, "outputs": [o.to_json() for o in release.outputs]}
        )
    else:
        console.result(release.descriptor.digest)
