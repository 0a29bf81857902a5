"""Content that a descriptor carries itself (image-spec, descriptor.md, `data`): small things that need no question of their own.

Who reads it checks size and digest, as of anything else that the descriptor names.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from nexus_oci.errors import VerificationError
from nexus_oci.oci.values import Descriptor, digest_of

LARGEST = 4096
"""Bytes of what is embedded at most; with base64 a third more."""


def embedding(descriptor: Mapping[str, Any], content: bytes) -> dict[str, Any]:
    """A descriptor, as JSON, that carries its content, if that is small."""
    return {**descriptor, "data": base64.b64encode(content).decode()} if len(content) <= LARGEST else dict(descriptor)


def embedded(descriptor: Mapping[str, Any]) -> bytes | None:
    """The content that a descriptor, as JSON, carries; None where it carries none, or more than is read here.

    Raises `VerificationError` where it is not what digest and size say.
    """
    text = descriptor.get("data")
    if not isinstance(text, str) or len(text) > LARGEST * 2:
        return None
    named = Descriptor.from_json(descriptor)
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        content = b""
    if len(content) != named.size or digest_of(content, named.digest.algorithm) != named.digest:
        raise VerificationError(f"what is embedded in a descriptor is not {named.digest}", why="its size or digest is another")
    return content
