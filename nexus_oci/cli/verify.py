"""`nexus-oci verify`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nexus_oci.cli.certified_options import certified_trust, certified_trust_options
from nexus_oci.cli.console import Console, human_size
from nexus_oci.cli.options import access, transfer_options
from nexus_oci.cli.policy_report import show
from nexus_oci.errors import UsageError, VerificationError

if TYPE_CHECKING:
    from nexus_oci.oci.values import Descriptor, Digest
    from nexus_oci.pipeline.read_once import ReadOnce
    from nexus_oci.pipeline.registries import Access
    from nexus_oci.pipeline.verify import Believed, Verification
    from nexus_oci.policy.judging import Verdict
    from nexus_oci.transfer.ends import Source
    from nexus_oci.trust.verification import Trust

_PATH = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command()
@click.argument("target", metavar="[REFERENCE|DIST|FILE]", required=False)
@click.option("--release", help="The version to verify, where a store has several.")
@click.option("--key", "keys", type=_PATH, multiple=True, help="A public key; repeatable: any one of them is enough.")
@click.option("--trust", "trust_file", type=_PATH, help="A file of keys, each with its time and scope, and of what is revoked.")
@click.option(
    "--openpgp-certificate", "certificates", type=_PATH, multiple=True, help="An OpenPGP certificate, or several; repeatable."
)
@certified_trust_options
@click.option("--signature", type=_PATH, help="The signature of FILE. Default: FILE.sig, FILE.asc or FILE.prov.")
@click.option(
    "--builder-id",
    "builders",
    metavar="URI",
    multiple=True,
    help="Who may have built it, as its provenance says; `*` is anything.",
)
@click.option("--revoked", type=_PATH, multiple=True, help="A list of digests that are refused: of manifests, blobs, or keys.")
@click.option("--tier", help="Hold it to the policy of this tier too: what it may carry, what has to be proved, and the gates.")
@click.option("--offline", is_flag=True, help="Open no connection: only what is on this disk can be verified.")
@click.option("--shallow", is_flag=True, help="Manifests and signatures only; no blobs.")
@click.option("--unpack", is_flag=True, help="Unpack the layers of signed images too, and compare them with their configs.")
@click.option("--verbose", "-v", is_flag=True, help="Say each step on stderr.")
@transfer_options
@click.pass_obj
def command(
    console: Console,
    target: str | None,
    release: str | None,
    keys: tuple[Path, ...],
    trust_file: Path | None,
    certificates: tuple[Path, ...],
    signature: Path | None,
    builders: tuple[str, ...],
    revoked: tuple[Path, ...],
    tier: str | None,
    offline: bool,
    shallow: bool,
    unpack: bool,
    verbose: bool,
    plain_http: bool,
    ca_file: Path | None,
    jobs: int,
) -> None:
    """Read everything that a release holds, in a store or a registry, recompute every digest and size, and check who signed it.

    1. The reference is resolved to a digest, once. 2. Every manifest is read: raw bytes, size, digest. 3. So is every child,
    referrer and blob; images are what their configs say. 4. With --key or --trust, the root and every part of a release has to be
    signed by a trusted key, over that very digest, and SHA256SUMS beside a store too; by whom --notation-root vouches for, or
    --certificate-identity names, is as good for manifests; with an OpenPGP certificate, every chart has to have a good
    provenance file, and SHA256SUMS a good SHA256SUMS.asc. 5. Statements are of the type that they are said to
    be, and with --builder-id everything has a provenance by that builder. 6. No key has expired, and nothing is revoked. 7. With
    --tier, the release meets that tier's policy (exit code 3 where it does not). Of a FILE the detached signature is checked, or
    that of the SHA256SUMS which lists it.
    """
    from nexus_oci.pipeline.verify import verify_release

    trust = _trust(keys, trust_file, certificates)
    gone = _revoked(revoked)
    if builders and trust is None:
        raise UsageError(
            "--builder-id needs a key", why="anybody can write a provenance", hint="name whose word counts with --key"
        )
    trust = trust.with_builders(builders).with_revoked(gone) if trust else None
    file = _file(console, target)
    if file is not None and tier is not None:
        raise UsageError("--tier is for a release", why=f"{file} is a file")
    if file is not None:
        _verify_file(console, file, trust, signature)
        return
    if signature is not None:
        raise UsageError("--signature is for a FILE", why="the signatures of a release are in its store or registry")
    registries = access(console, plain_http, ca_file)
    source, root, believed, folder = _open(console, target, release, trust, registries, offline=offline, quick=shallow)
    with closing(source):
        result = verify_release(
            source,
            root,
            believed,
            shallow=shallow,
            unpack=unpack,
            revoked=gone,
            jobs=jobs,
            on_step=console.say if verbose else lambda _: None,
        )
        signers = _check_sums(folder, trust, result, shallow=shallow)
        verdict = _held_to(console, tier, source, root, result) if tier and not result.faults else None
    result.steps.append(f"7. it was held to the policy of the tier {tier}" if verdict else "7. it was held to no policy")
    if verbose:
        console.say(result.steps[-1])
    _report(console, target, root, result, signers, verdict)


def _trust(keys: Sequence[Path], trust_file: Path | None, certificates: Sequence[Path]) -> Trust | None:
    authorities, identities = certified_trust()
    if not (keys or certificates or authorities or identities) and trust_file is None:
        return None
    from nexus_oci.trust.verification import Trust, load_trust, trusted_certificates, trusted_file

    trust = load_trust(trust_file) if trust_file else Trust(keys=())
    trust = trust.with_certificates([found for path in certificates for found in trusted_certificates(path)])
    trust = trust.with_certified(authorities, identities)
    return trust.with_keys([trusted_file(path) for path in keys])


def _revoked(paths: Sequence[Path]) -> frozenset[Digest]:
    if not paths:
        return frozenset()
    from nexus_oci.trust.verification import read_revoked

    return frozenset().union(*map(read_revoked, paths))


def _file(console: Console, target: str | None) -> Path | None:
    """The file that the target names; None where it is a folder or a reference."""
    paths = [Path(target), console.directory / target] if target is not None else []
    return next((path for path in paths if path.is_file()), None)


def _verify_file(console: Console, path: Path, trust: Trust | None, signature: Path | None) -> None:
    from nexus_oci.pipeline.verify_files import verify_file

    if trust is None:
        raise UsageError(
            f"{path} is a file, and no key was given", hint="name the public key with --key, --openpgp-certificate or --trust"
        )
    found = verify_file(path, trust, datetime.now(UTC), signature)
    if console.as_json:
        key = {"key": found.key.name, "fingerprint": found.key.fingerprint}
        console.data({"file": str(path), "verified": True, "through": str(found.path), **key})
    else:
        listed = found.path.name == "SHA256SUMS" and not path.name.startswith("SHA256SUMS")
        through = f"{found.path} lists it, " if listed else ""
        console.result(f"verified {path}: {through}signed by {found.key.name}")


def _open(
    console: Console,
    target: str | None,
    release: str | None,
    trust: Trust | None,
    registries: Access,
    *,
    offline: bool,
    quick: bool,
) -> tuple[ReadOnce, Descriptor, Believed | None, Path | None]:
    """Where the release is read from, its digest, what its signatures are judged by, and the folder of a store."""
    from nexus_oci.cli.session import find_store, only_root
    from nexus_oci.oci.reference import Reference
    from nexus_oci.pipeline.attached import in_registry, in_store
    from nexus_oci.pipeline.read_once import ReadOnce
    from nexus_oci.pipeline.subjects import place_of, store_repository
    from nexus_oci.pipeline.verify import Believed
    from nexus_oci.transfer.store_end import StoreEnd

    now = datetime.now(UTC)
    store = find_store(console, target)
    if store is not None:
        root = only_root(store, release)
        repository = store_repository(store.tags(), root)
        locate = in_store(store)
        believed = Believed(trust=trust, now=now, locate=locate, repository=repository) if trust else None
        return ReadOnce(StoreEnd(store)), root, believed, store.root.parent
    assert target is not None  # noqa: S101  without one there is a store or an error
    reference = Reference.parse(target)
    if offline:
        raise UsageError(
            f"{target} is in a registry, and --offline forbids to ask it",
            hint="pull it first, and verify what was pulled",
        )
    once = ReadOnce(registries.reading_end(reference), quick=quick)
    try:
        root = once.resolve(reference.target)
        prefix, repository = place_of(reference, once.manifest(root))
    except BaseException:
        once.close()
        raise
    if trust is None:
        return once, root, None, None
    tag = reference.tag if reference.digest is None else None
    believed = Believed(trust=trust, now=now, locate=in_registry(once), repository=repository, prefix=prefix, tag=tag)
    return once, root, believed, None


def _check_sums(folder: Path | None, trust: Trust | None, result: Verification, *, shallow: bool) -> dict[str, str]:
    """Judge the list of files beside a store, and the files; who signed it, by the file of the signature."""
    if folder is None or trust is None:
        return {}
    from nexus_oci.pipeline.verify_files import sums_verified

    faults, notes, signers = sums_verified(folder, trust, datetime.now(UTC), hash_files=not shallow)
    result.faults += faults
    result.unchecked += notes
    return {name: key.name for name, key in signers.items()}


def _held_to(console: Console, tier: str, source: Source, root: Descriptor, result: Verification) -> Verdict:
    """What the policy of a tier says of a release that is as it should be."""
    from nexus_oci.cli.policy_report import standard_of
    from nexus_oci.pipeline.tier_check import check_verified

    return check_verified(source, root, standard_of(console, tier), result)


def _report(
    console: Console,
    target: str | None,
    root: Descriptor,
    result: Verification,
    sums: dict[str, str],
    verdict: Verdict | None,
) -> None:
    checked = result.signatures.checked if result.signatures else ()
    if console.as_json:
        console.data(
            {
                "digest": root.digest,
                "manifests": result.manifests,
                "blobs": result.blobs,
                "size": result.size,
                "faults": result.faults,
                "verified": not result.faults,
                "steps": result.steps,
                "signatures": [one.to_json() for one in checked],
                "charts": [one.to_json() for one in result.charts],
                "files": {name.removesuffix(".sig"): key for name, key in sums.items()},
                "unchecked": [*result.unchecked, *(result.signatures.unchecked if result.signatures else ())],
            }
            | ({"policy": verdict.to_json()} if verdict else {})
        )
    if result.faults:
        raise VerificationError(
            f"{target or console.dist}: {len(result.faults)} of its parts are not what they should be",
            why="; ".join(result.faults[:10]),
            hint="build or pull it again, and do not use what is there",
        )
    if console.as_json:
        if verdict is not None:
            verdict.enforce()
        return
    notes = [*result.unchecked, *(note for one in checked for note in (*one.refusals, *one.others))]
    console.result(f"verified {root.digest}: {result.manifests} manifests, {result.blobs} blobs, {human_size(result.size)}")
    for one in checked:
        console.result(_row(one))
    for chart in result.charts:
        place = f"{chart.subject.repositories[0]}@{chart.subject.digest.short}"
        console.result(f"  {'chart':<10} {place:<44} {chart.certificate.name} (OpenPGP)")
    for name, key in sums.items():
        console.result(f"  {'files':<10} {name.removesuffix('.sig'):<44} {key}")
    for note, count in () if console.quiet else Counter(notes).items():
        console.say(f"not checked: {note}" + (f" ({count} times)" if count > 1 else ""))
    if verdict is not None:
        show(console, verdict)
        verdict.enforce()


def _row(one: Any) -> str:
    """A line of the table: what, where, digest, and by whom it is signed, in which forms."""
    forms: dict[str, list[str]] = {}
    for form, key in one.signers:
        forms.setdefault(key.name, []).append(form)
    who = ", ".join(f"{name} ({', '.join(sorted(set(found)))})" for name, found in forms.items())
    subject = one.subject
    place = f"{subject.repositories[0]}@{subject.digest.short}"
    more = f"; {len(one.statements)} statements" if one.statements else ""
    return f"  {subject.kind:<10} {place:<44} {who or 'covered by the index above it'}{more}"
