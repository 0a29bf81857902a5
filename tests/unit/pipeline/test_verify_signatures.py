"""Who signed a release: every attack on it is refused, with a message that says which."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from nexus_oci.oci import media_types
from nexus_oci.oci.store import Store
from nexus_oci.oci.values import Descriptor, Digest, Manifest
from nexus_oci.pipeline.attached import in_store
from nexus_oci.pipeline.signing_release import sign_store
from nexus_oci.pipeline.subjects import subjects_of
from nexus_oci.pipeline.verify import Believed, Verification, verify_release
from nexus_oci.transfer.ends import BlobStream
from nexus_oci.transfer.store_end import StoreEnd
from nexus_oci.trust import cosign, dsse
from nexus_oci.trust.keys import PrivateKey, PublicKey, generate
from nexus_oci.trust.verification import Trust, TrustedKey
from tests.unit.cli.conftest import release

KEY, OTHER = generate(), generate()
NOW = datetime(2026, 6, 1, tzinfo=UTC)
Attack = Callable[[Store, Descriptor], Descriptor]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "dist" / "oci")


@pytest.fixture
def root(store: Store) -> Descriptor:
    found = release(store)
    sign_store(store, found, KEY)
    return found


def trusting(*keys: TrustedKey, revoked: tuple[str, ...] = ()) -> Trust:
    return Trust(keys=keys or (trusted(KEY.public),), revoked=frozenset(map(Digest, revoked)))


def trusted(key: PublicKey, **limits: object) -> TrustedKey:
    return TrustedKey(key=key, name="release.pub", **limits)  # type: ignore[arg-type]


def verified(store: Store, root: Descriptor, trust: Trust | None = None, repository: str = "releases") -> Verification:
    locate = in_store(store)
    believed = Believed(trust=trust or trusting(), now=NOW, locate=locate, repository=repository)
    return verify_release(StoreEnd(store), root, believed)


def deb(store: Store, root: Descriptor) -> Descriptor:
    return store.manifest(root).manifests[1]


def image_index(store: Store, root: Descriptor) -> Descriptor:
    return store.manifest(root).manifests[0]


def flip(store: Store, digest: Digest) -> None:
    path = store.path(digest)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def bundles(store: Store, subject: Descriptor) -> list[Descriptor]:
    return [one for one in StoreEnd(store).referrers(subject.digest) if one.artifact_type == dsse.BUNDLE]


def without(store: Store, *gone: Digest) -> None:
    """Take entries out of the index, as somebody does who may write to the place."""
    index = json.loads((store.root / "index.json").read_bytes())
    index["manifests"] = [entry for entry in index["manifests"] if entry["digest"] not in gone]
    (store.root / "index.json").write_text(json.dumps(index))


def flipped_blob(store: Store, root: Descriptor) -> Descriptor:
    flip(store, store.manifest(deb(store, root)).layers[0].digest)
    return root


def flipped_manifest(store: Store, root: Descriptor) -> Descriptor:
    flip(store, deb(store, root).digest)
    return root


def flipped_payload(store: Store, root: Descriptor) -> Descriptor:
    (image,) = in_store(store)(root.digest)
    flip(store, store.manifest(image).layers[0].digest)
    return root


def flipped_signature(store: Store, root: Descriptor) -> Descriptor:
    """The image of signatures is written anew, so that all of its digests are right."""
    (one,) = _simple(store, root)
    bad = replace(one, signature=bytes([*one.signature[:-1], one.signature[-1] ^ 1]))
    store.tag(cosign.signature_tag(root.digest), cosign.store_signatures(store, [bad]))
    return root


def _simple(store: Store, subject: Descriptor) -> list[cosign.SimpleSignature]:
    (image,) = in_store(store)(subject.digest)
    layers = cosign.signature_layers(store.manifest(image))
    return [cosign.SimpleSignature(payload=store.read(layer), signature=signature) for layer, signature in layers]


def flipped_bundle(store: Store, root: Descriptor) -> Descriptor:
    """The same for the other form: everything but the signature itself is right."""
    (old,) = bundles(store, root)
    document = json.loads(store.read(store.manifest(old).layers[0]))
    other = dsse.sign_statement(OTHER, dsse.statement([root.digest], dsse.SIGNATURE, {}))
    document["dsseEnvelope"] = json.loads(other)["dsseEnvelope"]
    without(store, old.digest)
    store.replace_tags(
        {}, [dsse.store_bundle(store, json.dumps(document).encode(), root, dsse.SIGNATURE, "x")], keep_untagged=True
    )
    return root


def moved_signature(store: Store, root: Descriptor) -> Descriptor:
    """A good signature of one manifest is put where that of another belongs."""
    store.tag(cosign.signature_tag(root.digest), in_store(store)(deb(store, root).digest)[0])
    return root


def moved_bundle(store: Store, root: Descriptor) -> Descriptor:
    (old,) = bundles(store, deb(store, root))
    body = store.read(store.manifest(old).layers[0])
    store.replace_tags({}, [dsse.store_bundle(store, body, root, dsse.SIGNATURE, "x")], keep_untagged=True)
    return root


def swapped_child(store: Store, root: Descriptor) -> Descriptor:
    """The release names another artifact; the signatures are those of the release before."""
    old = store.manifest(root)
    evil = store.put(b"evil", media_types.ARTIFACTS["deb"][1])
    artifact = json.loads(store.manifest(deb(store, root)).raw)
    artifact["layers"] = [{**artifact["layers"][0], "digest": evil.digest, "size": evil.size}]
    child = store.put_manifest(Manifest.build(artifact))
    children = [old.manifests[0].to_json(), {**old.manifests[1].to_json(), "digest": child.digest, "size": child.size}]
    new = store.put_manifest(Manifest.build({**old.data, "manifests": children}))
    store.replace_tags({"1.0.0": new, cosign.signature_tag(new.digest): in_store(store)(root.digest)[0]}, keep_untagged=True)
    return new


def repointed_tag(store: Store, root: Descriptor) -> Descriptor:
    """The name leads to a release that nobody signed."""
    new = store.put_manifest(Manifest.build({**store.manifest(root).data, "annotations": {"evil": "yes"}}))
    store.replace_tags({"1.0.0": new}, keep_untagged=True)
    return store.resolve("1.0.0")


def stripped_everything(store: Store, root: Descriptor) -> Descriptor:
    return strip(store, root, deb(store, root), both=True)


def stripped_referrer(store: Store, root: Descriptor) -> Descriptor:
    return strip(store, root, root, both=False)


def stripped_tag(store: Store, root: Descriptor) -> Descriptor:
    without(store, in_store(store)(root.digest)[0].digest)
    return root


def strip(store: Store, root: Descriptor, victim: Descriptor, *, both: bool) -> Descriptor:
    found = [one.digest for one in bundles(store, victim)]
    without(store, *found, *([in_store(store)(victim.digest)[0].digest] if both else []))
    return root


ATTACKS: dict[str, tuple[Attack, str]] = {
    "a flipped byte in a blob": (flipped_blob, "blob sha256:.*damaged"),
    "a flipped byte in a manifest": (flipped_manifest, "manifest sha256:.*damaged"),
    "a flipped byte in a payload": (flipped_payload, r"\(tag\) cannot be read: blob sha256:.* is damaged"),
    "a flipped byte in a signature": (flipped_signature, "no good signature under its .sig tag"),
    "a changed bundle": (flipped_bundle, "says it is by a trusted key, and is not"),
    "a moved signature": (moved_signature, r"a signature \(tag\) by release.pub that is of sha256:.*: it was moved here"),
    "a moved bundle": (moved_bundle, r"a signature \(bundle\) by release.pub that is of sha256:.*: it was moved here"),
    "a swapped child": (swapped_child, "that is of sha256:.*: it was moved here"),
    "a tag that was re-pointed": (repointed_tag, "is not signed by a key that is trusted here: it has no signature"),
    "stripped signatures": (stripped_everything, "deb engine@sha256:.* is not signed"),
    "a stripped referrer": (stripped_referrer, "release .* has no good signature as a bundle"),
    "a stripped tag": (stripped_tag, "release .* has no good signature under its .sig tag"),
}


@pytest.mark.parametrize(("attack", "message"), ATTACKS.values(), ids=ATTACKS)
def test_an_attack_is_refused_and_named(store: Store, root: Descriptor, attack: Attack, message: str) -> None:
    assert verified(store, root).faults == []
    found = verified(store, attack(store, root))
    assert any(re.search(message, fault) for fault in found.faults), found.faults


def test_everything_of_a_signed_release_is_reported_with_its_key(store: Store, root: Descriptor) -> None:
    found = verified(store, root)
    assert found.signatures is not None
    rows = [one.to_json() for one in found.signatures.checked]
    assert [row["kind"] for row in rows] == ["release", "index", "image", "deb"]
    for row in rows:
        assert {signer["form"] for signer in row["signatures"]} == {"tag", "bundle"}
        assert {signer["fingerprint"] for signer in row["signatures"]} == {KEY.public.fingerprint}


def test_a_signature_by_another_key_is_none(store: Store, root: Descriptor) -> None:
    found = verified(store, root, trusting(trusted(OTHER.public)))
    assert len(found.faults) == 4
    assert all("by a key that is not trusted here" in fault for fault in found.faults)


def test_any_one_of_several_keys_is_enough(store: Store, root: Descriptor) -> None:
    assert verified(store, root, trusting(trusted(OTHER.public), trusted(KEY.public))).faults == []


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"not_after": NOW}, "expired on 2026-06-01"),
        ({"not_before": NOW + timedelta(seconds=1)}, "is valid from 2026-06-01"),
        ({"repositories": ("engine",)}, "release releases@.* is for the repositories engine"),
        ({"distributions": ("runtime",)}, "is for the distributions runtime"),
    ],
)
def test_a_key_counts_within_its_limits_only(store: Store, root: Descriptor, limits: dict[str, object], message: str) -> None:
    found = verified(store, root, trusting(trusted(KEY.public, **limits)))
    assert any(re.search(message, fault) for fault in found.faults), found.faults


def test_after_a_rotation_the_old_key_may_have_expired(store: Store, root: Descriptor) -> None:
    sign_store(store, root, OTHER)
    assert verified(store, root, trusting(trusted(KEY.public, not_after=NOW), trusted(OTHER.public))).faults == []


def test_what_is_revoked_is_refused(store: Store, root: Descriptor) -> None:
    found = verified(store, root, trusting(revoked=(str(deb(store, root).digest),)))
    assert found.faults == [f"deb engine@{deb(store, root).digest} is revoked"]
    found = verified(store, root, trusting(revoked=("sha256:" + KEY.public.fingerprint,)))
    assert len(found.faults) == 4


def signed_alone(store: Store, subject: Descriptor) -> None:
    """Sign one manifest, in one form, as `cosign sign` does it without --recursive."""
    signed_by(store, subject, KEY)


def signed_by(store: Store, subject: Descriptor, key: PrivateKey) -> None:
    body = dsse.sign_statement(key, dsse.statement([subject.digest], dsse.SIGNATURE, {}))
    store.replace_tags({}, [dsse.store_bundle(store, body, subject, dsse.SIGNATURE, "x")], keep_untagged=True)


def test_an_image_whose_index_alone_is_signed_is_covered_by_it(tmp_path: Path) -> None:
    store = Store.create(tmp_path)
    index = image_index(store, release(store))
    artifact = StoreEnd(store).referrers(index.digest)[0]
    signed_alone(store, index)
    found = verified(store, index, repository="engine")
    assert found.faults == [
        f"deb engine@{artifact.digest} is not signed by a key that is trusted here: it has no signature",
    ]
    signed_alone(store, artifact)
    found = verified(store, index, repository="engine")
    assert (found.faults, found.manifests) == ([], 3)
    assert found.signatures is not None
    assert [one.to_json()["covered"] for one in found.signatures.checked] == [False, True, False]


def test_a_release_whose_index_alone_is_signed_is_not_enough(tmp_path: Path) -> None:
    store = Store.create(tmp_path)
    root = release(store)
    signed_alone(store, root)
    assert len(verified(store, root).faults) == 3


def test_a_signed_statement_of_another_type_is_no_signature(tmp_path: Path) -> None:
    store = Store.create(tmp_path)
    root = release(store)
    kind = "https://slsa.dev/provenance/v1"
    body = dsse.sign_statement(KEY, dsse.statement([root.digest], kind, {}))
    store.replace_tags({}, [dsse.store_bundle(store, body, root, dsse.SIGNATURE, "x")], keep_untagged=True)
    found = verified(store, root)
    assert any(fault.startswith("release") and "is not signed" in fault for fault in found.faults)
    assert found.signatures is not None
    assert found.signatures.checked[0].statements == [(kind, trusted(KEY.public))]


def test_what_says_that_it_is_no_signature_is_not_read_where_only_signatures_are_wanted(store: Store, root: Descriptor) -> None:
    kind = "https://spdx.dev/Document/v2.3"
    store.replace_tags({}, [dsse.store_bundle(store, b"no bundle", root, kind, "x")], keep_untagged=True)
    assert any("cannot be read" in fault for fault in verified(store, root).faults)
    believed = Believed(trust=trusting(), now=NOW, locate=in_store(store), repository="releases")
    found = verify_release(StoreEnd(store), root, believed, shallow=True)
    assert found.faults == []
    assert found.signatures is not None
    assert found.signatures.checked[0].others == [f"a bundle of type {kind} was not read"]


def test_a_statement_may_also_name_the_file_of_an_artifact_and_a_signature_may_not(store: Store, root: Descriptor) -> None:
    subject = deb(store, root)
    file = store.manifest(subject).layers[0].digest
    body = dsse.sign_statement(KEY, dsse.statement([subject.digest, file], "https://slsa.dev/provenance/v1", {}))
    store.replace_tags({}, [dsse.store_bundle(store, body, subject, "https://slsa.dev/provenance/v1", "x")], keep_untagged=True)
    assert verified(store, root).faults == []
    body = dsse.sign_statement(KEY, dsse.statement([subject.digest, file], dsse.SIGNATURE, {}))
    store.replace_tags({}, [dsse.store_bundle(store, body, subject, dsse.SIGNATURE, "x")], keep_untagged=True)
    assert any("moved here" in fault for fault in verified(store, root).faults)


def test_a_statement_that_was_moved_is_a_fault(store: Store, root: Descriptor) -> None:
    body = dsse.sign_statement(KEY, dsse.statement([root.digest], "https://slsa.dev/provenance/v1", {}))
    victim = deb(store, root)
    store.replace_tags({}, [dsse.store_bundle(store, body, victim, dsse.SIGNATURE, "x")], keep_untagged=True)
    assert any("that is of" in fault and "moved here" in fault for fault in verified(store, root).faults)


def test_what_is_not_looked_at_is_said(store: Store, root: Descriptor) -> None:
    found = verify_release(StoreEnd(store), root, None, shallow=True)
    assert found.unchecked == ["blobs: only manifests and signatures were read", "signatures: no key was given"]
    assert (found.blobs, found.manifests) == (0, 4)


def test_a_name_that_changes_between_two_questions_is_asked_once(store: Store, root: Descriptor) -> None:
    """The root is a digest from the start: a source that answers otherwise later is never asked."""

    class Fickle(StoreEnd):
        def resolve(self, name: str) -> Descriptor:
            raise AssertionError(f"{name} was asked for again")

    believed = Believed(trust=trusting(), now=NOW, locate=in_store(store), repository="releases")
    assert verify_release(Fickle(store), root, believed).faults == []


CI = "https://ci.example/release"
PROVENANCE = "https://slsa.dev/provenance/v1"


def proven(store: Store, root: Descriptor, builder: object, key: PrivateKey = KEY, *, but: tuple[Digest, ...] = ()) -> None:
    """Attach a provenance to everything of the release, but to some."""
    for subject in subjects_of(StoreEnd(store), root, "releases"):
        if subject.digest not in but:
            body = dsse.sign_statement(key, dsse.statement([subject.digest], PROVENANCE, {"runDetails": {"builder": builder}}))
            bundle = dsse.store_bundle(store, body, subject.manifest.descriptor, PROVENANCE, "x")
            store.replace_tags({}, [bundle], keep_untagged=True)


@pytest.mark.parametrize("shallow", [False, True])
def test_what_the_expected_builder_built_is_accepted_and_named(store: Store, root: Descriptor, shallow: bool) -> None:
    proven(store, root, {"id": CI})
    trust = trusting().with_builders(["https://other.example/*", "https://ci.example/*"])
    believed = Believed(trust=trust, now=NOW, locate=in_store(store), repository="releases")
    found = verify_release(StoreEnd(store), root, believed, shallow=shallow)
    assert found.faults == []
    assert found.signatures is not None
    assert [one.to_json()["builders"] for one in found.signatures.checked] == [[CI]] * 4
    assert any("4 manifests were built by who was expected" in step for step in found.steps)


@pytest.mark.parametrize(
    ("builder", "named"), [({"id": "https://evil.example"}, "https://evil.example"), ({}, "nobody"), (5, "nobody")]
)
def test_what_another_built_is_refused(store: Store, root: Descriptor, builder: object, named: str) -> None:
    proven(store, root, builder)
    faults = verified(store, root, trusting().with_builders([CI])).faults
    assert len(faults) == 4
    assert all(f"was built by {named}, as its provenance says, and not by {CI}" in fault for fault in faults)
    assert verified(store, root).faults == []


def test_where_a_builder_is_expected_everything_needs_a_provenance(store: Store, root: Descriptor) -> None:
    victim = deb(store, root).digest
    proven(store, root, {"id": CI}, but=(victim,))
    trust = trusting().with_builders([CI])
    assert verified(store, root, trust).faults == [f"deb engine@{victim} has no provenance by a key that is trusted here"]
    proven(store, root, {"id": CI}, OTHER)
    assert verified(store, root, trust).faults == [f"deb engine@{victim} has no provenance by a key that is trusted here"]


def test_a_second_provenance_by_a_trusted_key_that_names_another_builder_is_a_fault(store: Store, root: Descriptor) -> None:
    proven(store, root, {"id": CI})
    proven(store, root, {"id": "https://evil.example"})
    assert len(verified(store, root, trusting().with_builders([CI])).faults) == 4


def test_a_statement_of_another_type_than_its_carrier_says_is_a_fault(store: Store, root: Descriptor) -> None:
    body = dsse.sign_statement(KEY, dsse.statement([root.digest], PROVENANCE, {}))
    label = "https://spdx.dev/Document/v2.3"
    store.replace_tags({}, [dsse.store_bundle(store, body, root, label, "x")], keep_untagged=True)
    (fault,) = verified(store, root).faults
    assert fault.endswith(f"has a bundle that is said to hold {label}, and what was signed is {PROVENANCE}")


def test_of_several_entries_of_one_key_any_that_fits_counts(store: Store, root: Descriptor) -> None:
    """A key that was extended: the old entry has ended, the new one is for something else, a third fits."""
    ended = trusted(KEY.public, not_after=NOW)
    elsewhere = trusted(KEY.public, repositories=("nothing",))
    assert verified(store, root, trusting(ended, elsewhere, trusted(KEY.public, not_before=NOW))).faults == []
    faults = verified(store, root, trusting(ended, elsewhere)).faults
    assert len(faults) == 4
    assert all("expired on 2026-06-01" in fault and "is for the repositories nothing" in fault for fault in faults)


def test_keys_of_two_scopes_share_a_release(store: Store, root: Descriptor) -> None:
    """Neither key may sign all of it; both have signed everything."""
    sign_store(store, root, OTHER)
    release_only = trusted(KEY.public, repositories=("releases",))
    assert len(verified(store, root, trusting(release_only)).faults) == 3
    assert verified(store, root, trusting(release_only, trusted(OTHER.public, repositories=("engine",)))).faults == []


def test_a_rotation_in_which_the_new_key_has_signed_a_part_only_is_told(store: Store, root: Descriptor) -> None:
    signed_by(store, root, OTHER)
    found = verified(store, root, trusting(trusted(KEY.public, not_after=NOW), trusted(OTHER.public)))
    assert len(found.faults) == 3
    assert all("the key release.pub expired" in fault for fault in found.faults)


def test_where_everything_is_vouched_for_is_learned_from_the_root(store: Store, root: Descriptor) -> None:
    """Signatures that name the place where they were made are known without being read, wherever they are now."""
    sign_store(store, root, KEY, prefix="registry.example/team")
    opened = []

    class Watched(StoreEnd):
        def open_blob(self, descriptor: Descriptor, *, verify: bool = True) -> BlobStream:
            opened.append(descriptor.media_type)
            return super().open_blob(descriptor, verify=verify)

    believed = Believed(trust=trusting(), now=NOW, locate=in_store(store), repository="releases")
    assert verify_release(Watched(store), root, believed, shallow=True).faults == []
    assert opened == [cosign.PAYLOAD]
