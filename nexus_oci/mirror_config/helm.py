"""Helm: values that make the chart name its image in the mirror, by the digest that it had before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nexus_oci.mirror_config.redirect import Redirect, Written


@dataclass(frozen=True, kw_only=True)
class ChartImage:
    """The chart, the repository of the image that it runs (below the namespace), and where its values name both parts.

    `digest` is what is to be written; nothing where the chart's own is left as it is.
    """

    chart: str
    repository: str
    repository_value: str
    digest_value: str
    digest: str | None = None
    version: str | None = None


def chart_values(redirect: Redirect, image: ChartImage) -> list[Written]:
    """`values.yaml` and, for command lines, the same as arguments."""
    import yaml

    pairs = {image.repository_value: f"{redirect.mirror}/{image.repository}"}
    if image.digest is not None:
        pairs[image.digest_value] = image.digest
    options = [f"--version {image.version}"] if image.version else []
    options += ["--ca-file ca.pem"] if redirect.authorities else []
    options += ["--plain-http"] if redirect.plain_http else []
    command = " ".join(["helm install NAME", f"oci://{redirect.mirror}/charts/{image.chart}", *options, "-f values.yaml"])
    text = f"# {command}\n" + yaml.safe_dump(_nested(pairs), sort_keys=False)
    files = [
        Written(path="helm/values.yaml", text=text),
        Written(path="helm/arguments", text="".join(f"--set-string {key}={value}\n" for key, value in pairs.items())),
    ]
    if redirect.authorities:
        files.append(Written(path="helm/ca.pem", text=redirect.certificates))
    return files


def _nested(pairs: Mapping[str, str]) -> dict[str, Any]:
    """Values by their dotted paths, as a tree."""
    tree: dict[str, Any] = {}
    for path, value in pairs.items():
        *parents, last = path.split(".")
        place = tree
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return tree
