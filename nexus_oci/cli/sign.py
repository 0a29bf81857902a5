"""`nexus-oci sign`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nexus_oci.cli.certified_options import certified_signing_options, signatories, signs_with_key_alone
from nexus_oci.cli.console import Console
from nexus_oci.cli.options import access, openpgp_options, read_signer, signing_options, transfer_options
from nexus_oci.cli.options import openpgp_key as read_openpgp_key
from nexus_oci.errors import UsageError

if TYPE_CHECKING:
    from nexus_oci.oci.store import Store
    from nexus_oci.oci.values import Descriptor
    from nexus_oci.pipeline.registries import Access
    from nexus_oci.pipeline.signatories import Signatory
    from nexus_oci.pipeline.signing_release import Signed
    from nexus_oci.trust.keys import Signer
    from nexus_oci.trust.openpgp import SigningKey


@click.command()
@click.argument("target", metavar="[REFERENCE|DIST]", required=False)
@signing_options("--key", "key")
@certified_signing_options
@openpgp_options
@click.option("--release", help="The version to sign, where a store has several.")
@transfer_options
@click.pass_obj
def command(
    console: Console,
    target: str | None,
    key: str | None,
    passphrase_file: str | None,
    identity: str | None,
    openpgp_key: str | None,
    openpgp_passphrase_file: Path | None,
    openpgp_certificate: Path | None,
    release: str | None,
    plain_http: bool,
    ca_file: Path | None,
    jobs: int,
) -> None:
    """Sign every manifest of a release, in a store or a registry: index, images, artifacts, chart, and the release itself.

    Each gets what podman and older cosigns read (a .sig tag) and what cosign 3 reads (a sigstore bundle that refers to it).
    Beside a store SHA256SUMS is signed too, in SHA256SUMS.sig; with --openpgp-key in SHA256SUMS.asc, and with that key alone
    nothing else. With --notation each gets a signature of the Notary Project in their place, by the key's chain of certificates,
    and with --keyless one by identity, with a certificate and an entry in a transparency log. What was signed already by the same
    signatory is left alone. Prints the digest that was signed.
    """
    from nexus_oci.cli.session import find_store, only_root

    store = find_store(console, target)
    if store is None and openpgp_key is not None:
        raise UsageError(
            "an OpenPGP key signs files, and a registry has none",
            why="it signs SHA256SUMS beside a store; a chart, which is in a registry too, is signed while it is built",
            hint="give the key to `nexus-oci build`, and push that",
        )
    openpgp = read_openpgp_key(console, openpgp_key, openpgp_passphrase_file, openpgp_certificate) if store else None
    others = signatories(console, key, passphrase_file)
    if key is None and openpgp is None and not others:
        raise UsageError("no key was given to sign with", hint="add --key KEY, or --openpgp-key KEY for SHA256SUMS.asc alone")
    signer = read_signer(console, key, passphrase_file) if key is not None and signs_with_key_alone() else None
    if store is None:
        assert target is not None  # noqa: S101  without a store there is a reference
        signed = _in_registry(target, signer, others, access(console, plain_http, ca_file), identity, jobs)
    else:
        signed = _in_store(console, store, only_root(store, release), signer, others, openpgp, identity)
    if console.as_json:
        console.data(
            {
                "digest": signed.root.digest,
                "manifests": signed.manifests,
                "added": signed.added,
                "key": signer.public.fingerprint if signer else None,
                "others": [one.name for one in others],
                "openpgp": openpgp.fingerprint if openpgp else None,
                "files": [str(path) for path in signed.files],
            }
        )
        return
    console.result(signed.root.digest)
    if not console.quiet:
        files = ", ".join(path.name for path in signed.files)
        console.say(
            f"{signed.manifests} manifests are signed; {signed.added} signatures were added{f'; {files}' if files else ''}"
            if signer or others
            else f"no manifest was signed, as no --key was given; {files or 'there is no SHA256SUMS here'}"
        )


def _in_registry(
    target: str, signer: Signer | None, others: Sequence[Signatory], registries: Access, identity: str | None, jobs: int
) -> Signed:
    from nexus_oci.oci.reference import Reference
    from nexus_oci.pipeline.signing_release import sign_in_registry

    if identity is not None:
        raise UsageError("--identity is for stores", why="signatures in a registry name the repository that they are in")
    return sign_in_registry(Reference.parse(target), registries, signer, others=others, jobs=jobs)


def _in_store(
    console: Console,
    store: Store,
    root: Descriptor,
    signer: Signer | None,
    others: Sequence[Signatory],
    openpgp: SigningKey | None,
    identity: str | None,
) -> Signed:
    """Sign with the keys that were given: the manifests with one, and by `others`, the list of files with both keys."""
    from nexus_oci.pipeline.signing_release import SUMS, Signed, sign_store
    from nexus_oci.pipeline.signing_texts import TextSigner, release_epoch, sign_sums

    signed = (
        sign_store(store, root, signer, prefix=_prefix(console, store, identity) if signer else "", others=others)
        if signer or others
        else Signed(root=root, manifests=0, added=0)
    )
    if openpgp is None:
        return signed
    epoch = release_epoch(store, root)
    if openpgp.token is None:
        texts = TextSigner(key=openpgp, epoch=epoch)
        return replace(signed, files=(*signed.files, *sign_sums(store.root.parent, SUMS, texts)))
    from nexus_oci.cli.session import Session
    from nexus_oci.pipeline.build import text_signer

    session = Session(console)
    with session.display() as display:
        texts = text_signer(session.settings(key=openpgp, say=display.say), openpgp, store, epoch, session.engine, display)
        return replace(signed, files=(*signed.files, *sign_sums(store.root.parent, SUMS, texts)))


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
