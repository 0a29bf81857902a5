"""Releases made to break a gate are refused by it, in a store of their own, and those that are as they should be are not."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from nexus_oci.errors import VerificationError
from nexus_oci.oci import media_types
from nexus_oci.oci.store import Store
from nexus_oci.oci.values import Descriptor, digest_of
from nexus_oci.pipeline.policy_facts import gather
from nexus_oci.policy.judging import Verdict, judge
from nexus_oci.policy.loading import load_policy
from nexus_oci.release.image import ImageLayer
from nexus_oci.transfer.store_end import StoreEnd
from tests.unit.policy_kit import DAY, EPOCH, ROOT, SECRET, Entry, Kit, capability, deb, elf, go_program, rpm, tar, zipped, zstd

TODAY = date(2027, 1, 20)
ENGINE = go_program("shop.example/engine", b"the engine itself")
GOOD = {"usr/bin/engine": Entry(data=ENGINE, mode=0o755)}
PASSWD = {"etc/passwd": b"root:x:0:0::/:\ntoor:x:0:0::/:\nshop:x:1000:1000::/:\n"}


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    return Kit(store=Store.create(tmp_path / "oci"))


def verdict(kit: Kit, root: Descriptor | None = None, tier: str | None = None) -> Verdict:
    found = gather(StoreEnd(kit.store), root or kit.release())
    return judge(load_policy(Path("/nowhere"), ROOT), tier, found.facts, today=TODAY, unchecked=found.unchecked)  # type: ignore[arg-type]


def refused(kit: Kit) -> list[tuple[str, str]]:
    return [(finding.gate, finding.value) for finding in verdict(kit).refused]


def test_five_distributions_as_they_should_be_pass(kit: Kit) -> None:
    for name in ("runtime", "library", "container"):
        index = kit.image(name, GOOD, base={"etc/os-release": b"ID=debian\n"})
    kit.artifact("runtime", "tar.gz", "shop.tar.gz", gzip.compress(tar(GOOD)), index)
    kit.image("sdk", {"sdk/client.py": b"print()\n", "sdk/client.whl": zipped({"shop/client.py": b"x"})}, entrypoint=())
    assert refused(kit) == []
    assert "tier-distributions" not in [finding.gate for finding in verdict(kit, tier="professional").findings]


@pytest.mark.parametrize("user", ["", "0", "root", "0:0", "root:root", "00", "0:1000", ":0", "toor", "toor:shop"])
def test_an_image_that_runs_as_root_is_refused(kit: Kit, user: str) -> None:
    kit.image("container", {**PASSWD, **GOOD}, user=user)
    assert [gate for gate, _ in refused(kit)] == ["root-user"]


@pytest.mark.parametrize("user", ["65532", "65532:0", "shop", "shop:root", "1000:1000", "unknown"])
def test_an_image_that_does_not_run_as_root_is_not(kit: Kit, user: str) -> None:
    kit.image("container", {**PASSWD, **GOOD}, user=user)
    assert refused(kit) == []


@pytest.mark.parametrize(
    "file",
    [
        Entry(data=b"x", mode=0o4755),
        Entry(data=b"x", mode=0o2755),
        Entry(data=b"x", mode=0o6711),
        Entry(data=b"x", mode=0o755, pax=capability()),
    ],
    ids=["setuid", "setgid", "both", "capabilities"],
)
def test_a_file_with_the_rights_of_another_is_refused(kit: Kit, file: Entry) -> None:
    kit.image("container", GOOD, {"usr/bin/su": file})
    ((gate, value),) = refused(kit)
    assert gate == "setuid-files"
    assert value.startswith("usr/bin/su, mode ")


@pytest.mark.parametrize(
    "above",
    [
        {"usr/bin/su": Entry(data=b"x", mode=0o755)},
        {"usr/bin/.wh.su": b""},
        {"usr/.wh.bin": b""},
        {"usr/bin/.wh..wh..opq": b""},
        {"usr/bin": Entry(symlink="/bin")},
    ],
    ids=["replaced", "removed", "its folder removed", "its folder emptied", "covered by a link"],
)
def test_a_file_that_a_later_layer_hides_cannot_be_run(kit: Kit, above: dict[str, Entry]) -> None:
    kit.image("container", {"usr/bin/su": Entry(data=b"x", mode=0o4755)}, above)
    assert refused(kit) == []


def test_a_later_layer_that_makes_a_file_setuid_is_found(kit: Kit) -> None:
    kit.image("container", {"usr/bin/su": b"x"}, {"usr/bin/su": Entry(data=b"x", mode=0o4755)})
    assert [gate for gate, _ in refused(kit)] == ["setuid-files"]


@pytest.mark.parametrize("kind", ["deb", "tar.gz", "tar.zst", "rpm"])
def test_a_setuid_file_that_a_package_installs_is_refused(kit: Kit, kind: str) -> None:
    files = {"usr/bin/su": Entry(data=b"x", mode=0o4755)}
    made = {"deb": deb(files), "tar.gz": gzip.compress(tar(files)), "tar.zst": zstd(tar(files)), "rpm": rpm(files, zstd)}
    data = made[kind]
    kit.artifact("runtime", kind, f"shop.{kind}", data, kit.image("runtime", GOOD))
    assert [gate for gate, _ in refused(kit)] == ["setuid-files"]


def test_a_setuid_file_in_an_archive_that_only_lies_in_an_image_is_no_installed_program(kit: Kit) -> None:
    kit.image("container", {"srv/x.tar": tar({"su": Entry(data=b"x", mode=0o4755)})})
    assert refused(kit) == []


@pytest.mark.parametrize(
    ("layers", "hidden"),
    [
        ([{"etc/key.pem": SECRET}], False),
        ([{"etc/key.pem": SECRET}, {"etc/.wh.key.pem": b""}], True),
        ([{"etc/key.pem": SECRET}, {"etc/key.pem": b"nothing"}], True),
        ([{"etc/.wh.key.pem": SECRET}], False),
        ([{"a/b.zip": zipped({"c.tar.gz": gzip.compress(tar({"key": SECRET}))})}], False),
    ],
    ids=["plain", "whiteouted", "replaced", "in a whiteout", "in archives"],
)
def test_a_secret_in_any_layer_is_refused(kit: Kit, layers: list[dict[str, bytes]], hidden: bool) -> None:
    kit.image("container", *layers, GOOD)
    ((gate, value),) = refused(kit)
    assert gate == "secrets"
    assert value.startswith("a private key in ")
    assert ("hidden by a later layer, and still there" in value) == hidden
    assert "MC4CAQAw" not in value


def test_a_secret_in_a_base_an_environment_or_an_artifact_is_refused(kit: Kit) -> None:
    index = kit.image("container", GOOD, base={"root/.netrc": b"machine x login y password z\n"})
    kit.image("runtime", GOOD, environment=["TOKEN=ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"])
    kit.artifact("container", "deb", "x.deb", deb({"etc/key": SECRET}), index)
    assert sorted(value.partition(" in ")[2].partition(",")[0] for gate, value in refused(kit) if gate == "secrets") == [
        "config.json", "root/.netrc", "x.deb!data.tar.gz!data.tar!etc/key",
    ]  # fmt: skip


def stripped(program: bytes) -> bytes:
    """The same program without what Go says of it, and so with other bytes."""
    return program.replace(b"\xff Go buildinf:", b"\xff no buildinfo")


@pytest.mark.parametrize(
    ("path", "data", "why"),
    [
        ("sdk/lib/helper", ENGINE, "byte for byte"),
        ("sdk/readme.txt", ENGINE, "byte for byte"),
        ("sdk/tool.exe", b"MZ" + go_program("shop.example/engine", b"another build"), "engine's module shop.example/engine"),
        ("sdk/engine", stripped(ENGINE) + b"1", "engine's name, engine"),
        ("sdk/engine-1.0.0-linux-arm64", stripped(ENGINE) + b"2", "engine's name, engine"),
        ("sdk/bin/Engine.EXE", b"MZ" + bytes(100), "engine's name, engine"),
        ("sdk/engine_darwin_universal", b"\xca\xfe\xba\xbe" + bytes(100), "engine's name, engine"),
        ("sdk/x.whl", zipped({"shop/bin/x": ENGINE}), "byte for byte"),
        ("sdk/x.tgz", gzip.compress(tar({"package/x": ENGINE})), "byte for byte"),
        ("sdk/x.jar", zipped({"natives/inner.jar": zipped({"x": ENGINE})}), "byte for byte"),
        ("sdk/x.deb", deb({"usr/bin/x": ENGINE}), "byte for byte"),
        ("sdk/x.bin", gzip.compress(ENGINE), "byte for byte"),
        ("sdk/x.7z", b"7z\xbc\xaf\x27\x1c" + bytes(99), "7z is not unpacked here"),
    ],
)  # fmt: skip
def test_an_engine_in_an_sdk_is_refused_however_it_is_hidden(kit: Kit, path: str, data: bytes, why: str) -> None:
    kit.image("runtime", GOOD, base={"bin/tool": Entry(data=elf(b"tool"), mode=0o755)})
    kit.image("sdk", {path: data}, entrypoint=())
    found = refused(kit)
    assert {gate for gate, _ in found} == {"sdk-engine"}
    assert any(value.startswith(path) and why in value for _, value in found), found


def test_a_copy_of_the_engine_that_was_changed_in_places_is_refused(kit: Kit) -> None:
    pages = b"".join(bytes([number]) * 4096 for number in range(1, 101))
    kit.image("runtime", {"usr/bin/engine": Entry(data=elf() + pages, mode=0o755)})
    changed = bytearray(elf() + pages + b"appended")
    changed[5 * 4096] ^= 1
    kit.image("sdk", {"sdk/other": bytes(changed)}, entrypoint=())
    ((gate, value),) = refused(kit)
    assert (gate, value) == ("sdk-engine", "sdk/other: it is the program usr/bin/engine of runtime, changed in places")


def test_a_program_that_shares_half_of_its_pages_with_the_engine_is_another(kit: Kit) -> None:
    pages = [bytes([number]) * 4096 for number in range(1, 101)]
    kit.image("runtime", {"usr/bin/engine": Entry(data=elf() + b"".join(pages), mode=0o755)})
    kit.image("sdk", {"sdk/other": elf() + b"".join(pages[:50]) + b"x" * 400_000}, entrypoint=())
    assert refused(kit) == []


def test_an_engine_in_an_artifact_of_an_sdk_and_below_a_whiteout_is_refused(kit: Kit) -> None:
    kit.image("container", GOOD)
    index = kit.image("sdk", {"sdk/x": ENGINE}, {"sdk/.wh.x": b""}, entrypoint=())
    kit.artifact("sdk", "tar.gz", "sdk.tar.gz", gzip.compress(tar({"bin/x": ENGINE})), index)
    assert [gate for gate, _ in refused(kit)] == ["sdk-engine", "sdk-engine"]


def test_programs_that_are_not_the_engine_may_be_in_an_sdk(kit: Kit) -> None:
    tool = {"bin/tool": Entry(data=elf(b"tool"), mode=0o755)}
    kit.image("runtime", GOOD, base=tool)
    kit.image("sdk", {"sdk/client": go_program("shop.example/sdk"), "sdk/lib.so": elf(b"lib")}, base=tool, entrypoint=())
    assert refused(kit) == []


def test_an_sdk_without_the_annotation_is_one_by_its_repository(kit: Kit) -> None:
    kit.image("runtime", GOOD)
    kit.image("sdk", {"sdk/x": ENGINE}, entrypoint=())
    index = kit.store.manifest(kit.images[-1].descriptor)
    from nexus_oci.release.assemble import Named, store_index

    bare = store_index(kit.store, list(index.manifests), {})
    kit.images[-1] = Named(descriptor=bare, repository="sdk", tag="1.0.0")
    assert [gate for gate, _ in refused(kit)] == ["sdk-engine"]


def test_a_file_of_api_is_refused(kit: Kit) -> None:
    index = kit.image("container", GOOD)
    kit.artifact("api", "tar.gz", "api.tar.gz", gzip.compress(tar({"x": b"y"})), index)
    assert refused(kit) == [("api-artifact", "the release carries the tar.gz api.tar.gz of api")]


def test_an_image_of_api_is_refused(kit: Kit) -> None:
    kit.image("container", GOOD)
    kit.image("api", GOOD)
    assert [gate for gate, _ in refused(kit)] == ["api-artifact"]


def test_an_artifact_of_api_that_only_refers_to_the_release_is_refused(kit: Kit) -> None:
    index = kit.image("container", GOOD)
    root = kit.release()
    loose = kit.artifact("api", "tar.gz", "api.tar.gz", gzip.compress(tar({"x": b"y"})), index)
    kit.store.replace_tags({}, [loose], keep_untagged=True)
    assert [finding.gate for finding in verdict(kit, root).refused] == ["api-artifact"]


def test_as_many_layers_as_an_engine_cannot_mount_are_refused(kit: Kit) -> None:
    kit.image("container", *[{f"f{number}": b""} for number in range(126)])
    assert refused(kit) == []
    kit.image("runtime", *[{f"f{number}": b""} for number in range(127)])
    assert refused(kit) == [("layer-count", "127 layers")]


def test_a_layer_of_an_unknown_type_is_refused_since_anything_may_be_in_it(kit: Kit) -> None:
    blob = kit.store.put(b"\x28\xb5\x2f\xfd" + bytes(50), media_types.LAYER_ZSTD)
    kit.image("container", GOOD, ImageLayer(descriptor=blob, diff_id=digest_of(b""), created_by="x"))
    ((gate, value),) = refused(kit)
    assert gate == "layers-readable"
    assert "zstd" in value


@pytest.mark.parametrize(("days", "gate"), [(90, []), (91, ["base-age"])])
def test_the_age_of_a_base_counts_to_the_release(kit: Kit, days: int, gate: list[str]) -> None:
    kit.image("container", GOOD, base={"etc/x": Entry(mtime=EPOCH - days * DAY), "etc/y": Entry(mtime=1)})
    found = [finding.gate for finding in verdict(kit, tier="enterprise").refused if not finding.gate.startswith("proof")]
    assert found == gate


def test_licences_of_packages_that_the_base_did_not_bring_are_judged(kit: Kit) -> None:
    def package(name: str, licence: str) -> dict[str, bytes]:
        return {
            f"usr/lib/app/{name}-1.0.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\nLicense-Expression: {licence}\n".encode()
        }

    own = package("free", "MIT OR GPL-3.0-only") | package("other", "AGPL-3.0-only")
    kit.image("container", own, base=package("below", "GPL-3.0-only"))
    found = verdict(kit, tier="enterprise").refused
    assert [finding.value for finding in found if finding.gate == "licences"] == ["other 1.0: AGPL-3.0-only"]


def test_a_blob_that_is_not_what_its_digest_says_is_no_fact(kit: Kit) -> None:
    index = kit.image("container", GOOD)
    artifact = kit.artifact("container", "tar.gz", "x.tar.gz", gzip.compress(tar({"x": b"y"})), index)
    root = kit.release()
    path = kit.store.path(kit.store.manifest(artifact).layers[0].digest)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(VerificationError):
        gather(StoreEnd(kit.store), root)


def test_every_blob_is_read_once(kit: Kit) -> None:
    shared = kit.layer(GOOD)
    index = kit.image("container", shared, {"x": b"y"})
    kit.image("runtime", shared)
    kit.artifact("container", "tar.gz", "x.tar.gz", gzip.compress(tar({"x": b"y"})), index)
    root = kit.release()
    opened: list[str] = []
    source = StoreEnd(kit.store)
    original = source.open_blob

    def counting(descriptor: Descriptor, *, verify: bool = True) -> object:
        if descriptor.media_type not in (media_types.CONFIG, media_types.EMPTY):
            opened.append(descriptor.digest)
        return original(descriptor, verify=verify)

    source.open_blob = counting  # type: ignore[method-assign, assignment]
    gather(source, root)
    assert len(opened) == len(set(opened)) == 3


Make = Callable[[Kit], Descriptor]


def test_facts_of_every_kind_have_what_the_example_has(kit: Kit) -> None:
    from nexus_oci.policy.facts import EXAMPLES

    index = kit.image("runtime", {**GOOD, "etc/key": SECRET}, base={"etc/os-release": b"ID=debian\n", **PASSWD})
    kit.image("container", {"usr/lib/app/x-1.dist-info/METADATA": b"Metadata-Version: 2.1\nName: x\nVersion: 1\n"})
    kit.artifact("runtime", "deb", "x.deb", deb({"x": b"y"}), index)
    found = gather(StoreEnd(kit.store), kit.release()).facts
    assert found.keys() == EXAMPLES.keys() - {"waiver"}
    for kind, items in found.items():
        assert items, kind
        for item in items:
            optional = {"base", "previous", "growth"} if kind == "image" else set()
            assert EXAMPLES[kind].keys() - item.keys() <= optional, kind  # type: ignore[index]
            assert item.keys() <= EXAMPLES[kind].keys(), kind  # type: ignore[index]
