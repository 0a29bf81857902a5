"""The definition: what the user writes in `images/`, read, checked and completed.

Importing this package costs nothing: YAML, pydantic and the models are loaded by the first call that needs them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from nexus_oci.definition.definition import Definition

__all__ = ["check_sources", "effective", "load"]


def load(root: Path, *, defaults: Path | None) -> Definition:
    """Read `root`/images/nexus.yaml and the distributions beside it, and fill in every default.

    `defaults` is the folder of what the program ships, with images/bases.yaml; the project's own bases stand in for
    those of the same name. Whether the files exist that the definition names is `check_sources`' question.
    Raises `DefinitionError`: where there is no definition, or it is wrong; then with the problems of all files.
    """
    from nexus_oci.definition.loader import load_definition

    return load_definition(root, defaults)


def effective(definition: Definition) -> dict[str, Any]:
    """The definition with every default written out, as JSON data."""
    from nexus_oci.definition.definition import effective as written_out

    return written_out(definition)


def check_sources(definition: Definition, root: Path, *, source: Path | None = None) -> tuple[str, ...]:
    """The files that the definition names and that are not there, as `file:line:column: message`.

    `source` is the checked-out folder of an engine whose source is a git repository; without it only what lies in the
    project at `root` is looked at.
    """
    from nexus_oci.definition.sources import missing

    return tuple(str(problem) for problem in missing(definition, root, source))
