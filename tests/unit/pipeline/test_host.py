"""What a build stage is told of the host: authorities, proxies, indexes; no passwords."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from nexus_oci.pipeline.host import trust_files


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "ca.pem").write_text("CERTIFICATES")
    return {"HOME": str(tmp_path), "SSL_CERT_FILE": str(tmp_path / "ca.pem")}


def told(environment: dict[str, str]) -> tuple[dict[str, str], list[str]]:
    """The environment that a stage's shell has after reading the file, and what the user was told."""
    said: list[str] = []
    text = trust_files(environment, said.append)["trust/environment"]
    shell = subprocess.run(["/bin/sh", "-c", ". /dev/stdin; /usr/bin/env"], input=text, capture_output=True, check=True, env={})
    return dict(line.split("=", 1) for line in shell.stdout.decode().splitlines()), said


def test_the_hosts_authorities_are_what_every_tool_trusts(home: dict[str, str]) -> None:
    assert trust_files(home, print)["trust/ca.crt"] == b"CERTIFICATES"
    found, said = told(home)
    assert found["SSL_CERT_FILE"] == found["PIP_CERT"] == found["NODE_EXTRA_CA_CERTS"] == "/run/trust/ca.crt"
    assert said == []


def test_proxies_and_indexes_are_passed_on_and_nothing_else(home: dict[str, str]) -> None:
    given = {
        "HTTPS_PROXY": "http://proxy.example:3128",
        "NO_PROXY": "a.example,b.example",
        "GOPROXY": "https://go.example",
        "SECRET": "x",
    }
    found, _ = told(home | given)
    assert {name: found.get(name) for name in given} == given | {"SECRET": None}


def test_a_password_in_an_address_stays_here_and_the_user_is_told(home: dict[str, str]) -> None:
    given = {
        "PIP_INDEX_URL": "https://ann:secret@index.example/simple", "HTTP_PROXY": "http://ann:se,cr@et@proxy.example:1",
        "PIP_EXTRA_INDEX_URL": "https://a.example/x https://ann:secret@b.example/@scope https://secret@c.example",
        "GOPROXY": "https://a.example,https://ann:secret@b.example|direct", "HTTPS_PROXY": "ann:secret@proxy.example:2",
    }  # fmt: skip
    found, said = told(home | given)
    assert {name: found[name] for name in given} == {
        "PIP_INDEX_URL": "https://index.example/simple", "HTTP_PROXY": "http://proxy.example:1",
        "PIP_EXTRA_INDEX_URL": "https://a.example/x https://b.example/@scope https://c.example",
        "GOPROXY": "https://a.example,https://b.example|direct", "HTTPS_PROXY": "proxy.example:2",
    }  # fmt: skip
    assert [line.split()[0] for line in said] == ["PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "GOPROXY", "HTTP_PROXY", "HTTPS_PROXY"]
    assert "secret" not in "".join(said)


def test_a_value_cannot_run_anything_in_the_stage(home: dict[str, str]) -> None:
    found, _ = told(home | {"HTTP_PROXY": "http://x/$(echo evil)`id`';\"&"})
    assert found["HTTP_PROXY"] == "http://x/$(echo evil)`id`';\"&"


def test_pips_own_configuration_counts_where_the_environment_says_nothing(home: dict[str, str]) -> None:
    path = Path(home["HOME"]) / "pip.conf"
    path.write_text("[global]\nindex-url = https://ann:secret@index.example/simple\n")
    assert told(home | {"PIP_CONFIG_FILE": str(path)})[0]["PIP_INDEX_URL"] == "https://index.example/simple"
    given = home | {"PIP_CONFIG_FILE": str(path), "PIP_INDEX_URL": "https://other.example"}
    assert told(given)[0]["PIP_INDEX_URL"] == "https://other.example"
