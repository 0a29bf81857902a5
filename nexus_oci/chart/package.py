"""Packages a chart folder into the two blobs that Helm pulls: the archive, and Chart.yaml as JSON.

The same folder, versions, values and epoch give the same bytes, whoever reads it and in whatever order. Helm's OCI
support (helm.sh/docs/topics/registries): config `application/vnd.cncf.helm.config.v1+json`, one layer
`application/vnd.cncf.helm.chart.content.v1.tar+gzip`; both names are in `nexus_oci.oci.media_types`.
"""

from __future__ import annotations

import io
import re
import stat
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from nexus_oci.chart.ignore import IgnoreRules
from nexus_oci.chart.yaml_edit import set_scalars
from nexus_oci.errors import DefinitionError
from nexus_oci.oci.values import canonical_json

MAX_FILE_SIZE = 5 * 1024 * 1024
"""Bytes. Helm refuses to load a chart that holds a larger file."""
MAX_CHART_SIZE = 100 * 1024 * 1024
"""Bytes, uncompressed. Helm refuses to load a larger chart."""

_FIRST = ("Chart.yaml", "Chart.lock", "values.yaml", "values.schema.json")
"""What Helm itself puts first in an archive, so that a reader need not unpack the rest to know the chart."""
_NAME = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*\Z")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}\Z")
_LEVEL = 9


@dataclass(frozen=True, kw_only=True)
class PackagedChart:
    """A chart ready for the store: its name and version, the .tgz, and the config JSON."""

    name: str
    version: str
    archive: bytes
    """Media type `application/vnd.cncf.helm.chart.content.v1.tar+gzip`."""
    config: bytes
    """Media type `application/vnd.cncf.helm.config.v1+json`."""

    @property
    def file_name(self) -> str:
        """What Helm calls the archive on disk: `<name>-<version>.tgz`."""
        return f"{self.name}-{self.version}.tgz"

    @property
    def tag(self) -> str:
        """The tag that Helm looks for in a registry."""
        return chart_tag(self.version)


def package_chart(chart_dir: Path, *, version: str, app_version: str, values: Mapping[str, object], epoch: int) -> PackagedChart:
    """Package the chart in `chart_dir` as `version`, deploying `app_version`.

    `values` are written into values.yaml where the chart has those keys already (`yaml_edit.set_scalars`). `epoch`, in
    seconds since 1970, is the time of every file in the archive. Nothing is written to disk. Raises `DefinitionError`
    where the version is not SemVer 2.0.0, the folder is no chart that Helm would load, or a key is missing.
    """
    _check_version(version)
    if not app_version:
        raise DefinitionError("the chart's appVersion is empty", why="it is the version of the engine that it deploys")
    files = _read_tree(chart_dir)
    for name in ("Chart.yaml", "values.yaml"):
        if name not in files:
            raise DefinitionError(
                f"{chart_dir} is not a chart that can be released",
                why=f"it has no {name}, or .helmignore leaves it out",
            )
    edits = {"Chart.yaml": {"version": version, "appVersion": app_version}, "values.yaml": values}
    for name, scalars in edits.items():
        files[name] = set_scalars(_text(files[name], chart_dir / name), scalars, file=str(chart_dir / name)).encode()
    metadata = _metadata(files, chart_dir)
    return PackagedChart(
        name=metadata["name"],
        version=version,
        archive=_compress(_archive(files, folder=metadata["name"], epoch=epoch)),
        config=canonical_json(metadata),
    )


def chart_tag(version: str) -> str:
    """The tag of a chart's version in a registry: `+`, which no tag may hold, becomes `_`.

    Raises `DefinitionError` where the version is longer than a tag may be (128 characters) or is no version.
    """
    tag = version.replace("+", "_")
    if not _TAG.match(tag):
        raise DefinitionError(
            f"chart version {version[:200]!r} cannot be a tag", why="a tag has at most 128 letters, digits, . _ and -"
        )
    return tag


def _check_version(version: str) -> None:
    """Helm takes looser versions from a folder, but orders and finds only SemVer in a registry."""
    import semver

    if not semver.Version.is_valid(version):
        raise DefinitionError(
            f"chart version {version[:200]!r} is not a semantic version",
            why="Helm finds charts in a registry by SemVer 2.0.0",
            hint="write MAJOR.MINOR.PATCH, then -PRERELEASE or +BUILD if need be, as in 1.4.0-rc.1; no leading v",
        )
    chart_tag(version)


def _read_tree(chart_dir: Path) -> dict[str, bytes]:
    """Path in the chart to content, for every file that `.helmignore` does not leave out."""
    if not chart_dir.is_dir():
        raise DefinitionError(f"{chart_dir} is not a folder", why="a chart is a folder with a Chart.yaml")
    ignore_file = chart_dir / ".helmignore"
    rules = IgnoreRules.parse(_text(ignore_file.read_bytes(), ignore_file) if ignore_file.is_file() else "")
    files: dict[str, bytes] = {}
    total = 0
    for path in _walk(chart_dir, PurePosixPath(), rules):
        content = (chart_dir / path).read_bytes()
        total += len(content)
        if len(content) > MAX_FILE_SIZE or total > MAX_CHART_SIZE:
            raise DefinitionError(
                f"{chart_dir / path} makes the chart too large",
                why=f"Helm loads at most {MAX_FILE_SIZE} bytes a file and {MAX_CHART_SIZE} in all",
                hint="name it in .helmignore if it does not belong to the chart",
            )
        files[str(path)] = content
    return files


def _walk(root: Path, folder: PurePosixPath, rules: IgnoreRules) -> Iterator[PurePosixPath]:
    """Paths of the files below `folder`, relative to the chart."""
    for entry in sorted((root / folder).iterdir()):
        path = folder / entry.name
        mode = entry.lstat().st_mode
        if rules.ignores(path, folder=stat.S_ISDIR(mode)):
            continue
        if stat.S_ISDIR(mode):
            yield from _walk(root, path, rules)
        elif stat.S_ISREG(mode):
            yield path
        else:
            raise DefinitionError(
                f"{entry} is neither a file nor a folder",
                why="a chart's archive holds files only; a link could bring in what is outside the chart",
                hint="put the file itself there, or name it in .helmignore",
            )


def _text(content: bytes, path: Path) -> str:
    """`content` as UTF-8."""
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise DefinitionError(f"{path} is not UTF-8", why=str(error)) from error


def _metadata(files: Mapping[str, bytes], chart_dir: Path) -> dict[str, Any]:
    """Chart.yaml's content, checked as far as Helm would refuse it."""
    file = chart_dir / "Chart.yaml"
    try:
        data = yaml.safe_load(files["Chart.yaml"])
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise DefinitionError(f"{file} cannot be read", why=" ".join(str(error).split())[:300]) from error
    name = data.get("name")
    problems = []
    if data.get("apiVersion") != "v2":
        problems.append(f"apiVersion is {data.get('apiVersion')!r}; only v2 charts are packaged")
    if not isinstance(name, str) or not _NAME.match(name):
        problems.append(f"name is {name!r}; as a repository's name it has lower-case letters, digits and . _ - between")
    if data.get("type", "application") not in ("application", "library"):
        problems.append(f"type is {data['type']!r}; it is application or library")
    for dependency in data.get("dependencies") or ():
        chart = str(dependency.get("name") if isinstance(dependency, Mapping) else dependency)
        if not any(path.startswith((f"charts/{chart}/", f"charts/{chart}-")) for path in files):
            problems.append(f"dependency {chart!r} is not in charts/; run `helm dependency build` first")
    try:
        canonical_json(data)
    except TypeError as error:
        problems.append(f"a value cannot be JSON, as a registry needs it: {error}; put it in quotes")
    if problems:
        raise DefinitionError(f"{file} is not right", problems=tuple(f"{file}: {problem}" for problem in problems))
    return dict(data)


def _archive(files: Mapping[str, bytes], *, folder: str, epoch: int) -> bytes:
    """The tar: metadata first, the rest sorted by bytes, every entry of one owner, mode and time."""
    rest = sorted((name for name in files if name not in _FIRST), key=str.encode)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name in [*(first for first in _FIRST if first in files), *rest]:
            entry = tarfile.TarInfo(f"{folder}/{name}")
            entry.size, entry.mode, entry.mtime = len(files[name]), 0o644, epoch
            tar.addfile(entry, io.BytesIO(files[name]))
    return buffer.getvalue()


def _compress(data: bytes) -> bytes:
    """Gzip with neither name nor time, by the pinned encoder: the interpreter's own differs between machines."""
    from nexus_oci.oci.gzip import GzipWriter

    pieces: list[bytes] = []
    with GzipWriter(pieces.append, level=_LEVEL, workers=1) as writer:
        writer.write(data)
    return b"".join(pieces)
