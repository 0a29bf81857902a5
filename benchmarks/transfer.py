"""How fast releases and blobs move between registries, against skopeo, crane, regctl and oras, on this machine in one run.

    python benchmarks/transfer.py [--scale 0.1] [--rounds 3] [--only images,delayed,noop,blob]

`--scale 1` copies 50 images that share layers, 2 GiB of distinct bytes. Registries are real ones, in containers, a fresh one for
each copy. Peers that are missing are built by scripts/peers.sh; skopeo is Debian's, in a container on the host's network, timed
inside of it. Medians; ratios are what counts, this machine may be busy.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from nexus_oci.oci import media_types  # noqa: E402
from nexus_oci.oci.store import Store  # noqa: E402
from nexus_oci.oci.values import Descriptor, Manifest  # noqa: E402
from tests.support.clean_debian import clean_debian  # noqa: E402
from tests.support.delay import delayed  # noqa: E402
from tests.support.peers import peer  # noqa: E402
from tests.support.registry import running_registry  # noqa: E402

MIB = 1 << 20
IMAGES, SHARED, OWN = 50, 8, 3
_BLOB = """
import resource, sys, time
from pathlib import Path
from nexus_oci.oci.values import Descriptor, Digest
from nexus_oci.registry.client import RegistryClient
from nexus_oci.registry.settings import RegistrySettings
way, host, path, digest, size = sys.argv[1:]
blob = Descriptor(media_type="application/octet-stream", digest=Digest(digest), size=int(size))
client = RegistryClient(host, RegistrySettings(plain_http=True))
began = time.perf_counter()
if way == "push":
    client.put_blob("bench/blob", blob, lambda: Path(path).open("rb", buffering=0))
else:
    with client.open_blob("bench/blob", blob) as reader:
        view = memoryview(bytearray(1 << 20))
        while reader.readinto(view):
            pass
print(time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


@dataclass(frozen=True, kw_only=True)
class Took:
    """Seconds, of which the processor worked so many for the program, and MiB of memory at the most; where that is known."""

    seconds: float
    processor: float | None = None
    memory: float | None = None


def run(*command: str) -> Took:
    """A program's wall time and peak memory."""
    began = time.perf_counter()
    with (
        tempfile.TemporaryFile() as output,
        subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd="/tmp") as process,
    ):
        _, status, usage = os.wait4(process.pid, 0)
        took = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            output.seek(0)
            raise RuntimeError(f"{shlex.join(command)[:300]} failed: {output.read().decode(errors='replace')[-2000:]}")
    return Took(seconds=took, processor=usage.ru_utime + usage.ru_stime, memory=usage.ru_maxrss / 1024)


def make_images(folder: Path, scale: float) -> Store:
    """A store of images, each of two shared layers and some of its own."""
    store = Store.create(folder)

    def layer(size: int) -> Descriptor:
        with store.writer() as writer:
            left = size
            while left:
                block = os.urandom(min(left, MIB))
                writer.write(block)
                left -= len(block)
            return writer.commit(media_types.LAYER_GZIP)

    shared = [layer(int(64 * MIB * scale)) for _ in range(SHARED)]
    names = {}
    for number in range(IMAGES):
        layers = [shared[number % SHARED], shared[(number + 1) % SHARED], *(layer(int(10 * MIB * scale)) for _ in range(OWN))]
        config = {
            "architecture": "amd64",
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [one.digest for one in layers]},
        }
        data = {
            "schemaVersion": 2,
            "mediaType": media_types.MANIFEST,
            "config": store.put(json.dumps(config).encode(), media_types.CONFIG).to_json(),
            "layers": [one.to_json() for one in layers],
        }
        names[f"1.{number}.0"] = store.put_manifest(Manifest.build(data))
    store.replace_tags(names)
    return store


def ours(source: str, sink: str) -> Took:
    return run(sys.executable, "-m", "nexus_oci", "-q", "mirror", source, sink, "--plain-http")


def crane(source: str, sink: str) -> Took:
    return run(str(peer("crane")), "copy", "--insecure", "--all-tags", source, sink)


def each_tag(program: str) -> Callable[[str, str], Took]:
    """A peer that copies one tag a run, one after the other: docker-registry takes a blob that two write at once for damaged."""

    def copy(source: str, sink: str) -> Took:
        tags = " ".join(f"1.{number}.0" for number in range(IMAGES))
        command = {
            "oras": f"{peer('oras')} cp --from-plain-http --to-plain-http {source}:TAG {sink}:TAG",
            "regctl": f"{peer('regctl')} --host reg={source.partition('/')[0]},tls=disabled"
            f" --host reg={sink.partition('/')[0]},tls=disabled image copy {source}:TAG {sink}:TAG",
        }[program]
        return run("sh", "-c", f"printf '%s\\n' {tags} | xargs -I TAG {command}")

    return copy


@contextlib.contextmanager
def skopeo() -> Iterator[Callable[[str, str], Took]]:
    """Debian's skopeo, in a container that waits; its cache of what is where is emptied before each copy."""
    name = f"nexus-oci-bench-skopeo-{os.getpid()}"
    image = clean_debian(["skopeo"])
    subprocess.run(
        ["docker", "run", "--rm", "-d", "--network", "host", "--name", name, image, "sleep", "infinity"],
        check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip

    def copy(source: str, sink: str) -> Took:
        into = sink.rpartition("/")[0]
        script = (
            "rm -rf /var/lib/containers/cache /root/.local/share/containers/cache; a=$(date +%s.%N); "
            f"skopeo sync --all --src docker --dest docker --src-tls-verify=false --dest-tls-verify=false {source} {into}"
            " >/tmp/out 2>&1 || { cat /tmp/out; exit 1; }; b=$(date +%s.%N); echo $a $b"
        )
        done = subprocess.run(["docker", "exec", name, "sh", "-c", script], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"skopeo failed: {done.stdout[-2000:]}{done.stderr}")
        began, ended = map(float, done.stdout.split())
        return Took(seconds=ended - began)

    try:
        yield copy
    finally:
        subprocess.run(["docker", "rm", "-f", name], check=True, stdout=subprocess.DEVNULL)


def table(title: str, results: dict[str, list[Took]], best_of: str = "the fastest peer") -> None:
    """Medians, and ratios to ours."""
    medians = {name: statistics.median(took.seconds for took in tooks) for name, tooks in results.items() if tooks}
    print(f"\n{title}")
    for name, seconds in medians.items():
        memory = [took.memory for took in results[name] if took.memory is not None]
        peak = f"{max(memory):7.0f} MiB" if memory else "          -"
        worked = [took.processor for took in results[name] if took.processor is not None]
        busy = f"{statistics.median(worked):6.2f} s of processor" if worked else " " * 21
        print(f"  {name:<12} {seconds:8.2f} s {busy} {peak}   {seconds / medians['nexus-oci']:5.2f} x")
    fastest = min((seconds, name) for name, seconds in medians.items() if name != "nexus-oci")
    print(f"  nexus-oci / {best_of} ({fastest[1]}): {medians['nexus-oci'] / fastest[0]:.2f}", flush=True)


def bench_images(store: Store, rounds: int, delay: float, programs: dict[str, Callable[[str, str], Took]]) -> None:
    """The copy of all images, program after program, round after round."""
    results: dict[str, list[Took]] = {name: [] for name in programs}
    with running_registry() as source:
        run(sys.executable, "-m", "nexus_oci", "-q", "mirror", str(store.root), f"{source.host}/bench/images", "--plain-http")
        for _ in range(rounds):
            for name, program in programs.items():
                with running_registry() as sink, contextlib.ExitStack() as stack:
                    ends = [source.host, sink.host]
                    if delay:
                        ends = [stack.enter_context(delayed(end, delay)) for end in ends]
                    try:
                        results[name].append(program(f"{ends[0]}/bench/images", f"{ends[1]}/bench/images"))
                    except RuntimeError as error:
                        print(f"  {name}: {error}", flush=True)
                        continue
                    load = os.getloadavg()[0]
                    print(f"  {name:<12} {results[name][-1].seconds:8.2f} s (load of this machine: {load:.0f})", flush=True)
    added = f", {delay * 1000:.0f} ms added to each request" if delay else ""
    table(f"{IMAGES} images between two registries{added}", results)


def bench_noop(store: Store, rounds: int) -> None:
    """The second mirror of the same images."""
    with running_registry() as source, running_registry() as sink:
        places = [f"{end.host}/bench/images" for end in (source, sink)]
        run(sys.executable, "-m", "nexus_oci", "-q", "mirror", str(store.root), places[0], "--plain-http")
        ours(places[0], places[1])
        took = statistics.median(ours(places[0], places[1]).seconds for _ in range(rounds))
        command = [sys.executable, "-m", "nexus_oci", "-q", "--json", "mirror", *places, "--plain-http"]
        report = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        (one,) = report["destinations"]
    print(f"\nsecond mirror of {IMAGES} images, nothing to do")
    print(f"  {took:.2f} s; requests: {report['source_requests']} to the source, {one['requests']} to the destination")
    print(f"  {one['unchanged']} unchanged, {one['bytes_sent']} bytes sent", flush=True)


def bench_blob(folder: Path, size: int, rounds: int) -> None:
    """One large blob, up and down, beside what the wire and the hash take."""
    path = folder / "blob"
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for _ in range(size // MIB):
            block = os.urandom(MIB)
            digest.update(block)
            file.write(block)
    name = f"sha256:{digest.hexdigest()}"
    times: dict[str, list[float]] = {}
    memory = 0.0
    for _ in range(rounds):
        with running_registry() as registry:
            times.setdefault("wire up", []).append(_curl_push(registry.host, path, name))
            for way in ("push", "pull"):
                seconds, used = _ours((way, registry.host, str(path), name, str(size)))
                times.setdefault(way, []).append(seconds)
                memory = max(memory, used)
            times.setdefault("wire down", []).append(_curl_pull(f"http://{registry.host}/v2/bench/blob/blobs/{name}"))
            times.setdefault("sha256", []).append(_hash(path))
    medians = {what: statistics.median(found) for what, found in times.items()}
    print(f"\none blob of {size // MIB} MiB")
    for what, seconds in medians.items():
        print(f"  {what:<10} {seconds:6.2f} s")
    for way, wire in (("push", "wire up"), ("pull", "wire down")):
        floor = max(medians[wire], medians["sha256"])
        print(f"  {way} / the slower of wire and sha256: {medians[way] / floor:.2f}")
    print(f"  peak memory {memory:.0f} MiB", flush=True)


def _ours(arguments: tuple[str, ...]) -> tuple[float, float]:
    done = subprocess.run([sys.executable, "-c", _BLOB, *arguments], capture_output=True, text=True, check=True, cwd=ROOT)
    seconds, memory = map(float, done.stdout.split())
    return seconds, memory


def _curl_push(host: str, path: Path, digest: str) -> float:
    """A plain upload to another repository, so that ours has the same to do."""
    began = time.perf_counter()
    start = ["curl", "-sf", "-D", "-", "-o", "/dev/null", "-X", "POST", f"http://{host}/v2/bench/wire/blobs/uploads/"]
    head = subprocess.run(start, capture_output=True, text=True, check=True).stdout
    location = next(line.split(" ", 1)[1].strip() for line in head.splitlines() if line.lower().startswith("location:"))
    headers = ["-H", "Content-Type: application/octet-stream", "-H", "Expect:"]
    subprocess.run(["curl", "-sf", "-T", str(path), *headers, f"{location}&digest={digest}"], check=True)
    return time.perf_counter() - began


def _curl_pull(url: str) -> float:
    began = time.perf_counter()
    subprocess.run(["curl", "-sf", "-o", "/dev/null", url], check=True)
    return time.perf_counter() - began


def _hash(path: Path) -> float:
    began = time.perf_counter()
    with path.open("rb") as file:
        hashlib.file_digest(file, "sha256")
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=0.1, help="of 2 GiB of images, and of a blob of 1 GiB")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="images,delayed,noop,blob")
    parser.add_argument("--programs", default="nexus-oci,skopeo,crane,regctl,oras")
    options = parser.parse_args()
    parts = options.only.split(",")
    with tempfile.TemporaryDirectory(prefix="nexus-oci-bench-") as name, skopeo() as run_skopeo:
        folder = Path(name)
        store = make_images(folder / "store", options.scale)
        known = {"nexus-oci": ours, "skopeo": run_skopeo, "crane": crane, "regctl": each_tag("regctl"), "oras": each_tag("oras")}
        programs = {one: known[one] for one in options.programs.split(",")}
        size = sum(path.stat().st_size for path in (store.root / "blobs" / "sha256").iterdir())
        print(f"{IMAGES} images, {size / MIB:.0f} MiB of distinct bytes; median of {options.rounds}", flush=True)
        if "images" in parts:
            bench_images(store, options.rounds, 0, programs)
        if "delayed" in parts:
            bench_images(store, options.rounds, 0.02, programs)
        if "noop" in parts:
            bench_noop(store, options.rounds)
        if "blob" in parts:
            bench_blob(folder, int(1024 * options.scale) * MIB, options.rounds)


if __name__ == "__main__":
    main()
