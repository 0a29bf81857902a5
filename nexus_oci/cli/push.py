"""`nexus-oci push`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from nexus_oci.cli.console import Console, human_size
from nexus_oci.cli.options import access, transfer_options

if TYPE_CHECKING:
    pass


@click.command()
@click.argument("destination", metavar="[HOST/NAMESPACE]", required=False)
@click.option("--dist", type=click.Path(path_type=Path), help="The folder that a build left. Default: dist.")
@click.option("--release", help="The version to push, where the store has several.")
@click.option("--tier", help="The tier whose policy the release has to meet. Default: the definition's `tier`; else none.")
@transfer_options
@click.pass_obj
def command(
    console: Console,
    destination: str | None,
    dist: Path | None,
    release: str | None,
    tier: str | None,
    plain_http: bool,
    ca_file: Path | None,
    jobs: int,
) -> None:
    """Push a release: images, artifacts, chart, and the release index. Names are written last.

    Without HOST/NAMESPACE it goes where the definition's `registry` says. With --tier, or `tier:` in the definition, nothing is
    sent of a release that its policy refuses (exit code 3); `check --policy` shows more.

    Prints the release by digest, then every name.
    """
    from nexus_oci.cli.policy_report import held_to_policy
    from nexus_oci.cli.transfer_display import transfer_events
    from nexus_oci.oci.store import Store
    from nexus_oci.pipeline.progress import StepChanged
    from nexus_oci.pipeline.push import find_release, parse_destination, push_release

    target = parse_destination(destination or _published(console))
    store = Store.open((dist or console.dist) / "oci")
    standard = held_to_policy(console, store, lambda: find_release(store, release)[0], tier)
    with console.display() as display:
        display.step(StepChanged(step="push", state="started"))
        pushed = push_release(
            store,
            target,
            access(console, plain_http, ca_file),
            version=release,
            jobs=jobs,
            on_event=transfer_events(display, "push"),
        )
        note = f"{human_size(pushed.bytes_sent)} sent, {pushed.blobs_mounted} blobs mounted, {pushed.blobs_skipped} there already"
        display.step(StepChanged(step="push", state="done", note=note))
    if standard is not None:
        from nexus_oci.pipeline.tier_check import remember

        remember(standard.cache, store, release)
    if console.as_json:
        fields = ("bytes_sent", "blobs_sent", "blobs_skipped", "blobs_mounted", "manifests_sent")
        console.data(
            {"release": str(pushed.release), "digest": pushed.release.digest, "names": list(pushed.names)}
            | {name: getattr(pushed, name) for name in fields}
        )
        return
    console.result(str(pushed.release))
    for name in pushed.names:
        console.result(name)


def _published(console: Console) -> str:
    """The definition's own registry; raises `UsageError` where it names none."""
    from nexus_oci.definition import load
    from nexus_oci.errors import UsageError
    from nexus_oci.pipeline.project import default_folder

    registry = load(console.directory, defaults=default_folder()).registry
    if not registry:
        raise UsageError(
            "push needs to know where to",
            why="neither the command nor the definition names a registry",
            hint="run `nexus-oci push HOST/NAMESPACE`, or set `registry:` in images/nexus.yaml",
        )
    return registry
