"""Renders the Jinja2 templates of `dockerfiles/`: a user's own template of a name stands in for the shipped one.

Undefined variables are errors that name template, line and variable; nothing is ever rendered as an empty string by mistake. A
template computes text and nothing else: Jinja2's sandbox keeps it from the program that renders it.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from nexus_oci.errors import DefinitionError

if TYPE_CHECKING:
    from jinja2 import Environment


def environment(folders: Sequence[Path]) -> Environment:
    """A strict Jinja2 environment that looks for a template in `folders`, first match wins."""
    from jinja2 import FileSystemLoader, StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    env = ImmutableSandboxedEnvironment(
        loader=FileSystemLoader([str(folder) for folder in folders]),
        undefined=StrictUndefined,
        autoescape=False,  # Dockerfiles are no HTML; values pass through `json`, `sh` or `docker` instead
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    env.filters["json"] = lambda value: json.dumps(value, ensure_ascii=False, sort_keys=True)
    env.filters["sh"] = _shell
    env.filters["docker"] = _quote
    env.filters["parent"] = lambda value: str(PurePosixPath(value).parent)
    return env


def render(folders: Sequence[Path], name: str, values: Mapping[str, Any]) -> str:
    """Render template `name` with `values`.

    Raises `DefinitionError` for a missing template, a syntax error, an undefined variable or a failing expression, each with
    file and line.
    """
    import jinja2

    env = environment(folders)
    try:
        text = env.get_template(name).render(values)
    except jinja2.TemplateNotFound as error:
        raise DefinitionError(
            f"there is no template {error.name!r}",
            why="looked in " + ", ".join(str(folder) for folder in folders),
            hint="an engine runtime is served by dockerfiles/RUNTIME.Dockerfile.j2",
        ) from error
    except jinja2.TemplateSyntaxError as error:
        raise DefinitionError(f"{_shown(error.filename, name)}:{error.lineno}: {error.message}") from error
    except jinja2.UndefinedError as error:
        raise DefinitionError(
            f"{_where(error, name)}: {error.message}",
            why="the template uses a variable that nothing defines",
            hint="correct its name; `nexus-oci plan --json` lists what a template is given",
        ) from error
    except UnicodeDecodeError as error:
        raise DefinitionError(f"template {name} is not UTF-8", why=str(error)) from error
    except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError, LookupError, RecursionError) as error:
        raise DefinitionError(f"{_where(error, name)}: {error}", why="the template cannot be rendered") from error
    return re.sub(r"\n{3,}", "\n\n", text)


def _where(error: BaseException, name: str) -> str:
    """The innermost template frame of a traceback."""
    place = name
    trace = error.__traceback__
    while trace is not None:
        filename = trace.tb_frame.f_code.co_filename
        if filename.endswith(".j2"):
            place = f"{_shown(filename, name)}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place


def _shown(filename: str | None, name: str) -> str:
    return f"dockerfiles/{Path(filename).name}" if filename else f"dockerfiles/{name}"


def _shell(value: Any) -> str:
    """Quote one word, or each word of a list, for /bin/sh."""
    return shlex.join(str(word) for word in value) if isinstance(value, list | tuple) else shlex.quote(str(value))


def _quote(value: Any) -> str:
    """Quote for ENV and LABEL: double quotes, with the Dockerfile's own variables and escapes disarmed."""
    text = str(value)
    if "\n" in text or "\r" in text:
        raise DefinitionError(f"{text[:40]!r} has a line break", why="a Dockerfile's ENV and LABEL values are one line each")
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$")
    return f'"{escaped}"'
