"""Helm's own code, for tests: what a user's `helm` does with a chart, a registry and values.

PyPI's helm-python-sdk wraps Helm's Go library. It has wheels for some platforms only, so a test that needs it says so
by name when it is not there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

if TYPE_CHECKING:
    from types import ModuleType


class HelmRefusedError(Exception):
    """Helm would not lint, render or pull; the text is Helm's own."""


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """What Helm makes of a chart: its objects, and the notes that it prints."""

    objects: tuple[dict[str, Any], ...]
    notes: str

    def kinds(self) -> list[str]:
        """The kinds of the objects, sorted, hooks included."""
        return sorted(item["kind"] for item in self.objects)

    def one(self, kind: str) -> dict[str, Any]:
        """The only object of this kind that is no test hook."""
        (found,) = [item for item in self.objects if item["kind"] == kind and not _is_hook(item)]
        return found


def helm_sdk() -> ModuleType:
    """The `helm_python` module; the test is skipped, naming the package, where it cannot be loaded."""
    try:
        import helm_python
    except Exception as error:  # noqa: BLE001  a missing wheel, or a library for another machine
        pytest.skip(f"helm-python-sdk is missing (PyPI; linux/amd64 wheels): {error}")
    return helm_python


def helm_lint(chart: Path, values: Mapping[str, Any] | None = None) -> list[str]:
    """What `helm lint --strict` finds in a folder or an archive: warnings and errors, none where all is well."""
    helm = helm_sdk()
    report = helm.lint(chart, dict(values or {}), strict=True)
    serious = [f"{message['path']}: {message['error']}" for message in report["messages"] if message["severity"] >= 2]
    return serious + [error for error in report["errors"] if not any(error in line for line in serious)]


def helm_render(
    chart: Path | bytes, values: Mapping[str, Any] | None = None, *, name: str = "demo", namespace: str = "engines"
) -> Rendered:
    """What `helm template` makes of a folder, an archive on disk or an archive's bytes.

    Values are checked against values.schema.json first, as `helm install` does. Raises `HelmRefusedError`.
    """
    helm = helm_sdk()
    given = dict(values or {})
    load = helm.Chart.load_archive if isinstance(chart, bytes) else helm.Chart.load
    try:
        with load(chart) as loaded:
            loaded.validate_schema(given)
            files: dict[str, str] = loaded.render(given, name=name, namespace=namespace)
    except helm.HelmError as error:
        raise HelmRefusedError(str(error)) from error
    objects = [
        item
        for path, text in sorted(files.items())
        if path.endswith((".yaml", ".yml"))
        for item in yaml.load_all(text, Loader=UniqueKeyLoader)
        if item
    ]
    notes = "".join(text for path, text in files.items() if path.endswith("NOTES.txt"))
    return Rendered(objects=tuple(objects), notes=notes)


def helm_pull(ref: str, dest: Path, plain_http: bool = True) -> Path:
    """Pull a chart as `helm pull oci://…` does, and return the archive's path in `dest`.

    `ref` is `HOST[:PORT]/NAMESPACE/…/CHART` with `:VERSION`, `@DIGEST` or neither (then the newest version), with or
    without `oci://` before it. The version may be written as a tag, with `_` for `+`. Helm's own login is not used:
    credentials come from no file. Raises `HelmRefusedError`.
    """
    helm = helm_sdk()
    repository, version = ref.removeprefix("oci://"), None
    head, colon, last = repository.rpartition(":")
    if "@" not in repository and colon and "/" not in last:
        repository, version = head, last.replace("_", "+")
    dest.mkdir(parents=True, exist_ok=True)
    before = set(dest.iterdir())
    try:
        with helm.RegistryClient(plain_http=plain_http, credentials_file=dest / ".no-credentials.json") as client:
            client.pull(f"oci://{repository}", destination=dest, version=version, plain_http=plain_http)
    except helm.HelmError as error:
        raise HelmRefusedError(str(error)) from error
    (archive,) = [path for path in set(dest.iterdir()) - before if path.suffix == ".tgz"]
    return archive


class UniqueKeyLoader(yaml.SafeLoader):
    """YAML as Kubernetes reads it strictly: a key given twice is an error, where PyYAML would keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """The mapping, once its keys are known to differ."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = {key for key in keys if keys.count(key) > 1}
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"given twice: {sorted(twice)}", node.start_mark)
        return dict(super().construct_mapping(node, deep=deep))


def _is_hook(item: Mapping[str, Any]) -> bool:
    """Whether Helm runs the object at some moment, instead of installing it."""
    return "helm.sh/hook" in (item["metadata"].get("annotations") or {})
