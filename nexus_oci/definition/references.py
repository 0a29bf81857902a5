"""Faults that no single file shows: names that nothing has, blocks that do not go together, one thing defined twice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nexus_oci.definition.completion import default_base
from nexus_oci.definition.definition import Positions
from nexus_oci.definition.distribution_model import FORMATS, is_secret
from nexus_oci.definition.engine_model import RUNTIMES
from nexus_oci.definition.entitlement_model import check_entitlement
from nexus_oci.definition.package_model import ARCHIVES
from nexus_oci.definition.suggestions import did_you_mean
from nexus_oci.definition.yaml_nodes import Problem

if TYPE_CHECKING:
    from nexus_oci.definition.base_model import DebianBase, ImageBase
    from nexus_oci.definition.distribution_model import Distribution
    from nexus_oci.definition.nexus_model import NexusFile
    from nexus_oci.definition.package_model import PackagedFile
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
    yield from check_entitlement(references)
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
    if distribution.distribution == "runtime":
        yield from _package(references, key, checked, distribution)
    image = distribution.image
    if distribution.distribution == "sdk" and not image.files and checked.intact("image", "files"):
        yield references.problem(
            "image.files: an sdk consists of these files and folders, and there are none; write files: {/sdk: FOLDER}",
            *(key, "image", "files"),
        )
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
        if name != "all" and name not in FORMATS[distribution.distribution]:
            makers = " and ".join(repr(maker) for maker, formats in FORMATS.items() if name in formats)
            yield references.problem(f"formats: {name!r} is made for the distribution {makers} only", key, "formats", index)
    packages = [name for name in distribution.formats if name not in ("image", *ARCHIVES)]
    if runtime and packages:
        yield from _described(references, key, distribution, packages[0])


def _described(references: References, key: str, distribution: Distribution, name: str) -> Iterator[Problem]:
    """What a package has to say about itself: who answers for it, and under which licence it is given."""
    nexus = references.nexus
    for field, meaning, example in (
        ("maintainer", "a maintainer", "Name <mail@example.com>"),
        ("licenses", "a licence", "an SPDX expression such as Apache-2.0"),
    ):
        unknown = nexus.model is None or not nexus.intact("engine", field)
        if not unknown and nexus.model and not getattr(nexus.model.engine, field):
            yield references.problem(
                f"formats: {name!r} needs {meaning}: write engine.{field}, {example}, in images/nexus.yaml",
                *(key, "formats", distribution.formats.index(name)),
            )


def _package(references: References, key: str, checked: Checked[Distribution], distribution: Distribution) -> Iterator[Problem]:
    """Blocks of a package that contradict themselves or each other."""
    if not checked.intact("package"):
        return
    package = distribution.package
    if package.socket and not package.service:
        yield references.key_problem(
            "package.socket: systemd hands sockets to a service; write package.service too", key, "package", "socket"
        )
    if package.meta and package.meta.name == package.name:
        yield references.problem(f"package.meta.name: {package.name!r} is the package itself", key, "package", "meta", "name")
    for target, file in package.files.items():
        yield from _file(references, file, f"package.files.{target}", key, "package", "files", target)
    for format_, override in package.overrides.items():
        for target, file in override.files.items():
            where = (key, "package", "overrides", format_, "files", target)
            yield from _file(references, file, f"package.overrides.{format_}.files.{target}", *where)


def _file(references: References, file: PackagedFile, label: str, *where: str | int) -> Iterator[Problem]:
    sourceless = file.kind in ("directory", "link", "ghost")
    if sourceless and file.source:
        yield references.problem(f"{label}: a {file.kind} has no source; take it out, or write kind: file", *where, "source")
    elif not sourceless and not file.source:
        yield references.key_problem(f"{label}: the key 'source' is missing; it names a file of the engine's source", *where)
    if file.kind == "link" and not file.target:
        yield references.key_problem(f"{label}: the key 'target' is missing; it says where the link points", *where)
    elif file.kind != "link" and file.target:
        yield references.problem(f"{label}: only a link has a target; write kind: link", *where, "target")
    if file.config and file.kind != "file":
        yield references.problem(f"{label}: a {file.kind} is no configuration; take config out", *where, "config")


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
        name = default_base(distribution.distribution, nexus.model.engine.runtime)
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
