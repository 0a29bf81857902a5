"""Scripts of the definition, put into maintainer scripts without being able to end them.

A script's text is handed to its own interpreter as one argument (`sh -c`, `python3 -c`, `perl -e`): so `exit`, `set`, a here
document or a syntax error in it stays its own affair, it reads the same standard input as the maintainer script, which debconf
needs, and no file is written to a /tmp that may forbid execution. Its arguments are the package manager's.
"""

from __future__ import annotations

import re
import shlex

from nexus_oci.errors import DefinitionError
from nexus_oci.formats.package import Phase, UserScript

_LARGEST = 100_000
"""Linux takes 128 KiB in one argument (MAX_ARG_STRLEN)."""
_TEXT_OPTION = {
    **dict.fromkeys(("sh", "ash", "bash", "dash", "ksh", "mksh", "zsh"), "-c"),
    **dict.fromkeys(("python", "python3"), "-c"),
    "perl": "-e",
}


def user_script(phase: Phase, script: UserScript) -> str:
    """The lines that run a script of the definition; the maintainer script ends with its code where that is not 0.

    Raises `DefinitionError` for what cannot be run so.
    """
    text = _text(script)
    first, _, rest = text.partition("\n")
    words = _interpreter(script, first) if first.startswith("#!") else ["/bin/sh"]
    name = words[-1] if words[0].endswith("/env") else words[0]
    option = _TEXT_OPTION.get(_family(name))
    if option is None:
        raise DefinitionError(
            f"{script.source}: a package cannot run a script of {name}",
            why="maintainer scripts are shell; others are handed to sh, bash, dash, ksh, zsh, python3 or perl",
            hint="begin it with #!/bin/sh, and let it call the program",
        )
    command = shlex.join([*words, option])
    # A shell's $0 stays the maintainer script: debconf's confmodule starts that one again, with a frontend around it.
    own_name = "" if _family(name).startswith("python") else "-- " if option == "-e" else '"$0" '
    end = _unused(text, phase)
    body = rest if first.startswith("#!") else text
    return f'# {phase}: {script.source}\n{command} "$(cat <<\'{end}\'\n{body}{end}\n)" {own_name}"$@" || exit $?\n'


def _text(script: UserScript) -> str:
    hint = "save it as text with Unix line ends"
    try:
        text = script.data.decode()
    except UnicodeDecodeError as error:
        raise DefinitionError(f"{script.source} is no text", why=f"byte {error.start} is not UTF-8", hint=hint) from error
    if "\0" in text or "\r\n" in text:
        found = "a zero byte" if "\0" in text else "Windows line ends"
        raise DefinitionError(f"{script.source} has {found}", why="a shell takes them for part of a command", hint=hint)
    if len(script.data) > _LARGEST:
        raise DefinitionError(
            f"{script.source} has {len(script.data)} bytes",
            why=f"a script in a package may have {_LARGEST}",
            hint="put the work into a program of the package, and let the script call it",
        )
    return text if text.endswith("\n") else f"{text}\n"


def _interpreter(script: UserScript, line: str) -> list[str]:
    words = line[2:].split()
    if words and words[0].endswith("/env"):
        words = [word for word in words if word != "-S"]
    if not words or not words[0].startswith("/") or (words[0].endswith("/env") and len(words) != 2):
        raise DefinitionError(
            f"{script.source}:1: {line!r} names no interpreter", hint="write #!/bin/sh, or #!/usr/bin/env with one program"
        )
    return words


def _family(program: str) -> str:
    """python3.13 is a python3."""
    name = program.rpartition("/")[2]
    return re.sub(r"(?<=python3)\.[0-9]+$", "", name)


def _unused(text: str, phase: Phase) -> str:
    end = f"END_OF_{phase.replace('-', '_').upper()}"
    while end in text.splitlines():
        end += "_"
    return end
