"""What gates may ask: the facts of a release, as plain data, and an example of each kind that says what there is.

The facts of a kind are a list of mappings. Every mapping of an image, artifact, layer, file, secret or component also has
`distribution`, `platform` and `digest`, and `where`, the words by which a refusal names it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from nexus_oci.policy.model import Kind

Fact = Mapping[str, Any]
Facts = Mapping[Kind, Sequence[Fact]]

_PLACED: Final[Fact] = {"distribution": "runtime", "platform": "linux/amd64", "digest": "sha256:0", "where": "the image"}
EXAMPLES: Final[Mapping[Kind, Fact]] = {
    "release": {
        "title": "NEXUS-ENGINE",
        "version": "1.0.0",
        "digest": "sha256:0",
        "epoch": 1_800_000_000,
        "size": 1,
        "distributions": ["runtime"],
        "formats": ["image", "deb"],
        "api": [],
        "where": "the release",
        "platform": "",
        "distribution": "",
    },
    "image": {
        **_PLACED,
        "user": "65532:65532",
        "uid": 65532,
        "root": False,
        "layers": 2,
        "size": 1,
        "environment": ["PATH"],
        "base": {"name": "static", "digest": "sha256:0", "date": "2026-01-01", "age": 10},
        "previous": {"release": "0.9.0", "size": 1},
        "growth": 3,
    },
    "artifact": {**_PLACED, "format": "deb", "title": "x.deb", "size": 1, "files": 1},
    "layer": {**_PLACED, "number": 1, "base": False, "size": 1, "type": "", "readable": True, "why": ""},
    "file": {
        **_PLACED,
        "path": "usr/bin/x",
        "format": "image",
        "installed": True,
        "nested": False,
        "base": False,
        "hidden": False,
        "mode": "0755",
        "setuid": False,
        "setgid": False,
        "capabilities": False,
        "program": True,
        "engine": "",
        "readable": True,
        "why": "",
    },
    "secret": {**_PLACED, "path": "etc/x", "format": "image", "line": 1, "kind": "a private key", "hint": "", "hidden": False},
    "component": {
        **_PLACED,
        "name": "libc6",
        "package": "libc6",
        "version": "2.41",
        "type": "deb",
        "licences": [["MIT"]],
        "licence": "MIT",
        "base": True,
        "known": True,
    },
    "waiver": {
        "gate": "root-user",
        "owner": "x",
        "reason": "x",
        "until": "2027-01-31",
        "days": 10,
        "scope": {"distribution": "runtime"},
        "where": "the waiver",
    },
}
