"""A registry with a signed release, for attackers who may write anything to it and have no key."""

from __future__ import annotations

import base64
import copy
import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nexus_oci.oci import media_types
from nexus_oci.oci.reference import Reference
from nexus_oci.oci.store import Store
from nexus_oci.oci.values import Descriptor, Digest
from nexus_oci.pipeline.push import push_release
from nexus_oci.pipeline.registries import Access
from nexus_oci.pipeline.signing_release import sign_store
from nexus_oci.release.assemble import Named, store_chart, store_release
from nexus_oci.trust import cosign, dsse
from nexus_oci.trust.keys import PrivateKey, generate
from tests.support.faulty_registry import FaultyRegistry, Repository, faulty_registry
from tests.unit.cli.conftest import RunProgram, release

KEY, OTHER = generate(), generate()


def with_chart(store: Store) -> Descriptor:
    """A release of an image, a deb and a chart."""
    old = store.manifest(release(store))
    index, deb = old.manifests
    chart = store_chart(store, config=b'{"name":"c"}', archive=b"chart", annotations={media_types.VERSION: "1.0.0"})
    root = store_release(
        store,
        images=[Named(descriptor=index, repository="engine", tag="1.0.0")],
        artifacts=[deb],
        charts=[Named(descriptor=chart, repository="charts/c", tag="1.0.0")],
        annotations={},
    )
    store.replace_tags({"1.0.0": root, "charts/c:1.0.0": chart}, keep_untagged=True)
    return root


@dataclass
class Field:
    """A registry with a signed release, and what an attacker does to it."""

    registry: FaultyRegistry
    folder: Path

    @property
    def releases(self) -> Repository:
        return self.registry.repository("team/releases")

    @property
    def root(self) -> str:
        return self.releases.tags["1.0.0"]

    def manifest(self, digest: str) -> Any:
        return json.loads(self.releases.manifests[digest][1])

    def kinds(self) -> dict[str, str]:
        """The digest of each kind of manifest."""
        children = self.manifest(self.root)["manifests"]
        index, chart, deb = (child["digest"] for child in children)
        return {
            "release": self.root,
            "index": index,
            "image": self.manifest(index)["manifests"][0]["digest"],
            "deb": deb,
            "chart": chart,
        }

    def put(self, data: Any) -> str:
        """Store a manifest, its digest being right."""
        raw = json.dumps(data).encode()
        digest = "sha256:" + hashlib.sha256(raw).hexdigest()
        self.releases.manifests[digest] = (data["mediaType"], raw)
        return digest

    def sig(self, digest: str) -> str:
        return digest.replace(":", "-") + ".sig"

    def bundle(self, digest: str) -> str:
        """The bundle that refers to a manifest."""
        (found,) = [
            name
            for name, (_, raw) in self.releases.manifests.items()
            if (data := json.loads(raw)).get("artifactType") == dsse.BUNDLE and data["subject"]["digest"] == digest
        ]
        return found

    def carry(self, body: bytes, about: str, label: str = dsse.SIGNATURE) -> str:
        """Attach a bundle to a manifest, in the place of the one that is there."""
        carrier = self.manifest(self.bundle(about))
        layer = {"mediaType": dsse.BUNDLE, "digest": "sha256:" + hashlib.sha256(body).hexdigest(), "size": len(body)}
        self.releases.blobs[layer["digest"]] = body  # type: ignore[index]
        carrier["layers"] = [layer]
        carrier["annotations"][dsse.PREDICATE] = label
        self.unlist(about)
        digest = self.put(carrier)
        self.enlist(about, digest)
        return digest

    def unlist(self, about: str) -> None:
        """Take the bundle away, and out of the list of referrers."""
        old = self.bundle(about)
        del self.releases.manifests[old]
        self._relist(about, lambda entries: [entry for entry in entries if entry["digest"] != old])

    def enlist(self, about: str, digest: str) -> None:
        kind, raw = self.releases.manifests[digest]
        data = json.loads(raw)
        entry = {"mediaType": kind, "digest": digest, "size": len(raw), "artifactType": data["artifactType"]}
        self._relist(about, lambda entries: [*entries, entry])

    def _relist(self, about: str, change: Callable[[list[Any]], list[Any]]) -> None:
        tag = about.replace(":", "-")
        if tag in self.releases.tags:
            data = self.manifest(self.releases.tags[tag])
            data["manifests"] = change(data["manifests"])
            self.releases.tags[tag] = self.put(data)

    def bundle_body(self, about: str) -> bytes:
        return self.releases.blobs[self.manifest(self.bundle(about))["layers"][0]["digest"]]

    def simple_by(self, key: PrivateKey, about: str) -> None:
        """Put one signature by a key under the tag."""
        payload = cosign.payload_for(Digest(about), "team/releases")
        self._simple(about, payload, key.sign(payload))

    def _simple(self, about: str, payload: bytes, signature: bytes) -> None:
        image = self.manifest(self.releases.tags[self.sig(about)])
        digest = "sha256:" + hashlib.sha256(payload).hexdigest()
        self.releases.blobs[digest] = payload
        notes = {"dev.cosignproject.cosign/signature": base64.b64encode(signature).decode()}
        image["layers"] = [{"mediaType": cosign.PAYLOAD, "digest": digest, "size": len(payload), "annotations": notes}]
        self.releases.tags[self.sig(about)] = self.put(image)

    @contextmanager
    def restored(self) -> Iterator[Field]:
        """Itself; afterwards it is as it was."""
        before = copy.deepcopy(self.registry.repositories)
        self.registry.seen.clear()
        yield self
        self.registry.repositories = before
        self.registry.seen.clear()
        self.registry._faults.clear()


@contextmanager
def signed_field(folder: Path, *, api: bool) -> Iterator[Field]:
    """A registry, with or without the referrers API, that has a signed release; release.pub is in the folder."""
    store = Store.create(folder / "oci")
    sign_store(store, with_chart(store), KEY)
    (folder / "release.pub").write_bytes(KEY.public.pem)
    with faulty_registry() as registry:
        registry.referrers_api = registry.sends_subject_header = api
        push_release(store, Reference.parse(f"{registry.host}/team"), Access(environment={}, plain_http=True))
        yield Field(registry, folder)


def verify(run: RunProgram, field: Field, *words: str, name: str = "releases:1.0.0") -> tuple[int, str]:
    """How the verification of a name ended, and what it said."""
    key = field.folder / "release.pub"
    ended = run("verify", f"{field.registry.host}/team/{name}", "--plain-http", "--key", key, *words)
    return ended.code, ended.out + ended.err
