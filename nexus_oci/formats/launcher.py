"""The program that starts an engine of an interpreter from wherever its files are, and the packages that it needs.

Under /usr and in an unpacked archive the files lie alike: bin/NAME beside lib/NAME. So one script serves both; it finds its
prefix from its own path, through links.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Final

from nexus_oci.formats.package import Interpreter, Launcher

_PREFIX = "/usr"


def launcher_script(launcher: Launcher) -> bytes:
    """The script, for any POSIX shell. It ends with 127 and says so where the interpreter is missing or of another version."""
    interpreter = launcher.interpreter
    own = {"python": "python3", "node": "node"}[interpreter.language]
    programs = [own]
    if interpreter.exact and interpreter.language == "python":
        programs.insert(0, f"python{_compatible(interpreter)}")
    first, *rest = launcher.command
    command = ['"$program"' if first in (own, "python") else _moved(first, launcher.home)]
    if launcher.checker:
        command = [f'"$prefix"{shlex.quote(launcher.checker.removeprefix(_PREFIX))}', "--", *command]
    environment = sorted({**launcher.environment, "PATH": launcher.path}.items())
    values = {
        "NAME": launcher.name,
        "PROGRAM": own,
        "PROGRAMS": " ".join(programs),
        "WANTED": " ".join(
            filter(None, [{"python": "Python", "node": "Node.js"}[interpreter.language], wanted_version(interpreter)])
        ),
        "PROBE": _PROBES[interpreter.language],
        "TEST": _test(interpreter),
        "ENVIRONMENT": "".join(f"{key}={_moved(value, launcher.home)}\nexport {key}\n" for key, value in environment),
        "WORK": f"cd -- {_moved(launcher.work, launcher.home)}\n            " if launcher.work else "",
        "COMMAND": " ".join([*command, *(_moved(word, launcher.home) for word in rest)]),
    }
    return re.sub(r"@([A-Z]+)@", lambda match: values[match[1]], _SCRIPT).encode()


def wanted_version(interpreter: Interpreter) -> str:
    """The version that the engine needs, for people: `3.13`, or `3.13 or later`; empty where none is known."""
    version = _compatible(interpreter)
    return version if interpreter.exact or not version else f"{version} or later"


def interpreter_relations(interpreter: Interpreter, package_format: str) -> tuple[str, ...]:
    """What a package of the engine depends on, in the format's own spelling.

    What is tied to its interpreter fits one minor version of Python, or one major version of Node, and nothing else does.
    """
    version = _compatible(interpreter)
    name = {"python": "python3", "node": "nodejs"}[interpreter.language]
    if package_format == "archlinux" and interpreter.language == "python":
        name = "python"
    if not version:
        return (name,)
    if package_format == "rpm" and interpreter.language == "python" and interpreter.exact:
        return (f"python(abi) = {version}",)
    head, _, last = version.rpartition(".")
    after = ".".join(filter(None, [head, str(int(last) + 1)]))
    if package_format in ("deb", "ipk"):
        least, below = f"{name} (>= {version}~)", f"{name} (<< {after}~)"
    elif package_format == "rpm":
        least, below = f"{name} >= {version}", f"{name} < {after}"
    else:
        least, below = f"{name}>={version}", f"{name}<{after}"
    return (least, below) if interpreter.exact else (least,)


def _compatible(interpreter: Interpreter) -> str:
    """The part of a version that decides whether code fits: 3.13 of Python, 20 of Node."""
    return ".".join(interpreter.version.split(".")[: 2 if interpreter.language == "python" else 1])


def _test(interpreter: Interpreter) -> str:
    """A shell condition on `$major` and `$minor`, the interpreter's version."""
    version = _compatible(interpreter)
    if not version:
        return "true"
    major, _, minor = version.partition(".")
    if interpreter.exact:
        return f'[ "$major" -eq {major} ]' + (f' && [ "$minor" -eq {minor} ]' if minor else "")
    same = f'{{ [ "$major" -eq {major} ] && [ "$minor" -ge {minor or 0} ]; }}'
    return f'[ "$major" -gt {major} ] || {same}'


def _moved(value: str, home: str) -> str:
    """A word of the shell in which the engine's folder follows the prefix."""
    parts = re.split(rf"{re.escape(home)}(?=[/:]|$)", value)
    own = f'"$prefix"{shlex.quote(home.removeprefix(_PREFIX))}'
    return own.join(shlex.quote(part) if part else "" for part in parts) if len(parts) > 1 else shlex.quote(value)


_PROBES: Final[Mapping[str, str]] = {
    "python": "-c 'import sys; print(\"%d.%d\" % sys.version_info[:2])'",
    "node": "-p 'process.versions.node'",
}
_SCRIPT = """\
#!/bin/sh
# Starts @NAME@ from the prefix that this file lies in.
set -eu

self=$0
while [ -L "$self" ]; do
    target=$(readlink -- "$self")
    case $target in
        /*) self=$target ;;
        *) self=$(dirname -- "$self")/$target ;;
    esac
done
prefix=$(CDPATH='' cd -- "$(dirname -- "$self")/.." && pwd -P)

@ENVIRONMENT@
found=
for program in @PROGRAMS@; do
    if version=$("$program" @PROBE@ 2>/dev/null); then
        found=$version
        major=${found%%.*}
        minor=${found#*.}
        minor=${minor%%.*}
        if @TEST@; then
            @WORK@exec @COMMAND@ "$@"
        fi
    fi
done
if [ -n "$found" ]; then
    echo "@NAME@: it needs @WANTED@, and @PROGRAM@ is $found" >&2
else
    echo "@NAME@: it needs @WANTED@, and there is no @PROGRAM@ on this machine" >&2
fi
exit 127
"""
