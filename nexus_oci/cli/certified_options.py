"""Options about signatures that certificates vouch for: Notation's, and those by identity."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from nexus_oci.cli.console import Console
from nexus_oci.errors import UsageError

if TYPE_CHECKING:
    from nexus_oci.pipeline.signatories import Signatory
    from nexus_oci.trust.authorities import TrustedAuthority
    from nexus_oci.trust.keyless import TrustedIdentity

_F = TypeVar("_F", bound=Callable[..., Any])
_KEPT = "nexus_oci.certified"
_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
_UNITS = {"h": 1, "d": 24, "w": 24 * 7, "y": 24 * 365}


def _keep(ctx: click.Context, parameter: click.Parameter, value: Any) -> None:
    ctx.meta.setdefault(_KEPT, {})[parameter.name] = value


def _kept(name: str) -> Any:
    return click.get_current_context().meta.get(_KEPT, {}).get(name)


def _options(command: _F, options: Sequence[Callable[[_F], _F]]) -> _F:
    for option in reversed(options):
        command = option(command)
    return command


def certified_signing_options(command: _F) -> _F:
    """Who signs beside a key, or with certificates. The command gets them from `signatories`."""
    kept: dict[str, Any] = {"expose_value": False, "callback": _keep}
    return _options(
        command,
        [
            click.option("--notation", is_flag=True, help="Write Notation's signatures, by --key and its certificates.", **kept),
            click.option(
                "--certificate-chain", type=_FILE, help="The certificates of --key, PEM, from its own to the root.", **kept
            ),
            click.option("--expires-in", metavar="TIME", help="When Notation's signatures end: 12h, 30d, 8w, 1y.", **kept),
            click.option("--cosign", is_flag=True, help="With --notation: cosign's two forms too, by the same key.", **kept),
            click.option("--keyless", is_flag=True, help="Sign by identity, in a Sigstore instance.", **kept),
            click.option(
                "--identity-token-file", metavar="FILE|fd:N", help="What holds the identity token. Default: the CI's.", **kept
            ),
            click.option("--trusted-root", type=_FILE, help="The trusted root of a Sigstore instance of your own.", **kept),
            click.option("--signing-config", type=_FILE, help="Where that instance's services are.", **kept),
        ],
    )


def certified_trust_options(command: _F) -> _F:
    """Whose certificates are believed. The command gets them from `certified_trust`."""
    kept: dict[str, Any] = {"expose_value": False, "callback": _keep}
    return _options(
        command,
        [
            click.option(
                "--notation-root",
                "notation_roots",
                type=_FILE,
                multiple=True,
                help="Certificates of an authority whose Notation signatures count; repeatable.",
                **kept,
            ),
            click.option(
                "--notation-subject",
                "notation_subjects",
                metavar="DN",
                multiple=True,
                help="Whom that authority's certificates have to name; repeatable. Default: anybody.",
                **kept,
            ),
            click.option(
                "--certificate-identity", metavar="WHO", help="The identity that signed without a key: e-mail or URI.", **kept
            ),
            click.option("--certificate-oidc-issuer", metavar="URL", help="Who vouches for that identity.", **kept),
            click.option("--trusted-root", type=_FILE, help="A Sigstore instance's root. Default: the public one's.", **kept),
        ],
    )


def signs_with_key_alone() -> bool:
    """Whether the options ask for the forms that --key has by itself."""
    return not _kept("notation") or bool(_kept("cosign"))


def signatories(console: Console, key: str | None, passphrase_file: str | None) -> tuple[Signatory, ...]:
    """Those who sign manifests beside --key in its own forms, as the options say; checked, and none of them has signed yet."""
    for name in ("certificate_chain", "expires_in", "cosign"):
        if _kept(name) and not _kept("notation"):
            raise UsageError(f"--{name.replace('_', '-')} is for Notation's signatures", hint="add --notation")
    for name in ("identity_token_file", "trusted_root", "signing_config"):
        if _kept(name) and not _kept("keyless"):
            raise UsageError(f"--{name.replace('_', '-')} is for signatures by identity", hint="add --keyless")
    found: list[Signatory] = []
    if _kept("notation"):
        found.append(_notation(console, key, passphrase_file))
    if _kept("keyless"):
        from nexus_oci.pipeline.signatories import IdentitySignatory
        from nexus_oci.trust.keyless import identity_token, keyless_signer

        token = identity_token(_kept("identity_token_file"), console.environment)
        found.append(IdentitySignatory(signer=keyless_signer(token, _kept("trusted_root"), _kept("signing_config"))))
    return tuple(found)


def _notation(console: Console, key: str | None, passphrase_file: str | None) -> Signatory:
    from nexus_oci.cli.options import asker, read_signer
    from nexus_oci.pipeline.signatories import NotationSignatory
    from nexus_oci.trust.certificates import read_certificates
    from nexus_oci.trust.devices import is_device
    from nexus_oci.trust.keys import key_data, passphrase_source, read_any_private_key, read_small
    from nexus_oci.trust.notation import load_chain_signer

    chain = _kept("certificate_chain")
    if key is None or chain is None:
        raise UsageError(
            "--notation needs a key and its certificates",
            why="--key is missing" if key is None else "--certificate-chain is missing",
            hint="give --key leaf.key --certificate-chain chain.pem",
        )
    certificates = read_certificates(read_small(chain, "the certificates"), str(chain))
    now = datetime.now(UTC).replace(microsecond=0)
    expires = now + _duration(_kept("expires_in")) if _kept("expires_in") else None
    if is_device(key):
        private: Any = read_signer(console, key, passphrase_file)
    else:
        passphrase = passphrase_source(passphrase_file, console.environment, asker())
        private = read_any_private_key(*key_data(key, console.environment), passphrase)
    signer = load_chain_signer(certificates, str(chain), private, now, names_key=key.partition("?")[0])
    return NotationSignatory(signer=signer, now=now, expires=expires)


def certified_trust() -> tuple[list[TrustedAuthority], list[TrustedIdentity]]:
    """The authorities and identities that the options name."""
    roots, subjects = _kept("notation_roots") or (), _kept("notation_subjects") or ()
    if subjects and not roots:
        raise UsageError("--notation-subject needs an authority", hint="name its certificates with --notation-root")
    authorities = []
    if roots:
        from nexus_oci.trust.authorities import trusted_authority

        authorities = [trusted_authority(path, subjects) for path in roots]
    identity, issuer = _kept("certificate_identity") or "", _kept("certificate_oidc_issuer") or ""
    if not identity and not issuer:
        if _kept("trusted_root"):
            raise UsageError("--trusted-root is for signatures by identity", hint="add --certificate-identity")
        return authorities, []
    from nexus_oci.trust.keyless import trusted_identity

    return authorities, [trusted_identity(identity, issuer, _kept("trusted_root"))]


def _duration(text: str) -> timedelta:
    found = re.fullmatch(r"([1-9][0-9]{0,4})([hdwy])", text)
    if found is None:
        raise UsageError(f"{text!r} is no length of time", why="it reads as 12h, 30d, 8w or 1y")
    return timedelta(hours=int(found[1]) * _UNITS[found[2]])
