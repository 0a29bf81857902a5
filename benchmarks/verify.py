"""Measures the verification of a large release in a registry against reading and hashing the same bytes once.

    python benchmarks/verify.py [--runs 5] [--keep FOLDER]

The release has 5 distributions for 2 platforms in every format that there is; its files are bytes of this machine, written,
signed, attested and pushed by the program's own code to a real registry in a container. The floor reads every manifest and blob
of it, whose names it is given, over as many connections as the program uses, and hashes each; nothing else. `--keep` leaves the
release there for the next call. Times are of whole commands, start of Python included, and medians; `--shallow` reads no blobs.
The seconds of processor, the program's and the registry's, say what it would take on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import resource
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from nexus_oci.oci import media_types  # noqa: E402
from nexus_oci.oci.layer import Rewriting, store_layer  # noqa: E402
from nexus_oci.oci.store import Store  # noqa: E402
from nexus_oci.oci.values import Descriptor, Platform  # noqa: E402
from nexus_oci.pipeline.provenance import unsigned_statement  # noqa: E402
from nexus_oci.pipeline.registries import Access  # noqa: E402
from nexus_oci.release.assemble import BuiltFile, Named, store_artifact, store_chart, store_index, store_release  # noqa: E402
from nexus_oci.release.image import ImageLayer, store_image  # noqa: E402
from nexus_oci.trust.provenance import Parameters, Provenance  # noqa: E402
from tests.support.registry import running_registry  # noqa: E402

DISTRIBUTIONS = ("runtime", "library", "container", "api", "sdk")
PLATFORMS = (Platform.parse("linux/amd64"), Platform.parse("linux/arm64"))
REPOSITORIES = ("apt", "yum")
VERSION = "1.0.0"
EPOCH = 1_700_000_000
MIB = 1 << 20
BASE, OWN, PACKAGE = 100 * MIB, 16 * MIB, 2 * MIB
"""Bytes, not compressed: of a platform's base layer, which every distribution shares; of a distribution's own; of a package."""
PASSPHRASE = {"NEXUS_OCI_KEY_PASSPHRASE": "benchmark"}
JOBS = 8

FLOOR = """
import hashlib, http.client, json, sys, threading
host, jobs, paths = sys.argv[1], int(sys.argv[2]), iter(json.load(open(sys.argv[3])))
lock = threading.Lock()
def work():
    connection = http.client.HTTPConnection(host, blocksize=1 << 18)
    buffer = memoryview(bytearray(1 << 18))
    while True:
        with lock:
            path = next(paths, None)
        if path is None:
            return
        connection.request("GET", path, headers={"Accept": sys.argv[4]})
        answer = connection.getresponse()
        digest = hashlib.sha256()
        while count := answer.readinto(buffer):
            digest.update(buffer[:count])
        if digest.hexdigest() != path.rpartition(":")[2]:
            sys.exit(path)
threads = [threading.Thread(target=work) for _ in range(jobs)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""


def content() -> Iterator[bytes]:
    """What files are made of: programs, libraries and texts of this machine, over and over."""
    while True:
        for path in sorted(Path(sys.base_prefix, "lib").rglob("*")) + sorted(Path("/usr/lib").rglob("*")):
            with contextlib.suppress(OSError):
                if path.is_file() and not path.is_symlink() and path.stat().st_size > 1 << 18:
                    yield path.read_bytes()


def tar_of(source: Iterator[bytes], size: int, name: str) -> bytes:
    """An uncompressed tar of about `size` bytes."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        number = 0
        while target.tell() < size:
            number += 1
            data = next(source)[: size // 4]
            header = tarfile.TarInfo(f"opt/{name}/{number:05}")
            header.size = len(data)
            archive.addfile(header, io.BytesIO(data))
    return target.getvalue()


def deb_of(data: bytes) -> bytes:
    """As much of a Debian package as its readers need: an ar archive with the files."""
    member = b"%-16b%-12d%-6d%-6d%-8s%-10d`\n" % (b"data.tar", 0, 0, 0, b"100644", len(data))
    return b"!<arch>\n" + member + data + b"\n" * (len(data) % 2)


class Maker:
    """Writes the release to a store."""

    def __init__(self, folder: Path) -> None:
        self.store = Store.create(folder / "dist" / "oci")
        self.source = content()
        self.artifacts: list[Descriptor] = []

    def layer(self, size: int, name: str) -> ImageLayer:
        made = store_layer(self.store, io.BytesIO(tar_of(self.source, size, name)), Rewriting(epoch=EPOCH))
        return ImageLayer(descriptor=made.descriptor, diff_id=made.diff_id, created_by=name)

    def release(self) -> Descriptor:
        notes = {media_types.VERSION: VERSION, media_types.CREATED: "2026-01-01T00:00:00Z"}
        bases = {platform: self.layer(BASE, f"base-{platform.slug}") for platform in PLATFORMS}
        named = []
        for name in DISTRIBUTIONS:
            about = {**notes, media_types.DISTRIBUTION: name, media_types.TITLE: name}
            images = [
                store_image(
                    self.store, platform=platform, config={}, labels=about, epoch=EPOCH,
                    layers=[bases[platform], self.layer(OWN, f"{name}-{platform.slug}")],
                )
                for platform in PLATFORMS
            ]  # fmt: skip
            index = store_index(self.store, images, about)
            named.append(Named(descriptor=index, repository=name, tag=VERSION))
            self.files(name, index, notes)
        chart = store_chart(self.store, config=b'{"name":"chart"}', archive=os.urandom(1 << 15), annotations=notes)
        charts = [Named(descriptor=chart, repository="charts/chart", tag=VERSION)]
        root = store_release(self.store, images=named, artifacts=self.artifacts, charts=charts, annotations=notes)
        tags = {VERSION: root} | {f"{one.repository}:{one.tag}": one.descriptor for one in [*named, *charts]}
        self.store.replace_tags(tags, self.artifacts)
        return root

    def files(self, name: str, index: Descriptor, notes: dict[str, str]) -> None:
        """Every format of a distribution; a repository has the packages of both platforms."""
        packages: list[tuple[str, Descriptor]] = []
        for format_, (_, kind) in media_types.ARTIFACTS.items():
            for platform in PLATFORMS if format_ not in REPOSITORIES else ():
                title = f"{name}_{VERSION}_{platform.architecture}.{format_}"
                blob = self.store.put(self.package(format_, title), kind)
                packages.append((title, blob))
                self.add(name, platform, format_, title, ((title, blob),), index, notes)
        for format_ in REPOSITORIES:
            files = tuple((f"{format_}/pool/{title}", blob) for title, blob in packages)
            self.add(name, None, format_, format_, files, index, notes)

    def package(self, format_: str, title: str) -> bytes:
        tar = tar_of(self.source, PACKAGE, title)
        if format_ == "tar.gz":
            import gzip

            return gzip.compress(tar, 1, mtime=0)
        return deb_of(tar) if format_ == "deb" else tar

    def add(
        self, name: str, platform: Platform | None, format_: str, title: str, files: Any, index: Descriptor, notes: dict[str, str]
    ) -> None:
        built = BuiltFile(distribution=name, platform=platform, format=format_, title=title, files=files)
        self.artifacts.append(store_artifact(self.store, built, index, notes))


def nexus(folder: Path, *words: str) -> str:
    """Run the program, to an end that must be good; what it prints."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"} | PASSPHRASE
    command = [sys.executable, "-m", "nexus_oci", "-q", "-C", str(folder), *words]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment, cwd=ROOT)
    return done.stdout


def make(folder: Path) -> None:
    """The release in FOLDER/dist, signed and attested."""
    root = Maker(folder).release()
    provenance = Provenance(
        name="bench", version=VERSION, parameters=Parameters(), source={}, internal={}, dependencies=(), tools={}
    )
    (folder / "dist" / "provenance.json").write_bytes(unsigned_statement([root.digest], provenance))
    nexus(folder, "keygen", "--output", "release")
    key = str(folder / "release.key")
    nexus(folder, "sign", "--key", key, "--identity", "registry.example/bench")
    nexus(folder, "attest", "--key", key, "--builder-id", "https://ci.example/bench")


def everything(host: str, namespace: str) -> list[str]:
    """The path of every manifest and blob that a verification reads; the largest blobs first, as the program takes them."""
    from nexus_oci.oci.reference import Reference
    from nexus_oci.pipeline.attached import in_registry
    from nexus_oci.pipeline.subjects import subjects_of

    repository = f"{namespace}/releases"
    end = Access(environment={}, plain_http=True).end(Reference.parse(f"{host}/{repository}:{VERSION}"))
    manifests: dict[str, Any] = {}
    for subject in subjects_of(end, end.resolve(VERSION), "releases"):
        attached = [*end.referrers(subject.digest), *in_registry(end)(subject.digest)]
        manifests |= {subject.digest: subject.manifest} | {one.digest: end.manifest(one) for one in attached}
    blobs = {blob.digest: blob.size for manifest in manifests.values() for blob in manifest.blobs}
    print(f"the release: {len(manifests)} manifests, {len(blobs)} blobs, {sum(blobs.values()) / 1e6:.0f} MB")
    ordered = sorted(blobs, key=lambda digest: -blobs[digest])
    return [f"/v2/{repository}/manifests/{digest}" for digest in manifests] + [f"/v2/{repository}/blobs/{one}" for one in ordered]


def registry_cpu(host: str) -> Callable[[], float]:
    """Tells how many seconds of processor the registry's container has used."""
    with contextlib.closing(docker.from_env()) as client:
        (name,) = [one.id for one in client.containers.list() if f"'{host.rpartition(':')[2]}'" in str(one.ports)]

    def used() -> float:
        with contextlib.closing(docker.from_env()) as client:
            return client.containers.get(name).stats(stream=False)["cpu_stats"]["cpu_usage"]["total_usage"] / 1e9  # type: ignore[no-any-return]

    return used


def client_cpu() -> float:
    """Seconds of processor of all commands that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def medians(runs: int, registry: Callable[[], float], *ways: Callable[[], object]) -> list[tuple[float, float, float]]:
    """Of each way the median seconds, and those of processor, here and in the registry.

    They take turns, so that what disturbs the machine disturbs all of them; the first turn, of warming up, does not count.
    """
    found: list[list[tuple[float, float, float]]] = [[] for _ in ways]
    for _ in range(runs + 1):
        for way, times in zip(ways, found, strict=True):
            before = registry(), client_cpu(), time.perf_counter()
            way()
            seconds = time.perf_counter() - before[2]
            times.append((seconds, client_cpu() - before[1], registry() - before[0]))
    return [tuple(map(statistics.median, zip(*times[1:], strict=True))) for times in found]  # type: ignore[misc]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--keep", type=Path)
    given = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = given.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nexus-oci-bench-")))
        if not (folder / "release.pub").exists():
            folder.mkdir(parents=True, exist_ok=True)
            make(folder)
        host = stack.enter_context(running_registry()).host
        nexus(folder, "push", f"{host}/bench", "--plain-http")
        measure(folder, host, given.runs)


def measure(folder: Path, host: str, runs: int) -> None:
    paths = folder / "paths.json"
    paths.write_text(json.dumps(everything(host, "bench")))
    accept = ",".join(sorted(media_types.MANIFEST_TYPES))
    floor = [sys.executable, "-c", FLOOR, host, str(JOBS), str(paths), accept]
    verify = ("verify", f"{host}/bench/releases:{VERSION}", "--plain-http", "--jobs", str(JOBS))
    key = ("--key", str(folder / "release.pub"))
    found = medians(
        runs,
        registry_cpu(host),
        lambda: subprocess.run(floor, check=True),
        lambda: nexus(folder, *verify, *key),
        lambda: nexus(folder, *verify),
        lambda: nexus(folder, *verify, *key, "--shallow"),
    )
    floor_seconds, floor_cpu = found[0][0], found[0][1] + found[0][2]
    allowed = ("", "the issue allows 1.2", "", "the issue allows 1 s")
    titles = ("everything read and hashed once", "verify --key", "verify without a key", "verify --key --shallow")
    for title, (seconds, here, there), limit in zip(titles, found, allowed, strict=True):
        ratio = f"{seconds / floor_seconds:.2f} x ({(here + there) / floor_cpu:.2f} x in processor)"
        print(f"{title:32} {seconds:6.2f} s  {ratio}  processor {here:.2f} s, registry {there:.2f} s  {limit}")
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")


if __name__ == "__main__":
    main()
