"""Where the entitlement checker stands: entrypoints, units, launchers and links of each runtime, and what is baked into it."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from nexus_oci.definition import load
from nexus_oci.definition.definition import Definition
from nexus_oci.errors import DefinitionError
from nexus_oci.formats.documents import staged_files
from nexus_oci.formats.package import LinuxPackage
from nexus_oci.oci.values import Platform
from nexus_oci.pipeline.checker import checker_of, is_checked
from nexus_oci.pipeline.contexts import Stamp, StartingPoints, build_context, template_values
from nexus_oci.pipeline.package_values import linux_package
from nexus_oci.render.context import Context, from_tree
from nexus_oci.render.dockerfile import Dockerfile
from nexus_oci.render.templates import render

ROOT = Path(__file__).parents[3]
PLATFORM = Platform.parse("linux/arm64")
STAMP = Stamp(version="1.0.0", commit="c0ffee", epoch=1_767_225_600)
START = StartingPoints(
    base="x/base", build_base="x/compiler", toolbox="x/toolbox", build_platform=Platform.parse("linux/amd64"), buildkit=True, checker_base="x/go",
)  # fmt: skip
ASKED = (
    "entitlement: {tier: enterprise, keys: [vendor.pub], revoked: [b, a], limits: {workers: WORKERS}, exempt: [[--version]]}\n"
)
ENGINES = {
    "go": "runtime: go, command: [shop, serve]",
    "python": "runtime: python, command: [python3, server.py]",
    "node": "runtime: node, command: [fastify, start]",
    "binary": "runtime: binary, command: [shop, serve], binary: {trees: {linux/amd64: tree, linux/arm64: tree}}",
}
CHECKER = "/usr/libexec/shop/entitlement"


@pytest.fixture
def definition(tmp_path: Path) -> Callable[..., Definition]:
    """Writes a small definition of a runtime, with a container and a runtime distribution."""

    def make(runtime: str, asked: str = ASKED, package: str = "{service: {}}", image: str = "{}") -> Definition:
        (tmp_path / "images").mkdir(exist_ok=True)
        engine = f"name: shop, version: 1.0.0, source: ., maintainer: A <a@b.example>, licenses: MIT, {ENGINES[runtime]}"
        (tmp_path / "images/nexus.yaml").write_text(f"engine: {{{engine}}}\n{asked}")
        (tmp_path / "images/container.yaml").write_text(f"distribution: container\nimage: {image}\n")
        (tmp_path / "images/runtime.yaml").write_text(f"distribution: runtime\nformats: [tar.gz, deb]\npackage: {package}\n")
        for name, text in {
            "requirements.txt": "",
            "package.json": "{}",
            "tree/shop": "x",
            "own.service": "[Service]\nExecStart=/opt/shop\n",
        }.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(text)
        public = Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key()
        (tmp_path / "vendor.pub").write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        return load(tmp_path, defaults=ROOT)

    return make


def context(definition: Definition, name: str = "container") -> Context:
    distribution = definition.distribution(name)
    assert distribution is not None
    source = from_tree(definition.root, "source")
    return build_context(
        definition, distribution, PLATFORM, source, STAMP, [definition.root / "dockerfiles", ROOT / "dockerfiles"]
    )


def rendered(definition: Definition, name: str = "container") -> str:
    distribution = definition.distribution(name)
    assert distribution is not None
    values = template_values(definition, distribution, PLATFORM, from_tree(definition.root, "source"), STAMP, START)
    return render([ROOT / "dockerfiles"], f"{definition.engine.runtime}.Dockerfile.j2", values)


def packaged(definition: Definition) -> LinuxPackage:
    distribution = definition.distribution("runtime")
    assert distribution is not None
    return linux_package(
        definition, distribution, PLATFORM, from_tree(definition.root, "source"), STAMP, "deb", interpreter="3.13.5"
    )


def baked(definition: Definition, name: str = "container") -> dict[str, Any]:
    data = context(definition, name).files["entitlement/config.json"].data
    assert data is not None
    found: dict[str, Any] = json.loads(data)
    return found


@pytest.mark.parametrize(
    ("runtime", "command"),
    [
        ("go", ["shop", "serve"]),
        ("python", ["python3", "server.py"]),
        ("node", ["node", "/usr/lib/shop/app/node_modules/.bin/fastify", "start"]),
        ("binary", ["shop", "serve"]),
    ],
)
def test_the_checker_is_the_entrypoint_and_knows_the_engines_command(
    definition: Callable[..., Definition], runtime: str, command: list[str]
) -> None:
    made = definition(runtime)
    assert f"ENTRYPOINT {json.dumps([CHECKER, '--', *command])}\n" in rendered(made)
    assert baked(made)["command"] == command


def test_the_checker_is_compiled_for_the_target_on_the_build_platform(definition: Callable[..., Definition]) -> None:
    text = rendered(definition("python"))
    stage = Dockerfile.parse(text, "x").stage("entitlement")
    assert stage is not None
    assert stage.text.startswith("FROM --platform=linux/amd64 x/go AS entitlement\n")
    assert "GOOS=linux GOARCH=arm64" in stage.text
    assert "CGO_ENABLED=0" in stage.text
    assert "go build -trimpath -ldflags '-s -w -buildid=' -o /out/usr/libexec/shop/entitlement .\n" in stage.text
    assert "COPY --from=entitlement /out/ /rootfs/\n" in text


def test_a_program_of_go_is_moved_and_the_checker_takes_its_name(definition: Callable[..., Definition]) -> None:
    made = definition("go")
    text = rendered(made, "runtime")
    assert "-o /out/usr/libexec/shop/shop ." in text
    assert "ln -s ../libexec/shop/entitlement /out/usr/bin/shop\n" in text
    assert "COPY --from=entitlement /out/ /payload/\n" in text
    assert baked(made)["program"] == {"paths": ["shop"], "arguments": []}
    package = packaged(made)
    assert package.service
    assert package.service.command == ("/usr/bin/shop", "serve")


def test_a_tree_gets_a_command_in_packages_and_stays_as_it_is(definition: Callable[..., Definition]) -> None:
    made = definition("binary")
    assert baked(made, "runtime")["program"] == {
        "paths": ["../../lib/shop/shop", "../../lib/shop/bin/shop"],
        "arguments": ["serve"],
    }
    assert "ln -s ../libexec/shop/entitlement /out/usr/bin/shop\n" in rendered(made, "runtime")
    assert "ln -s" not in rendered(made)
    package = packaged(made)
    assert package.service
    assert package.service.command[:3] == (CHECKER, "--", "/usr/bin/env")
    claimed = definition("binary", package="{files: {/usr/bin/shop: {kind: link, target: ../lib/shop/shop}}}")
    assert "ln -s" not in rendered(claimed, "runtime")


@pytest.mark.parametrize("runtime", ["python", "node"])
def test_the_launcher_of_an_interpreters_engine_goes_through_the_checker(
    definition: Callable[..., Definition], runtime: str
) -> None:
    package = packaged(definition(runtime))
    script, mode = staged_files(package, "deb")["/usr/bin/shop"]
    assert b'exec "$prefix"/libexec/shop/entitlement -- "$program" ' in script
    assert mode == 0o755
    assert package.service
    assert package.service.command == ("/usr/bin/shop",)


@pytest.mark.parametrize("runtime", list(ENGINES))
def test_a_service_keeps_the_time_and_is_not_started_again_when_it_was_refused(
    definition: Callable[..., Definition], runtime: str
) -> None:
    package = packaged(definition(runtime))
    unit = staged_files(package, "deb")["/usr/lib/systemd/system/shop.service"][0].decode()
    assert "\nRestartPreventExitStatus=77\n" in unit
    assert "\nStateDirectory=shop\n" in unit
    named = packaged(definition(runtime, package="{service: {state-directory: own}}"))
    assert named.service
    assert named.service.state_directory == "own"


def test_a_unit_of_the_definitions_own_may_not_go_past_the_checker(definition: Callable[..., Definition]) -> None:
    made = definition("go", package="{service: {unit: own.service}}")
    with pytest.raises(DefinitionError, match="starts the engine without asking for an entitlement") as caught:
        packaged(made)
    assert "images/runtime.yaml:3:21" in str(caught.value)
    (made.root / "own.service").write_text("[Service]\nExecStart=/usr/bin/shop serve\n")
    package = packaged(made)
    assert package.service
    assert package.service.unit == b"[Service]\nExecStart=/usr/bin/shop serve\n"


def test_what_the_checker_is_told(definition: Callable[..., Definition]) -> None:
    public = Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key().public_bytes_raw()
    assert baked(definition("go")) == {
        "engine": "shop", "distribution": "container", "tier": "enterprise", "required": True, "epoch": STAMP.epoch,
        "keys": [base64.b64encode(public).decode()], "revoked": ["a", "b"], "limits": {"workers": "WORKERS"}, "caps": {},
        "exempt": [["--version"]], "command": ["shop", "serve"], "program": {"paths": ["shop"], "arguments": []}, "state": "/var/lib/shop",
    }  # fmt: skip


def test_a_free_tier_is_capped(definition: Callable[..., Definition]) -> None:
    asked = "entitlement: {tier: developer, limits: {workers: WORKERS}, caps: {workers: 2}}\n"
    told = baked(definition("go", asked))
    assert (told["tier"], told["required"], told["caps"], told["keys"]) == ("developer", False, {"workers": 2}, [])


def test_the_sources_are_the_projects_own_where_it_has_some(definition: Callable[..., Definition]) -> None:
    made = definition("go")
    assert {"entitlement/main.go", "entitlement/go.mod"} <= set(context(made).files)
    own = made.root / "dockerfiles/entitlement"
    own.mkdir(parents=True)
    (own / "own.go").write_text("package main\n")
    (own / "own_test.go").write_text("package main\n")
    assert {name for name in context(made).files if name.startswith("entitlement/")} == {
        "entitlement/own.go",
        "entitlement/config.json",
    }


def test_a_program_that_is_called_as_the_checker_has_none(definition: Callable[..., Definition]) -> None:
    made = definition("go")
    engine = made.engine.model_copy(update={"go": made.engine.go.model_copy(update={"binary": "entitlement"})})
    changed = Definition(**{**{name: getattr(made, name) for name in made.__dataclass_fields__}, "engine": engine})
    distribution = changed.distribution("container")
    assert distribution is not None
    with pytest.raises(DefinitionError, match="cannot have a checker"):
        checker_of(changed, distribution)


@pytest.mark.parametrize("runtime", list(ENGINES))
def test_nothing_of_it_is_anywhere_without_the_block(definition: Callable[..., Definition], runtime: str) -> None:
    made = definition(runtime, asked="")
    for name in ("container", "runtime"):
        assert "entitlement" not in rendered(made, name)
        assert not any("entitlement" in path for path in context(made, name).files)
    files = {path: data for path, (data, _) in staged_files(packaged(made), "deb").items()}
    assert not any(b"entitlement" in data or b"libexec" in data for data in files.values())


@pytest.mark.parametrize(
    ("words", "checked"),
    [
        ([CHECKER, "--", "shop"], True),
        ([CHECKER, "--"], False),
        ([CHECKER, "check", "x"], False),
        (["shop", "--", "x"], False),
        ([], False),
    ],
)
def test_a_command_with_the_checker_is_known(words: list[str], checked: bool) -> None:
    assert is_checked(words) is checked
