"""Detached signatures of policy files: nothing of a policy is used that a known key has not signed.

Beside `X.json` stands `X.json.sig`, the base64 of a signature over the file's bytes: ECDSA over P-256 with SHA-256 (DER), as
`cosign sign-blob` and `openssl dgst -sha256 -sign` make it, or Ed25519 (RFC 8032). A key that is trusted has to have made it.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from nexus_oci.errors import PolicyError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    PublicKey = EllipticCurvePublicKey | Ed25519PublicKey

SIGNATURE: Final = ".sig"
"""What a signature's name has after that of its file."""
_MOST_POLICY = 8 << 20
"""Bytes of the largest policy file: what the reference engine reads at most."""
_MOST_SIGNATURE = 16 << 10


def verify_policies(folder: Path, keys: Sequence[Path]) -> Mapping[str, bytes]:
    """The policy files of a folder and their signatures, by name, as the bytes that were verified.

    1. Every key is read; it has to be a public key (PEM) of P-256 or Ed25519.
    2. Every `*.json` of the folder and its signature are read, once: what is returned is what was verified.
    3. Each signature has to be valid under one of the keys; each signature has to have its file.
    4. Each file that is signed has to be JSON (RFC 8259).

    Files of other names are no policies and stay behind. Raises `PolicyError` with every fault. That the keys are the right ones
    remains the caller's business.
    """
    faults: list[str] = []
    trusted = _keys(keys, faults)
    names = _names(folder)
    policies = [name for name in names if name.endswith(".json")]
    if not policies:
        faults.append(f"{folder} holds no *.json; add the policies, or take `policies` out of the definition")
    found: dict[str, bytes] = {}
    for name in policies:
        data = _read(folder / name, _MOST_POLICY, faults)
        text = _signature(folder / (name + SIGNATURE), faults)
        if data is not None and text is not None:
            faults += _faults(name, data, text, keys, trusted)
            found |= {name: data, name + SIGNATURE: text}
    faults += [
        f"{name} is the signature of a file that is not there; restore the file, or remove the signature"
        for name in names
        if name.endswith(f".json{SIGNATURE}") and name.removesuffix(SIGNATURE) not in policies
    ]
    if faults:
        _refuse(folder, faults)
    return found


def _faults(name: str, data: bytes, text: bytes, keys: Sequence[Path], trusted: Sequence[PublicKey]) -> list[str]:
    """What is wrong with a policy whose file and signature were read."""
    try:
        signature = base64.b64decode(b"".join(text.split()), validate=True)
    except binascii.Error:
        return [f"{name}{SIGNATURE} is no base64; sign {name} anew"]
    if not any(_is_signed(key, data, signature) for key in trusted):
        known = ", ".join(path.name for path in keys)
        why = f"{name}{SIGNATURE} is valid under none of the keys ({known})"
        return [f"{name} was changed after it was signed, or another key signed it: {why}; restore it, or sign it anew"]
    fault = _json_fault(data)
    return [f"{name} is signed and no JSON: {fault}; correct it, and sign it anew"] if fault else []


def _refuse(folder: Path, faults: Sequence[str]) -> NoReturn:
    raise PolicyError(
        f"the policies in {folder} cannot be shipped",
        why="\n       ".join(faults),
        hint="`openssl dgst -sha256 -sign KEY FILE | base64 > FILE.sig` signs a file; `policies.keys` names the public keys",
    )


def _names(folder: Path) -> list[str]:
    try:
        return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        _refuse(folder, [f"the folder cannot be read: {error.strerror}; correct `policies.path`"])


def _keys(paths: Sequence[Path], faults: list[str]) -> list[PublicKey]:
    found = []
    for path in paths:
        key, fault = _key(path)
        if key is None:
            faults.append(f"the key {path} {fault}")
        else:
            found.append(key)
    if not paths:
        faults.append("there is no key to verify with; name one under `policies.keys`")
    return found


def _key(path: Path) -> tuple[PublicKey | None, str]:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        data = path.read_bytes()
    except OSError as error:
        return None, f"cannot be read: {error.strerror}; correct `policies.keys`"
    if b"PRIVATE KEY-----" in data:
        return None, "is a private key; keep it out of the project, and give its public key (`openssl pkey -pubout`)"
    try:
        key = load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        return None, "is no public key in PEM; `openssl pkey -pubout` writes one"
    if isinstance(key, Ed25519PublicKey) or (isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1)):
        return key, ""
    return None, "is neither of P-256 nor Ed25519, the kinds that policies are signed with; use a key of one of these"


def _signature(path: Path, faults: list[str]) -> bytes | None:
    if path.exists():
        return _read(path, _MOST_SIGNATURE, faults)
    faults.append(f"{path.name.removesuffix(SIGNATURE)} has no signature; sign it, and put the signature into {path.name}")
    return None


def _read(path: Path, most: int, faults: list[str]) -> bytes | None:
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        faults.append(f"{path.name} cannot be read: {error.strerror}; make it a file that can be read")
        return None
    if len(data) > most:
        faults.append(f"{path.name} has more than {most} bytes, which no policy has; remove it from the folder")
        return None
    return data


def _is_signed(key: PublicKey, data: bytes, signature: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.hashes import SHA256

    try:
        if isinstance(key, EllipticCurvePublicKey):
            key.verify(signature, data, ECDSA(SHA256()))
        else:
            key.verify(signature, data)
    except InvalidSignature:
        return False
    return True


def _json_fault(data: bytes) -> str:
    """What is wrong with a JSON text; nothing where it is one."""

    def refuse(word: str) -> NoReturn:
        raise ValueError(f"{word} is no number of JSON")

    try:
        json.loads(data.decode(), parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        return str(error)
    return ""
