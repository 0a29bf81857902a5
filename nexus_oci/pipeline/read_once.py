"""A source that is asked each question once: what is judged later is what was read and hashed before.

What somebody else wrote has to stay small enough to be read: indexes nest a few levels deep, and the manifests of a release are
few and short. What goes beyond the limits here is refused, since it is no release but an attempt to keep its readers busy.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar, runtime_checkable

from nexus_oci.errors import NexusError, NotFoundError, VerificationError
from nexus_oci.oci.values import Descriptor, Digest, Manifest
from nexus_oci.pipeline.subjects import ARTIFACT_TYPES, DEEPEST
from nexus_oci.transfer.crew import Crew
from nexus_oci.transfer.ends import BlobStream, Source
from nexus_oci.trust.dsse import BUNDLE

MOST_MANIFESTS = 20_000
"""Manifests that one verification reads at most."""
MOST_MANIFEST_BYTES = 64 << 20
"""Bytes of all of them together. A release of 600 manifests has half a MiB."""
_HINT = "no release is like that; whoever may write to this place tries to keep its readers busy"
_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


@runtime_checkable
class Reading(Protocol):
    """A source that may answer before it is asked: a registry."""

    def read(self, name: str) -> Manifest:
        """The manifest that a tag or digest names, in one question."""
        ...

    def embedded(self, digest: Digest) -> Manifest | None:
        """A referrer's manifest that came with the list of referrers."""
        ...

    def close(self) -> None:
        """Close its connections."""
        ...


class ReadOnce:
    """A `Source` over another, which remembers every answer, also that something is missing or damaged. Used by several threads.

    With `quick` the manifests of bundles are taken from the list of referrers, where they came embedded in it: their digests are
    right, so they prove what they say, and not that the source has them. Raises what the source raises, and
    `VerificationError` where there is more to read than a release can have.
    """

    def __init__(self, source: Source, *, quick: bool = False) -> None:
        self._source = source
        self._registry = source if isinstance(source, Reading) else None
        self._quick = quick
        self._manifests: dict[tuple[Digest, int], Manifest | NexusError] = {}
        self._names: dict[str, Descriptor | NexusError] = {}
        self._referrers: dict[Digest, tuple[Descriptor, ...] | NexusError] = {}
        self._bytes = 0
        self._lock = threading.Lock()

    def ahead(self, root: Descriptor, jobs: int, *, referring: Callable[[], bool] = lambda: False) -> None:
        """Read every manifest from `root` down, several at once, and where it is `referring` what refers to one of them.

        One that cannot be read is met again by whoever asks for it; that there are too many, or too deep, is raised here.
        """
        level, seen, crew = [root], {root.digest}, Crew(jobs)
        for _ in range(DEEPEST):
            found = [child for children in crew.map(lambda one: self._children(one, referring), level) for child in children]
            level = list({child.digest: child for child in found if child.digest not in seen}.values())
            seen |= {child.digest for child in level}
            self._check_counts(len(seen))
            if not level:
                return
        raise VerificationError(f"{root.digest} nests indexes more than {DEEPEST} deep", why=_HINT)

    def _children(self, descriptor: Descriptor, referring: Callable[[], bool]) -> Iterable[Descriptor]:
        try:
            manifest = self.manifest(descriptor)
            asked = referring() and (manifest.subject is None or manifest.artifact_type in ARTIFACT_TYPES)
            return (*manifest.manifests, *self.referrers(descriptor.digest)) if asked else manifest.manifests
        except NexusError:
            return ()

    def _check_counts(self, manifests: int) -> None:
        if manifests > MOST_MANIFESTS:
            raise VerificationError(f"there are more than {MOST_MANIFESTS} manifests", why=_HINT)
        if self._bytes > MOST_MANIFEST_BYTES:
            raise VerificationError(f"the manifests have more than {MOST_MANIFEST_BYTES} bytes in all", why=_HINT)

    def resolve(self, name: str) -> Descriptor:
        """As the source, the first time. The manifest of a name in a registry is read with it."""
        return self._once(self._names, name, lambda: self._resolve(name))

    def _resolve(self, name: str) -> Descriptor:
        if self._registry is None:
            return self._source.resolve(name)
        manifest = self._registry.read(name)
        descriptor = manifest.descriptor
        self._keep(self._manifests, (descriptor.digest, descriptor.size), manifest)
        return descriptor

    def manifest(self, descriptor: Descriptor) -> Manifest:
        """As the source, the first time."""
        return self._once(self._manifests, (descriptor.digest, descriptor.size), lambda: self._read(descriptor))

    def _read(self, descriptor: Descriptor) -> Manifest:
        self._check_counts(len(self._manifests))
        early = self._registry.embedded(descriptor.digest) if self._quick and self._registry is not None else None
        if early is not None and early.artifact_type == BUNDLE and early.descriptor.size == descriptor.size:
            return early
        return self._source.manifest(descriptor)

    def open_blob(self, descriptor: Descriptor, *, verify: bool = True) -> BlobStream:
        """As the source, each time."""
        return self._source.open_blob(descriptor, verify=verify)

    def referrers(self, digest: Digest) -> tuple[Descriptor, ...]:
        """As the source, the first time."""
        return self._once(self._referrers, digest, lambda: self._source.referrers(digest))

    def close(self) -> None:
        """Close the source, if it has connections to be closed."""
        if self._registry is not None:
            self._registry.close()

    def _once(self, known: dict[_Key, _Value | NexusError], key: _Key, ask: Callable[[], _Value]) -> _Value:
        if key not in known:
            try:
                answer: _Value | NexusError = ask()
            except NexusError as error:
                answer = error
            self._keep(known, key, answer)
        found = known[key]
        if isinstance(found, NotFoundError):
            raise NotFoundError(found.what, why=found.why, hint=found.hint)
        if isinstance(found, NexusError):
            raise found
        return found

    def _keep(self, known: dict[_Key, _Value | NexusError], key: _Key, answer: _Value | NexusError) -> None:
        """Keep the first of several answers to one question: that is the one that others may have judged already."""
        with self._lock:
            if key not in known:
                known[key] = answer
                self._bytes += len(answer.raw) if isinstance(answer, Manifest) else 0
