"""`nexus-oci sign`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from nexus_oci.cli.console import Console
from nexus_oci.cli.options import access, read_signer, signing_options, transfer_options
from nexus_oci.errors import UsageError

if TYPE_CHECKING:
    from nexus_oci.oci.store import Store


@click.command()
@click.argument("target", metavar="[REFERENCE|DIST]", required=False)
@signing_options("--key", "key", required=True)
@click.option("--release", help="The version to sign, where a store has several.")
@transfer_options
@click.pass_obj
def command(
    console: Console,
    target: str | None,
    key: str,
    passphrase_file: str | None,
    identity: str | None,
    release: str | None,
    plain_http: bool,
    ca_file: Path | None,
    jobs: int,
) -> None:
    """Sign every manifest of a release, in a store or a registry: index, images, artifacts, chart, and the release itself.

    Each gets what podman and older cosigns read (a .sig tag) and what cosign 3 reads (a sigstore bundle that refers to it).
    Beside a store SHA256SUMS is signed too. What this key has signed already is left alone. Prints the digest that was signed.
    """
    from nexus_oci.cli.session import find_store, only_root
    from nexus_oci.oci.reference import Reference
    from nexus_oci.pipeline.signing_release import sign_in_registry, sign_store

    store = find_store(console, target)
    signer = read_signer(console, key, passphrase_file)
    if store is None:
        if identity is not None:
            raise UsageError("--identity is for stores", why="signatures in a registry name the repository that they are in")
        assert target is not None  # noqa: S101  without one there is a store or an error
        signed = sign_in_registry(Reference.parse(target), access(console, plain_http, ca_file), signer, jobs=jobs)
    else:
        signed = sign_store(store, only_root(store, release), signer, prefix=_prefix(console, store, identity))
    if console.as_json:
        console.data(
            {
                "digest": signed.root.digest,
                "manifests": signed.manifests,
                "added": signed.added,
                "key": signer.public.fingerprint,
                "files": [str(path) for path in signed.files],
            }
        )
        return
    console.result(signed.root.digest)
    if not console.quiet:
        console.say(f"{signed.manifests} manifests are signed; {signed.added} signatures were added")


def _prefix(console: Console, store: Store, identity: str | None) -> str:
    """The HOST/NAMESPACE that signatures name: the option's, else the definition's beside the store, else none, which is told."""
    from nexus_oci.definition import load
    from nexus_oci.pipeline.project import default_folder
    from nexus_oci.pipeline.push import parse_destination
    from nexus_oci.pipeline.signing_release import NO_PREFIX

    built_here = store.root.resolve().parent == console.dist.resolve()
    if identity is None and built_here and (console.directory / "images" / "nexus.yaml").is_file():
        identity = load(console.directory, defaults=default_folder()).registry
    if identity:
        return str(parse_destination(identity))
    console.say(NO_PREFIX)
    return ""
