"""Keys that never leave what holds them: PKCS#11 tokens and the key services of clouds, as signers.

They are named as cosign names them: `pkcs11:…` (RFC 7512), `awskms://…`, `azurekms://…`, `gcpkms://…`, `hashivault://…`. Each
kind needs a library of its own, an extra of this package. What a device signs is checked with its public key before it is used:
one that signs in another form than verifiers read is found at once. Most of them sign differently each time; whoever must not
sign twice looks for a signature that is there.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from nexus_oci.errors import UsageError, VerificationError
from nexus_oci.trust.keys import PublicKey, Signer, load_private_key

PKCS11: Final = "pkcs11:"
_CLOUDS: Final = ("awskms://", "azurekms://", "gcpkms://", "hashivault://")
Passphrase = Callable[[str], bytes | None]


@dataclass(frozen=True, kw_only=True)
class DeviceSigner:
    """A key in a device; a `Signer`. `raw` makes the signature there; one at a time is asked for."""

    name: str
    public: PublicKey
    raw: Callable[[bytes], bytes] = field(repr=False)
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def sign(self, message: bytes) -> bytes:
        """A signature over the message, another one each time; raises `VerificationError` where it is not the key's."""
        with self.lock:
            signature = self.raw(message)
        if not self.public.verify(signature, message):
            raise VerificationError(
                f"{self.name} made a signature that its public key does not verify",
                why="the key there was replaced, or signs neither ECDSA nor RSA (PKCS #1 v1.5) over SHA-256, nor Ed25519",
                hint="nothing of it was kept; look at the key there, and run it again",
            )
        return signature


def is_device(option: str) -> bool:
    """Whether a key's option names a key in a device or a cloud."""
    return option.startswith((PKCS11, *_CLOUDS))


def load_signer(option: str, environment: Mapping[str, str], passphrase: Passphrase) -> Signer:
    """The key that an option names: `FILE`, `env:NAME`, or a URI of a device.

    `passphrase` is called where a file is encrypted, or a token wants its PIN. Raises `UsageError` where the library of such keys
    is not installed, the URI is wrong, the key unknown or of a kind that signs nothing here; `UnreachableError` where what holds
    it does not answer, or refuses.
    """
    if option.startswith(PKCS11):
        from nexus_oci.trust.pkcs11_keys import open_key

        return open_key(option, environment, passphrase)
    if option.startswith("hashivault://"):
        from nexus_oci.trust.vault_keys import vault_key

        return vault_key(option, environment)
    if option.startswith(_CLOUDS):
        from nexus_oci.trust.cloud_keys import cloud_key

        return cloud_key(option, environment)
    scheme, separator, _ = option.partition("://")
    if separator and scheme.isalnum():
        known = ", ".join(one.removesuffix("://") for one in _CLOUDS)
        raise UsageError(f"keys of {scheme}:// are not known here", why=f"known are pkcs11, {known}, files, and env:NAME")
    return load_private_key(option, environment, passphrase)


def missing(extra: str, what: str) -> UsageError:
    """The error for a library that is not installed."""
    return UsageError(
        f"a key in {what} was given, and the library that reaches it is not installed",
        why=f"it comes with the extra `{extra}`",
        hint=f"run `pip install nexus-oci[{extra}]`",
    )
