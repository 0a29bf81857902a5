"""What two builds of one thing differ in, from the top down: manifest, config, layer, file, and of that which field or bytes.

Only what differs by its digest is looked into, so that what is equal costs nothing. What follows from something below it, such as
the digest of a layer or a diff_id, is not told again. diffoci and diffoscope are the models.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Final

from nexus_oci.oci import media_types
from nexus_oci.oci.rpm import Unpack
from nexus_oci.oci.store import VerifiedReader
from nexus_oci.oci.values import MAX_MANIFEST_SIZE, Descriptor, Manifest
from nexus_oci.release.tree_difference import ArchiveDifference, Form, archive_differences
from nexus_oci.transfer.ends import Source

_FORMS: Final[Mapping[str, Form]] = {
    media_types.LAYER: "tar",
    media_types.LAYER_GZIP: "tar.gz",
    media_types.DOCKER_LAYER_GZIP: "tar.gz",
    media_types.HELM_CHART: "tar.gz",
    media_types.ARTIFACTS["tar.gz"][1]: "tar.gz",
    media_types.ARTIFACTS["deb"][1]: "deb",
    media_types.ARTIFACTS["rpm"][1]: "rpm",
    media_types.ARTIFACTS["srpm"][1]: "rpm",
    media_types.ARTIFACTS["tar.zst"][1]: "tar.zst",
    media_types.ARTIFACTS["archlinux"][1]: "tar.zst",
    media_types.ARTIFACTS["apk"][1]: "tar.gz",
    media_types.ARTIFACTS["ipk"][1]: "tar.gz",
}
"""What can be looked into, by media type; everything else is bytes."""
_MADE_OF: Final[Mapping[str, str]] = {"apt": "deb", "yum": "rpm", "prov": "chart"}
"""What consists of, or is about, something else that is compared too; it comes after that."""
PROVENANCE: Final = "prov"
"""What `passed_over` calls the provenance file of a chart, which only its key can make."""
_LAYERS: Final = {media_types.HELM_CHART: "archive", media_types.HELM_PROVENANCE: "provenance file"}
_DIFF_IDS: Final = ("rootfs", "diff_ids")
_HISTORY: Final = ("history",)
_LABELS: Final = ("config", "Labels")


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One thing that is not the same: where, from the release down, which field of it, and what either build has.

    A side that has nothing has an empty text.
    """

    where: tuple[str, ...]
    field: str
    then: str
    now: str

    def __str__(self) -> str:
        """One line for people."""
        return f"{' → '.join(self.where)}: {self.field}: {self.then or 'nothing'} → {self.now or 'nothing'}"


@dataclass(frozen=True, kw_only=True)
class Side:
    """One of the two builds: where it is read from."""

    source: Source

    def manifest(self, descriptor: Descriptor) -> Manifest:
        """A manifest of it."""
        return self.source.manifest(descriptor)

    def reader(self, blob: Descriptor) -> VerifiedReader:
        """A reader that hashes what it reads."""
        return VerifiedReader(self.source.open_blob(blob, verify=False), blob, f"blob {blob.digest}")


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A comparison of two builds. What is of a format in `passed_over` is not looked at; nor are, without `signatures`, those in
    rpms. `unzstd` unpacks what is compressed so; without it that is compared as bytes.
    """

    then: Side
    now: Side
    passed_over: frozenset[str] = frozenset()
    signatures: bool = True
    unzstd: Unpack | None = None
    _differing: set[str] = field(default_factory=set, init=False)
    """The formats, and kinds of layers, in which differences were found."""

    def run(self, then: Descriptor, now: Descriptor, name: str) -> Iterator[Difference]:
        """Everything in which two manifests, and what is below them, differ; nothing where they are the same."""
        yield from self._manifests((name,), then, now)

    def _manifests(self, where: tuple[str, ...], then: Descriptor, now: Descriptor) -> Iterator[Difference]:
        if then.digest == now.digest:
            return
        a, b = self.then.manifest(then), self.now.manifest(now)
        yield from _texts(where, "annotation ", a.annotations, b.annotations)
        if (a.artifact_type, a.is_index) != (b.artifact_type, b.is_index):
            yield Difference(where=where, field="type", then=str(a.artifact_type), now=str(b.artifact_type))
            return
        if a.is_index:
            yield from self._pairs(where, _children(a), _children(b), self._manifests)
            return
        yield from self._configs(where, a, b)
        yield from self._pairs(where, _layers(a), _layers(b), self._blobs)

    def _pairs(
        self,
        where: tuple[str, ...],
        then: Mapping[str, Descriptor],
        now: Mapping[str, Descriptor],
        compare: Callable[[tuple[str, ...], Descriptor, Descriptor], Iterator[Difference]],
    ) -> Iterator[Difference]:
        """What has one name on both sides is compared; what has no partner is told, and of what follows from others just that."""
        formats = {name: _format(then.get(name) or now[name]) for name in {*then, *now}}
        for name in sorted(formats, key=lambda name: (formats[name] in _MADE_OF, name)):
            a, b = then.get(name), now.get(name)
            if formats[name] in self.passed_over:
                continue
            if a is None or b is None:
                yield Difference(where=where, field=name, then="there" if a else "", now="there" if b else "")
            elif a.digest != b.digest and _MADE_OF.get(formats[name]) in self._differing:
                source = _MADE_OF[formats[name]]
                yield Difference(where=(*where, name), field="content", then=f"of the {source} then", now=f"of the {source} now")
            else:
                for found in compare((*where, name), a, b):
                    self._differing.add(formats[name])
                    yield found

    def _configs(self, where: tuple[str, ...], a: Manifest, b: Manifest) -> Iterator[Difference]:
        if a.config is None or b.config is None or a.config.digest == b.config.digest:
            return
        before, after = self._json(self.then, a.config), self._json(self.now, b.config)
        if before is None or after is None:
            yield Difference(where=(*where, "config"), field="content", then=str(a.config.digest), now=str(b.config.digest))
            return
        for path, then, now in _json_differences((), before, after):
            if not _is_said_elsewhere(path, a, b):
                yield Difference(where=(*where, "config"), field=".".join(path), then=_shown(then), now=_shown(now))

    def _json(self, side: Side, blob: Descriptor) -> Any:
        if blob.size > MAX_MANIFEST_SIZE:
            return None
        with closing(side.reader(blob)) as reader:
            try:
                return json.loads(b"".join(reader))
            except (ValueError, RecursionError):
                return None

    def _blobs(self, where: tuple[str, ...], then: Descriptor, now: Descriptor) -> Iterator[Difference]:
        if then.digest == now.digest:
            return
        if then.media_type != now.media_type:
            yield Difference(where=where, field="type", then=then.media_type, now=now.media_type)
            return
        found = archive_differences(
            _FORMS.get(then.media_type, "bytes"),
            lambda: self.then.reader(then),
            lambda: self.now.reader(now),
            where[-1],
            signatures=self.signatures,
            unzstd=self.unzstd,
        )
        for item in found:
            yield _placed(where, item)


def _format(descriptor: Descriptor) -> str:
    """The format of an artifact, or of a chart's provenance file, which is a layer."""
    own = {media_types.HELM_PROVENANCE: PROVENANCE, media_types.HELM_CHART: "chart"}.get(descriptor.media_type, "")
    return descriptor.annotations.get(media_types.FORMAT, own)


def _placed(where: tuple[str, ...], item: ArchiveDifference) -> Difference:
    return Difference(where=(*where, *item.where), field=item.field, then=item.then, now=item.now)


def _is_said_elsewhere(path: tuple[str, ...], a: Manifest, b: Manifest) -> bool:
    """Whether a field of a config says again what layers say, or the manifest's annotations."""
    if path == _DIFF_IDS:
        return True
    if path == _HISTORY:
        return [layer.digest for layer in a.layers] != [layer.digest for layer in b.layers]
    return path[:2] == _LABELS and len(path) == 3 and a.annotations.get(path[2]) != b.annotations.get(path[2])


def _children(index: Manifest) -> dict[str, Descriptor]:
    """The children of an index by what tells them apart, whatever their digests are."""
    found: dict[str, Descriptor] = {}
    for number, child in enumerate(index.manifests, 1):
        notes = child.annotations
        parts = (notes.get(media_types.FORMAT), notes.get(media_types.DISTRIBUTION), notes.get(media_types.TITLE))
        name = notes.get(media_types.REPOSITORY) or (" ".join(part for part in parts if part) if parts[0] else "")
        found[name or (str(child.platform) if child.platform else f"child {number}")] = child
    return found


def _layers(manifest: Manifest) -> dict[str, Descriptor]:
    """The layers of a manifest by their titles; those that have none by what they are, else by their position."""
    named = enumerate(manifest.layers, 1)
    return {
        layer.annotations.get(media_types.TITLE) or _LAYERS.get(layer.media_type) or f"layer {number}": layer
        for number, layer in named
    }


def _texts(where: tuple[str, ...], prefix: str, then: Mapping[str, str], now: Mapping[str, str]) -> Iterator[Difference]:
    for key in sorted({*then, *now}):
        if then.get(key) != now.get(key):
            yield Difference(where=where, field=f"{prefix}{key}", then=then.get(key, ""), now=now.get(key, ""))


def _json_differences(path: tuple[str, ...], then: Any, now: Any) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    """The paths at which two JSON values differ, and either's value there; of lists, what only one of them has."""
    if isinstance(then, dict) and isinstance(now, dict):
        for key in sorted({*then, *now}):
            yield from _json_differences((*path, key), then.get(key), now.get(key))
    elif isinstance(then, list) and isinstance(now, list) and then != now:
        gone = [item for item in then if item not in now]
        come = [item for item in now if item not in then]
        yield (path, gone, come) if gone or come else (path, then, now)
    elif then != now:
        yield path, then, now


def _shown(value: Any) -> str:
    if value is None or value == []:
        return ""
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ", ".join(value)
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)
