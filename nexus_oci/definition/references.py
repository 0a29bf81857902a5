"""Faults that no single file shows: names that nothing has, blocks that do not go together, one thing defined twice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nexus_oci.definition.completion import TARGET_BASES
from nexus_oci.definition.definition import Positions
from nexus_oci.definition.distribution_model import FORMATS, is_secret
from nexus_oci.definition.engine_model import RUNTIMES
from nexus_oci.definition.suggestions import did_you_mean
from nexus_oci.definition.yaml_nodes import Problem

if TYPE_CHECKING:
    from nexus_oci.definition.base_model import DebianBase, ImageBase
    from nexus_oci.definition.distribution_model import Distribution
    from nexus_oci.definition.nexus_model import NexusFile
    from nexus_oci.definition.salvage import Checked


_PRIVATE_KEY = "PRIVATE KEY-----"
_OWN_LABEL = "org.opencontainers.image."


@dataclass(frozen=True, kw_only=True)
class References:
    """What the checks look at. A check whose subject was taken out by `salvage` says nothing: its fault is known."""

    nexus: Checked[NexusFile]
    distributions: Sequence[tuple[str, Checked[Distribution]]]
    """The key in `positions`, and what came of the file."""
    bases: Mapping[str, DebianBase | ImageBase]
    """The bases without faults."""
    base_names: frozenset[str] | None
    """The names of all bases, or None where a file of them could not be read."""
    positions: Positions

    def problem(self, message: str, *path: str | int) -> Problem:
        """A problem with the value at `path`."""
        return Problem(self.positions.find_value(*path), message)

    def key_problem(self, message: str, *path: str | int) -> Problem:
        """A problem with the key at `path`."""
        return Problem(self.positions.find(*path), message)


def check(references: References) -> Iterator[Problem]:
    """Every fault in how the files refer to each other."""
    yield from _runtime_blocks(references)
    yield from _command(references)
    yield from _trees(references)
    yield from _duplicates(references)
    yield from _chart(references)
    for key, checked in references.distributions:
        if checked.model is not None:
            yield from _distribution(references, key, checked, checked.model)


def _runtime_blocks(references: References) -> Iterator[Problem]:
    nexus = references.nexus.model
    if nexus is None or not references.nexus.intact("engine", "runtime"):
        return
    node = references.positions.documents["nexus"]
    engine = node.entries["engine"].value if node.entries and "engine" in node.entries else node
    for runtime in RUNTIMES:
        if runtime != nexus.engine.runtime and engine.entries and runtime in engine.entries:
            yield references.key_problem(
                f"engine: the key {runtime!r} does not go with 'runtime: {nexus.engine.runtime}'; take it out, "
                f"or write 'runtime: {runtime}'",
                *("nexus", "engine", runtime),
            )


def _command(references: References) -> Iterator[Problem]:
    nexus = references.nexus.model
    if nexus is None or not references.nexus.intact("engine", "command") or nexus.engine.command:
        return
    engine = nexus.engine
    if not references.nexus.intact("engine", "runtime") or not references.nexus.intact("engine", engine.runtime):
        return
    if engine.runtime == "node" and not engine.node.entry:
        advice = "write node: {entry: server.js}, or command: [node, server.js]"
    elif engine.runtime in ("python", "binary"):
        word = "python3, server.py" if engine.runtime == "python" else engine.name
        advice = f"nothing tells what to run: write command: [{word}]"
    else:
        return
    yield references.problem(
        f"engine: the key 'command' is missing for 'runtime: {engine.runtime}'; {advice}", "nexus", "engine", "runtime"
    )


def _trees(references: References) -> Iterator[Problem]:
    checked, nexus = references.nexus, references.nexus.model
    whole = checked.intact("engine", "runtime") and checked.intact("engine", "binary") and checked.intact("platforms")
    if nexus is None or not whole or nexus.engine.runtime != "binary":
        return
    for platform in nexus.platforms:
        if str(platform) not in nexus.engine.binary.trees:
            yield references.problem(
                f"engine: no tree is built for {platform}; write binary: {{trees: {{{platform}: FOLDER}}}}, "
                "or leave the platform out of 'platforms'",
                *("nexus", "engine", "binary", "trees"),
            )


def _duplicates(references: References) -> Iterator[Problem]:
    seen: dict[str, str] = {}
    repositories: dict[str, str] = {}
    for key, checked in references.distributions:
        if checked.model is None or not checked.intact("distribution"):
            continue
        name = checked.model.distribution
        if name in seen:
            first = references.positions.find(seen[name], "distribution")
            yield references.problem(f"the distribution {name!r} is defined twice, first at {first}", key, "distribution")
            continue
        seen[name] = key
        repository = checked.model.repository or name
        if repository in repositories:
            first = references.positions.find(repositories[repository], "repository")
            yield references.problem(
                f"repository: {repository!r} is also the repository at {first}; each needs its own", key, "repository"
            )
        repositories.setdefault(repository, key)


def _chart(references: References) -> Iterator[Problem]:
    nexus = references.nexus.model
    chart = nexus.chart if nexus else None
    known = [checked.model.distribution for _, checked in references.distributions if checked.model]
    if chart is None or len(known) < len(references.distributions) or chart.distribution in known:
        return
    if "distribution" in chart.model_fields_set or not known:
        yield references.problem(
            f"chart.distribution: there is no distribution {chart.distribution!r}" + did_you_mean(chart.distribution, known),
            *("nexus", "chart", "distribution"),
        )


def _distribution(
    references: References, key: str, checked: Checked[Distribution], distribution: Distribution
) -> Iterator[Problem]:
    yield from _base(references, key, checked, distribution)
    yield from _environment(references, key, distribution)
    yield from _offered(references, key, checked, distribution)
    yield from _formats(references, key, checked, distribution)
    image = distribution.image
    if image.user == 0 and not image.allow_root and checked.intact("image", "user"):
        yield references.problem(
            "image.user: found the number 0, which is root; leave it out (65532), or write allow-root: true",
            *(key, "image", "user"),
        )


def _offered(references: References, key: str, checked: Checked[Distribution], distribution: Distribution) -> Iterator[Problem]:
    """A distribution is for some of the definition's platforms and tiers, never for others."""
    nexus = references.nexus.model
    if nexus is None:
        return
    for section, all_values, values in (
        ("platforms", nexus.platforms, distribution.platforms),
        ("tiers", nexus.tiers, distribution.tiers),
    ):
        if not references.nexus.intact(section) or not checked.intact(section):
            continue
        known = [str(value) for value in all_values]
        for index, value in enumerate(values):
            if str(value) not in known:
                yield references.problem(
                    f"{section}: {str(value)!r} is not among the definition's {section} ({', '.join(known)})",
                    *(key, section, index),
                )


def _formats(references: References, key: str, checked: Checked[Distribution], distribution: Distribution) -> Iterator[Problem]:
    runtime = distribution.distribution == "runtime"
    if not runtime and "package" in distribution.model_fields_set:
        yield references.key_problem("the key 'package' goes with 'distribution: runtime' only", key, "package")
    if not checked.intact("formats"):
        return
    for index, name in enumerate(distribution.formats):
        if name not in FORMATS[distribution.distribution]:
            yield references.problem(f"formats: {name!r} is made for the distribution 'runtime' only", key, "formats", index)
    nexus = references.nexus
    named = nexus.model is None or not nexus.intact("engine", "maintainer") or bool(nexus.model.engine.maintainer)
    if runtime and "deb" in distribution.formats and not named:
        yield references.problem(
            "formats: 'deb' needs a maintainer: write engine.maintainer, Name <mail>, in images/nexus.yaml",
            *(key, "formats", distribution.formats.index("deb")),
        )


def _environment(references: References, key: str, distribution: Distribution) -> Iterator[Problem]:
    """Secrets in what everyone can read. No message repeats a value."""
    for name, value in distribution.image.environment.items():
        if (is_secret(name) and value) or _PRIVATE_KEY in value:
            yield references.key_problem(
                f"image.environment: {name!r} holds a secret, and everyone who can pull an image can read it there; "
                f"take it out and give it when the engine starts (a Kubernetes Secret, a file named by {name}_FILE)",
                *(key, "image", "environment", name),
            )
    for name, value in distribution.image.labels.items():
        if _PRIVATE_KEY in value:
            yield references.key_problem(f"image.labels: {name!r} holds a private key", key, "image", "labels", name)
        if name.startswith(_OWN_LABEL):
            yield references.key_problem(
                f"image.labels: {name!r} is written by the build, from what the definition says about the engine",
                *(key, "image", "labels", name),
            )


def _base(references: References, key: str, checked: Checked[Distribution], distribution: Distribution) -> Iterator[Problem]:
    nexus, bases, names = references.nexus, references.bases, references.base_names
    if names is None or not checked.intact("base"):
        return
    name = distribution.base
    if not name:
        if nexus.model is None or not nexus.intact("engine", "runtime"):
            return
        name = TARGET_BASES[nexus.model.engine.runtime]
    targets = sorted(base for base in names if base not in bases or bases[base].for_ == "target")
    if name not in names:
        known = f"; there are {', '.join(targets)}" if targets else "; write one under 'bases', in images/nexus.yaml"
        meant = did_you_mean(name, targets) or known
        yield references.problem(f"base: there is no base {name!r}{meant}", key, "base")
    elif name in bases and bases[name].for_ != "target":
        yield references.problem(
            f"base: {name!r} is for building ('for: build'); an image stands on one of {', '.join(targets)}",
            key,
            "base",
        )
