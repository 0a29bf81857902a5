"""Each runtime's settings, read back by a parser of their format."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from nexus_oci.errors import UsageError
from nexus_oci.mirror_config.containerd import hosts_toml
from nexus_oci.mirror_config.containers import registries_conf
from nexus_oci.mirror_config.docker import docker_files
from nexus_oci.mirror_config.helm import ChartImage, chart_values
from nexus_oci.mirror_config.k3s import registries_yaml
from nexus_oci.mirror_config.openshift import mirror_sets
from nexus_oci.mirror_config.redirect import Redirect, Written

REDIRECT = Redirect(name="Nexus", source="registry.example/team", mirror="mirror.site:5000/m/team")


def files(written: list[Written]) -> dict[str, str]:
    return {file.path: file.text for file in written}


@pytest.mark.parametrize(("source", "mirror", "address", "overrides"), [
    ("registry.example/team", "mirror.site/team", "https://mirror.site", False),
    ("registry.example/team", "mirror.site/a/b/team", "https://mirror.site/v2/a/b", True),
    ("registry.example", "mirror.site", "https://mirror.site", False),
    ("registry.example", "mirror.site/a", "https://mirror.site/v2/a", True),
])  # fmt: skip
def test_containerd_puts_a_path_before_names(source: str, mirror: str, address: str, overrides: bool) -> None:
    written = files(hosts_toml(Redirect(name="x", source=source, mirror=mirror)))
    hosts = tomllib.loads(written["containerd/certs.d/registry.example/hosts.toml"])
    assert hosts["server"] == "https://registry.example"
    assert hosts["host"] == {address: {"capabilities": ["pull", "resolve"], **({"override_path": True} if overrides else {})}}
    assert tomllib.loads(written["containerd/config.toml"])["plugins"]["io.containerd.cri.v1.images"]["registry"]["config_path"]


def test_containerd_cannot_rename_and_that_is_said() -> None:
    for mirror in ("mirror.site/other", "mirror.site/myteam", "mirror.site"):
        with pytest.raises(UsageError, match=f"cannot find registry.example/team at {mirror}"):
            hosts_toml(replace(REDIRECT, mirror=mirror))


def test_containerd_asks_the_mirror_alone_where_that_is_wanted() -> None:
    (hosts, pem, _) = hosts_toml(replace(REDIRECT, exclusive=True, authorities=("A\n", "B\n"), plain_http=True))
    assert tomllib.loads(hosts.text) == {
        "server": "http://mirror.site:5000/v2/m", "capabilities": ["pull", "resolve"], "override_path": True, "ca": "mirror.pem",
    }  # fmt: skip
    assert pem.text == "A\nB\n"
    assert "for everything of registry.example" in hosts.notes[0]


def test_containerd_knows_docker_hubs_other_name() -> None:
    written = files(hosts_toml(Redirect(name="x", source="docker.io", mirror="mirror.site")))
    assert tomllib.loads(written["containerd/certs.d/docker.io/hosts.toml"])["server"] == "https://registry-1.docker.io"


@pytest.mark.parametrize(("source", "mirror", "name", "found"), [
    ("registry.example/team", "mirror.site/m", "team/engine", "m/engine"),
    ("registry.example/team", "mirror.site/m", "teams/engine", "teams/engine"),
    ("registry.example/a.b", "mirror.site/m", "axb/engine", "axb/engine"),
    ("registry.example", "mirror.site/m", "team/engine", "m/team/engine"),
    ("registry.example/team", "mirror.site", "team/engine", "engine"),
])  # fmt: skip
def test_k3s_rewrites_what_is_below_the_namespace(source: str, mirror: str, name: str, found: str) -> None:
    (written,) = registries_yaml(Redirect(name="x", source=source, mirror=mirror))
    entry = yaml.safe_load(written.text)["mirrors"]["registry.example"]
    assert entry["endpoint"] == ["https://mirror.site"]
    ((pattern, target),) = entry["rewrite"].items()
    assert re.sub(pattern, target.replace("$1", r"\1"), name) == found


def test_k3s_rewrites_nothing_where_names_are_the_same() -> None:
    (written,) = registries_yaml(Redirect(name="x", source="registry.example/team", mirror="mirror.site/team"))
    assert "rewrite" not in yaml.safe_load(written.text)["mirrors"]["registry.example"]


def test_podman_and_crio_get_a_mirror_or_another_place() -> None:
    path = "containers/registries.conf.d/50-nexus.conf"
    assert tomllib.loads(files(registries_conf(REDIRECT))[path])["registry"] == [
        {"prefix": REDIRECT.source, "location": REDIRECT.source, "mirror": [{"location": REDIRECT.mirror}]}
    ]
    alone = files(registries_conf(replace(REDIRECT, exclusive=True, plain_http=True, authorities=("A",))))
    assert tomllib.loads(alone[path])["registry"] == [{"prefix": REDIRECT.source, "location": REDIRECT.mirror, "insecure": True}]
    assert alone["containers/certs.d/mirror.site:5000/nexus.crt"] == "A"
    look = yaml.safe_load(alone["containers/registries.d/nexus-mirror.yaml"])
    assert look == {"docker": {REDIRECT.mirror: {"use-sigstore-attachments": True}}}


def test_openshift_gets_digests_and_tags() -> None:
    (written,) = mirror_sets(REDIRECT)
    assert [one["kind"] for one in yaml.safe_load_all(written.text)] == ["ImageDigestMirrorSet", "ImageTagMirrorSet"]
    assert "insecureRegistries" in mirror_sets(replace(REDIRECT, plain_http=True))[0].notes[0]


def test_docker_has_mirrors_of_docker_hub_alone() -> None:
    hub = docker_files(Redirect(name="x", source="docker.io", mirror="mirror.site"))
    assert json.loads(files(hub)["docker/daemon.json"]) == {"registry-mirrors": ["https://mirror.site"]}
    other = docker_files(REDIRECT)
    assert "docker/daemon.json" not in files(other)
    assert "Docker Hub only" in other[0].notes[0]


@pytest.mark.parametrize(("name", "commands"), [
    ("engine:1", ["pull mirror.site:5000/m/team/engine:1", "tag mirror.site:5000/m/team/engine:1 registry.example/team/engine:1"]),
    ("registry.example/team/engine@sha256:0", ["pull mirror.site:5000/m/team/engine@sha256:0"]),
])  # fmt: skip
def test_dockers_script_pulls_and_names(tmp_path: Path, name: str, commands: list[str]) -> None:
    (tmp_path / "docker").write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / "docker").chmod(0o755)
    (tmp_path / "pull.sh").write_text(docker_files(REDIRECT)[0].text)
    done = subprocess.run(
        ["sh", str(tmp_path / "pull.sh"), name], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines() == commands


def test_helm_gets_the_repository_and_the_digest_where_the_chart_looks() -> None:
    image = ChartImage(
        chart="nexus", repository="engine", repository_value="image.name", digest_value="image.digest", digest="sha256:0", version="1.0",
    )  # fmt: skip
    values: Any = yaml.safe_load(files(chart_values(REDIRECT, image))["helm/values.yaml"])
    assert values == {"image": {"name": "mirror.site:5000/m/team/engine", "digest": "sha256:0"}}
    bare = yaml.safe_load(files(chart_values(REDIRECT, replace(image, digest=None)))["helm/values.yaml"])
    assert bare == {"image": {"name": "mirror.site:5000/m/team/engine"}}
