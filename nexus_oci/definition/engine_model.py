"""The engine, as `images/nexus.yaml` describes it: where it comes from, its version, and how it is built."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, StrictBool, Tag

from nexus_oci.definition.model import Model, shape_of
from nexus_oci.definition.scalars import (
    Commit,
    FileName,
    GitUrl,
    GoPackage,
    GoTag,
    GoVariable,
    InsidePath,
    Licence,
    Line,
    Maintainer,
    Name,
    PlatformKey,
    Prefix,
    SemanticVersion,
    Unique,
    Url,
    Words,
)
from nexus_oci.definition.suggestions import did_you_mean

Runtime = Literal["go", "python", "node", "binary"]
RUNTIMES: Final[tuple[Runtime, ...]] = ("go", "python", "node", "binary")

_PLACEHOLDERS = ("version", "commit")


def _version_shape(value: Any) -> str | None:
    if isinstance(value, str):
        return "<literal>"
    shape = shape_of(value, "file", "git")
    return f"<{shape}>" if shape else None


def _source_shape(value: Any) -> str | None:
    shape = shape_of(value, "git", "commit", "path")
    return None if shape is None else "<path>" if shape == "path" else "<git>"


def _short_source(value: Any) -> Any:
    return {"path": value} if isinstance(value, str) else value


def _filled_later(text: str) -> str:
    """The value of a linker variable: only the placeholders that the build knows."""
    for name in re.findall(r"\{([^{}]*)\}", text):
        if name not in _PLACEHOLDERS:
            meant = did_you_mean(name, _PLACEHOLDERS) or "; expected {version} or {commit}"
            raise ValueError(f"'{{{name}}}' is filled in by nothing{meant}")
    if re.search(r"[{}]", re.sub(r"\{[^{}]*\}", "", text)):
        raise ValueError("expected text whose braces only enclose {version} or {commit}")
    return text


class FileVersion(Model):
    """A version that is read from a file."""

    file: InsidePath
    """A file that holds the version and nothing else; relative to the project, or to a git source's root."""


class GitVersion(Model):
    """A version that is read from git's tags."""

    git: Literal["tag"]
    """`tag`: the tag at the commit that is built. A later commit gets the next version, with `-dev` and a count."""
    prefix: Prefix = "v"
    """What the tags have in front of the version."""


class PathSource(Model):
    """Source that lies in the project."""

    path: InsidePath
    """The folder of the engine's source, relative to the project; `.` is the project itself."""
    ignore: Annotated[tuple[Line, ...], Unique] = ()
    """Patterns of files to leave out, as in .gitignore, beside those that are left out in any case (.git, node_modules,
    .venv, __pycache__ and their like)."""


class GitSource(Model):
    """Source that is fetched from a git repository, at one commit."""

    git: GitUrl
    """The repository's address, without credentials."""
    commit: Commit
    """The full commit, so that the source is the same tomorrow."""
    path: InsidePath = "."
    """The folder of the source inside the repository."""
    ignore: Annotated[tuple[Line, ...], Unique] = ()
    """Patterns of files to leave out."""


class Go(Model):
    """How a Go engine is built."""

    package: GoPackage = "."
    """The main package, relative to the source."""
    binary: FileName = ""
    """What the binary is called. Default: the engine's name."""
    tags: Annotated[tuple[GoTag, ...], Unique] = ()
    """Build tags."""
    variables: Mapping[GoVariable, Annotated[Line, AfterValidator(_filled_later)]] = {}
    """String variables that the linker sets (-X); `{version}` and `{commit}` are filled in."""


class Python(Model):
    """How a Python engine is installed."""

    requirements: InsidePath = ""
    """The locked requirements, relative to the source; `none` for an engine that has none. Default: requirements.txt,
    or none where the project itself is installed."""
    project: StrictBool = False
    """Whether the source is itself a project that pip installs (pyproject.toml)."""
    include: Annotated[tuple[InsidePath, ...], Unique] = (".",)
    """The files and folders of the source that go into the image, where the project is not installed."""


class Node(Model):
    """How a Node engine is installed. Its packages come from package.json and package-lock.json."""

    entry: InsidePath = ""
    """The script that node runs, relative to the source."""
    include: Annotated[tuple[InsidePath, ...], Unique] = (".",)
    """The files and folders of the source that go into the image."""


class Binary(Model):
    """An engine that was built elsewhere."""

    trees: Mapping[PlatformKey, InsidePath] = {}
    """For each platform the folder, relative to the source, that is taken as it is."""


class Engine(Model):
    """The product that is packaged. Packaging never changes it."""

    name: Name
    """What packages, charts and files are called."""
    title: Line = ""
    """What people call it. Default: the name."""
    description: str = ""
    """What it does, in a sentence."""
    vendor: Line = ""
    """Who distributes it."""
    maintainer: Maintainer = ""
    """Who answers for the packages, as in `Name <mail@example.com>`. Needed for deb."""
    url: Url = ""
    """The home page."""
    documentation: Url = ""
    """Where the documentation is."""
    licenses: Licence = ""
    """The license, as an SPDX expression."""
    version: Annotated[
        Annotated[SemanticVersion, Tag("<literal>")]
        | Annotated[FileVersion, Tag("<file>")]
        | Annotated[GitVersion, Tag("<git>")],
        Discriminator(
            _version_shape,
            custom_error_type="shape",
            custom_error_message="a version in quotes, {file: PATH}, or {git: tag}",
        ),
    ]
    """A semantic version, the file that holds it, or git's tags."""
    source: Annotated[
        Annotated[
            Annotated[PathSource, Tag("<path>")] | Annotated[GitSource, Tag("<git>")],
            Discriminator(
                _source_shape,
                custom_error_type="shape",
                custom_error_message="a folder, or {git: ADDRESS, commit: ID, path: FOLDER}",
            ),
        ],
        BeforeValidator(_short_source),
    ]
    """Where the source is: a folder of the project, or a commit of a git repository."""
    runtime: Runtime
    """What the engine is made with; decides the template that builds it."""
    command: Words = ()
    """What the images run: program and arguments. Default: a Go engine's binary, or node and a Node engine's entry."""
    go: Go = Go()
    """For `runtime: go`."""
    python: Python = Python()
    """For `runtime: python`."""
    node: Node = Node()
    """For `runtime: node`."""
    binary: Binary = Binary()
    """For `runtime: binary`."""
    components: Annotated[tuple[Name, ...], Unique] = ()
    """The parts that the engine consists of; recorded, never interpreted."""
    features: Annotated[tuple[Name, ...], Unique] = ()
    """What the engine was built with; recorded in labels and metadata.json."""
