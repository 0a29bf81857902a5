"""Keys in the key services of AWS, Azure and Google Cloud, through securesystemslib's signers.

They are named as cosign names them, and credentials are the ambient ones of each cloud's own tools:

- `awskms://[ENDPOINT]/KEY`: a key's id, `alias/NAME`, or either's ARN;
- `azurekms://VAULT.vault.azure.net/KEY[/VERSION]`: keys over P-256 only;
- `gcpkms://projects/P/locations/L/keyRings/R/cryptoKeys/K[/versions/V]`: without a version the newest that is enabled.

The hash alone is sent. Signatures are ECDSA, or RSA as PKCS #1 v1.5, over SHA-256, as sigstore's verifiers take them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from nexus_oci.errors import UnreachableError, UsageError
from nexus_oci.trust.devices import DeviceSigner, missing
from nexus_oci.trust.keys import PublicKey, public_key_of

_AWS: Final = re.compile(r"awskms://([^/]*)/((?:arn:[a-z-]+:kms:([a-z0-9-]+):\d+:)?(?:(?:key|alias)/)?[A-Za-z0-9/_-]+)\Z")
_AZURE: Final = re.compile(r"azurekms://([A-Za-z0-9.-]+(?::\d+)?)/([A-Za-z0-9-]+)(?:/([A-Za-z0-9]+))?\Z")
_GCP: Final = re.compile(
    r"gcpkms://(projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+)(?:/(?:cryptoKeyVersions|versions)/(\d+))?\Z"
)


def cloud_key(option: str, environment: Mapping[str, str]) -> DeviceSigner:
    """The key that a URI names, its public part fetched; raises as `devices.load_signer` does."""
    scheme = option.partition("://")[0]
    kinds: Mapping[str, tuple[re.Pattern[str], Callable[[re.Match[str], str, Mapping[str, str]], DeviceSigner], str]] = {
        "awskms": (_AWS, _aws, "awskms:///KEY, awskms:///alias/NAME or awskms:///ARN"),
        "azurekms": (_AZURE, _azure, "azurekms://VAULT.vault.azure.net/KEY"),
        "gcpkms": (_GCP, _gcp, "gcpkms://projects/P/locations/L/keyRings/R/cryptoKeys/K/versions/V"),
    }
    pattern, make, form = kinds[scheme]
    found = pattern.match(option)
    if found is None:
        raise UsageError(f"{option!r} names no key", why=f"it reads {form}")
    return make(found, option, environment)


def _aws(found: re.Match[str], name: str, environment: Mapping[str, str]) -> DeviceSigner:
    try:
        import boto3
        from botocore import exceptions
        from securesystemslib.signer import AWSSigner
    except ImportError as error:
        raise missing("aws", "AWS KMS") from error
    endpoint, key_id, region = found.groups()

    class Signer(AWSSigner):
        """One whose client goes where the URI says."""

        def __init__(self, public: PublicKey) -> None:
            self.aws_key_id, self.client = key_id, client
            self._public_key = _as_theirs(public, "the key in AWS")
            self.aws_algo = self.aws_algos[self._public_key.scheme]

    @contextmanager
    def translated() -> Iterator[None]:
        try:
            yield
        except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError, exceptions.NoRegionError) as error:
            raise UsageError(
                f"AWS cannot be asked for {name}", why=str(error), hint="set up credentials and AWS_REGION as for the aws command"
            ) from None
        except exceptions.ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            kind = UsageError if code in {"NotFoundException", "ValidationException", "DisabledException"} else UnreachableError
            raise kind(f"AWS refuses {name}", why=str(error)) from None
        except (exceptions.BotoCoreError, OSError) as error:
            raise UnreachableError(f"AWS cannot be reached for {name}", why=str(error)) from None

    with translated():
        client = boto3.session.Session().client(
            "kms",
            region_name=region or environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION"),
            endpoint_url=f"https://{endpoint}" if endpoint else None,
        )
        answer = client.get_public_key(KeyId=key_id)
        if answer.get("KeyUsage") != "SIGN_VERIFY":
            raise UsageError(f"{name} is no key that signs", why=f"AWS says it is for {answer.get('KeyUsage')}")
        public = public_key_of(answer["PublicKey"], name)
        signer = Signer(public)

    def sign(message: bytes) -> bytes:
        with translated():
            return bytes.fromhex(signer.sign(message).signature)

    return DeviceSigner(name=name, public=public, raw=sign)


def _azure(found: re.Match[str], name: str, _: Mapping[str, str]) -> DeviceSigner:
    try:
        from azure.core import exceptions
        from azure.identity import DefaultAzureCredential
        from azure.keyvault.keys import KeyClient
        from securesystemslib.signer import AzureSigner
    except ImportError as error:
        raise missing("azure", "Azure Key Vault") from error
    host, key_name, version = found.groups()

    @contextmanager
    def translated() -> Iterator[None]:
        try:
            yield
        except exceptions.ClientAuthenticationError as error:
            why = str(error.message).partition("\n")[0]
            raise UsageError(
                f"Azure cannot be asked for {name}", why=why, hint="log in with `az login`, or set AZURE_CLIENT_ID and its like"
            ) from None
        except exceptions.ResourceNotFoundError as error:
            raise UsageError(f"there is no key {name}", why=str(error.message).partition("\n")[0]) from None
        except (exceptions.AzureError, OSError) as error:
            raise UnreachableError(f"Azure cannot be reached for {name}", why=str(error).partition("\n")[0]) from None

    with translated():
        credential = DefaultAzureCredential()
        client = KeyClient(vault_url=f"https://{host}", credential=credential, retry_total=2, retry_backoff_factor=0.2)
        key = client.get_key(key_name, version)
        public = _azure_public(key.key, name)
        signer = AzureSigner(key.id, _as_theirs(public, name))

    def sign(message: bytes) -> bytes:
        with translated():
            return bytes.fromhex(signer.sign(message).signature)

    return DeviceSigner(name=name, public=public, raw=sign)


def _azure_public(key: Any, name: str) -> PublicKey:
    """The public key of a JSON web key."""
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicNumbers
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    kind, curve = (str(getattr(one, "value", one) or "") for one in (key.kty, key.crv))
    if kind not in ("EC", "EC-HSM") or curve != "P-256":
        raise UsageError(f"{name} is of a kind that signs nothing here", why=f"it is {kind} {curve}; keys over P-256 do")
    numbers = EllipticCurvePublicNumbers(int.from_bytes(key.x, "big"), int.from_bytes(key.y, "big"), SECP256R1())
    return public_key_of(numbers.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo), name)


def _gcp(found: re.Match[str], name: str, _: Mapping[str, str]) -> DeviceSigner:
    try:
        from google.api_core import exceptions
        from google.auth.exceptions import GoogleAuthError
        from google.cloud.kms import PublicKey as KmsKey
        from securesystemslib.signer import GCPSigner
    except ImportError as error:
        raise missing("gcp", "Google Cloud KMS") from error

    class Signer(GCPSigner):
        """One with the client that is there already."""

        def __init__(self, key_id: str, public: PublicKey) -> None:
            self.gcp_keyid, self.client, self.hash_algorithm = key_id, client, "sha256"
            self._public_key = _as_theirs(public, name)

    @contextmanager
    def translated() -> Iterator[None]:
        try:
            yield
        except GoogleAuthError as error:
            why = str(error).partition("\n")[0]
            hint = "run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS"
            raise UsageError(f"Google Cloud cannot be asked for {name}", why=why, hint=hint) from None
        except (exceptions.NotFound, exceptions.InvalidArgument, exceptions.FailedPrecondition) as error:
            raise UsageError(f"there is no key {name} that signs", why=error.message) from None
        except (exceptions.GoogleAPIError, OSError) as error:
            raise UnreachableError(f"Google Cloud cannot be reached for {name}", why=str(error).partition("\n")[0]) from None

    with translated():
        client = gcp_client()
        version = f"{found[1]}/cryptoKeyVersions/{found[2]}" if found[2] else _newest_version(client, found[1], name)
        answer = client.get_public_key({"name": version, "public_key_format": KmsKey.PublicKeyFormat.PEM}, timeout=30)
        algorithm = answer.algorithm.name
        if not re.fullmatch(r"EC_SIGN_P256_SHA256|RSA_SIGN_PKCS1_\d+_SHA256", algorithm):
            why = f"it is {algorithm}; EC_SIGN_P256_SHA256 and RSA_SIGN_PKCS1_*_SHA256 do"
            raise UsageError(f"{name} is of a kind that signs nothing here", why=why)
        public = public_key_of(answer.public_key.data or answer.pem.encode(), name)
        signer = Signer(version, public)

    def sign(message: bytes) -> bytes:
        with translated():
            return bytes.fromhex(signer.sign(message).signature)

    return DeviceSigner(name=name, public=public, raw=sign)


def gcp_client() -> Any:
    """A client of Google's key service, with the credentials of this machine."""
    from google.cloud.kms import KeyManagementServiceClient

    return KeyManagementServiceClient()


def _newest_version(client: Any, key: str, name: str) -> str:
    versions = [str(one.name) for one in client.list_crypto_key_versions({"parent": key, "filter": "state=ENABLED"}, timeout=30)]
    if not versions:
        raise UsageError(f"no version of {name} is enabled")
    return max(versions, key=lambda version: int(version.rpartition("/")[2]))


def _as_theirs(public: PublicKey, name: str) -> Any:
    """The public key as securesystemslib has it, with the form of signature that verifiers here read."""
    from cryptography.hazmat.primitives.serialization import load_pem_public_key
    from securesystemslib.signer import SSlibKey

    schemes = {"ECDSA secp256r1": "ecdsa-sha2-nistp256", "Ed25519": "ed25519"}
    scheme = schemes.get(public.kind, "rsa-pkcs1v15-sha256")
    try:
        return SSlibKey.from_crypto(load_pem_public_key(public.pem), scheme=scheme)
    except ValueError as error:
        raise UsageError(f"{name} is of a kind that signs nothing here", why=str(error)) from None
