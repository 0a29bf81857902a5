"""Signatures by identity: made and verified through the sigstore package with an instance of our own, and judged by the real cosign.

The public instance cannot be asked from here: what signing does then is tested, and that verifying opens no connection.
"""

from __future__ import annotations

import base64
import copy
import datetime as dt
import hashlib
import json
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from nexus_oci.oci.store import Store
from nexus_oci.trust.dsse import pre_authentication
from tests.support.faulty_registry import FaultyRegistry, Repository, faulty_registry
from tests.support.in_process import nexus
from tests.support.peers import Outcome, real_cosign
from tests.support.sigstore_instance import SigstoreInstance, entry_of, sigstore_instance, token
from tests.unit.cli.conftest import release

pytestmark = [pytest.mark.integration, pytest.mark.timeout(2400)]
pytest_plugins = ["tests.support.registry"]

BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
WHO, ISSUER = "https://ci.example/team/release@refs/tags/v1", "https://ci.example"


@pytest.fixture(scope="module")
def instance() -> Iterator[SigstoreInstance]:
    with sigstore_instance() as running:
        yield running


@pytest.fixture(scope="module")
def files(instance: SigstoreInstance, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what describes the instance."""
    folder = tmp_path_factory.mktemp("sigstore")
    instance.write(folder)
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Path:
    release(Store.create(tmp_path / "dist" / "oci"))
    return tmp_path


def signing(files: Path) -> tuple[str | Path, ...]:
    return ("--keyless", "--trusted-root", files / "trusted_root.json", "--signing-config", files / "signing_config.json")


def believing(files: Path, who: str = WHO, issuer: str = ISSUER) -> tuple[str | Path, ...]:
    root = files / "trusted_root.json"
    return ("--certificate-identity", who, "--certificate-oidc-issuer", issuer, "--trusted-root", root)


def signed(folder: Path, files: Path, *words: str | Path, who: str = WHO) -> dict[str, Any]:
    done = nexus(folder, "--json", "sign", *signing(files), *words, environment={"SIGSTORE_ID_TOKEN": token(who, ISSUER)})
    assert done.code == 0, done.err
    found: dict[str, Any] = json.loads(done.out)
    return found


def test_a_release_is_signed_by_identity(project: Path, instance: SigstoreInstance, files: Path) -> None:
    before = len(instance.asked)
    assert signed(project, files)["others"] == [WHO]
    assert instance.asked[before:] == ["/api/v2/signingCert", *["/api/v1/log/entries"] * 4]
    assert signed(project, files)["added"] == 0
    assert signed(project, files, who="somebody@example.com")["added"] == 4


def test_verifying_opens_no_connection(project: Path, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    signed(project, files)
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("a connection was opened"))
    done = nexus(project, "verify", "--offline", *believing(files))
    assert done.code == 0, done.err
    assert done.out.count(f"{WHO} (keyless)") == 4


def test_who_is_not_believed_does_not_count(project: Path, files: Path, tmp_path: Path) -> None:
    signed(project, files)
    with sigstore_instance() as other:
        (tmp_path / "other").mkdir()
        other.write(tmp_path / "other")
    for words, said in (
        (believing(files, who="https://ci.example/team/other@refs/tags/v1"), "SANs do not match"),
        (believing(files, issuer="https://evil.example"), "issuer"),
        (believing(tmp_path / "other"), "certificate"),
        (believing(files)[:4], "certificate"),
    ):
        done = nexus(project, "verify", "--offline", *words)
        assert (done.code, "is not signed by" in done.err, said.lower() in done.err.lower()) == (4, True, True), done.err


def test_the_trust_file_knows_identities(project: Path, files: Path) -> None:
    signed(project, files)
    text = f"identities:\n  - identity: {WHO}\n    issuer: {ISSUER}\n    trusted-root: trusted_root.json\n"
    trust = files / "trust.yaml"
    trust.write_text(f"{text}    not-after: 2920-01-01\n")
    assert nexus(project, "verify", "--trust", trust).code == 0
    for limit, said in (("not-after: 2020-01-01", "expired"), ("distributions: [api]", "is for the distributions")):
        trust.write_text(f"{text}    {limit}\n")
        done = nexus(project, "verify", "--trust", trust)
        assert (done.code, said in done.err) == (4, True), done.err


def test_mistakes_are_told(project: Path, instance: SigstoreInstance, files: Path, tmp_path: Path) -> None:
    (tmp_path / "none.json").write_text("{}")
    good = token(WHO, ISSUER)
    for words, value, code, said in (
        (signing(files), None, 2, "there is no identity to sign with"),
        (signing(files), "no token", 2, "the identity token is none that can be used"),
        (signing(files), token(WHO, ISSUER, seconds=-100), 2, "the identity token is none that can be used"),
        (signing(files), token(WHO, ISSUER, audience="else"), 2, "the identity token is none that can be used"),
        (signing(files)[:3], good, 2, "give --trusted-root and --signing-config both"),
        (
            ("--keyless", "--trusted-root", tmp_path / "none.json", "--signing-config", tmp_path / "none.json"),
            good,
            2,
            "trusted root",
        ),
        (("--identity-token-file", "x"), good, 2, "add --keyless"),
    ):
        environment = dict.fromkeys(("GITHUB_ACTIONS", "ACTIONS_ID_TOKEN_REQUEST_TOKEN", "BUILDKITE", "GITLAB_CI", "CIRCLECI"))
        done = nexus(project, "sign", *words, environment={**environment, "SIGSTORE_ID_TOKEN": value})
        assert (done.code, said in done.err, good in done.err) == (code, True, False), done.err
    instance.broken = 403
    try:
        done = nexus(project, "sign", *signing(files), environment={"SIGSTORE_ID_TOKEN": good})
    finally:
        instance.broken = None
    assert (done.code, "do not answer, or refuse" in done.err) == (5, True), done.err
    for words, said in (
        (("--certificate-identity", WHO), "only together"),
        (("--trusted-root", files / "trusted_root.json"), "--trusted-root is for"),
        ((*believing(files)[:5], tmp_path / "none.json"), "is no trusted root"),
    ):
        done = nexus(project, "verify", *words)
        assert (done.code, said in done.err) == (2, True), done.err


def test_what_cosign_signs_by_identity_is_accepted_here(project: Path, files: Path, registry: str) -> None:
    place = f"{registry}/keyless"
    assert nexus(project, "push", place, "--plain-http").code == 0
    outcome = real_cosign().run(
        "sign", "--identity-token", token(WHO, ISSUER), "--trusted-root", str(files / "trusted_root.json"), "--signing-config",
        str(files / "signing_config.json"), "--yes", "--allow-http-registry", "--recursive", f"{place}/releases:1.0.0",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    done = nexus(project, "verify", f"{place}/releases:1.0.0", "--plain-http", *believing(files))
    assert (done.code, done.out.count(f"{WHO} (keyless)")) == (0, 4), done.err
    assert signed(project, files, f"{place}/releases:1.0.0", "--plain-http")["added"] == 3  # the friendly name's


def test_a_provenance_by_identity_names_the_builder(project: Path, files: Path, registry: str) -> None:
    """What cosign attests by identity is judged as a statement by a key is."""
    place = f"{registry}/attested"
    assert nexus(project, "push", place, "--plain-http").code == 0
    predicate = project / "provenance.json"
    predicate.write_text(json.dumps({"buildDefinition": {}, "runDetails": {"builder": {"id": "https://ci.example/builder"}}}))
    signed(project, files, f"{place}/engine:1.0.0", "--plain-http")
    listed = json.loads(nexus(project, "--json", "verify", f"{place}/engine:1.0.0", "--plain-http", *believing(files)).out)
    common = ("--trusted-root", str(files / "trusted_root.json"), "--signing-config", str(files / "signing_config.json"), "--yes", "--allow-http-registry")  # fmt: skip
    for one in listed["signatures"]:
        outcome = real_cosign().run(
            "attest", "--identity-token", token(WHO, ISSUER), *common, "--type", "slsaprovenance1", "--predicate", str(predicate),
            f"{place}/engine@{one['digest']}",
        )  # fmt: skip
        assert outcome.code == 0, outcome.err
    words = ("verify", f"{place}/engine:1.0.0", "--plain-http", *believing(files), "--builder-id")
    done = nexus(project, "--json", *words, "https://ci.example/builder")
    assert done.code == 0, done.err
    assert [len(one["statements"]) for one in json.loads(done.out)["signatures"]] == [1] * len(listed["signatures"])
    refused = nexus(project, *words, "https://ci.example/another")
    assert (refused.code, "was built by https://ci.example/builder" in refused.err) == (4, True), refused.err


def test_without_the_public_instance_signing_says_so(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With names that nobody resolves, whatever network there is."""

    def nowhere(*_: object, **__: object) -> Any:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nowhere)
    identity = tmp_path / "token"
    identity.write_text(token(WHO, ISSUER) + "\n")
    environment = {"HTTPS_PROXY": None, "https_proxy": None, "XDG_CACHE_HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path)}
    done = nexus(project, "sign", "--keyless", "--identity-token-file", identity, environment=environment)
    assert (done.code, "Sigstore's services do not answer, or refuse" in done.err) == (5, True), done.err
    assert "Traceback" not in done.err and identity.read_text().strip() not in done.err


def cosign(reference: str, files: Path, who: str = WHO) -> Outcome:
    return real_cosign().run(
        "verify", "--new-bundle-format=true", "--trusted-root", str(files / "trusted_root.json"), "--certificate-identity", who,
        "--certificate-oidc-issuer", ISSUER, "--allow-http-registry", reference,
    )  # fmt: skip


@dataclass
class Field:
    """A registry in memory with a release that is signed by identity, and another beside it, for attackers who may change all."""

    registry: FaultyRegistry
    files: Path

    @property
    def engine(self) -> Repository:
        return self.registry.repository("team/engine")

    @property
    def index(self) -> str:
        return self.engine.tags["1.0.0"]

    def carrier(self, digest: str) -> str:
        entries = {name: json.loads(raw) for name, (_, raw) in self.engine.manifests.items()}
        (found,) = [
            one for one, data in entries.items() if data.get("artifactType") == BUNDLE and data["subject"]["digest"] == digest
        ]
        return found

    def put(self, data: Any) -> None:
        raw = json.dumps(data).encode()
        self.engine.manifests["sha256:" + hashlib.sha256(raw).hexdigest()] = (data["mediaType"], raw)

    def rewrite(self, change: Callable[[Any], None]) -> None:
        """Change the index's bundle, and make every digest around it right again."""
        old = self.carrier(self.index)
        carrier = json.loads(self.engine.manifests.pop(old)[1])
        bundle = json.loads(self.engine.blobs[carrier["layers"][0]["digest"]])
        change(bundle)
        raw = json.dumps(bundle).encode()
        blob = "sha256:" + hashlib.sha256(raw).hexdigest()
        self.engine.blobs[blob] = raw
        carrier["layers"][0] |= {"digest": blob, "size": len(raw)}
        self.put(carrier)


@pytest.fixture(scope="module")
def signed_field(tmp_path_factory: pytest.TempPathFactory, files: Path) -> Iterator[Field]:
    good, evil = tmp_path_factory.mktemp("good"), tmp_path_factory.mktemp("evil")
    with faulty_registry() as registry:
        for folder, version in ((good, "1.0.0"), (evil, "6.6.6")):
            release(Store.create(folder / "dist" / "oci"), version)
            assert nexus(folder, "push", f"{registry.host}/team", "--plain-http").code == 0
        signed(good, files, f"{registry.host}/team/releases:1.0.0", "--plain-http")
        yield Field(registry, files)


@pytest.fixture
def field(signed_field: Field) -> Iterator[Field]:
    before = copy.deepcopy(signed_field.registry.repositories)
    yield signed_field
    signed_field.registry.repositories = before


def flipped_signature(field: Field, _: SigstoreInstance) -> None:
    def flip(bundle: Any) -> None:
        one = bundle["dsseEnvelope"]["signatures"][0]
        one["sig"] = one["sig"][:40] + ("A" if one["sig"][40] != "A" else "B") + one["sig"][41:]

    field.rewrite(flip)


def changed_payload(field: Field, _: SigstoreInstance) -> None:
    def change(bundle: Any) -> None:
        payload = base64.b64decode(bundle["dsseEnvelope"]["payload"]).replace(b"predicate", b"Predicate", 1)
        bundle["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()

    field.rewrite(change)


def moved(field: Field, _: SigstoreInstance) -> None:
    carrier = json.loads(field.engine.manifests[field.carrier(field.index)][1])
    evil = field.engine.tags["6.6.6"]
    carrier["subject"] |= {"digest": evil, "size": len(field.engine.manifests[evil][1])}
    field.put(carrier)
    field.engine.tags["1.0.0"] = evil


def another_identity(field: Field, _: SigstoreInstance) -> None:
    signed(field.files, field.files, f"{field.registry.host}/team/engine:6.6.6", "--plain-http", who="https://evil.example/me")
    field.engine.tags["1.0.0"] = field.engine.tags["6.6.6"]


def unlogged(field: Field, _: SigstoreInstance) -> None:
    """The entry in the log is another's: of another statement by the same identity."""
    other = field.engine.manifests[
        field.carrier(next(iter(json.loads(field.engine.manifests[field.index][1])["manifests"]))["digest"])
    ]
    bundle = json.loads(field.engine.blobs[json.loads(other[1])["layers"][0]["digest"]])

    def exchange(mine: Any) -> None:
        mine["verificationMaterial"]["tlogEntries"] = bundle["verificationMaterial"]["tlogEntries"]

    field.rewrite(exchange)


def late(field: Field, instance: SigstoreInstance) -> None:
    """The right identity's certificate, used a day after it ended: the log's time tells."""
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = instance.authority.issue(key.public_key(), WHO, ISSUER, dt.datetime.now(dt.UTC) - dt.timedelta(days=1))

    def sign_late(bundle: Any) -> None:
        envelope = bundle["dsseEnvelope"]
        payload = base64.b64decode(envelope["payload"])
        made = key.sign(pre_authentication(envelope["payloadType"], payload), ec.ECDSA(hashes.SHA256()))
        envelope["signatures"] = [{"sig": base64.b64encode(made).decode()}]
        verifier = base64.b64encode(certificate.public_bytes(Encoding.PEM)).decode()
        entry = instance.transparency.add(entry_of(json.dumps(envelope), [verifier]))
        proof = entry["verification"]["inclusionProof"]
        material = bundle["verificationMaterial"]
        material["certificate"]["rawBytes"] = base64.b64encode(certificate.public_bytes(Encoding.DER)).decode()
        material["tlogEntries"][0] |= {
            "logIndex": str(entry["logIndex"]), "integratedTime": str(entry["integratedTime"]), "canonicalizedBody": entry["body"],
            "inclusionPromise": {"signedEntryTimestamp": entry["verification"]["signedEntryTimestamp"]},
            "inclusionProof": {
                "logIndex": str(proof["logIndex"]), "treeSize": str(proof["treeSize"]), "checkpoint": {"envelope": proof["checkpoint"]},
                "rootHash": base64.b64encode(bytes.fromhex(proof["rootHash"])).decode(),
                "hashes": [base64.b64encode(bytes.fromhex(one)).decode() for one in proof["hashes"]],
            },
        }  # fmt: skip

    field.rewrite(sign_late)


def stripped(field: Field, _: SigstoreInstance) -> None:
    del field.engine.manifests[field.carrier(field.index)]


ATTACKS: dict[str, Callable[[Field, SigstoreInstance], None]] = {
    "a flipped byte in a signature": flipped_signature,
    "a changed payload": changed_payload,
    "a signature moved to another digest": moved,
    "a signature by another identity": another_identity,
    "an entry of the log that is another's": unlogged,
    "a certificate used after its time": late,
    "a stripped referrer": stripped,
}


def refusals(field: Field) -> tuple[bool, bool]:
    """Whether cosign and we refuse what the name leads to."""
    name = f"{field.registry.host}/team/engine:1.0.0"
    ours = nexus(field.files, "verify", name, "--plain-http", *believing(field.files))
    assert ours.code in (0, 4), ours.err
    return cosign(name, field.files).code != 0, ours.code == 4


def test_cosign_accepts_what_is_signed_by_identity_here(field: Field) -> None:
    name = f"{field.registry.host}/team/engine:1.0.0"
    outcome = cosign(name, field.files)
    assert outcome.code == 0, outcome.err
    assert cosign(name, field.files, who="https://ci.example/team/other").code != 0
    assert refusals(field) == (False, False)


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_attacks_are_refused(field: Field, instance: SigstoreInstance, attack: Callable[[Field, SigstoreInstance], None]) -> None:
    attack(field, instance)
    assert refusals(field) == (True, True)
