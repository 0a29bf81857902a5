"""`nexus-oci keygen`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from nexus_oci.cli.console import Console
from nexus_oci.cli.options import asker


@click.command()
@click.option("--output", "-o", type=click.Path(path_type=Path), default=Path("release"), show_default=True,
              help="The files' name without .key and .pub.")  # fmt: skip
@click.option("--type", "kind", type=click.Choice(["ecdsa", "ed25519"]), default="ecdsa", show_default=True,
              help="ECDSA over P-256 for releases; Ed25519 for entitlements.")  # fmt: skip
@click.option("--passphrase-file", metavar="FILE|fd:N", help="What holds the passphrase, in its first line.")
@click.pass_obj
def command(console: Console, output: Path, kind: Literal["ecdsa", "ed25519"], passphrase_file: str | None) -> None:
    """Make a key pair that signs releases or entitlements, in the format of cosign: NAME.key, encrypted, and NAME.pub.

    The passphrase comes from --passphrase-file, NEXUS_OCI_KEY_PASSPHRASE or COSIGN_PASSWORD, or is asked for. Prints both paths.
    """
    from nexus_oci.errors import UsageError
    from nexus_oci.trust.keys import PASSPHRASE_VARIABLES, generate, passphrase_source, write_key_pair
    from nexus_oci.trust.openpgp import PassphraseError

    asked: list[str] = []
    ask = asker()

    def ask_twice(question: str) -> str:
        assert ask is not None  # noqa: S101  only called where there is a terminal
        asked.extend((ask(question), ask("The same again")))
        return asked[0]

    passphrase = passphrase_source(passphrase_file, console.environment, ask_twice if ask else None)(
        f"Passphrase for {output.name}.key"
    )
    if asked and asked[0] != asked[1]:
        raise UsageError("the two passphrases differ", hint="nothing was written; try again")
    if not passphrase:
        raise PassphraseError(
            "a key needs a passphrase",
            why="none was given" if passphrase is None else "it is empty",
            hint=f"set {PASSPHRASE_VARIABLES[0]}, or name a file or descriptor that holds it with --passphrase-file",
        )
    folder = output if output.is_absolute() else console.directory / output
    key = generate(kind)
    private, public = write_key_pair(folder, key, passphrase)
    if console.as_json:
        console.data({"private": str(private), "public": str(public), "fingerprint": key.public.fingerprint})
        return
    console.result(str(private))
    console.result(str(public))
