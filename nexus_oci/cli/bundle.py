"""`nexus-oci bundle`: create, inspect, verify, diff."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nexus_oci.cli.console import Console, human_size
from nexus_oci.cli.options import access, read_signer, signing_options, transfer_options
from nexus_oci.errors import UsageError, VerificationError

if TYPE_CHECKING:
    from nexus_oci.bundle.inventory import Inventory
    from nexus_oci.bundle.opened import Bundle
    from nexus_oci.pipeline.bundle_checks import BundleReport
    from nexus_oci.pipeline.bundle_origin import Origin
    from nexus_oci.pipeline.bundling import BundleRequest, Made
    from nexus_oci.pipeline.registries import Access
    from nexus_oci.trust.verification import Trust

_FILE = click.Path(path_type=Path)
_KEY = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.group()
def command() -> None:
    """A release, or what it has more than another, in one file or in parts, for a site with no network.

    A bundle is an OCI image layout in a tar with a signed inventory first: skopeo, oras, docker load, containerd and k3s read it.
    """


@command.command()
@click.argument("target", metavar="[REFERENCE|DIST]", required=False)
@click.option("--output", "-o", type=_FILE, required=True, help="The file; with --part-size the parts are FILE.001, FILE.002 …")
@click.option("--release", help="The version, where a store has several.")
@click.option("--platform", "-p", "platforms", multiple=True, help="Only this platform; repeatable.")
@click.option("--docker-platform", metavar="PLATFORM", help="The one for `docker load`, which knows one. Default: linux/amd64.")
@click.option("--since", metavar="VERSION", help="Only what this version at the same place has not.")
@click.option("--since-inventory", type=_KEY, help="Only what the site has not whose `nexus-oci inventory` this is.")
@click.option("--part-size", metavar="SIZE", help="Cut it into parts of at most this size, as in 4.7GB or 650MiB.")
@click.option("--parity", metavar="SHARE", help="Add parts so that this share of all (10%), or this many (2), may be lost.")
@click.option("--include-program", is_flag=True, help="Carry this program for the other side, for the Python that runs it here.")
@click.option("--registry-image", metavar="REF|FILE", help="Carry a registry's image: from a registry, a layout, `docker save`.")
@click.option(
    "--name", "prefix", metavar="HOST/NAMESPACE", help="What images are called. Default: where they are, or `registry`."
)
@click.option("--tier", help="The tier whose policy a store's release has to meet. Default: the definition's `tier`; else none.")
@signing_options("--key", "key", identity=False)
@transfer_options
@click.pass_obj
def create(
    console: Console,
    /,
    target: str | None,
    output: Path,
    release: str | None,
    platforms: tuple[str, ...],
    docker_platform: str | None,
    since: str | None,
    since_inventory: Path | None,
    part_size: str | None,
    parity: str | None,
    include_program: bool,
    registry_image: str | None,
    prefix: str | None,
    tier: str | None,
    key: str | None,
    passphrase_file: str | None,
    jobs: int,
    **registry: Any,
) -> None:
    """Put a release into one file, with all that refers to it: signatures, SBOMs, provenance, charts, artifacts.

    With --tier, or `tier:` in the definition, nothing is written of a release in a store that its policy refuses (exit code 3);
    of one in a registry ask `verify --tier`. Prints the files.
    """
    from nexus_oci.bundle.parts import parse_size
    from nexus_oci.cli.session import parse_platforms
    from nexus_oci.pipeline.bundling import BundleRequest
    from nexus_oci.pipeline.site_inventory import read_site_inventory

    if since is not None and since_inventory is not None:
        raise UsageError("--since and --since-inventory exclude each other", why="a delta stands on one base")
    registries = access(console, **registry)
    _hold_to_policy(console, target, release, tier)
    origin = _origin(console, target, release, prefix, registries)
    with contextlib.ExitStack() as stack:
        program = None
        if include_program:
            from nexus_oci.pipeline.carried_program import carry_program

            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="nexus-oci-program-"))
            program = carry_program(Path(folder), with_parity=parity is not None)
        request = BundleRequest(
            output=output,
            platforms=parse_platforms(platforms),
            docker_platform=next(iter(parse_platforms((docker_platform,) if docker_platform else ())), None),
            since=since,
            held=read_site_inventory(since_inventory) if since_inventory else None,
            part_size=parse_size(part_size) if part_size else None,
            parity=parity,
            registry_image=_registry_image(console, registry_image, registries, stack) if registry_image else None,
            program=program,
            signer=read_signer(console, key, passphrase_file) if key else None,
            jobs=jobs,
        )
        made = _made(console, origin, request)
    if console.as_json:
        files = [str(path) for path in made.files]
        console.data({"files": files, "digest": made.digest, "size": made.size, **_summary(made.inventory)})
        return
    for path in made.files:
        console.result(str(path))


def _made(console: Console, origin: Origin, request: BundleRequest) -> Made:
    """Make it, and show how it goes."""
    from nexus_oci.pipeline.bundling import create_bundle
    from nexus_oci.pipeline.progress import StepActivity, StepChanged

    moved = 0
    with console.display() as display:
        display.step(StepChanged(step="bundle", state="started"))

        def progress(count: int) -> None:
            nonlocal moved
            moved += count
            display.activity(StepActivity(step="bundle", activity="copying blobs", done=moved))

        made = create_bundle(origin, request, say=display.say, progress=progress)
        display.step(StepChanged(step="bundle", state="done", note=human_size(made.size)))
    return made


def _hold_to_policy(console: Console, target: str | None, release: str | None, tier: str | None) -> None:
    """Raise `PolicyError` for a release of a store that the tier's policy refuses."""
    from nexus_oci.cli.policy_report import held_to_policy
    from nexus_oci.cli.session import find_store, only_root

    store = find_store(console, target)
    if store is not None:
        held_to_policy(console, store, lambda: only_root(store, release), tier)
    elif tier is not None:
        raise UsageError(
            "--tier is for releases in a store",
            why="what is in a registry is judged with the keys of who signed it",
            hint=f"run `nexus-oci verify {target} --key … --tier {tier}` first",
        )


def _origin(console: Console, target: str | None, release: str | None, prefix: str | None, registries: Access) -> Origin:
    from nexus_oci.cli.session import find_store, only_root
    from nexus_oci.oci.reference import Reference
    from nexus_oci.pipeline.bundle_origin import origin_in_registry, origin_in_store
    from nexus_oci.pipeline.push import parse_destination

    store = find_store(console, target)
    named = str(parse_destination(prefix)) if prefix else None
    if store is not None:
        return origin_in_store(store, only_root(store, release), named if named is not None else _published(console, target))
    assert target is not None  # noqa: S101  without one there is a store or an error
    if named is not None:
        raise UsageError("--name is for stores", why="what is in a registry is called as it is there")
    return origin_in_registry(Reference.parse(target), registries)


def _published(console: Console, target: str | None) -> str:
    """The registry of the definition whose build left the store; empty where none is known."""
    from nexus_oci.definition import load
    from nexus_oci.pipeline.project import default_folder

    if target is not None and Path(target).resolve() != console.dist.resolve():
        return ""
    if not (console.directory / "images" / "nexus.yaml").is_file():
        return ""
    return load(console.directory, defaults=default_folder()).registry or ""


def _registry_image(console: Console, target: str, registries: Access, stack: contextlib.ExitStack) -> Origin:
    """The image out of a layout, an archive, which is kept in a temporary layout until the bundle is made, or a registry."""
    from nexus_oci.cli.session import find_store
    from nexus_oci.oci.reference import Reference
    from nexus_oci.pipeline.bundle_origin import origin_in_registry
    from nexus_oci.pipeline.carried_image import origin_in_layout, read_archive

    path = Path(target)
    if path.is_file():
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="nexus-oci-image-"))
        return origin_in_layout(read_archive(path, Path(folder) / "oci"))
    if path.is_dir():
        store = find_store(console, target)
        assert store is not None  # noqa: S101  a folder is a store, or an error was raised
        return origin_in_layout(store)
    return origin_in_registry(Reference.parse(target), registries)


@command.command()
@click.argument("files", nargs=-1, required=True, type=_FILE)
@click.pass_obj
def inspect(console: Console, files: Sequence[Path]) -> None:
    """Show what a bundle says it holds. Its structure is checked; its contents and who signed it are not."""
    from nexus_oci.bundle.opened import open_bundle

    with open_bundle(files) as bundle:
        inventory, parts = bundle.inventory, bundle.parts
        if console.as_json:
            import json

            plan = parts.plan if parts else None
            data = {"digest": bundle.digest, "signed": bool(bundle.signature), "inventory": json.loads(bundle.raw)}
            if plan is not None:
                missing = list(parts.missing) if parts else []
                data["parts"] = {
                    "data": plan.data,
                    "parity": plan.parity,
                    "missing": missing,
                    "chunkSize": plan.chunk_size,
                    "header": plan.header_length,
                }
            console.data(data)
            return
        console.result(f"bundle   {bundle.digest}{'' if bundle.signature else ' (not signed)'}")
        console.result(f"release  {inventory.release.digest} from {inventory.prefix or 'a store'}")
        for line in _lines(inventory):
            console.result(line)
        if parts is not None:
            console.result(
                f"parts    {parts.plan.data} and {parts.plan.parity} of parity, {human_size(parts.plan.part_size)} each"
            )
            for line in parts.report():
                console.result(f"         {line}")


def _lines(inventory: Inventory) -> list[str]:
    total = sum(one.size for one in inventory.contents)
    manifests = sum(one.is_manifest for one in inventory.contents)
    lines = [f"contents {manifests} manifests, {len(inventory.contents) - manifests} blobs, {human_size(total)}"]
    if inventory.platforms:
        lines.append(f"only     {', '.join(inventory.platforms)}; {len(inventory.left_out)} manifests were left out")
    if inventory.base is not None:
        size = sum(one.size for one in inventory.base.needed)
        lines.append(f"delta    on {inventory.base.name}, which has {len(inventory.base.needed)} more blobs, {human_size(size)}")
    if inventory.program is not None:
        lines.append(f"program  {inventory.program.name} for Python {inventory.program.python} on {inventory.program.platform}")
    if inventory.registry_image is not None:
        lines.append(f"registry {inventory.registry_image}")
    shown = [(name, one) for name, one in inventory.names.items() if "sha256-" not in name and "sha512-" not in name]
    return lines + [f"name     {name:<40} {one.digest}" for name, one in shown]


def _summary(inventory: Inventory) -> dict[str, Any]:
    return {
        "release": inventory.release.digest,
        "names": {name: one.digest for name, one in inventory.names.items()},
        "contents": len(inventory.contents),
        "needed": [one.digest for one in inventory.base.needed] if inventory.base else [],
    }


@command.command()
@click.argument("files", nargs=-1, required=True, type=_FILE)
@click.option("--key", "keys", type=_KEY, multiple=True, help="A public key of this site; repeatable: any one of them is enough.")
@click.option("--trust", "trust_file", type=_KEY, help="A file of keys, each with its time and scope, and of what is revoked.")
@click.option("--insecure-skip-signatures", is_flag=True, help="Check digests only: nothing says who made the bundle.")
@click.option("--verbose", "-v", is_flag=True, help="Say each step on stderr.")
@click.option("--jobs", "-j", default=4, show_default=True, type=click.IntRange(1, 64), help="Readers at once.")
@click.pass_obj
def verify(
    console: Console,
    files: Sequence[Path],
    keys: tuple[Path, ...],
    trust_file: Path | None,
    insecure_skip_signatures: bool,
    verbose: bool,
    jobs: int,
) -> None:
    """Recompute everything: every byte against the inventory, the inventory's signature, and the release as `verify` does.

    Opens no connection. Of a bundle in parts it names what is lost or damaged, and whether parity repairs it.
    """
    from nexus_oci.bundle.opened import open_bundle
    from nexus_oci.pipeline.bundle_checks import check_bundle, demand_trust

    trust = believed_keys(keys, trust_file)
    demand_trust(trust, insisted=insecure_skip_signatures)
    with open_bundle(files) as bundle:
        say = console.say if verbose else lambda _: None
        report = check_bundle(bundle, trust, datetime.now(UTC), deep=True, jobs=jobs, on_step=say)
        show_report(console, bundle, report)


def believed_keys(keys: Sequence[Path], trust_file: Path | None) -> Trust | None:
    """What the options say of keys; None where they say nothing."""
    if not keys and trust_file is None:
        return None
    from nexus_oci.trust.verification import Trust, load_trust, trusted_file

    trust = load_trust(trust_file) if trust_file else Trust(keys=())
    return trust.with_keys([trusted_file(path) for path in keys])


def show_report(console: Console, bundle: Bundle, report: BundleReport) -> None:
    """Say what was found; raises `VerificationError` where there are faults."""
    release = report.release
    notes = [*report.notes, *(release.unchecked if release else ())]
    signer = {"key": report.signer.name, "fingerprint": report.signer.key.fingerprint} if report.signer else None
    if console.as_json:
        console.data(
            {
                "digest": bundle.digest,
                "release": bundle.inventory.release.digest,
                "verified": not report.faults,
                "signer": signer,
                "signatures": [one.to_json() for one in release.signatures.checked] if release and release.signatures else [],
                "faults": list(report.faults),
                "notes": notes,
            }
        )
    fail_on_faults(bundle, report)
    if console.as_json:
        return
    count = len(bundle.inventory.contents)
    by = f"signed by {report.signer.name}" if report.signer else "signed by nobody that was asked for"
    console.result(f"verified {bundle.digest}: {count} manifests and blobs, {by}")
    console.result(f"release  {bundle.inventory.release.digest}")
    for note in dict.fromkeys(notes) if not console.quiet else ():
        console.say(f"note: {note}")


def fail_on_faults(bundle: Bundle, report: BundleReport) -> None:
    """Raise what a bundle with faults deserves."""
    if report.faults:
        raise VerificationError(
            f"{bundle.name}: {len(report.faults)} of its parts are not what they should be",
            why="; ".join(report.faults[:10]),
            hint="do not use it; get the bundle again from where it was made",
        )


@command.command()
@click.argument("before", type=_FILE)
@click.argument("after", type=_FILE)
@click.pass_obj
def diff(console: Console, before: Path, after: Path) -> None:
    """Show what two bundles hold that the other does not, by their inventories."""
    from nexus_oci.bundle.comparison import compare
    from nexus_oci.bundle.opened import open_bundle

    with open_bundle([before]) as first, open_bundle([after]) as second:
        found = compare(first.inventory, second.inventory)
        if console.as_json:
            console.data(found.to_json())
            return
        for line in found.lines():
            console.result(line)
