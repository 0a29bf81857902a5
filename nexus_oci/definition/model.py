"""What every model of the definition has in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, BeforeValidator, ConfigDict

from nexus_oci.definition.suggestions import nearest


def _spelling(name: str) -> str:
    """How a field is written in YAML: `working_directory` is `working-directory`; Python's own words end in `_`."""
    return name.rstrip("_").replace("_", "-")


def _not_nothing(value: Any) -> Any:
    if value is None:
        raise ValueError("expected a value; leave the key out, or write {} for all defaults")
    return value


class Model(BaseModel):
    """A frozen model that refuses unknown keys. The text under a field is its description in the JSON schema."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=_spelling, defer_build=True)


def shape_of(value: Any, *shapes: str) -> str | None:
    """Which shape a mapping, or a model made from one, has: told by a key that only it has, or the nearest to one."""
    if isinstance(value, Model):
        return next((shape for shape in shapes if hasattr(value, shape)), None)
    if not isinstance(value, Mapping):
        return None
    named = next((shape for shape in shapes if shape in value), None)
    return named or next((near for key in value if (near := nearest(str(key), shapes))), None)


Written = BeforeValidator(_not_nothing)
"""For fields that may be left out but, once written, have a value: a key with nothing after it is a slip."""
