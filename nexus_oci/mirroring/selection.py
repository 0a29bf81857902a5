"""Which tags of a repository are mirrored, and which of them a destination may lose again."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from nexus_oci.errors import NotFoundError
from nexus_oci.mirroring.versions import VersionRange, precedence, version_of
from nexus_oci.oci.values import Digest

_ATTACHED = re.compile(r"(sha256|sha512)-[0-9a-f]{64,128}(\.[a-z]+)?\Z")
SUFFIXES = (".sig", ".att", ".sbom")
"""What cosign puts behind a digest in tags: signatures, attestations, SBOMs."""


def is_attached(tag: str) -> bool:
    """Whether a tag belongs to a manifest: its signatures or attestations, or the list of what refers to it."""
    return bool(_ATTACHED.match(tag))


def attached_tags(digest: Digest) -> list[str]:
    """The tags under which cosign keeps what belongs to a manifest."""
    return [f"{digest.algorithm}-{digest.hex}{suffix}" for suffix in SUFFIXES]


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What is wanted: every channel that is named, and every tag that fits all of the other conditions there are.

    With channels alone, nothing else; with nothing at all, every tag.
    """

    channels: tuple[str, ...] = ()
    versions: VersionRange | None = None
    patterns: tuple[str, ...] = ()

    def of(self, tags: Iterable[str], where: str) -> list[str]:
        """The tags that are wanted, versions in their order and channels last: what they name is there by then.

        Raises `NotFoundError` for a channel that is not there, and where nothing is.
        """
        offered = [tag for tag in tags if not is_attached(tag)]
        missing = [channel for channel in self.channels if channel not in offered]
        if missing:
            known = ", ".join(sorted(tag for tag in offered if version_of(tag) is None)) or "none"
            raise NotFoundError(f"{where} has no channel {missing[0]}", why=f"its channels are: {known}", hint="check the name")
        chosen = [tag for tag in offered if tag not in self.channels and self._fits(tag)]
        if not chosen and not self.channels:
            raise NotFoundError(
                f"nothing in {where} is to be mirrored",
                why=f"none of its {len(offered)} tags is wanted" if offered else "it has no tags, or is not there",
                hint="check the name, and --tags and --versions",
            )
        return [*sorted(chosen, key=_order), *self.channels]

    def _fits(self, tag: str) -> bool:
        if self.channels and self.versions is None and not self.patterns:
            return False
        if self.versions is not None and ((version := version_of(tag)) is None or version not in self.versions):
            return False
        return not self.patterns or any(fnmatchcase(tag, pattern) for pattern in self.patterns)


def _order(tag: str) -> tuple[bool, object, str]:
    """Versions, oldest first; then what is none, since channels may name a version."""
    version = version_of(tag)
    return (version is None, precedence(version) if version is not None else 0, tag)


@dataclass(frozen=True, kw_only=True)
class Retention:
    """What stays at a destination beside what is mirrored: the newest `newest` versions, and tags of these patterns."""

    newest: int = 0
    patterns: tuple[str, ...] = ()

    def doomed(self, there: Iterable[str], wanted: Sequence[str]) -> list[str]:
        """The tags at a destination that may go. Tags that are no version stay, unless nothing but patterns says so."""
        kept = set(wanted)
        versions = [(precedence(version), tag) for tag in there if (version := version_of(tag)) is not None]
        newest = {tag for _, tag in sorted(versions, reverse=True)[: self.newest]} if self.newest else set()
        return sorted(
            tag
            for _, tag in versions
            if tag not in kept and tag not in newest and not any(fnmatchcase(tag, pattern) for pattern in self.patterns)
        )
