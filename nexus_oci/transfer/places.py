"""Where many things are kept: a place, such as a registry's namespace or a store, and its repositories.

A `Repository` is both ends of a transfer, and knows its tags. The names of repositories are relative to their place, so that
what is in one place has its counterpart in another; the name of the place's own repository is empty.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from nexus_oci.oci.values import Descriptor, Digest, Manifest
from nexus_oci.transfer.ends import Sink, Source


class Repository(Source, Sink, Protocol):
    """One repository of a place. Used by several threads at once."""

    @property
    def name(self) -> str:
        """What it is called in its place."""
        ...

    def neighbour(self, name: str) -> str | None:
        """What `put_blob` takes as `mount_from` for another repository of the place; None where nothing can be mounted."""
        ...

    def tags(self) -> tuple[str, ...]:
        """Every tag, those of signatures and lists of referrers too; none where the repository is not there."""
        ...

    def read(self, name: str) -> Manifest:
        """The manifest that a tag or a digest names; raises `NotFoundError`."""
        ...

    def peek(self, name: str) -> Descriptor | None:
        """What a tag names, asked with the right to write; None where there is no such tag."""
        ...

    def referrers_among(self, digest: Digest, tags: Collection[str]) -> tuple[Descriptor, ...]:
        """As `referrers`, where all tags are known: a list of referrers that is not among them is not looked for."""
        ...

    def remove(self, name: str) -> bool:
        """Take a tag away, or a manifest by digest; returns False where only whole manifests can be taken away."""
        ...


class Place(Protocol):
    """Somewhere to read from or write to."""

    @property
    def name(self) -> str:
        """What people call it: HOST/NAMESPACE, or a folder."""
        ...

    @property
    def requests_made(self) -> int:
        """How many requests were sent so far; 0 for what is on this machine."""
        ...

    def repository(self, name: str) -> Repository:
        """One of its repositories, whether it is there yet or not."""
        ...

    def sweep(self) -> int:
        """Remove the bytes that nothing needs any more, where that is ours to do; returns how many."""
        ...

    def close(self) -> None:
        """Give up what it holds."""
        ...
