"""Options that several verbs have in common."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from nexus_oci.cli.console import Console

if TYPE_CHECKING:
    from nexus_oci.trust.keys import Signer
    from nexus_oci.trust.openpgp import SigningKey

_F = TypeVar("_F", bound=Callable[..., Any])


def transfer_options(command: _F) -> _F:
    """How a registry is to be spoken to, and by how many threads."""
    jobs = click.option("--jobs", "-j", default=8, show_default=True, type=click.IntRange(1, 64), help="Transfers at once.")
    return registry_options(jobs(command))


_CONNECTION = "nexus_oci.connection"
"""Where a command's context keeps the options of `registry_options` that only `access` looks at."""


def _kept(ctx: click.Context, parameter: click.Parameter, value: Any) -> None:
    ctx.meta.setdefault(_CONNECTION, {})[parameter.name] = value


def registry_options(command: _F) -> _F:
    """How a registry is to be spoken to. Of these a command gets `plain_http` and `ca_file`, and `access` also the others."""
    file = click.Path(path_type=Path, exists=True, dir_okay=False)
    kept: dict[str, Any] = {"expose_value": False, "callback": _kept}
    for option in (
        click.option("--client-key", type=file, help="The key of --client-cert, where it is not in the same file.", **kept),
        click.option("--client-cert", type=file, help="A certificate that shows registries who we are (mTLS).", **kept),
        click.option("--plain-http-anywhere", is_flag=True, help="Speak HTTP to any host: nothing is protected.", **kept),
        click.option("--ca-file", type=click.Path(path_type=Path, exists=True), help="Certificate authorities to trust too."),
        click.option("--plain-http", is_flag=True, help="Speak HTTP; only to this machine itself."),
    ):
        command = option(command)
    return command


def openpgp_options(command: _F) -> _F:
    """The key that signs packages, repositories, charts and SHA256SUMS."""
    path = click.Path(path_type=Path, exists=True, dir_okay=False)
    for option in (
        click.option("--openpgp-certificate", type=path, help="The OpenPGP certificate of a key on a PKCS#11 token."),
        click.option("--openpgp-passphrase-file", type=path, help="A file whose first line is the key's passphrase, or the PIN."),
        click.option(
            "--openpgp-key",
            metavar="KEY",
            help="The key that signs packages, repositories, charts and SHA256SUMS: FILE, env:NAME or pkcs11:URI.",
        ),
    ):
        command = option(command)
    return command


def openpgp_key(console: Console, key: str | None, passphrase_file: Path | None, certificate: Path | None) -> SigningKey | None:
    """The key that the options or the environment name, read and checked; nothing where they name none."""
    from nexus_oci.trust.openpgp import load_key, option_of

    named = option_of(key, console.environment)
    if named is None:
        return None
    return load_key(named, environment=console.environment, passphrase_file=passphrase_file, certificate=certificate, ask=asker())


def signing_options(*names: str, required: bool = False, identity: bool = True) -> Callable[[_F], _F]:
    """The key that signs manifests, under the option's `names`; where its passphrase is; with `identity`, whom they name."""

    def decorate(command: _F) -> _F:
        naming = click.option(
            "--identity", metavar="HOST/NAMESPACE", help="Where signatures say the release is. Default: `registry`."
        )
        for option in (
            *([naming] if identity else []),
            click.option("--passphrase-file", metavar="FILE|fd:N", help="What holds that key's passphrase, or the token's PIN."),
            click.option(
                *names,
                required=required,
                metavar="KEY",
                help="The private key that signs manifests: FILE, env:NAME, pkcs11:URI, awskms://, azurekms://, gcpkms:// or "
                "hashivault://…",
            ),
        ):
            command = option(command)
        return command

    return decorate


def read_signer(console: Console, key: str, passphrase_file: str | None) -> Signer:
    """The key that signs manifests, read and opened, or found in the device that holds it."""
    from nexus_oci.trust.devices import load_signer
    from nexus_oci.trust.keys import passphrase_source

    return load_signer(key, console.environment, passphrase_source(passphrase_file, console.environment, asker()))


def asker() -> Callable[[str], str] | None:
    """Asks on the terminal, where there is one."""
    import sys
    from getpass import getpass

    return (lambda question: getpass(f"{question}: ", stream=sys.stderr)) if sys.stdin.isatty() else None


def access(console: Console, plain_http: bool, ca_file: Path | None) -> Any:
    """What the options and the environment say of registries."""
    from nexus_oci.errors import UsageError
    from nexus_oci.pipeline.registries import Access

    kept = click.get_current_context().meta.get(_CONNECTION, {})
    certificate, key, anywhere = kept.get("client_cert"), kept.get("client_key"), bool(kept.get("plain_http_anywhere"))
    if key and not certificate:
        raise UsageError("--client-key needs --client-cert", why="a key proves nothing without its certificate")
    return Access(
        environment=console.environment,
        plain_http=plain_http or anywhere,
        insist_on_plain_http=anywhere,
        ca_file=ca_file,
        client_certificate=(certificate, key) if certificate else None,
    )
