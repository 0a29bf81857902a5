"""Attacks on a signed release in a registry: on every kind of manifest, with and without the referrers API, whole and shallow.

Whoever attacks may write anything to the registry, and has no key. test_signatures.py has the same attacks before
the other verifiers.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from nexus_oci.oci.values import Digest
from nexus_oci.trust import dsse
from tests.support.faulty_registry import answer
from tests.support.signed_field import KEY, OTHER, Field, signed_field, verify
from tests.unit.cli.conftest import RunProgram
from tests.unit.cli.conftest import run as run

pytestmark = pytest.mark.integration

KINDS = ("release", "index", "image", "deb", "chart")

Attack = Callable[[Field, str, str], None]
"""Does something to a victim; the last is another signed manifest."""


def flipped_manifest(field: Field, victim: str, _: str) -> None:
    kind, raw = field.releases.manifests[victim]
    place = raw.index(b"sha256:") + 20
    field.releases.manifests[victim] = (kind, raw[:place] + (b"0" if raw[place] != 48 else b"1") + raw[place + 1 :])


def lost_manifest(field: Field, victim: str, _: str) -> None:
    del field.releases.manifests[victim]


def flipped_tag(field: Field, victim: str, _: str) -> None:
    image = field.manifest(field.releases.tags[field.sig(victim)])
    for layer in image["layers"]:
        for name, value in layer["annotations"].items():
            layer["annotations"][name] = value[:40] + ("A" if value[40] != "A" else "B") + value[41:]
    field.releases.tags[field.sig(victim)] = field.put(image)


def flipped_bundle(field: Field, victim: str, _: str) -> None:
    body = json.loads(field.bundle_body(victim))
    text = body["dsseEnvelope"]["signatures"][0]["sig"]
    body["dsseEnvelope"]["signatures"][0]["sig"] = text[:40] + ("A" if text[40] != "A" else "B") + text[41:]
    field.carry(json.dumps(body).encode(), victim)


def moved_tag(field: Field, victim: str, other: str) -> None:
    field.releases.tags[field.sig(victim)] = field.releases.tags[field.sig(other)]


def moved_bundle(field: Field, victim: str, other: str) -> None:
    field.carry(field.bundle_body(other), victim)


def anothers_key(field: Field, victim: str, _: str) -> None:
    field.simple_by(OTHER, victim)
    field.carry(dsse.sign_statement(OTHER, dsse.statement([Digest(victim)], dsse.SIGNATURE, {})), victim)


def stripped_tag(field: Field, victim: str, _: str) -> None:
    del field.releases.tags[field.sig(victim)]


def stripped_bundle(field: Field, victim: str, _: str) -> None:
    field.unlist(victim)


def stripped_both(field: Field, victim: str, _: str) -> None:
    stripped_tag(field, victim, "")
    stripped_bundle(field, victim, "")


def relabelled_bundle(field: Field, victim: str, _: str) -> None:
    """What is signed stays as it is; its carrier says that it is something that nobody asks for."""
    field.carry(field.bundle_body(victim), victim, "https://spdx.dev/Document/v2.3")


ATTACKS: dict[str, tuple[Attack, str]] = {
    "a flipped byte in the manifest": (flipped_manifest, "is not what its digest says|could not be judged"),
    "the manifest is gone": (lost_manifest, "has no|could not be judged"),
    "a flipped byte in the signature under the tag": (flipped_tag, "no good signature under its .sig tag"),
    "a flipped byte in the bundle's signature": (flipped_bundle, "says it is by a trusted key, and is not"),
    "another's signature under the tag": (moved_tag, r"\(tag\) by release.pub that is of sha256:.*moved here"),
    "another's bundle": (moved_bundle, r"\(bundle\) by release.pub that is of sha256:.*moved here"),
    "signed by another key": (anothers_key, "not signed by a key that is trusted here"),
    "a stripped tag": (stripped_tag, "no good signature under its .sig tag"),
    "a stripped referrer": (stripped_bundle, "no good signature as a bundle"),
    "both stripped": (stripped_both, "not signed by a key that is trusted here: it has no signature"),
    "a bundle that is said to be another thing": (relabelled_bundle, "no good signature as a bundle|is said to hold"),
}


@pytest.fixture(scope="module", params=[True, False], ids=["api", "fallback"])
def signed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    with signed_field(tmp_path_factory.mktemp("signed"), api=request.param) as made:
        yield made


@pytest.fixture
def field(signed: Field) -> Iterator[Field]:
    with signed.restored():
        yield signed


@pytest.mark.parametrize("words", [(), ("--shallow",)], ids=["whole", "shallow"])
def test_without_an_attack_everything_is_signed(run: RunProgram, field: Field, words: tuple[str, ...]) -> None:
    code, said = verify(run, field, *words)
    assert (code, said.count("release.pub (bundle, tag)")) == (0, 5), said


@pytest.mark.parametrize("words", [(), ("--shallow",)], ids=["whole", "shallow"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("attack", "message"), ATTACKS.values(), ids=ATTACKS)
def test_an_attack_on_any_part_is_refused(
    run: RunProgram, field: Field, attack: Attack, message: str, kind: str, words: tuple[str, ...]
) -> None:
    kinds = field.kinds()
    victim = kinds[kind]
    attack(field, victim, kinds["image" if kind != "image" else "deb"])
    code, said = verify(run, field, *words)
    gone = attack is lost_manifest and kind == "release"
    assert code == (1 if gone else 4), said
    assert re.search(message, said), said


@pytest.mark.parametrize("name", ["engine:1.0.0", "charts/c:1.0.0"])
def test_an_index_that_was_swapped_under_a_friendly_name_is_refused(run: RunProgram, field: Field, name: str) -> None:
    """The attacker's index has a signature of each form: those of the index that it replaces."""
    repository = field.registry.repository(f"team/{name.partition(':')[0]}")
    old = repository.tags["1.0.0"]
    kind, raw = repository.manifests[old]
    swapped = json.dumps({**json.loads(raw), "annotations": {"swapped": "yes"}}).encode()
    new = "sha256:" + hashlib.sha256(swapped).hexdigest()
    repository.manifests[new] = (kind, swapped)
    repository.tags |= {"1.0.0": new, field.sig(new): repository.tags[field.sig(old)]}
    code, said = verify(run, field, "--shallow", name=name)
    assert (code, "it was moved here" in said) == (4, True), said


def test_a_swapped_child_of_the_release_is_refused(run: RunProgram, field: Field) -> None:
    old = field.root
    data = field.manifest(old)
    deb = field.manifest(data["manifests"][2]["digest"])
    evil = b"evil"
    digest = "sha256:" + hashlib.sha256(evil).hexdigest()
    field.releases.blobs[digest] = evil
    deb["layers"][0] |= {"digest": digest, "size": len(evil)}
    child = field.put(deb)
    data["manifests"][2] |= {"digest": child, "size": len(field.releases.manifests[child][1])}
    new = field.put(data)
    field.releases.tags |= {"1.0.0": new, field.sig(new): field.releases.tags[field.sig(old)]}
    code, said = verify(run, field)
    assert code == 4
    assert re.search(r"release .* moved here", said), said
    assert re.search(r"deb .* is not signed by a key that is trusted here: it has no signature", said), said


@pytest.mark.parametrize("words", [(), ("--shallow",)], ids=["whole", "shallow"])
@pytest.mark.parametrize("kind", ["index", "image", "deb"])
def test_a_flipped_byte_below_a_friendly_name_is_refused(
    run: RunProgram, field: Field, kind: str, words: tuple[str, ...]
) -> None:
    """Artifacts are found through lists of referrers there, which may carry what the registry has no more."""
    engine = field.registry.repository("team/engine")
    digest = engine.tags["1.0.0"] if kind == "index" else field.kinds()[kind]
    media_type, raw = engine.manifests[digest]
    engine.manifests[digest] = (media_type, raw.replace(b'"size":', b'"size": '))
    code, said = verify(run, field, *words, name="engine:1.0.0")
    assert (code, "is not what its digest says" in said) == (4, True), said


@pytest.mark.parametrize("kind", ["image", "deb", "chart"])
def test_a_flipped_byte_in_a_blob_is_refused(run: RunProgram, field: Field, kind: str) -> None:
    layer = field.manifest(field.kinds()[kind])["layers"][0]["digest"]
    data = bytearray(field.releases.blobs[layer])
    data[len(data) // 2] ^= 1
    field.releases.blobs[layer] = bytes(data)
    code, said = verify(run, field)
    assert (code, f"blob {layer}: it is damaged" in said) == (4, True), said
    code, said = verify(run, field, "--shallow")
    assert (code, "not checked: blobs" in said) == (0, True), said


def test_a_flipped_byte_in_a_payload_or_a_bundle_is_refused(run: RunProgram, field: Field) -> None:
    for digest, data in list(field.releases.blobs.items()):
        if b"cosign container image signature" in data or b"dsseEnvelope" in data:
            field.releases.blobs[digest] = data[:-3] + bytes([data[-3] ^ 1]) + data[-2:]
    code, said = verify(run, field)
    assert (code, "is damaged" in said) == (4, True), said


def test_a_referrer_that_is_listed_and_gone_is_found_when_everything_is_read(run: RunProgram, field: Field) -> None:
    if field.registry.referrers_api:
        field.registry.fault("GET", f"manifests/{field.bundle(field.root)}", *[answer(404)] * 8)
    else:
        del field.releases.manifests[field.bundle(field.root)]
    code, said = verify(run, field)
    assert (code, "(referrers) cannot be read" in said) == (4, True), said


def test_a_tag_that_is_re_pointed_while_the_release_is_read_changes_nothing(run: RunProgram, field: Field) -> None:
    before, kinds = field.root, field.kinds()
    evil = field.put({**field.manifest(before), "annotations": {"evil": "yes"}})

    def repoint(_: Any) -> bool:
        field.releases.tags["1.0.0"] = evil
        return False

    field.registry.fault("GET", f"manifests/{kinds['index']}", repoint)
    code, said = verify(run, field)
    assert (code, f"verified {before}" in said) == (0, True), said
    asked = [seen for seen in field.registry.seen if seen.path.endswith("manifests/1.0.0")]
    assert (len(asked), field.root) == (1, evil)
    assert verify(run, field)[0] == 4


def test_an_expired_key_a_revoked_key_and_a_revoked_digest_are_refused(run: RunProgram, field: Field) -> None:
    trust, name = field.folder / "trust.yaml", f"{field.registry.host}/team/releases:1.0.0"
    fingerprint = KEY.public.fingerprint
    deb = field.kinds()["deb"]
    blob = field.manifest(deb)["layers"][0]["digest"]
    for text, message in (
        ("keys: [{key: release.pub, not-after: 2020-01-01}]", "the key release.pub expired on 2020-01-01"),
        ("keys: [{key: release.pub, not-before: 2920-01-01}]", "is valid from 2920-01-01"),
        (f"keys: [{{key: release.pub}}]\nrevoked: ['sha256:{fingerprint}']", "by a key that is not trusted here"),
        (f"keys: [{{key: release.pub}}]\nrevoked: ['{deb}']", f"deb engine@{deb} is revoked"),
        (f"keys: [{{key: release.pub}}]\nrevoked: ['{blob}']", f"blob {blob} of {deb} is revoked"),
    ):
        trust.write_text(text)
        ended = run("verify", name, "--plain-http", "--trust", trust, "--shallow")
        assert (ended.code, message in ended.err) == (4, True), ended.err
    listed = field.folder / "revoked"
    listed.write_text(f"# withdrawn\n{deb}  # a bad build\n")
    for words in (("--key", field.folder / "release.pub"), ()):
        ended = run("verify", name, "--plain-http", "--shallow", "--revoked", listed, *words)
        assert (ended.code, f"{deb} is revoked" in ended.err) == (4, True), ended.err


def test_a_registry_is_read_without_the_libraries_that_only_writing_needs(field: Field) -> None:
    """They take longer to load than a release takes to verify."""
    code = (
        "import sys; from nexus_oci.cli.main import main; sys.argv[0] = 'nexus-oci'\n"
        "try: main()\nfinally: print(*sorted(name for name in sys.modules if '.' not in name), file=sys.stderr)"
    )
    words = ("-q", "verify", f"{field.registry.host}/team/releases:1.0.0", "--plain-http", "--shallow", "--key")
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    done = subprocess.run(
        [sys.executable, "-c", code, *words, str(field.folder / "release.pub")],
        capture_output=True, text=True, check=True, env=environment,
    )  # fmt: skip
    heavy = {
        "oras",
        "requests",
        "urllib3",
        "jsonschema",
        "pydantic",
        "yaml",
        "jinja2",
        "rich",
        "docker",
        "asyncio",
        "tarfile",
        "sigstore",
    }
    assert "cryptography" in done.stderr.split()
    assert set(done.stderr.split()) & heavy == set()
