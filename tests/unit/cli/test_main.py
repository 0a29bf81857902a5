"""Exit codes, messages and streams: what a user, a script and a log each get."""

from __future__ import annotations

import json
import pkgutil
import sys
from importlib import import_module

import click
import pytest

import nexus_oci
from nexus_oci import errors
from nexus_oci.cli import main as program
from nexus_oci.cli.console import human_size, printable

from .conftest import RunProgram

CODES = {
    errors.NexusError: 1, errors.BuildError: 1, errors.StoreError: 1, errors.ArchiveError: 1, errors.CancelledError: 1,
    errors.NotFoundError: 1, errors.UsageError: 2, errors.DefinitionError: 2, errors.LockError: 2, errors.PolicyError: 3,
    errors.VerificationError: 4, errors.UnreachableError: 5, errors.EngineError: 5, errors.RegistryError: 5,
}  # fmt: skip


def failing(error: BaseException) -> click.Command:
    @click.command()
    def command() -> None:
        raise error

    return command


def subclasses(kind: type[errors.NexusError]) -> set[type[errors.NexusError]]:
    return {kind}.union(*(subclasses(below) for below in kind.__subclasses__()))


@pytest.mark.parametrize("kind", CODES)
def test_each_error_ends_the_program_with_its_code(
    run: RunProgram, monkeypatch: pytest.MonkeyPatch, kind: type[errors.NexusError]
) -> None:
    monkeypatch.setattr("nexus_oci.cli.check.command", failing(kind("it broke", why="because", hint="mend it")))
    done = run("check")
    assert (done.code, done.out) == (CODES[kind], "")
    assert done.err == "nexus-oci: it broke\n  why: because\n  do:  mend it\n"


def test_every_error_of_the_program_has_a_documented_code() -> None:
    for module in pkgutil.walk_packages(nexus_oci.__path__, "nexus_oci."):
        if not module.name.endswith("__main__"):
            import_module(module.name)
    for kind in subclasses(errors.NexusError):
        assert kind.exit_code == next(CODES[known] for known in kind.__mro__ if known in CODES)
        assert kind.__doc__


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (KeyboardInterrupt(), 130, "interrupted; what was begun has been taken away"),
        (OSError(28, "No space left on device", "/x/y"), 1, "No space left on device: /x/y"),
        (ValueError("odd"), 1, "unexpected ValueError: odd"),
        (RecursionError("deep"), 1, "unexpected RecursionError: deep"),
        (click.UsageError("wrong"), 2, "wrong"),
    ],
)
def test_whatever_happens_is_one_message(
    run: RunProgram, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, message: str
) -> None:
    monkeypatch.setattr("nexus_oci.cli.check.command", failing(error))
    done = run("check")
    assert (done.code, done.out) == (code, "")
    assert message in done.err
    assert "Traceback" not in done.err


def test_a_traceback_is_there_for_those_who_ask(run: RunProgram, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nexus_oci.cli.check.command", failing(ValueError("odd")))
    assert f"{program.DEBUG}=1" in run("check").err
    monkeypatch.setenv(program.DEBUG, "1")
    assert "Traceback" in run("check").err


def test_in_a_json_log_every_line_is_json_the_error_too(run: RunProgram, monkeypatch: pytest.MonkeyPatch) -> None:
    for error, code in (
        (errors.StoreError("full\nof it", why="small"), 1),
        (click.UsageError("wrong"), 2),
        (KeyboardInterrupt(), 130),
    ):
        monkeypatch.setattr("nexus_oci.cli.check.command", failing(error))
        done = run("--log-format", "json", "check")
        (line,) = done.err.splitlines()
        found = json.loads(line)
        assert (found["event"], found["exit_code"], done.code) == ("error", code, code)
        assert found["message"].startswith(str(error).split("\n")[0][:4])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["bulid"], "there is no verb 'bulid'; did you mean 'build'?"),
        (["frobnicate"], "there is no verb 'frobnicate'"),
        (["ls", "--nope"], "No such option"),
        (["build", "--jobs", "0"], "not in the range"),
        (["--log-format", "xml", "ls"], "is not one of"),
        (["pull"], "Missing argument"),
        (["pull", "nowhere"], "names no registry"),
        (["pull", "r.example/a", "--format", "exe"], "'exe' is no format"),
        (["pull", "r.example/a", "--platform", "amd64"], "is not a platform"),
        (["push", "r.example/a:1"], "names one image"),
    ],
)
def test_a_wrong_call_is_code_2_and_says_what_is_wrong(run: RunProgram, project: object, words: list[str], message: str) -> None:
    done = run("-C", project, *words)
    assert (done.code, done.out) == (2, "")
    assert message in done.err


def test_version_and_help_are_results(run: RunProgram) -> None:
    assert run("--version").out == f"nexus-oci {nexus_oci.__version__}\n"
    done = run("--help")
    assert (done.code, done.err) == (0, "")
    assert all(verb in done.out for verb in program.VERBS)


@pytest.mark.parametrize("verb", program.VERBS)
def test_every_verb_explains_itself(run: RunProgram, verb: str) -> None:
    done = run(verb, "--help")
    assert done.code == 0
    assert done.out.startswith(f"Usage: nexus-oci {verb}")


def test_a_reader_that_goes_away_is_no_error_to_talk_about(run: RunProgram, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nexus_oci.cli.check.command", failing(BrokenPipeError()))
    monkeypatch.setattr("os.dup2", lambda *_: None)
    monkeypatch.setattr(sys.stdout, "fileno", lambda: 1)
    done = run("check")
    assert (done.code, done.err) == (1, "")


def test_what_comes_from_elsewhere_cannot_steer_the_terminal(run: RunProgram, monkeypatch: pytest.MonkeyPatch) -> None:
    evil = "a\x1b]0;title\x07b\x9b31mc\rd"
    assert printable(evil + "\n\tü│") == "a�]0;title�b�31mc�d\n\tü│"
    monkeypatch.setattr("nexus_oci.cli.check.command", failing(errors.NexusError(evil)))
    assert "\x1b" not in run("check").err


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (5 << 20, "5.0 MiB"), (3 << 30, "3.0 GiB"), (2 << 40, "2.0 TiB")],
)
def test_sizes_are_in_the_unit_that_reads_best(size: int, text: str) -> None:
    assert human_size(size) == text
