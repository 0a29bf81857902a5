"""What is inside each image and artifact of a release, read from a store or a registry: the wiring of `nexus_oci.sbom`."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final, Literal

from nexus_oci.errors import ArchiveError, NexusError, VerificationError
from nexus_oci.oci import media_types
from nexus_oci.oci.gzip import inflated
from nexus_oci.oci.store import VerifiedReader
from nexus_oci.oci.values import MAX_MANIFEST_SIZE, Descriptor, Digest, Platform
from nexus_oci.pipeline.subjects import Subject
from nexus_oci.sbom import model
from nexus_oci.sbom.archives import READABLE, read_archive
from nexus_oci.sbom.catalogue import catalogue
from nexus_oci.sbom.layers import Layer, Tree, Watch, lay_over, read_layer
from nexus_oci.sbom.licences import expression
from nexus_oci.transfer.ends import Source

Form = Literal["spdx", "cyclonedx"]
FORMS: Final[tuple[Form, ...]] = ("spdx", "cyclonedx")
MEDIA_TYPES: Final[Mapping[Form, str]] = {
    "spdx": "application/spdx+json",
    "cyclonedx": "application/vnd.cyclonedx+json",
}
BASE_HISTORY: Final = "base "
"""How the history of an image that this program made names the layers of its base."""
_GZIP: Final = frozenset({media_types.LAYER_GZIP, media_types.DOCKER_LAYER_GZIP})


@dataclass(frozen=True, kw_only=True)
class Description:
    """The catalogue of one image or artifact; `name` is a file name's stem, `about` the digests that it holds for."""

    subject: Subject
    name: str
    platform: Platform | None
    catalogue: model.Catalogue
    about: tuple[Digest, ...]


@dataclass(frozen=True, kw_only=True)
class Document:
    """A written catalogue: its in-toto predicate type, the content, and how its file's name ends."""

    predicate_type: str
    content: dict[str, Any]
    suffix: str

    @property
    def data(self) -> bytes:
        """The bytes of its file: JSON, indented, sorted."""
        return (json.dumps(self.content, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def check_libraries() -> None:
    """Raise `NexusError` where the libraries that write SBOMs are not installed: before hours of work, not after."""
    try:
        from nexus_oci.sbom import cyclonedx, spdx  # noqa: F401  that they can be imported is all that is asked
    except ModuleNotFoundError as error:
        raise _missing(error) from error


def document(found: model.Catalogue, form: Form) -> Document:
    """A catalogue in one of the two forms; raises `NexusError` where the libraries for them are not installed."""
    try:
        if form == "spdx":
            from nexus_oci.sbom import spdx

            return Document(predicate_type=spdx.PREDICATE, content=spdx.spdx_document(found), suffix=spdx.SUFFIX)
        from nexus_oci.sbom import cyclonedx

        content = cyclonedx.cyclonedx_document(found)
        return Document(predicate_type=cyclonedx.PREDICATE, content=content, suffix=cyclonedx.SUFFIX)
    except ModuleNotFoundError as error:
        raise _missing(error) from error


def _missing(error: ModuleNotFoundError) -> NexusError:
    return NexusError(
        "an SBOM cannot be written here",
        why=f"the Python module {error.name} is not installed",
        hint="install what it takes: pip install 'nexus-oci[sbom]'",
    )


@dataclass(kw_only=True)
class Describer:
    """Describes the images and artifacts of one release; layers that several images share are read once.

    `watch_for` gives, for a layer of an image that is about to be read, what shall look at its entries as they pass.
    """

    source: Source
    subjects: Sequence[Subject]
    watch_for: Callable[[Descriptor], Watch] | None = None
    _layers: dict[Digest, Layer] = field(default_factory=dict)

    def descriptions(self) -> Iterator[Description]:
        """Every image of one platform, and every artifact, in the release's order. Indexes and charts have none."""
        for subject in self.subjects:
            found = self.describe(subject)
            if found is not None:
                yield found

    def describe(self, subject: Subject) -> Description | None:
        """The description of one manifest; None for what is neither image nor artifact.

        Raises `VerificationError` and `ArchiveError` for content that is damaged or of an unknown kind.
        """
        try:
            if is_image(subject):
                return self._image(subject)
            return self._artifact(subject) if subject.is_artifact else None
        except ModuleNotFoundError as error:
            raise _missing(error) from error

    def _image(self, subject: Subject) -> Description:
        config = self.config(subject)
        platform = Platform.from_json(config)
        notes = subject.manifest.annotations
        base = None
        if media_types.BASE_DIGEST in notes:
            base = model.Base(name=notes.get(media_types.BASE_NAME, "base"), digest=Digest(notes[media_types.BASE_DIGEST]))
        layers = [self.layer(layer) for layer in subject.manifest.layers]
        tree = lay_over(layers, base_layers(config) if base else 0)
        name = f"{subject.distribution or 'image'}-{platform.slug}"
        about = _about(subject, _image_name(subject), subject.digest, "image", str(platform), config.get("created"))
        found = catalogue(replace(about, base=base), tree)
        return Description(subject=subject, name=name, platform=platform, catalogue=found, about=(subject.digest,))

    def _artifact(self, subject: Subject) -> Description:
        notes = subject.manifest.annotations
        title = notes.get(media_types.TITLE) or f"{subject.distribution}-{subject.kind}"
        platform = notes.get(media_types.PLATFORM, "")
        files = subject.manifest.layers
        blob = files[0].digest if len(files) == 1 else subject.digest
        tree, note = self._content(subject, platform)
        about = _about(subject, title, blob, "artifact", platform, notes.get(media_types.CREATED))
        found = catalogue(replace(about, note=note), tree)
        digests = (subject.digest, *(file.digest for file in files if len(files) == 1))
        name = f"{subject.distribution}-{title}" if len(files) > 1 else title
        known = Platform.parse(platform) if platform else None
        return Description(subject=subject, name=name, platform=known, catalogue=found, about=digests)

    def _content(self, subject: Subject, platform: str) -> tuple[Tree, str]:
        """The files of an artifact, and how they were found out where it was not read itself."""
        if len(subject.manifest.layers) > 1 or not platform:
            return self._listed(subject), "a repository: its files; the packages in it have documents of their own"
        if subject.kind in READABLE:
            return self._unpacked(subject), ""
        sibling = self._sibling(subject, platform)
        if sibling is None:
            return self._listed(subject), f"the files of a {subject.kind} package are not read here, and nothing shares them"
        if sibling.is_artifact:
            title = sibling.manifest.annotations.get(media_types.TITLE, "")
            return self._unpacked(sibling), f"read from {title}, which is made of the same files"
        config = self.config(sibling)
        own = sibling.manifest.layers[base_layers(config) :]
        layers = [self.layer(layer) for layer in own]
        return lay_over(layers), f"read from the image {sibling.digest}, which is made of the same files"

    def _sibling(self, subject: Subject, platform: str) -> Subject | None:
        """What is made of the same files and can be read: another format of the same package, else, where it is the only one of
        its format, the image."""
        same = [
            other
            for other in self.subjects
            if other.distribution == subject.distribution
            and other.is_artifact
            and other.manifest.annotations.get(media_types.PLATFORM) == platform
        ]
        for kind in READABLE:
            for other in same:
                if other.kind == kind and _package_name(other) == _package_name(subject):
                    return other
        if sum(other.kind == subject.kind for other in same) > 1:
            return None
        images = (other for other in self.subjects if other.distribution == subject.distribution and is_image(other))
        return next((image for image in images if str(Platform.from_json(self.config(image))) == platform), None)

    def _unpacked(self, subject: Subject) -> Tree:
        (blob,) = subject.manifest.layers
        if blob.digest not in self._layers:
            with closing(self._reader(blob)) as reader:
                self._layers[blob.digest] = read_archive(subject.kind, reader, blob.annotations.get(media_types.TITLE, "it"))
        return lay_over([self._layers[blob.digest]])

    def _listed(self, subject: Subject) -> Tree:
        """The artifact's own files, not what is in them."""
        files = {}
        for blob in subject.manifest.layers:
            path = blob.annotations.get(media_types.TITLE, blob.digest.hex)
            sha1, sha256 = hashlib.sha1(usedforsecurity=False), hashlib.sha256()
            with closing(self._reader(blob)) as reader:
                for block in reader:
                    sha1.update(block)
                    sha256.update(block)
            files[path] = model.File(path=path, size=blob.size, sha1=sha1.hexdigest(), sha256=sha256.hexdigest())
        return Tree.of_files(files.values())

    def layer(self, layer: Descriptor) -> Layer:
        """A layer of an image, read once; raises `ArchiveError` for one of a type that is not known here."""
        if layer.digest not in self._layers:
            if layer.media_type not in (*_GZIP, media_types.LAYER):
                raise ArchiveError(
                    f"layer {layer.digest.short} cannot be read",
                    why=f"it is of type {layer.media_type}, and only plain and gzip layers are known here",
                )
            origin = f"layer {layer.digest.short}"
            with closing(self._reader(layer)) as reader:
                chunks = inflated(reader, origin) if layer.media_type in _GZIP else reader
                watch = self.watch_for(layer) if self.watch_for else None
                self._layers[layer.digest] = read_layer(chunks, origin=origin, watch=watch)
        return self._layers[layer.digest]

    def _reader(self, blob: Descriptor) -> VerifiedReader:
        return VerifiedReader(self.source.open_blob(blob, verify=False), blob, f"blob {blob.digest}")

    def config(self, subject: Subject) -> dict[str, Any]:
        """The config of an image, as data."""
        config = subject.manifest.config
        if config is None or config.size > MAX_MANIFEST_SIZE:
            raise VerificationError(f"image {subject.digest} has no config that can be read")
        with closing(self._reader(config)) as reader:
            try:
                data = json.loads(b"".join(reader))
                Platform.from_json(data)
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise VerificationError(f"the config of image {subject.digest} cannot be read", why=str(error)[:200]) from error
        return dict(data)


def is_image(subject: Subject) -> bool:
    """Whether it is a container image of one platform."""
    config = subject.manifest.config
    return config is not None and config.media_type in (media_types.CONFIG, media_types.DOCKER_CONFIG)


def _package_name(subject: Subject) -> str:
    """What stands before the version in the name of a package's file."""
    notes = subject.manifest.annotations
    title, version = notes.get(media_types.TITLE, ""), notes.get(media_types.VERSION, "")
    return re.split(rf"[-_]{re.escape(version)}", title)[0] if version else title


def base_layers(config: dict[str, Any]) -> int:
    """How many layers an image took from its base, as the history says; those come first."""
    history = config.get("history") or []
    return sum(str(entry.get("created_by", "")).startswith(BASE_HISTORY) for entry in history if isinstance(entry, dict))


def _image_name(subject: Subject) -> str:
    title = re.sub(r"[^a-z0-9]+", "-", subject.manifest.annotations.get(media_types.TITLE, "").lower()).strip("-")
    return "-".join(part for part in (title, subject.distribution) if part) or "image"


def _about(
    subject: Subject, name: str, digest: Digest, kind: Literal["image", "artifact"], platform: str, created: object
) -> model.Subject:
    notes = subject.manifest.annotations
    return model.Subject(
        name=name,
        version=notes.get(media_types.VERSION, ""),
        digest=digest,
        kind=kind,
        platform=platform,
        epoch=_epoch(created),
        licence=expression(notes.get(media_types.LICENSES, "")),
        supplier=notes.get(media_types.VENDOR) or notes.get(media_types.AUTHORS, ""),
        description=notes.get(media_types.DESCRIPTION, ""),
    )


def _epoch(created: object) -> int:
    """Seconds since 1970 of an RFC 3339 time; 0 where it is none."""
    try:
        return max(0, int(datetime.fromisoformat(str(created)).timestamp()))
    except (ValueError, OverflowError):
        return 0
