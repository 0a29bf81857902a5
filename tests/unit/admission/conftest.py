"""Rules of a small release: two repositories, a mirror, and a key that may sign one of them only."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from nexus_oci.admission.rules import Key, Mirror, Rules, Scope

EVERY = Key(name="release.pub", pem="-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")
ONLY = replace(EVERY, name="container.pub", pem=EVERY.pem.replace("AAAA", "BBBB"), not_after=datetime(2030, 1, 2, 3, tzinfo=UTC))
PLACE = "registry.example/team"


@pytest.fixture
def rules() -> Rules:
    return Rules(
        name="Nexus Engine!",
        scopes=(
            Scope(repository=f"{PLACE}/engine", keys=(EVERY, ONLY)),
            Scope(repository=f"{PLACE}/runtime", keys=(EVERY,)),
        ),
        closed=(PLACE,),
        mirrors=(Mirror(source=PLACE, copy="mirror.site:5000/nx"),),
    )
