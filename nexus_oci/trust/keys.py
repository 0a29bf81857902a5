"""Keys that sign releases, in the files that cosign reads and writes, and the signatures that they make.

A private key is an `ENCRYPTED SIGSTORE PRIVATE KEY` (scrypt, then NaCl's secretbox over PKCS#8), or any PEM private key that
OpenSSL writes. A public key is PEM of its SubjectPublicKeyInfo (RFC 5280). Signatures are ECDSA over SHA-256 in DER, RSA as
PKCS #1 v1.5 over SHA-256, or Ed25519: what sigstore's tools take by default. Each of them is deterministic (RFC 6979 for ECDSA):
signing the same bytes again gives the same bytes.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from nexus_oci.errors import UsageError
from nexus_oci.trust.openpgp import PassphraseError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

    AnyPublic = EllipticCurvePublicKey | RSAPublicKey | Ed25519PublicKey
    AnyPrivate = EllipticCurvePrivateKey | RSAPrivateKey | Ed25519PrivateKey

PASSPHRASE_VARIABLES: Final = ("NEXUS_OCI_KEY_PASSPHRASE", "COSIGN_PASSWORD")
"""Where the environment may have the passphrase; the first that is set counts, an empty one too."""
_ENCRYPTED: Final = ("ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY")
_PEM = re.compile(rb"-----BEGIN ([A-Z ]+)-----\r?\n(.*?)-----END \1-----", re.DOTALL)
_SCRYPT: Final = ({"N": 65536, "r": 8, "p": 1}, {"N": 32768, "r": 8, "p": 1}, {"N": 131072, "r": 8, "p": 1})
"""The parameters that cosign accepts; the first are written. Others could be an attempt to keep us busy."""
_LARGEST: Final = 64 << 10
"""Bytes of the largest file that is read as a key or a passphrase."""
_SMALLEST_RSA: Final = 2048

Asker = Callable[[str], str]


@dataclass(frozen=True, kw_only=True)
class PublicKey:
    """A key that verifies: its SubjectPublicKeyInfo, DER. Two of the same bytes are the same key."""

    der: bytes

    @cached_property
    def _key(self) -> AnyPublic:
        from cryptography.hazmat.primitives.serialization import load_der_public_key

        key: AnyPublic = _known(load_der_public_key(self.der), "the public key")
        return key

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the DER, hexadecimal: how reports name the key."""
        return hashlib.sha256(self.der).hexdigest()

    @property
    def hint(self) -> str:
        """The same in base64: how sigstore's bundles name it (`verificationMaterial.publicKey.hint`)."""
        return base64.b64encode(hashlib.sha256(self.der).digest()).decode()

    @property
    def pem(self) -> bytes:
        """The key as a file has it."""
        return _pem("PUBLIC KEY", self.der)

    @property
    def kind(self) -> str:
        """What it is, for people: `ECDSA secp256r1`, `RSA 3072`, `Ed25519`."""
        from cryptography.hazmat.primitives.asymmetric import ec, rsa

        if isinstance(self._key, ec.EllipticCurvePublicKey):
            return f"ECDSA {self._key.curve.name}"
        return f"RSA {self._key.key_size}" if isinstance(self._key, rsa.RSAPublicKey) else "Ed25519"

    def verify(self, signature: bytes, message: bytes) -> bool:
        """Whether the signature is this key's over the message. For Ed25519 both it and Ed25519ph (RFC 8032) count."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding

        key = self._key
        try:
            if isinstance(key, ec.EllipticCurvePublicKey):
                key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
            elif isinstance(key, ed25519.Ed25519PublicKey):
                return _verify_prehashed(key, signature, message) or key.verify(signature, message) is None
            else:
                key.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
        except InvalidSignature:
            return False
        return True


class Signer(Protocol):
    """What signs: a key in memory, or one that never leaves the device that holds it."""

    @property
    def public(self) -> PublicKey:
        """The key that verifies its signatures."""
        ...

    def sign(self, message: bytes) -> bytes:
        """A signature over the message."""
        ...


@dataclass(frozen=True, kw_only=True)
class PrivateKey:
    """A private key in memory; a `Signer`. `repr` does not show it."""

    key: AnyPrivate = field(repr=False)

    @cached_property
    def public(self) -> PublicKey:
        """The key that verifies its signatures."""
        return PublicKey(der=_spki(self.key.public_key()))

    def sign(self, message: bytes) -> bytes:
        """A signature over the message, the same each time."""
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding

        if isinstance(self.key, ec.EllipticCurvePrivateKey):
            return self.key.sign(message, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
        if isinstance(self.key, ed25519.Ed25519PrivateKey):
            return self.key.sign(message)
        return self.key.sign(message, padding.PKCS1v15(), hashes.SHA256())


def generate(kind: Literal["ecdsa", "ed25519"] = "ecdsa") -> PrivateKey:
    """A new key: ECDSA over P-256, which every tool of sigstore's family takes, or Ed25519, for entitlements."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519

    return PrivateKey(key=ec.generate_private_key(ec.SECP256R1()) if kind == "ecdsa" else ed25519.Ed25519PrivateKey.generate())


def encrypted_pem(key: PrivateKey, passphrase: bytes) -> bytes:
    """The private key in cosign's encrypted format."""
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
    from nacl.secret import SecretBox

    plain = key.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    salt, nonce = os.urandom(32), os.urandom(SecretBox.NONCE_SIZE)
    parameters = _SCRYPT[0]
    ciphertext = SecretBox(_derived(passphrase, salt, parameters)).encrypt(plain, nonce).ciphertext
    document = {
        "kdf": {"name": "scrypt", "params": parameters, "salt": base64.b64encode(salt).decode()},
        "cipher": {"name": "nacl/secretbox", "nonce": base64.b64encode(nonce).decode()},
        "ciphertext": base64.b64encode(ciphertext).decode(),
    }
    return _pem(_ENCRYPTED[0], json.dumps(document, separators=(",", ":")).encode())


def write_key_pair(prefix: Path, key: PrivateKey, passphrase: bytes) -> tuple[Path, Path]:
    """Write `prefix`.key, which only its owner may read, and `prefix`.pub; returns both paths.

    Raises `UsageError` where one of them exists: nothing is ever replaced.
    """
    private, public = prefix.with_name(f"{prefix.name}.key"), prefix.with_name(f"{prefix.name}.pub")
    for path in (private, public):
        if os.path.lexists(path):
            raise UsageError(
                f"{path} exists already",
                why="a key that is replaced is lost, and with it the means to sign what it signed",
                hint="choose another name with --output, or move the file away",
            )
    try:
        _create(private, encrypted_pem(key, passphrase), 0o600)
        try:
            _create(public, key.public.pem, 0o644)
        except BaseException:
            private.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise UsageError(f"the key pair cannot be written to {prefix}.*", why=error.strerror or str(error)) from error
    return private, public


def read_private_key(data: bytes, name: str, passphrase: Callable[[str], bytes | None]) -> PrivateKey:
    """The private key in `data`; `passphrase` is called with a question, and only where the key is encrypted.

    Raises `UsageError` for what is no private key or too weak, `PassphraseError` where the passphrase is missing or wrong.
    """
    private: AnyPrivate = _known(read_any_private_key(data, name, passphrase), name)
    return PrivateKey(key=private)


def read_any_private_key(data: bytes, name: str, passphrase: Callable[[str], bytes | None]) -> Any:
    """The same, whatever kind of key of `cryptography` it is: the caller says which it can use."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_der_private_key, load_pem_private_key

    kind, body = _block(data, name)
    if kind.endswith("PUBLIC KEY"):
        raise UsageError(f"{name} is a public key", why="signing takes the private one", hint="name the .key file, not the .pub")
    if not kind.endswith("PRIVATE KEY"):
        raise UsageError(f"{name} holds no private key", why=f"it is a {kind.lower()}", hint="name the file of the private key")
    secret = None
    if "ENCRYPTED" in kind or b"Proc-Type: 4,ENCRYPTED" in data:
        secret = passphrase(f"Passphrase of {name}")
        if secret is None:
            raise PassphraseError(
                f"{name} is encrypted, and no passphrase was given",
                hint=f"set {PASSPHRASE_VARIABLES[0]}, or name a file or descriptor that holds it with --passphrase-file",
            )
    try:
        if kind in _ENCRYPTED:
            return load_der_private_key(_opened(body, secret or b"", name), password=None)
        return load_pem_private_key(data, password=secret)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        if secret is not None and kind not in _ENCRYPTED:
            raise PassphraseError(f"{name} does not open", why="its passphrase is wrong, or it is damaged") from None
        raise UsageError(f"{name} holds no private key that can be read", why=str(error).partition("\n")[0]) from None


def read_public_key(data: bytes, name: str) -> PublicKey:
    """The public key in `data`, PEM; raises `UsageError` for anything else, and for what is too weak."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    kind, _ = _block(data, name)
    if "PRIVATE" in kind:
        raise UsageError(
            f"{name} is a private key", why="verifying takes the public one", hint="name the .pub file, not the .key"
        )
    try:
        key: AnyPublic = _known(load_pem_public_key(data), name)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UsageError(f"{name} holds no public key that can be read", why=str(error).partition("\n")[0]) from None
    return PublicKey(der=_spki(key))


def public_key_of(data: bytes, name: str) -> PublicKey:
    """The public key that a device gave, DER or PEM; raises `UsageError` where it is of a kind that signs nothing here."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_der_public_key, load_pem_public_key

    try:
        key: AnyPublic = _known((load_pem_public_key if data.startswith(b"-----") else load_der_public_key)(data), name)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UsageError(f"{name} has no public key that can be read", why=str(error).partition("\n")[0]) from None
    return PublicKey(der=_spki(key))


def load_private_key(option: str, environment: Mapping[str, str], passphrase: Callable[[str], bytes | None]) -> PrivateKey:
    """The private key that an option names, `FILE` or `env:NAME`; raises as `read_private_key` does."""
    return read_private_key(*key_data(option, environment), passphrase)


def key_data(option: str, environment: Mapping[str, str]) -> tuple[bytes, str]:
    """What a key's option, `FILE` or `env:NAME`, leads to, and what messages call it; raises `UsageError`."""
    if "PRIVATE KEY" in option:
        raise UsageError(
            "the signing key itself was given as an argument",
            why="every user of this machine can read a program's arguments",
            hint="consider that key known to others; put the next one into a file, or into a variable named with env:NAME",
        )
    if option.startswith("env:"):
        variable = option.removeprefix("env:")
        if not environment.get(variable, "").strip():
            raise UsageError(f"the variable {variable} holds no signing key", why="it is empty or not set")
        return environment[variable].strip().encode() + b"\n", f"the key in {variable}"
    return read_small(Path(option), "the signing key"), option


def passphrase_source(option: str | None, environment: Mapping[str, str], ask: Asker | None) -> Callable[[str], bytes | None]:
    """Where a passphrase comes from: the option's file or descriptor (`FILE`, `fd:N`), else the environment, else the prompt.

    What is returned gives None where there is none. A file's first line counts. Raises `UsageError` for one that cannot be read.
    """

    def find(question: str) -> bytes | None:
        if option is not None:
            return _first_line(option)
        for name in PASSPHRASE_VARIABLES:
            if name in environment:
                return environment[name].encode(errors="surrogateescape")
        return ask(question).encode() if ask is not None else None

    return find


def read_small(path: Path, what: str) -> bytes:
    """A small file's bytes; raises `UsageError` where it cannot be read, or is too large to be `what`."""
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
    except (OSError, ValueError) as error:
        raise UsageError(f"{what} cannot be read from {path}", why=getattr(error, "strerror", None) or str(error)) from error
    if len(data) > _LARGEST:
        raise UsageError(f"{path} is too large for {what}", why=f"it has more than {_LARGEST} bytes")
    return data


def _first_line(option: str) -> bytes:
    if option.startswith("fd:"):
        number = option.removeprefix("fd:")
        if not number.isascii() or not number.isdigit():
            raise UsageError(f"{option!r} names no file descriptor", why="it reads fd: and a number, as in fd:3")
        try:
            with os.fdopen(int(number), "rb", closefd=False) as file:
                data = file.read(_LARGEST)
        except (OSError, OverflowError) as error:
            raise UsageError(f"the passphrase cannot be read from descriptor {number}", why=str(error)) from error
    else:
        data = read_small(Path(option), "the passphrase")
    return data.partition(b"\n")[0].removesuffix(b"\r")


def _block(data: bytes, name: str) -> tuple[str, bytes]:
    """The label and the decoded body of the only PEM block (RFC 7468); a body that is no base64 is left to OpenSSL."""
    blocks = [found for found in _PEM.findall(data) if found[0] != b"EC PARAMETERS"]
    if len(blocks) != 1:
        raise UsageError(
            f"{name} is no key file" if not blocks else f"{name} holds {len(blocks)} PEM blocks",
            why="a key file holds one PEM block, -----BEGIN … KEY-----",
            hint="make a key pair with `nexus-oci keygen`",
        )
    label, body = blocks[0]
    try:
        return label.decode(), base64.b64decode(b"".join(body.split()), validate=True)
    except (binascii.Error, ValueError):
        return label.decode(), b""


def _opened(document: bytes, passphrase: bytes, name: str) -> bytes:
    """The PKCS#8 inside cosign's encrypted format."""
    from nacl.exceptions import CryptoError
    from nacl.secret import SecretBox

    try:
        data = json.loads(document)
        kdf, cipher = data["kdf"], data["cipher"]
        known = (kdf["name"], cipher["name"]) == ("scrypt", "nacl/secretbox") and kdf["params"] in _SCRYPT
        parameters: Mapping[str, int] = kdf["params"] if known else {}
        salt, nonce, ciphertext = (
            base64.b64decode(text, validate=True) for text in (kdf["salt"], cipher["nonce"], data["ciphertext"])
        )
        box = SecretBox(_derived(passphrase, salt, parameters))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        why = f"its encryption is none that cosign uses, or it is damaged: {type(error).__name__} {error}"
        raise UsageError(f"{name} holds no private key that can be read", why=why) from None
    try:
        return box.decrypt(ciphertext, nonce)
    except (CryptoError, ValueError):
        raise PassphraseError(f"{name} does not open", why="its passphrase is wrong, or it is damaged") from None


def _derived(passphrase: bytes, salt: bytes, parameters: Mapping[str, int]) -> bytes:
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

    kdf = Scrypt(salt=salt, length=32, n=parameters["N"], r=parameters["r"], p=parameters["p"])
    return kdf.derive(passphrase)


def _known(key: Any, name: str) -> Any:
    """The key, if it is of a kind that signs here; public or private."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if isinstance(key, ec.EllipticCurvePublicKey | ec.EllipticCurvePrivateKey):
        if not isinstance(key.curve, ec.SECP256R1):
            raise UsageError(f"{name} is over the curve {key.curve.name}", why="only P-256 is taken by every verifier")
    elif isinstance(key, rsa.RSAPublicKey | rsa.RSAPrivateKey):
        if key.key_size < _SMALLEST_RSA:
            raise UsageError(f"{name} is too weak", why=f"RSA of {key.key_size} bits; {_SMALLEST_RSA} are the least")
    elif not isinstance(key, ed25519.Ed25519PublicKey | ed25519.Ed25519PrivateKey):
        raise UsageError(f"{name} is of an unknown kind", why="known are ECDSA over P-256, RSA and Ed25519")
    return key


def _spki(key: AnyPublic) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _pem(label: str, body: bytes) -> bytes:
    text = base64.b64encode(body).decode()
    lines = (text[start : start + 64] for start in range(0, len(text), 64))
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""]).encode()


def _create(path: Path, data: bytes, mode: int) -> None:
    """Write a new file whole; none is left where that fails."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _verify_prehashed(key: Ed25519PublicKey, signature: bytes, message: bytes) -> bool:
    from nacl import bindings
    from nacl.exceptions import CryptoError

    state = bindings.crypto_sign_ed25519ph_state()
    bindings.crypto_sign_ed25519ph_update(state, message)
    try:
        return bool(bindings.crypto_sign_ed25519ph_final_verify(state, signature, key.public_bytes_raw()))
    except (CryptoError, ValueError, TypeError):
        return False
