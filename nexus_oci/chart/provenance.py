"""A chart's provenance file, as Helm has it: the text that is signed, and what such a text says.

It is Chart.yaml, a line of three dots, and the digests of the chart's archive by its file's name (helm.sh/docs/topics/provenance,
pkg/provenance of Helm). Around it comes a cleartext signature (`nexus_oci.trust`); the file is called `CHART.tgz.prov`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import yaml

from nexus_oci.errors import VerificationError
from nexus_oci.oci.values import Digest, digest_of

SUFFIX: Final = ".prov"
_PARTS: Final = "\n...\n"
_WIDE: Final = 1 << 20


@dataclass(frozen=True, kw_only=True)
class ChartStatement:
    """What a provenance file says: the chart's name and version, and the digest of each file by its name."""

    name: str
    version: str
    files: Mapping[str, Digest]


def statement_text(config: bytes, file_name: str, archive: bytes) -> bytes:
    """What is to be signed of a chart: `config` is its metadata as JSON, `archive` the file that Helm calls `file_name`."""
    metadata = yaml.safe_dump(json.loads(config), default_flow_style=False, allow_unicode=True, sort_keys=True, width=_WIDE)
    sums = {"files": {name: str(digest_of(archive)) for name in _names(file_name)}}
    return f"{metadata}{_PARTS}{yaml.safe_dump(sums, default_flow_style=False)}".encode()


def _names(file_name: str) -> tuple[str, ...]:
    """A file's name, and what Helm calls it when it pulls it from a registry, whose tags have `_` for `+`."""
    return tuple(dict.fromkeys((file_name, file_name.replace("+", "_"))))


def read_statement(text: bytes) -> ChartStatement:
    """What a provenance file says, the signature having been judged; raises `VerificationError` where it is none."""
    try:
        metadata, _, sums = text.decode().replace("\r\n", "\n").partition(_PARTS)
        said: dict[str, Any] = yaml.safe_load(metadata)
        files = {str(name): Digest(digest) for name, digest in yaml.safe_load(sums)["files"].items()}
        return ChartStatement(name=str(said["name"]), version=str(said["version"]), files=files)
    except (VerificationError, yaml.YAMLError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        why = error.what if isinstance(error, VerificationError) else " ".join(str(error).split())[:200]
        raise VerificationError("what was signed is no provenance file of a chart", why=why) from None
