"""Contexts: what a build may read, the same on every machine, and known by its content."""

from __future__ import annotations

import io
import os
import socket
import tarfile
from pathlib import Path

import pytest

from nexus_oci.errors import DefinitionError
from nexus_oci.render.context import Context, folder, from_file, from_tree, in_memory


def tree(root: Path, **files: str) -> Path:
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def context(root: Path, *ignore: str) -> Context:
    return Context(files=from_tree(root, "source", ignore))


def members(found: Context, epoch: int = 7) -> list[tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(b"".join(found.tar(epoch)))) as archive:
        return archive.getmembers()


def test_a_context_depends_on_names_contents_and_modes_alone(tmp_path: Path) -> None:
    one, two = tree(tmp_path / "1", b="2", a__c="1"), tree(tmp_path / "2", a__c="1", b="2")
    os.utime(one / "b", (1, 1))
    (two / "b").chmod(0o600)
    assert b"".join(context(one).tar(7)) == b"".join(context(two).tar(7))
    (two / "b").chmod(0o755)
    assert context(one).digest(".") != context(two).digest(".")


def test_the_tar_is_sorted_root_owned_and_has_every_folder(tmp_path: Path) -> None:
    files = from_tree(tree(tmp_path, b="2", a__c="11"), "source")
    files |= {"files/data": folder(0o750, 65532), "x/run": in_memory(b"#!", 0o755)}
    found = [(m.name, m.type, m.mode, m.uid, m.gid, m.size, m.mtime) for m in members(Context(files=files))]
    assert found == [
        ("files", b"5", 0o755, 0, 0, 0, 7), ("files/data", b"5", 0o750, 65532, 65532, 0, 7), ("source", b"5", 0o755, 0, 0, 0, 7),
        ("source/a", b"5", 0o755, 0, 0, 0, 7), ("source/a/c", b"0", 0o644, 0, 0, 2, 7), ("source/b", b"0", 0o644, 0, 0, 1, 7),
        ("x", b"5", 0o755, 0, 0, 0, 7), ("x/run", b"0", 0o755, 0, 0, 2, 7),
    ]  # fmt: skip


def test_a_digest_covers_its_path_and_nothing_beside(tmp_path: Path) -> None:
    root = tree(tmp_path, a__x="1", ab="1", a_dot_x="1")
    before = context(root)
    (root / "ab").write_text("2")
    (root / "a.x").write_text("2")
    after = context(root)
    same = {
        path: before.digest(path) == after.digest(path) for path in ("source/a", "source/a/", "source/ab", "source", ".", "none")
    }
    assert same == {"source/a": True, "source/a/": True, "source/ab": False, "source": False, ".": False, "none": True}
    assert set(after.listing(["source/a", "source/ab", "source/a/x"])) == {"source/a/x", "source/ab"}


def test_a_digest_follows_links_on_the_way_to_its_path(tmp_path: Path) -> None:
    root = tree(tmp_path, real__conf="1", other="1")
    (root / "link").symlink_to("real")
    (root / "again").symlink_to("link/conf")
    before = context(root)
    (root / "real" / "conf").write_text("2")
    after = context(root)
    for path in ("source/link/conf", "source/link", "source/again"):
        assert before.digest(path) != after.digest(path)
    assert before.digest("source/other") == after.digest("source/other")


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert set(context(tmp_path).listing(["source/a"])) == {"source/a", "source/b"}


def test_odd_but_legal_names_survive(tmp_path: Path) -> None:
    names = ["new\nline", "ünï", "sp ace", "back\\slash", "-dash", "x" * 200]
    for name in names:
        (tmp_path / name).write_text(name)
    (tmp_path / "..dots").write_text("x")
    (tmp_path / "to-dots").symlink_to("..dots")
    found = {m.name.removeprefix("source/"): m for m in members(context(tmp_path)) if not m.isdir()}
    assert set(found) == {*names, "..dots", "to-dots"}
    assert found["to-dots"].linkname == "..dots"


@pytest.mark.parametrize(
    ("pattern", "left"),
    [
        ("*.log", {"a/b.txt", "keep/x"}),
        ("a", {"keep/x", "keep/a.log"}),
        ("a/", {"keep/x", "keep/a.log"}),
        ("./a/*.txt", {"a/c.log", "keep/x", "keep/a.log"}),
        ("keep/x", {"a/b.txt", "a/c.log", "keep/a.log"}),
        ("[", {"a/b.txt", "a/c.log", "keep/x", "keep/a.log"}),
    ],
)
def test_a_pattern_leaves_out_paths_and_names(tmp_path: Path, pattern: str, left: set[str]) -> None:
    tree(tmp_path, a__b_dot_txt="", a__c_dot_log="", keep__x="", keep__a_dot_log="", _dot_git__HEAD="", node_modules__x="")
    assert {name.removeprefix("source/") for name in context(tmp_path, pattern).files} == left


def test_a_tree_may_be_taken_whole(tmp_path: Path) -> None:
    tree(tmp_path, node_modules__x="", _dot_git__HEAD="")
    assert set(from_tree(tmp_path, "source", always=())) == {"source/node_modules/x", "source/.git/HEAD"}


def test_what_a_build_left_in_the_source_is_no_source(tmp_path: Path) -> None:
    tree(tmp_path, main="x", dist__app_dot_js="x")
    before = context(tmp_path).digest(".")
    tree(tmp_path, dist__oci___dot_nexus__lock="", dist__SHA256SUMS="", dist__manifest_dot_json="", dist__artifacts__a_dot_deb="")
    (tmp_path / "dist" / "oci" / "oci-layout").write_text("")
    assert context(tmp_path).digest(".") == before


@pytest.mark.parametrize("target", ["/etc/passwd", "..", "../x", "a/../../x", "../../x"])
def test_a_link_out_of_the_tree_is_refused(tmp_path: Path, target: str) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / ("link" if not target.startswith("../..") else "sub/link")).symlink_to(target)
    with pytest.raises(DefinitionError, match="outside the engine's source"):
        context(tmp_path)


def test_what_is_no_file_is_refused_unless_it_is_left_out(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(DefinitionError, match="fifo is neither a file nor a folder"):
        context(tmp_path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        with pytest.raises(DefinitionError, match="s is neither"):
            context(tmp_path, "fifo")
    assert context(tmp_path, "fifo", "s").files == {}


def test_a_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))).write_text("")
    with pytest.raises(DefinitionError, match="is not UTF-8"):
        context(tmp_path)


def test_what_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree(tmp_path, a="x", sub__b="x")

    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    with pytest.raises(DefinitionError, match=r"none cannot be read") as caught:
        from_file(tmp_path / "none")
    assert "No such file" in str(caught.value)
    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(DefinitionError, match="the folder .* cannot be read"):
        context(tmp_path)


@pytest.mark.parametrize("change", ["grown and grown", "x", "yx", None])
def test_a_file_that_changes_after_it_was_hashed_is_noticed(tmp_path: Path, change: str | None) -> None:
    found = context(tree(tmp_path, a="xy"))
    if change is None:
        (tmp_path / "a").unlink()
    else:
        (tmp_path / "a").write_text(change)
    sent = 0
    with pytest.raises(DefinitionError, match="source/a changed while the build read it"):
        for piece in found.tar(0):
            sent += len(piece)
    assert sent <= 2 * 512 + 2


def test_a_large_file_is_hashed_like_a_small_one(tmp_path: Path) -> None:
    data = os.urandom(3 << 20)
    (tmp_path / "large").write_bytes(data)
    entry = from_file(tmp_path / "large")
    assert (entry.digest, entry.size) == (in_memory(data).digest, len(data))
    assert len(b"".join(Context(files={"large": entry}).tar(0))) == 512 + len(data) + 1024
