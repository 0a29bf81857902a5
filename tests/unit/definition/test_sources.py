"""Files that a definition names and that are not there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from nexus_oci.definition import check_sources
from nexus_oci.definition.definition import Definition

Loaded = Callable[..., Definition]
ENGINE = "engine:\n  name: shop\n  version: {{file: VERSION}}\n  source: {source}\n  runtime: {runtime}\n  command: [shop]\n"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def missing(definition: Definition, source: Path | None = None) -> tuple[str, ...]:
    return check_sources(definition, definition.root, source=source)


def test_nothing_is_reported_where_everything_is_there(loaded: Loaded) -> None:
    files = {"VERSION": "1.0.0", "src/requirements.txt": "", "src/a.conf": ""}
    container = "distribution: container\nimage: {files: {/etc/a: a.conf, /etc/all: .}}\n"
    assert missing(loaded(ENGINE.format(source="src", runtime="python"), container, files)) == ()


def test_a_missing_source_is_said_once_where_it_is_written_with_the_nearest_name(loaded: Loaded) -> None:
    definition = loaded(ENGINE.format(source="{path: sorce}", runtime="go"), files={"source/go.mod": "", "VERSION": ""})
    assert missing(definition) == (
        "images/nexus.yaml:4:12: engine.source: the folder 'sorce' is not there; did you mean 'source'?",
    )


def test_every_missing_file_is_reported_at_its_key(loaded: Loaded) -> None:
    nexus = ENGINE.format(source="src", runtime="python") + (
        "  python: {requirements: lock.txt, project: true, include: [app, data]}\nchart: chart\n"
    )
    runtime = "distribution: runtime\nimage:\n  files: {/etc/a: a.conf}\npackage:\n  files: {/etc/b: {source: unit.txt}}\n"
    definition = loaded(nexus, None, {"images/runtime.yaml": runtime, "src/app/x": "", "src/a.cnf": ""})
    assert missing(definition) == (
        "images/nexus.yaml:3:13: engine.version.file: the file 'VERSION' is not there",
        "images/nexus.yaml:8:1: chart: there is no chart in 'chart'; it would have a Chart.yaml",
        "images/nexus.yaml:7:12: engine.python.requirements: the file 'lock.txt' is not there",
        "images/nexus.yaml:7:36: engine.python.project: the source has no pyproject.toml",
        "images/nexus.yaml:7:66: engine.python.include: 'data' is not in the engine's source",
        "images/runtime.yaml:3:11: image.files: 'a.conf' is not in the engine's source; did you mean 'a.cnf'?",
        "images/runtime.yaml:5:20: package.files: 'unit.txt' is not in the engine's source",
    )


def test_each_runtime_asks_for_what_it_needs(loaded: Loaded) -> None:
    files = {"VERSION": "", "src/x": ""}
    go = ENGINE.format(source="src", runtime="go") + "  go: {package: ./cmd/shop}\n"
    assert missing(loaded(go, files=files)) == (
        "images/nexus.yaml:4:3: engine.source: the file 'go.mod' is not there",
        "images/nexus.yaml:7:8: engine.go.package: the folder './cmd/shop' is not there",
    )
    node = ENGINE.format(source="src", runtime="node") + "  node: {entry: y}\n"
    assert missing(loaded(node, files=files)) == (
        "images/nexus.yaml:4:3: engine.source: the file 'package.json' is not there",
        "images/nexus.yaml:7:10: engine.node.entry: the file 'y' is not there",
    )
    trees = "  binary: {trees: {linux/amd64: out, linux/arm64: x}}\n"
    assert missing(loaded(ENGINE.format(source="src", runtime="binary") + trees, files=files)) == (
        "images/nexus.yaml:7:20: engine.binary.trees: the folder 'out' is not there",
        "images/nexus.yaml:7:38: engine.binary.trees: 'x' is not a folder",
    )


def test_a_project_may_go_without_requirements(loaded: Loaded) -> None:
    files = {"VERSION": "", "src/pyproject.toml": ""}
    nexus = ENGINE.format(source="src", runtime="python") + "  python: {project: true}\n"
    assert missing(loaded(nexus, files=files)) == ()


def test_a_git_source_is_looked_into_once_it_is_fetched(loaded: Loaded, tmp_path: Path) -> None:
    source = f"{{git: 'https://git.example/x', commit: '{COMMIT}'}}"
    definition = loaded(ENGINE.format(source=source, runtime="go"))
    assert missing(definition) == ()
    assert missing(definition, tmp_path) == ("images/nexus.yaml:4:3: engine.source: the file 'go.mod' is not there",)


def test_a_link_out_of_the_project_is_refused(loaded: Loaded, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    nexus = ENGINE.format(source="src", runtime="python")
    definition = loaded(nexus, "distribution: container\nimage: {files: {/a: a}}\n", {"VERSION": "", "src/requirements.txt": ""})
    (definition.root / "src" / "a").symlink_to(tmp_path / "secret")
    assert missing(definition) == ("images/container.yaml:2:17: 'a' is a link that leads out of the project",)


def test_a_chart_that_the_program_ships_needs_none_in_the_project(loaded: Loaded, shipped: Path) -> None:
    (shipped / "helm" / "shop").mkdir(parents=True)
    (shipped / "helm" / "shop" / "Chart.yaml").write_text("")
    nexus = ENGINE.format(source="src", runtime="python") + "chart: helm/shop\n"
    assert missing(loaded(nexus, files={"VERSION": "", "src/requirements.txt": ""})) == ()
