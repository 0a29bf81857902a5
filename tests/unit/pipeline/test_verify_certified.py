"""Whose Notation signatures count: authorities, subjects, limits, revocation and time; in the report and in the trust file."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from nexus_oci.errors import DefinitionError, UsageError
from nexus_oci.oci.store import Store
from nexus_oci.oci.values import Descriptor, Digest
from nexus_oci.pipeline.attached import in_store
from nexus_oci.pipeline.signatories import NotationSignatory
from nexus_oci.pipeline.signing_release import sign_store
from nexus_oci.pipeline.verify import Believed, Verification, verify_release
from nexus_oci.transfer.store_end import StoreEnd
from nexus_oci.trust.authorities import TrustedAuthority, trusted_authority
from nexus_oci.trust.keys import PrivateKey, generate
from nexus_oci.trust.notation import load_chain_signer
from nexus_oci.trust.verification import Trust, TrustedKey, load_trust
from tests.support.certificates import DAY, NOW, Certified, Wish, authority, issue
from tests.unit.cli.conftest import release

ROOT, OTHER = authority(), authority("other")
LEAF = issue(Wish(), ROOT)


def signatory(leaf: Certified = LEAF, now: datetime = NOW, expires: datetime | None = None) -> NotationSignatory:
    chain = [one.public_bytes(Encoding.DER) for one in leaf.chain]
    return NotationSignatory(signer=load_chain_signer(chain, "chain", leaf.key, now), now=now, expires=expires)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "dist" / "oci")


@pytest.fixture
def root(store: Store) -> Descriptor:
    found = release(store)
    sign_store(store, found, None, others=[signatory()])
    return found


def trusted(folder: Path, found: Certified = ROOT, *subjects: str) -> TrustedAuthority:
    path = folder / "ca.pem"
    path.write_bytes(found.pem)
    return trusted_authority(path, subjects)


def verified(store: Store, root: Descriptor, trust: Trust, now: datetime = NOW) -> Verification:
    believed = Believed(trust=trust, now=now, locate=in_store(store), repository="releases")
    return verify_release(StoreEnd(store), root, believed)


def test_a_release_that_an_authority_vouches_for_verifies(store: Store, root: Descriptor, tmp_path: Path) -> None:
    result = verified(store, root, Trust(keys=(), authorities=(trusted(tmp_path),)))
    assert result.faults == []
    assert result.signatures is not None
    for one in result.signatures.checked:
        ((form, who),) = one.signers
        assert (form, who.name) == ("notation", "CN=release,O=Example,ST=BE,C=DE, by ca.pem")
        assert who.fingerprint == signatory().name


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("nobody", "is by an authority that is not trusted here"),
        ("subject", "none of the subjects that are trusted of ca.pem"),
        ("time", "the certificate CN=release,O=Example,ST=BE,C=DE expired on"),
        ("early", "is valid from"),
        ("leaf", "a certificate of CN=release,O=Example,ST=BE,C=DE is revoked"),
        ("root", "a certificate of CN=release,O=Example,ST=BE,C=DE is revoked"),
        ("key", "a certificate of CN=release,O=Example,ST=BE,C=DE is revoked"),
    ],
)
def test_what_does_not_count(store: Store, root: Descriptor, tmp_path: Path, what: str, said: str) -> None:
    prints = signatory().signer.chain.thumbprints
    revoked = {"leaf": prints[0], "root": prints[1], "key": PrivateKey(key=LEAF.key).public.fingerprint}.get(what)
    found = OTHER if what == "nobody" else ROOT
    subjects = ["C=DE,ST=BE,O=Example,CN=other"] if what == "subject" else ["C=DE,ST=BE,O=Example"]
    trust = Trust(
        keys=(), authorities=(trusted(tmp_path, found, *subjects),),
        revoked=frozenset([Digest(f"sha256:{revoked}")] if revoked else []),
    )  # fmt: skip
    moments = {"time": NOW + 500 * DAY, "early": NOW - 500 * DAY}
    faults = verified(store, root, trust, moments.get(what, NOW)).faults
    assert len(faults) == 4
    assert all("is not signed by" in fault and said in fault for fault in faults), faults


def test_signing_twice_adds_nothing_and_what_expired_is_signed_again(store: Store, root: Descriptor, tmp_path: Path) -> None:
    assert sign_store(store, root, None, others=[signatory(now=NOW + DAY, expires=NOW + 2 * DAY)]).added == 0
    other = issue(Wish(), ROOT)
    assert sign_store(store, root, None, others=[signatory(other, expires=NOW + DAY)]).added == 4
    assert sign_store(store, root, None, others=[signatory(other, now=NOW + 2 * DAY)]).added == 4
    assert verified(store, root, Trust(keys=(), authorities=(trusted(tmp_path),))).faults == []


def test_notation_stands_beside_keys_and_what_one_manifest_lacks_is_missed(
    store: Store, root: Descriptor, tmp_path: Path
) -> None:
    key = generate()
    sign_store(store, root, key)
    both = Trust(keys=(TrustedKey(key=key.public, name="release.pub"),), authorities=(trusted(tmp_path),))
    result = verified(store, root, both)
    assert result.faults == []
    assert result.signatures is not None
    assert [one.forms for one in result.signatures.checked] == [{"tag", "bundle", "notation"}] * 4
    index = store.manifest(root).manifests[0]
    gone = next(one.digest for one in StoreEnd(store).referrers(index.digest) if "notary" in str(one.artifact_type))
    document = json.loads((store.root / "index.json").read_bytes())
    document["manifests"] = [entry for entry in document["manifests"] if entry["digest"] != gone]
    (store.root / "index.json").write_text(json.dumps(document))
    (fault,) = verified(Store.open(store.root), root, both).faults
    assert "has no good signature of Notation that refers to it" in fault


def test_the_trust_file_knows_authorities_with_limits(store: Store, root: Descriptor, tmp_path: Path) -> None:
    trusted(tmp_path)
    path = tmp_path / "trust.yaml"
    text = 'notation:\n  - roots: ca.pem\n    name: company\n    subjects: ["C=DE, ST=BE, O=Example"]\n'
    path.write_text(f"{text}    not-before: 2020-01-01\n    not-after: 2920-01-01\n    repositories: [engine, releases]\n")
    result = verified(store, root, load_trust(path))
    assert result.faults == []
    for limit, said in (
        ("not-after: 2020-01-01", "the key company expired on 2020-01-01"),
        ("not-before: 2920-01-01", "the key company is valid from 2920-01-01"),
        ("repositories: [other]", "the key company is for the repositories other"),
        ("distributions: [api]", "the key company is for the distributions api"),
    ):
        path.write_text(f"{text}    {limit}\n")
        assert all(said in fault for fault in verified(store, root, load_trust(path)).faults), said


def test_mistakes_in_the_trust_file_are_told(tmp_path: Path) -> None:
    path = tmp_path / "trust.yaml"
    (tmp_path / "ca.pem").write_bytes(ROOT.pem)
    (tmp_path / "key.pem").write_bytes(ROOT.key_pem)
    for text, kind, said in (
        ("notation: [{roots: none.pem}]", UsageError, "cannot be read"),
        ("notation: [{roots: key.pem}]", UsageError, "holds a private key"),
        ("notation: [{roots: ca.pem, subjects: [O=Example]}]", UsageError, "it lacks C, ST"),
        ("notation: [{roots: ca.pem, subjects: []}]", DefinitionError, "an empty list"),
        ("notation: [{subjects: [x]}]", DefinitionError, "roots"),
        ("identities: [{identity: x}]", DefinitionError, "issuer"),
        ("identities: [{identity: x, issuer: https://y, trusted-root: none.json}]", UsageError, "cannot be read"),
        ("identities: [{identity: x, issuer: https://y, trusted-root: ca.pem}]", UsageError, "is no trusted root"),
    ):
        path.write_text(text)
        with pytest.raises(kind, match=said):
            try:
                load_trust(path)
            except DefinitionError as error:
                raise DefinitionError(str(error)) from None
