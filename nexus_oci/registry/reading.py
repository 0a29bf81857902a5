"""Reading from one registry by the OCI distribution-spec 1.1: all that `verify` and `ls` need.

It stands apart from what writes, so that who only reads does not load oras, which takes longer than most of what is read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from urllib.parse import quote

from nexus_oci.errors import NotFoundError, RegistryError, UsageError, VerificationError
from nexus_oci.oci import media_types
from nexus_oci.oci.reference import Reference
from nexus_oci.oci.values import MAX_MANIFEST_SIZE, Descriptor, Digest, Manifest
from nexus_oci.registry.auth import pull_scope, push_scope
from nexus_oci.registry.blobs import BlobReader
from nexus_oci.registry.hosts import api_repository
from nexus_oci.registry.referrers import Referrers
from nexus_oci.registry.settings import RegistrySettings
from nexus_oci.registry.transport import Answer, Call, Transport

_ACCEPTED = (media_types.INDEX, media_types.MANIFEST, media_types.DOCKER_INDEX, media_types.DOCKER_MANIFEST)
_ACCEPT = ", ".join(_ACCEPTED)
_PRESENT = frozenset({200, 404})
_MAX_TAG_PAGE = 16 << 20
_TAG_PAGE = 1000


class RegistryReader:
    """Reads from one registry host. Used by several threads at once.

    Every method raises `RegistryError` where the registry cannot be reached, refuses the credentials or keeps failing,
    `NotFoundError` for what is not there, and `VerificationError` for bytes that are not what was promised.
    """

    def __init__(self, host: str, settings: RegistrySettings | None = None) -> None:
        self.hostname = host
        self.transport = Transport(host, settings or RegistrySettings())
        self._referrers = Referrers(self.transport, self._tagged_manifest)

    @property
    def requests_made(self) -> int:
        """How many HTTP requests have been sent so far."""
        return self.transport.requests_made

    def close(self) -> None:
        """Close the idle connections."""
        self.transport.close()

    def resolve(self, reference: Reference, *, pushing: bool = False) -> Descriptor:
        """The manifest that a tag or digest names: one HEAD, or a GET where the answer to that is not enough."""
        repository = self._repository(reference)
        answer = self._head_manifest(repository, reference.target, pushing=pushing)
        if answer.status == 404:
            raise self._no_manifest(repository, reference.target)
        descriptor = _described(answer, reference.digest)
        return descriptor or self.manifest(reference).descriptor

    def manifest(self, reference: Reference) -> Manifest:
        """A manifest with its raw bytes, checked against the digest that was asked for or that the registry names."""
        repository = self._repository(reference)
        held = self._read_manifest(repository, reference.target, reference.digest)
        if held is None:
            raise self._no_manifest(repository, reference.target)
        return held[0]

    def tagged(self, repository: str, tag: str, *, unless: str | None = None) -> tuple[Manifest, str | None] | None:
        """The manifest that a tag names, and its ETag; None where that is still `unless`. Raises `NotFoundError`."""
        name = self._api(repository)
        answer = self._get_manifest(name, tag, {"If-None-Match": unless} if unless else {})
        if answer.status == 304:
            return None
        held = self._checked(answer, name, tag, None)
        if held is None:
            raise self._no_manifest(repository, tag)
        return held

    def has_manifest(self, repository: str, descriptor: Descriptor, *, pushing: bool = False) -> bool:
        """Whether the repository holds the manifest, by digest, in the right size.

        `pushing` asks with the right to write: some registries refuse any other question about a new repository.
        """
        answer = self._head_manifest(self._api(repository), str(descriptor.digest), pushing=pushing)
        return answer.status == 200 and answer.headers.get("content-length") in (None, str(descriptor.size))

    def has_blob(self, repository: str, descriptor: Descriptor, *, pushing: bool = False) -> bool:
        """Whether the repository holds the blob in the right size; `pushing` as in `has_manifest`."""
        name = self._api(repository)
        call = Call(
            method="HEAD",
            url=self._blob_url(repository, descriptor.digest),
            doing=f"looking for blob {descriptor.digest.short} in {repository}",
            expect=_PRESENT,
            scope=push_scope(name) if pushing else pull_scope(name),
        )
        answer = self.transport.fetch(call)
        return answer.status == 200 and answer.headers.get("content-length") in (None, str(descriptor.size))

    def open_blob(self, repository: str, descriptor: Descriptor, *, verify: bool = True) -> BlobReader:
        """The blob's bytes, streamed; size always and digest with `verify` are checked at the end."""
        call = Call(
            method="GET",
            url=self._blob_url(repository, descriptor.digest),
            doing=f"reading blob {descriptor.digest.short} from {repository}",
            scope=pull_scope(self._api(repository)),
        )
        return BlobReader(self.transport, call, descriptor, verify=verify)

    def referrers(
        self, repository: str, digest: Digest, artifact_type: str | None = None, *, tags: Collection[str] | None = None
    ) -> tuple[Descriptor, ...]:
        """Every manifest whose subject is `digest`, by the referrers API and the fallback tag.

        `tags` are all of the repository's, where they are known: then no tag is asked for that is not there.
        """
        return self._referrers.of(self._api(repository), digest, artifact_type, tags=tags)

    def embedded(self, digest: Digest) -> Manifest | None:
        """A manifest that came embedded in a list of referrers that was read before; None for any other."""
        raw = self._referrers.embedded(digest)
        return Manifest.parse(raw, algorithm=digest.algorithm) if raw is not None else None

    def tags(self, repository: str, *, most: int | None = None) -> tuple[str, ...]:
        """Every tag of the repository, sorted, or the first `most`. Pages are followed on the registry's own host only."""
        name = self._api(repository)
        url: str | None = f"{self.transport.base}/v2/{name}/tags/list?n={most or _TAG_PAGE}"
        found: set[str] = set()
        pages: set[str] = set()
        while url and url not in pages:
            pages.add(url)
            call = Call(
                method="GET",
                url=url,
                doing=f"listing tags of {repository}",
                scope=pull_scope(name),
                limit=_MAX_TAG_PAGE,
            )
            answer = self.transport.fetch(call)
            found.update(self._tag_page(answer, repository))
            if most is not None and len(found) >= most:
                break
            url = self.transport.locate(answer.url, answer.next_url) if answer.next_url else None
            if url and not self.transport.is_own(url):
                raise RegistryError(
                    f"{self.hostname} continues the tags of {repository} on another host", why="it is not followed"
                )
        return tuple(sorted(found))

    def _head_manifest(self, repository: str, target: str, *, pushing: bool = False) -> Answer:
        call = Call(
            method="HEAD",
            url=self._manifest_url(repository, target),
            doing=f"looking for manifest {target} in {repository}",
            expect=_PRESENT,
            headers={"Accept": _ACCEPT},
            scope=push_scope(repository) if pushing else pull_scope(repository),
        )
        return self.transport.fetch(call)

    def _tagged_manifest(self, repository: str, target: str) -> tuple[Manifest, str | None] | None:
        return self._read_manifest(repository, target, None)

    def _read_manifest(self, repository: str, target: str, digest: Digest | None) -> tuple[Manifest, str | None] | None:
        """A manifest and its ETag; None where there is none."""
        return self._checked(self._get_manifest(repository, target, {}), repository, target, digest)

    def _get_manifest(self, repository: str, target: str, condition: Mapping[str, str]) -> Answer:
        call = Call(
            method="GET",
            url=self._manifest_url(repository, target),
            doing=f"reading manifest {target} from {repository}",
            expect=_PRESENT | {304} if condition else _PRESENT,
            headers={"Accept": _ACCEPT, **condition},
            scope=pull_scope(repository),
            limit=MAX_MANIFEST_SIZE,
        )
        return self.transport.fetch(call)

    def _checked(self, answer: Answer, repository: str, target: str, digest: Digest | None) -> tuple[Manifest, str | None] | None:
        """The manifest in an answer, if it is what was asked for."""
        if answer.status == 404:
            return None
        if "html" in answer.content_type:
            raise RegistryError(
                f"{self.hostname} answered with a web page where {repository}:{target} should be",
                why=f"its content type is {answer.content_type}",
                hint="check that the address is a registry's, and whether a proxy or a login page is in between",
            )
        promised = digest or _content_digest(answer)
        if promised is not None:
            _check(answer.body, promised, f"manifest {target} from {self.hostname}")
        kind = answer.content_type if answer.content_type in media_types.MANIFEST_TYPES else None
        return Manifest.parse(answer.body, kind, promised.algorithm if promised else "sha256"), answer.headers.get("etag")

    def _tag_page(self, answer: Answer, repository: str) -> list[str]:
        try:
            return [str(tag) for tag in json.loads(answer.body)["tags"] or ()]
        except (ValueError, KeyError, TypeError) as error:
            raise RegistryError(
                f"{self.hostname} gave no list of the tags of {repository}",
                why="its answer is not the distribution-spec's JSON",
                hint="check that the address is a registry's and not a web page's",
            ) from error

    def _no_manifest(self, repository: str, target: str) -> NotFoundError:
        return NotFoundError(
            f"{self.hostname}/{repository} has no {target}", why="the registry answered 404", hint="check name and tag"
        )

    def _repository(self, reference: Reference) -> str:
        if reference.host != self.hostname:
            raise UsageError(f"{reference} is not on {self.hostname}")
        return self._api(reference.repository)

    def _api(self, repository: str) -> str:
        return api_repository(self.transport.host, repository)

    def _manifest_url(self, repository: str, target: str) -> str:
        return f"{self.transport.base}/v2/{repository}/manifests/{quote(target, safe=':')}"

    def _blob_url(self, repository: str, digest: Digest) -> str:
        return f"{self.transport.base}/v2/{self._api(repository)}/blobs/{digest}"


def _described(answer: Answer, asked: Digest | None) -> Descriptor | None:
    """A descriptor out of the headers of a HEAD; None where they do not say enough."""
    digest, length = _content_digest(answer), answer.headers.get("content-length", "")
    if digest is None or answer.content_type not in media_types.MANIFEST_TYPES or not length.isdigit():
        return None
    if (asked is not None and digest != asked) or not 0 < int(length) <= MAX_MANIFEST_SIZE:
        return None
    return Descriptor(media_type=answer.content_type, digest=digest, size=int(length))


def _content_digest(answer: Answer) -> Digest | None:
    text = answer.headers.get("docker-content-digest")
    return Digest(text) if text else None


def _check(body: bytes, digest: Digest, what: str) -> None:
    found = hashlib.new(digest.algorithm, body).hexdigest()
    if found != digest.hex:
        raise VerificationError(
            f"{what} is not what its digest says",
            why=f"expected {digest}, got {digest.algorithm}:{found} ({len(body)} bytes)",
            hint="the registry, or something between it and us, alters content; nothing was kept",
        )
