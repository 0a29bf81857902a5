"""Which keys are believed, when and for what."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pysequoia import CipherSuite

from nexus_oci.errors import DefinitionError, UsageError
from nexus_oci.trust.keys import generate
from nexus_oci.trust.verification import Trust, TrustedKey, load_trust, read_revoked, trusted_file
from tests.support.openpgp_keys import make_key

KEY = generate().public
JUNE = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.fixture
def trust_file(tmp_path: Path) -> Path:
    (tmp_path / "release.pub").write_bytes(KEY.pem)
    return tmp_path / "trust.yaml"


def trusted(**limits: object) -> TrustedKey:
    return TrustedKey(key=KEY, name="k", **limits)  # type: ignore[arg-type]


def test_a_file_says_which_keys_when_and_for_what(trust_file: Path) -> None:
    trust_file.write_text(
        f"""\
keys:
  - key: release.pub
    name: release 2026
    not-before: 2026-01-01
    not-after: 2027-02-01T12:00:00+01:00
    repositories: [engine, "charts/*"]
    distributions: [runtime]
  - key: release.pub
revoked: ["sha256:{"0" * 64}"]
"""
    )
    found = load_trust(trust_file)
    first, second = found.keys
    assert (first.name, second.name, first.key) == ("release 2026", "release.pub", KEY)
    assert first.not_before == datetime(2026, 1, 1, tzinfo=UTC)
    assert first.not_after == datetime(2027, 2, 1, 11, tzinfo=UTC)
    assert (first.repositories, first.distributions) == (("engine", "charts/*"), ("runtime",))
    assert found.revoked == {"sha256:" + "0" * 64}


def test_a_file_names_openpgp_certificates_with_limits_of_their_own(trust_file: Path) -> None:
    made = [make_key(CipherSuite.Cv25519).extract_certificate() for _ in range(2)]
    (trust_file.parent / "ring.gpg").write_bytes(b"".join(map(bytes, made)))
    trust_file.write_text("openpgp: [{certificate: ring.gpg, name: ours, not-after: 2026-06-01, repositories: ['charts/*']}]\n")
    found = load_trust(trust_file)
    assert found.keys == ()
    assert [one.fingerprint for one in found.certificates] == [one.fingerprint.upper() for one in made]
    first = found.certificates[0]
    assert first.refusal(["host/ns/charts/a"], None, JUNE - timedelta(days=1)) is None
    assert first.refusal(["host/ns/charts/a"], None, JUNE) == "the key ours expired on 2026-06-01 00:00 UTC"
    assert "for the repositories charts/*" in (first.refusal(["host/ns/engine"], None, JUNE - timedelta(days=1)) or "")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "empty"),
        ("revoked: []", "it names no key"),
        ("keys: 1", "keys"),
        ("keys: [{}]", "keys.0.key"),
        ("keys: [{key: release.pub, not-befor: 2026-01-01}]", "not-befor"),
        ("keys: [{key: release.pub, not-after: soon}]", "keys.0.not-after"),
        ("keys: [{key: release.pub, repositories: []}]", "sign nothing"),
        ("keys: []\nrevoked: [abc]", "revoked.0"),
        ("keys: [\n", "trust.yaml:"),
    ],
)
def test_a_file_with_a_fault_trusts_nobody(trust_file: Path, text: str, problem: str) -> None:
    trust_file.write_text(text)
    with pytest.raises(DefinitionError) as raised:
        load_trust(trust_file)
    assert problem in str(raised.value)


def test_a_key_that_is_missing_or_private_is_an_error(trust_file: Path) -> None:
    trust_file.write_text("keys: [{key: other.pub}]")
    with pytest.raises(UsageError, match="cannot be read"):
        load_trust(trust_file)
    assert trusted_file(trust_file.parent / "release.pub").key == KEY


def test_a_key_counts_in_its_time_only() -> None:
    key = trusted(not_before=datetime(2026, 1, 1, tzinfo=UTC), not_after=JUNE)
    assert key.refusal(["engine"], None, datetime(2026, 5, 31, 23, 59, 59, tzinfo=UTC)) is None
    assert "expired on 2026-06-01 00:00 UTC" in (key.refusal(["engine"], None, JUNE) or "")
    assert "valid from 2026-01-01" in (key.refusal(["engine"], None, datetime(2025, 12, 31, tzinfo=UTC)) or "")


@pytest.mark.parametrize(
    ("names", "fits"),
    [
        (["engine"], True),
        (["registry.example/team/engine"], True),
        (["other", "charts/x"], True),
        (["my-engine"], False),
        (["engine/sub"], False),
        ([], False),
    ],
)
def test_a_pattern_fits_the_end_of_a_repository(names: list[str], fits: bool) -> None:
    key = trusted(repositories=("engine", "charts/*"))
    assert (key.refusal(names, None, JUNE) is None) is fits


def test_a_key_for_distributions_signs_nothing_else() -> None:
    key = trusted(distributions=("runtime",))
    assert key.refusal(["x"], "runtime", JUNE) is None
    for other in ("sdk", None):
        assert "for the distributions runtime" in (key.refusal(["x"], other, JUNE) or "")


def test_a_revoked_key_is_not_used() -> None:
    trust = Trust(keys=(trusted(),), revoked=frozenset({"sha256:" + KEY.fingerprint}))  # type: ignore[arg-type]
    assert trust.usable() == ()
    assert Trust(keys=(trusted(),)).usable() != ()


def test_a_key_whose_time_ends_before_it_begins_is_a_mistake(trust_file: Path) -> None:
    trust_file.write_text("keys: [{key: release.pub, not-before: 2026-02-01, not-after: 2026-02-01}]")
    with pytest.raises(DefinitionError) as raised:
        load_trust(trust_file)
    assert "the key would never count" in str(raised.value)


@pytest.mark.parametrize(
    ("builder", "expected"),
    [
        ("https://ci.example/release", True),
        ("https://ci.example/release/evil", False),
        ("https://github.com/team/flow@refs/tags/v1?x", True),
        ("https://github.com/team/flow@refs/tags/v1Zx", False),
        ("https://github.com/other/flow@refs/tags/v1?x", False),
        ("", False),
    ],
)
def test_a_builder_is_expected_by_pattern(trust_file: Path, builder: str, expected: bool) -> None:
    """A star stands for anything; nothing else stands for anything but itself."""
    trust_file.write_text('keys: []\nbuilders: ["https://ci.example/release", "https://github.com/team/*?x"]')
    assert load_trust(trust_file).accepts_builder(builder) is expected


def test_a_list_of_what_is_revoked_is_read_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "revoked"
    path.write_text(f"# since May\nsha256:{'0' * 64}  # a bad build\n\n  sha256:{'1' * 64}\r\n")
    assert read_revoked(path) == {f"sha256:{'0' * 64}", f"sha256:{'1' * 64}"}
    path.write_text(f"sha256:{'0' * 64}\nsha256:abc\n")
    with pytest.raises(UsageError, match=r"revoked:2 is no digest"):
        read_revoked(path)
    with pytest.raises(UsageError, match="cannot be read"):
        read_revoked(tmp_path / "none")
