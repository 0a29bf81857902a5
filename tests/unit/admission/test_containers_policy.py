from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import yaml

from nexus_oci.admission.containers_policy import containers_policy
from nexus_oci.admission.rules import Rules
from nexus_oci.errors import UsageError
from tests.unit.admission.conftest import PLACE

REJECT = [{"type": "reject"}]


def policy(rules: Rules, **options: bool) -> Any:
    return json.loads(containers_policy(rules, **options)[0].text)


def test_only_the_scopes_are_open_below_the_release_and_others_stay_as_they_were(rules: Rules) -> None:
    document = policy(rules)
    assert document["default"] == [{"type": "insecureAcceptAnything"}]
    docker = document["transports"]["docker"]
    assert docker[PLACE] == docker["mirror.site:5000/nx"] == REJECT
    assert policy(rules, refuse_others=True)["default"] == REJECT


def test_one_key_and_several_are_written_as_their_reader_wants_them(rules: Rules) -> None:
    docker = policy(rules)["transports"]["docker"]
    assert len(docker[f"{PLACE}/engine"][0]["keyDatas"]) == 2
    assert isinstance(docker[f"{PLACE}/runtime"][0]["keyData"], str)


def test_a_mirror_is_remapped_or_any_tag_of_it_accepted(rules: Rules) -> None:
    name = "mirror.site:5000/nx/engine"
    assert policy(rules)["transports"]["docker"][name][0]["signedIdentity"] == {
        "type": "remapIdentity", "prefix": "mirror.site:5000/nx", "signedPrefix": PLACE,
    }  # fmt: skip
    assert policy(rules, any_tag=True)["transports"]["docker"][name][0]["signedIdentity"] == {
        "type": "exactRepository", "dockerRepository": f"{PLACE}/engine",
    }  # fmt: skip


def test_signatures_are_looked_for_beside_every_image(rules: Rules) -> None:
    document = yaml.safe_load(containers_policy(rules)[1].text)
    assert set(document["docker"]) == {
        f"{place}/{name}" for place in (PLACE, "mirror.site:5000/nx") for name in ("engine", "runtime")
    }
    assert all(one == {"use-sigstore-attachments": True} for one in document["docker"].values())


def test_what_is_revoked_is_refused_by_its_digest_and_that_is_said(rules: Rules) -> None:
    written = containers_policy(replace(rules, revoked=("sha256:00",)))
    assert json.loads(written[0].text)["transports"]["docker"][f"{PLACE}/engine@sha256:00"] == REJECT
    assert "not by a tag" in written[0].notes[0]


def test_it_cannot_merely_report(rules: Rules) -> None:
    with pytest.raises(UsageError, match="cannot merely report"):
        containers_policy(replace(rules, audit=True))
