"""Media types and annotation keys, by their specification's names.

OCI image-spec 1.1 (media-types.md, annotations.md), Helm's OCI support, and our own artifact types.
"""

from __future__ import annotations

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
EMPTY = "application/vnd.oci.empty.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
LAYER_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"

DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"

INDEX_TYPES = frozenset({INDEX, DOCKER_INDEX})
MANIFEST_TYPES = frozenset({INDEX, MANIFEST, DOCKER_INDEX, DOCKER_MANIFEST})

NOTATION = "application/vnd.cncf.notary.signature"
"""`artifactType` of the Notary Project's signatures."""

HELM_CONFIG = "application/vnd.cncf.helm.config.v1+json"
HELM_CHART = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
HELM_PROVENANCE = "application/vnd.cncf.helm.chart.provenance.v1.prov"

RELEASE = "application/vnd.nexus-oci.release.v1"
"""`artifactType` of the release index."""

ARTIFACTS = {
    "tar.gz": ("application/vnd.nexus-oci.artifact.tar.v1", "application/gzip"),
    "tar.zst": ("application/vnd.nexus-oci.artifact.tar-zstd.v1", "application/zstd"),
    "deb": ("application/vnd.nexus-oci.artifact.deb.v1", "application/vnd.debian.binary-package"),
    "rpm": ("application/vnd.nexus-oci.artifact.rpm.v1", "application/x-rpm"),
    "srpm": ("application/vnd.nexus-oci.artifact.srpm.v1", "application/x-source-rpm"),
    "apk": ("application/vnd.nexus-oci.artifact.apk.v1", "application/x-alpine-package-keeper-package"),
    "archlinux": ("application/vnd.nexus-oci.artifact.archlinux.v1", "application/x-alpm-package"),
    "ipk": ("application/vnd.nexus-oci.artifact.ipk.v1", "application/x-opkg-package"),
    "apt": ("application/vnd.nexus-oci.artifact.apt-repository.v1", "application/octet-stream"),
    "yum": ("application/vnd.nexus-oci.artifact.yum-repository.v1", "application/octet-stream"),
}
"""Format → (`artifactType` of its manifest, media type of its layers). A repository has a layer for each of its files; packages
in it keep their own type, so that their blobs are those of the packages' artifacts."""

TITLE = "org.opencontainers.image.title"
VERSION = "org.opencontainers.image.version"
REVISION = "org.opencontainers.image.revision"
CREATED = "org.opencontainers.image.created"
SOURCE = "org.opencontainers.image.source"
URL = "org.opencontainers.image.url"
VENDOR = "org.opencontainers.image.vendor"
LICENSES = "org.opencontainers.image.licenses"
DESCRIPTION = "org.opencontainers.image.description"
AUTHORS = "org.opencontainers.image.authors"
BASE_NAME = "org.opencontainers.image.base.name"
BASE_DIGEST = "org.opencontainers.image.base.digest"
REF_NAME = "org.opencontainers.image.ref.name"
CONTAINERD_NAME = "io.containerd.image.name"

DISTRIBUTION = "dev.nexus-oci.distribution"
FORMAT = "dev.nexus-oci.format"
PLATFORM = "dev.nexus-oci.platform"
REPOSITORY = "dev.nexus-oci.repository"
"""On a child of the release index: the repository, below the namespace, that carries its friendly name."""
TAG = "dev.nexus-oci.tag"
"""On a child of the release index: the tag of its friendly name."""
