"""Content in a descriptor counts with the size and digest that it names, and not otherwise."""

from __future__ import annotations

import base64

import pytest

from nexus_oci.errors import VerificationError
from nexus_oci.oci.embedded import LARGEST, embedded, embedding
from nexus_oci.oci.values import Descriptor, digest_of

CONTENT = b'{"small": true}'
NAMED = Descriptor(media_type="application/json", digest=digest_of(CONTENT), size=len(CONTENT)).to_json()


def test_what_is_embedded_comes_out_again() -> None:
    carried = embedding(NAMED, CONTENT)
    assert carried == {**NAMED, "data": base64.b64encode(CONTENT).decode()}
    assert embedded(carried) == CONTENT


def test_nothing_large_is_embedded_or_read() -> None:
    large = bytes(LARGEST + 1)
    named = Descriptor(media_type="x/y", digest=digest_of(large), size=len(large)).to_json()
    assert embedding(named, large) == named
    assert embedded({**named, "data": base64.b64encode(large * 2).decode()}) is None
    assert embedded(NAMED) is None
    assert embedded({**NAMED, "data": 5}) is None


@pytest.mark.parametrize("data", ["", "e30=", "!", base64.b64encode(CONTENT[:-1] + b" ").decode(), "é"])
def test_what_is_not_what_the_descriptor_names_is_refused(data: str) -> None:
    with pytest.raises(VerificationError, match="embedded in a descriptor is not"):
        embedded({**NAMED, "data": data})
