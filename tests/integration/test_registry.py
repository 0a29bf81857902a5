"""The registry module and the graph copy against a real registry.

Debian's docker-registry 2.8 has no referrers API, so the fallback tag is what is met here; unit tests meet the API.
"""

from __future__ import annotations

import base64
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nexus_oci.errors import NotFoundError, RegistryError
from nexus_oci.oci import media_types
from nexus_oci.oci.reference import Reference
from nexus_oci.oci.store import Store
from nexus_oci.oci.values import Descriptor, Manifest
from nexus_oci.registry.client import RegistryClient
from nexus_oci.registry.end import RegistryEnd
from nexus_oci.registry.settings import RegistrySettings
from nexus_oci.transfer.copy import copy_graph
from nexus_oci.transfer.ends import Outcome
from nexus_oci.transfer.store_end import StoreEnd

if TYPE_CHECKING:
    # Not at run time: pytest imports it as a plugin, and must be the first to do so.
    from tests.support.registry import RunningRegistry

pytestmark = pytest.mark.integration
pytest_plugins = ["tests.support.registry"]

MIB = 1 << 20
_PUSH = """
import sys
from pathlib import Path
from nexus_oci.oci.store import Store
from nexus_oci.registry.client import RegistryClient
from nexus_oci.registry.end import RegistryEnd
from nexus_oci.registry.settings import RegistrySettings
from nexus_oci.transfer.copy import copy_graph
from nexus_oci.transfer.store_end import StoreEnd

host, repository, folder = sys.argv[1:]
store = Store.open(Path(folder))
client = RegistryClient(host, RegistrySettings(plain_http=True))
tell = lambda event: print(event.kind, event.descriptor.digest, flush=True)
copy_graph(StoreEnd(store), RegistryEnd(client, repository), store.resolve("1.0"), tags=("1.0",), jobs=2, on_event=tell)
"""


@pytest.fixture
def client(registry: str) -> Iterator[RegistryClient]:
    made = RegistryClient(registry, RegistrySettings(plain_http=True))
    yield made
    made.close()


def make_release(folder: Path, *, layers: int, size: int) -> tuple[Store, Descriptor]:
    """A store with an index over one image of random layers, tagged 1.0, and a referrer of the index."""
    store = Store.create(folder)
    noise = random.Random(str(folder))
    blobs = [store.put(noise.randbytes(size), media_types.LAYER_GZIP) for _ in range(layers)]
    config = store.put(b'{"architecture":"amd64","os":"linux"}' + os.urandom(8).hex().encode(), media_types.CONFIG)
    image = store.put_manifest(
        Manifest.build(
            {
                "schemaVersion": 2,
                "mediaType": media_types.MANIFEST,
                "config": config.to_json(),
                "layers": [blob.to_json() for blob in blobs],
            }
        )
    )
    root = store.put_manifest(
        Manifest.build({"schemaVersion": 2, "mediaType": media_types.INDEX, "manifests": [image.to_json()]})
    )
    empty = store.put(b"{}", media_types.EMPTY)
    referrer = store.put_manifest(
        Manifest.build(
            {
                "schemaVersion": 2,
                "mediaType": media_types.MANIFEST,
                "artifactType": "application/vnd.test.sbom",
                "config": empty.to_json(),
                "layers": [empty.to_json()],
                "subject": root.to_json(),
            }
        )
    )
    store.replace_tags({"1.0": root}, (referrer,))
    return store, root


def blobs_of(store: Store) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (store.root / "blobs" / "sha256").iterdir()}


def test_a_release_goes_up_and_comes_back_the_same(client: RegistryClient, registry: str, tmp_path: Path) -> None:
    store, root = make_release(tmp_path / "store", layers=3, size=3 * MIB)
    end = RegistryEnd(client, "round/releases")
    copy_graph(StoreEnd(store), end, root, tags=("1.0", "stable"), referrers=True)
    assert client.tags("round/releases") == ("1.0", "sha256-" + root.digest.hex, "stable")
    assert client.resolve(Reference(host=registry, repository="round/releases", tag="1.0")).digest == root.digest
    (referrer,) = client.referrers("round/releases", root.digest)
    assert referrer.artifact_type == "application/vnd.test.sbom"
    back = StoreEnd(Store.create(tmp_path / "back"))
    copy_graph(end, back, end.resolve("1.0"), tags=("1.0",), referrers=True)
    assert blobs_of(back.store) == blobs_of(store)
    again = copy_graph(StoreEnd(store), end, root, tags=("1.0",), referrers=True)
    assert (again.bytes_sent, again.manifests_sent) == (0, 0)


def test_friendly_names_are_mounts(client: RegistryClient, tmp_path: Path) -> None:
    store, root = make_release(tmp_path / "store", layers=2, size=MIB)
    copy_graph(StoreEnd(store), RegistryEnd(client, "mounts/releases"), root, tags=("1.0",))
    friendly = RegistryEnd(client, "mounts/runtime")
    report = copy_graph(StoreEnd(store), friendly, root, tags=("1.0",), mount_from="mounts/releases")
    assert (report.blobs_mounted, report.blobs_sent) == (3, 0)
    other = RegistryEnd(client, "mounts/other")
    report = copy_graph(StoreEnd(store), other, root, tags=("1.0",), mount_from="mounts/nowhere")
    assert (report.blobs_mounted, report.blobs_sent) == (0, 3)


def test_a_blob_in_pieces_is_whole(registry: str, tmp_path: Path) -> None:
    store, root = make_release(tmp_path / "store", layers=1, size=10 * MIB + 7)
    layer = store.manifest(store.manifest(root).manifests[0]).layers[0]
    client = RegistryClient(registry, RegistrySettings(plain_http=True, chunk_size=3 * MIB, whole_up_to=0))
    source = StoreEnd(store)
    assert client.put_blob("pieces/app", layer, lambda: source.open_blob(layer)) is Outcome.SENT
    with client.open_blob("pieces/app", layer) as reader:
        assert len(reader.read()) == layer.size
    client.close()


def test_a_broken_upload_begins_anew_where_the_registry_forgot_it(registry: str, tmp_path: Path) -> None:
    """docker-registry 2.8 drops an upload that broke in the middle of a PATCH."""
    store, root = make_release(tmp_path / "store", layers=1, size=8 * MIB)
    layer = store.manifest(store.manifest(root).manifests[0]).layers[0]
    client = RegistryClient(registry, RegistrySettings(plain_http=True, chunk_size=4 * MIB, whole_up_to=0))
    source, calls = StoreEnd(store), []

    def break_once(count: int) -> None:
        calls.append(count)
        if len(calls) == 6:
            raise ConnectionResetError("cable pulled")

    stored = client.put_blob("broken/app", layer, lambda: source.open_blob(layer), progress=break_once)
    assert stored is Outcome.SENT
    assert client.has_blob("broken/app", layer)
    client.close()


def test_what_is_not_there_is_not_found(client: RegistryClient, registry: str) -> None:
    with pytest.raises(NotFoundError, match="has no 9"):
        client.manifest(Reference(host=registry, repository="nobody/here", tag="9"))
    with pytest.raises(NotFoundError, match="listing tags"):
        client.tags("nobody/here")


def test_passwords_open_the_door(authenticated_registry: RunningRegistry, tmp_path: Path) -> None:
    store, root = make_release(tmp_path / "store", layers=1, size=MIB)
    config = tmp_path / "config.json"
    secret = f"{authenticated_registry.username}:{authenticated_registry.password}"
    auth = base64.b64encode(secret.encode()).decode()
    config.write_text(json.dumps({"auths": {authenticated_registry.host: {"auth": auth}}}))
    settings = RegistrySettings(plain_http=True, docker_config=config)
    client = RegistryClient(authenticated_registry.host, settings)
    end = RegistryEnd(client, "locked/releases")
    copy_graph(StoreEnd(store), end, root, tags=("1.0",), referrers=True)
    assert end.resolve("1.0").digest == root.digest
    client.close()
    stranger = RegistryClient(authenticated_registry.host, RegistrySettings(plain_http=True))
    with pytest.raises(RegistryError, match="refuses to let us in"):
        stranger.tags("locked/releases")
    stranger.close()


def test_a_push_that_is_killed_names_nothing_and_resumes(client: RegistryClient, registry: str, tmp_path: Path) -> None:
    store, root = make_release(tmp_path / "store", layers=12, size=5 * MIB)
    end = RegistryEnd(client, "killed/releases")
    finished = 0
    command = [sys.executable, "-c", _PUSH, registry, "killed/releases", str(store.root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as push:
        assert push.stdout is not None
        for line in push.stdout:
            finished += line.startswith("sent ")
            if finished == 5:
                push.send_signal(signal.SIGKILL)
                break
    assert push.returncode == -signal.SIGKILL
    with pytest.raises(NotFoundError):
        end.resolve("1.0")
    image = store.manifest(root).manifests[0]
    there = {blob.digest for blob in store.manifest(image).blobs if end.has(blob)}
    missing = [blob for blob in store.manifest(image).blobs if blob.digest not in there]
    assert len(there) >= 5
    assert missing
    report = copy_graph(StoreEnd(store), end, root, tags=("1.0",))
    assert (report.blobs_sent, report.blobs_skipped) == (len(missing), len(there))
    assert report.bytes_sent == sum(blob.size for blob in missing) + image.size + root.size
    assert end.resolve("1.0").digest == root.digest
