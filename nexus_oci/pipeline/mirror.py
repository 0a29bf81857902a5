"""Mirror: what SRC and DST mean, what is verified before it is written, and how it is done again and again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from nexus_oci.errors import NexusError, NotFoundError, UsageError, VerificationError
from nexus_oci.mirroring.item import Done, Settings, Wanted
from nexus_oci.mirroring.run import Pruning, Report, mirror
from nexus_oci.mirroring.selection import Retention, Selection
from nexus_oci.mirroring.survey import Keep, ReadOnce
from nexus_oci.mirroring.tee import Shared
from nexus_oci.oci.reference import Reference, is_loopback
from nexus_oci.oci.store import Store
from nexus_oci.oci.values import Descriptor, Digest
from nexus_oci.pipeline.registries import Access
from nexus_oci.pipeline.subjects import RELEASES, is_release
from nexus_oci.transfer.copy import TransferEvent
from nexus_oci.transfer.places import Place
from nexus_oci.transfer.store_place import StorePlace

if TYPE_CHECKING:
    from nexus_oci.registry.place import RegistryPlace
    from nexus_oci.trust.verification import Trust


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What a mirror is to do. `check` reads and hashes all blobs before; with `trust` signatures are judged before.

    `spool` is a folder for blobs that several destinations wait for.
    """

    source: str
    destinations: tuple[str, ...]
    selection: Selection
    access: Access
    spool: Path
    keep: Keep | None = None
    check: bool = False
    trust: Trust | None = None
    retention: Retention | None = None
    plan: bool = False
    jobs: int = 8


@dataclass(frozen=True, kw_only=True)
class _Origin:
    """Where things come from: the place, the repository in it, and what of it was named."""

    place: Place
    repository: str
    tag: str | None = None
    digest: Digest | None = None

    @property
    def label(self) -> str:
        return f"{self.place.name}/{self.repository}".rstrip("/")


class Mirroring:
    """A mirror that is ready to run, once or again and again."""

    def __init__(self, wish: Wish) -> None:
        self._wish = wish
        self._origin = _open_origin(wish.source, wish.access)
        self._destinations = [_open_destination(text, self._origin.repository, wish.access) for text in wish.destinations]
        names = [place.name for place in self._destinations]
        if len(set(names)) != len(names) or self._origin.place.name in names:
            raise UsageError("the source and the destinations have to be different places", why=f"there are {', '.join(names)}")

    def run(
        self,
        *,
        on_event: Callable[[TransferEvent], None] | None = None,
        on_done: Callable[[Done, Place], None] = lambda _, __: None,
    ) -> Report:
        """One run. Raises where nothing can begin; what fails later is in the report."""
        wish, origin = self._wish, self._origin
        wanted, known = self._wanted()
        settings = Settings(
            shared=Shared(spool=wish.spool),
            jobs=wish.jobs,
            plan=wish.plan,
            keep=wish.keep,
            verify=self._verify if wish.check or wish.trust else None,
            on_event=on_event,
        )
        pruning = None
        if wish.retention is not None:
            tags = tuple(one.tag for one in wanted if one.tag is not None)
            pruning = Pruning(repository=origin.repository, wanted=tags, retention=wish.retention)
        return mirror(origin.place, self._destinations, wanted, settings, tags=known, pruning=pruning, on_done=on_done)

    def close(self) -> None:
        """Close the connections."""
        for place in (self._origin.place, *self._destinations):
            place.close()

    def _wanted(self) -> tuple[list[Wanted], dict[str, frozenset[str]]]:
        """What is to be mirrored now, and the tags of repositories as far as they had to be asked for."""
        origin, selection = self._origin, self._wish.selection
        if origin.tag is not None or origin.digest is not None:
            return [Wanted(repository=origin.repository, tag=origin.tag, digest=origin.digest)], {}
        if isinstance(origin.place, StorePlace) and selection == Selection() and not origin.repository:
            return _everything(origin.place), {}
        tags = origin.place.repository(origin.repository).tags()
        chosen = selection.of(tags, origin.label)
        wanted = [Wanted(repository=origin.repository, tag=tag, channel=tag in selection.channels) for tag in chosen]
        return wanted, {origin.repository: frozenset(tags)}

    def _verify(self, source: ReadOnce, root: Descriptor, repository: str) -> None:
        """What `nexus-oci verify` does, before anything is written; raises `VerificationError` with the faults."""
        from nexus_oci.pipeline.verify import Believed, verify_release

        wish, place = self._wish, self._origin.place
        believed = None
        if wish.trust is not None:
            prefix, name = _identity(place, repository)
            found = _locate(place, source)
            believed = Believed(trust=wish.trust, now=datetime.now(UTC), locate=found, repository=name, prefix=prefix)
        result = verify_release(source, root, believed, shallow=not wish.check, jobs=wish.jobs)
        if result.faults:
            raise VerificationError(
                f"{place.name}: {repository or 'it'}@{root.digest.short} is not what it should be, and was not mirrored",
                why="; ".join(result.faults[:5]),
                hint="find out what happened to the source; nothing of it was written",
            )


def watch(
    mirroring: Mirroring,
    interval: float,
    run: Callable[[Mirroring], Report],
    *,
    wait: Callable[[float], None] = time.sleep,
) -> Iterator[Report | NexusError]:
    """Run again and again, `interval` seconds after each end, until interrupted; what stops a run does not stop the next."""
    while True:
        try:
            yield run(mirroring)
        except NexusError as error:
            yield error
        wait(interval)


def _open_origin(text: str, access: Access) -> _Origin:
    """SRC: a folder with a store; one tag or digest; a repository; or a namespace, whose releases are then meant."""
    folder = _folder(text)
    if folder is not None:
        store = Store.open(folder)
        releases = any(_is_release(store, entry) for name, entry in store.tags().items() if ":" not in name)
        return _Origin(place=StorePlace(store), repository=RELEASES if releases else "")
    reference = Reference.parse(text.rstrip("/"))
    namespace, _, last = reference.repository.rpartition("/")
    if last == RELEASES and namespace:
        place = _registry(reference.host, namespace, access)
        return _Origin(place=place, repository=RELEASES, tag=reference.tag, digest=reference.digest)
    place = _registry(reference.host, reference.repository, access)
    if reference.tag is None and reference.digest is None and place.repository(RELEASES).exists():
        return _Origin(place=place, repository=RELEASES)
    return _Origin(place=place, repository="", tag=reference.tag, digest=reference.digest)


def _open_destination(text: str, repository: str, access: Access) -> Place:
    """DST: a namespace for releases, else a repository; or a folder for a store."""
    folder = _folder(text)
    if folder is not None:
        return StorePlace(Store.create(folder))
    reference = Reference.parse(text.rstrip("/"))
    if reference.tag or reference.digest:
        raise UsageError(f"{text!r} names one image", why="names are kept as they are", hint="write DST without a tag or digest")
    base = reference.repository
    if repository == RELEASES:
        base = base.removesuffix(f"/{RELEASES}")
    return _registry(reference.host, base, access)


def _folder(text: str) -> Path | None:
    """The store's folder that is meant; None for what is in a registry."""
    path = Path(text).expanduser()
    if path.is_file():
        raise UsageError(
            f"{text} is a file",
            why="a mirror goes between registries and stores",
            hint="bring a bundle there with `nexus-oci load`",
        )
    if (path / "oci" / "oci-layout").is_file():
        return path / "oci"
    host = text.partition("/")[0]
    looks_like_host = "/" in text and host not in ("", ".", "..", "~") and ("." in host or ":" in host or host == "localhost")
    return None if looks_like_host and not path.is_dir() else path


def _registry(host: str, base: str, access: Access) -> RegistryPlace:
    from nexus_oci.registry.place import RegistryPlace

    # Of several hosts some may be on this machine: only those are spoken to without TLS, unless somebody insists.
    plain = access.plain_http and (access.insist_on_plain_http or is_loopback(host))
    return RegistryPlace(host, base, replace(access, plain_http=plain).settings(), remember=True)


def _is_release(store: Store, entry: Descriptor) -> bool:
    return entry.is_index and is_release(store.manifest(entry))


def _everything(place: StorePlace) -> list[Wanted]:
    """All that a store without releases names."""
    from nexus_oci.mirroring.selection import is_attached

    names = [name.rpartition(":") for name in place.store.tags()]
    found = [Wanted(repository=repository, tag=tag) for repository, _, tag in names if not is_attached(tag)]
    if not found:
        raise NotFoundError(f"the store {place.name} names nothing", hint="run `nexus-oci build` first, or name another folder")
    return found


def _identity(place: Place, repository: str) -> tuple[str, str]:
    """The prefix and the name by which signatures know a root; see `verify.Believed`."""
    if isinstance(place, StorePlace):
        return "", repository or RELEASES
    if repository:
        return place.name, repository
    host, _, base = place.name.partition("/")
    return host, base


def _locate(place: Place, source: ReadOnce) -> Callable[[Digest], Sequence[Descriptor]]:
    """Finds signatures under tags; a tag that is not there is not asked for."""
    if isinstance(place, StorePlace):
        from nexus_oci.pipeline.attached import in_store

        return in_store(place.store)
    from nexus_oci.trust.cosign import signature_tag

    def locate(digest: Digest) -> Sequence[Descriptor]:
        tag = signature_tag(digest)
        return [source.read(tag).descriptor] if tag in source.tags else []

    return locate
