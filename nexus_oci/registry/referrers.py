"""Who refers to a manifest (distribution-spec, "Listing Referrers" and "Referrers Tag Schema").

A registry is believed to keep referrers only once it has shown one. Until then the fallback tag is read and written
too, since registries answer 404, 406, a wrong body, an empty list, or an OCI-Subject that they do not mean.

In an index under such a tag small manifests are embedded: one question then brings the signatures of a manifest.

That there is no such API is believed for a repository once the registry has said of two manifests that the address itself is
unknown, and never showed the contrary; not where it says that the repository or the manifest is.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, Protocol
from urllib.parse import urlencode

from nexus_oci.errors import NexusError, RegistryError, VerificationError
from nexus_oci.oci import media_types
from nexus_oci.oci.embedded import embedded, embedding
from nexus_oci.oci.values import Descriptor, Digest, Manifest
from nexus_oci.registry.auth import pull_scope, push_scope
from nexus_oci.registry.retry import TransientError
from nexus_oci.registry.transport import Answer, Call, Transport

_NO_API = frozenset({400, 404, 405, 406, 415, 501})
_NO_ADDRESS = frozenset({404, 405, 501})
_DENIALS = 2
_ROUNDS = 8
_MAX_PAGES = 10_000
_MOST_EMBEDDING = 256
"""Entries in a fallback tag's index beyond which nothing is embedded: it may not grow over what registries take."""
MOST_REFERRERS = 20_000
"""What one manifest may have at most: more is no release but an attempt to keep us busy. A fallback tag holds no more either."""


class _ManifestReader(Protocol):
    def __call__(self, repository: str, target: str) -> tuple[Manifest, str | None] | None: ...


class Referrers:
    """The referrers of one registry's manifests. Used by several threads at once."""

    def __init__(self, transport: Transport, read: _ManifestReader) -> None:
        self._transport = transport
        self._read = read
        self._proved = False
        self._embedded: dict[Digest, bytes] = {}
        self._denials: defaultdict[str, set[Digest]] = defaultdict(set)
        """By repository, the digests for which the registry has said that it does not know the address."""
        self._answering: set[str] = set()
        """The repositories for which it has answered as the API does, if only with an empty list."""
        self._first: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._lock = threading.Lock()
        self._tags: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._listed: defaultdict[str, list[Manifest]] = defaultdict(list)
        """By repository, the manifests that were added to fallback tags and not looked for again."""

    def of(
        self, repository: str, digest: Digest, artifact_type: str | None = None, *, tags: Collection[str] | None = None
    ) -> tuple[Descriptor, ...]:
        """Every manifest whose subject is `digest`, by digest; only those of `artifact_type` if it is given.

        A fallback tag that is not among `tags` is not asked for. Raises `VerificationError` where there are more than
        `MOST_REFERRERS`.
        """
        listed = self._ask(repository, digest, artifact_type)
        found = {descriptor.digest: descriptor for descriptor in listed or ()}
        if (listed is None or not self._proved) and (tags is None or fallback_tag(digest) in tags):
            for descriptor in self._from_tag(repository, digest):
                found.setdefault(descriptor.digest, descriptor)
        chosen = (found[key] for key in sorted(found))
        return tuple(d for d in chosen if artifact_type is None or d.artifact_type == artifact_type)

    def embedded(self, digest: Digest) -> bytes | None:
        """The bytes of a manifest that were in an index under a fallback tag that was read; their size and digest are right."""
        return self._embedded.get(digest)

    def add(self, repository: str, manifest: Manifest, *, announced: bool) -> None:
        """After a push of a manifest with a subject: see that it is found.

        `announced`: the registry answered with OCI-Subject. Unless it then lists the manifest, the fallback tag is
        written.
        """
        subject = manifest.subject
        if subject is None:
            return
        if announced:
            if self._proved:
                return
            self._denials[repository].clear()
            listed = self._from_api(repository, subject.digest, None) or ()
            if any(descriptor.digest == manifest.descriptor.digest for descriptor in listed):
                return
        self._write_tag(repository, subject.digest, manifest)
        with self._lock:
            self._listed[repository].append(manifest)

    def settle(self, repository: str) -> None:
        """Look again at every fallback tag that was written: what others overwrote since is added anew.

        Not every registry keeps writers apart. Who looks last leaves a whole list.
        """
        with self._lock:
            listed = self._listed.pop(repository, [])
        for manifest in listed:
            if manifest.subject is not None:
                self._write_tag(repository, manifest.subject.digest, manifest)

    def _ask(self, repository: str, digest: Digest, artifact_type: str | None) -> list[Descriptor] | None:
        """As `_from_api`. Of several threads one at a time asks until it is known whether there is such an API."""
        if not self._proved and repository not in self._answering:
            with self._lock:
                gate = self._first[repository]
            with gate:
                if len(self._denials[repository]) >= _DENIALS:
                    return None
                if repository not in self._answering:
                    return self._from_api(repository, digest, artifact_type)
        return self._from_api(repository, digest, artifact_type)

    def _from_api(self, repository: str, digest: Digest, artifact_type: str | None) -> list[Descriptor] | None:
        """What the registry's API lists; None where there is none that can be believed."""
        query = f"?{urlencode({'artifactType': artifact_type})}" if artifact_type else ""
        url: str | None = f"{self._transport.base}/v2/{repository}/referrers/{digest}{query}"
        found: list[Descriptor] = []
        pages: set[str] = set()
        while url and url not in pages and len(pages) < _MAX_PAGES:
            pages.add(url)
            call = Call(
                method="GET",
                url=url,
                doing=f"listing what refers to {digest.short} in {repository}",
                expect=frozenset({200, *_NO_API}),
                headers={"Accept": media_types.INDEX},
                scope=pull_scope(repository),
            )
            answer = self._transport.fetch(call)
            page = _read_page(answer)
            if page is None:
                if _is_unknown(answer):
                    self._denials[repository].add(digest)
                return None
            self._answering.add(repository)
            found.extend(page)
            if len(found) > MOST_REFERRERS:
                raise VerificationError(
                    f"more than {MOST_REFERRERS} manifests in {repository} refer to {digest.short}",
                    why="no release has so many: somebody tries to keep its readers busy",
                    hint="let the registry's administrator remove what does not belong there",
                )
            url = self._transport.locate(answer.url, answer.next_url) if answer.next_url else None
            if url and not self._transport.is_own(url):
                raise RegistryError(f"{self._transport.host} continues a list on another host", why="it is not followed")
        if found:
            self._proved = True
        return found

    def _from_tag(self, repository: str, digest: Digest) -> tuple[Descriptor, ...]:
        held = self._read(repository, fallback_tag(digest))
        if held is None or not held[0].is_index:
            return ()
        for entry in held[0].data.get("manifests") or ():
            with contextlib.suppress(VerificationError):
                content = embedded(entry)
                if content is not None:
                    self._embedded[Digest(entry["digest"])] = content
        return held[0].manifests

    def _write_tag(self, repository: str, subject: Digest, manifest: Manifest) -> None:
        """Add a referrer to the fallback tag's index, and look again: writers elsewhere may have overwritten it."""
        tag = fallback_tag(subject)
        with self._lock:
            gate = self._tags[f"{repository}:{tag}"]
        with gate:
            backoff = self._transport.backoff()
            for _ in range(_ROUNDS):
                held = self._read(repository, tag)
                if held and not held[0].is_index:
                    raise RegistryError(
                        f"{repository}:{tag} is not a list of referrers",
                        why="that tag is reserved for one (distribution-spec, Referrers Tag Schema)",
                        hint=f"remove the tag, then push again what refers to {subject.short}",
                    )
                if held and manifest.descriptor.digest in {entry.digest for entry in held[0].manifests}:
                    return
                if not self._put_index(repository, tag, held, manifest):
                    backoff.pause(TransientError(f"{repository}:{tag} is being written by others", tries=_ROUNDS))
        held = self._read(repository, tag)
        if held is None or manifest.descriptor.digest not in {entry.digest for entry in held[0].manifests}:
            raise RegistryError(
                f"{repository}:{tag} does not keep what is written to it",
                why="others write to it at the same time, or the registry drops it",
                hint="run the same command again",
            )

    def _put_index(self, repository: str, tag: str, held: tuple[Manifest, str | None] | None, manifest: Manifest) -> bool:
        """Write the index with one more entry, if nobody else was quicker; returns whether it was accepted."""
        before: Mapping[str, Any] = held[0].data if held else {"schemaVersion": 2, "mediaType": media_types.INDEX}
        entry = replace(
            manifest.descriptor,
            artifact_type=manifest.artifact_type,
            annotations=dict(manifest.annotations),
        )
        known = before.get("manifests") or ()
        added = entry.to_json() if len(known) >= _MOST_EMBEDDING else embedding(entry.to_json(), manifest.raw)
        index = Manifest.build({**before, "manifests": [*known, added]})
        etag = held[1] if held else None
        condition = {"If-Match": etag} if etag else ({} if held else {"If-None-Match": "*"})
        call = Call(
            method="PUT",
            url=f"{self._transport.base}/v2/{repository}/manifests/{tag}",
            doing=f"writing the referrers of {tag} in {repository}",
            expect=frozenset({200, 201, 202, 409, 412}),
            headers={"Content-Type": media_types.INDEX, **condition},
            scope=push_scope(repository),
            body=index.raw,
        )
        return self._transport.fetch(call).status < 300


def fallback_tag(digest: Digest) -> str:
    """The tag that lists the referrers of `digest` where the registry does not: `sha256-<hex>`."""
    return f"{digest.algorithm[:32]}-{digest.hex[:64]}"


def _read_page(answer: Answer) -> list[Descriptor] | None:
    """The descriptors of one page; None for anything that is not an image index."""
    if answer.status != 200:
        return None
    try:
        data = json.loads(answer.body)
        if data.get("mediaType") != media_types.INDEX and answer.content_type != media_types.INDEX:
            return None
        return [Descriptor.from_json(entry) for entry in data["manifests"] or ()]
    except (ValueError, KeyError, TypeError, AttributeError, NexusError):
        return None


def _is_unknown(answer: Answer) -> bool:
    """Whether the registry does not know the address at all, rather than the repository or the manifest that it names."""
    if answer.status not in _NO_ADDRESS:
        return False
    try:
        codes = [str(entry["code"]) for entry in json.loads(answer.body)["errors"]]
    except (ValueError, KeyError, TypeError):
        return True
    return not any(code.endswith(("_UNKNOWN", "_INVALID")) or code in ("DENIED", "UNAUTHORIZED") for code in codes)
