"""Policy files are used only with a valid signature of a known key, and every fault is told."""

from __future__ import annotations

import base64
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from nexus_oci.definition.distribution_model import Policies
from nexus_oci.errors import PolicyError
from nexus_oci.pipeline.policy_cache import policy_files
from nexus_oci.trust.detached import verify_policies
from scripts.sign_policies import sign_all

REPOSITORY = Path(__file__).resolve().parents[3]


def write_key(path: Path, key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return path


@pytest.fixture
def signed(tmp_path: Path) -> Path:
    """A project with two policies of one P-256 key, which is forgotten."""
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies/a.json").write_bytes(b'{"name": "a"}\n')
    (tmp_path / "policies/b.json").write_bytes(b'{"name": "b"}\n')
    sign_all(tmp_path / "policies", tmp_path / "keys/ours.pub", ec.generate_private_key(ec.SECP256R1()))
    return tmp_path


def verify(project: Path, *keys: Path) -> dict[str, bytes]:
    return dict(verify_policies(project / "policies", keys or [project / "keys/ours.pub"]))


def change(project: Path) -> None:
    (project / "policies/a.json").write_bytes(b'{"name": "A"}\n')


def exchange(project: Path) -> None:
    (project / "policies/a.json.sig").write_bytes((project / "policies/b.json.sig").read_bytes())


def remove_signature(project: Path) -> None:
    (project / "policies/a.json.sig").unlink()


def remove_file(project: Path) -> None:
    (project / "policies/a.json").unlink()


def no_base64(project: Path) -> None:
    (project / "policies/a.json.sig").write_bytes(b"\x30\x45\xff")


def empty_signature(project: Path) -> None:
    (project / "policies/a.json.sig").write_bytes(b"\n")


def a_folder(project: Path) -> None:
    remove_file(project)
    (project / "policies/a.json").mkdir()


def too_large(project: Path) -> None:
    (project / "policies/a.json").write_bytes(b"[" + b" " * (8 << 20) + b"]")


def no_policies(project: Path) -> None:
    for path in (project / "policies").iterdir():
        path.unlink()


def no_folder(project: Path) -> None:
    shutil.rmtree(project / "policies")


def foreign_key(project: Path) -> None:
    write_key(project / "keys/ours.pub", ec.generate_private_key(ec.SECP256R1()))


def private_key(project: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    (project / "keys/ours.pub").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def wrong_kind(project: Path) -> None:
    write_key(project / "keys/ours.pub", rsa.generate_private_key(65537, 2048))


def wrong_curve(project: Path) -> None:
    write_key(project / "keys/ours.pub", ec.generate_private_key(ec.SECP384R1()))


def no_key(project: Path) -> None:
    (project / "keys/ours.pub").unlink()


def garbage_key(project: Path) -> None:
    (project / "keys/ours.pub").write_text("not a key")


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (change, r"a\.json was changed after it was signed, or another key signed it: a\.json\.sig is valid under none of the keys \(ours\.pub\)"),
        (exchange, r"a\.json was changed after it was signed"),
        (remove_signature, r"a\.json has no signature; sign it"),
        (remove_file, r"a\.json\.sig is the signature of a file that is not there"),
        (no_base64, r"a\.json\.sig is no base64"),
        (empty_signature, r"a\.json was changed after it was signed"),
        (a_folder, r"a\.json cannot be read: Is a directory"),
        (too_large, r"a\.json has more than 8388608 bytes"),
        (no_policies, r"holds no \*\.json"),
        (no_folder, r"the folder cannot be read: No such file or directory"),
        (foreign_key, r"b\.json was changed after it was signed, or another key signed it"),
        (private_key, r"ours\.pub is a private key; keep it out of the project"),
        (wrong_kind, r"ours\.pub is neither of P-256 nor Ed25519"),
        (wrong_curve, r"ours\.pub is neither of P-256 nor Ed25519"),
        (no_key, r"ours\.pub cannot be read: No such file or directory"),
        (garbage_key, r"ours\.pub is no public key in PEM"),
    ],
)  # fmt: skip
def test_a_bad_policy_or_key_is_refused_with_the_reason(signed: Path, spoil: Callable[[Path], None], why: str) -> None:
    assert set(verify(signed)) == {"a.json", "a.json.sig", "b.json", "b.json.sig"}
    spoil(signed)
    with pytest.raises(PolicyError, match=why) as caught:
        verify(signed)
    assert caught.value.exit_code == 3


def test_every_fault_is_told_in_one_message(signed: Path) -> None:
    change(signed)
    (signed / "policies/b.json.sig").unlink()
    (signed / "policies/c.json.sig").write_text("AAAA")
    with pytest.raises(PolicyError) as caught:
        verify(signed)
    assert sorted(line.split()[0] for line in (caught.value.why or "").splitlines()) == ["a.json", "b.json", "c.json.sig"]


def test_a_signed_file_that_is_no_json_is_refused(signed: Path) -> None:
    (signed / "policies/a.json").write_text('{"name": NaN}')
    with pytest.raises(PolicyError, match="a.json is signed and no JSON: NaN is no number of JSON"):
        sign_all(signed / "policies", signed / "keys/ours.pub", ed25519.Ed25519PrivateKey.generate())


def test_any_of_several_keys_may_have_signed_a_file(signed: Path) -> None:
    second = ed25519.Ed25519PrivateKey.generate()
    (signed / "policies/b.json.sig").write_bytes(base64.encodebytes(second.sign((signed / "policies/b.json").read_bytes())))
    with pytest.raises(PolicyError, match=r"b\.json was changed"):
        verify(signed)
    assert len(verify(signed, signed / "keys/ours.pub", write_key(signed / "keys/theirs.pub", second))) == 4


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_openssl_makes_signatures_that_verify_and_verifies_ours(signed: Path) -> None:
    def openssl(*arguments: str, data: bytes = b"") -> bytes:
        return subprocess.run(["openssl", *arguments], cwd=signed, input=data, capture_output=True, check=True).stdout

    openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "key.pem")
    (signed / "keys/openssl.pub").write_bytes(openssl("ec", "-in", "key.pem", "-pubout"))
    made = openssl("dgst", "-sha256", "-sign", "key.pem", "policies/a.json")
    (signed / "policies/a.json.sig").write_bytes(openssl("base64", data=made))
    assert verify(signed, signed / "keys/openssl.pub", signed / "keys/ours.pub")["a.json"] == b'{"name": "a"}\n'
    (signed / "raw").write_bytes(base64.b64decode((signed / "policies/b.json.sig").read_bytes()))
    assert b"Verified OK" in openssl("dgst", "-sha256", "-verify", "keys/ours.pub", "-signature", "raw", "policies/b.json")


def test_what_is_shipped_is_what_was_verified_and_is_read_once(signed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    block = Policies(path="policies", keys=("keys/ours.pub",))
    opened: list[str] = []
    reader = Path.open

    def counted(path: Path, *arguments: str, **words: str) -> object:
        opened.append(path.name)
        return reader(path, *arguments, **words)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", counted)
    files = policy_files(signed, REPOSITORY, block, "engine")
    change(signed)
    assert opened.count("a.json") == 1 + 1  # the change itself opens it too
    assert files["/usr/share/engine/policies/a.json"].data == b'{"name": "a"}\n'
    assert set(files) == {f"/usr/share/engine/policies/{name}" for name in ("a.json", "a.json.sig", "b.json", "b.json.sig")}


def test_the_shipped_policies_serve_a_project_that_has_none(tmp_path: Path) -> None:
    block = Policies(path="policies/runtime", keys=("policies/keys/runtime-policies.pub",), destination="/opt/policies")
    files = policy_files(tmp_path, REPOSITORY, block, "engine")
    assert {"/opt/policies/script-source.json", "/opt/policies/script-source.json.sig"} <= set(files)
    assert policy_files(tmp_path, REPOSITORY, None, "engine") == {}


def test_a_signature_is_over_the_bytes_and_not_over_what_they_mean(signed: Path) -> None:
    (signed / "policies/a.json").write_bytes(b'{"name":"a"}\n')
    with pytest.raises(PolicyError, match="changed after it was signed"):
        verify(signed)
