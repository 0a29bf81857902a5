"""`nexus-oci reproduce`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from nexus_oci.cli.console import Console
from nexus_oci.cli.options import access, openpgp_options, registry_options
from nexus_oci.cli.options import openpgp_key as read_key
from nexus_oci.errors import VerificationError

if TYPE_CHECKING:
    from nexus_oci.oci.values import Descriptor
    from nexus_oci.pipeline.provenance import Kept
    from nexus_oci.pipeline.reproduce import Reproduction
    from nexus_oci.transfer.ends import Source


@click.command()
@click.argument("target", metavar="[REFERENCE|DIST]", required=False)
@click.option(
    "--key",
    "keys",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A public key that the provenance must be signed by; repeatable, for any of several.",
)
@click.option(
    "--provenance",
    "file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The provenance.json that the build left, where none is attached to the release.",
)
@click.option("--use-cache", is_flag=True, help="Let the engine reuse what it built before: quicker, and less of a proof.")
@click.option("--jobs", "-j", default=4, show_default=True, type=click.IntRange(1, 64), help="Steps at once.")
@click.option("--release", help="The version to reproduce, where a store has several.")
@registry_options
@openpgp_options
@click.pass_obj
def command(
    console: Console,
    target: str | None,
    keys: tuple[Path, ...],
    file: Path | None,
    use_cache: bool,
    jobs: int,
    release: str | None,
    plain_http: bool,
    ca_file: Path | None,
    openpgp_key: str | None,
    openpgp_passphrase_file: Path | None,
    openpgp_certificate: Path | None,
) -> None:
    """Build a release again from the definition here, as its provenance says, and name everything that is not the same.

    The new build is thrown away. Exit code 4 where anything differs: each line says where, down to the file, its field or line or
    byte, and what it was in the release and is now.
    """
    from nexus_oci.cli.session import Session, open_release
    from nexus_oci.pipeline.reproduce import Original, reproduce

    source, root = open_release(console, target, release, access(console, plain_http, ca_file))
    kept = _kept(console, source, root, keys, file, target)
    if kept.signed_by is None:
        console.say("whose word the provenance is was not checked: --key FILE names a public key that it must be signed by")
    session = Session(console)
    key = read_key(console, openpgp_key, openpgp_passphrase_file, openpgp_certificate)
    with session.display() as display:
        settings = session.settings(key=key, say=display.say)
        original = Original(source=source, root=root, kept=kept)
        found = reproduce(original, settings, session.engine, display, use_cache=use_cache, jobs=jobs)
    _report(console, found)
    if not found.is_same:
        raise VerificationError(
            f"{root.digest} was not reproduced",
            why=f"{len(found.inputs)} inputs and {len(found.differences)} details differ",
            hint="check out the commit that the provenance names, without changes of your own, and run this there",
        )


def _kept(
    console: Console, source: Source, root: Descriptor, keys: tuple[Path, ...], file: Path | None, target: str | None
) -> Kept:
    """The provenance that is attached; else, where nobody must have signed it, the one that the build left beside the store."""
    from nexus_oci.errors import NotFoundError
    from nexus_oci.pipeline.provenance import Kept, read_signed, read_unsigned
    from nexus_oci.trust.keys import read_public_key
    from nexus_oci.trust.provenance import Provenance

    public = tuple(read_public_key(path.read_bytes(), str(path)) for path in keys)
    if file is None:
        try:
            return read_signed(source, root.digest, public)
        except NotFoundError:
            folder = Path(target) if target else console.dist
            near = [place / "provenance.json" for place in (folder, folder.parent) if (place / "provenance.json").is_file()]
            if public or not near:
                raise
            file = near[0]
    predicate = read_unsigned(file.read_bytes(), root.digest, str(file))
    return Kept(provenance=Provenance.from_json(predicate), signed_by=None)


def _report(console: Console, found: Reproduction) -> None:
    if console.as_json:
        console.data(found.to_json())
        return
    for item in found.inputs:
        console.result(f"input {item.what}: {item.then or 'nothing'} → {item.now or 'nothing'}")
    for difference in found.differences:
        console.result(str(difference))
    if found.passed_over:
        console.say(f"not compared, as they are signed inside and the key is not here: {', '.join(found.passed_over)}")
    if found.is_same:
        console.result(f"reproduced {found.root.digest}")
