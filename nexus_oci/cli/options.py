"""Options that several verbs have in common."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from nexus_oci.cli.console import Console

_F = TypeVar("_F", bound=Callable[..., Any])


def transfer_options(command: _F) -> _F:
    """How a registry is to be spoken to, and by how many threads."""
    jobs = click.option("--jobs", "-j", default=8, show_default=True, type=click.IntRange(1, 64), help="Transfers at once.")
    return registry_options(jobs(command))


def registry_options(command: _F) -> _F:
    """How a registry is to be spoken to."""
    for option in (
        click.option("--ca-file", type=click.Path(path_type=Path, exists=True), help="Certificate authorities to trust too."),
        click.option("--plain-http", is_flag=True, help="Speak HTTP; only to this machine itself."),
    ):
        command = option(command)
    return command


def access(console: Console, plain_http: bool, ca_file: Path | None) -> Any:
    """What the options and the environment say of registries."""
    from nexus_oci.pipeline.registries import Access

    return Access(environment=console.environment, plain_http=plain_http, ca_file=ca_file)
