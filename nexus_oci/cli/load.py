"""`nexus-oci load`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nexus_oci.cli.bundle import believed_keys, fail_on_faults
from nexus_oci.cli.console import Console, human_size
from nexus_oci.cli.options import access, transfer_options
from nexus_oci.errors import StoreError, UsageError

if TYPE_CHECKING:
    from nexus_oci.bundle.opened import Bundle
    from nexus_oci.cli.display import Display
    from nexus_oci.oci.reference import Reference
    from nexus_oci.pipeline.audit import AuditLog
    from nexus_oci.pipeline.bundle_checks import BundleReport
    from nexus_oci.pipeline.load import Loaded

_FILE = click.Path(path_type=Path)
_KEY = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command()
@click.argument("files", metavar="FILE…", nargs=-1, required=True, type=_FILE)
@click.argument("destination", metavar="HOST/NAMESPACE|FOLDER")
@click.option("--key", "keys", type=_KEY, multiple=True, help="A public key of this site; repeatable: any one of them is enough.")
@click.option("--trust", "trust_file", type=_KEY, help="A file of keys, each with its time and scope, and of what is revoked.")
@click.option("--insecure-skip-signatures", is_flag=True, help="Load although nothing says who made the bundle.")
@click.option("--values", type=_FILE, help="A folder for the values that let charts name this registry.")
@click.option("--audit", type=_FILE, help="The record to append to. Default: ~/.local/state/nexus-oci/audit.jsonl.")
@click.option("--verbose", "-v", is_flag=True, help="Say each step of the verification on stderr.")
@transfer_options
@click.pass_obj
def command(
    console: Console,
    /,
    files: Sequence[Path],
    destination: str,
    keys: tuple[Path, ...],
    trust_file: Path | None,
    insecure_skip_signatures: bool,
    values: Path | None,
    audit: Path | None,
    verbose: bool,
    jobs: int,
    **registry: Any,
) -> None:
    """Verify a bundle with this site's keys, then bring it to a registry, or to a store in FOLDER/oci.

    FILE… is the bundle, or its parts in any order; NAME alone stands for the parts NAME.001 … beside it. The only connection
    is to the destination. What is there already is not sent again; names are written last. Prints the digest, then every name.
    """
    from nexus_oci.bundle.opened import open_bundle
    from nexus_oci.pipeline.audit import AuditLog, default_audit
    from nexus_oci.pipeline.bundle_checks import check_bundle, demand_trust
    from nexus_oci.pipeline.progress import StepActivity, StepChanged

    trust = believed_keys(keys, trust_file)
    demand_trust(trust, insisted=insecure_skip_signatures)
    reference = _reference(destination)
    if values is not None and reference is None:
        raise UsageError("--values is for registries", why="what is in a folder keeps its names")
    log = AuditLog(path=audit or default_audit(console.environment, Path.home()))
    with open_bundle(files) as bundle, console.display() as display:
        display.step(StepChanged(step="verify", state="started"))
        read = 0

        def progress(count: int) -> None:
            nonlocal read
            read += count
            display.activity(StepActivity(step="verify", activity="reading", done=read))

        say = display.say if verbose else lambda _: None
        report = check_bundle(bundle, trust, datetime.now(UTC), jobs=jobs, on_step=say, progress=progress)
        fail_on_faults(bundle, report)
        display.step(StepChanged(step="verify", state="done", note=f"signed by {report.signer.name}" if report.signer else ""))
        for note in report.notes:
            display.say(f"note: {note}")
        loaded = _recorded(
            bundle,
            report,
            destination,
            files,
            log,
            lambda: _load(console, bundle, reference, destination, jobs, registry, display),
        )
    _show(console, bundle, report, loaded, values)


def _reference(destination: str) -> Reference | None:
    """HOST/NAMESPACE; None for a folder, which is there already or is written as a path."""
    from nexus_oci.pipeline.push import parse_destination

    if Path(destination).is_dir() or destination.startswith(("/", "./", "../")) or destination in (".", ".."):
        return None
    return parse_destination(destination)


def _recorded(bundle: Bundle, report: BundleReport, destination: str, files: Sequence[Path], log: AuditLog, work: Any) -> Loaded:
    """Do the work between two lines of the record."""
    fields = {
        "bundle": bundle.digest,
        "files": [str(path) for path in files],
        "release": bundle.inventory.release.digest,
        "destination": destination,
        "keys": [{"name": report.signer.name, "fingerprint": report.signer.key.fingerprint}] if report.signer else [],
    }
    log.append("load-started", fields)
    try:
        loaded: Loaded = work()
    except BaseException as error:
        log.append("load-failed", {**fields, "reason": str(error).partition("\n")[0] or type(error).__name__})
        raise
    log.append("load-done", {**fields, "names": list(loaded.names)})
    return loaded


def _load(
    console: Console,
    bundle: Bundle,
    reference: Reference | None,
    destination: str,
    jobs: int,
    registry: dict[str, Any],
    display: Display,
) -> Loaded:
    from nexus_oci.cli.transfer_display import transfer_events
    from nexus_oci.oci.store import Store
    from nexus_oci.pipeline.load import load_to_registry, load_to_store, summed
    from nexus_oci.pipeline.progress import StepChanged

    display.step(StepChanged(step="load", state="started"))
    events = transfer_events(display, "load")
    if reference is None:
        folder = Path(destination)
        store = Store.create(folder if (folder / "oci-layout").is_file() else folder / "oci")
        loaded = load_to_store(bundle, store, jobs=jobs, on_event=events)
    else:
        loaded = load_to_registry(bundle, reference, access(console, **registry), jobs=jobs, on_event=events)
    done = summed(loaded.reports)
    note = f"{human_size(done['bytes_sent'])} sent, {done['blobs_mounted']} blobs mounted, {done['blobs_skipped']} there already"
    display.step(StepChanged(step="load", state="done", note=note))
    return loaded


def _show(console: Console, bundle: Bundle, report: BundleReport, loaded: Loaded, values: Path | None) -> None:
    from nexus_oci.pipeline.load import summed

    relocation = loaded.relocation
    written = _write_values(values, loaded) if values is not None else []
    if console.as_json:
        console.data(
            {
                "digest": loaded.release.digest,
                "bundle": bundle.digest,
                "names": list(loaded.names),
                "key": report.signer.name if report.signer else None,
                "relocation": relocation.to_json() if relocation else None,
                "record": loaded.record.digest if loaded.record else None,
                "values": [str(path) for path in written],
                "notes": [*report.notes, *loaded.notes],
                **summed(loaded.reports),
            }
        )
        return
    console.result(loaded.release.digest)
    for name in loaded.names:
        console.result(name)
    for path in written:
        console.result(str(path))
    for note in loaded.notes:
        console.say(f"note: {note}")
    if relocation is not None and relocation.values and not written and not console.quiet:
        console.say("charts name the registry that they were built for; --values FOLDER writes the values that name this one")


def _write_values(folder: Path, loaded: Loaded) -> list[Path]:
    from nexus_oci.pipeline.relocation import values_file, values_name

    written = []
    for chart, values in loaded.relocation.values.items() if loaded.relocation else ():
        path = folder / values_name(chart)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path.write_bytes(values_file(values))
        except OSError as error:
            raise StoreError(f"cannot write {path}", why=error.strerror or str(error)) from error
        written.append(path)
    return written
