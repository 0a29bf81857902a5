"""What counts as proved, and what is missing where it does not."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nexus_oci.oci import media_types
from nexus_oci.oci.store import Store
from nexus_oci.oci.values import Descriptor, Manifest
from nexus_oci.pipeline.policy_facts import release_subjects
from nexus_oci.pipeline.proofs import Evidence, proofs_of
from nexus_oci.pipeline.provenance import Kept
from nexus_oci.policy.judging import Proved
from nexus_oci.policy.model import Proof
from nexus_oci.release.assemble import Named, store_index
from nexus_oci.transfer.store_end import StoreEnd
from nexus_oci.trust.provenance import Dependency, Parameters, Provenance
from tests.unit.policy_kit import AMD64, Kit, tar

MADE = Provenance(
    name="shop",
    version="1.0.0",
    parameters=Parameters(epoch=1),
    source={"commit": "c0ffee" * 6, "dirty": False},
    internal={},
    dependencies=(Dependency(name="x", digest={"sha256": "0" * 64}),),
    tools={},
)


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    kit = Kit(store=Store.create(tmp_path / "dist" / "oci"))
    kit.artifact("runtime", "tar.gz", "x.tar.gz", gzip.compress(tar({"x": b"y"})), kit.image("runtime", {"x": b"y"}))
    return kit


def proved(kit: Kit, root: Descriptor, proof: Proof, **evidence: Any) -> Proved:
    source = StoreEnd(kit.store)
    (found,) = proofs_of(source, release_subjects(source, root), Evidence(**evidence), [proof])
    return found


def test_a_release_of_one_digest_needs_no_network(kit: Kit) -> None:
    assert proved(kit, kit.release(), "air-gap").there


@pytest.mark.parametrize(
    "change",
    [
        {"urls": ["https://elsewhere.example/layer"]},
        {"mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"},
    ],
    ids=["urls", "nondistributable"],
)
def test_a_layer_that_is_to_be_fetched_from_elsewhere_does(kit: Kit, change: dict[str, Any]) -> None:
    (image,) = kit.store.manifest(kit.images[0].descriptor).manifests
    data = dict(kit.store.manifest(image).data)
    changed = kit.store.put_manifest(Manifest.build({**data, "layers": [{**data["layers"][0], **change}]}))
    index = store_index(kit.store, [replace(changed, platform=AMD64)], {media_types.DISTRIBUTION: "container"})
    kit.images.append(Named(descriptor=index, repository="container", tag="1.0.0"))
    found = proved(kit, kit.release(), "air-gap")
    assert not found.there
    assert "is to be fetched from elsewhere" in found.detail


def test_an_artifact_that_nothing_pins_is_no_part_of_one_digest(kit: Kit) -> None:
    root = kit.release()
    loose = kit.artifact("runtime", "deb", "loose.deb", b"deb", kit.images[0].descriptor)
    kit.store.replace_tags({}, [loose], keep_untagged=True)
    found = proved(kit, root, "air-gap")
    assert (found.there, "does not pin it" in found.detail) == (False, True)


def test_the_list_of_files_has_to_have_every_file_of_the_release(kit: Kit) -> None:
    root, folder = kit.release(), kit.store.root.parent
    assert "cannot be read" in proved(kit, root, "checksums", folder=folder).detail
    (folder / "SHA256SUMS").write_text(f"{'0' * 64}  other\n")
    assert "lacks 1 files" in proved(kit, root, "checksums", folder=folder).detail
    digest = kit.store.manifest(kit.artifacts[0]).layers[0].digest.hex
    (folder / "SHA256SUMS").write_text(f"\\{digest}  odd\\\\name\n")
    assert proved(kit, root, "checksums", folder=folder).there
    assert not proved(kit, root, "checksums").there


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"source": {"dirty": False}}, "names no commit"),
        ({"source": {"commit": "c", "dirty": True}}, "changes that are in no commit"),
        ({"source": {"commit": "c"}}, "changes that are in no commit"),
        ({"parameters": Parameters()}, "names no time"),
        ({"dependencies": ()}, "names nothing that was read"),
        ({"dependencies": (Dependency(name="x", digest={}),)}, "has no digest"),
    ],
)
def test_a_provenance_that_lacks_what_a_rebuild_takes_proves_nothing(kit: Kit, change: dict[str, Any], why: str) -> None:
    root = kit.release()
    kept = Kept(provenance=MADE, signed_by=None)
    assert proved(kit, root, "reproducibility", provenance=kept).there
    found = proved(kit, root, "reproducibility", provenance=replace(kept, provenance=replace(MADE, **change)))
    assert (found.there, why in found.detail) == (False, True)


def test_an_audit_asks_who_built_it_and_from_what(kit: Kit) -> None:
    root = kit.release()
    kept = Kept(provenance=MADE, signed_by=None)
    assert proved(kit, root, "audit", provenance=kept).there
    for change in ({"source": {}}, {"builder": ""}):
        assert not proved(kit, root, "audit", provenance=replace(kept, provenance=replace(MADE, **change))).there
    assert not proved(kit, root, "audit").there
