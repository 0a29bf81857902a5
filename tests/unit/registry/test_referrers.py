"""Referrers: where the registry keeps them, where it does not, and where it only says so."""

from __future__ import annotations

import base64
import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from nexus_oci.errors import RegistryError, VerificationError
from nexus_oci.oci import media_types
from nexus_oci.oci.reference import Reference
from nexus_oci.oci.values import Digest, Manifest, digest_of
from nexus_oci.registry.client import RegistryClient
from nexus_oci.registry.reading import RegistryReader
from nexus_oci.registry.referrers import fallback_tag
from nexus_oci.registry.settings import RegistrySettings
from tests.support.faulty_registry import INDEX, LOOPBACK, Fault, FaultyRegistry, Handler, answer

pytestmark = LOOPBACK

SUBJECT = Manifest.build({"schemaVersion": 2, "mediaType": media_types.INDEX, "manifests": []})
TAG = fallback_tag(SUBJECT.descriptor.digest)


def referrer(name: str, artifact_type: str = "application/vnd.test.sbom") -> Manifest:
    return Manifest.build(
        {
            "schemaVersion": 2,
            "mediaType": media_types.INDEX,
            "artifactType": artifact_type,
            "manifests": [],
            "subject": SUBJECT.descriptor.to_json(),
            "annotations": {"name": name},
        }
    )


def push(client: RegistryClient, *manifests: Manifest) -> None:
    client.put_manifest("team/app", SUBJECT)
    for manifest in manifests:
        client.put_manifest("team/app", manifest)


def listed(client: RegistryClient, artifact_type: str | None = None) -> set[Digest]:
    return {d.digest for d in client.referrers("team/app", SUBJECT.descriptor.digest, artifact_type)}


def fallback(server: FaultyRegistry) -> dict[str, object] | None:
    repository = server.repository("team/app")
    digest = repository.tags.get(TAG)
    return json.loads(repository.manifests[digest][1]) if digest else None


def test_a_registry_with_the_api_needs_no_tag(server: FaultyRegistry, client: RegistryClient) -> None:
    one, two = referrer("one"), referrer("two")
    push(client, one, two)
    assert listed(client) == {one.descriptor.digest, two.descriptor.digest}
    assert fallback(server) is None


def test_pages_of_the_api_are_followed(server: FaultyRegistry, client: RegistryClient) -> None:
    manifests = [referrer(str(number)) for number in range(5)]
    push(client, *manifests)
    server.page_size = 2
    assert listed(client) == {manifest.descriptor.digest for manifest in manifests}


def test_a_filter_holds_even_where_the_registry_ignores_it(client: RegistryClient) -> None:
    one, two = referrer("one"), referrer("two", "application/vnd.test.signature")
    push(client, one, two)
    assert listed(client, "application/vnd.test.signature") == {two.descriptor.digest}


def test_without_the_api_the_fallback_tag_lists_them(server: FaultyRegistry, client: RegistryClient) -> None:
    server.referrers_api = server.sends_subject_header = False
    one, two = referrer("one"), referrer("two")
    push(client, one, two, one)
    assert fallback(server) == {
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [
            {
                "mediaType": INDEX,
                "digest": manifest.descriptor.digest,
                "size": manifest.descriptor.size,
                "artifactType": "application/vnd.test.sbom",
                "annotations": {"name": name},
                "data": base64.b64encode(manifest.raw).decode(),
            }
            for manifest, name in ((one, "one"), (two, "two"))
        ],
    }
    assert listed(client) == {one.descriptor.digest, two.descriptor.digest}


def test_an_oci_subject_header_without_the_api_is_not_believed(server: FaultyRegistry, client: RegistryClient) -> None:
    server.referrers_api = False
    one = referrer("one")
    push(client, one)
    assert fallback(server) is not None
    assert listed(client) == {one.descriptor.digest}


def test_an_api_that_lists_nothing_is_not_believed(server: FaultyRegistry, client: RegistryClient) -> None:
    nothing = answer(200, json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": []}).encode())
    server.fault("GET", "referrers", *[nothing] * 10)
    one = referrer("one")
    push(client, one)
    assert fallback(server) is not None
    assert listed(client) == {one.descriptor.digest}


@pytest.mark.parametrize(
    "lie",
    [
        answer(404),
        answer(406),
        answer(200, b"<html>", Content_Type="text/html"),
        answer(200, b"[]", Content_Type="application/json"),
        answer(200, b'{"schemaVersion":2,"manifests":5}', Content_Type=INDEX),
        answer(200, SUBJECT.raw.replace(b"index", b"manifest")),
    ],
)
def test_an_api_that_answers_something_else_leads_to_the_tag(server: FaultyRegistry, client: RegistryClient, lie: Fault) -> None:
    server.fault("GET", "referrers", *[lie] * 10)
    one = referrer("one")
    push(client, one)
    assert listed(client) == {one.descriptor.digest}


def test_nothing_refers_to_what_nobody_refers_to(client: RegistryClient) -> None:
    push(client)
    assert listed(client) == set()


def test_another_writer_of_the_fallback_tag_loses_nothing(server: FaultyRegistry, client: RegistryClient) -> None:
    server.referrers_api = server.sends_subject_header = False
    first, theirs, ours = referrer("first"), referrer("theirs"), referrer("ours")
    push(client, first)
    server.repository("team/app").manifests[theirs.descriptor.digest] = (INDEX, theirs.raw)

    def overtaken(_: Handler) -> bool:
        """Between our reading and our writing, somebody else writes."""
        data = fallback(server)
        assert data is not None
        raw = json.dumps({**data, "manifests": [*data["manifests"], theirs.descriptor.to_json()]}).encode()  # type: ignore[misc]
        manifest = Manifest.parse(raw)
        repository = server.repository("team/app")
        repository.manifests[manifest.descriptor.digest] = (INDEX, raw)
        repository.tags[TAG] = manifest.descriptor.digest
        return False

    server.fault("PUT", TAG, overtaken)
    client.put_manifest("team/app", ours)
    assert listed(client) == {m.descriptor.digest for m in (first, theirs, ours)}


def test_a_registry_that_drops_the_fallback_tag_is_an_error(server: FaultyRegistry, client: RegistryClient) -> None:
    server.referrers_api = server.sends_subject_header = False
    server.fault("PUT", TAG, *[answer(201)] * 20)
    with pytest.raises(RegistryError, match="does not keep what is written to it"):
        push(client, referrer("one"))


def test_a_fallback_tag_that_holds_something_else_is_left_alone(server: FaultyRegistry, client: RegistryClient) -> None:
    server.referrers_api = server.sends_subject_header = False
    raw = json.dumps({"schemaVersion": 2, "mediaType": media_types.MANIFEST, "layers": []}).encode()
    manifest = Manifest.parse(raw)
    repository = server.repository("team/app")
    repository.manifests[manifest.descriptor.digest] = (media_types.MANIFEST, raw)
    repository.tags[TAG] = manifest.descriptor.digest
    with pytest.raises(RegistryError, match="is not a list of referrers"):
        push(client, referrer("one"))
    reference = Reference(host=server.host, repository="team/app", tag=TAG)
    assert client.manifest(reference).raw == raw


def asked(server: FaultyRegistry) -> int:
    return len(server.requests("GET", "/referrers/"))


def digests(count: int) -> list[Digest]:
    return [digest_of(str(number).encode()) for number in range(count)]


def test_a_registry_without_the_api_is_asked_for_it_twice_at_most(server: FaultyRegistry, client: RegistryClient) -> None:
    server.fault("GET", "referrers", *[answer(404, b"404 page not found", Content_Type="text/plain")] * 100)
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda digest: client.referrers("team/app", digest), digests(30))) == {()}
    assert asked(server) == 2
    client.referrers("team/other", SUBJECT.descriptor.digest)
    assert asked(server) == 3


def test_one_denial_among_answers_is_an_accident(server: FaultyRegistry, client: RegistryClient) -> None:
    one = referrer("one")
    push(client, one)
    server.fault("GET", "referrers", answer(404))
    assert listed(client) == set()
    assert listed(client) == {one.descriptor.digest}


@pytest.mark.parametrize("code", ["NAME_UNKNOWN", "MANIFEST_UNKNOWN", "DENIED"])
def test_a_registry_that_misses_the_manifest_may_have_the_api(server: FaultyRegistry, client: RegistryClient, code: str) -> None:
    denial = answer(404, json.dumps({"errors": [{"code": code}]}).encode(), Content_Type="application/json")
    server.fault("GET", "referrers", *[denial] * 100)
    for digest in digests(5):
        client.referrers("team/app", digest)
    assert asked(server) == 5


def test_a_registry_that_has_shown_a_referrer_is_asked_every_time(server: FaultyRegistry, client: RegistryClient) -> None:
    one = referrer("one")
    push(client, one)
    assert listed(client) == {one.descriptor.digest}
    server.fault("GET", "referrers", *[answer(404)] * 4)
    before = asked(server)
    for digest in digests(4):
        client.referrers("team/app", digest)
    assert listed(client) == {one.descriptor.digest}
    assert asked(server) == before + 5


def test_what_an_index_embeds_counts_only_with_the_digest_that_it_has(server: FaultyRegistry, client: RegistryClient) -> None:
    server.referrers_api = server.sends_subject_header = False
    one, two = referrer("one"), referrer("two")
    push(client, one, two)
    data = fallback(server)
    assert data is not None
    entries = data["manifests"]
    entries[1]["data"] = entries[0]["data"]  # type: ignore[index]
    raw = json.dumps(data).encode()
    repository = server.repository("team/app")
    repository.manifests[digest_of(raw)] = (INDEX, raw)
    repository.tags[TAG] = digest_of(raw)
    reader = RegistryReader(server.host, RegistrySettings(plain_http=True))
    assert len(reader.referrers("team/app", SUBJECT.descriptor.digest)) == 2
    found = reader.embedded(one.descriptor.digest)
    assert found is not None and found.raw == one.raw
    assert reader.embedded(two.descriptor.digest) is None
    reader.close()


def test_more_referrers_than_a_release_can_have_are_refused(
    server: FaultyRegistry, client: RegistryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nexus_oci.registry.referrers.MOST_REFERRERS", 3)
    push(client, *[referrer(str(number)) for number in range(4)])
    server.page_size = 2
    with pytest.raises(VerificationError, match="more than 3 manifests"):
        listed(client)
