"""Docker's configuration file and its helpers."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from nexus_oci.errors import RegistryError
from nexus_oci.registry.credentials import find
from nexus_oci.registry.settings import docker_config_file

AUTH = base64.b64encode(b"ann:se:cret").decode()


def config(folder: Path, **data: object) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps(data))
    return path


@pytest.fixture
def helpers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on PATH for credential helpers."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder


def helper(folder: Path, name: str, script: str) -> None:
    path = folder / f"docker-credential-{name}"
    path.write_text(f"#!/bin/sh\nread server\n{script}\n")
    path.chmod(0o755)


@pytest.mark.parametrize("key", ["registry.example:5000", "https://registry.example:5000/v1/", "http://registry.example:5000"])
def test_an_auth_entry_is_found_under_every_form_of_its_host(tmp_path: Path, key: str) -> None:
    found = find("registry.example:5000", config(tmp_path, auths={key: {"auth": AUTH}}))
    assert found is not None
    assert (found.username, found.password) == ("ann", "se:cret")
    assert "cret" not in repr(found)


def test_a_host_gets_only_its_own_entry(tmp_path: Path) -> None:
    path = config(tmp_path, auths={"registry.example": {"auth": AUTH}})
    for host in ("registry.example:5000", "other.registry.example", "example", "registry.example.evil"):
        assert find(host, path) is None


@pytest.mark.parametrize("host", ["docker.io", "index.docker.io", "registry-1.docker.io"])
def test_docker_hub_is_found_under_its_historical_key(tmp_path: Path, host: str) -> None:
    assert find(host, config(tmp_path, auths={"https://index.docker.io/v1/": {"auth": AUTH}})) is not None


def test_an_entry_without_content_is_no_credential(tmp_path: Path) -> None:
    assert find("registry.example", config(tmp_path, auths={"registry.example": {}})) is None
    assert find("registry.example", tmp_path / "absent.json") is None
    assert find("registry.example", None) is None


def test_the_hosts_own_helper_comes_before_store_and_file(tmp_path: Path, helpers: Path) -> None:
    helper(helpers, "own", """printf '{"Username":"bob","Secret":"for %s"}' "$server" """)
    path = config(
        tmp_path,
        auths={"registry.example": {"auth": AUTH}},
        credsStore="missing",
        credHelpers={"registry.example": "own"},
    )
    found = find("registry.example", path)
    assert found is not None
    assert (found.username, found.password) == ("bob", "for registry.example")


def test_a_store_that_has_nothing_leaves_the_file_to_answer(tmp_path: Path, helpers: Path) -> None:
    helper(helpers, "desk", "echo 'credentials not found in native keychain'; exit 1")
    path = config(tmp_path, auths={"registry.example": {"auth": AUTH}}, credsStore="desk")
    found = find("registry.example", path)
    assert found is not None
    assert found.username == "ann"


def test_a_helper_may_give_an_identity_token(tmp_path: Path, helpers: Path) -> None:
    helper(helpers, "own", """echo '{"Username":"<token>","Secret":"refresh-me"}'""")
    found = find("registry.example", config(tmp_path, credsStore="own"))
    assert found is not None
    assert found.identity_token == "refresh-me"
    assert found.basic is None


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo 'keychain is locked'; exit 1", "failed for registry.example"),
        ("echo nonsense", "gave no credential"),
    ],
)
def test_a_helper_that_fails_is_named(tmp_path: Path, helpers: Path, script: str, message: str) -> None:
    helper(helpers, "own", script)
    with pytest.raises(RegistryError, match=message):
        find("registry.example", config(tmp_path, credsStore="own"))


@pytest.mark.usefixtures("helpers")
def test_a_helper_that_is_not_installed_is_named(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="docker-credential-absent is not installed"):
        find("registry.example", config(tmp_path, credsStore="absent"))


def test_a_helper_name_cannot_leave_its_folder(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="is not a credential helper"):
        find("registry.example", config(tmp_path, credsStore="x/../../evil"))


@pytest.mark.parametrize("text", ["{", "[]", '{"auths": [1]}', '{"auths": {"registry.example": {"auth": "%%"}}}'])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(RegistryError, match=r"config\.json cannot be read|auths"):
        find("registry.example", path)


def test_docker_config_names_the_folder() -> None:
    assert docker_config_file({"DOCKER_CONFIG": "/etc/ours", "HOME": "/home/ann"}) == Path("/etc/ours/config.json")
    assert docker_config_file({"HOME": "/home/ann"}) == Path("/home/ann/.docker/config.json")
    assert docker_config_file({}) is None
