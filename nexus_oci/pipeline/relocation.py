"""What changes when a release gets other names at a site, so that nothing that is signed has to.

Charts, images and their signatures stay byte for byte what they were, and so stay verified. What would differ stands beside them:
values that let a chart name the site's registry, and the prefix by which podman, skopeo and CRI-O map signed names to the site's
(`remapIdentity`, containers-policy.json(5)). Both are kept at the site as an artifact that refers to the release.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from nexus_oci.errors import NexusError
from nexus_oci.oci import media_types
from nexus_oci.oci.gzip import inflated
from nexus_oci.oci.store import Store, VerifiedReader
from nexus_oci.oci.tar import iter_members
from nexus_oci.oci.values import Descriptor, Digest, Manifest
from nexus_oci.transfer.ends import Source

RELOCATION: Final = "application/vnd.nexus-oci.relocation.v1+json"
"""Artifact type of the record, and media type of its first layer."""
VALUES: Final = "application/yaml"
_LARGEST_CHART: Final = 64 << 20
_LARGEST_VALUES: Final = 4 << 20


@dataclass(frozen=True, kw_only=True)
class Relocation:
    """From one HOST/NAMESPACE to another: pairs of full names, and by chart the values that it needs at the site."""

    origin: str
    place: str
    release: Digest
    names: Mapping[str, str]
    values: Mapping[str, Mapping[str, Any]]

    def to_json(self) -> dict[str, Any]:
        """The record."""
        data: dict[str, Any] = {
            "schemaVersion": 1,
            "mediaType": RELOCATION,
            "from": self.origin,
            "to": self.place,
            "release": self.release,
            "names": dict(sorted(self.names.items())),
            "charts": {chart: dict(values) for chart, values in sorted(self.values.items())},
        }
        if self.origin:
            identity = {"type": "remapIdentity", "prefix": self.place, "signedPrefix": self.origin}
            data["signedIdentity"] = identity
        return data


def relocate(source: Source, release: Descriptor, names: Mapping[str, Descriptor], origin: str, place: str) -> Relocation:
    """Work out what the site needs. `names` are those of a store, without signatures; `origin` may be empty."""
    renamed = {f"{origin}/{name}" if origin else name: f"{place}/{name}" for name in names if ":" in name}
    images = {one.digest: name.rpartition(":")[0] for name, one in names.items() if ":" in name}
    values = {}
    for name, descriptor in sorted(names.items()):
        manifest = source.manifest(descriptor)
        if manifest.artifact_type == media_types.HELM_CONFIG:
            found = _overrides(_chart_values(source, manifest), origin, place, images)
            if isinstance(found, dict):
                values[name.rpartition(":")[0]] = found
    return Relocation(origin=origin, place=place, release=release.digest, names=renamed, values=values)


def store_relocation(store: Store, relocation: Relocation, subject: Descriptor, created: str) -> Descriptor:
    """Write the record as an artifact that refers to the release; its descriptor. The same relocation gives the same bytes."""
    layers = [_titled(store.put(_text(relocation.to_json()), RELOCATION), "nexus-relocation.json")]
    for chart, values in sorted(relocation.values.items()):
        layers.append(_titled(store.put(values_file(values), VALUES), values_name(chart)))
    about = Descriptor(media_type=subject.media_type, digest=subject.digest, size=subject.size)
    manifest = {
        "schemaVersion": 2,
        "mediaType": media_types.MANIFEST,
        "artifactType": RELOCATION,
        "config": store.put(b"{}", media_types.EMPTY).to_json(),
        "layers": layers,
        "subject": about.to_json(),
        "annotations": {media_types.CREATED: created},
    }
    return store.put_manifest(Manifest.build(manifest))


def values_name(chart: str) -> str:
    """The name of a chart's file of values."""
    return f"{chart.rpartition('/')[2]}.nexus-values.yaml"


def values_file(values: Mapping[str, Any]) -> bytes:
    """Values as a file for `helm install -f`; JSON is YAML too, and has one form."""
    return _text(values)


def _text(data: Mapping[str, Any]) -> bytes:
    return (json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def _titled(blob: Descriptor, title: str) -> dict[str, Any]:
    return {**blob.to_json(), "annotations": {media_types.TITLE: title}}


def _chart_values(source: Source, chart: Manifest) -> Any:
    """The values that a chart comes with; nothing where it has none that can be read."""
    import yaml

    layer = next((one for one in chart.layers if one.media_type == media_types.HELM_CHART), None)
    if layer is None or layer.size > _LARGEST_CHART:
        return None
    with VerifiedReader(source.open_blob(layer, verify=False), layer, "the chart") as reader:
        for entry, data in iter_members(inflated(reader, "the chart"), origin="the chart"):
            folder, _, name = entry.name.partition("/")
            if folder and name == "values.yaml" and entry.size <= _LARGEST_VALUES:
                text = b"".join(data)
                list(reader)
                try:
                    return yaml.safe_load(text)
                except yaml.YAMLError as error:
                    raise NexusError("a chart's values.yaml is no YAML", why=str(error).partition("\n")[0]) from None
    return None


def _overrides(values: Any, origin: str, place: str, images: Mapping[Digest, str]) -> Any:
    """The part of `values` that names images, with the site's names; None where there is none.

    An image is known by the origin's prefix, whole (`repository`) or split (`registry` and `repository`), or by the digest beside
    it. A list is overridden whole: Helm does not merge lists.
    """
    if isinstance(values, str):
        moved = _moved(values, origin, place)
        return moved if moved != values else None
    if isinstance(values, list):
        changed = [_overrides(one, origin, place, images) for one in values]
        if all(one is None for one in changed):
            return None
        return [_merged(old, new) for old, new in zip(values, changed, strict=True)]
    if not isinstance(values, dict):
        return None
    found = {key: over for key, value in values.items() if (over := _overrides(value, origin, place, images)) is not None}
    return (found | _image(values, origin, place, images)) or None


def _image(values: Mapping[str, Any], origin: str, place: str, images: Mapping[Digest, str]) -> dict[str, str]:
    """What to say of a mapping that describes one image."""
    registry, repository, digest = values.get("registry"), values.get("repository"), values.get("digest")
    if not isinstance(repository, str):
        return {}
    name = next((held for one, held in images.items() if one == digest), None)
    if isinstance(registry, str) and registry:
        moved = f"{place}/{name}" if name else _moved(f"{registry}/{repository}", origin, place)
        host, _, rest = moved.partition("/")
        return {"registry": host, "repository": rest} if (host, rest) != (registry, repository) else {}
    return {"repository": f"{place}/{name}"} if name and repository != f"{place}/{name}" else {}


def _moved(name: str, origin: str, place: str) -> str:
    return place + name[len(origin) :] if origin and (name == origin or name.startswith(f"{origin}/")) else name


def _merged(old: Any, new: Any) -> Any:
    """An element of a list with what is new of it."""
    if new is None:
        return old
    if isinstance(old, dict) and isinstance(new, dict):
        return {**old, **{key: _merged(old.get(key), value) for key, value in new.items()}}
    return new
