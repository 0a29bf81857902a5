"""Gathers the facts that gates ask about: every manifest of a release, and every blob once, streamed.

1. Every manifest below the root is read, and every artifact that refers to one. 2. Each layer of an image, and each file of
an artifact or chart, passes once: through the catalogue of packages, and past the search for secrets, programs, rights and
archives. 3. From all of them it is known which programs are the engine's, and which files a later layer hides. What is not
readable becomes a fact too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from nexus_oci.definition.distribution_model import ALL_DISTRIBUTIONS
from nexus_oci.errors import ArchiveError, NexusError
from nexus_oci.oci import media_types
from nexus_oci.oci.store import VerifiedReader
from nexus_oci.oci.values import Descriptor, Digest
from nexus_oci.pipeline.describe import Describer, base_layers, is_image
from nexus_oci.pipeline.engine_marks import Marks, marks_of
from nexus_oci.pipeline.inspection import Inspector, Seen, SeenFile
from nexus_oci.pipeline.subjects import ARTIFACT_TYPES, RELEASES, Subject, subjects_of
from nexus_oci.policy.facts import Fact
from nexus_oci.sbom.layers import Layer
from nexus_oci.staging.secrets import allowed
from nexus_oci.transfer.ends import Source

if TYPE_CHECKING:
    from nexus_oci.definition.definition import Definition

VERSION: Final = 1
"""Of the facts: other facts of the same release have another."""
_RUNS_ENGINE: Final = frozenset({"runtime", "container", "api", "library"})
_DAY: Final = 86_400


@dataclass(frozen=True, kw_only=True)
class Gathered:
    """The facts by kind, without `previous` and `growth`, and what nobody could look at."""

    facts: Mapping[str, Sequence[Fact]]
    unchecked: tuple[str, ...]
    complete: bool = True
    """Whether all libraries were there that it takes."""


@dataclass(kw_only=True)
class _Image:
    """One image of one platform, as it was read."""

    subject: Subject
    config: Mapping[str, Any]
    platform: str
    base_count: int
    layers: list[tuple[Descriptor, Layer | None, Seen, str]] = field(default_factory=list)
    """Each layer's descriptor, its names where it could be read, what was seen in it, and why it could not be."""


@dataclass(kw_only=True)
class _Blob:
    """A file of an artifact or a chart, and what was seen in it."""

    subject: Subject
    descriptor: Descriptor
    platform: str
    title: str
    seen: Seen
    why: str = ""


def gather(source: Source, root: Descriptor, definition: Definition | None = None) -> Gathered:
    """Read a release, or an image, and tell its facts. The definition, where there is one, says which findings are no
    secrets, and what the engine is called.

    Raises what reading a manifest raises, and `VerificationError` for a blob that is not what its digest says.
    """
    gathering = _Gathering(source, root, definition)
    gathering.read()
    facts = gathering.facts()
    return Gathered(facts=facts, unchecked=tuple(dict.fromkeys(gathering.unchecked)), complete=gathering.complete)


class _Gathering:
    def __init__(self, source: Source, root: Descriptor, definition: Definition | None) -> None:
        self._source, self._root, self._definition = source, root, definition
        self._subjects = release_subjects(source, root)
        self._seen: dict[Digest, Seen] = {}
        self._describer = Describer(source=source, subjects=self._subjects, watch_for=self._watcher)
        self._images: list[_Image] = []
        self._blobs: list[_Blob] = []
        self.unchecked: list[str] = []
        self.complete = True

    def _watcher(self, layer: Descriptor) -> Any:
        seen = self._seen[layer.digest] = Seen()
        return Inspector(seen=seen).watch

    def read(self) -> None:
        """Every blob, once."""
        for subject in self._subjects:
            if is_image(subject):
                self._images.append(self._read_image(subject))
            elif not subject.manifest.is_index:
                self._blobs += [self._read_blob(subject, blob) for blob in subject.manifest.layers]

    def _read_image(self, subject: Subject) -> _Image:
        config = self._describer.config(subject)
        platform = "/".join(str(config[key]) for key in ("os", "architecture", "variant") if config.get(key))
        image = _Image(subject=subject, config=config, platform=platform, base_count=0)
        if media_types.BASE_DIGEST in subject.manifest.annotations:
            image.base_count = base_layers(dict(config))
        for descriptor in subject.manifest.layers:
            layer, why = None, ""
            try:
                layer = self._describer.layer(descriptor)
            except ArchiveError as error:
                why = " ".join(f"{error.what}: {error.why}".split()) if error.why else error.what
            image.layers.append((descriptor, layer, self._seen.get(descriptor.digest, Seen()), why))
        return image

    def _read_blob(self, subject: Subject, blob: Descriptor) -> _Blob:
        title = (
            blob.annotations.get(media_types.TITLE) or subject.manifest.annotations.get(media_types.TITLE) or blob.digest.short
        )
        found = _Blob(
            subject=subject,
            descriptor=blob,
            platform=subject.manifest.annotations.get(media_types.PLATFORM, ""),
            title=title,
            seen=self._seen.get(blob.digest) or Seen(),
        )
        if blob.digest not in self._seen:
            self._seen[blob.digest] = found.seen
            opened = self._source.open_blob(blob, verify=False)
            with closing(VerifiedReader(opened, blob, f"blob {blob.digest}")) as reader:
                Inspector(seen=found.seen).look_at(title, reader)
        return found

    def facts(self) -> dict[str, list[Fact]]:
        """All of it as plain data."""
        marks = self._marks()
        files: list[Fact] = []
        secrets: list[Fact] = []
        for image in self._images:
            files += self._image_files(image, marks)
            secrets += self._image_secrets(image)
        for blob in self._blobs:
            placed = _placed(blob.subject, blob.platform, blob.descriptor.digest, blob.title)
            kind = blob.subject.kind
            for seen in blob.seen.files:
                files.append(
                    _file(placed, seen, marks, format=kind, installed=_is_installed(blob, seen), base=False, hidden=False)
                )
                if seen.why:
                    self.unchecked.append(f"{seen.path}: {seen.why}")
            secrets += self._secrets(placed, blob.seen, kind, hidden=lambda _: False)
        return {
            "release": [self._release()],
            "image": [self._image(image) for image in self._images],
            "artifact": [*self._artifacts()],
            "layer": [fact for image in self._images for fact in _layers(image)],
            "file": files,
            "secret": secrets,
            "component": [*self._components()],
        }

    def _marks(self) -> Marks:
        runs = [image for image in self._images if _names(image.subject) & _RUNS_ENGINE and "sdk" not in _names(image.subject)]
        programs = [
            (_name(image.subject), seen)
            for image in runs
            for _, _, found, _ in image.layers[image.base_count :]
            for seen in found.files
            if seen.program
        ]
        in_base = {seen.digest for image in runs for _, _, found, _ in image.layers[: image.base_count] for seen in found.files}
        programs = [(name, seen) for name, seen in programs if seen.digest not in in_base]
        for blob in self._blobs:
            if _names(blob.subject) & _RUNS_ENGINE and "sdk" not in _names(blob.subject):
                programs += [(_name(blob.subject), seen) for seen in blob.seen.files if seen.program]
        titles = [self._source.manifest(self._root).annotations.get(media_types.TITLE, "")]
        return marks_of([image.config for image in runs], programs, self._definition, titles)

    def _release(self) -> Fact:
        top = self._source.manifest(self._root)
        notes = top.annotations
        blobs = {blob.digest: blob.size for subject in self._subjects for blob in subject.manifest.blobs}
        distributions = {name for subject in self._subjects for name in _names(subject)}
        distributions |= {name for child in top.manifests for name in _said(child)}
        hosted = sorted(
            (subject for subject in self._subjects if "api" in _names(subject)), key=lambda one: one.manifest.is_index
        )
        api = [f"the {subject.kind} {_title(subject)} of api" for subject in hosted]
        formats = {
            f"{name}/{'image' if is_image(subject) else subject.kind}"
            for subject in self._subjects
            if is_image(subject) or subject.is_artifact
            for name in _names(subject)
        }
        return {
            "title": notes.get(media_types.TITLE, ""),
            "version": notes.get(media_types.VERSION, ""),
            "digest": self._root.digest,
            "epoch": _epoch(notes.get(media_types.CREATED, "")),
            "size": sum(blobs.values()) + sum(subject.manifest.descriptor.size for subject in self._subjects),
            "distributions": [name for name in ALL_DISTRIBUTIONS if name in distributions],
            "formats": sorted(formats),
            "api": api,
            "where": f"release {notes.get(media_types.VERSION, '') or self._root.digest.short}",
            "platform": "",
            "distribution": "",
        }

    def _image(self, image: _Image) -> Fact:
        run = image.config.get("config") or {}
        user = str(run.get("User") or "")
        uid = _uid(user, image)
        fact: dict[str, Any] = {
            **_placed(image.subject, image.platform, image.subject.digest, "the image"),
            "user": user,
            "uid": uid,
            "root": uid == 0,
            "layers": len(image.subject.manifest.layers),
            "size": sum(layer.size for layer in image.subject.manifest.layers),
            "environment": sorted(str(entry).partition("=")[0] for entry in run.get("Env") or ()),
        }
        base = _base(image)
        return fact | {"base": base} if base else fact

    def _artifacts(self) -> Iterator[Fact]:
        for subject in self._subjects:
            if not is_image(subject) and not subject.manifest.is_index:
                platform = subject.manifest.annotations.get(media_types.PLATFORM, "")
                yield {
                    **_placed(subject, platform, subject.digest, _title(subject)),
                    "format": subject.kind,
                    "title": _title(subject),
                    "size": sum(layer.size for layer in subject.manifest.layers),
                    "files": len(subject.manifest.layers),
                }

    def _image_files(self, image: _Image, marks: Marks) -> Iterator[Fact]:
        for number, (descriptor, _, seen, _) in enumerate(image.layers):
            placed = _placed(image.subject, image.platform, descriptor.digest, f"layer {number + 1}")
            base = number < image.base_count
            for one in seen.files:
                hidden = _is_hidden(one.path, image, number)
                yield _file(placed, one, marks, format="image", installed=not one.nested, base=base, hidden=hidden)

    def _image_secrets(self, image: _Image) -> Iterator[Fact]:
        for number, (descriptor, _, seen, _) in enumerate(image.layers):
            placed = _placed(image.subject, image.platform, descriptor.digest, f"layer {number + 1}")
            yield from self._secrets(placed, seen, "image", hidden=lambda path, at=number: _is_hidden(path, image, at))
        config = image.subject.manifest.config
        if config is not None:
            seen = Seen()
            with closing(VerifiedReader(self._source.open_blob(config, verify=False), config, "the config")) as reader:
                Inspector(seen=seen).look_at("config.json", reader)
            placed = _placed(image.subject, image.platform, config.digest, "the image's config")
            yield from self._secrets(placed, seen, "image", hidden=lambda _: False)

    def _secrets(self, placed: Fact, seen: Seen, kind: str, *, hidden: Any) -> Iterator[Fact]:
        """What was found, but for what the definition of that distribution gives a reason for."""
        own = self._definition.distribution(str(placed["distribution"])) if self._definition else None
        allow = own.secrets.allow if own else {}
        for one in seen.secrets:
            if allowed(re.split("!", one.path)[-1], allow) or allowed(one.path, allow):
                continue
            yield {
                **placed,
                "path": one.path,
                "format": kind,
                "line": one.line,
                "kind": one.kind,
                "hint": one.hint,
                "hidden": hidden(one.path),
            }

    def _components(self) -> Iterator[Fact]:
        for image in self._images:
            if any(layer is None for _, layer, _, _ in image.layers):
                continue
            try:
                found = self._describer.describe(image.subject)
                from nexus_oci.sbom.licences import alternatives
            except NexusError as error:
                self.complete = False
                yield _unknown_component(image, " ".join(f"the packages are not known: {error.what}: {error.why}".split()))
                continue
            for package in found.catalogue.packages if found else ():
                yield {
                    **_placed(image.subject, image.platform, image.subject.digest, "the image"),
                    "name": package.name,
                    "package": package.name,
                    "version": package.version,
                    "type": package.kind,
                    "licences": [list(way) for way in alternatives(package.licence)],
                    "licence": package.licence,
                    "base": package.in_base,
                    "known": True,
                }


def _unknown_component(image: _Image, why: str) -> Fact:
    """Stands for the packages of an image where they cannot be told."""
    placed = _placed(image.subject, image.platform, image.subject.digest, "the image")
    unknown = {"name": why, "package": "", "version": "", "type": "", "licences": [], "licence": "", "base": False}
    return {**placed, **unknown, "known": False}


def release_subjects(source: Source, root: Descriptor) -> list[Subject]:
    """Every manifest of a release, the root first, and the artifacts that refer to one of them, pinned or not."""
    subjects = [*subjects_of(source, root, RELEASES)]
    return [*subjects, *_unpinned(source, subjects)]


def _unpinned(source: Source, subjects: Sequence[Subject]) -> list[Subject]:
    """Artifacts that refer to something of a release that does not pin them: a push takes them along."""
    known = {subject.digest for subject in subjects}
    found = []
    for subject in subjects:
        for referrer in source.referrers(subject.digest):
            manifest = source.manifest(referrer)
            if referrer.digest not in known and manifest.artifact_type in ARTIFACT_TYPES:
                known.add(referrer.digest)
                own = manifest.annotations.get(media_types.DISTRIBUTION, subject.distribution)
                found.append(Subject(manifest=manifest, repositories=subject.repositories, distribution=own, pinned=False))
    return found


def _names(subject: Subject) -> set[str]:
    """Every distribution that a manifest says it is of: itself, what it refers to, or the repository that it goes to."""
    said = {subject.distribution, subject.manifest.annotations.get(media_types.DISTRIBUTION), *subject.repositories}
    return {name for name in said if name in ALL_DISTRIBUTIONS}


def _said(child: Descriptor) -> set[str]:
    """The distributions that an index says of a child, whatever that says itself."""
    said = {child.annotations.get(media_types.DISTRIBUTION), child.annotations.get(media_types.REPOSITORY)}
    return {name for name in ALL_DISTRIBUTIONS if name in said}


def _name(subject: Subject) -> str:
    """The distribution that messages and waivers name."""
    names = _names(subject)
    first = subject.manifest.annotations.get(media_types.DISTRIBUTION) or subject.distribution
    if "sdk" in names:
        return "sdk"
    return first if first in names else next((name for name in ALL_DISTRIBUTIONS if name in names), "")


def _title(subject: Subject) -> str:
    return subject.manifest.annotations.get(media_types.TITLE, "") or subject.digest.short


def _placed(subject: Subject, platform: str, digest: Digest, what: str) -> Fact:
    name = _name(subject)
    words = " ".join(word for word in (name, platform) if word)
    return {
        "distribution": name,
        "platform": platform,
        "digest": str(digest),
        "where": f"{words}, {what}" if words else f"{subject.repositories[0]}@{subject.digest.short}, {what}",
    }


def _file(placed: Fact, seen: SeenFile, marks: Marks, *, format: str, installed: bool, base: bool, hidden: bool) -> Fact:  # noqa: A002
    return {
        **placed,
        "path": seen.path,
        "format": format,
        "installed": installed,
        "nested": seen.nested,
        "base": base,
        "hidden": hidden,
        "mode": f"{seen.mode:04o}",
        "setuid": bool(seen.mode & 0o4000),
        "setgid": bool(seen.mode & 0o2000),
        "capabilities": seen.capabilities,
        "program": seen.program,
        "engine": marks.why(seen),
        "readable": not seen.why,
        "why": seen.why,
    }


def _is_installed(blob: _Blob, seen: SeenFile) -> bool:
    """Whether installing an artifact puts the file on the disk as it is: all that is in an archive or a package, but not the
    archive itself."""
    return blob.subject.is_artifact and seen.nested


def _layers(image: _Image) -> Iterator[Fact]:
    for number, (descriptor, _, _, why) in enumerate(image.layers):
        yield {
            **_placed(image.subject, image.platform, descriptor.digest, f"layer {number + 1}"),
            "number": number + 1,
            "base": number < image.base_count,
            "size": descriptor.size,
            "type": descriptor.media_type,
            "readable": not why,
            "why": why,
        }


def _is_hidden(path: str, image: _Image, number: int) -> bool:
    """Whether a later layer replaces the file, or takes it or a folder above it away (image-spec, layer.md)."""
    outer = path.partition("!")[0]
    parents = {outer[:at] for at in range(len(outer)) if outer[at] == "/"} | {""}
    for _, layer, _, _ in image.layers[number + 1 :]:
        if layer is None:
            continue
        if outer in layer.nodes or outer in layer.removed or parents & layer.removed or parents & layer.emptied:
            return True
        if any(parent in layer.nodes and layer.nodes[parent].kind != "directory" for parent in parents):
            return True
    return False


def _uid(user: str, image: _Image) -> int:
    """The number of the user that an image runs as (image-spec, config.md); -1 for a name that it does not know."""
    name = user.partition(":")[0].strip()
    if name in ("", "root"):
        return 0
    if re.fullmatch(r"[+-]?[0-9]+", name):
        return int(name)
    for _, _, seen, _ in reversed(image.layers):
        if seen.passwd is not None:
            fields = (line.split(":") for line in seen.passwd.decode("utf-8", "replace").splitlines())
            return next((int(each[2]) for each in fields if len(each) > 2 and each[0] == name and each[2].isdigit()), -1)
    return -1


def _base(image: _Image) -> Fact | None:
    """What an image stands on, of which day, and how many days that was before the release was made."""
    notes = image.subject.manifest.annotations
    newest = [entry for descriptor, _, seen, _ in image.layers[: image.base_count] if (entry := seen.newest)]
    if media_types.BASE_DIGEST not in notes or not newest:
        return None
    date = max(newest)
    epoch = _epoch(image.config.get("created")) or _epoch(notes.get(media_types.CREATED))
    history = next((str(entry.get("created_by", "")) for entry in image.config.get("history") or ()), "")
    words = history.split()
    return {
        "name": words[1] if len(words) > 1 else notes.get(media_types.BASE_NAME, "base"),
        "digest": notes[media_types.BASE_DIGEST],
        "date": datetime.fromtimestamp(date, UTC).date().isoformat(),
        "age": max(0, (epoch - date) // _DAY),
    }


def _epoch(created: object) -> int:
    """Seconds since 1970 of an RFC 3339 time; 0 where it is none."""
    try:
        return max(0, int(datetime.fromisoformat(str(created)).timestamp()))
    except (ValueError, OverflowError):
        return 0
