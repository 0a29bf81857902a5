"""What git says, asked of real repositories."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from nexus_oci.definition.source_control import inspect, tags

Git = Callable[..., str]


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Git]:
    """A repository with one commit, and a way to run git in it."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    root = tmp_path / "repository"
    root.mkdir()

    def git(*arguments: str) -> str:
        words = ["git", "-C", str(root), "-c", "user.name=a", "-c", "user.email=a@b.example", *arguments]
        return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "--quiet", "--initial-branch=main")
    (root / "a").write_text("1")
    git("add", "a")
    git("commit", "--quiet", "-m", "one", "--date=2001-01-01T00:00:00Z")
    return root, git


def test_a_commit_its_time_and_whether_files_changed(repository: tuple[Path, Git]) -> None:
    root, git = repository
    state = inspect(root)
    assert (state.commit, state.time) == (git("rev-parse", "HEAD"), int(git("log", "-1", "--format=%ct")))
    assert (state.dirty, state.address, state.shallow, state.fault) == (False, None, False, None)
    (root / "new").write_text("git does not know this file")
    assert inspect(root).dirty is False
    (root / "a").write_text("2")
    assert inspect(root).dirty is True


def test_credentials_in_the_address_are_left_out(repository: tuple[Path, Git]) -> None:
    root, git = repository
    git("remote", "add", "origin", "https://user:secret@git.example/team/shop")
    assert inspect(root).address == "https://git.example/team/shop"
    git("remote", "set-url", "origin", "git@git.example:team/shop")
    assert inspect(root).address == "git@git.example:team/shop"


def test_a_folder_without_a_repository_is_no_error(tmp_path: Path) -> None:
    state = inspect(tmp_path)
    assert (state.commit, state.time, state.dirty) == (None, None, None)
    assert state.fault == f"{tmp_path} is in no git repository"


def test_a_repository_without_a_commit_is_no_error(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    assert inspect(tmp_path).fault == "the git repository has no commit yet"


def test_a_machine_without_git_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert inspect(tmp_path).fault == "git is not installed"


def test_the_variables_of_a_git_hook_do_not_redirect_the_questions(
    repository: tuple[Path, Git], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, _ = repository
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    assert inspect(root).commit is not None


def test_tags_here_and_before_with_their_distance(repository: tuple[Path, Git]) -> None:
    root, git = repository
    assert tags(root, "v") == tags(root, "w")
    assert (tags(root, "v").here, tags(root, "v").before, tags(root, "v").distance) == ((), None, 1)
    for name in ("v1.0.0", "v1.0.1", "vendor-2", "shop/2.0.0"):
        git("tag", name)
    assert tags(root, "v").here == ("v1.0.0", "v1.0.1")
    assert tags(root, "shop/").here == ("shop/2.0.0",)
    git("commit", "--quiet", "--allow-empty", "-m", "two")
    later = tags(root, "v")
    assert (later.here, later.distance) == ((), 1)
    assert later.before in ("v1.0.0", "v1.0.1")


def test_a_shallow_clone_is_known_as_one(repository: tuple[Path, Git], tmp_path: Path) -> None:
    root, git = repository
    git("commit", "--quiet", "--allow-empty", "-m", "two")
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", "--depth=1", f"file://{root}", str(clone)], check=True)
    assert inspect(clone).shallow
