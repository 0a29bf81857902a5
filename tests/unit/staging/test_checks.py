"""Which paths, kinds, modes, links and sizes can go into a package, and what is said of those that cannot."""

from __future__ import annotations

import pytest

from nexus_oci.staging.checks import check_items, check_links, conflicts
from nexus_oci.staging.tree import Item


def file(path: str, size: int = 1, mode: int = 0o644, digest: str = "a") -> Item:
    return Item(path=path, kind="file", size=size, mode=mode, digest=digest)


def link(path: str, target: str) -> Item:
    return Item(path=path, kind="link", target=target)


def faults(*items: Item, formats: tuple[str, ...] = ("deb", "rpm", "apk", "archlinux"), **modes: int) -> list[str]:
    declared = {path.replace("_", "/"): mode for path, mode in modes.items()}
    return [str(problem) for problem in (*check_items(items, formats, declared), *check_links(items))]


@pytest.mark.parametrize(
    "name", ["a b", "ü — 日本", 'it\'s "quoted"', "-rf", "back\\slash", "$HOME", "README", "readme", "é" * 120, "#;%"]
)
def test_unusual_names_are_allowed(name: str) -> None:
    assert faults(file(f"/usr/lib/x/{name}"), file("/usr/lib/x/Readme")) == []


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/usr/lib/x/a\nb", r"/usr/lib/x/a\\nb: the name has a newline"),
        ("/usr/lib/x/a\tb", r"the name has '\\t'"),
        ("/usr/lib/x/\x9b31m", r"the name has '\\x9b'"),
        ("/usr/lib/x/\udcff", r"/usr/lib/x/\\udcff: the name is not UTF-8"),
        ("/usr/lib/x/" + "é" * 128, "a component has 256 bytes, and what package managers can unpack has 245"),
        ("/usr/lib/x" + "/abcdefghi" * 409, "the path has 4100 bytes, and Linux takes 4095"),
    ],
)
def test_a_name_that_no_file_system_or_list_can_carry_is_refused(path: str, why: str) -> None:
    (fault,) = check_items([file(path)], ["deb"])
    with pytest.raises(AssertionError, match=why):
        raise AssertionError(fault)
    assert str(fault).isprintable()
    assert len(str(fault)) < 600


def test_a_path_of_300_characters_is_allowed() -> None:
    assert faults(file("/usr/lib/x/" + "/".join("a" * 40 for _ in range(7)))) == []


@pytest.mark.parametrize("kind", ["device", "socket", "pipe"])
def test_what_belongs_to_a_running_system_is_refused(kind: str) -> None:
    (fault,) = faults(Item(path="/run/x", kind=kind))  # type: ignore[arg-type]
    assert "cannot be packaged" in fault


def test_setuid_needs_the_definitions_word_for_it() -> None:
    (fault,) = faults(file("/usr/bin/x", mode=0o4755))
    assert (
        'the file is setuid (4755), which lets whoever runs it act as another user; take the bit away, or say `mode: "4755"`'
        in fault
    )
    assert "setuid and setgid (6755)" in faults(file("/usr/bin/x", mode=0o6755), _usr_bin_x=0o4755)[0]
    assert faults(file("/usr/bin/x", mode=0o4755), _usr_bin_x=0o4755) == []


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("/usr/lib/x/gone", "is in the package's own folder and not there"),
        ("gone", "is in the package's own folder and not there"),
        ("to-gone", "is in the package's own folder and not there"),
        ("../../../../../etc/passwd", "above the root of the file system"),
        ("loop", "in a circle"),
        ("", "empty"),
    ],
)
def test_a_link_that_can_lead_nowhere_is_refused(target: str, why: str) -> None:
    tree = [file("/usr/lib/x/here"), link("/usr/lib/x/to-gone", "gone"), link("/usr/lib/x/loop", "loop")]
    (fault,) = [fault for fault in faults(*tree, link("/usr/lib/x/it", target)) if fault.startswith("/usr/lib/x/it: ")]
    assert why in fault


@pytest.mark.parametrize(
    "target", ["here", "/usr/lib/x/here", "../x/sub/f", "/usr/bin/python3", "../../bin/python3", "/usr/lib/x", "to-here", "dir/f"]
)
def test_a_link_into_the_package_or_to_the_host_is_allowed(target: str) -> None:
    tree = [file("/usr/lib/x/here"), file("/usr/lib/x/sub/f"), link("/usr/lib/x/to-here", "here"), link("/usr/lib/x/dir", "sub")]
    assert faults(*tree, link("/usr/lib/x/it", target)) == []


def test_each_format_has_its_own_limit_of_size() -> None:
    five = 5 << 30
    (fault,) = faults(file("/usr/lib/x/big", size=five))
    assert fault.startswith("/usr/lib/x/big: its 5368709120 bytes do not fit into rpm, which takes 4294967295")
    assert faults(file("/usr/lib/x/big", size=five), formats=("deb", "apk", "archlinux", "ipk", "tar.gz")) == []
    assert faults(file("/usr/lib/x/big", size=(1 << 32) - 1)) == []
    (fault,) = faults(file("/a", size=five), file("/b", size=five), formats=("deb",))
    assert "all files together have 10737418240 bytes, and deb takes 9999999999" in fault


def test_two_sources_that_give_one_path_in_different_ways_are_told_apart() -> None:
    engine = ("the engine", [file("/usr/bin/x", digest="a"), file("/etc/x", digest="a"), file("/opt/f"), link("/l", "a")])
    package = ("the package", [file("/usr/bin/x", digest="b"), file("/etc/x", digest="a"), file("/opt/f/inner"), link("/l", "b")])
    found = [str(problem) for problem in conflicts([engine, package], lambda item: item.digest)]
    assert [fault.partition(";")[0] for fault in found] == [
        "/usr/bin/x: both the engine and the package have it, of different content",
        "/l: both the engine and the package have it, a link to a and a link to b",
        "/opt/f/inner: the package needs a folder at /opt/f, where the engine has a file",
    ]
