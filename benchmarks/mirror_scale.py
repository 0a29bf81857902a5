# ruff: noqa: ARG002
"""What a mirror of very many images to very many places takes, simulated: where time and memory go.

    python benchmarks/mirror_scale.py [--images 10000] [--destinations 100] [--changed 100]

Both ends are in this process and answer at once, so that what is measured is the program's own work: surveys, what is known to
be where, reports. Each image has two layers of its own and three of a pool that all share. As many as `--changed` are new and are
copied to every destination, the others are there already and only looked at. From the requests a second that a registry answers,
the table says what that adds.
"""

from __future__ import annotations

import argparse
import functools
import io
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from nexus_oci.errors import NotFoundError  # noqa: E402
from nexus_oci.mirroring.item import Settings, Wanted  # noqa: E402
from nexus_oci.mirroring.run import Report, mirror  # noqa: E402
from nexus_oci.mirroring.tee import Shared  # noqa: E402
from nexus_oci.oci import media_types  # noqa: E402
from nexus_oci.oci.values import Descriptor, Digest, Manifest, digest_of  # noqa: E402
from nexus_oci.transfer.ends import BlobStream, Outcome  # noqa: E402

POOL = 500


def blob(name: str) -> Descriptor:
    """A layer of which only the name matters."""
    return Descriptor(media_type=media_types.LAYER_GZIP, digest=digest_of(name.encode()), size=1)


@functools.lru_cache(maxsize=2000)
def image(number: int) -> Manifest:
    """The manifest of one image; made when it is asked for, as a registry would read it."""
    layers = [blob(f"own {number} {part}") for part in range(2)]
    layers += [blob(f"shared {(number * 7 + part * 131) % POOL}") for part in range(3)]
    config = {**blob(f"config {number}").to_json(), "mediaType": media_types.CONFIG}
    data = {"schemaVersion": 2, "mediaType": media_types.MANIFEST, "config": config, "layers": [one.to_json() for one in layers]}
    return Manifest.build(data)


class FakeRepository:  # what it is asked is the protocol's
    """A repository that holds images 0 to `count`, and answers at once."""

    name = ""
    verifies = True
    keeps_graphs_whole = True

    def __init__(self, place: FakePlace) -> None:
        self._place = place

    def _asked(self) -> None:
        self._place.requests_made += 1

    def tags(self) -> tuple[str, ...]:
        self._asked()
        return tuple(f"1.{number}.0" for number in range(self._place.count))

    def read(self, name: str) -> Manifest:
        self._asked()
        return image(int(name.split(".")[1]))

    def resolve(self, name: str) -> Descriptor:
        return self.read(name).descriptor

    def manifest(self, descriptor: Descriptor) -> Manifest:
        raise NotFoundError(f"{descriptor.digest} was read before")

    def peek(self, name: str) -> Descriptor | None:
        self._asked()
        number = int(name.split(".")[1])
        return self._place.named.get(name) or (image(number).descriptor if number < self._place.count else None)

    def referrers(self, digest: Digest) -> tuple[Descriptor, ...]:
        return ()

    def referrers_among(self, digest: Digest, tags: Collection[str]) -> tuple[Descriptor, ...]:
        return ()

    def has(self, descriptor: Descriptor) -> bool:
        self._asked()
        return descriptor.digest in self._place.there

    def open_blob(self, descriptor: Descriptor, *, verify: bool = True) -> BlobStream:
        self._asked()
        return io.BytesIO(b"x")

    def put_blob(
        self,
        descriptor: Descriptor,
        open_stream: Callable[[], BlobStream],
        *,
        mount_from: str | None = None,
        progress: Callable[[int], None],
    ) -> Outcome:
        self._place.requests_made += 3
        with open_stream() as stream:  # type: ignore[attr-defined]
            progress(len(stream.read()))
        return Outcome.SENT

    def put_manifest(self, manifest: Manifest) -> None:
        self._asked()
        self._place.there.add(manifest.descriptor.digest)

    def tag(self, manifest: Manifest, names: Sequence[str]) -> None:
        self._asked()
        self._place.named |= dict.fromkeys(names, manifest.descriptor)

    def neighbour(self, name: str) -> str | None:
        return name

    def remove(self, name: str) -> bool:
        return True


class FakePlace:
    """A registry of one repository, that has the first `count` images."""

    def __init__(self, name: str, count: int) -> None:
        self.name = name
        self.count = count
        self.requests_made = 0
        self.named: dict[str, Descriptor] = {}
        self.there: set[Digest] = set()

    def repository(self, _: str) -> FakeRepository:
        return FakeRepository(self)

    def sweep(self) -> int:
        return 0

    def close(self) -> None:
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--destinations", type=int, default=100)
    parser.add_argument("--changed", type=int, default=100, help="images that are new")
    options = parser.parse_args()
    began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    source = FakePlace("source", options.images)
    sinks = [FakePlace(f"site {number}", options.images - options.changed) for number in range(options.destinations)]
    with tempfile.TemporaryDirectory(prefix="nexus-oci-scale-") as folder:
        shared = Shared(spool=Path(folder))
        wanted = [Wanted(repository="", tag=f"1.{number}.0") for number in range(options.images)]
        at, worked = time.perf_counter(), time.process_time()
        report = mirror(source, sinks, wanted, Settings(shared=shared, jobs=8))
        took, worked = time.perf_counter() - at, time.process_time() - worked
    tell(report, source, sinks, took, worked, began)


def tell(report: Report, source: FakePlace, sinks: list[FakePlace], took: float, worked: float, began: int) -> None:
    """The table."""
    states = sum((destination.counts for destination in report.destinations), Counter[str]())
    pairs = report.items
    each = sum(sink.requests_made for sink in sinks) / len(sinks)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"{pairs // len(sinks)} images to {len(sinks)} destinations: {pairs} pairs")
    print(f"  copied {states['copied']}, unchanged {states['unchanged']}, failed {states['failed']}")
    print(f"  own work: {worked:.1f} s of processor in {took:.1f} s; {worked / pairs * 1e6:.0f} µs a pair")
    print(f"  requests: {source.requests_made} to the source, {each:.0f} to each destination")
    print(f"  peak memory: {memory / 1024:.0f} MiB, of which {began / 1024:.0f} before it began")
    for rate in (200, 1000):
        print(f"  a registry that answers {rate} requests a second is busy for {each / rate:.0f} s at each destination")


if __name__ == "__main__":
    main()
