"""Notation's signatures among others: the Notary Project's library accepts what is signed here and we what it signs; both refuse attacks.

The library is notation-go, in the small program tests/peers/notation, which scripts/peers.sh builds with the Go tool chain.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

from nexus_oci.oci.reference import Reference
from nexus_oci.oci.store import Store
from nexus_oci.pipeline.registries import Access
from nexus_oci.pipeline.signatories import NotationSignatory
from nexus_oci.pipeline.signing_release import sign_in_registry
from nexus_oci.trust.certificates import read_certificates
from nexus_oci.trust.notation import load_chain_signer
from tests.support.certificates import DAY, NOW, Certified, Wish, authority, intermediate, issue
from tests.support.faulty_registry import FaultyRegistry, Repository, faulty_registry
from tests.support.in_process import nexus
from tests.support.peers import Outcome, peer
from tests.unit.cli.conftest import release

pytestmark = [pytest.mark.integration, pytest.mark.timeout(2400)]
pytest_plugins = ["tests.support.registry"]

SIGNATURE = "application/vnd.cncf.notary.signature"


def done(folder: Path, *words: str | Path) -> str:
    """Our own program, to an end that must be good; what it prints."""
    outcome = nexus(folder, *words)
    assert outcome.code == 0, outcome.err
    return outcome.out


@dataclass(frozen=True)
class Notation:
    """The real notation-go, with a configuration folder of its own that believes one authority."""

    program: Path
    folder: Path

    def run(self, *words: str | Path) -> Outcome:
        """Any command of the program."""
        done = subprocess.run([str(self.program), *map(str, words)], capture_output=True, text=True, check=False)
        return Outcome(done.returncode, done.stdout, done.stderr)

    def believe(self, root: Certified, subject: str = "*") -> None:
        """Believe certificates below one root, that name a subject."""
        store = self.folder / "truststore" / "x509" / "ca" / "test"
        store.mkdir(parents=True, exist_ok=True)
        (store / "root.pem").write_bytes(root.pem)
        policy = {
            "name": "test", "registryScopes": ["*"], "signatureVerification": {"level": "strict", "override": {"revocation": "skip"}},
            "trustStores": ["ca:test"], "trustedIdentities": [subject],
        }  # fmt: skip
        path = self.folder / "trustpolicy.json"
        path.write_text(json.dumps({"version": "1.0", "trustPolicies": [policy]}))
        path.chmod(0o600)

    def verify(self, reference: str) -> Outcome:
        """`notation verify`."""
        return self.run("verify", self.folder, reference)

    def sign(self, reference: str, key: Path, chain: Path, *rest: str) -> str:
        """`notation sign`; the digest."""
        outcome = self.run("sign", key, chain, reference, *rest)
        assert outcome.code == 0, outcome.err
        return outcome.out.strip()


@pytest.fixture(scope="module")
def root() -> Certified:
    return authority()


@pytest.fixture(scope="module")
def notation(tmp_path_factory: pytest.TempPathFactory, root: Certified) -> Notation:
    found = Notation(peer("notation"), tmp_path_factory.mktemp("notation"))
    found.believe(root)
    return found


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory, root: Certified) -> Path:
    """A folder of keys and chains below the root, by their kind, and what others would sign with."""
    folder = tmp_path_factory.mktemp("keys")
    (folder / "root.pem").write_bytes(root.pem)
    between = intermediate(root)
    for kind in ("ES256", "ES384", "ES512", "PS256", "PS384"):
        issue(Wish(kind=kind), between if kind == "ES384" else root).write(folder, kind)
    other = authority("another root")
    issue(Wish(common="stranger"), other).write(folder, "other")
    (folder / "other-root.pem").write_bytes(other.pem)
    issue(Wish(begins=NOW - 20 * DAY, ends=NOW - DAY), root).write(folder, "expired")
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder whose dist/ has one small release, not signed."""
    release(Store.create(tmp_path / "dist" / "oci"))
    return tmp_path


def chain_of(keys: Path, kind: str) -> tuple[str | Path, ...]:
    return ("--notation", "--key", keys / f"{kind}.key", "--certificate-chain", keys / f"{kind}.pem")


@pytest.mark.parametrize("kind", ["ES256", "PS384"])
def test_notation_accepts_every_manifest_that_is_signed_here(
    notation: Notation, project: Path, keys: Path, registry: str, kind: str
) -> None:
    place = f"{registry}/notation/{kind.lower()}"
    signed = json.loads(done(project, "--json", "sign", *chain_of(keys, kind), "--expires-in", "30d"))
    assert (signed["manifests"], signed["added"]) == (4, 4)
    assert json.loads(done(project, "--json", "sign", *chain_of(keys, kind), "--expires-in", "30d"))["added"] == 0
    done(project, "push", place, "--plain-http")
    data = json.loads(
        done(project, "--json", "verify", f"{place}/releases:1.0.0", "--plain-http", "--notation-root", keys / "root.pem")
    )
    assert [[one["form"] for one in part["signatures"]] for part in data["signatures"]] == [["notation"]] * 4
    for part in data["signatures"]:
        repository = "releases" if part["kind"] == "release" else "engine"
        outcome = notation.verify(f"{place}/{repository}@{part['digest']}")
        assert (outcome.code, outcome.out.strip()) == (0, part["digest"]), outcome.err
    assert json.loads(
        done(project, "--json", "sign", f"{place}/releases:1.0.0", *chain_of(keys, kind), "--plain-http")
    )["added"] == 0  # fmt: skip


@pytest.mark.parametrize("kind", ["ES384", "PS256"])
def test_what_notation_signs_is_accepted_here(notation: Notation, project: Path, keys: Path, registry: str, kind: str) -> None:
    place = f"{registry}/theirs/{kind.lower()}"
    done(project, "push", place, "--plain-http")
    words = ("--plain-http", "--notation-root", keys / "root.pem")
    key, chain = keys / f"{kind}.key", keys / f"{kind}.pem"
    notation.sign(f"{place}/engine:1.0.0", key, chain, "jws", "1h")
    refused = nexus(project, "verify", f"{place}/engine:1.0.0", *words)
    assert (refused.code, "deb " in refused.err) == (4, True), refused.err
    data = json.loads(nexus(project, "--json", "verify", f"{place}/engine:1.0.0", *words).out)
    for part in data["signatures"]:
        if not part["signatures"]:
            notation.sign(f"{place}/engine@{part['digest']}", key, chain, "jws", "1h")
    assert done(project, "verify", f"{place}/engine:1.0.0", *words).count("by root.pem (notation)") == 3
    again = json.loads(done(project, "--json", "sign", f"{place}/engine:1.0.0", *chain_of(keys, kind), "--plain-http"))
    assert again["added"] == 0
    subject = "C=DE,ST=BE,O=Example,CN=release"
    notation.believe(authority("nobody"), f"x509.subject: {subject}")
    assert notation.verify(f"{place}/engine:1.0.0").code == 1


def test_other_envelopes_are_told_and_not_judged(notation: Notation, project: Path, keys: Path, registry: str) -> None:
    place = f"{registry}/theirs/cose"
    done(project, "push", place, "--plain-http")
    notation.sign(f"{place}/engine:1.0.0", keys / "ES256.key", keys / "ES256.pem", "cose")
    refused = nexus(project, "verify", f"{place}/engine:1.0.0", "--plain-http", "--notation-root", keys / "root.pem")
    assert (refused.code, "is not signed" in refused.err) == (4, True), refused.err


def test_notation_stands_beside_cosign_and_travels(
    notation: Notation, root: Certified, project: Path, keys: Path, registry: str, tmp_path: Path
) -> None:
    notation.believe(root)
    place = f"{registry}/both"
    signed = json.loads(done(project, "--json", "sign", *chain_of(keys, "ES256"), "--cosign"))
    assert signed["added"] == 12
    done(project, "public-key", "--key", keys / "ES256.key", "--output", project / "leaf.pub")
    done(project, "push", place, "--plain-http")
    done(project, "pull", f"{place}/releases:1.0.0", "--plain-http", "--output", tmp_path / "pulled")
    for words in (("--notation-root", keys / "root.pem"), ("--key", project / "leaf.pub")):
        done(project, "verify", tmp_path / "pulled", "--offline", *words)
    both = done(
        project, "verify", tmp_path / "pulled", "--offline", "--notation-root", keys / "root.pem", "--key", project / "leaf.pub"
    )
    assert both.count("leaf.pub (bundle, tag), CN=release,O=Example,ST=BE,C=DE, by root.pem (notation)") == 4
    again = f"{registry}/both-again"
    done(project, "push", again, "--plain-http", "--dist", tmp_path / "pulled")
    assert notation.verify(f"{again}/engine:1.0.0").code == 0


CHAINS: dict[str, Callable[[Certified], tuple[bytes, bytes]]] = {
    "a good one": lambda root: _of(issue(Wish(), root)),
    "no key usage": lambda root: _of(issue(Wish(usage=None), root)),
    "a key usage that is not critical": lambda root: _of(issue(Wish(critical=False), root)),
    "a key usage for ciphers too": lambda root: _of(issue(Wish(usage=("digital_signature", "key_encipherment")), root)),
    "a purpose that is another": lambda root: _of(issue(Wish(purposes=(ExtendedKeyUsageOID.SERVER_AUTH,)), root)),
    "an authority as the leaf": lambda root: _of(issue(Wish(authority=True), root)),
    "a small key": lambda root: _of(issue(Wish(kind="RSA 1024"), root)),
    "a key of an unknown kind": lambda root: _of(issue(Wish(kind="Ed25519"), root)),
    "an expired leaf": lambda root: _of(issue(Wish(begins=NOW - 20 * DAY, ends=NOW - DAY), root)),
    "an authority below one that allows none": lambda root: _of(issue(Wish(), intermediate(intermediate(root, path_length=0)))),
    "no root": lambda root: _without_root(issue(Wish(), root)),
    "another key": lambda root: (issue(Wish(), root).key_pem, issue(Wish(), root).pem),
}


def _of(leaf: Certified) -> tuple[bytes, bytes]:
    return leaf.key_pem, leaf.pem


def _without_root(leaf: Certified) -> tuple[bytes, bytes]:
    return leaf.key_pem, leaf.certificate.public_bytes(Encoding.PEM)


@pytest.mark.parametrize("kind", ["ES256", "ES384", "ES512", "PS256", "PS384"])
def test_every_kind_of_key_is_accepted_by_each_other(field: Field, notation: Notation, root: Certified, kind: str) -> None:
    """In a registry in memory: ours by notation-go, and then the index signed by it and the artifact by us, which we accept."""
    notation.believe(root)
    name = f"{field.place}/engine:6.6.6"
    assert notation.verify(name).code == 1
    done(field.keys, "sign", name, "--plain-http", *chain_of(field.keys, kind))
    outcome = notation.verify(name)
    assert outcome.code == 0, outcome.err
    for carrier in field.carriers(field.evil):
        del field.engine.manifests[carrier]
    notation.sign(name, field.keys / f"{kind}.key", field.keys / f"{kind}.pem")
    done(field.keys, "verify", name, "--plain-http", "--notation-root", field.keys / "root.pem")


@pytest.mark.parametrize("chain", CHAINS)
def test_chains_are_refused_alike(field: Field, notation: Notation, root: Certified, tmp_path: Path, chain: str) -> None:
    key, certificates = CHAINS[chain](root)
    (tmp_path / "x.key").write_bytes(key)
    (tmp_path / "x.pem").write_bytes(certificates)
    name = f"{field.place}/engine:6.6.6"
    theirs = notation.run("sign", tmp_path / "x.key", tmp_path / "x.pem", name)
    ours = nexus(tmp_path, "sign", name, "--plain-http", *chain_of(tmp_path, "x"))
    assert (theirs.code, ours.code) == ((0, 0) if chain == "a good one" else (1, 2)), (theirs.err, ours.err)


@dataclass
class Field:
    """A registry in memory with a release that is signed, and another beside it, for attackers who may change all of it."""

    registry: FaultyRegistry
    keys: Path

    @property
    def place(self) -> str:
        return f"{self.registry.host}/team"

    @property
    def engine(self) -> Repository:
        return self.registry.repository("team/engine")

    @property
    def index(self) -> str:
        return self.engine.tags["1.0.0"]

    @property
    def evil(self) -> str:
        return self.engine.tags["6.6.6"]

    def carriers(self, digest: str) -> list[str]:
        """The manifests that carry the signatures of one."""
        entries = {name: json.loads(raw) for name, (_, raw) in self.engine.manifests.items()}
        return [
            name for name, data in entries.items()
            if data.get("artifactType") == SIGNATURE and data["subject"]["digest"] == digest
        ]  # fmt: skip

    def manifest(self, digest: str) -> Any:
        return json.loads(self.engine.manifests[digest][1])

    def put(self, data: Any) -> str:
        """Store a manifest, its digest being right."""
        raw = json.dumps(data).encode()
        digest = "sha256:" + hashlib.sha256(raw).hexdigest()
        self.engine.manifests[digest] = (data["mediaType"], raw)
        return digest

    def rewrite(self, digest: str, change: Callable[[Any], None]) -> None:
        """Change an envelope, and make every digest around it right again."""
        (old,) = self.carriers(digest)
        carrier = self.manifest(old)
        envelope = json.loads(self.engine.blobs[carrier["layers"][0]["digest"]])
        change(envelope)
        raw = json.dumps(envelope).encode()
        blob = "sha256:" + hashlib.sha256(raw).hexdigest()
        self.engine.blobs[blob] = raw
        carrier["layers"][0] |= {"digest": blob, "size": len(raw)}
        del self.engine.manifests[old]
        self.put(carrier)


def flipped_manifest(field: Field) -> None:
    kind, raw = field.engine.manifests[field.index]
    place = raw.index(b"sha256:") + 20
    flipped = b"0" if raw[place : place + 1] != b"0" else b"1"
    field.engine.manifests[field.index] = (kind, raw[:place] + flipped + raw[place + 1 :])


def flipped_signature(field: Field) -> None:
    def flip(envelope: Any) -> None:
        text = envelope["signature"]
        envelope["signature"] = text[:40] + ("A" if text[40] != "A" else "B") + text[41:]

    field.rewrite(field.index, flip)


def exchanged_certificates(field: Field) -> None:
    """The signature stays, and the certificates of another are put beside it."""
    (carrier,) = field.carriers(field.index)
    stranger = issue(Wish(common="release"), authority())

    def exchange(envelope: Any) -> None:
        envelope["header"]["x5c"] = [base64.b64encode(one.public_bytes(Encoding.DER)).decode() for one in stranger.chain]

    field.rewrite(field.index, exchange)
    assert field.carriers(field.index) != [carrier]


def moved_signature(field: Field) -> None:
    (carrier,) = field.carriers(field.index)
    moved = field.manifest(carrier)
    moved["subject"] |= {"digest": field.evil, "size": len(field.engine.manifests[field.evil][1])}
    field.put(moved)
    field.engine.tags["1.0.0"] = field.evil


def another_chain(field: Field) -> None:
    done(field.keys, "sign", f"{field.place}/engine:6.6.6", "--plain-http", *chain_of(field.keys, "other"))
    field.engine.tags["1.0.0"] = field.evil


def false_annotation(field: Field) -> None:
    """Another's signature, whose manifest says that it is by the certificates that are believed."""
    (good,) = field.carriers(field.index)
    done(field.keys, "sign", f"{field.place}/engine:6.6.6", "--plain-http", *chain_of(field.keys, "other"))
    (bad,) = field.carriers(field.evil)
    liar = field.manifest(bad) | {"annotations": field.manifest(good)["annotations"]}
    del field.engine.manifests[bad]
    field.put(liar)
    field.engine.tags["1.0.0"] = field.evil


def expired_certificate(field: Field) -> None:
    """A signature by a certificate that was good once, made then."""
    then = NOW - 5 * DAY
    key, chain = (field.keys / f"expired.{end}" for end in ("key", "pem"))
    signer = load_chain_signer(
        read_certificates(chain.read_bytes(), "chain"), "chain", load_pem_private_key(key.read_bytes(), None), then
    )
    signatory = NotationSignatory(signer=signer, now=then)
    reference = Reference.parse(f"{field.place}/engine:6.6.6")
    assert sign_in_registry(reference, Access(environment={}, plain_http=True), None, others=[signatory]).added == 3
    field.engine.tags["1.0.0"] = field.evil


def stripped_referrer(field: Field) -> None:
    (carrier,) = field.carriers(field.index)
    del field.engine.manifests[carrier]


def repointed_tag(field: Field) -> None:
    field.engine.tags["1.0.0"] = field.evil


REFUSES, BLIND = True, False
CASES: dict[str, tuple[Callable[[Field], None], tuple[bool, bool]]] = {
    #                                                     notation-go | nexus-oci
    "a flipped byte in a manifest": (flipped_manifest, (BLIND, REFUSES)),
    "a flipped byte in a signature": (flipped_signature, (REFUSES, REFUSES)),
    "exchanged certificates": (exchanged_certificates, (REFUSES, REFUSES)),
    "a signature moved to another digest": (moved_signature, (REFUSES, REFUSES)),
    "a signature by another chain": (another_chain, (REFUSES, REFUSES)),
    "an annotation that lies": (false_annotation, (REFUSES, REFUSES)),
    "an expired certificate": (expired_certificate, (REFUSES, REFUSES)),
    "a stripped referrer": (stripped_referrer, (REFUSES, REFUSES)),
    "a tag re-pointed": (repointed_tag, (REFUSES, REFUSES)),
}
"""Who refuses what. notation-go reads no manifest but believes the digest that the registry names, so it is blind to its bytes."""


@pytest.fixture(scope="module")
def signed_field(tmp_path_factory: pytest.TempPathFactory, keys: Path) -> Iterator[Field]:
    project, other = tmp_path_factory.mktemp("good"), tmp_path_factory.mktemp("evil")
    with faulty_registry() as registry:
        place = f"{registry.host}/team"
        release(Store.create(project / "dist" / "oci"))
        done(project, "sign", *chain_of(keys, "ES256"))
        done(project, "push", place, "--plain-http")
        release(Store.create(other / "dist" / "oci"), "6.6.6")
        done(other, "push", place, "--plain-http")
        yield Field(registry, keys)


@pytest.fixture
def field(signed_field: Field) -> Iterator[Field]:
    """The field as it was at first, for each attack."""
    before = copy.deepcopy(signed_field.registry.repositories)
    yield signed_field
    signed_field.registry.repositories = before
    signed_field.registry.seen.clear()


def refusals(field: Field, notation: Notation) -> tuple[bool, bool]:
    """Whether notation-go and we refuse what the name leads to."""
    name = f"{field.place}/engine:1.0.0"
    ours = nexus(field.keys, "verify", name, "--plain-http", "--notation-root", field.keys / "root.pem")
    assert ours.code in (0, 4), ours.err
    return notation.verify(name).code != 0, ours.code == 4


def test_without_an_attack_nobody_refuses(field: Field, notation: Notation, root: Certified) -> None:
    notation.believe(root)
    assert refusals(field, notation) == (False, False)


@pytest.mark.parametrize(("attack", "expected"), CASES.values(), ids=CASES)
def test_attacks_are_refused(
    field: Field, notation: Notation, root: Certified, attack: Callable[[Field], None], expected: tuple[bool, bool]
) -> None:
    notation.believe(root)
    attack(field)
    assert refusals(field, notation) == expected


@pytest.mark.parametrize(
    ("subject", "accepted"),
    [("C=DE, ST=BE, O=Example, CN=release", True), ("C=DE,S=BE,O=Example", True), ("C=DE,ST=BE,O=Example,CN=another", False)],
)
def test_subjects_are_trusted_alike(field: Field, notation: Notation, root: Certified, subject: str, *, accepted: bool) -> None:
    notation.believe(root, f"x509.subject: {subject}")
    name = f"{field.place}/engine:1.0.0"
    words = ("--plain-http", "--notation-root", field.keys / "root.pem", "--notation-subject", subject)
    assert nexus(field.keys, "verify", name, *words).code == (0 if accepted else 4)
    assert (notation.verify(name).code == 0) == accepted
