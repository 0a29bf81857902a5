"""Signing by identity: a short-lived certificate of Sigstore's authority, and an entry in its log, in place of a key.

The signature is a sigstore bundle, version 0.3, as `dsse` writes it, but with a certificate and a log entry. Asking and checking
is done by the `sigstore` package. Verifying opens no connection: the trusted root is a file, or the copy of the public instance's
that the package carries.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nexus_oci.errors import UnreachableError, UsageError, VerificationError
from nexus_oci.oci.values import canonical_json
from nexus_oci.trust.dsse import Bundle
from nexus_oci.trust.keys import read_small
from nexus_oci.trust.verification import Limited

if TYPE_CHECKING:
    from sigstore.models import TrustedRoot
    from sigstore.oidc import IdentityToken

TOKEN_VARIABLE: Final = "SIGSTORE_ID_TOKEN"  # noqa: S105  the variable's name
"""Where the environment may have the identity token, as cosign takes it."""
_LARGEST_ROOT: Final = 4 << 20
_IN_TOTO: Final = "application/vnd.in-toto+json"


@dataclass(frozen=True, kw_only=True)
class CertifiedBundle:
    """A bundle with a certificate, as it was read: nothing of it is believed yet."""

    data: bytes = field(repr=False)
    payload: bytes

    @property
    def said(self) -> Bundle:
        """The statement in it, in the form that bundles of plain keys have."""
        return Bundle(hint="", payload=self.payload, signature=b"")


@dataclass(frozen=True, kw_only=True)
class TrustedIdentity(Limited):
    """Who is believed: an identity (an e-mail address, or a workflow's URI) that an issuer vouches for.

    `root` is the trusted root, JSON (sigstore/protobuf-specs, `TrustedRoot`), or None for the public instance's.
    """

    identity: str
    issuer: str
    root: bytes | None = field(default=None, repr=False)

    @property
    def fingerprint(self) -> str:
        """What reports show in the place of a key's fingerprint: who vouches."""
        return self.issuer

    @cached_property
    def _verifier(self) -> Any:
        from sigstore.verify import Verifier

        return Verifier(trusted_root=_trusted_root(self.root))

    def verifies(self, bundle: CertifiedBundle) -> str | None:
        """Why a bundle is not this identity's, in `sigstore`'s words; None where it is, and is logged, and was signed in time."""
        from sigstore import models
        from sigstore.errors import Error
        from sigstore.verify import policy

        try:
            kind, payload = self._verifier.verify_dsse(
                models.Bundle.from_json(bundle.data), policy.Identity(identity=self.identity, issuer=self.issuer)
            )
        except (Error, ValueError, KeyError, TypeError, AttributeError) as error:
            return str(error).partition("\n")[0] or type(error).__name__
        except Exception as error:  # noqa: BLE001  certificates of strangers make cryptography raise what it likes
            return f"{type(error).__name__}: {error}".partition("\n")[0]
        if kind != _IN_TOTO or payload != bundle.payload:
            return "its payload is not the statement that was read"
        return None

    def certificate_of(self, bundle: CertifiedBundle) -> bytes:
        """The certificate, DER, of a bundle that was verified."""
        from cryptography.hazmat.primitives.serialization import Encoding
        from sigstore import models

        return models.Bundle.from_json(bundle.data).signing_certificate.public_bytes(Encoding.DER)


@dataclass(kw_only=True)
class KeylessSigner:
    """Signs statements as the identity of a token, in a Sigstore instance. One certificate serves for all of them."""

    identity: TrustedIdentity
    token: IdentityToken = field(repr=False)
    config: Any = field(repr=False)
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        from sigstore.oidc import ExpiredIdentity

        try:
            yield
        except ExpiredIdentity:
            raise UsageError("the identity token has expired", hint="get a new one, and sign again") from None
        except OSError as error:
            raise _unreachable(f"{type(error).__name__}: {error}") from None
        except Exception as error:
            if type(error).__module__.startswith("sigstore"):
                raise _unreachable(str(error) or str(error.__cause__)) from None
            raise

    @cached_property
    def _signer(self) -> Any:
        from sigstore.sign import SigningContext

        with SigningContext.from_trust_config(self.config).signer(self.token) as signer:
            return signer

    def sign(self, statement: bytes) -> bytes:
        """The bundle of a signed statement, JSON, verified against the trusted root before it is returned.

        Raises `UnreachableError` where the authority or the log does not answer, or refuses.
        """
        from sigstore.dsse import Statement

        with self._translated():
            with self.lock:
                signer = self._signer
            made: str = signer.sign_dsse(Statement(_named(statement))).to_json()
        bundle = read_certified(made.encode())
        refusal = self.identity.verifies(bundle) if bundle is not None else "it holds no certificate"
        if refusal is not None:
            raise VerificationError("what Sigstore's services signed does not verify", why=refusal, hint="nothing of it was kept")
        return made.encode()


def _named(statement: bytes) -> bytes:
    """A statement whose subjects have names, if empty ones: `sigstore` takes no others, and in-toto does."""
    document = json.loads(statement)
    document["subject"] = [{"name": "", **subject} for subject in document["subject"]]
    return canonical_json(document)


def read_certified(data: bytes) -> CertifiedBundle | None:
    """A bundle with a certificate; None for one of a plain key. Raises `VerificationError` for what holds no statement."""
    import base64

    try:
        document = json.loads(data)
        if "publicKey" in document["verificationMaterial"]:
            return None
        envelope = document["dsseEnvelope"]
        if envelope["payloadType"] != _IN_TOTO or len(envelope["signatures"]) != 1:
            raise VerificationError("a bundle holds no statement with one signature")
        return CertifiedBundle(data=data, payload=base64.b64decode(envelope["payload"], validate=True))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise VerificationError("a bundle cannot be read", why=f"{type(error).__name__}: {error}"[:200]) from None


def trusted_identity(identity: str, issuer: str, root: Path | None = None) -> TrustedIdentity:
    """An identity, believed whenever and whatever it signs; raises `UsageError` for a root that is none, or no package."""
    if not identity or not issuer:
        raise UsageError(
            "an identity counts only together with who vouches for it",
            hint="give --certificate-identity and --certificate-oidc-issuer both",
        )
    _require()
    data = None
    if root is not None:
        try:
            data = root.read_bytes() if root.stat().st_size <= _LARGEST_ROOT else b""
        except OSError as error:
            raise UsageError(f"the trusted root cannot be read from {root}", why=error.strerror or str(error)) from error
        _trusted_root(data, str(root))
    return TrustedIdentity(name=identity, identity=identity, issuer=issuer, root=data)


def keyless_signer(token: str, root: Path | None, signing_config: Path | None) -> KeylessSigner:
    """What signs as the identity of a token (OpenID Connect, a JWT).

    `root` and `signing_config` describe an instance other than the public one, whose description is fetched. Raises `UsageError`
    for a token or file that is none, `UnreachableError` where the public instance's description cannot be fetched.
    """
    _require()
    from sigstore.errors import Error
    from sigstore.models import ClientTrustConfig
    from sigstore.oidc import IdentityError, IdentityToken

    if (root is None) != (signing_config is None):
        raise UsageError(
            "an instance of one's own is described by two files", hint="give --trusted-root and --signing-config both, or neither"
        )
    try:
        identity = IdentityToken(token)
    except IdentityError as error:
        why = f"{error}: {error.__cause__}" if error.__cause__ else str(error)
        raise UsageError(
            "the identity token is none that can be used", why=why, hint="it is a JWT for the audience `sigstore`"
        ) from None
    if root is not None and signing_config is not None:
        described = trusted_identity(identity.identity, identity.federated_issuer, root)
        config = _config(root, signing_config)
    else:
        try:
            config = ClientTrustConfig.production()
        except (Error, OSError) as error:
            raise _unreachable(str(error).partition("\n")[0]) from None
        described = trusted_identity(identity.identity, identity.federated_issuer)
    return KeylessSigner(identity=described, token=identity, config=config)


def identity_token(file: str | None, environment: Mapping[str, str]) -> str:
    """The identity token: a file's or descriptor's (`FILE`, `fd:N`), `SIGSTORE_ID_TOKEN`'s, or one that a CI gives its jobs.

    Raises `UsageError` where there is none. It is a secret, and never an argument.
    """
    if file is not None:
        if file.startswith("fd:") and file[3:].isdigit():
            with contextlib.suppress(OSError), os.fdopen(int(file[3:]), "rb", closefd=False) as stream:
                return stream.read(64 << 10).decode(errors="replace").strip()
            raise UsageError(f"the identity token cannot be read from descriptor {file[3:]}")
        return read_small(Path(file), "the identity token").decode(errors="replace").strip()
    if environment.get(TOKEN_VARIABLE, "").strip():
        return environment[TOKEN_VARIABLE].strip()
    _require()
    from sigstore.oidc import IdentityError, detect_credential

    try:
        found = detect_credential()
    except (IdentityError, OSError) as error:
        raise UsageError("this machine's surroundings give no identity token", why=str(error).partition("\n")[0]) from None
    if found is None:
        raise UsageError(
            "there is no identity to sign with",
            why="no token was given, and this is no CI whose own tokens are known",
            hint=f"name a file or descriptor with --identity-token-file, or set {TOKEN_VARIABLE}",
        )
    return found


def _config(root: Path, signing_config: Path) -> Any:
    from sigstore.errors import Error
    from sigstore.models import ClientTrustConfig

    try:
        document = {
            "mediaType": "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json",
            "trustedRoot": json.loads(root.read_bytes()),
            "signingConfig": json.loads(signing_config.read_bytes()),
        }
        config = ClientTrustConfig.from_json(json.dumps(document))
        _ = config.signing_config
    except (OSError, ValueError, Error) as error:
        raise UsageError(
            f"{root} and {signing_config} describe no Sigstore instance", why=str(error).partition("\n")[0]
        ) from None
    return config


def _trusted_root(data: bytes | None, name: str = "the trusted root") -> TrustedRoot:
    from sigstore.errors import Error
    from sigstore.models import ClientTrustConfig, TrustedRoot
    from sigstore_models.trustroot.v1 import TrustedRoot as Message

    try:
        if data is None:
            return ClientTrustConfig.production(offline=True).trusted_root
        return TrustedRoot(Message.from_json(data))
    except (ValueError, Error) as error:
        why = str(error).partition("\n")[0]
        raise UsageError(f"{name} is no trusted root", why=why, hint="`cosign trusted-root create` writes one") from None


def _require() -> None:
    """The package has to be there; what it logs is said here in errors."""
    import importlib.util

    if importlib.util.find_spec("sigstore") is None:
        raise UsageError(
            "signatures by identity need the sigstore package, which is not installed",
            hint="run `pip install nexus-oci[keyless]`",
        )
    logging.getLogger("sigstore").addHandler(logging.NullHandler())


def _unreachable(why: str) -> UnreachableError:
    return UnreachableError(
        "Sigstore's services do not answer, or refuse",
        why=why,
        hint="try again where they can be reached; without a network sign with a key, --key, or by your own instance",
    )
