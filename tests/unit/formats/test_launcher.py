"""The launcher, run by this machine's shell with a stand-in for the interpreter."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from nexus_oci.formats.launcher import launcher_script, wanted_version
from nexus_oci.formats.package import Interpreter, Launcher


def run(folder: Path, launcher: Launcher, *arguments: str, **interpreters: str) -> tuple[int, str]:
    """Code and output, of a launcher in a prefix with a blank in its path; `interpreters` are there in these versions."""
    prefix, programs = folder / "a prefix", folder / "programs"
    for place in (prefix / "bin", prefix / "lib/shop/app", programs):
        place.mkdir(parents=True, exist_ok=True)
    for name, version in interpreters.items():
        program = programs / name.replace("_", ".")
        program.write_text(
            "#!/bin/sh\n"
            f'case $1 in -c | -p) echo {version}; exit ;; esac\necho "${{0##*/}} in $(pwd) has $PYTHONUSERBASE, $GREETING:" "$@"\n'
        )
        program.chmod(0o755)
    own = replace(launcher, path=f"/usr/lib/shop/bin:{programs}:/usr/bin/dummy")
    script = prefix / "bin/shop"
    script.write_bytes(launcher_script(own).replace(b"readlink", b"/usr/bin/readlink").replace(b"dirname", b"/usr/bin/dirname"))
    done = subprocess.run(["/bin/sh", script, *arguments], capture_output=True, text=True, cwd=folder)
    return done.returncode, done.stdout + done.stderr


def test_the_engine_starts_in_its_folder_with_its_surroundings_below_the_prefix(launcher: Launcher, tmp_path: Path) -> None:
    home = f"{tmp_path}/a prefix/lib/shop"
    code, said = run(tmp_path, launcher, "serve", "two words", python3="3.13")
    greeting = "it's $5 from /usr/lib/shopkeeper"
    assert (code, said) == (0, f"python3 in {home}/app has {home}, {greeting}: -m app serve two words\n")


def test_the_interpreter_of_the_right_version_is_taken(launcher: Launcher, tmp_path: Path) -> None:
    assert run(tmp_path, launcher, python3="3.14", python3_13="3.13")[1].startswith("python3.13 in ")


@pytest.mark.parametrize(
    ("exact", "there", "said"),
    [
        (True, {"python3": "3.12"}, "shop: it needs Python 3.13, and python3 is 3.12\n"),
        (True, {"python3": "3.14"}, "shop: it needs Python 3.13, and python3 is 3.14\n"),
        (True, {}, "shop: it needs Python 3.13, and there is no python3 on this machine\n"),
        (False, {"python3": "3.12"}, "shop: it needs Python 3.13 or later, and python3 is 3.12\n"),
    ],
)
def test_a_missing_interpreter_is_named(
    launcher: Launcher, tmp_path: Path, exact: bool, there: dict[str, str], said: str
) -> None:
    own = replace(launcher, interpreter=replace(launcher.interpreter, exact=exact))
    assert run(tmp_path, own, **there) == (127, said)


def test_a_later_interpreter_will_do_where_nothing_is_tied_to_one(launcher: Launcher, tmp_path: Path) -> None:
    own = replace(launcher, interpreter=replace(launcher.interpreter, exact=False))
    assert run(tmp_path, own, python3="4.0")[0] == 0
    node = replace(launcher, interpreter=Interpreter(language="node", version="20.19.2"), command=("node", "server.js"))
    assert run(tmp_path, node, node="22.1.0")[1].startswith("node in ")
    assert run(tmp_path, node, node="18.1.0") == (127, "shop: it needs Node.js 20 or later, and node is 18.1.0\n")


def test_without_a_known_version_any_will_do(launcher: Launcher, tmp_path: Path) -> None:
    own = replace(launcher, interpreter=Interpreter(language="python", version=""))
    assert wanted_version(own.interpreter) == ""
    assert run(tmp_path, own, python3="2.7")[0] == 0
