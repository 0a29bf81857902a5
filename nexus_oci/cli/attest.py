"""`nexus-oci attest`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nexus_oci.cli.console import Console
from nexus_oci.cli.options import access, read_signer, signing_options, transfer_options
from nexus_oci.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from nexus_oci.oci.values import Digest
    from nexus_oci.pipeline.attest import Attested, Kind

_KINDS = ("spdx", "cyclonedx", "provenance")


@click.command()
@click.argument("target", metavar="[REFERENCE|DIST]", required=False)
@signing_options("--key", "key", identity=False)
@click.option("--type", "kinds", multiple=True, type=click.Choice(_KINDS), help="Only this kind of statement; repeatable.")
@click.option(
    "--provenance",
    "file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The provenance.json that the build left. Default: the one beside the store, or in dist.",
)
@click.option(
    "--builder-id", metavar="URI", help="Who built it, as verifiers will ask for it: the URI of a CI workflow, for instance."
)
@click.option("--release", help="The version to attest, where a store has several.")
@transfer_options
@click.pass_obj
def command(
    console: Console,
    target: str | None,
    key: str | None,
    passphrase_file: str | None,
    kinds: tuple[Kind, ...],
    file: Path | None,
    builder_id: str | None,
    release: str | None,
    plain_http: bool,
    ca_file: Path | None,
    jobs: int,
) -> None:
    """Say, signed, what is in every image and artifact of a release, and how the release was made.

    Every image and artifact gets an SBOM in SPDX and in CycloneDX; these and every index and chart get SLSA provenance. They are
    in-toto statements in sigstore bundles, which refer to what they are about: `cosign verify-attestation --key` reads them. What
    this key has said already is not said again. Prints the digest that was attested.
    """
    from nexus_oci.cli.session import find_store, only_root
    from nexus_oci.oci.reference import Reference
    from nexus_oci.pipeline.attest import KINDS, Request, attest_in_registry, attest_store
    from nexus_oci.pipeline.describe import Description, check_libraries

    if key is None:
        raise UsageError(
            "a statement that nobody signs proves nothing",
            why="no key was given",
            hint="run `nexus-oci keygen` once, then give its key with --key; `nexus-oci build --sbom` writes unsigned SBOMs",
        )
    wanted = kinds or KINDS
    if any(kind != "provenance" for kind in wanted):
        check_libraries()
    signer = read_signer(console, key, passphrase_file)
    store = find_store(console, target)

    def tell(found: Description) -> None:
        if not console.quiet:
            catalogue = found.catalogue
            console.say(f"{found.name}: {len(catalogue.packages)} packages, {len(catalogue.files)} files")

    if store is not None:
        root = only_root(store, release)
        near = file or store.root.parent / "provenance.json"
        provenance = _provenance(near, root.digest, builder_id) if "provenance" in wanted else None
        done = attest_store(store, root, Request(signer=signer, kinds=wanted, provenance=provenance), tell)
    else:
        assert target is not None  # noqa: S101  without one there is a store or an error
        reach = access(console, plain_http, ca_file)
        reference = Reference.parse(target)
        root = reach.end(reference).resolve(reference.target)
        near = file or console.dist / "provenance.json"
        provenance = _provenance(near, root.digest, builder_id) if "provenance" in wanted else None
        request = Request(signer=signer, kinds=wanted, provenance=provenance)
        done = attest_in_registry(reference.at(root.digest), reach, request, tell, jobs=jobs)
    _report(console, done, signer.public.fingerprint)


def _report(console: Console, done: Attested, key: str) -> None:
    if console.as_json:
        counts = {"manifests": done.manifests, "statements": done.statements, "added": done.added}
        console.data({"digest": done.root.digest, "key": key, **counts})
        return
    console.result(done.root.digest)
    if not console.quiet:
        console.say(f"{done.statements} statements about {done.manifests} manifests; {done.added} were added")


def _provenance(file: Path, about: Digest, builder: str | None) -> Mapping[str, Any]:
    """The predicate in a build's provenance.json, with the builder's id where one is given."""
    from nexus_oci.pipeline.provenance import read_unsigned

    try:
        data = file.read_bytes()
    except OSError as error:
        raise NotFoundError(
            "there is no provenance of the release",
            why=f"{file}: {error.strerror}",
            hint="name the provenance.json of its build with --provenance, or attest only what is in it: "
            "--type spdx --type cyclonedx",
        ) from error
    predicate = read_unsigned(data, about, str(file))
    return _with_builder(predicate, builder) if builder else predicate


def _with_builder(predicate: Mapping[str, Any], builder: str) -> dict[str, Any]:
    """The predicate with another builder's id."""
    details = dict(predicate["runDetails"])
    return {**predicate, "runDetails": {**details, "builder": {**details["builder"], "id": builder}}}
