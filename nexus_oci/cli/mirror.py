"""`nexus-oci mirror`."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nexus_oci.cli.console import Console, human_size
from nexus_oci.cli.options import access, transfer_options
from nexus_oci.errors import NexusError, PolicyError, UnreachableError, UsageError, VerificationError

if TYPE_CHECKING:
    from nexus_oci.cli.display import Display
    from nexus_oci.mirroring.item import Done
    from nexus_oci.mirroring.run import Destination, Report
    from nexus_oci.mirroring.survey import Keep
    from nexus_oci.pipeline.mirror import Mirroring
    from nexus_oci.transfer.places import Place
    from nexus_oci.trust.verification import Trust

_PATH = click.Path(path_type=Path, exists=True, dir_okay=False)
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_CLASSES: dict[int, type[NexusError]] = {3: PolicyError, 4: VerificationError, 5: UnreachableError}
_SHOWN = 5


@click.command()
@click.argument("source", metavar="SRC")
@click.argument("destinations", metavar="DST...", nargs=-1, required=True)
@click.option("--channel", "channels", multiple=True, help="What this moving name points at, and the name; repeatable.")
@click.option("--versions", metavar="RANGE", help="Versions in a range, as in '>=1.2 <2', '^1.4' or '1.4.x'.")
@click.option("--tags", "patterns", metavar="PATTERN", multiple=True, help="Tags that look like this, as in '1.4*'; repeatable.")
@click.option("--platform", "-p", "platforms", multiple=True, help="Only what is for this platform; repeatable.")
@click.option("--tier", help="Only what customers of this tier may have (policies/tiers.yaml).")
@click.option("--verify", "check", is_flag=True, help="Read and check every blob at the source before anything is written.")
@click.option("--key", "keys", type=_PATH, multiple=True, help="Write only what this public key signed; repeatable.")
@click.option("--trust", "trust_file", type=_PATH, help="A file of keys, each with its time and scope, and of what is revoked.")
@click.option("--prune", is_flag=True, help="Then take versions away from DST that were not mirrored.")
@click.option("--keep", type=click.IntRange(0), help="With --prune: but not the newest N of those that are there.")
@click.option("--keep-tags", metavar="PATTERN", multiple=True, help="With --prune: nor those that look like this; repeatable.")
@click.option("--dry-run", is_flag=True, help="Write nothing; say what would be sent, mounted, and is there already.")
@click.option("--watch", metavar="TIME", help="Do it again and again, with this pause, as in 30s, 15m or 1h.")
@transfer_options
@click.pass_obj
def command(
    console: Console,
    source: str,
    destinations: tuple[str, ...],
    channels: tuple[str, ...],
    versions: str | None,
    patterns: tuple[str, ...],
    platforms: tuple[str, ...],
    tier: str | None,
    check: bool,
    keys: tuple[Path, ...],
    trust_file: Path | None,
    prune: bool,
    keep: int | None,
    keep_tags: tuple[str, ...],
    dry_run: bool,
    watch: str | None,
    plain_http: bool,
    ca_file: Path | None,
    jobs: int,
) -> None:
    """Bring releases or images from SRC to one or many DST, with all that refers to them: signatures, SBOMs, artifacts.

    SRC and DST are HOST/NAMESPACE (its releases and the names beside them), HOST/REPOSITORY, or a folder with a store; SRC may
    also be one image, HOST/REPOSITORY:TAG or @DIGEST. Without --channel, --versions or --tags every tag is mirrored. What is
    there is not sent; a blob is read once for all destinations; names come last. One thing that fails does not stop the
    others: exit code 1.

    Prints what was copied, and with --dry-run what would be.
    """
    from nexus_oci.bases.host import default_cache
    from nexus_oci.mirroring.selection import Retention, Selection
    from nexus_oci.mirroring.versions import VersionRange
    from nexus_oci.pipeline.mirror import Mirroring, Wish

    if (keep is not None or keep_tags) and not prune:
        raise UsageError("--keep and --keep-tags go with --prune", why="without it nothing is taken away")
    interval = _seconds(watch) if watch else None
    ranged = VersionRange.parse(versions) if versions else None
    wish = Wish(
        source=source,
        destinations=destinations,
        selection=Selection(channels=channels, versions=ranged, patterns=patterns),
        access=access(console, plain_http, ca_file),
        spool=default_cache(console.environment, Path.home()) / "mirror",
        keep=_keeping(console, platforms, tier),
        check=check,
        trust=_trust(keys, trust_file),
        retention=Retention(newest=keep or 0, patterns=keep_tags) if prune else None,
        plan=dry_run,
        jobs=jobs,
    )
    with contextlib.closing(Mirroring(wish)) as mirroring:
        if interval is None:
            _end(_show(console, _run(console, mirroring)))
        else:
            _watch(console, mirroring, interval)


def _run(console: Console, mirroring: Mirroring) -> Report:
    from nexus_oci.cli.transfer_display import transfer_events
    from nexus_oci.pipeline.progress import StepChanged

    with console.display() as display:
        display.step(StepChanged(step="mirror", state="started"))
        report = mirroring.run(on_event=transfer_events(display, "mirror"), on_done=_telling(console, display))
        display.step(StepChanged(step="mirror", state="failed" if report.failures else "done", note=_sum(report)))
    return report


def _telling(console: Console, display: Display) -> Callable[[Done, Place], None]:
    """Says at once what was copied, what failed, and what was made smaller."""

    def tell(done: Done, place: Place) -> None:
        if done.state == "copied" and not console.as_json:
            name = f"{place.name}/{done.wanted.name}".replace("/:", ":").replace("/@", "@")
            console.result(f"{name} {done.digest}")
        if done.failure is not None:
            why = f" ({done.failure.why})" if done.failure.why else ""
            display.say(f"failed: {done.wanted.name} to {place.name}: {done.failure.what}{why}")
        elif done.reduced_from is not None and done.tally.changed:
            display.say(
                f"{done.wanted.name} was made smaller: it is {done.digest} at {place.name}, and the signatures of"
                f" {done.reduced_from} are not its own"
            )

    return tell


def _sum(report: Report) -> str:
    tallies = [destination.tally for destination in report.destinations]
    words = "to send" if report.plan else "sent"
    return (
        f"{human_size(sum(one.bytes_sent for one in tallies))} {words},"
        f" {human_size(sum(one.bytes_mounted for one in tallies))} mounted,"
        f" {human_size(sum(one.bytes_present for one in tallies))} there already"
    )


def _show(console: Console, report: Report) -> Report:
    """The results, on stdout; the report again."""
    if console.as_json:
        console.data(report.to_json())
        return report
    for destination in report.destinations:
        _show_pruned(console, destination)
        if report.plan:
            one = destination.tally
            console.result(
                f"{destination.place.name}: {human_size(one.bytes_sent)} to send ({one.blobs_sent} blobs,"
                f" {one.manifests_sent} manifests), {human_size(one.bytes_mounted)} to mount ({one.blobs_mounted} blobs),"
                f" {human_size(one.bytes_present)} there already ({one.blobs_present} blobs), {one.tags_written} names to write"
            )
    return report


def _show_pruned(console: Console, destination: Destination) -> None:
    if destination.pruned is None:
        return
    for tag in destination.pruned.tags:
        console.result(f"removed {destination.place.name}/{tag}")
    for tag in destination.pruned.stayed:
        console.say(f"{destination.place.name}/{tag} stays: the registry takes away no tag of a manifest that has others")


def _end(report: Report) -> None:
    """Raise what the run comes down to, if anything failed: the one error, or one that counts them."""
    failures = report.failures
    if not failures:
        return
    if report.failed == 1 and report.items <= 1:
        raise failures[0]
    shown = "; ".join(dict.fromkeys(error.what for error in failures[:_SHOWN]))
    raise _CLASSES.get(report.exit_code, NexusError)(
        f"{report.failed} of {report.items} could not be mirrored",
        why=shown + (f"; and {report.failed - _SHOWN} more" if report.failed > _SHOWN else ""),
        hint="run the same command again: what arrived will not be sent twice",
    )


def _watch(console: Console, mirroring: Mirroring, interval: float) -> None:
    from nexus_oci.pipeline.mirror import watch

    for report in watch(mirroring, interval, lambda one: _run(console, one)):
        if isinstance(report, NexusError):
            console.say(f"failed: {report}")
        else:
            _show(console, report)


def _trust(keys: Sequence[Path], trust_file: Path | None) -> Trust | None:
    if not keys and trust_file is None:
        return None
    from nexus_oci.trust.verification import Trust, load_trust, trusted_file

    trust = load_trust(trust_file) if trust_file else Trust(keys=())
    return trust.with_keys([trusted_file(path) for path in keys])


def _keeping(console: Console, platforms: tuple[str, ...], tier: str | None) -> Keep | None:
    """What --platform and --tier leave; None where that is everything."""
    from nexus_oci.cli.session import parse_platforms
    from nexus_oci.mirroring.reduce import both, for_platforms, for_tier

    keeps: list[Any] = []
    if platforms:
        keeps.append(for_platforms(parse_platforms(platforms)))
    if tier is not None:
        from nexus_oci.pipeline.project import default_folder
        from nexus_oci.policy.judging import known_tier
        from nexus_oci.policy.loading import load_policy

        rules = known_tier(load_policy(console.directory, default_folder()), tier)
        keeps.append(for_tier(rules.distributions, {str(name): formats for name, formats in rules.formats.items()}))
    return None if not keeps else keeps[0] if len(keeps) == 1 else both(*keeps)


def _seconds(text: str) -> float:
    found = re.fullmatch(r"(\d+)([smhd])", text)
    if found is None or not int(found[1]):
        raise UsageError(f"{text!r} is no time to wait", hint="write a number and its unit, as in 30s, 15m or 1h")
    return float(int(found[1]) * _UNITS[found[2]])
