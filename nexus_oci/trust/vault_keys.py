"""Keys in HashiCorp Vault's transit engine (or OpenBao's).

They are named as cosign names them: `hashivault://KEY`. Where the server is and who asks says the environment: `VAULT_ADDR`,
`VAULT_TOKEN` or `~/.vault-token`, `VAULT_NAMESPACE`; `TRANSIT_SECRET_ENGINE_PATH` is where the engine is, `transit` unless set.
The newest version of a key signs. Its kind is ecdsa-p256, ed25519 or rsa; the server hashes what is to be signed.
securesystemslib's own signer is passed over for the library below it, hvac: it knows Ed25519 alone, and one place of the engine.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from nexus_oci.errors import UnreachableError, UsageError
from nexus_oci.trust.devices import DeviceSigner, missing
from nexus_oci.trust.keys import PublicKey, public_key_of

_URI: Final = re.compile(r"hashivault://([A-Za-z0-9_.-]+)\Z")
_SECONDS: Final = 30


def vault_key(option: str, environment: Mapping[str, str]) -> DeviceSigner:
    """The key that a URI names, its public part fetched; raises as `devices.load_signer` does."""
    found = _URI.match(option)
    if found is None:
        raise UsageError(f"{option!r} names no key", why="it reads hashivault://KEY")
    try:
        import hvac
    except ImportError as error:
        raise missing("vault", "HashiCorp Vault") from error
    if not environment.get("VAULT_ADDR"):
        raise UsageError(f"where the Vault of {option} is, is not said", hint="set VAULT_ADDR and VAULT_TOKEN")
    mount = environment.get("TRANSIT_SECRET_ENGINE_PATH", "transit").strip("/")
    client = hvac.Client(timeout=_SECONDS, namespace=environment.get("VAULT_NAMESPACE"))

    with _translated(option):
        data = client.secrets.transit.read_key(found[1], mount_point=mount)["data"]
        version = max(map(int, data["keys"]))
        public = _public(data["type"], data["keys"][str(version)], option)
    form = {"signature_algorithm": "pkcs1v15"} if data["type"].startswith("rsa") else {}

    def sign(message: bytes) -> bytes:
        """What the server answers is `vault:vN:` and base64."""
        with _translated(option):
            answer = client.secrets.transit.sign_data(
                found[1],
                hash_input=base64.b64encode(message).decode(),
                hash_algorithm="sha2-256",
                key_version=version,
                mount_point=mount,
                **form,
            )
            return base64.b64decode(answer["data"]["signature"].rpartition(":")[2], validate=True)

    return DeviceSigner(name=option, public=public, raw=sign)


@contextmanager
def _translated(name: str) -> Iterator[None]:
    from hvac import exceptions

    try:
        yield
    except exceptions.InvalidPath:
        raise UsageError(f"there is no key {name}", why="Vault knows none of that name where its engine is") from None
    except (exceptions.Forbidden, exceptions.Unauthorized) as error:
        raise UnreachableError(
            f"Vault refuses {name}", why=_line(error), hint="see whether VAULT_TOKEN is set and may use the key"
        ) from None
    except exceptions.InvalidRequest as error:
        raise UsageError(f"Vault cannot sign with {name}", why=_line(error)) from None
    except (exceptions.VaultError, OSError) as error:
        raise UnreachableError(f"Vault cannot be reached for {name}", why=_line(error)) from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UnreachableError(f"Vault's answer for {name} is not understood", why=f"{type(error).__name__}: {error}") from None


def _public(kind: str, version: Mapping[str, Any], name: str) -> PublicKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    if kind == "ed25519":
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(version["public_key"], validate=True))
        return PublicKey(der=key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    if kind != "ecdsa-p256" and not kind.startswith("rsa-"):
        raise UsageError(f"{name} is of a kind that signs nothing here", why=f"it is {kind}; ecdsa-p256, ed25519 and rsa do")
    return public_key_of(version["public_key"].encode(), name)


def _line(error: Exception) -> str:
    return str(error).partition("\n")[0]
