"""Manifests, tags and what a registry may answer instead of them."""

from __future__ import annotations

import gc
import json
import warnings

import pytest

from nexus_oci.errors import NotFoundError, RegistryError, UsageError, VerificationError
from nexus_oci.oci import media_types
from nexus_oci.oci.reference import Reference
from nexus_oci.oci.values import MAX_MANIFEST_SIZE, Manifest
from nexus_oci.registry.client import RegistryClient
from nexus_oci.registry.reading import RegistryReader
from nexus_oci.registry.settings import RegistrySettings
from tests.support.faulty_registry import LOOPBACK, FaultyRegistry, alter, answer, cut_answer, headers

pytestmark = LOOPBACK

EMPTY = Manifest.build({"schemaVersion": 2, "mediaType": media_types.INDEX, "manifests": []})


@pytest.fixture
def reference(server: FaultyRegistry, client: RegistryClient) -> Reference:
    client.put_manifest("team/app", EMPTY, "1.0")
    return Reference(host=server.host, repository="team/app", tag="1.0")


def test_a_manifest_comes_back_byte_for_byte_and_resolves_by_head(
    server: FaultyRegistry, client: RegistryClient, reference: Reference
) -> None:
    assert client.manifest(reference).raw == EMPTY.raw
    gets = len(server.requests("GET"))
    assert client.resolve(reference) == EMPTY.descriptor
    assert len(server.requests("GET")) == gets
    assert server.requests("HEAD")[-1].headers["accept"].count("application/vnd.") == 4


def test_a_client_that_nobody_closes_leaves_no_open_connection(server: FaultyRegistry, reference: Reference) -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for kind in (RegistryClient, RegistryReader):
            forgotten = kind(server.host, RegistrySettings(plain_http=True))
            assert forgotten.manifest(reference).raw == EMPTY.raw
            del forgotten
            gc.collect()
    assert [str(one.message) for one in told] == []


def test_resolve_reads_the_manifest_where_the_head_says_too_little(
    server: FaultyRegistry, client: RegistryClient, reference: Reference
) -> None:
    server.fault("HEAD", "manifests", headers(Docker_Content_Digest=""))
    assert client.resolve(reference) == EMPTY.descriptor


def test_a_missing_tag_is_not_found(client: RegistryClient, reference: Reference) -> None:
    with pytest.raises(NotFoundError, match=r"team/app has no 9\.9"):
        client.resolve(reference.tagged("9.9"))
    with pytest.raises(NotFoundError, match=r"team/app has no 9\.9"):
        client.manifest(reference.tagged("9.9"))


def test_another_manifest_than_the_digest_asked_for_is_refused(
    server: FaultyRegistry, client: RegistryClient, reference: Reference
) -> None:
    server.fault("GET", "manifests", alter(lambda raw: raw.replace(b"[]", b"[ ]")))
    with pytest.raises(VerificationError, match="is not what its digest says"):
        client.manifest(reference.at(EMPTY.descriptor.digest))


def test_a_manifest_that_differs_from_the_registrys_own_digest_header_is_refused(
    server: FaultyRegistry, client: RegistryClient, reference: Reference
) -> None:
    server.fault("GET", "manifests", alter(lambda raw: raw + b" "))
    with pytest.raises(VerificationError, match="is not what its digest says"):
        client.manifest(reference)


def test_a_manifest_over_four_mebibytes_is_not_read_to_its_end(
    server: FaultyRegistry, client: RegistryClient, reference: Reference
) -> None:
    server.fault("GET", "manifests", alter(lambda raw: raw + b" " * (2 * MAX_MANIFEST_SIZE)))
    with pytest.raises(VerificationError, match="sends too much while reading manifest"):
        client.manifest(reference)


def test_a_web_page_in_the_place_of_a_manifest_is_named_as_such(
    server: FaultyRegistry, client: RegistryClient, reference: Reference
) -> None:
    server.fault("GET", "manifests", answer(200, b"<html>log in</html>", Content_Type="text/html; charset=utf-8"))
    with pytest.raises(RegistryError, match="answered with a web page"):
        client.manifest(reference)


def test_a_manifest_that_breaks_off_is_read_again(server: FaultyRegistry, client: RegistryClient, reference: Reference) -> None:
    server.fault("GET", "manifests", cut_answer(10))
    assert client.manifest(reference).raw == EMPTY.raw


def test_a_manifest_stored_under_another_digest_is_an_error(server: FaultyRegistry, client: RegistryClient) -> None:
    server.fault("PUT", "manifests", headers(Docker_Content_Digest="sha256:" + "0" * 64))
    with pytest.raises(VerificationError, match="stored another manifest"):
        client.put_manifest("team/app", EMPTY, "1.0")


def test_tags_of_every_page_are_listed(server: FaultyRegistry, client: RegistryClient) -> None:
    for number in range(5):
        client.put_manifest("team/app", EMPTY, f"1.{number}")
    server.page_size = 2
    assert client.tags("team/app") == ("1.0", "1.1", "1.2", "1.3", "1.4")


def test_a_next_page_on_another_host_is_not_followed(
    server: FaultyRegistry, other_server: FaultyRegistry, client: RegistryClient, reference: Reference
) -> None:
    link = f'<{other_server.url}/v2/team/app/tags/list>; rel="next"'
    server.fault("GET", "tags", headers(Link=link))
    with pytest.raises(RegistryError, match="on another host"):
        client.tags(reference.repository)
    assert other_server.seen == []


def test_a_list_of_tags_that_leads_back_to_itself_ends(
    server: FaultyRegistry, client: RegistryClient, reference: Reference
) -> None:
    link = headers(Link='</v2/team/app/tags/list?n=1000>; rel="next"')
    server.fault("GET", "tags", link, link, link)
    assert client.tags(reference.repository) == ("1.0",)


def test_plain_http_goes_to_loopback_only() -> None:
    with pytest.raises(UsageError, match=r"plain HTTP to registry\.example is refused"):
        RegistryClient("registry.example", RegistrySettings(plain_http=True))
    insisting = RegistrySettings(plain_http=True, insist_on_plain_http=True)
    assert RegistryClient("registry.example", insisting).transport.base == "http://registry.example"
    assert RegistryClient("docker.io").transport.base == "https://registry-1.docker.io"


def test_a_registry_that_does_not_answer_is_one_clear_error(server: FaultyRegistry, client: RegistryClient) -> None:
    server.server.server_close()
    with pytest.raises(RegistryError, match="cannot be reached") as caught:
        client.tags("team/app")
    assert caught.value.exit_code == 5
    assert "connection refused" in str(caught.value)


def test_tls_towards_a_plain_registry_names_the_option(server: FaultyRegistry) -> None:
    with pytest.raises(RegistryError, match="no TLS connection") as caught:
        RegistryClient(server.host, RegistrySettings()).tags("team/app")
    assert "--plain-http" in str(caught.value)


def test_methods_of_oras_that_check_nothing_are_refused(client: RegistryClient) -> None:
    with pytest.raises(UsageError, match="does not check what it moves"):
        client.upload_blob("file", "team/app", {})


def test_methods_inherited_from_oras_use_the_new_transport(
    server: FaultyRegistry, client: RegistryClient, reference: Reference
) -> None:
    server.fault("GET", "manifests", answer(503))
    assert client.get_manifest(f"{server.host}/team/app:1.0") == json.loads(EMPTY.raw)
    assert client.get_tags(f"{server.host}/team/app") == ["1.0"]
