"""`nexus-oci`: finds the verb, runs it, and turns what goes wrong into a message and an exit code.

0 done, 1 failed, 2 usage or definition error, 3 policy refused, 4 verification failed, 5 engine or registry unreachable; 130
interrupted.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any, NoReturn

import click

from nexus_oci import __version__
from nexus_oci.errors import NexusError

DEBUG = "NEXUS_OCI_DEBUG"
"""The environment variable that asks for tracebacks."""
VERBS = {
    "check": "Check the definition, or with --policy what would be released, and say everything that is wrong.",
    "plan": "Show the steps that a build would take, and why.",
    "build": "Build the distributions into the store.",
    "test": "Install, start, check, upgrade and remove each package in containers with systemd.",
    "ls": "Show a store or a registry's release as a tree with sizes.",
    "keygen": "Make a key pair that signs releases, in the format of cosign.",
    "public-key": "Print the public part of a key: of a file, a token, or a cloud.",
    "sign": "Sign every manifest of a release, in a store or a registry.",
    "attest": "Say, signed, what is in a release and how it was made.",
    "reproduce": "Build a release again from its provenance, and name what differs.",
    "push": "Push a release to HOST/NAMESPACE; tags come last.",
    "pull": "Bring a release, or one format of it, back to disk.",
    "bundle": "Put a release, or what it has more than another, into one file or parts; look into them.",
    "load": "Verify a bundle and bring it to a registry or a store, with no other network.",
    "inventory": "List what a site has, for the next bundle.",
    "serve": "Serve a store or a bundle as a read-only registry.",
    "mirror": "Bring releases, with all that refers to them, from one place to many.",
    "mirror-config": "Write the settings by which runtimes pull from a mirror.",
    "verify": "Recompute every digest of a release, and check who signed it.",
    "admission": "Write what clusters and nodes need to run only what was signed.",
    "license": "Issue, inspect and verify entitlements, without which engines of higher tiers do not start.",
    "lock": "Choose and pin the packages and images of the bases anew.",
}


class _Verbs(click.Group):
    """Loads a verb's module only when that verb is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click names it
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in VERBS:
            return None
        command: click.Command = importlib.import_module(f"nexus_oci.cli.{cmd_name.replace('-', '_')}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))

    def invoke(self, ctx: click.Context) -> None:
        """Run the verb; what goes wrong is told in the form that the options before it ask for."""
        try:
            super().invoke(ctx)
            sys.stdout.flush()
        except click.exceptions.Exit:
            raise
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  no traceback reaches a user unasked
            _end(error, as_lines=ctx.params.get("log_format") == "json")

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], VERBS, n=1)
            raise click.UsageError(f"there is no verb {args[0]!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
        return super().resolve_command(ctx, args)


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("-C", "directory", type=click.Path(path_type=Path), default=Path(), help="The folder where the definition is.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output on stdout.")
@click.option(
    "--log-format",
    type=click.Choice(["auto", "plain", "json"]),
    default="auto",
    help="Progress on stderr: live on a terminal, plain lines otherwise, or JSON lines.",
)
@click.option("-q", "--quiet", is_flag=True, help="No progress, only warnings and errors.")
@click.version_option(__version__, prog_name="nexus-oci", message="%(prog)s %(version)s")
@click.pass_context
def command(ctx: click.Context, directory: Path, as_json: bool, log_format: str, quiet: bool) -> None:
    """Builds every distribution of an engine as multi-arch OCI images, with its other formats beside them."""
    from nexus_oci.cli.console import Console

    ctx.obj = Console(directory=directory, as_json=as_json, log_format=log_format, quiet=quiet, environment=os.environ)


def main() -> None:
    """Run the command line and exit with the documented code."""
    with contextlib.suppress(ValueError):
        signal.signal(signal.SIGTERM, _terminated)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        command.main(prog_name="nexus-oci", standalone_mode=False)
        sys.stdout.flush()
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  no traceback reaches a user unasked
        _end(error, as_lines=False)


def _terminated(*_: object) -> None:
    """What is asked to stop cleans up as it does when the user interrupts it."""
    raise KeyboardInterrupt


def _end(error: BaseException, *, as_lines: bool) -> NoReturn:
    """Say on stderr what went wrong, as one JSON object with `as_lines`, and exit. A closed stdout is nothing to talk about."""
    if isinstance(error, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    if os.environ.get(DEBUG):
        traceback.print_exception(error)
    message, code = _described(error)
    if as_lines:
        from nexus_oci.cli.console import json_line

        sys.stderr.write(json_line("error", {"message": message, "exit_code": code}) + "\n")
    elif isinstance(error, click.ClickException):
        error.show()
    else:
        from nexus_oci.cli.console import printable

        sys.stderr.write(f"nexus-oci: {printable(message)}\n")
    sys.exit(code)


def _described(error: BaseException) -> tuple[str, int]:
    """The message for an exception, and the exit code."""
    if isinstance(error, NexusError):
        return str(error), error.exit_code
    if isinstance(error, click.ClickException):
        return error.format_message(), 2
    if isinstance(error, KeyboardInterrupt | click.exceptions.Abort):
        return "interrupted; what was begun has been taken away", 130
    if isinstance(error, OSError):
        place = f": {error.filename}" if error.filename else ""
        return f"{error.strerror or error}{place}\n  do:  {DEBUG}=1 in the environment shows where it happened", 1
    return f"unexpected {type(error).__name__}: {error}\n  do:  report it with what {DEBUG}=1 in the environment shows", 1
