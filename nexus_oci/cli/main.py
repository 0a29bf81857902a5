"""`nexus-oci`: finds the verb, runs it, and turns what goes wrong into a message and an exit code.

0 done, 1 failed, 2 usage or definition error, 3 policy refused, 4 verification failed, 5 engine or registry unreachable.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any

import click

from nexus_oci import __version__
from nexus_oci.errors import NexusError

VERBS = {
    "check": "Check the definition and say everything that is wrong with it.",
    "plan": "Show the steps that a build would take, and why.",
    "build": "Build the distributions into the store.",
    "ls": "Show a store or a registry's release as a tree with sizes.",
    "push": "Push a release to HOST/NAMESPACE; tags come last.",
    "pull": "Bring a release, or one format of it, back to disk.",
    "verify": "Recompute every digest of a release.",
    "lock": "Choose and pin the packages and images of the bases anew.",
}


class _Verbs(click.Group):
    """Loads a verb's module only when that verb is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        command: click.Command = importlib.import_module(f"nexus_oci.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], VERBS, n=1)
            raise click.UsageError(
                f"there is no verb {args[0]!r}" + (f"; did you mean {near[0]!r}?" if near else "")
            )
        return super().resolve_command(ctx, args)


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("-C", "directory", type=click.Path(path_type=Path), default=Path(), help="The folder where the definition is.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output on stdout.")
@click.option(
    "--log-format", type=click.Choice(["auto", "plain", "json"]), default="auto",
    help="Progress on stderr: live on a terminal, plain lines otherwise, or JSON lines.",
)  # fmt: skip
@click.option("-q", "--quiet", is_flag=True, help="No progress, only warnings and errors.")
@click.version_option(__version__, prog_name="nexus-oci", message="%(prog)s %(version)s")
@click.pass_context
def command(ctx: click.Context, directory: Path, as_json: bool, log_format: str, quiet: bool) -> None:
    """Builds every distribution of an engine as multi-arch OCI images, with its other formats beside them."""
    from nexus_oci.cli.console import Console

    ctx.obj = Console(directory=directory, as_json=as_json, log_format=log_format, quiet=quiet, environment=os.environ)


def main() -> None:
    """Run the command line and exit with the documented code."""
    try:
        command.main(standalone_mode=False)
    except click.exceptions.Abort:
        _fail("interrupted; what was begun has been taken away", 130)
    except KeyboardInterrupt:
        _fail("interrupted; what was begun has been taken away", 130)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except NexusError as error:
        _fail(str(error), error.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _fail(message: str, code: int) -> None:
    sys.stdout.flush()
    sys.stderr.write(f"nexus-oci: {message}\n")
    sys.exit(code)
