"""References to content in a registry: `HOST[:PORT]/REPOSITORY[:TAG][@DIGEST]`.

The grammar is the distribution-spec's ("Pulling manifests") with Docker's customary short names left out on purpose: a host is
always written, so that nothing goes to a registry that nobody named.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, replace

from nexus_oci.errors import UsageError, VerificationError
from nexus_oci.oci.values import Digest

_REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*\Z")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}\Z")
_HOST = re.compile(r"(?:\[[0-9a-fA-F:]+\]|[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?)(?::[0-9]{1,5})?\Z")


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A repository on a host, and optionally a tag, a digest or both (the digest then wins)."""

    host: str
    repository: str
    tag: str | None = None
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Read a reference; raises `UsageError` that says which part is wrong."""
        name, at, digest = text.partition("@")
        host, slash, path = name.partition("/")
        if not slash or not _looks_like_host(host):
            raise UsageError(
                f"{text!r} names no registry",
                why="a reference begins with the registry's host",
                hint="write HOST[:PORT]/REPOSITORY[:TAG][@DIGEST], as in registry.example:5000/team/runtime:1.0.0",
            )
        repository, colon, tag = path.partition(":")
        if not _REPOSITORY.match(repository) or len(repository) > 255:
            raise UsageError(
                f"{repository!r} is not a repository name",
                why="names are lower-case letters, digits and single separators (. _ -), parted by /",
            )
        if colon and not _TAG.match(tag):
            raise UsageError(f"{tag!r} is not a tag", why="a tag has at most 128 letters, digits, '.', '_' and '-'")
        return cls(host=host, repository=repository, tag=tag if colon else None, digest=_digest(digest, text) if at else None)

    def __str__(self) -> str:
        """The full text form."""
        text = f"{self.host}/{self.repository}"
        if self.tag:
            text += f":{self.tag}"
        return f"{text}@{self.digest}" if self.digest else text

    @property
    def target(self) -> str:
        """What to ask the registry for: the digest where there is one, else the tag, else `latest`."""
        return str(self.digest) if self.digest else self.tag or "latest"

    def at(self, digest: Digest) -> Reference:
        """The same repository, pinned to `digest`."""
        return replace(self, digest=digest, tag=None)

    def tagged(self, tag: str) -> Reference:
        """The same repository, by `tag`."""
        return replace(self, digest=None, tag=tag)

    def within(self, repository: str) -> Reference:
        """Another repository on the same host, with no tag."""
        return Reference(host=self.host, repository=repository)


def _digest(text: str, reference: str) -> Digest:
    try:
        return Digest(text)
    except VerificationError as error:
        hint = "write @sha256: and its digits, or no @"
        raise UsageError(f"{reference!r} ends in no digest", why=error.why, hint=hint) from error


def _looks_like_host(text: str) -> bool:
    """A host has a dot, a port, or is localhost: the first path element of a Docker Hub short name has none."""
    return bool(_HOST.match(text)) and ("." in text or ":" in text or text == "localhost")


def is_loopback(host: str) -> bool:
    """Whether HOST[:PORT] is this machine itself, told by the name alone."""
    name = host if host.endswith("]") else host.rsplit(":", 1)[0]
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False
