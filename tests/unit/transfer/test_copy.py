"""The graph copy, between stores and a registry in memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from nexus_oci.errors import NexusError, RegistryError, VerificationError
from nexus_oci.oci import media_types
from nexus_oci.oci.store import Store
from nexus_oci.oci.values import Descriptor, Manifest
from nexus_oci.registry.client import RegistryClient
from nexus_oci.registry.end import RegistryEnd
from nexus_oci.registry.retry import RetryPolicy
from nexus_oci.registry.settings import RegistrySettings
from nexus_oci.transfer.copy import TransferEvent, TransferReport, copy_graph
from nexus_oci.transfer.store_end import StoreEnd
from tests.support.faulty_registry import LOOPBACK, FaultyRegistry, answer, faulty_registry, reset_after
from tests.unit.transfer.graph import Graph, image, index, make_graph

pytestmark = LOOPBACK


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "store")


@pytest.fixture
def graph(store: Store) -> Graph:
    return make_graph(store)


@pytest.fixture
def server() -> Iterator[FaultyRegistry]:
    with faulty_registry() as running:
        yield running


@pytest.fixture
def end(server: FaultyRegistry) -> Iterator[RegistryEnd]:
    client = RegistryClient(server.host, RegistrySettings(plain_http=True, retry=RetryPolicy(tries=1)))
    yield RegistryEnd(client, "team/releases")
    client.close()


def other(end: RegistryEnd, repository: str) -> RegistryEnd:
    return RegistryEnd(end.client, repository)


def manifest_puts(server: FaultyRegistry) -> list[str]:
    return [seen.path.rpartition("/")[2] for seen in server.requests("PUT", "/manifests/")]


def test_a_push_writes_everything_and_names_it_last(server: FaultyRegistry, end: RegistryEnd, store: Store, graph: Graph) -> None:
    report = copy_graph(StoreEnd(store), end, graph.root, tags=("1.0", "stable"))
    repository = server.repository("team/releases")
    assert set(repository.manifests) == {graph.root.digest, *(image.digest for image in graph.images)}
    assert set(repository.blobs) >= {layer.digest for layer in graph.layers}
    assert repository.tags == {"1.0": graph.root.digest, "stable": graph.root.digest}
    assert manifest_puts(server)[-3:] == [graph.root.digest, "1.0", "stable"]
    assert [seen.method for seen in server.seen[-5:]] == ["HEAD", "HEAD", "HEAD", "PUT", "PUT"]
    sizes = sum(len(data) for data in repository.blobs.values())
    sizes += sum(len(raw) for _, raw in repository.manifests.values())
    assert report == TransferReport(
        root=graph.root,
        bytes_sent=sizes,
        blobs_sent=5,
        blobs_skipped=0,
        blobs_mounted=0,
        manifests_sent=3,
        manifests_skipped=0,
        tags=("1.0", "stable"),
    )


def test_a_second_push_sends_nothing_and_asks_once(server: FaultyRegistry, end: RegistryEnd, store: Store, graph: Graph) -> None:
    copy_graph(StoreEnd(store), end, graph.root, tags=("1.0",))
    server.seen.clear()
    report = copy_graph(StoreEnd(store), end, graph.root, tags=("1.0",))
    assert (report.bytes_sent, report.blobs_sent, report.manifests_sent) == (0, 0, 0)
    assert [seen.method for seen in server.seen] == ["HEAD", "HEAD", "PUT"]


def test_referrers_come_along_with_their_own_referrers(
    server: FaultyRegistry, end: RegistryEnd, store: Store, graph: Graph
) -> None:
    report = copy_graph(StoreEnd(store), end, graph.root, tags=("1.0",), referrers=True)
    sbom, signature = graph.referrers
    assert report.manifests_sent == 5
    puts = manifest_puts(server)
    assert puts.index(graph.root.digest) < puts.index(sbom.digest) < puts.index(signature.digest) < puts.index("1.0")
    assert [found.digest for found in end.referrers(graph.root.digest)] == [sbom.digest]


def test_a_new_referrer_of_an_old_release_is_all_that_is_sent(end: RegistryEnd, store: Store, graph: Graph) -> None:
    copy_graph(StoreEnd(store), end, graph.root, tags=("1.0",))
    report = copy_graph(StoreEnd(store), end, graph.root, tags=("1.0",), referrers=True)
    assert (report.manifests_sent, report.manifests_skipped) == (2, 3)
    assert (report.blobs_sent, report.blobs_skipped) == (4, 5)


def test_a_pull_brings_the_same_bytes_back(end: RegistryEnd, store: Store, graph: Graph, tmp_path: Path) -> None:
    copy_graph(StoreEnd(store), end, graph.root, tags=("1.0",), referrers=True)
    back = StoreEnd(Store.create(tmp_path / "back"))
    report = copy_graph(end, back, end.resolve("1.0"), tags=("1.0",), referrers=True)
    assert report.manifests_sent == 5
    assert back.store.resolve("1.0").digest == graph.root.digest
    for blob in (store.root / "blobs" / "sha256").iterdir():
        assert (back.store.root / "blobs" / "sha256" / blob.name).read_bytes() == blob.read_bytes()
    assert [found.digest for found in back.referrers(graph.root.digest)] == [graph.referrers[0].digest]


def test_a_pull_repairs_what_is_damaged_under_a_manifest_that_is_there(
    end: RegistryEnd, store: Store, graph: Graph, tmp_path: Path
) -> None:
    copy_graph(StoreEnd(store), end, graph.root)
    back = StoreEnd(Store.create(tmp_path / "back"))
    copy_graph(end, back, graph.root)
    back.store.path(graph.layers[1].digest).write_bytes(b"damaged")
    report = copy_graph(end, back, graph.root)
    assert (report.blobs_sent, report.blobs_skipped, report.manifests_sent) == (1, 4, 0)
    assert back.has(graph.layers[1])


def test_a_copy_to_a_friendly_name_mounts(server: FaultyRegistry, end: RegistryEnd, store: Store, graph: Graph) -> None:
    copy_graph(StoreEnd(store), end, graph.root, tags=("1.0",))
    server.seen.clear()
    report = copy_graph(StoreEnd(store), other(end, "team/runtime"), graph.root, tags=("1.0",), mount_from="team/releases")
    assert (report.blobs_mounted, report.blobs_sent) == (5, 0)
    assert not server.requests("PUT", "/blobs/")
    assert server.repository("team/runtime").tags == {"1.0": graph.root.digest}


def test_a_copy_between_two_repositories_verifies_on_the_way(
    server: FaultyRegistry, end: RegistryEnd, store: Store, graph: Graph
) -> None:
    copy_graph(StoreEnd(store), end, graph.root)
    server.repository("team/releases").blobs[graph.layers[0].digest] = b"x" * graph.layers[0].size
    with pytest.raises(VerificationError, match="is damaged"):
        copy_graph(end, other(end, "team/mirror"), graph.root, tags=("1.0",))
    assert server.repository("team/mirror").tags == {}
    assert graph.layers[0].digest not in server.repository("team/mirror").blobs


@pytest.mark.parametrize(
    ("method", "path"), [("HEAD", "/manifests/"), ("POST", "/uploads/"), ("PUT", "/uploads/"), ("PUT", "/manifests/")]
)
def test_a_failed_push_names_nothing_and_the_next_one_finishes_it(
    server: FaultyRegistry, end: RegistryEnd, store: Store, graph: Graph, method: str, path: str
) -> None:
    server.fault(method, path, answer(500))
    with pytest.raises(RegistryError, match="answered 500"):
        copy_graph(StoreEnd(store), end, graph.root, tags=("1.0",))
    assert server.repository("team/releases").tags == {}
    arrived = len(server.repository("team/releases").blobs)
    report = copy_graph(StoreEnd(store), end, graph.root, tags=("1.0",))
    # An upload that was cut off after its last byte may still complete behind our back.
    assert report.blobs_sent <= 5 - arrived
    assert server.repository("team/releases").tags == {"1.0": graph.root.digest}


def test_a_reset_in_the_middle_of_a_blob_names_nothing(
    server: FaultyRegistry, end: RegistryEnd, store: Store, graph: Graph
) -> None:
    server.fault("PUT", "/uploads/", *[reset_after(1000)] * 5)
    with pytest.raises(RegistryError, match="broke while writing blob"):
        copy_graph(StoreEnd(store), end, graph.root, tags=("1.0",))
    assert server.repository("team/releases").tags == {}
    assert server.repository("team/releases").manifests == {}


def test_a_manifest_that_does_not_show_afterwards_is_not_named(
    server: FaultyRegistry, end: RegistryEnd, store: Store, graph: Graph
) -> None:
    server.fault("HEAD", "/manifests/", *[answer(404)] * 6)
    with pytest.raises(VerificationError, match="is not there after it was written"):
        copy_graph(StoreEnd(store), end, graph.root, tags=("1.0",))
    assert server.repository("team/releases").tags == {}


def test_a_damaged_blob_in_the_store_is_never_sent(server: FaultyRegistry, end: RegistryEnd, store: Store, graph: Graph) -> None:
    store.path(graph.layers[0].digest).write_bytes(b"short")
    with pytest.raises(VerificationError, match="in the store is damaged"):
        copy_graph(StoreEnd(store), end, graph.root, tags=("1.0",))
    assert graph.layers[0].digest not in server.repository("team/releases").blobs


def test_a_blob_that_many_images_share_is_sent_once(server: FaultyRegistry, end: RegistryEnd, store: Store) -> None:
    layer = store.put(b"shared", media_types.LAYER_GZIP)
    root = index(store, *(image(store, layer, annotations={"n": str(number)}) for number in range(20)))
    copy_graph(StoreEnd(store), end, root)
    asked = [seen for seen in server.requests("HEAD", "/blobs/") if seen.path.endswith(layer.digest)]
    assert len(asked) == 1


def test_indexes_in_indexes_are_written_from_the_leaves_up(
    server: FaultyRegistry, end: RegistryEnd, store: Store, graph: Graph
) -> None:
    middle = index(store, graph.root)
    top = index(store, middle, graph.images[0])
    copy_graph(StoreEnd(store), end, top)
    assert manifest_puts(server)[-3:] == [graph.root.digest, middle.digest, top.digest]


def test_indexes_nested_without_end_are_refused(end: RegistryEnd, store: Store, graph: Graph) -> None:
    nested = graph.root
    for _ in range(20):
        nested = index(store, nested)
    with pytest.raises(VerificationError, match="nests indexes more than"):
        copy_graph(StoreEnd(store), end, nested)


class _Recorder:
    """A source that counts how many of its blobs are open at once."""

    def __init__(self, source: StoreEnd, gate: Callable[[], None]) -> None:
        self._source = source
        self._gate = gate
        self.resolve = source.resolve
        self.manifest = source.manifest
        self.referrers = source.referrers

    def open_blob(self, descriptor: Descriptor, *, verify: bool = True) -> object:
        self._gate()
        return self._source.open_blob(descriptor, verify=verify)


def test_no_more_blobs_are_under_way_than_jobs(end: RegistryEnd, store: Store, graph: Graph) -> None:
    threads: set[int] = set()
    source = _Recorder(StoreEnd(store), lambda: threads.add(threading.get_ident()))
    copy_graph(source, end, graph.root, jobs=2)  # type: ignore[arg-type]
    assert 1 <= len(threads) <= 2


def test_ctrl_c_in_a_worker_comes_out(end: RegistryEnd, store: Store, graph: Graph) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    source = _Recorder(StoreEnd(store), interrupt)
    with pytest.raises(KeyboardInterrupt):
        copy_graph(source, end, graph.root, tags=("1.0",))  # type: ignore[arg-type]


def test_events_tell_the_whole_story(end: RegistryEnd, store: Store, graph: Graph) -> None:
    events: list[TransferEvent] = []
    copy_graph(StoreEnd(store), end, graph.root, tags=("1.0",), on_event=events.append)
    kinds = [event.kind for event in events]
    assert {kind: kinds.count(kind) for kind in kinds} == {
        "found": 3,
        "started": 5,
        "progress": 5,
        "sent": 8,
        "verified": 3,
        "tagged": 1,
    }
    assert kinds[-1] == "tagged"
    heard = {e.descriptor.digest: e.bytes for e in events if e.kind == "progress"}
    assert heard[graph.layers[0].digest] == graph.layers[0].size


def test_a_listener_that_fails_stops_the_copy(end: RegistryEnd, store: Store, graph: Graph) -> None:
    def listen(event: TransferEvent) -> None:
        if event.kind == "progress":
            raise NexusError("the listener is gone")

    with pytest.raises(NexusError, match="the listener is gone"):
        copy_graph(StoreEnd(store), end, graph.root, tags=("1.0",), on_event=listen)


def test_an_unnamed_copy_into_a_store_is_listed_there(store: Store, graph: Graph, tmp_path: Path) -> None:
    back = StoreEnd(Store.create(tmp_path / "back"))
    copy_graph(StoreEnd(store), back, graph.root)
    assert [entry.digest for entry in back.store.entries()] == [graph.root.digest]


def test_a_sink_that_lies_about_its_manifests_is_caught(store: Store, graph: Graph, tmp_path: Path) -> None:
    class Forgetful(StoreEnd):
        def put_manifest(self, manifest: Manifest) -> None:
            pass

        def tag(self, manifest: Manifest, names: Sequence[str]) -> None:
            raise AssertionError("named what is not there")

    with pytest.raises(VerificationError, match="is not there after it was written"):
        copy_graph(StoreEnd(store), Forgetful(Store.create(tmp_path / "back")), graph.root, tags=("1.0",))
