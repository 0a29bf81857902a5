"""Media types have the form that RFC 6838 and the image-spec ask for, and none stands for two things."""

from __future__ import annotations

import re

from nexus_oci.oci import media_types

_TYPE = re.compile(r"[a-z]+/[a-z0-9][a-z0-9.+-]{0,126}\Z")


def test_every_media_type_is_well_formed() -> None:
    own = {media_types.RELEASE, *(kind for pair in media_types.ARTIFACTS.values() for kind in pair)}
    standard = {
        *media_types.MANIFEST_TYPES,
        media_types.CONFIG,
        media_types.EMPTY,
        media_types.LAYER_GZIP,
        media_types.HELM_CHART,
    }
    assert all(_TYPE.match(kind) for kind in own | standard)


def test_every_format_has_an_artifact_type_of_its_own() -> None:
    kinds = [kind for kind, _ in media_types.ARTIFACTS.values()]
    assert len(set(kinds)) == len(kinds)
    assert not set(kinds) & {media_types.RELEASE, *media_types.MANIFEST_TYPES}


def test_an_index_is_a_manifest() -> None:
    assert media_types.INDEX_TYPES < media_types.MANIFEST_TYPES
