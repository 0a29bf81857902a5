"""`nexus-oci public-key`."""

from __future__ import annotations

from pathlib import Path

import click

from nexus_oci.cli.console import Console
from nexus_oci.cli.options import read_signer, signing_options


@click.command()
@signing_options("--key", "key", required=True, identity=False)
@click.option("--output", "-o", type=click.Path(path_type=Path, dir_okay=False), help="Write it to this new file.")
@click.pass_obj
def command(console: Console, key: str, passphrase_file: str | None, output: Path | None) -> None:
    """Print the public part of a key, in PEM: of a file, a PKCS#11 token, or the key service of a cloud.

    Whoever verifies needs it; no secret is in it. With --output it goes into a new file, whose path is printed.
    """
    from nexus_oci.errors import UsageError

    public = read_signer(console, key, passphrase_file).public
    path = None
    if output is not None:
        path = output if output.is_absolute() else console.directory / output
        try:
            with path.open("xb") as file:
                file.write(public.pem)
        except FileExistsError:
            raise UsageError(f"{path} exists already", hint="choose another name with --output") from None
        except OSError as error:
            raise UsageError(f"the public key cannot be written to {path}", why=error.strerror or str(error)) from error
    if console.as_json:
        console.data({"public": public.pem.decode(), "kind": public.kind, "fingerprint": public.fingerprint})
    else:
        console.result(str(path) if path else public.pem.decode().rstrip("\n"))
