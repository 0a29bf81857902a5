"""Signatures among others: the real cosign and skopeo accept what is signed here, we accept what cosign signs, and all refuse attacks.

cosign is built from its source by scripts/peers.sh with the Go tool chain; skopeo is Debian's, in a container.
"""

from __future__ import annotations

import base64
import contextlib
import copy
import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest

from nexus_oci.oci.store import Store
from tests.support.clean_debian import clean_debian
from tests.support.faulty_registry import FaultyRegistry, Repository, faulty_registry
from tests.support.peers import PASSPHRASE, Cosign, Outcome, real_cosign
from tests.support.projects import Project
from tests.unit.cli.conftest import release

pytestmark = [pytest.mark.integration, pytest.mark.timeout(2400)]
pytest_plugins = ["tests.support.registry"]

BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"


def nexus(folder: Path, *words: str | Path) -> Outcome:
    """Our own program, as a user runs it."""
    done = subprocess.run(
        [sys.executable, "-m", "nexus_oci", "-C", str(folder), *map(str, words)],
        env={**os.environ, "NEXUS_OCI_KEY_PASSPHRASE": PASSPHRASE}, capture_output=True, text=True, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return Outcome(done.returncode, done.stdout, done.stderr)


def done(folder: Path, *words: str | Path) -> str:
    """The same, to an end that must be good; what it prints."""
    outcome = nexus(folder, *words)
    assert outcome.code == 0, outcome.err
    return outcome.out


@dataclass(frozen=True)
class Skopeo:
    """Debian's skopeo in a container that sees this host's loopback, with a policy that demands a signature by one key."""

    container: Any
    folder: Path

    def copy(self, reference: str, key: Path) -> Outcome:
        """Copy an image out of a registry; the policy is enforced on the way."""
        host = reference.partition("/")[0]
        demand = {"type": "sigstoreSigned", "keyPath": str(key), "signedIdentity": {"type": "matchRepository"}}
        policy = {"default": [{"type": "reject"}], "transports": {"docker": {host: [demand]}}}
        (self.folder / "policy.json").write_text(json.dumps(policy))
        settings = self.folder / "registries.d"
        settings.mkdir(exist_ok=True)
        (settings / "test.yaml").write_text(f"docker:\n  {host}:\n    use-sigstore-attachments: true\n")
        code, output = self.container.exec_run(
            ["skopeo", "--policy", str(self.folder / "policy.json"), "--registries.d", str(settings), "copy",
             "--src-tls-verify=false", f"docker://{reference}", "dir:/tmp/copied"],
        )  # fmt: skip
        return Outcome(code, "", output.decode(errors="replace"))


@pytest.fixture(scope="module")
def skopeo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Skopeo]:
    folder = tmp_path_factory.getbasetemp()
    mine = tmp_path_factory.mktemp("skopeo")
    with contextlib.closing(docker.from_env()) as client:
        volumes = {str(folder): {"bind": str(folder), "mode": "ro"}}
        container = client.containers.run(
            clean_debian(["ca-certificates", "skopeo"]), detach=True, network_mode="host", volumes=volumes,
            labels={"nexus-oci-test": "skopeo"},
        )  # fmt: skip
        try:
            yield Skopeo(container, mine)
        finally:
            container.remove(force=True)


@pytest.fixture(scope="session")
def cosign() -> Cosign:
    return real_cosign()


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """release.key, with release.pub beside it, made by `nexus-oci keygen`."""
    folder = tmp_path_factory.mktemp("keys")
    done(folder, "keygen", "--output", "release")
    done(folder, "keygen", "--output", "other")
    return folder / "release.key"


def public(key: Path) -> Path:
    return key.with_suffix(".pub")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder whose dist/ has one small release, not signed."""
    release(Store.create(tmp_path / "dist" / "oci"))
    (tmp_path / "dist" / "SHA256SUMS").write_bytes(b"")
    return tmp_path


def push(project: Path, place: str) -> list[str]:
    return done(project, "push", place, "--plain-http").split()


def digests(project: Path) -> dict[str, str]:
    """The digest of each manifest of the release, by what it is."""
    data = json.loads(done(project, "--json", "verify", "--key", project / "any.pub", "--shallow"))
    return {one["kind"]: one["digest"] for one in data["signatures"]}


@pytest.fixture
def signed(project: Path, registry: str, key: Path) -> tuple[Path, str]:
    """The project, signed and pushed to HOST/NAMESPACE."""
    place = f"{registry}/signed/{project.name.lower().replace('_', '-')[:60]}"
    done(project, "sign", "--key", key, "--identity", place)
    (project / "any.pub").write_bytes(public(key).read_bytes())
    push(project, place)
    return project, place


def test_cosign_and_skopeo_accept_every_manifest_that_is_signed_here(
    cosign: Cosign, skopeo: Skopeo, signed: tuple[Path, str], key: Path
) -> None:
    project, place = signed
    found = digests(project)
    for kind, digest in found.items():
        for repository in ("releases",) if kind == "release" else ("releases", "engine"):
            for bundle in (True, False):
                outcome = cosign.verify(f"{place}/{repository}@{digest}", public(key), bundle=bundle)
                assert outcome.code == 0, outcome.err
    for name in ("engine:1.0.0", f"engine@{found['image']}"):
        outcome = skopeo.copy(f"{place}/{name}", public(key))
        assert outcome.code == 0, outcome.err
    assert done(project, "verify", f"{place}/engine:1.0.0", "--plain-http", "--key", public(key)).count("release.pub") == 3
    assert done(project, "verify", f"{place}/releases:1.0.0", "--plain-http", "--key", public(key)).count("release.pub") == 4


def test_signing_and_pushing_twice_adds_nothing(signed: tuple[Path, str], key: Path) -> None:
    project, place = signed
    words = ("--key", key, "--plain-http")
    assert json.loads(done(project, "--json", "sign", f"{place}/releases:1.0.0", *words))["added"] == 0
    assert json.loads(done(project, "--json", "sign", f"{place}/engine:1.0.0", *words))["added"] == 0
    again = json.loads(done(project, "--json", "push", place, "--plain-http"))
    assert (again["bytes_sent"], again["blobs_sent"], again["manifests_sent"]) == (0, 0, 0)


def test_what_is_pulled_verifies_without_the_registry(signed: tuple[Path, str], key: Path, tmp_path: Path) -> None:
    project, place = signed
    for name, kinds in (("releases", 4), ("engine", 3)):
        done(project, "pull", f"{place}/{name}:1.0.0", "--plain-http", "--output", tmp_path / name)
        assert done(project, "verify", tmp_path / name, "--offline", "--key", public(key)).count("release.pub") == kinds
    done(project, "push", f"{place}/again", "--plain-http", "--dist", tmp_path / "releases")
    assert done(project, "verify", f"{place}/again/engine:1.0.0", "--plain-http", "--key", public(key)).count("release.pub") == 3


@pytest.mark.parametrize("bundle", [True, False], ids=["bundle", "tag"])
def test_what_cosign_signs_is_accepted_here(
    cosign: Cosign, project: Path, registry: str, tmp_path: Path, *, bundle: bool
) -> None:
    """With a key pair of cosign's own; a release needs --recursive, as every part of it has to be signed."""
    assert cosign.run("generate-key-pair", folder=tmp_path).code == 0
    place = f"{registry}/cosigned/{'bundle' if bundle else 'tag'}"
    push(project, place)
    theirs = ("--plain-http", "--key", tmp_path / "cosign.pub")
    cosign.sign(f"{place}/engine:1.0.0", tmp_path / "cosign.key", bundle=bundle)
    refused = nexus(project, "verify", f"{place}/engine:1.0.0", *theirs)
    assert (refused.code, "deb " in refused.err) == (4, True), refused.err
    data = json.loads(nexus(project, "--json", "verify", f"{place}/engine:1.0.0", *theirs).out)
    deb = next(one["digest"] for one in data["signatures"] if one["kind"] == "deb")
    cosign.sign(f"{place}/engine@{deb}", tmp_path / "cosign.key", bundle=bundle)
    assert done(project, "verify", f"{place}/engine:1.0.0", *theirs).count("cosign.pub") == 2
    refused = nexus(project, "verify", f"{place}/releases:1.0.0", *theirs)
    assert (refused.code, "is not signed" in refused.err) == (4, True)
    cosign.sign(f"{place}/releases:1.0.0", tmp_path / "cosign.key", "--recursive", bundle=bundle)
    assert done(project, "verify", f"{place}/releases:1.0.0", *theirs).count("cosign.pub") == 4


def test_cosign_and_we_sign_with_each_others_keys(
    cosign: Cosign, project: Path, registry: str, key: Path, tmp_path: Path
) -> None:
    assert cosign.run("generate-key-pair", folder=tmp_path).code == 0
    one, two = f"{registry}/keys/one", f"{registry}/keys/two"
    push(project, one)
    cosign.sign(f"{one}/releases:1.0.0", key, "--recursive", bundle=True)
    assert nexus(project, "verify", f"{one}/releases:1.0.0", "--plain-http", "--key", public(key)).code == 0
    done(project, "sign", "--key", tmp_path / "cosign.key")
    push(project, two)
    assert cosign.verify(f"{two}/engine:1.0.0", tmp_path / "cosign.pub", bundle=True).code == 0


def test_a_signature_that_another_added_in_the_registry_survives_the_next_push(
    cosign: Cosign, signed: tuple[Path, str], key: Path, tmp_path: Path
) -> None:
    project, place = signed
    assert cosign.run("generate-key-pair", folder=tmp_path).code == 0
    cosign.sign(f"{place}/engine:1.0.0", tmp_path / "cosign.key", bundle=False)
    push(project, place)
    for one in (tmp_path / "cosign.pub", public(key)):
        assert cosign.verify(f"{place}/engine:1.0.0", one, bundle=False).code == 0


def test_files_are_signed_for_cosign_and_by_it(cosign: Cosign, project: Path, key: Path) -> None:
    done(project, "sign", "--key", key)
    sums = project / "dist" / "SHA256SUMS"
    sums.write_bytes(b"a list\n")
    assert nexus(project, "verify", sums, "--key", public(key)).code == 4
    done(project, "sign", "--key", key)
    blob = ("--key", str(public(key)), "--insecure-ignore-tlog=true", "--signature", f"{sums}.sig", str(sums))
    assert cosign.run("verify-blob", *blob).code == 0
    (project / "dist" / "SHA256SUMS.sig").unlink()
    signing = ("--new-bundle-format=false", "--use-signing-config=false", "--tlog-upload=false", "--yes", "--key", str(key))
    assert cosign.run("sign-blob", *signing, "--output-signature", f"{sums}.sig", str(sums)).code == 0
    assert "signed by release.pub" in done(project, "verify", sums, "--offline", "--key", public(key))
    sums.write_bytes(b"another\n")
    assert cosign.run("verify-blob", *blob).code != 0
    assert nexus(project, "verify", sums, "--key", public(key)).code == 4


@dataclass
class Field:
    """A registry in memory with a signed release and an unsigned one beside it, for attackers who may change all of it."""

    registry: FaultyRegistry
    key: Path

    @property
    def place(self) -> str:
        return f"{self.registry.host}/team"

    @property
    def engine(self) -> Repository:
        return self.registry.repository("team/engine")

    @property
    def index(self) -> str:
        """The signed index's digest."""
        return self.engine.tags["1.0.0"]

    @property
    def evil(self) -> str:
        return self.engine.tags["6.6.6"]

    def manifest(self, digest: str) -> Any:
        return json.loads(self.engine.manifests[digest][1])

    def put(self, data: Any, kind: str | None = None) -> str:
        """Store a manifest, its digest being right."""
        raw = json.dumps(data).encode()
        digest = "sha256:" + hashlib.sha256(raw).hexdigest()
        self.engine.manifests[digest] = (kind or data["mediaType"], raw)
        return digest

    @property
    def victims(self) -> tuple[str, str]:
        """The index, at whose signature cosign looks, and its image, at whose skopeo does."""
        return self.index, self.manifest(self.index)["manifests"][0]["digest"]

    def image_of_signatures(self, digest: str) -> str:
        return self.engine.tags[digest.replace(":", "-") + ".sig"]

    def bundle(self, digest: str) -> str:
        """The bundle that refers to a manifest."""
        entries = {name: json.loads(raw) for name, (_, raw) in self.engine.manifests.items()}
        (found,) = [
            name for name, data in entries.items()
            if data.get("artifactType") == BUNDLE and data["subject"]["digest"] == digest
        ]  # fmt: skip
        return found

    def move_signatures(self, victim: str) -> None:
        """Put the signatures of the signed index to another manifest."""
        self.engine.tags[victim.replace(":", "-") + ".sig"] = self.image_of_signatures(self.index)
        moved = self.manifest(self.bundle(self.index))
        moved["subject"] |= {"digest": victim, "size": len(self.engine.manifests[victim][1])}
        self.put(moved)


Attack = Callable[[Field], None]


def flipped_blob(field: Field) -> None:
    (image,) = field.manifest(field.index)["manifests"]
    layer = field.manifest(image["digest"])["layers"][0]["digest"]
    data = bytearray(field.engine.blobs[layer])
    data[len(data) // 2] ^= 1
    field.engine.blobs[layer] = bytes(data)


def flipped_manifest(field: Field) -> None:
    kind, raw = field.engine.manifests[field.index]
    place = raw.index(b"sha256:") + 20
    flipped = b"0" if raw[place : place + 1] != b"0" else b"1"
    field.engine.manifests[field.index] = (kind, raw[:place] + flipped + raw[place + 1 :])


def flipped_signature(field: Field) -> None:
    """In each form the signature is changed, and every digest around it is made right again."""
    for victim in field.victims:
        image = field.manifest(field.image_of_signatures(victim))
        for layer in image["layers"]:
            layer["annotations"] = {name: _flipped(value) for name, value in layer["annotations"].items()}
        field.engine.tags[victim.replace(":", "-") + ".sig"] = field.put(image)
        _flip_bundle(field, field.bundle(victim))


def _flip_bundle(field: Field, old: str) -> None:
    carrier = field.manifest(old)
    body = json.loads(field.engine.blobs[carrier["layers"][0]["digest"]])
    body["dsseEnvelope"]["signatures"][0]["sig"] = _flipped(body["dsseEnvelope"]["signatures"][0]["sig"])
    raw = json.dumps(body).encode()
    digest = "sha256:" + hashlib.sha256(raw).hexdigest()
    field.engine.blobs[digest] = raw
    carrier["layers"][0] |= {"digest": digest, "size": len(raw)}
    if "data" in carrier["layers"][0]:
        carrier["layers"][0]["data"] = base64.b64encode(raw).decode()
    del field.engine.manifests[old]
    field.put(carrier)


def _flipped(text: str) -> str:
    return text[:40] + ("A" if text[40] != "A" else "B") + text[41:]


def moved_signature(field: Field) -> None:
    field.move_signatures(field.evil)
    field.engine.tags["1.0.0"] = field.evil


def another_key(field: Field) -> None:
    other = field.key.with_name("other.key")
    done(field.key.parent, "sign", f"{field.place}/engine:6.6.6", "--key", other, "--plain-http")
    field.engine.tags["1.0.0"] = field.evil


def swapped_child(field: Field) -> None:
    swapped = field.manifest(field.index)
    swapped["manifests"] = field.manifest(field.evil)["manifests"]
    swapped["annotations"] = {"swapped": "yes"}
    victim = field.put(swapped)
    field.move_signatures(victim)
    field.engine.tags["1.0.0"] = victim


def stripped_signatures(field: Field) -> None:
    stripped_tag(field)
    stripped_referrer(field)


def stripped_referrer(field: Field) -> None:
    for victim in field.victims:
        del field.engine.manifests[field.bundle(victim)]


def stripped_tag(field: Field) -> None:
    for victim in field.victims:
        del field.engine.tags[victim.replace(":", "-") + ".sig"]


def repointed_tag(field: Field) -> None:
    field.engine.tags["1.0.0"] = field.evil


def expired_key(field: Field) -> None:
    (field.key.parent / "trust.yaml").write_text("keys: [{key: release.pub, not-after: 2020-01-01}]")


REFUSES, BLIND = True, False
CASES: dict[str, tuple[Attack, tuple[bool, bool, bool, bool]]] = {
    #                                             cosign: bundle, tag | skopeo | nexus-oci
    "a flipped byte in a blob": (flipped_blob, (BLIND, BLIND, REFUSES, REFUSES)),
    "a flipped byte in a manifest": (flipped_manifest, (REFUSES, REFUSES, REFUSES, REFUSES)),
    "a flipped byte in a signature": (flipped_signature, (REFUSES, REFUSES, REFUSES, REFUSES)),
    "a signature moved to another digest": (moved_signature, (REFUSES, REFUSES, REFUSES, REFUSES)),
    "a signature by another key": (another_key, (REFUSES, REFUSES, REFUSES, REFUSES)),
    "a swapped child of an index": (swapped_child, (REFUSES, REFUSES, REFUSES, REFUSES)),
    "all signatures stripped": (stripped_signatures, (REFUSES, REFUSES, REFUSES, REFUSES)),
    "a referrer stripped": (stripped_referrer, (BLIND, BLIND, BLIND, REFUSES)),
    "a signature's tag stripped": (stripped_tag, (BLIND, REFUSES, REFUSES, REFUSES)),
    "a tag re-pointed": (repointed_tag, (REFUSES, REFUSES, REFUSES, REFUSES)),
    "an expired key": (expired_key, (BLIND, BLIND, BLIND, REFUSES)),
}
"""Who refuses what. Blind is who does not look there: cosign reads no layers, and where there is no bundle it takes the tag; skopeo
takes nothing else. Neither knows how long a key lives."""


@pytest.fixture(scope="module")
def signed_field(tmp_path_factory: pytest.TempPathFactory, key: Path) -> Iterator[Field]:
    project, other = tmp_path_factory.mktemp("good"), tmp_path_factory.mktemp("evil")
    with faulty_registry() as registry:
        place = f"{registry.host}/team"
        release(Store.create(project / "dist" / "oci"))
        done(project, "sign", "--key", key, "--identity", place)
        push(project, place)
        release(Store.create(other / "dist" / "oci"), "6.6.6")
        push(other, place)
        yield Field(registry, key)


@pytest.fixture
def field(signed_field: Field) -> Iterator[Field]:
    """The field as it was at first, for each attack."""
    (signed_field.key.parent / "trust.yaml").write_text("keys: [{key: release.pub, not-after: 2920-01-01}]")
    before = copy.deepcopy(signed_field.registry.repositories)
    yield signed_field
    signed_field.registry.repositories = before
    signed_field.registry.seen.clear()


def refusals(field: Field, cosign: Cosign, skopeo: Skopeo) -> tuple[bool, bool, bool, bool]:
    """Whether each verifier refuses what the name leads to."""
    name, pub = f"{field.place}/engine:1.0.0", public(field.key)
    ours = nexus(pub.parent, "verify", name, "--plain-http", "--trust", pub.parent / "trust.yaml")
    assert ours.code in (0, 4), ours.err
    outcomes = [cosign.verify(name, pub, bundle=bundle).code for bundle in (True, False)]
    return (*(code != 0 for code in outcomes), skopeo.copy(name, pub).code != 0, ours.code == 4)  # type: ignore[return-value]


def test_without_an_attack_nobody_refuses(field: Field, cosign: Cosign, skopeo: Skopeo) -> None:
    assert refusals(field, cosign, skopeo) == (False, False, False, False)


@pytest.mark.parametrize(("attack", "expected"), CASES.values(), ids=CASES)
def test_attacks_are_refused(
    field: Field, cosign: Cosign, skopeo: Skopeo, attack: Attack, expected: tuple[bool, bool, bool, bool]
) -> None:
    attack(field)
    assert refusals(field, cosign, skopeo) == expected


def test_a_tag_that_is_re_pointed_between_two_questions_fools_nobody(field: Field, cosign: Cosign, skopeo: Skopeo) -> None:
    """As soon as the tag was asked for, it leads elsewhere. cosign asks it again for its bundles, and refuses what it finds there."""
    index, image = field.victims
    name, pub = f"{field.place}/engine:1.0.0", public(field.key)

    def after_the_first_question(verified: Callable[[], Outcome]) -> Outcome:
        def repoint(_: Any) -> bool:
            field.engine.tags["1.0.0"] = field.evil
            return False

        field.engine.tags["1.0.0"] = index
        field.registry.seen.clear()
        field.registry.fault("GET", "sha256", repoint)
        outcome = verified()
        assert field.engine.tags["1.0.0"] == field.evil
        return outcome

    for bundle in (True, False):
        outcome = after_the_first_question(lambda form=bundle: cosign.verify(name, pub, bundle=form))  # type: ignore[misc]
        assert (outcome.code, index in outcome.out) == ((1, False) if bundle else (0, True)), outcome.err
    outcome = after_the_first_question(lambda: skopeo.copy(name, pub))
    copied = skopeo.container.exec_run(["sha256sum", "/tmp/copied/manifest.json"]).output.decode()
    assert (outcome.code, copied.startswith(image.removeprefix("sha256:"))) == (0, True), outcome.err
    words = ("verify", name, "--plain-http", "--key", pub)
    outcome = after_the_first_question(lambda: nexus(field.key.parent, *words))
    assert (outcome.code, f"verified {index}" in outcome.out) == (0, True), outcome.err
    assert sum(seen.path.endswith("manifests/1.0.0") for seen in field.registry.seen) == 1
    assert nexus(field.key.parent, *words).code == 4


def test_a_build_signs_and_the_next_one_keeps_the_signatures(built: Project, key: Path, cosign: Cosign, registry: str) -> None:
    place = f"{registry}/signed/reference"
    arguments = ("build", "--sign", str(key), "--identity", place)
    first = built.done(*arguments, NEXUS_OCI_KEY_PASSPHRASE=PASSPHRASE)
    match = re.search(r"(\d+) manifests are signed; (\d+) signatures were added", first.err)
    assert match is not None
    assert int(match[2]) == 2 * int(match[1])
    index = (built.dist / "oci" / "index.json").read_bytes()
    again = built.done(*arguments, NEXUS_OCI_KEY_PASSPHRASE=PASSPHRASE)
    assert "; 0 signatures were added" in again.err
    built.done("verify", "--offline", "--key", str(public(key)))
    sums = (built.dist / "SHA256SUMS").read_bytes()
    built.done("build")
    assert (built.dist / "oci" / "index.json").read_bytes() == index
    assert (built.dist / "SHA256SUMS").read_bytes() == sums
    built.done("verify", "--offline", "--key", str(public(key)))
    built.done("push", place, "--plain-http")
    for name in ("engine:1.0.0", "runtime:1.0.0", "charts/nexus-engine:1.0.0", "releases:1.0.0"):
        assert cosign.verify(f"{place}/{name}", public(key), bundle=True).code == 0
