"""What the verbs that build share: the engine, reached as late as possible, and the pipeline's settings."""

from __future__ import annotations

import platform as host
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from nexus_oci.cli.console import Console
from nexus_oci.errors import NotFoundError, UsageError
from nexus_oci.oci.values import Platform

if TYPE_CHECKING:
    from nexus_oci.cli.display import Display
    from nexus_oci.docker_engine import Engine
    from nexus_oci.oci.store import Store
    from nexus_oci.oci.values import Descriptor
    from nexus_oci.pipeline.build import LazyEngine
    from nexus_oci.pipeline.project import Settings
    from nexus_oci.pipeline.registries import Access
    from nexus_oci.transfer.ends import Source
    from nexus_oci.trust.openpgp import SigningKey


class Session:
    """One run of a verb."""

    def __init__(self, console: Console) -> None:
        from nexus_oci.pipeline.build import LazyEngine

        self.console = console
        self.engine: LazyEngine = LazyEngine(connect=self._connect)

    def display(self) -> Display:
        """The progress display."""
        return self.console.display()

    def _connect(self) -> Engine:
        from nexus_oci.docker_engine import connect

        return connect(environment=self.console.environment)

    def settings(
        self,
        *,
        distributions: tuple[str, ...] = (),
        platforms: tuple[str, ...] = (),
        formats: tuple[str, ...] = (),
        key: SigningKey | None = None,
        say: Callable[[str], None],
    ) -> Settings:
        """The pipeline's settings, for an engine like this machine; a build that needs the engine asks it."""
        from nexus_oci.bases.host import default_cache
        from nexus_oci.pipeline.project import Settings, default_folder

        return Settings(
            root=self.console.directory,
            defaults=default_folder(),
            cache=default_cache(self.console.environment, Path.home()),
            build_platform=Platform.parse(f"linux/{host.machine()}"),
            buildkit=True,
            environment=self.console.environment,
            distributions=distributions,
            platforms=tuple(_platform(text) for text in platforms),
            formats=formats,
            key=key,
            say=say,
        )


def _platform(text: str) -> Platform:
    try:
        return Platform.parse(text)
    except ValueError as error:
        raise UsageError(str(error)) from error


def parse_platforms(texts: tuple[str, ...]) -> tuple[Platform, ...]:
    """Platforms of the command line; raises `UsageError`."""
    return tuple(_platform(text) for text in texts)


def open_release(console: Console, target: str | None, release: str | None, access: Access) -> tuple[Source, Descriptor]:
    """The one release, or image, that a folder or a reference names; raises `NotFoundError` where there are several."""
    source, roots = open_all(console, target, release, access)
    return source, _only(roots)


def only_root(store: Store, release: str | None) -> Descriptor:
    """The one release, or image, of a store; raises as `open_release` does."""
    return _only(_roots(store, release))


def _only(roots: list[tuple[str, Descriptor]]) -> Descriptor:
    if len(roots) != 1:
        raise NotFoundError(
            "the store has several releases" if roots else "the store is empty",
            why=f"it has {', '.join(name for name, _ in roots) or 'nothing'}",
            hint="name one with --release" if roots else "run `nexus-oci build` first",
        )
    return roots[0][1]


def open_all(
    console: Console, target: str | None, release: str | None, access: Access
) -> tuple[Source, list[tuple[str, Descriptor]]]:
    """What there is to show: every release of a store, else everything it lists; or what a reference names.

    Without a `target`, what a build here left.
    """
    store = find_store(console, target)
    if store is None:
        assert target is not None  # noqa: S101  without one there is a store or an error
        source, root = _in_registry(target, access)
        return source, [(target, root)]
    from nexus_oci.transfer.store_end import StoreEnd

    return StoreEnd(store), _roots(store, release)


def _roots(store: Store, release: str | None) -> list[tuple[str, Descriptor]]:
    from nexus_oci.oci import media_types
    from nexus_oci.pipeline.attached import signature_names

    signatures = signature_names(store)
    tags = {name: entry for name, entry in store.tags().items() if name not in signatures}
    if release is not None:
        from nexus_oci.pipeline.push import find_release

        return [(release, tags[release] if release in tags else find_release(store, release)[0])]
    releases = [
        (name, entry)
        for name, entry in sorted(tags.items())
        if entry.is_index and store.manifest(entry).data.get("artifactType") == media_types.RELEASE
    ]
    return releases or sorted(tags.items()) or [(entry.digest.short, entry) for entry in store.entries()]


def find_store(console: Console, target: str | None) -> Store | None:
    """The store in a folder, or in the `oci` folder below it; None where the target is a reference."""
    from nexus_oci.oci.store import Store

    folders = [console.dist] if target is None else [Path(target), console.directory / target]
    for folder in folders:
        for place in (folder, folder / "oci"):
            if (place / "oci-layout").is_file():
                return Store.open(place)
    if target is None or "/" not in target or any(folder.is_dir() for folder in folders):
        return Store.open(folders[-1] / "oci")
    return None


def _in_registry(target: str, access: Access) -> tuple[Source, Descriptor]:
    from nexus_oci.oci.reference import Reference

    reference = Reference.parse(target)
    end = access.end(reference)
    return end, end.resolve(reference.target)
