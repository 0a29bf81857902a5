"""Runs the command line in this process, and a store with a small release."""

from __future__ import annotations

import signal
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from nexus_oci.cli import main as program
from nexus_oci.oci import media_types
from nexus_oci.oci.store import Store
from nexus_oci.oci.values import Descriptor, Platform, digest_of
from nexus_oci.release.assemble import BuiltFile, Named, store_artifact, store_index, store_release
from nexus_oci.release.image import ImageLayer, store_image

AMD64 = Platform.parse("linux/amd64")


@dataclass(frozen=True)
class Run:
    """How a run ended."""

    code: int
    out: str
    err: str


RunProgram = Callable[..., Run]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> RunProgram:
    """Runs `nexus-oci` with the words given."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.delenv(program.DEBUG, raising=False)

    def start(*words: object) -> Run:
        monkeypatch.setattr(sys, "argv", ["nexus-oci", *map(str, words)])
        code: int | str | None = 0
        try:
            program.main()
        except SystemExit as ended:
            code = ended.code
        captured = capsys.readouterr()
        return Run(int(code or 0), captured.out, captured.err)

    return start


def release(store: Store, version: str = "1.0.0", title: str = "x.deb") -> Descriptor:
    """Write a release of one image and one deb to the store, named as a build names it."""
    packer = zlib.compressobj(wbits=31)
    tar = bytes(1024)
    layer = store.put(packer.compress(tar) + packer.flush(), media_types.LAYER_GZIP)
    image = store_image(
        store, platform=AMD64, config={}, layers=[ImageLayer(descriptor=layer, diff_id=digest_of(tar), created_by="x")],
        labels={media_types.VERSION: version}, epoch=1,
    )  # fmt: skip
    index = store_index(store, [image], {})
    blob = store.put(b"deb " + version.encode(), media_types.ARTIFACTS["deb"][1])
    file = BuiltFile(distribution="runtime", platform=AMD64, format="deb", title=title, files=((title, blob),))
    artifact = store_artifact(store, file, index, {})
    named = Named(descriptor=index, repository="engine", tag=version)
    root = store_release(store, images=[named], artifacts=[artifact], charts=[], annotations={})
    store.replace_tags({version: root, f"engine:{version}": index}, [artifact])
    return root


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder whose dist/oci has one release."""
    release(Store.create(tmp_path / "dist" / "oci"))
    return tmp_path
