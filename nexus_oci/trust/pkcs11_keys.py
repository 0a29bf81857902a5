"""Keys on PKCS#11 tokens: smart cards, HSMs, and what behaves so.

A key is named by a URI (RFC 7512): `pkcs11:token=LABEL;object=LABEL;id=%01?module-path=/usr/lib/module.so&pin-source=file:/path`.
What the URI says has to fit; exactly one token and one private key must. Keys are ECDSA over P-256 or RSA. securesystemslib's own
signer for tokens is passed over for the library below it, python-pkcs11: it knows keys by a small number only, and no RSA.
"""

from __future__ import annotations

import hashlib
import re
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from nexus_oci.errors import UnreachableError, UsageError
from nexus_oci.trust.devices import PKCS11, DeviceSigner, Passphrase, missing
from nexus_oci.trust.keys import PASSPHRASE_VARIABLES, PublicKey, public_key_of, read_small
from nexus_oci.trust.openpgp import PassphraseError

MODULE_VARIABLES: Final = ("NEXUS_OCI_PKCS11_MODULE", "COSIGN_PKCS11_MODULE_PATH", "PYKCS11LIB")
"""Where the environment may have the path of the token's module; the first that is set counts."""
_PIN_VARIABLE: Final = "COSIGN_PKCS11_PIN"
_TOKEN: Final = ("token", "manufacturer", "serial", "model")
_PATH: Final = (*_TOKEN, "object", "id", "type", "slot-id")
_QUERY: Final = ("module-path", "pin-source", "pin-value", "module-name")
_SHA256_INFO: Final = bytes.fromhex("3031300d060960864801650304020105000420")
"""What precedes a SHA-256 where RSA signs it (RFC 8017, section 9.2, note 1)."""


@dataclass(frozen=True, kw_only=True)
class KeyUri:
    """What a URI says, decoded. `text` has no secret in it."""

    text: str
    path: Mapping[str, bytes]
    module: str | None = None
    pin_source: str | None = field(default=None, repr=False)

    def says(self, name: str) -> str | None:
        """An attribute of the path, as text; None where it is not there."""
        return self.path[name].decode(errors="replace") if name in self.path else None


def parse_uri(text: str) -> KeyUri:
    """Read a URI (RFC 7512, section 2.3). Raises `UsageError` for one that is wrong, or that holds a PIN."""
    path_text, _, query_text = text.removeprefix(PKCS11).partition("?")
    path = _attributes(path_text.split(";"), _PATH, "path")
    query = _attributes(query_text.split("&"), _QUERY, "query")
    if "pin-value" in query:
        raise UsageError(
            "the PIN itself was given as an argument, as pin-value",
            why="every user of this machine can read a program's arguments",
            hint=f"change that PIN; give it with pin-source=file:PATH, --passphrase-file, or {PASSPHRASE_VARIABLES[0]}",
        )
    if "module-name" in query:
        raise UsageError("module-name does not say which file it is", hint="give module-path=/usr/lib/…/MODULE.so")
    if path.get("type", b"private") != b"private":
        raise UsageError(f"the key that signs is a private one; the URI says type={path['type'].decode(errors='replace')}")
    if not path.keys() & {"object", "id"}:
        raise UsageError(
            "the URI does not say which key of the token signs",
            hint="give object=LABEL, or id=%XX, as `p11tool --list-all` shows them",
        )
    texts = {name: value.decode(errors="surrogateescape") for name, value in query.items()}
    return KeyUri(text=PKCS11 + path_text, path=path, module=texts.get("module-path"), pin_source=texts.get("pin-source"))


def open_key(option: str, environment: Mapping[str, str], passphrase: Passphrase) -> DeviceSigner:
    """Log into the token and find the key. The session stays open while the signer lives.

    Raises `UsageError`, `PassphraseError` where the PIN is missing or wrong, and `UnreachableError` where the token fails.
    """
    uri = parse_uri(option)
    try:
        import pkcs11
    except ImportError as error:
        raise missing("hsm", "a PKCS#11 token") from error
    module = _module(uri, environment)
    try:
        library = pkcs11.lib(module)
        token = _only_token(library, uri)
    except (pkcs11.PKCS11Error, OSError, RuntimeError) as error:
        raise UnreachableError(
            f"the PKCS#11 module {module} does not answer",
            why=_said(error),
            hint="see whether the device is there, and the module its",
        ) from error
    pin = _pin(uri, environment, passphrase, f"PIN of the token {token.label}")
    try:
        session = _session(token, pin)
        key, public = _only_key(session, uri)
    except (pkcs11.PinIncorrect, pkcs11.PinInvalid, pkcs11.PinLenRange):
        raise PassphraseError(
            f"the PIN of the token {token.label} is wrong", why="the token refuses it", hint="tokens lock after a few attempts"
        ) from None
    except pkcs11.PinLocked:
        raise UnreachableError(f"the token {token.label} is locked", why="a wrong PIN was given too often") from None
    except pkcs11.PKCS11Error as error:
        raise UnreachableError(f"the token {token.label} cannot be used", why=_said(error)) from error

    def sign(message: bytes) -> bytes:
        try:
            return _sign(key, message)
        except pkcs11.PKCS11Error as error:
            raise UnreachableError(f"the token {token.label} does not sign", why=_said(error)) from error

    signer = DeviceSigner(name=uri.text, public=public, raw=sign)
    weakref.finalize(signer, session.close)
    return signer


def _attributes(parts: Sequence[str], known: Sequence[str], place: str) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for part in filter(None, parts):
        name, equals, value = part.partition("=")
        if not equals or name not in known or name in found or re.search("%(?![0-9A-Fa-f]{2})", value):
            raise UsageError(
                f"{name!r} is not understood in the {place} of a pkcs11: URI",
                why="it is there twice" if name in found else f"known are {', '.join(known[:-2] if place == 'query' else known)}",
                hint="RFC 7512 has the form: pkcs11:token=LABEL;object=LABEL?module-path=/usr/lib/MODULE.so",
            )
        found[name] = unquote_to_bytes(value)
    return found


def _session(token: Any, pin: str) -> Any:
    """A session that may sign. Logging in is the process's: where another session of it is open, it was done."""
    import pkcs11

    try:
        return token.open(user_pin=pin)
    except pkcs11.UserAlreadyLoggedIn:
        return token.open()


def _module(uri: KeyUri, environment: Mapping[str, str]) -> str:
    named = [uri.module, *(environment.get(name) for name in MODULE_VARIABLES)]
    module = next((one for one in named if one), None)
    if module is None:
        raise UsageError(
            "which module reaches the token is not said",
            hint=f"add ?module-path=/usr/lib/…/MODULE.so to the URI, or set {MODULE_VARIABLES[0]}",
        )
    if not Path(module).is_file():
        raise UsageError(f"there is no PKCS#11 module at {module}")
    return module


def _only_token(library: Any, uri: KeyUri) -> Any:
    from pkcs11 import TokenFlag

    tokens = [slot.get_token() for slot in library.get_slots(token_present=True) if _is_slot(slot, uri)]
    tokens = [token for token in tokens if token.flags & TokenFlag.TOKEN_INITIALIZED]
    found = [token for token in tokens if _is_token(token, uri)]
    if len(found) != 1:
        labels = ", ".join(token.label for token in found or tokens) or "none"
        raise UsageError(
            "no token is what the URI says" if not found else f"{len(found)} tokens are what the URI says",
            why=f"there are: {labels}",
            hint="name one with token=LABEL or serial=NUMBER",
        )
    return found[0]


def _is_slot(slot: Any, uri: KeyUri) -> bool:
    wanted = uri.says("slot-id")
    return wanted is None or wanted == str(slot.slot_id)


def _is_token(token: Any, uri: KeyUri) -> bool:
    serial = token.serial.decode(errors="replace") if isinstance(token.serial, bytes) else str(token.serial)
    facts = {"token": token.label, "manufacturer": token.manufacturer_id, "serial": serial, "model": token.model}
    return all(uri.says(name) in (None, facts[name].strip("\0 ")) for name in _TOKEN)


def _pin(uri: KeyUri, environment: Mapping[str, str], passphrase: Passphrase, question: str) -> str:
    """The PIN: from the URI's file, else as passphrases are, where cosign's own variable counts too."""
    if uri.pin_source is not None:
        path = uri.pin_source.removeprefix("file:").removeprefix("//")
        if not path.startswith("/"):
            raise UsageError("pin-source names no file", why="it reads pin-source=file:/PATH; commands are not run")
        secret: bytes | None = read_small(Path(path), "the PIN").partition(b"\n")[0].removesuffix(b"\r")
    elif _PIN_VARIABLE in environment and not any(name in environment for name in PASSPHRASE_VARIABLES):
        secret = environment[_PIN_VARIABLE].encode()
    else:
        secret = passphrase(question)
    if not secret:
        raise PassphraseError(
            "the token's PIN was not given",
            hint=f"set {PASSPHRASE_VARIABLES[0]}, or name a file or descriptor that holds it with --passphrase-file",
        )
    return secret.decode(errors="surrogateescape")


def _only_key(session: Any, uri: KeyUri) -> tuple[Any, PublicKey]:
    """The private key, and the public one that belongs to it: an object of the same id, or the certificate's."""
    from pkcs11 import Attribute, KeyType, ObjectClass

    wanted: dict[Any, Any] = {Attribute.CLASS: ObjectClass.PRIVATE_KEY}
    if "object" in uri.path:
        wanted[Attribute.LABEL] = uri.says("object")
    if "id" in uri.path:
        wanted[Attribute.ID] = uri.path["id"]
    keys = list(session.get_objects(wanted))
    if len(keys) != 1:
        raise UsageError(
            "no private key of the token is what the URI says" if not keys else f"{len(keys)} keys are what the URI says",
            hint="`p11tool --login --list-all` shows a token's keys; name one with object=LABEL and id=%XX",
        )
    (key,) = keys
    if key.key_type not in (KeyType.EC, KeyType.RSA):
        raise UsageError("the token's key is of a kind that signs nothing here", why=f"it is {key.key_type.name}")
    return key, public_key_of(_public_der(session, key), "the token's key")


def _public_der(session: Any, key: Any) -> bytes:
    from pkcs11 import Attribute, KeyType, ObjectClass
    from pkcs11.util.ec import encode_ec_public_key

    for kind in (ObjectClass.PUBLIC_KEY, ObjectClass.CERTIFICATE):
        for found in session.get_objects({Attribute.CLASS: kind, Attribute.ID: key[Attribute.ID]}):
            if kind == ObjectClass.CERTIFICATE:
                return _certified(found[Attribute.VALUE])
            if found.key_type == KeyType.EC:
                return bytes(encode_ec_public_key(found))
            return _rsa_der(found[Attribute.MODULUS], found[Attribute.PUBLIC_EXPONENT])
    if key.key_type == KeyType.RSA:
        return _rsa_der(key[Attribute.MODULUS], key[Attribute.PUBLIC_EXPONENT])
    raise UsageError(
        "the token has the private key, and neither its public key nor a certificate",
        why="without one nobody can verify what it signs",
        hint="write the public key onto the token, with the same id",
    )


def _rsa_der(modulus: bytes, exponent: bytes) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    numbers = RSAPublicNumbers(int.from_bytes(exponent, "big"), int.from_bytes(modulus, "big"))
    return numbers.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _certified(certificate: bytes) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
    from cryptography.x509 import load_der_x509_certificate

    try:
        key = load_der_x509_certificate(certificate).public_key()
    except ValueError as error:
        raise UsageError("the certificate on the token cannot be read", why=str(error)) from None
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _sign(key: Any, message: bytes) -> bytes:
    """Only the hash goes to the token."""
    from pkcs11 import KeyType, Mechanism
    from pkcs11.util.ec import encode_ecdsa_signature

    digest = hashlib.sha256(message).digest()
    if key.key_type == KeyType.EC:
        return bytes(encode_ecdsa_signature(key.sign(digest, mechanism=Mechanism.ECDSA)))
    return bytes(key.sign(_SHA256_INFO + digest, mechanism=Mechanism.RSA_PKCS))


def _said(error: Exception) -> str:
    return f"{type(error).__name__} {error}".strip()
