"""Loading a definition: what becomes of good ones, and every fault of bad ones at its place."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nexus_oci.definition import effective, load
from nexus_oci.definition.base_model import DebianBase
from nexus_oci.definition.definition import Definition
from nexus_oci.errors import DefinitionError
from nexus_oci.oci.values import Platform

REPOSITORY = Path(__file__).resolve().parents[3]
ENGINE = "engine:\n  name: shop\n  version: 1.0.0\n  source: .\n  runtime: {runtime}\n"
PYTHON = ENGINE.format(runtime="python") + "  command: [python3, server.py]\n"
GO = ENGINE.format(runtime="go")


def test_importing_the_package_loads_neither_pydantic_nor_yaml() -> None:
    code = "import sys, nexus_oci.definition; print([m for m in ('pydantic', 'yaml', 'semver') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert done.stdout.strip() == "[]"


def test_a_python_engine_needs_seven_lines(loaded: Callable[..., Definition]) -> None:
    definition = loaded()
    engine, (container,) = definition.engine, definition.distributions
    assert (engine.name, engine.title, engine.version) == ("shop", "shop", "1.0.0")
    assert (engine.python.requirements, engine.python.project) == ("requirements.txt", False)
    assert (container.repository, container.base, container.formats) == ("container", "python", ("image",))
    assert container.image.command == ("python3", "server.py")
    assert (container.image.user, container.image.group) == (65532, 65532)
    assert container.platforms == (
        Platform(os="linux", architecture="amd64"), Platform(os="linux", architecture="arm64"),
    )  # fmt: skip
    assert container.tiers[0] == "community"
    written = sum(len(path.read_text().splitlines()) for path in (definition.root / "images").iterdir())
    assert written == 7


@pytest.mark.parametrize(
    ("nexus", "command", "base"),
    [
        (GO, ("shop",), "static"),
        (GO + "  go: {binary: shopd}\n", ("shopd",), "static"),
        (ENGINE.format(runtime="node") + "  node: {entry: ./server.js}\n", ("node", "server.js"), "node"),
        (ENGINE.format(runtime="binary") + "  command: [shop]\n  binary: {trees: {linux/amd64: a, linux/arm64: b}}\n",
         ("shop",), "static"),
    ],
)  # fmt: skip
def test_command_and_base_follow_from_the_runtime(
    loaded: Callable[..., Definition], nexus: str, command: tuple[str, ...], base: str
) -> None:
    container = loaded(nexus).distributions[0]
    assert (container.image.command, container.base) == (command, base)


def test_a_runtime_distribution_gets_what_its_packages_need(loaded: Callable[..., Definition]) -> None:
    runtime = (
        "distribution: runtime\nformats: [apt, image]\nimage: {arguments: [--fast]}\n"
        "package:\n  files: {/etc/shop.toml: {source: shop.toml, config: true}, /usr/share/x: x}\n  service: {}\n"
    )
    nexus = GO + "  maintainer: A B <a@b.example>\n  licenses: MIT\n"
    definition = loaded(nexus, None, {"images/runtime.yaml": runtime})
    package = definition.distributions[0].package
    assert definition.distributions[0].formats == ("image", "deb", "apt")
    assert (package.name, package.user) == ("shop", "shop")
    assert package.service is not None
    assert (package.service.name, package.service.description) == ("shop", "shop")
    assert package.service.command == ("shop", "--fast")
    assert package.files["/etc/shop.toml"].config
    assert package.files["/usr/share/x"].source == "x"


def test_bases_stand_in_for_each_other_by_name(loaded: Callable[..., Definition]) -> None:
    own = "bases:\n  static: {debian: {suite: sid, packages: [tzdata]}}\n  mine: {image: registry.example/base:1}\n"
    nexus = PYTHON + "bases:\n  mine: {image: registry.example/base:2, for: build}\n"
    definition = loaded(nexus, files={"images/bases.yaml": own})
    assert sorted(definition.bases) == ["go-build", "mine", "node", "python", "static"]
    static, mine = definition.bases["static"], definition.bases["mine"]
    assert isinstance(static, DebianBase) and static.debian.suite == "sid"
    assert (getattr(mine, "image", ""), mine.for_) == ("registry.example/base:2", "build")
    assert definition.where("bases", "static") == "images/bases.yaml:2:3"
    assert definition.where("bases", "mine", "image") == "images/nexus.yaml:8:10"
    assert definition.where("bases", "node") == "nexus-oci's own images/bases.yaml:4:3"


def test_positions_are_those_of_keys_and_list_entries(loaded: Callable[..., Definition]) -> None:
    definition = loaded(container="distribution: container\nimage:\n  ports: [80, 443]\n")
    assert definition.where("container", "image", "ports") == "images/container.yaml:3:3"
    assert definition.where("container", "image", "ports", 1) == "images/container.yaml:3:15"
    assert definition.where("container", "image", "user") == "images/container.yaml:2:1"
    assert definition.where("nexus", "engine", "version") == "images/nexus.yaml:3:3"


def test_definitions_that_mean_the_same_have_one_digest(loaded: Callable[..., Definition]) -> None:
    plain = loaded().digest
    spelled = PYTHON.replace("version: 1.0.0", 'version: "1.0.0"').replace("source: .", "source: {path: ./}")
    assert loaded(spelled + "platforms: [linux/x86_64, linux/aarch64]\n").digest == plain
    assert loaded(container="distribution: container\nimage: {user: 65532, ports: []}\n").digest == plain
    assert loaded(container="distribution: container\nimage: {user: 1000}\n").digest != plain
    assert loaded(container="distribution: container\nimage: {healthcheck: none}\n").digest != plain


def test_the_effective_definition_is_complete_json(loaded: Callable[..., Definition]) -> None:
    definition = loaded(PYTHON.replace("1.0.0", "{git: tag}"), "distribution: container\nimage: {ports: [53/udp, 80]}\n")
    data = effective(definition)
    assert data["engine"]["version"] == {"git": "tag", "prefix": "v"}
    assert "go" not in data["engine"]
    assert "package" not in data["distributions"]["container"]
    assert data["distributions"]["container"]["platforms"] == ["linux/amd64", "linux/arm64"]
    assert data["distributions"]["container"]["image"]["ports"] == ["53/udp", "80/tcp"]
    assert data["bases"]["go-build"]["for"] == "build"


def test_the_shipped_definition_loads_and_names_only_files_that_are_there() -> None:
    from nexus_oci.definition import check_sources
    from nexus_oci.definition.distribution_model import FORMATS

    definition = load(REPOSITORY, defaults=REPOSITORY)
    assert [item.distribution for item in definition.distributions] == ["runtime", "container"]
    assert definition.distributions[0].formats == FORMATS["runtime"]
    assert definition.distributions[1].repository == "engine"
    assert check_sources(definition, REPOSITORY) == ()


def test_other_files_beside_a_definition_are_let_alone(loaded: Callable[..., Definition]) -> None:
    files = {"images/compose.yaml": "services: {a: {image: x}}\n", "images/README.md": "\t"}
    assert len(loaded(files=files).distributions) == 1


def test_all_faults_of_all_files_come_at_once(problems: Callable[..., tuple[str, ...]]) -> None:
    nexus = (
        "engine:\n  name: My_Shop\n  version: 1.10\n  source: ../x\n  runtime: pyton\n  comand: [a]\n"
        "  python: {projct: yes}\nplatforms: [linux/amd46]\nbases:\n  python: {debian: {suite: trixie, package: [a]}}\n"
    )
    container = (
        "distribution: container\nbase: pyhton\nports: [80]\nimage:\n  user: nobody\n"
        "  environment: {DB_PASSWORD: hunter2, X: 1.50}\n  healthcheck: {command: [a], interval: 10}\n"
    )
    found = problems(nexus, container, {"images/runtime.yaml": "distribution: runtime\na: [\n", "images/bases.yaml": ""})
    assert found == (
        "images/bases.yaml:1:1: the file is empty; expected a mapping of keys to values",
        "images/container.yaml:3:1: unknown key 'ports'; it goes under 'image'",
        "images/container.yaml:5:9: image.user: found the text 'nobody', expected a whole number",
        "images/container.yaml:6:17: image.environment: 'DB_PASSWORD' holds a secret, and everyone who can pull an image "
        "can read it there; take it out and give it when the engine starts (a Kubernetes Secret, a file named by "
        "DB_PASSWORD_FILE)",
        "images/container.yaml:6:42: image.environment.X: found the number 1.50, expected text; without quotes YAML reads "
        '1.50 as a number, 1.5, and loses the rest: write "1.50"',
        "images/container.yaml:7:41: image.healthcheck.interval: found the number 10, expected a duration, as in 10s or "
        "1m30s; a number needs a unit: 10s",
        "images/nexus.yaml:2:9: engine.name: found the text 'My_Shop', expected lower-case letters, digits and inner hyphens",
        "images/nexus.yaml:3:12: engine.version: found the number 1.10, expected a version in quotes, {file: PATH}, or "
        '{git: tag}; without quotes YAML reads 1.10 as a number, 1.1, and loses the rest: write "1.10"',
        "images/nexus.yaml:4:11: engine.source: '../x' leaves its folder through '..'; a definition reads only what is "
        "inside the project",
        "images/nexus.yaml:5:12: engine.runtime: found the text 'pyton', expected go, python, node or binary; did you "
        "mean 'python'?",
        "images/nexus.yaml:6:3: engine: unknown key 'comand'; did you mean 'command'?",
        "images/nexus.yaml:7:12: engine.python: unknown key 'projct'; did you mean 'project'?",
        "images/nexus.yaml:8:13: platforms[1]: 'linux/amd46' is not a platform that images are built for; did you mean "
        "'linux/amd64'?",
        "images/nexus.yaml:10:12: bases.python.debian: the key 'packages' is missing",
        "images/nexus.yaml:10:36: bases.python.debian: unknown key 'package'; did you mean 'packages'?",
        "images/runtime.yaml:3:1: is not YAML: did not find expected node content (while parsing a flow node, begun on line 3)",
    )


def test_a_secret_is_never_repeated(project: Callable[..., Path], shipped: Path) -> None:
    container = (
        "distribution: container\nimage:\n  environment:\n    API_TOKEN: 12345.678\n    GITHUB_TOKEN: hunter2\n"
        "    TLS_CERT: '-----BEGIN PRIVATE KEY-----hunter2'\n    TOKEN_FILE: /run/secrets/token\n    SECRET: ''\n"
    )
    with pytest.raises(DefinitionError) as caught:
        load(project(container=container), defaults=shipped)
    assert "hunter2" not in str(caught.value)
    assert "12345" not in str(caught.value)
    assert [problem.partition(": ")[0] for problem in caught.value.problems] == [
        "images/container.yaml:4:16", "images/container.yaml:5:5", "images/container.yaml:6:5",
    ]  # fmt: skip


def test_without_a_definition_the_message_shows_one(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match=r"(?s)there is no definition in .*why: looked for .*version: 1.0.0") as caught:
        load(tmp_path, defaults=None)
    assert caught.value.exit_code == 2
    assert caught.value.problems == ()


def test_a_definition_further_up_or_misnamed_is_pointed_at(project: Callable[..., Path], shipped: Path) -> None:
    root = project(files={"images/engine/x": ""})
    with pytest.raises(DefinitionError, match=r"the folder .*project has one: use -C"):
        load(root / "images" / "engine", defaults=shipped)
    (root / "images" / "nexus.yaml").rename(root / "images" / "nexus.yml")
    with pytest.raises(DefinitionError, match=r"there is images/nexus.yml: rename it to images/nexus.yaml"):
        load(root, defaults=shipped)


def test_thousands_of_faults_are_cut_off(problems: Callable[..., tuple[str, ...]]) -> None:
    found = problems(PYTHON + "".join(f"x{n}: 1\n" for n in range(2000)) + "y" * 900_000 + ": 1\n")
    assert len(found) <= 101
    assert max(map(len, found)) < 2000
