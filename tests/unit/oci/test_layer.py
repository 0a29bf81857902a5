"""Layers in the store: the same tree gives the same layer by every way in, and nothing is left behind when one
fails."""

from __future__ import annotations

import gzip
import hashlib
import io
import random
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from nexus_oci.errors import ArchiveError, StoreError, VerificationError
from nexus_oci.oci import media_types
from nexus_oci.oci.layer import (
    Layer,
    LinkCovered,
    Rewriting,
    layer_in_store,
    store_layer,
    store_layer_from_file,
)
from nexus_oci.oci.store import Store
from nexus_oci.oci.values import Digest

REWRITING = Rewriting(epoch=1_700_000_000)
ITEMS = {
    "bin": ("usr/bin", tarfile.SYMTYPE),
    "etc": (None, tarfile.DIRTYPE),
    "etc/a-b": (b"x" * 700, tarfile.REGTYPE),
    "etc/mtab": ("/proc/mounts", tarfile.SYMTYPE),
    "usr": (None, tarfile.DIRTYPE),
    "usr/bin": (None, tarfile.DIRTYPE),
    "usr/bin/tool": (random.Random(5).randbytes(3 << 20), tarfile.REGTYPE),
    "usr/bin/twin": ("usr/bin/tool", tarfile.LNKTYPE),
}


def tar_of(names: list[str], *, lead: str = "", mtime: int = 0) -> bytes:
    """A tar of ITEMS in the order of `names`."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name in names:
            content, kind = ITEMS[name]
            info = tarfile.TarInfo(lead + name)
            info.type, info.mtime, info.uname = kind, mtime, "me"
            info.mode = 0o777 if kind == tarfile.SYMTYPE else 0o755
            if isinstance(content, str):
                info.linkname = lead + content if kind == tarfile.LNKTYPE else content
                content = None
            info.size = len(content or b"")
            tar.addfile(info, io.BytesIO(content or b""))
    return buffer.getvalue()


ORDERED = tar_of(list(ITEMS))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "store")


def leftovers(store: Store) -> list[Path]:
    return list(store.scratch.iterdir())


def test_both_digests_and_the_size_are_those_of_the_content(store: Store) -> None:
    layer = store_layer(store, [ORDERED], REWRITING)
    compressed = store.path(layer.descriptor.digest).read_bytes()
    data = gzip.decompress(compressed)
    assert layer.descriptor.media_type == media_types.LAYER_GZIP
    assert layer.descriptor.size == len(compressed)
    assert layer.descriptor.digest == f"sha256:{hashlib.sha256(compressed).hexdigest()}"
    assert layer.diff_id == f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert layer.size == len(data)
    assert store.intact(layer.descriptor)
    assert leftovers(store) == []


def test_every_way_in_gives_the_same_layer(store: Store, tmp_path: Path) -> None:
    """In order and not, as one stream or many pieces, from a file, with a prefix, made at another time."""
    shuffled = ["usr/bin/tool", "usr/bin/twin", "usr/bin", "bin", "etc/mtab", "etc/a-b", "usr", "etc"]
    path = tmp_path / "x.tar"
    path.write_bytes(tar_of(shuffled))
    pieces = [ORDERED[at : at + 7001] for at in range(0, len(ORDERED), 7001)]
    layers = [
        store_layer(store, [ORDERED], REWRITING),
        store_layer(store, pieces, REWRITING),
        store_layer(store, io.BytesIO(ORDERED), Rewriting(epoch=REWRITING.epoch, workers=1)),
        store_layer(store, [path.read_bytes()], Rewriting(epoch=REWRITING.epoch, workers=5)),
        store_layer_from_file(store, path, REWRITING),
        store_layer(store, [tar_of(list(ITEMS), lead="./rootfs/")], REWRITING, prefix="rootfs"),
    ]
    assert all(layer == layers[0] for layer in layers)
    assert leftovers(store) == []


def test_times_after_the_epoch_do_not_matter(store: Store) -> None:
    one = store_layer(store, [tar_of(list(ITEMS), mtime=1_800_000_000)], REWRITING)
    two = store_layer(store, [tar_of(list(ITEMS), mtime=1_900_000_000)], REWRITING)
    assert one == two
    assert one != store_layer(store, [ORDERED], REWRITING)
    fixed = Rewriting(epoch=REWRITING.epoch, fixed=True)
    assert store_layer(store, [ORDERED], fixed) == one


def test_one_owner_can_be_given_to_all(store: Store) -> None:
    layer = store_layer(store, [ORDERED], Rewriting(epoch=0, owner=(65532, 65532)))
    with tarfile.open(store.path(layer.descriptor.digest)) as tar:
        assert {(member.uid, member.gid) for member in tar} == {(65532, 65532)}


def test_links_to_folders_of_the_layer_are_told(store: Store) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, target in {
            "bin": "usr/bin", "lib64": "/lib", "lib": "usr/lib", "to-file": "usr/bin/x", "loop": "loop2",
            "loop2": "loop", "outside": "/var/lib", "usr/local": "../opt/./x/..", "self": ".",
        }.items():  # fmt: skip
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)
        for name in ("usr/bin/x", "usr/lib/y", "opt/z"):
            tar.addfile(tarfile.TarInfo(name))
    layer = store_layer(store, [buffer.getvalue()], REWRITING)
    assert dict(layer.links) == {
        "bin": "usr/bin", "lib": "usr/lib", "lib64": "usr/lib", "self": "", "usr/local": "opt",
    }  # fmt: skip
    assert Layer.from_json(layer.to_json()) == layer


def test_a_record_that_is_no_layer_is_refused() -> None:
    with pytest.raises(VerificationError, match="layer's record is malformed"):
        Layer.from_json({"descriptor": {"mediaType": "x", "digest": "sha256:" + "0" * 64, "size": 1}, "links": []})


@pytest.mark.parametrize("name", ["bin/x", "a/../bin", "lib/deep/er/x"])
def test_a_folder_over_a_link_of_the_base_is_noticed(store: Store, name: str) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        if ".." in name:
            info = tarfile.TarInfo("bin")
            info.type = tarfile.DIRTYPE
            tar.addfile(info)
        else:
            tar.addfile(tarfile.TarInfo(name))
    with pytest.raises(LinkCovered, match=r"the payload has a folder '(bin|lib)' where its base has a symbolic link"):
        store_layer(store, [buffer.getvalue()], REWRITING, origin="the payload", base_links={"bin": "usr/bin", "lib": "usr/lib"})
    assert leftovers(store) == []


def test_a_file_or_link_over_a_link_of_the_base_is_let_pass(store: Store) -> None:
    assert store_layer(store, [ORDERED], REWRITING, base_links={"bin": "usr/bin", "usr/bin/tool": "x"})


def test_an_empty_archive_is_a_layer(store: Store) -> None:
    layer = store_layer(store, [bytes(1024)], REWRITING)
    assert layer.size == 1024
    assert layer.diff_id == "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"


def test_nothing_is_kept_of_a_refused_archive(store: Store, tmp_path: Path) -> None:
    threads = threading.active_count()
    for data in (ORDERED[: 2 << 20], ORDERED + b"x", tar_of(["usr/bin/tool", "etc/a-b"])[: 2 << 20]):
        with pytest.raises(ArchiveError, match="the stage deb is malformed"):
            store_layer(store, [data], REWRITING, origin="the stage deb")
        path = tmp_path / "x.tar"
        path.write_bytes(data)
        with pytest.raises(ArchiveError, match=r"x\.tar is malformed"):
            store_layer_from_file(store, path, REWRITING)
    assert leftovers(store) == []
    assert list((store.root / "blobs" / "sha256").iterdir()) == []
    assert threading.active_count() == threads


def test_a_file_that_is_missing_is_an_error(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match=r"x\.tar cannot be read"):
        store_layer_from_file(store, tmp_path / "x.tar", REWRITING)


def test_an_engine_that_dies_leaves_nothing(store: Store) -> None:
    def dying() -> Iterator[bytes]:
        yield ORDERED[: len(ORDERED) // 2]
        raise ConnectionResetError("the engine went away")

    with pytest.raises(ConnectionResetError, match="the engine went away"):
        store_layer(store, dying(), REWRITING)
    assert leftovers(store) == []


def test_a_full_disk_is_told(store: Store) -> None:
    """A limit on file sizes stands in for a full disk: writing fails in the same places."""
    program = (
        "import sys, resource, signal, errno; from pathlib import Path\n"
        "from nexus_oci.oci.layer import Rewriting, store_layer; from nexus_oci.oci.store import Store\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "store = Store.create(Path(sys.argv[1]))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))\n"
        "store_layer(store, sys.stdin.buffer, Rewriting(epoch=0))\n"
    )
    done = subprocess.run([sys.executable, "-c", program, store.root], input=ORDERED, capture_output=True, check=False)
    assert StoreError.__name__ in done.stderr.decode()
    assert "a layer cannot be kept" in done.stderr.decode()
    assert leftovers(store) == []


def test_memory_does_not_grow_with_the_layer(store: Store) -> None:
    """600 MiB in and out of order, in a process of its own, whose peak is asked of the system."""
    program = (
        "import sys; from pathlib import Path; from nexus_oci.oci.canonical import encode_header\n"
        "from nexus_oci.oci.layer import Rewriting, store_layer; from nexus_oci.oci.store import Store\n"
        "from nexus_oci.oci.tar_header import Entry, Kind\n"
        "def chunks(names):\n"
        "    block = bytes(1 << 20)\n"
        "    for name in names:\n"
        "        yield encode_header(Entry(name=name, kind=Kind.FILE, size=300 << 20))\n"
        "        for _ in range(300): yield block\n"
        "    yield bytes(1024)\n"
        "store = Store.create(Path(sys.argv[1]))\n"
        "found = {store_layer(store, chunks(names), Rewriting(epoch=0, workers=2)).diff_id for names in ('ab', 'ba')}\n"
        "status = Path('/proc/self/status').read_text()\n"
        "print(len(found), status.partition('VmHWM:')[2].split()[0])\n"
    )
    done = subprocess.run([sys.executable, "-c", program, store.root], capture_output=True, check=True)
    different, peak = map(int, done.stdout.split())
    assert different == 1
    assert peak < 80 << 10, f"{peak} KiB"


def test_a_blob_that_stays_as_it_came_is_checked_and_described(store: Store) -> None:
    data = tar_of(["usr", "usr/bin", "bin", "usr/bin/tool"])
    diff_id = Digest(f"sha256:{hashlib.sha256(data).hexdigest()}")
    for media_type, blob in ((media_types.LAYER_GZIP, gzip.compress(data, 1)), (media_types.LAYER, data)):
        descriptor = store.put(blob, media_type)
        layer = layer_in_store(store, descriptor, diff_id=diff_id, origin="the base")
        assert layer == Layer(descriptor=descriptor, diff_id=diff_id, size=len(data), links={"bin": "usr/bin"})
        with pytest.raises(VerificationError, match="the base is not what its image's config says"):
            layer_in_store(store, descriptor, diff_id=Digest("sha256:" + "0" * 64), origin="the base")


def test_a_damaged_blob_is_not_described(store: Store) -> None:
    descriptor = store.put(gzip.compress(ORDERED, 1), media_types.LAYER_GZIP)
    path = store.path(descriptor.digest)
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 0xFF
    path.write_bytes(damaged)
    with pytest.raises((VerificationError, ArchiveError), match="damaged"):
        layer_in_store(store, descriptor, diff_id=Digest("sha256:" + "0" * 64), origin="the base")
