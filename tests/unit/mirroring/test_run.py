"""Whole runs, between registries in memory and stores."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from nexus_oci.errors import NotFoundError, RegistryError, VerificationError
from nexus_oci.mirroring.reduce import for_platforms, for_tier
from nexus_oci.mirroring.selection import Retention
from nexus_oci.oci.store import Store
from nexus_oci.oci.values import Descriptor
from nexus_oci.registry.end import RegistryEnd
from nexus_oci.transfer.copy import copy_graph
from nexus_oci.transfer.store_end import StoreEnd
from nexus_oci.transfer.store_place import StorePlace
from tests.support.faulty_registry import LOOPBACK, FaultyRegistry, alter, answer, cut_answer
from tests.unit.mirroring.kit import AMD64, Mirrors, content, make_release
from tests.unit.transfer.graph import image

pytestmark = LOOPBACK


def reads(server: FaultyRegistry) -> Counter[str]:
    """How often each blob was read in full or in part."""
    return Counter(seen.path.rpartition("/")[2] for seen in server.requests("GET", "/blobs/"))


@pytest.mark.parametrize("api", [True, False], ids=["referrers", "fallback tags"])
def test_a_release_arrives_with_all_that_belongs_to_it(mirrors: Mirrors, store: Store, api: bool) -> None:
    for server in mirrors.servers:
        server.referrers_api = server.sends_subject_header = api
    mirrors.publish(store, make_release(store, "1.0.0"))
    report = mirrors.run("1.0.0")
    assert report.exit_code == 0
    assert content(mirrors.servers[1]) == content(mirrors.source)
    (done,) = report.destinations[0].done
    assert done.state == "copied"


def test_everything_is_read_once_for_two_destinations(mirrors: Mirrors, store: Store) -> None:
    mirrors.publish(store, make_release(store, "1.0.0"))
    report = mirrors.run("1.0.0", to=(mirrors.place(1), mirrors.place(2)))
    assert report.failures == []
    assert content(mirrors.servers[1]) == content(mirrors.servers[2]) == content(mirrors.source)
    assert set(reads(mirrors.source).values()) == {1}
    manifests = Counter(seen.path for seen in mirrors.source.requests("GET", "/manifests/sha256:"))
    assert max(manifests.values()) == 1


def test_two_releases_share_their_layer_and_parts_are_mounts(mirrors: Mirrors, store: Store) -> None:
    for version in ("1.0.0", "1.1.0"):
        mirrors.publish(store, make_release(store, version))
    report = mirrors.run("1.0.0", "1.1.0")
    assert set(reads(mirrors.source).values()) == {1}
    assert content(mirrors.servers[1]) == content(mirrors.source)
    tally = report.destinations[0].tally
    blobs = {digest: data for held in mirrors.source.repositories.values() for digest, data in held.blobs.items()}
    assert tally.bytes_new == sum(map(len, blobs.values()))
    assert tally.blobs_mounted > 0


def test_a_second_run_writes_nothing_and_asks_for_each_manifest_once(mirrors: Mirrors, store: Store) -> None:
    mirrors.publish(store, make_release(store, "1.0.0"))
    mirrors.run("1.0.0")
    for server in mirrors.servers:
        server.seen.clear()
    report = mirrors.run("1.0.0")
    tally = report.destinations[0].tally
    assert (report.destinations[0].counts, tally.bytes_sent, tally.manifests_sent) == ({"unchanged": 1}, 0, 0)
    assert {seen.method for seen in mirrors.servers[1].seen} == {"HEAD"}
    assert not mirrors.servers[1].requests("HEAD", "/blobs/")
    for server in mirrors.servers[:2]:
        assert max(Counter(seen.path for seen in server.seen).values()) == 1
    assert len(mirrors.servers[1].seen) <= sum(len(held.manifests) for held in mirrors.source.repositories.values())


def test_a_new_signature_of_an_old_release_is_all_that_is_sent(mirrors: Mirrors, store: Store) -> None:
    release = make_release(store, "1.0.0")
    mirrors.publish(store, release)
    tag = release.signature_tag
    held = mirrors.source.repository("team/releases")
    digest = held.tags.pop(tag)
    mirrors.run("1.0.0")
    assert tag not in mirrors.servers[1].repository("team/releases").tags
    held.tags[tag] = digest
    report = mirrors.run("1.0.0")
    assert mirrors.servers[1].repository("team/releases").tags[tag] == digest
    assert report.destinations[0].tally.manifests_sent == 1
    assert report.destinations[0].tally.tags_written == 1


def signatures(store: Store, *texts: str) -> Descriptor:
    """An image of some signatures, under cosign's tag or to be put there."""
    layers = [replace(store.put(text.encode(), "text/plain"), annotations={"signature": text}) for text in texts]
    return image(store, *layers)


def test_signatures_of_a_site_stay_beside_those_of_the_source(mirrors: Mirrors, store: Store) -> None:
    release = make_release(store, "1.0.0")
    mirrors.publish(store, release)
    source, site = (server.repository("team/releases") for server in mirrors.servers[:2])

    def sign(number: int, *texts: str) -> None:
        end = RegistryEnd(mirrors.place(number).client, "team/releases")
        copy_graph(StoreEnd(store), end, signatures(store, *texts), tags=(release.signature_tag,))

    def signed_there() -> list[str]:
        raw = json.loads(site.manifests[site.tags[release.signature_tag]][1])
        return [layer["annotations"]["signature"] for layer in raw["layers"]]

    sign(0, "ours")
    mirrors.run("1.0.0")
    assert signed_there() == ["ours"]
    sign(1, "ours", "the site's")
    assert mirrors.run("1.0.0").destinations[0].counts == {"unchanged": 1}
    sign(0, "ours", "ours, newer")
    assert mirrors.run("1.0.0").destinations[0].counts == {"copied": 1}
    assert signed_there() == ["ours", "the site's", "ours, newer"]
    assert mirrors.run("1.0.0").destinations[0].counts == {"unchanged": 1}
    assert source.tags[release.signature_tag] != site.tags[release.signature_tag]


def test_a_plan_says_what_would_be_done_and_does_nothing(mirrors: Mirrors, store: Store) -> None:
    mirrors.publish(store, make_release(store, "1.0.0"))
    plan = mirrors.run("1.0.0", plan=True)
    assert content(mirrors.servers[1]) == {}
    assert {seen.method for seen in mirrors.servers[1].seen} <= {"HEAD", "GET"}
    real = mirrors.run("1.0.0")
    assert plan.destinations[0].tally == real.destinations[0].tally
    assert not reads(mirrors.source) - reads(mirrors.source)


def test_what_fails_at_one_destination_does_not_stop_the_other(mirrors: Mirrors, store: Store) -> None:
    for version in ("1.0.0", "1.1.0"):
        mirrors.publish(store, make_release(store, version))
    mirrors.servers[1].fault("PUT", "/manifests/", *[answer(403)] * 1000)
    report = mirrors.run("1.0.0", "1.1.0", to=(mirrors.place(1), mirrors.place(2)))
    assert content(mirrors.servers[2]) == content(mirrors.source)
    assert all(not held.tags for held in mirrors.servers[1].repositories.values())
    assert [done.state for done in report.destinations[0].done] == ["failed", "failed"]
    assert [done.state for done in report.destinations[1].done] == ["copied", "copied"]
    assert report.exit_code == 1


def test_one_item_that_fails_does_not_stop_the_others(mirrors: Mirrors, store: Store) -> None:
    for version in ("1.0.0", "1.1.0"):
        mirrors.publish(store, make_release(store, version))
    report = mirrors.run("1.0.0", "9.9.9", "1.1.0")
    assert sorted(done.state for done in report.destinations[0].done) == ["copied", "copied", "failed"]
    assert [type(error) for error in report.failures] == [NotFoundError]
    assert report.exit_code == 1
    assert content(mirrors.servers[1]) == content(mirrors.source)


def test_a_destination_that_cannot_be_reached_is_given_up(mirrors: Mirrors, store: Store) -> None:
    versions = [f"1.{number}.0" for number in range(8)]
    for version in versions:
        mirrors.publish(store, make_release(store, version))
    mirrors.jobs = 1
    mirrors.servers[1].fault("HEAD", "", *[answer(503)] * 10_000)
    report = mirrors.run(*versions)
    assert report.exit_code == 5
    assert [done.state for done in report.destinations[0].done] == ["failed"] * 8
    assert "3 times in a row" in str(report.failures[-1])
    assert len(mirrors.servers[1].seen) < 40


def test_a_lying_source_is_caught_and_nothing_is_named(mirrors: Mirrors, store: Store) -> None:
    mirrors.publish(store, make_release(store, "1.0.0"))
    mirrors.source.fault("GET", "/blobs/", *[alter(lambda data: b"x" + data[1:])] * 100)
    for destinations in ((mirrors.place(1),), (mirrors.place(1), mirrors.place(2))):
        report = mirrors.run("1.0.0", to=destinations)
        assert report.exit_code == 4
        assert all(isinstance(error, VerificationError) for error in report.failures)
        for server in mirrors.servers[1:]:
            assert all(not held.tags and not held.blobs for held in server.repositories.values())


def test_a_broken_read_goes_on_for_all_destinations(mirrors: Mirrors, store: Store) -> None:
    mirrors.publish(store, make_release(store, "1.0.0"))
    mirrors.source.fault("GET", "/blobs/", *[cut_answer(1500)] * 3)
    report = mirrors.run("1.0.0", to=(mirrors.place(1), mirrors.place(2)))
    assert report.failures == []
    assert content(mirrors.servers[1]) == content(mirrors.servers[2]) == content(mirrors.source)


def test_a_failed_verification_writes_nothing(mirrors: Mirrors, store: Store) -> None:
    mirrors.publish(store, make_release(store, "1.0.0"))

    def refuse(*_: object) -> None:
        raise VerificationError("it is not signed")

    report = mirrors.run("1.0.0", verify=refuse)
    assert report.exit_code == 4
    assert mirrors.servers[1].seen == []


def test_a_release_goes_through_a_store_and_comes_back(mirrors: Mirrors, store: Store, tmp_path: Path) -> None:
    mirrors.publish(store, make_release(store, "1.0.0"), "stable")
    disk = StorePlace(Store.create(tmp_path / "disk"))
    assert mirrors.run("1.0.0", channels=("stable",), to=(disk,)).failures == []
    names = disk.store.tags()
    assert {"1.0.0", "stable", "runtime:1.0.0"} <= set(names)
    again = mirrors.run("1.0.0", channels=("stable",), to=(disk,))
    assert again.destinations[0].counts == {"unchanged": 2}
    assert mirrors.run("1.0.0", channels=("stable",), source=disk).failures == []
    assert content(mirrors.servers[1]) == content(mirrors.source)


def test_one_platform_is_a_smaller_release(mirrors: Mirrors, store: Store) -> None:
    release = make_release(store, "1.0.0")
    mirrors.publish(store, release)
    report = mirrors.run("1.0.0", keep=for_platforms([AMD64]))
    assert report.failures == []
    (done,) = report.destinations[0].done
    assert done.reduced_from == release.root.digest
    assert done.digest != release.root.digest
    held = mirrors.servers[1].repository("team/releases")
    assert release.images[0].digest in held.manifests
    assert release.images[1].digest not in held.manifests
    assert held.tags["1.0.0"] == done.digest
    again = mirrors.run("1.0.0", keep=for_platforms([AMD64]))
    assert again.destinations[0].counts == {"unchanged": 1}


def test_a_tier_gets_only_its_formats(mirrors: Mirrors, store: Store) -> None:
    release = make_release(store, "1.0.0")
    mirrors.publish(store, release)
    report = mirrors.run("1.0.0", keep=for_tier(["runtime"], {"runtime": ["rpm"]}))
    assert report.failures == []
    held = mirrors.servers[1].repository("team/releases")
    assert release.engine.digest in held.manifests
    assert release.deb.digest not in held.manifests
    refused = mirrors.run("1.0.0", keep=for_tier(["library"], {}))
    assert [type(error) for error in refused.failures] == [NotFoundError]


def test_old_versions_are_pruned_and_what_others_need_stays(mirrors: Mirrors, store: Store) -> None:
    for version in ("1.0.0", "1.1.0", "1.2.0"):
        mirrors.publish(store, make_release(store, version))
    mirrors.run("1.0.0", "1.1.0", "1.2.0")
    mirrors.servers[1].deletes_tags = True
    held = mirrors.servers[1].repository("team/releases")
    held.tags["stable"] = held.tags["1.1.0"]
    plan = mirrors.run("1.2.0", retention=Retention(), plan=True)
    assert plan.destinations[0].pruned is not None
    assert sorted(plan.destinations[0].pruned.tags) == ["releases:1.0.0", "releases:1.1.0", "runtime:1.0.0"]
    assert set(held.tags) >= {"1.0.0", "1.1.0"}
    mirrors.run("1.2.0", retention=Retention())
    assert {tag for tag in held.tags if not tag.startswith("sha256-")} == {"1.2.0", "stable"}
    fresh = mirrors.place(2)
    report = mirrors.run(to=(fresh,), channels=("stable",), source=mirrors.place(1))
    assert report.failures == []


def test_a_tag_that_cannot_go_alone_stays_and_is_named(mirrors: Mirrors, store: Store) -> None:
    for version in ("1.0.0", "1.1.0"):
        mirrors.publish(store, make_release(store, version))
    mirrors.run("1.0.0", "1.1.0")
    held = mirrors.servers[1].repository("team/releases")
    held.tags["stable"] = held.tags["1.0.0"]
    pruned = mirrors.run("1.1.0", retention=Retention()).destinations[0].pruned
    assert pruned is not None
    assert pruned.stayed == ["releases:1.0.0"]
    assert held.tags["stable"] in held.manifests


def test_pruning_keeps_the_newest_and_what_is_named(mirrors: Mirrors, store: Store) -> None:
    versions = ("1.0.0", "1.1.0", "1.2.0", "2.0.0-rc.1")
    for version in versions:
        mirrors.publish(store, make_release(store, version))
    mirrors.run(*versions)
    mirrors.run("1.2.0", retention=Retention(newest=1, patterns=("1.0.*",)))
    held = mirrors.servers[1].repository("team/releases")
    assert {tag for tag in held.tags if not tag.startswith("sha256-")} == {"1.0.0", "1.2.0", "2.0.0-rc.1"}


def test_nothing_is_pruned_when_something_failed(mirrors: Mirrors, store: Store) -> None:
    for version in ("1.0.0", "1.1.0"):
        mirrors.publish(store, make_release(store, version))
    mirrors.run("1.0.0", "1.1.0")
    report = mirrors.run("1.1.0", "9.9.9", retention=Retention())
    assert report.exit_code == 1
    assert "1.0.0" in mirrors.servers[1].repository("team/releases").tags


def test_a_registry_that_removes_nothing_says_so(mirrors: Mirrors, store: Store) -> None:
    for version in ("1.0.0", "1.1.0"):
        mirrors.publish(store, make_release(store, version))
    mirrors.run("1.0.0", "1.1.0")
    mirrors.servers[1].fault("DELETE", "", *[answer(405)] * 100)
    report = mirrors.run("1.1.0", retention=Retention())
    assert [type(error) for error in report.failures] == [RegistryError]
    assert "lets nothing be removed" in str(report.failures[0])


def test_a_store_is_swept_of_what_was_pruned(mirrors: Mirrors, store: Store, tmp_path: Path) -> None:
    for version in ("1.0.0", "1.1.0"):
        mirrors.publish(store, make_release(store, version))
    disk = StorePlace(Store.create(tmp_path / "disk"))
    mirrors.run("1.0.0", "1.1.0", to=(disk,))
    pruned = mirrors.run("1.1.0", to=(disk,), retention=Retention()).destinations[0].pruned
    assert pruned is not None
    assert pruned.bytes_freed > 6000
    fresh = StorePlace(Store.create(tmp_path / "fresh"))
    mirrors.run("1.1.0", to=(fresh,))

    def blobs(place: StorePlace) -> set[str]:
        return {path.name for path in (place.store.root / "blobs" / "sha256").iterdir()}

    assert blobs(disk) == blobs(fresh)


def test_only_tags_that_moved_are_read_again(mirrors: Mirrors, store: Store) -> None:
    mirrors.publish(store, make_release(store, "1.0.0"))
    source = mirrors.place(0)
    mirrors.run("1.0.0", source=source)
    mirrors.source.seen.clear()
    mirrors.run("1.0.0", source=source)
    asked = [seen for seen in mirrors.source.requests("GET", "/manifests/1.0.0") if "releases" in seen.path]
    assert [seen.headers.get("if-none-match") for seen in asked] == [f'"{make_release(store, "1.0.0").root.digest}"']
