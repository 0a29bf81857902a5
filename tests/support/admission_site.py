"""A signed release in one registry and moved to another, with an unsigned one beside it, for what enforces signatures."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import click

from nexus_oci.cli.main import command
from nexus_oci.oci.store import Store
from tests.support.peers import PASSPHRASE, Outcome
from tests.unit.cli.conftest import release

_MANIFESTS = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json"


@dataclass(frozen=True, kw_only=True)
class Site:
    """A signed release at `origin`, and, moved there by a push, at `mirror`, another host. 6.6.6 is beside it in both, unsigned."""

    origin: str
    mirror: str
    keys: Path

    @property
    def public(self) -> Path:
        """The key that signed."""
        return self.keys / "release.pub"

    @property
    def other(self) -> Path:
        """A key that signed nothing."""
        return self.keys / "other.pub"

    @property
    def moved(self) -> tuple[str, str]:
        """The option that says that one is a mirror of the other."""
        return "--mirror", f"{self.origin}={self.mirror}"


@contextlib.contextmanager
def signed_site(folder: Path, first: str, second: str) -> Iterator[Site]:
    """Make keys and releases below `folder`, sign one, and push all to namespaces of two registries."""
    for name in ("release", "other"):
        done(folder, "keygen", "--output", name)
    release(Store.create(folder / "good" / "dist" / "oci"))
    release(Store.create(folder / "evil" / "dist" / "oci"), "6.6.6")
    origin, mirror = f"{first}/origin/nexus", f"{second}/site/mirrored"
    done(folder / "good", "sign", "--key", folder / "release.key", "--identity", origin)
    for place in (origin, mirror):
        for project, target in (("good", place), ("evil", place), ("evil", f"{place}-elsewhere")):
            done(folder / project, "push", target, "--plain-http")
    yield Site(origin=origin, mirror=mirror, keys=folder)


def nexus(folder: Path, *words: str | Path) -> Outcome:
    """Our own program, in this process: it starts often here, and is proved to start elsewhere."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    surroundings = {"NEXUS_OCI_KEY_PASSPHRASE": PASSPHRASE}
    with (
        mock.patch.dict(os.environ, surroundings), mock.patch.object(sys, "stdin", io.StringIO()),
        contextlib.redirect_stdout(out), contextlib.redirect_stderr(err),
    ):  # fmt: skip
        try:
            command.main(["-C", str(folder), *map(str, words)], standalone_mode=False)
        except SystemExit as ended:
            code = int(ended.code or 0)
        except click.ClickException as error:
            err.write(error.format_message())
            code = error.exit_code
    return Outcome(code, out.getvalue(), err.getvalue())


def done(folder: Path, *words: str | Path) -> str:
    """The same, to an end that must be good; what it prints."""
    outcome = nexus(folder, *words)
    assert outcome.code == 0, outcome.err
    return outcome.out


def get(name: str) -> tuple[str, bytes]:
    """The media type and bytes of a manifest in a registry on loopback, HOST/REPOSITORY:TAG or @DIGEST."""
    with urllib.request.urlopen(_request(name, headers={"Accept": _MANIFESTS})) as answer:
        return answer.headers["Content-Type"], answer.read()


def put(name: str, kind: str, data: bytes) -> None:
    """Write a manifest under a name."""
    with urllib.request.urlopen(_request(name, method="PUT", data=data, headers={"Content-Type": kind})):
        pass


def delete(name: str) -> None:
    """Delete a manifest by its digest, and with it every tag that leads there."""
    with urllib.request.urlopen(_request(name, method="DELETE")):
        pass


def digest(name: str) -> str:
    """The digest of a name's manifest."""
    with urllib.request.urlopen(_request(name, method="HEAD", headers={"Accept": _MANIFESTS})) as answer:
        return str(answer.headers["Docker-Content-Digest"])


def digests(name: str) -> list[str]:
    """The digest of a name's index, and of the manifests that it lists."""
    return [digest(name), *(child["digest"] for child in json.loads(get(name)[1])["manifests"])]


def signature_tag(subject: str) -> str:
    """The tag under which signatures of a digest stand."""
    return f"{subject.replace(':', '-')}.sig"


def _request(name: str, **settings: Any) -> urllib.request.Request:
    host, _, rest = name.partition("/")
    repository, _, target = rest.rpartition("@" if "@" in rest else ":")
    return urllib.request.Request(f"http://{host}/v2/{repository}/manifests/{target}", **settings)
