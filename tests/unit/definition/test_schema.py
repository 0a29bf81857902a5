"""The JSON schema: current, described throughout, and of one mind with the models."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from nexus_oci.definition.schema import SCHEMA_FILE, main, rendered
from nexus_oci.definition.yaml_nodes import read

REPOSITORY = Path(__file__).resolve().parents[3]
ENGINE = {"name": "shop", "version": "1.0.0", "source": ".", "runtime": "go"}
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    schema = json.loads(SCHEMA_FILE.read_text())
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def test_the_schema_file_is_what_the_models_say() -> None:
    assert SCHEMA_FILE.read_text() == rendered(), "run: python -m nexus_oci.definition.schema"
    assert main(["--check"]) == 0


def test_check_fails_and_says_what_to_run_where_the_file_is_stale(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stale = tmp_path / "schema.json"
    monkeypatch.setattr("nexus_oci.definition.schema.SCHEMA_FILE", stale)
    assert main(["--check"]) == 1
    assert capsys.readouterr().err == ("schema.json is not what the models say; run: python -m nexus_oci.definition.schema\n")
    assert main([]) == 0
    assert main(["--check"]) == 0
    assert main(["--chekc"]) == 2


def test_every_key_is_described() -> None:
    schema = json.loads(SCHEMA_FILE.read_text())
    bare = [
        f"{name}.{key}"
        for name, model in schema["$defs"].items()
        for key, field in model["properties"].items()
        if not field.get("description") or not model.get("description")
    ]
    assert bare == []


def test_the_shipped_files_are_valid(validator: Draft202012Validator) -> None:
    files = sorted((REPOSITORY / "images").glob("*.yaml"))
    assert {"bases.yaml", "container.yaml", "nexus.yaml", "runtime.yaml"} <= {path.name for path in files}
    for path in files:
        node, _ = read(path, path.name)
        assert node is not None
        assert [error.message for error in validator.iter_errors(node.plain())] == []
        assert node.plain() == yaml.safe_load(path.read_text()), "another reader understands something else"


def _engine(**values: Any) -> dict[str, Any]:
    return {"engine": {**ENGINE, **values}}


def _image(**values: Any) -> dict[str, Any]:
    return {"distribution": "container", "image": values}


def _package(**values: Any) -> dict[str, Any]:
    return {"distribution": "runtime", "package": values}


GOOD = [
    _engine(),
    _engine(version={"file": "VERSION"}, source={"path": "src", "ignore": ["*.md"]}),
    _engine(version={"git": "tag", "prefix": "shop-"}, source={"git": "https://git.example/x", "commit": COMMIT}),
    _engine(runtime="python", command=["x"], python={"requirements": "none", "include": ["app"]}),
    _engine(runtime="node", node={"entry": "x.js"}),
    _engine(runtime="binary", command=["x"], binary={"trees": {"linux/amd64": "a", "linux/arm64": "b"}}),
    {**_engine(), "platforms": ["linux/arm64"], "tiers": ["sovereign"], "chart": "chart"},
    {**_engine(), "chart": {"path": "chart", "values": {"repository": "a.b", "digest": "a.c"}}},
    {**_engine(), "bases": {"x": {"image": "a.example/b:1"}, "y": {"debian": {"suite": "sid", "packages": ["dash"]}}}},
    _image(user=0, **{"allow-root": True}),
    _image(ports=[80, "53/udp"], volumes=["/data"], environment={"A": 1, "B": "x"}, labels={"a.b": "c"}),
    _image(healthcheck="none"),
    _image(healthcheck={"command": ["x"], "interval": "1m30s", "start-period": "500ms", "retries": 2}),
    _package(files={"/etc/x": "x", "/etc/y": {"source": "y", "mode": "0640", "config": True}}),
    _package(
        service={"command": ["/usr/bin/x"], "restart": "always"}, user="shop", relations={"depends": ["libc6 (>= 2.36) | musl"]}
    ),
]
BAD = [
    _engine(name="My Shop"),
    _engine(nmae="x"),
    _engine(version="1.0"),
    _engine(version=1.1),
    _engine(version={"file": "VERSION", "git": "tag"}),
    _engine(version={"file": "../VERSION"}),
    _engine(source="../x", version="v1.0.0"),
    _engine(source={"git": "https://git.example/x", "commit": "main"}),
    _engine(runtime="rust"),
    _engine(python={}),
    _engine(runtime="python"),
    _engine(command=[]),
    _engine(command="x"),
    _engine(components=["a", "a"]),
    _engine(title=None),
    {"engine": {"name": "shop"}},
    {**_engine(), "platforms": ["linux/amd46"]},
    {**_engine(), "platforms": []},
    {**_engine(), "tiers": ["enterprize"]},
    {**_engine(), "chart": None},
    {**_engine(), "bases": {"X": {"image": "a.example/b:1"}}},
    {**_engine(), "bases": {"x": {"image": "a.example/b:1", "debian": {"suite": "sid", "packages": ["dash"]}}}},
    {**_engine(), "bases": {"x": {"debian": {"suite": "sid", "packages": []}}}},
    {"distribution": "gateway"},
    {"distribution": "library", "formats": ["deb"]},
    {"distribution": "sdk"},
    {"distribution": "sdk", "image": {"files": {"/sdk": "sdk"}}, "formats": ["tar.gz"]},
    {"distribution": "container", "formats": ["deb"]},
    {"distribution": "container", "package": {}},
    {"distribution": "container", "image": None},
    _image(user="root"),
    _image(user=0),
    _image(group=None),
    _image(ports=[0]),
    _image(ports=["80/tpc"]),
    _image(environment={"A-B": "x"}),
    _image(environment={"A": True}),
    _image(environment={"A": 1.5}),
    _image(labels={"org.opencontainers.image.title": "x"}),
    _image(files={"etc/x": "x"}),
    _image(files={"/etc/x": "/x"}),
    _image(volumes=["/"]),
    _image(healthcheck="curl"),
    _image(healthcheck={"command": ["x"], "interval": 10}),
    _package(files={"/etc/x": {"source": "x", "mode": "644"}}),
    _package(files={"/etc/x": {"mode": "0644"}}),
    _package(service=None),
    _package(user="Shop"),
]


@pytest.mark.parametrize("document", GOOD, ids=json.dumps)
def test_what_the_models_take_the_schema_takes(
    validator: Draft202012Validator, document: dict[str, Any], loaded: Callable[..., Any]
) -> None:
    assert list(validator.iter_errors(document)) == []
    loaded(*_files(document))


@pytest.mark.parametrize("document", BAD, ids=json.dumps)
def test_what_the_models_refuse_the_schema_refuses(
    validator: Draft202012Validator, document: dict[str, Any], problems: Callable[..., tuple[str, ...]]
) -> None:
    assert not validator.is_valid(document)
    assert problems(*_files(document))


def _files(document: dict[str, Any]) -> Iterator[str | None]:
    """The two files of a project with `document` in the place of one of them; JSON is YAML."""
    if "engine" in document:
        yield from (json.dumps(document), "distribution: container\n")
    else:
        yield from (json.dumps(_engine()), json.dumps(document))
