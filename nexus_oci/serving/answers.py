"""From a request to an answer, as the distribution-spec 1.1 has it; no socket is touched here.

Covered: end-1 (`/v2/`), end-2 (blobs), end-3 (manifests), end-8a and 8b (tags), end-12a and 12b (referrers), and the catalogue
that Docker's registry has beside them. Everything that would write is refused with `UNSUPPORTED`.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import parse_qs, quote, urlsplit

from nexus_oci.errors import NexusError
from nexus_oci.oci import media_types
from nexus_oci.oci.values import Descriptor, Digest, canonical_json
from nexus_oci.serving.catalogue import Catalogue, Content, Repository, catalogue

_PATH = re.compile(r"/v2/(?P<name>.+)/(?P<kind>manifests|blobs|tags|referrers)/(?P<last>[^/]+)\Z")
_RANGE = re.compile(r"bytes=(\d{0,19})-(\d{0,19})\Z")
_LARGEST_PAGE: Final = 10_000
_FOREVER: Final = "public, max-age=31536000, immutable"
_JSON: Final = "application/json"
_NONE: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked: the method, the path with its query, and the headers by their lower-case names."""

    method: str
    target: str
    headers: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What is answered. The body is `data`, or `length` bytes of `blob` from `start` on. HEAD has no body, and its headers."""

    status: int
    headers: Mapping[str, str]
    data: bytes = b""
    blob: Descriptor | None = None
    start: int = 0
    length: int = 0


class Registry:
    """Answers requests for one content. Used by several threads at once."""

    def __init__(self, content: Content, namespace: str = "") -> None:
        self.content = content
        self._namespace = namespace
        self._lock = threading.Lock()
        self._stamp: object = None
        self._catalogue: Catalogue | None = None

    def catalogue(self) -> Catalogue:
        """What is served now; read anew when the content's names have changed. Raises what reading a manifest raises."""
        stamp = self.content.stamp()
        with self._lock:
            if self._catalogue is None or stamp != self._stamp:
                self._catalogue = catalogue(self.content, self._namespace)
                self._stamp = stamp
            return self._catalogue

    def answer(self, request: Request) -> Answer:
        """The answer to a request, whatever it is; a content that cannot be read is a 500 with the reason."""
        if request.method not in ("GET", "HEAD"):
            return _error(405, "UNSUPPORTED", "this registry is read-only", {"Allow": "GET, HEAD"})
        address = urlsplit(request.target)
        try:
            query = parse_qs(address.query, keep_blank_values=True, max_num_fields=16)
            return self._route(address.path, {key: values[0] for key, values in query.items()}, request.headers)
        except ValueError:
            return _error(400, "UNSUPPORTED", "the query cannot be read")
        except NexusError as error:
            return _error(500, "UNKNOWN", f"what is served is damaged: {error.what}")

    def _route(self, path: str, query: Mapping[str, str], headers: Mapping[str, str]) -> Answer:
        if path in ("/v2", "/v2/"):
            return _json({})
        listing = self.catalogue()
        if path == "/v2/_catalog":
            return _page("/v2/_catalog", "repositories", list(listing.repositories), query, {})
        found = _PATH.match(path)
        if found is None:
            return _error(404, "NAME_UNKNOWN", "there is nothing at this path")
        repository = listing.repositories.get(found["name"])
        if repository is None:
            return _error(404, "NAME_UNKNOWN", f"there is no repository {found['name']}")
        kind, last = found["kind"], found["last"]
        if kind == "tags":
            if last != "list":
                return _error(404, "NAME_UNKNOWN", "there is nothing at this path")
            return _page(path, "tags", list(repository.tags), query, {"name": found["name"]})
        if kind == "manifests":
            return _manifest(repository, last, headers)
        digest = _digest(last)
        if digest is None:
            return _error(400, "DIGEST_INVALID", f"{last} is no digest")
        if kind == "blobs":
            return _blob(repository, digest, headers)
        return _referrers(listing, repository, digest, query.get("artifactType"))


def _manifest(repository: Repository, reference: str, headers: Mapping[str, str]) -> Answer:
    digest = _digest(reference)
    descriptor = repository.manifests.get(digest) if digest else repository.tags.get(reference)
    if descriptor is None:
        return _error(404, "MANIFEST_UNKNOWN", f"there is no manifest {reference}")
    lasting = _FOREVER if digest else "no-cache"
    return _content(descriptor, headers, {"Content-Type": descriptor.media_type, "Cache-Control": lasting})


def _blob(repository: Repository, digest: Digest, headers: Mapping[str, str]) -> Answer:
    descriptor = repository.blobs.get(digest)
    if descriptor is None:
        return _error(404, "BLOB_UNKNOWN", f"there is no blob {digest}")
    common = {"Content-Type": "application/octet-stream", "Cache-Control": _FOREVER, "Accept-Ranges": "bytes"}
    return _content(descriptor, headers, common)


def _content(descriptor: Descriptor, asked: Mapping[str, str], common: Mapping[str, str]) -> Answer:
    """Bytes that are known by their digest: conditional (RFC 9110, 13), and for blobs in part (14)."""
    etag = f'"{descriptor.digest}"'
    headers = {**common, "Docker-Content-Digest": str(descriptor.digest), "ETag": etag}
    if _names(asked.get("if-none-match", ""), etag):
        return Answer(status=304, headers=headers)
    start, end = 0, descriptor.size - 1
    status = 200
    wanted = asked.get("range")
    if wanted and "Accept-Ranges" in common and asked.get("if-range", etag) == etag:
        part = _part(wanted, descriptor.size)
        if part is not None and not part:
            return _error(416, "BLOB_UNKNOWN", "the range is not in it", {"Content-Range": f"bytes */{descriptor.size}"})
        if part is not None:
            start, end, status = part.start, part.stop - 1, 206
            headers["Content-Range"] = f"bytes {start}-{end}/{descriptor.size}"
    length = end - start + 1
    return Answer(status=status, headers={**headers, "Content-Length": str(length)}, blob=descriptor, start=start, length=length)


def _part(header: str, size: int) -> range | None:
    """The bytes of a range, empty where it is out of reach; None for what is to be ignored, as several ranges are."""
    match = _RANGE.match(header.strip())
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        return range(size - min(int(match[2]), size), size)
    first, last = int(match[1]), int(match[2]) if match[2] else size - 1
    if match[2] and last < first:
        return None
    return range(min(first, size), min(last + 1, size))


def _names(header: str, etag: str) -> bool:
    """Whether a list of entity tags has this one, weakly compared."""
    return header.strip() == "*" or etag in (one.strip().removeprefix("W/") for one in header.split(","))


def _referrers(listing: Catalogue, repository: Repository, digest: Digest, artifact_type: str | None) -> Answer:
    found = repository.referrers(listing.referrers, digest)
    headers = {}
    if artifact_type:
        found = tuple(one for one in found if one.artifact_type == artifact_type)
        headers["OCI-Filters-Applied"] = "artifactType"
    index = {"schemaVersion": 2, "mediaType": media_types.INDEX, "manifests": [one.to_json() for one in found]}
    return _json(index, {**headers, "Content-Type": media_types.INDEX})


def _page(path: str, field_name: str, values: Sequence[str], query: Mapping[str, str], more: Mapping[str, Any]) -> Answer:
    """A page of a sorted list: `n` entries after `last` (distribution-spec, "Listing Tags")."""
    rest = sorted(value for value in values if value > query["last"]) if query.get("last") else sorted(values)
    text = query.get("n")
    if text is not None and not (text.isascii() and text.isdigit()):
        return _error(400, "PAGINATION_NUMBER_INVALID", "n is no number")
    count = min(int(text[:9]), _LARGEST_PAGE) if text is not None else _LARGEST_PAGE
    page = rest[:count]
    headers = {}
    if page and len(rest) > len(page):
        headers["Link"] = f'<{quote(path)}?n={count}&last={quote(page[-1])}>; rel="next"'
    return _json({**more, field_name: page}, headers)


def _digest(text: str) -> Digest | None:
    try:
        return Digest(text)
    except NexusError:
        return None


def _json(data: Any, headers: Mapping[str, str] = _NONE) -> Answer:
    body = canonical_json(data)
    return Answer(status=200, headers={"Content-Type": _JSON, "Content-Length": str(len(body)), **headers}, data=body)


def _error(status: int, code: str, message: str, headers: Mapping[str, str] = _NONE) -> Answer:
    """An error as the distribution-spec writes it ("Error Codes")."""
    body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
    return Answer(status=status, headers={"Content-Type": _JSON, "Content-Length": str(len(body)), **headers}, data=body)
