"""k3s and RKE2: `registries.yaml` (k3s, "Private Registry Configuration"), with `mirrors` and their `rewrite` rules."""

from __future__ import annotations

from typing import Any

from nexus_oci.mirror_config.redirect import Redirect, Written

_FOLDER = "/etc/rancher/k3s"
_ALONE = """\
# The original registry is not asked when the mirror has not got an image.
disable-default-registry-endpoint: true
"""


def registries_yaml(redirect: Redirect) -> list[Written]:
    """`registries.yaml`, and what it needs beside it. RKE2 has the same files in `/etc/rancher/rke2`."""
    import yaml

    mirror: dict[str, Any] = {"endpoint": [redirect.address]}
    if redirect.mirror_path != redirect.source_path:
        mirror["rewrite"] = {_pattern(redirect.source_path): f"{redirect.mirror_path}/$1".lstrip("/")}
    document: dict[str, Any] = {"mirrors": {redirect.source_host: mirror}}
    files = []
    if redirect.authorities:
        file = f"{redirect.slug}-mirror.pem"
        document["configs"] = {redirect.mirror_host: {"tls": {"ca_file": f"{_FOLDER}/{file}"}}}
        files.append(Written(path=f"k3s/{file}", text=redirect.certificates))
    if redirect.exclusive:
        files.append(Written(path=f"k3s/config.yaml.d/{redirect.slug}-mirror.yaml", text=_ALONE))
    head = f"# {redirect.source} comes from {redirect.mirror}. Goes to {_FOLDER}; k3s reads it when it starts.\n"
    text = head + yaml.safe_dump(document, sort_keys=False, width=120)
    return [Written(path="k3s/registries.yaml", text=text), *files]


def _pattern(path: str) -> str:
    """A regular expression (Go's) for the names below a namespace."""
    escaped = path.replace(".", "\\.")
    return f"^{escaped}/(.*)$" if path else "^(.*)$"
