"""Small releases with all that a bundle carries: images for two platforms, an artifact, a chart, signatures, what refers to them."""

from __future__ import annotations

import io
import json
import random
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from nexus_oci.bundle.opened import Bundle, open_bundle
from nexus_oci.oci import media_types
from nexus_oci.oci.store import Store
from nexus_oci.oci.values import Descriptor, Manifest, Platform, digest_of
from nexus_oci.pipeline.bundle_origin import origin_in_store
from nexus_oci.pipeline.bundling import BundleRequest, Made, create_bundle
from nexus_oci.pipeline.signing_release import sign_store
from nexus_oci.release.assemble import BuiltFile, Named, store_artifact, store_chart, store_index, store_release
from nexus_oci.release.image import ImageLayer, store_image
from nexus_oci.trust.keys import PrivateKey, generate

PREFIX = "registry.nexus.example/nexus"
PLATFORMS = (Platform.parse("linux/amd64"), Platform.parse("linux/arm64"))


@dataclass(frozen=True, kw_only=True)
class Maker:
    """A key, a store, and bundles out of it."""

    store: Store
    key: PrivateKey
    folder: Path

    def release(self, version: str = "1.0.0", *, app: str = "app", size: int = 60_000, signed: bool = True) -> Descriptor:
        """Write a release; two with another `app` differ in one layer of each image."""
        root = make_release(self.store, version, app=app, size=size)
        if signed:
            sign_store(self.store, root, self.key, prefix=PREFIX)
        return root

    def bundle(self, root: Descriptor, name: str = "one.nexus", *, signed: bool = True, **request: object) -> Made:
        """Make a bundle of it."""
        origin = origin_in_store(self.store, root, PREFIX)
        signer = self.key if signed else None
        return create_bundle(origin, BundleRequest(output=self.folder / name, signer=signer, jobs=2, **request))  # type: ignore[arg-type]

    def opened(self, root: Descriptor, name: str = "one.nexus", **request: object) -> Bundle:
        """Make a bundle and open it."""
        return open_bundle(self.bundle(root, name, **request).files)  # type: ignore[arg-type]


def maker(folder: Path) -> Maker:
    """One with a key of its own."""
    return Maker(store=Store.create(folder / "dist" / "oci"), key=generate(), folder=folder)


def _tarred(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def _zipped(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=31)
    return packer.compress(data) + packer.flush()


def image_layer(store: Store, name: str, size: int) -> ImageLayer:
    tar = _tarred({name: random.Random(name).randbytes(size)})
    blob = store.put(_zipped(tar), media_types.LAYER_GZIP)
    return ImageLayer(descriptor=blob, diff_id=digest_of(tar), created_by=name)


def make_release(store: Store, version: str, *, app: str, size: int) -> Descriptor:
    """Write a release as a build does, and name it: `VERSION`, `engine:VERSION`, `charts/demo:VERSION`."""
    labels = {media_types.VERSION: version, media_types.CREATED: "2026-01-01T00:00:00Z"}
    images = []
    for platform in PLATFORMS:
        layers = [image_layer(store, f"base-{platform.slug}", size), image_layer(store, f"{app}-{platform.slug}", size)]
        config = {"Cmd": ["/app"], "Labels": {}}
        images.append(store_image(store, platform=platform, config=config, layers=layers, labels={}, epoch=1))
    index = store_index(store, images, {media_types.DISTRIBUTION: "runtime"})
    artifacts = []
    for platform in PLATFORMS:
        title = f"demo_{platform.architecture}.deb"
        blob = store.put(f"deb of {app} for {platform}".encode(), media_types.ARTIFACTS["deb"][1])
        file = BuiltFile(distribution="runtime", platform=platform, format="deb", title=title, files=((title, blob),))
        artifacts.append(store_artifact(store, file, index, {}))
    values = f"image:\n  repository: {PREFIX}/engine\n  digest: {index.digest}\n  pullPolicy: Always\n"
    chart = {
        "demo/Chart.yaml": f"name: demo\nversion: {version}\napiVersion: v2\n".encode(),
        "demo/values.yaml": values.encode(),
        "demo/templates/image.yaml": b"image: {{ .Values.image.repository }}@{{ .Values.image.digest }}\n",
    }
    described = json.dumps({"name": "demo", "version": version, "apiVersion": "v2"}).encode()
    packed = store_chart(store, config=described, archive=_zipped(_tarred(chart)), annotations={})
    images_named = [Named(descriptor=index, repository="engine", tag=version)]
    charts = [Named(descriptor=packed, repository="charts/demo", tag=version)]
    root = store_release(store, images=images_named, artifacts=artifacts, charts=charts, annotations=labels)
    sbom = {
        "schemaVersion": 2,
        "mediaType": media_types.MANIFEST,
        "artifactType": "application/spdx+json",
        "config": store.put(b"{}", media_types.EMPTY).to_json(),
        "layers": [store.put(f"sbom of {app}".encode(), "application/spdx+json").to_json()],
        "subject": Descriptor(media_type=index.media_type, digest=index.digest, size=index.size).to_json(),
    }
    listed = [*artifacts, store.put_manifest(Manifest.build(sbom))]
    names = {version: root, f"engine:{version}": index, f"charts/demo:{version}": packed}
    store.replace_tags(names, listed, keep_untagged=True)
    return root
