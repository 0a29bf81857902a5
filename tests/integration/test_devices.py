"""Keys in devices and clouds: releases signed with a key on a real PKCS#11 token, and with AWS's key service as moto serves it."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from nexus_oci.oci.store import Store
from tests.support import in_process, softhsm
from tests.support.certificates import Wish, authority, issue
from tests.support.peers import Outcome, real_cosign
from tests.support.softhsm import PIN, SoftHsm, soft_hsm
from tests.unit.cli.conftest import release

pytestmark = pytest.mark.integration
pytest_plugins = ["tests.support.registry"]

SIGN, RSA = ec.generate_private_key(ec.SECP256R1()), rsa.generate_private_key(65537, 2048)


def pkcs8(key: Any) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.fixture(scope="module")
def hsm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SoftHsm]:
    """Two tokens; the first with a key over P-256, an RSA key, one over P-384, and two of one name."""
    made = soft_hsm(tmp_path_factory.mktemp("hsm"))
    made.token("nexus")
    made.token("other")
    made.load("nexus", "sign", "01", pkcs8(SIGN))
    made.load("nexus", "rsa", "0a02", pkcs8(RSA))
    made.load("nexus", "large", "03", pkcs8(ec.generate_private_key(ec.SECP384R1())))
    made.load("nexus", "twin", "04", pkcs8(ec.generate_private_key(ec.SECP256R1())))
    made.load("nexus", "twin", "05", pkcs8(ec.generate_private_key(ec.SECP256R1())))
    made.preload()
    yield made
    softhsm.remove()


def nexus(folder: Path, *words: str | Path, **environment: str) -> Outcome:
    """Our own program, with nothing of passphrases and of AWS in the environment but what is given."""
    gone = [name for name in os.environ if "PASS" in name or name.startswith("AWS_")]
    return in_process.nexus(folder, *words, environment={**dict.fromkeys(gone), **environment})


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder whose dist/ has one small release, not signed."""
    release(Store.create(tmp_path / "dist" / "oci"))
    (tmp_path / "dist" / "SHA256SUMS").write_bytes(b"")
    return tmp_path


def uri(hsm: SoftHsm, path: str, query: str = "") -> str:
    return f"pkcs11:{path}?module-path={hsm.module}{query}"


def exported(project: Path, key: str, environment: Mapping[str, str]) -> Path:
    """The key's public part, as `nexus-oci public-key` writes it."""
    out = project / "device.pub"
    done = nexus(project, "public-key", "--key", key, "--output", out, **environment)
    assert done.code == 0, done.err
    return out


def signed_twice(project: Path, key: str, environment: Mapping[str, str]) -> Path:
    """Sign, verify with the exported key, and sign again, which adds nothing."""
    public = exported(project, key, environment)
    counts = []
    for _ in range(2):
        done = nexus(project, "--json", "sign", "--key", key, **environment)
        assert done.code == 0, done.err
        counts.append(json.loads(done.out)["added"])
        sums = (project / "dist" / "SHA256SUMS.sig").read_bytes()
    assert counts == [8, 0]
    assert (project / "dist" / "SHA256SUMS.sig").read_bytes() == sums
    verified = nexus(project, "verify", "--offline", "--key", public)
    assert verified.code == 0, verified.err
    assert verified.out.count("device.pub (bundle, tag)") == 4
    return public


@pytest.mark.parametrize(
    "path", ["token=nexus;object=sign", "token=nexus;id=%01;type=private", "token=nexus;object=rsa;id=%0a%02"]
)
def test_a_release_is_signed_on_a_token(project: Path, hsm: SoftHsm, path: str) -> None:
    signed_twice(project, uri(hsm, path), {**hsm.environment, "NEXUS_OCI_KEY_PASSPHRASE": PIN})


def test_the_pin_comes_from_a_file_or_from_where_cosign_takes_it(project: Path, hsm: SoftHsm) -> None:
    pin = project / "pin"
    pin.write_text(f"{PIN}\nmore\n")
    path = "token=nexus;object=sign"
    for key, words, environment in (
        (uri(hsm, path, f"&pin-source=file:{pin}"), (), {}),
        (uri(hsm, path), ("--passphrase-file", pin), {}),
        (f"pkcs11:{path}", (), {"COSIGN_PKCS11_PIN": PIN, "COSIGN_PKCS11_MODULE_PATH": str(hsm.module)}),
    ):
        done = nexus(project, "public-key", "--key", key, *words, **hsm.environment, **environment)
        assert done.code == 0, done.err
        assert done.out.startswith("-----BEGIN PUBLIC KEY-----")


def test_cosign_accepts_what_a_token_signed(project: Path, hsm: SoftHsm, registry: str) -> None:
    environment = {**hsm.environment, "NEXUS_OCI_KEY_PASSPHRASE": PIN}
    key = uri(hsm, "token=nexus;object=sign")
    public = exported(project, key, environment)
    place = f"{registry}/devices"
    for words in (("push", place, "--plain-http"), ("sign", f"{place}/releases:1.0.0", "--plain-http", "--key", key)):
        done = nexus(project, *words, **environment)
        assert done.code == 0, done.err
    cosign = real_cosign()
    for bundle in (True, False):
        outcome = cosign.verify(f"{place}/engine:1.0.0", public, bundle=bundle)
        assert outcome.code == 0, outcome.err


def test_a_token_signs_for_notation_and_cosign_at_once(project: Path, hsm: SoftHsm) -> None:
    root = authority()
    (project / "root.pem").write_bytes(root.pem)
    for name, key in (("sign", SIGN), ("rsa", RSA)):
        (project / f"{name}.pem").write_bytes(issue(Wish(), root, key=key).pem)
    environment = {**hsm.environment, "NEXUS_OCI_KEY_PASSPHRASE": PIN}
    words = ("--notation", "--cosign", "--certificate-chain", project / "sign.pem", "--key", uri(hsm, "token=nexus;object=sign"))
    for added in (12, 0):
        done = nexus(project, "--json", "sign", *words, **environment)
        assert done.code == 0, done.err
        assert json.loads(done.out)["added"] == added
    assert nexus(project, "verify", "--offline", "--shallow", "--notation-root", project / "root.pem").code == 0
    done = nexus(project, "sign", *words[:3], project / "sign.pem", "--key", uri(hsm, "token=nexus;object=rsa"), **environment)
    assert (done.code, "is not that of the first certificate" in done.err) == (2, True), done.err
    done = nexus(project, "sign", *words[:3], project / "rsa.pem", "--key", uri(hsm, "token=nexus;object=rsa"), **environment)
    assert (done.code, "only where it is over P-256" in done.err) == (2, True), done.err


@pytest.mark.parametrize(
    ("path", "query", "pin", "code", "said"),
    [
        ("token=nexus;object=sign", "&pin-value=1234", PIN, 2, "the PIN itself was given as an argument"),
        ("token=nexus;object=sign", "&pin-source=|cat", PIN, 2, "pin-source names no file"),
        ("token=nexus;object=sign", "", "", 2, "the token's PIN was not given"),
        ("token=nexus;object=sign", "", "99999", 2, "the PIN of the token nexus is wrong"),
        ("token=nexus;object=nobody", "", PIN, 2, "no private key of the token is what the URI says"),
        ("token=nexus;object=twin", "", PIN, 2, "2 keys are what the URI says"),
        ("token=nexus;object=large", "", PIN, 2, "only P-256 is taken"),
        ("object=sign", "", PIN, 2, "2 tokens are what the URI says"),
        ("token=absent;object=sign", "", PIN, 2, "there are: "),
        ("serial=1;object=sign", "", PIN, 2, "no token is what the URI says"),
        ("token=nexus", "", PIN, 2, "does not say which key"),
        ("token=nexus;object=a;object=b", "", PIN, 2, "it is there twice"),
        ("token=nexus;object=sign", "&PIN-VALUE=1234", PIN, 2, "'PIN-VALUE' is not understood"),
        ("token=nexus;colour=red", "", PIN, 2, "'colour' is not understood"),
    ],
)
def test_mistakes_with_a_token(project: Path, hsm: SoftHsm, path: str, query: str, pin: str, code: int, said: str) -> None:
    environment = {**hsm.environment, **({"NEXUS_OCI_KEY_PASSPHRASE": pin} if pin else {})}
    done = nexus(project, "sign", "--key", uri(hsm, path, query), **environment)
    assert (done.code, said in done.err) == (code, True), done.err
    assert PIN not in done.err and "99999" not in done.err and "1234" not in done.err


def test_a_module_that_is_none_is_said_to_be(project: Path, hsm: SoftHsm) -> None:
    false = project / "module.so"
    false.write_bytes(b"no library")
    done = nexus(project, "sign", "--key", f"pkcs11:object=a?module-path={false}", NEXUS_OCI_KEY_PASSPHRASE=PIN)
    assert (done.code, "does not answer" in done.err) == (5, True), done.err
    done = nexus(project, "sign", "--key", "pkcs11:object=a", NEXUS_OCI_KEY_PASSPHRASE=PIN)
    assert (done.code, "NEXUS_OCI_PKCS11_MODULE" in done.err) == (2, True), done.err


@pytest.fixture(scope="module")
def aws() -> Iterator[dict[str, str]]:
    """moto's server as AWS, and what a process needs to ask it. Its keys are real, and sign.

    moto leaves MessageType DIGEST out and hashes a hash again; here 32 bytes, which is all that our program sends, are the hash.
    """
    from moto.kms.utils import ECDSAPrivateKey, RSAPrivateKey
    from moto.server import ThreadedMotoServer

    hashed = Prehashed(hashes.SHA256())

    def sign_rsa(self: Any, message: bytes, algorithm: str) -> bytes:
        assert (len(message), algorithm) == (32, "RSASSA_PKCS1_V1_5_SHA_256")
        return self.private_key.sign(message, padding.PKCS1v15(), hashed)

    def sign_ecdsa(self: Any, message: bytes, algorithm: str) -> bytes:
        assert (len(message), algorithm) == (32, "ECDSA_SHA_256")
        return self.private_key.sign(message, ec.ECDSA(hashed))

    patches = pytest.MonkeyPatch()
    patches.setattr(RSAPrivateKey, "sign", sign_rsa)
    patches.setattr(ECDSAPrivateKey, "sign", sign_ecdsa)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_REGION": "eu-central-1", "AWS_ACCESS_KEY_ID": "one", "AWS_SECRET_ACCESS_KEY": "two",
        "AWS_EC2_METADATA_DISABLED": "true", "NO_PROXY": "127.0.0.1",
    }  # fmt: skip
    server.stop()
    patches.undo()


def aws_key(aws: Mapping[str, str], spec: str, usage: str = "SIGN_VERIFY") -> tuple[Any, str]:
    """A client, and the id of a new key."""
    import boto3

    client = boto3.client(
        "kms",
        region_name="eu-central-1",
        endpoint_url=aws["AWS_ENDPOINT_URL"],
        aws_access_key_id="one",
        aws_secret_access_key="two",
    )
    return client, client.create_key(KeySpec=spec, KeyUsage=usage)["KeyMetadata"]["KeyId"]


@pytest.mark.parametrize("spec", ["ECC_NIST_P256", "RSA_2048"])
def test_a_release_is_signed_in_aws(project: Path, aws: dict[str, str], spec: str) -> None:
    client, key = aws_key(aws, spec)
    client.create_alias(AliasName=f"alias/{spec}", TargetKeyId=key)
    public = signed_twice(project, f"awskms:///{key}", aws)
    body = base64.b64encode(client.get_public_key(KeyId=key)["PublicKey"]).decode()
    assert body == "".join(public.read_text().splitlines()[1:-1])
    arn = client.describe_key(KeyId=key)["KeyMetadata"]["Arn"]
    for name in (f"alias/{spec}", arn):
        done = nexus(project, "public-key", "--key", f"awskms:///{name}", **aws)
        assert (done.code, done.out) == (0, public.read_text()), done.err


def test_mistakes_with_aws(project: Path, aws: dict[str, str]) -> None:
    _, large = aws_key(aws, "ECC_NIST_P384")
    _, cipher = aws_key(aws, "RSA_2048", "ENCRYPT_DECRYPT")
    nobody = {name: value for name, value in aws.items() if name not in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    nowhere = {**aws, "AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_MAX_ATTEMPTS": "1"}
    for key, environment, code, said in (
        ("12345678-1234-1234-1234-123456789012", aws, 2, "AWS refuses"),
        (large, aws, 2, "only P-256"),
        (cipher, aws, 2, "no key that signs"),
        (large, {**nobody, "HOME": str(project)}, 2, "credentials"),
        (large, nowhere, 5, "cannot be reached"),
        ("alias", aws, 2, "AWS refuses"),
        ("a key", aws, 2, "names no key"),
    ):
        done = nexus(project, "sign", "--key", f"awskms:///{key}", **environment)
        assert (done.code, said in done.err) == (code, True), (key, done.err)
        assert "Traceback" not in done.err
