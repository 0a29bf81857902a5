"""nfpm's list of contents, made from a staged tree."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nexus_oci.staging.contents import contents, document, is_system_folder, main


@pytest.fixture
def tree(tmp_path: Path) -> str:
    for name in ("etc/shop/shop.toml", "usr/bin/shop", "usr/share/doc/shop/README", "usr/share/licenses/shop/LICENSE"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "usr/bin/shop").chmod(0o755)
    (tmp_path / "usr/bin/store").symlink_to("shop")
    (tmp_path / "etc/shop/shop.toml").chmod(0o644)
    return str(tmp_path)


def by_path(packager: str, tree: str, entries: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {str(entry["dst"]): entry for entry in contents(packager, tree, entries)}


def test_everything_is_named_with_its_mode_and_owner(tree: str) -> None:
    root = {"owner": "root", "group": "root"}
    found = by_path("deb", tree, {"/etc/shop/shop.toml": {"type": "config|noreplace", "mode": "0640", "group": "shop"}})
    assert found["/usr/bin/shop"] == {"src": f"{tree}/usr/bin/shop", "dst": "/usr/bin/shop", "file_info": {"mode": 0o755} | root}
    assert found["/usr/bin/store"] == {"src": "shop", "dst": "/usr/bin/store", "type": "symlink", "file_info": root}
    config = found["/etc/shop/shop.toml"]
    assert (config["type"], config["file_info"]) == ("config|noreplace", {"mode": 0o640, "owner": "root", "group": "shop"})


def test_folders_of_the_package_are_its_own_and_those_of_the_system_are_not(tree: str) -> None:
    folders = {path for path, entry in by_path("rpm", tree, {}).items() if entry.get("type") == "dir"}
    assert folders == {"/etc/shop", "/usr/share/doc/shop", "/usr/share/licenses/shop"}
    assert "/etc/shop" not in by_path("rpm", tree, {"/etc/shop": {"disowned": True}})
    assert by_path("rpm", tree, {"/etc": {"mode": "0711"}})["/etc"]["file_info"]["mode"] == 0o711


@pytest.mark.parametrize("path", ["/usr", "/usr/bin", "/usr/share/man/man8", "/usr/share/man/de/man1", "/usr/lib/systemd/system"])
def test_a_folder_of_every_linux_is_the_systems(path: str) -> None:
    assert is_system_folder(path)
    assert not is_system_folder(f"{path}/shop.d")


def test_what_only_rpm_knows_is_a_plain_file_elsewhere(tree: str) -> None:
    entries = {"/usr/bin/shop": {"type": "doc", "language": "de"}, "/var/log/shop.log": {"type": "ghost", "mode": "0640"}}
    rpm, deb = by_path("rpm", tree, entries), by_path("deb", tree, entries)
    assert (rpm["/usr/bin/shop"]["type"], rpm["/usr/bin/shop"]["file_info"]["lang"]) == ("doc", "de")
    assert rpm["/var/log/shop.log"] == {
        "dst": "/var/log/shop.log", "type": "ghost", "file_info": {"mode": 0o640, "owner": "root", "group": "root"},
    }  # fmt: skip
    assert (rpm["/usr/share/doc/shop/README"]["type"], rpm["/usr/share/licenses/shop/LICENSE"]["type"]) == ("doc", "licence")
    assert "type" not in deb["/usr/bin/shop"]
    assert "/var/log/shop.log" not in deb
    assert "type" not in deb["/usr/share/doc/shop/README"]


def test_the_document_is_json_and_yaml_whatever_the_names_are() -> None:
    yaml = pytest.importorskip("yaml")
    names = ["with blank", "quo\"te'", "\u2028line", "\x85next", "emoji 😀", "tab\t", "back\\slash", "#: - ?", "\ufeff"]
    assert json.loads(document({"n": names})) == {"n": names}
    assert yaml.safe_load(document({"n": names}).replace("\t", "\\t")) == {"n": names}


def test_what_is_written_completes_a_configuration(tree: str, tmp_path: Path) -> None:
    output = tmp_path.parent / "deb.contents"
    said = {"packager": "deb", "tree": tree, "entries": {"/usr/bin/shop": {"owner": "shop"}}, "output": str(output)}
    (tmp_path.parent / "stage.json").write_text(json.dumps({"contents": [said]}))
    main(str(tmp_path.parent / "stage.json"))
    whole = json.loads('{"name": "shop", "contents":' + output.read_text())
    assert whole == {"name": "shop", "contents": contents("deb", tree, {"/usr/bin/shop": {"owner": "shop"}})}
