"""Keys in Vault, Azure and Google Cloud. Their services cannot be had here: this tests the wire between our program and servers that
speak their API on loopback (tests/support/key_services.py), with real keys and signatures; and that a missing library is named."""

from __future__ import annotations

import builtins
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from nexus_oci.oci.store import Store
from nexus_oci.trust import cloud_keys
from tests.support.in_process import nexus
from tests.support.key_services import azure, google, json_server, tls, vault
from tests.unit.cli.conftest import release

pytestmark = pytest.mark.integration

P256, P384, RSA, ED = (
    ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 2048),
    ed25519.Ed25519PrivateKey.generate(),
)  # fmt: skip
TOKEN = "only the test knows this token"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder whose dist/ has one small release, not signed."""
    release(Store.create(tmp_path / "dist" / "oci"))
    (tmp_path / "dist" / "SHA256SUMS").write_bytes(b"")
    return tmp_path


def signed_twice(project: Path, key: str, environment: dict[str, str | None]) -> None:
    """Export the public key, sign, verify with it, and sign again, which adds nothing."""
    done = nexus(project, "public-key", "--key", key, "--output", "device.pub", environment=environment)
    assert done.code == 0, done.err
    for added in (8, 0):
        done = nexus(project, "--json", "sign", "--key", key, environment=environment)
        assert done.code == 0, done.err
        assert json.loads(done.out)["added"] == added
    done = nexus(project, "verify", "--offline", "--key", project / "device.pub")
    assert (done.code, done.out.count("device.pub (bundle, tag)")) == (0, 4), done.err


def refused(project: Path, key: str, environment: dict[str, str | None], code: int, said: str) -> None:
    done = nexus(project, "sign", "--key", key, environment=environment)
    assert (done.code, said in done.err, "Traceback" in done.err, TOKEN in done.err) == (code, True, False, False), done.err


@pytest.fixture(scope="module")
def vault_environment() -> Iterator[dict[str, str | None]]:
    keys = {
        "release": ("ecdsa-p256", P256),
        "rsa": ("rsa-2048", RSA),
        "ed": ("ed25519", ED),
        "large": ("ecdsa-p384", P384),
        "aes": ("aes256-gcm96", P256),
    }
    with json_server(vault(keys, "team/transit", TOKEN)) as port:
        yield {
            "VAULT_ADDR": f"http://127.0.0.1:{port}", "VAULT_TOKEN": TOKEN, "TRANSIT_SECRET_ENGINE_PATH": "team/transit",
            "VAULT_NAMESPACE": None, "NO_PROXY": "127.0.0.1",
        }  # fmt: skip


@pytest.mark.parametrize("name", ["release", "rsa", "ed"])
def test_a_release_is_signed_in_vault(project: Path, vault_environment: dict[str, str | None], name: str) -> None:
    signed_twice(project, f"hashivault://{name}", vault_environment)


def test_mistakes_with_vault(project: Path, vault_environment: dict[str, str | None]) -> None:
    for name, changes, code, said in (
        ("none", {}, 2, "there is no key"),
        ("large", {}, 2, "it is ecdsa-p384"),
        ("aes", {}, 2, "it is aes256-gcm96"),
        ("release", {"VAULT_TOKEN": "wrong"}, 5, "Vault refuses"),
        ("release", {"TRANSIT_SECRET_ENGINE_PATH": "transit"}, 2, "there is no key"),
        ("release", {"VAULT_ADDR": None}, 2, "set VAULT_ADDR"),
        ("release", {"VAULT_ADDR": "http://127.0.0.1:9"}, 5, "cannot be reached"),
        ("a/b", {}, 2, "names no key"),
    ):
        refused(project, f"hashivault://{name}", {**vault_environment, **changes}, code, said)


class Credential:
    """What `az login` would leave."""

    def get_token(self, *_: Any, **__: Any) -> Any:
        return SimpleNamespace(token=TOKEN, expires_on=2**33)

    def get_token_info(self, *_: Any, **__: Any) -> Any:
        return SimpleNamespace(token=TOKEN, expires_on=2**33, token_type="Bearer", refresh_on=None)

    def close(self) -> None:
        """Nothing."""


def test_a_release_is_signed_in_azure(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import azure.identity
    from securesystemslib.signer import _azure_signer

    with json_server(azure_keys(), tls(tmp_path)) as port:
        environment: dict[str, str | None] = {"REQUESTS_CA_BUNDLE": str(tmp_path / "tls.pem"), "NO_PROXY": "127.0.0.1"}
        with monkeypatch.context() as patches:
            patches.setattr(azure.identity, "DefaultAzureCredential", Credential)
            patches.setattr(_azure_signer, "DefaultAzureCredential", Credential)
            signed_twice(project, f"azurekms://127.0.0.1:{port}/release", environment)
            for name, said in (
                ("none", "there is no key"),
                ("large", "keys over P-256 do"),
                ("rsa", "keys over P-256 do"),
                ("a/b/c/d", "names no key"),
            ):
                refused(project, f"azurekms://127.0.0.1:{port}/{name}", environment, 2, said)
            refused(project, "azurekms://127.0.0.1:9/release", environment, 5, "cannot be reached")


def azure_keys() -> Any:
    return azure({"release": P256, "large": P384, "rsa": RSA})


def test_without_credentials_azure_is_not_asked(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import azure.identity
    from azure.core.exceptions import ClientAuthenticationError

    class Nobody(Credential):
        def get_token(self, *_: Any, **__: Any) -> Any:
            raise ClientAuthenticationError(message="no credential was found\nand more")

        get_token_info = get_token

    monkeypatch.setattr(azure.identity, "DefaultAzureCredential", Nobody)
    with json_server(azure_keys(), tls(project)) as port:
        environment: dict[str, str | None] = {"REQUESTS_CA_BUNDLE": str(project / "tls.pem"), "NO_PROXY": "127.0.0.1"}
        refused(project, f"azurekms://127.0.0.1:{port}/release", environment, 2, "az login")


RING = "projects/p/locations/global/keyRings/r/cryptoKeys"


def test_a_release_is_signed_in_google_cloud(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {
        f"{RING}/release/cryptoKeyVersions/2": ("EC_SIGN_P256_SHA256", P384),
        f"{RING}/release/cryptoKeyVersions/10": ("EC_SIGN_P256_SHA256", P256),
        f"{RING}/rsa/cryptoKeyVersions/1": ("RSA_SIGN_PKCS1_2048_SHA256", RSA),
        f"{RING}/pss/cryptoKeyVersions/1": ("RSA_SIGN_PSS_2048_SHA256", RSA),
        f"{RING}/large/cryptoKeyVersions/1": ("EC_SIGN_P384_SHA384", P384),
    }
    with google(keys) as client:
        monkeypatch.setattr(cloud_keys, "gcp_client", lambda: client)
        signed_twice(project, f"gcpkms://{RING}/release", {})
        for name in ("release/versions/10", "release/cryptoKeyVersions/10", "rsa/versions/1"):
            done = nexus(project, "public-key", "--key", f"gcpkms://{RING}/{name}")
            assert done.code == 0, done.err
        for name, said in (
            ("release/versions/3", "there is no key"),
            ("none", "no version of"),
            ("pss/versions/1", "RSA_SIGN_PKCS1_*_SHA256 do"),
            ("large/versions/1", "it is EC_SIGN_P384_SHA384"),
            ("release/versions/x", "names no key"),
        ):
            refused(project, f"gcpkms://{RING}/{name}", {}, 2, said)


def test_without_credentials_google_is_not_asked(project: Path, tmp_path: Path) -> None:
    environment: dict[str, str | None] = {
        "GOOGLE_APPLICATION_CREDENTIALS": None, "HOME": str(tmp_path), "NO_GCE_CHECK": "true", "CLOUDSDK_CONFIG": str(tmp_path),
    }  # fmt: skip
    refused(project, f"gcpkms://{RING}/release/versions/1", environment, 2, "gcloud auth application-default login")


@pytest.mark.parametrize(
    ("key", "module", "extra"),
    [
        ("pkcs11:object=a?module-path=/usr/lib/none.so", "pkcs11", "hsm"),
        ("awskms:///alias/a", "boto3", "aws"),
        ("azurekms://v.vault.azure.net/a", "azure.identity", "azure"),
        (f"gcpkms://{RING}/a/versions/1", "google.cloud.kms", "gcp"),
        ("hashivault://a", "hvac", "vault"),
    ],
)
def test_a_missing_library_is_named_with_its_extra(
    project: Path, monkeypatch: pytest.MonkeyPatch, key: str, module: str, extra: str
) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name == module or name.startswith(f"{module}."):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    refused(project, key, {"VAULT_ADDR": "http://127.0.0.1:9"}, 2, f"pip install nexus-oci[{extra}]")


def test_other_services_are_not_known(project: Path) -> None:
    refused(project, "k8s://team/key", {}, 2, "keys of k8s:// are not known here")
