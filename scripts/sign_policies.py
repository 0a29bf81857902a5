"""Signs policies/runtime/*.json and writes the public key to policies/keys/runtime-policies.pub (`make policies`).

Without a key it makes a pair of keys, signs, and forgets the private one: the next run, after a change, has another key. Whoever
ships policies of their own keeps a key (`--key FILE`: PEM of P-256 or Ed25519, without a passphrase) outside of the project.
"""

from __future__ import annotations

import argparse
import base64
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from nexus_oci.trust.detached import SIGNATURE, verify_policies

POLICIES = Path(__file__).resolve().parent.parent / "policies"


def sign_all(folder: Path, public: Path, key: EllipticCurvePrivateKey | Ed25519PrivateKey) -> list[str]:
    """Sign every policy of a folder, write the public key, and verify both as a build does; the names of the policies."""
    names = []
    for path in sorted(folder.glob("*.json")):
        data = path.read_bytes()
        made = key.sign(data, ECDSA(SHA256())) if isinstance(key, EllipticCurvePrivateKey) else key.sign(data)
        path.with_name(path.name + SIGNATURE).write_bytes(base64.b64encode(made) + b"\n")
        names.append(path.name)
    public.parent.mkdir(parents=True, exist_ok=True)
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    verify_policies(folder, [public])
    return names


def main() -> None:
    """Sign the shipped policies."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--key", type=Path, help="private key to sign with; without one a fresh key is made and forgotten")
    given = parser.parse_args().key
    key = load_pem_private_key(given.read_bytes(), None) if given else generate_private_key(SECP256R1())
    if not isinstance(key, (EllipticCurvePrivateKey, Ed25519PrivateKey)):
        parser.error("the key is neither of P-256 nor Ed25519")
    for name in sign_all(POLICIES / "runtime", POLICIES / "keys" / "runtime-policies.pub", key):
        print(f"signed {name}")


if __name__ == "__main__":
    main()
