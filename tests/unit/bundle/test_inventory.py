from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from nexus_oci.bundle.inventory import Inventory
from nexus_oci.errors import VerificationError
from nexus_oci.oci.values import canonical_json
from tests.support.bundles import Maker


def test_an_inventory_reads_back_as_it_was_written(made: Maker) -> None:
    raw = made.bundle(made.release()).inventory.to_bytes()
    found = Inventory.parse(raw)
    assert found.to_bytes() == raw and Inventory.parse(found.to_bytes()) == found


def _twice(data: Any) -> None:
    data["contents"].append(data["contents"][-1])


def _overlapping(data: Any) -> None:
    data["contents"][1]["offset"] = data["contents"][0]["offset"]


def _longer(data: Any) -> None:
    root = next(one for one in data["contents"] if one["digest"] == data["release"]["digest"])
    root["size"] += 1


def _huge(data: Any) -> None:
    data["contents"][-1]["size"] = 1 << 70


def _negative(data: Any) -> None:
    data["contents"][0]["size"] = -1


def _leaving(data: Any) -> None:
    data["files"][0]["name"] = "../oci-layout"


def _unlisted(data: Any) -> None:
    name = next(iter(data["names"]))
    data["names"][name]["digest"] = "sha256:" + "0" * 64


def _total(data: Any) -> None:
    data["size"] -= 512


def _other(data: Any) -> None:
    data["mediaType"] = "application/json"


def _more(data: Any) -> None:
    data["also"] = 1


@pytest.mark.parametrize(
    ("lie", "said"),
    [
        (_twice, "twice"), (_overlapping, "begins at"), (_longer, "which it does not list|begins at"), (_huge, "no disk has"),
        (_negative, "malformed"), (_leaving, "no name of a file"), (_unlisted, "does not list"), (_total, "take"),
        (_other, "another kind"), (_more, "not encoded"),
    ],
)  # fmt: skip
def test_an_inventory_that_lies_is_refused(made: Maker, lie: Callable[[Any], None], said: str) -> None:
    data = json.loads(made.bundle(made.release()).inventory.to_bytes())
    lie(data)
    with pytest.raises(VerificationError) as refused:
        Inventory.parse(canonical_json(data))
    assert any(one in str(refused.value) for one in said.split("|")), refused.value


@pytest.mark.parametrize("raw", [b"", b"[]", b"null", b"{}", b"\xff", b"[" * 100_000], ids=repr)
def test_what_is_no_inventory_is_refused(raw: bytes) -> None:
    with pytest.raises(VerificationError, match="cannot be believed"):
        Inventory.parse(raw)
