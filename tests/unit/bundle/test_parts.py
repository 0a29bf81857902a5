from __future__ import annotations

import math

import pytest

from nexus_oci.bundle.parts import PartPlan, parse_size, plan_parts, read_header, write_headers
from nexus_oci.errors import UsageError
from nexus_oci.oci.values import digest_of

DIGEST = digest_of(b"")


@pytest.mark.parametrize(
    ("text", "size"),
    [("4.7GB", 4_700_000_000), ("650MiB", 650 << 20), ("1024", 1024), ("64k", 64_000), ("2 TiB", 2 << 40), ("5b", 5)],
)
def test_sizes_are_decimal_or_binary(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "1,5GB", "4.7GBB", "1e9", "i"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no size"):
        parse_size(text)


@pytest.mark.parametrize("size", [1, 4096, 1_000_000, 123_456_789])
@pytest.mark.parametrize("part", [32_768, 1_000_003, 50_000_000])
@pytest.mark.parametrize("parity", [None, "10%", "3"])
def test_no_part_is_larger_than_asked_for_and_all_bytes_are_in_one(size: int, part: int, parity: str | None) -> None:
    try:
        plan = plan_parts(DIGEST, "x", size, part, parity)
    except UsageError:
        assert size // part > 100
        return
    assert sum(plan.length(number) for number in range(1, plan.data + 1)) == size
    assert all(
        plan.length(number) > 0 and plan.header_length + plan.length(number) <= part for number in range(1, plan.count + 1)
    )


def test_that_share_of_all_parts_can_be_lost_and_not_much_more() -> None:
    counts = set()
    for size in range(1 << 20, 180 << 20, 1 << 20):
        plan = plan_parts(DIGEST, "x", size, 1_600_000, "10%")
        assert plan.parity >= math.ceil(plan.count / 10)
        assert plan.parity == 1 or plan.parity - 1 < math.ceil((plan.count - 1) / 10)
        counts.add(plan.count)
    assert min(counts) == 2 and max(counts) > 120


@pytest.mark.parametrize("parity", ["0%", "100%", "x", "1.5", "-1", ""])
def test_what_is_no_parity_is_refused(parity: str) -> None:
    with pytest.raises(UsageError, match="neither a share nor a number"):
        plan_parts(DIGEST, "x", 1000, 100_000, parity)


def test_more_parts_than_parity_can_tell_apart_are_refused_with_a_size_that_fits() -> None:
    for part, said in ((8 << 20, "more than the 256"), (1 << 20, "too small")):
        with pytest.raises(UsageError, match=said) as refused:
            plan_parts(DIGEST, "x", 4 << 30, part, "10%")
        fitting = int(str(refused.value.hint).split("at least ")[1].split(" ")[0])
        assert 200 < plan_parts(DIGEST, "x", 4 << 30, fitting, "10%").count <= 256


def test_a_part_that_cannot_hold_its_header_is_refused() -> None:
    with pytest.raises(UsageError, match="too small"):
        plan_parts(DIGEST, "x", 1 << 30, 5000, None)


def planned() -> tuple[PartPlan, bytes]:
    plan = plan_parts(DIGEST, "x.nexus", 300_000, 100_000, "1")
    return plan, bytes(range(256)) * (plan.hashes // 256) + bytes(plan.hashes % 256)


def test_a_header_reads_back_and_says_its_number() -> None:
    plan, table = planned()
    for number, raw in enumerate(write_headers(plan, table, b"signature"), start=1):
        header = read_header(raw[:64], lambda size, raw=raw: raw[:size])
        assert header is not None and len(raw) == plan.header_length
        assert (header.plan, header.number, header.table, header.signature) == (plan, number, table, b"signature")


def test_no_byte_of_a_header_can_be_changed_unnoticed() -> None:
    plan, table = planned()
    raw = next(write_headers(plan, table, b""))
    for at in range(0, len(raw), 7):
        changed = bytearray(raw)
        changed[at] ^= 1
        assert read_header(bytes(changed[:64]), lambda size, changed=changed: bytes(changed[:size])) is None


def test_a_signature_that_does_not_fit_is_refused() -> None:
    plan, table = planned()
    with pytest.raises(UsageError, match="too long"):
        next(write_headers(plan, table, bytes(2000)))
