"""What every model of the definition has in common."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, BeforeValidator, ConfigDict


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


Written = BeforeValidator(_not_nothing)
"""For fields that may be left out but, once written, have a value: a key with nothing after it is a slip."""
