"""The graph copy: everything below a manifest, and on request everything that refers to it, from a source to a sink.

Order (design, decision 7): 1. blobs; 2. manifests by digest, from the leaves up; 3. referrers, in the same way;
4. every manifest that was sent is asked for again; 5. only then names. Stopped at any point, nothing is named, and a
second run sends only what is missing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from nexus_oci.errors import VerificationError
from nexus_oci.oci.values import Descriptor, Digest, Manifest
from nexus_oci.transfer.crew import Crew
from nexus_oci.transfer.ends import Outcome, Sink, Source
from nexus_oci.transfer.flow import Flow

_MAX_DEPTH = 16
"""Indexes inside indexes; more is no release but an attempt to keep us busy."""
_AT_ONCE = 2 << 30
"""Bytes of blobs that are under way at a time."""

EventKind = Literal["found", "started", "progress", "sent", "present", "mounted", "verified", "tagged"]


@dataclass(frozen=True, kw_only=True)
class TransferEvent:
    """One thing that happened to one blob or manifest. `bytes`: for `progress`, how many were just written."""

    kind: EventKind
    descriptor: Descriptor
    bytes: int = 0
    name: str | None = None


@dataclass(frozen=True, kw_only=True)
class TransferReport:
    """What a transfer did. `bytes_sent` counts blobs and manifests as they went out, repetitions included."""

    root: Descriptor
    bytes_sent: int
    blobs_sent: int
    blobs_skipped: int
    blobs_mounted: int
    manifests_sent: int
    manifests_skipped: int
    tags: tuple[str, ...]


def copy_graph(
    source: Source,
    sink: Sink,
    root: Descriptor,
    *,
    tags: Sequence[str] = (),
    referrers: bool = False,
    mount_from: str | None = None,
    jobs: int = 8,
    on_event: Callable[[TransferEvent], None] | None = None,
) -> TransferReport:
    """Copy the graph under `root`, with the referrers of every manifest in it if asked, and name it last.

    `mount_from` names a repository on the sink's registry that probably has the blobs. `on_event` is called from
    the working threads, one call at a time. Memory does not grow with the size of the blobs. Raises the first error of
    any thread; on KeyboardInterrupt the threads are told to stop and it passes through.
    """
    return _Copy(source, sink, mount_from, jobs, on_event).run(root, tuple(dict.fromkeys(tags)), referrers)


@dataclass(frozen=True, kw_only=True)
class _Node:
    """A manifest of the graph; `manifest` is None where it is at the sink with all its children and was not read."""

    descriptor: Descriptor
    present: bool
    manifest: Manifest | None

    @property
    def children(self) -> tuple[Descriptor, ...]:
        return self.manifest.manifests if self.manifest else ()


@dataclass
class _Tally:
    bytes_sent: int = 0
    outcomes: dict[Outcome, int] = field(default_factory=lambda: dict.fromkeys(Outcome, 0))


class _Copy:
    """One transfer."""

    def __init__(
        self,
        source: Source,
        sink: Sink,
        mount_from: str | None,
        jobs: int,
        on_event: Callable[[TransferEvent], None] | None,
    ) -> None:
        self._source = source
        self._sink = sink
        self._mount_from = mount_from
        self._crew = Crew(jobs)
        self._flow = Flow(jobs, _AT_ONCE)
        self._on_event = on_event
        self._lock = threading.Lock()
        self._tally = _Tally()
        self._nodes: dict[Digest, _Node] = {}

    def run(self, root: Descriptor, tags: tuple[str, ...], referrers: bool) -> TransferReport:
        """The steps in their order."""
        groups = [self._walk([root], partial=not referrers)]
        while referrers and groups[-1]:
            groups.append(self._walk(self._referrers_of(groups[-1]), partial=False))
        top = self._nodes[root.digest].manifest or self._source.manifest(root)
        skipped = self._send_blobs()
        sent: list[Descriptor] = []
        for group in groups:
            for level in self._levels(group):
                missing = [node for node in level if not node.present]
                self._crew.map(self._send_manifest, missing)
                sent += [node.descriptor for node in missing]
        self._crew.map(self._verify, sent if root in sent else [*sent, root])
        self._sink.tag(top, tags)
        for name in tags:
            self._emit(TransferEvent(kind="tagged", descriptor=root, name=name))
        outcomes = self._tally.outcomes
        return TransferReport(
            root=root,
            bytes_sent=self._tally.bytes_sent,
            blobs_sent=outcomes[Outcome.SENT],
            blobs_skipped=outcomes[Outcome.PRESENT] + skipped,
            blobs_mounted=outcomes[Outcome.MOUNTED],
            manifests_sent=len(sent),
            manifests_skipped=len(self._nodes) - len(sent),
            tags=tags,
        )

    def _walk(self, roots: Sequence[Descriptor], *, partial: bool) -> list[_Node]:
        """Read the manifests from `roots` down that were not met before, level by level.

        With `partial`, what the sink holds whole is not read any further.
        """
        found: list[_Node] = []
        whole = self._sink.keeps_graphs_whole
        frontier = {descriptor.digest: (descriptor, False) for descriptor in roots}
        for _ in range(_MAX_DEPTH):
            wanted = [entry for digest, entry in frontier.items() if digest not in self._nodes]
            if not wanted:
                return found
            nodes = self._crew.map(lambda entry: self._visit(*entry, partial=partial), wanted)
            frontier = {}
            for node in nodes:
                self._nodes[node.descriptor.digest] = node
                found.append(node)
                for child in node.children:
                    covered = (node.present and whole) or frontier.get(child.digest, (child, False))[1]
                    frontier[child.digest] = (child, covered)
        raise VerificationError(
            f"{roots[0].digest} nests indexes more than {_MAX_DEPTH} deep", why="no release does; it is refused"
        )

    def _visit(self, descriptor: Descriptor, covered: bool, *, partial: bool) -> _Node:
        self._crew.checkpoint()
        present = covered or self._sink.has(descriptor)
        if present and partial and self._sink.keeps_graphs_whole:
            return _Node(descriptor=descriptor, present=True, manifest=None)
        manifest = self._source.manifest(descriptor)
        self._emit(TransferEvent(kind="found", descriptor=descriptor))
        return _Node(descriptor=descriptor, present=present, manifest=manifest)

    def _referrers_of(self, nodes: Sequence[_Node]) -> list[Descriptor]:
        answers = self._crew.map(lambda node: self._source.referrers(node.descriptor.digest), nodes)
        return [descriptor for answer in answers for descriptor in answer]

    def _send_blobs(self) -> int:
        """Write every blob that may be missing, the largest first; returns how many are known to be there unasked."""
        wanted: dict[Digest, Descriptor] = {}
        covered: dict[Digest, Descriptor] = {}
        for node in self._nodes.values():
            known = node.present and self._sink.keeps_graphs_whole
            for blob in node.manifest.blobs if node.manifest else ():
                (covered if known else wanted).setdefault(blob.digest, blob)
        for digest in covered:
            wanted.pop(digest, None)
        self._crew.map(self._send_blob, sorted(wanted.values(), key=lambda blob: -blob.size))
        return len(covered)

    def _send_blob(self, blob: Descriptor) -> None:
        self._crew.checkpoint()
        self._emit(TransferEvent(kind="started", descriptor=blob))
        with self._flow.room(blob.size):
            outcome = self._sink.put_blob(
                blob,
                lambda: self._source.open_blob(blob, verify=not self._sink.verifies),
                mount_from=self._mount_from,
                progress=lambda count: self._progress(blob, count),
            )
        with self._lock:
            self._tally.outcomes[outcome] += 1
        kinds: dict[Outcome, EventKind] = {
            Outcome.SENT: "sent",
            Outcome.PRESENT: "present",
            Outcome.MOUNTED: "mounted",
        }
        self._emit(TransferEvent(kind=kinds[outcome], descriptor=blob))

    def _progress(self, blob: Descriptor, count: int) -> None:
        self._crew.checkpoint()
        with self._lock:
            self._tally.bytes_sent += count
        self._emit(TransferEvent(kind="progress", descriptor=blob, bytes=count))

    def _levels(self, group: Sequence[_Node]) -> list[list[_Node]]:
        """The group's manifests, children before parents; those on one level do not depend on each other."""
        members = {node.descriptor.digest: node for node in group}
        heights: dict[Digest, int] = {}

        def height(node: _Node) -> int:
            digest = node.descriptor.digest
            if digest not in heights:
                below = [height(members[child.digest]) for child in node.children if child.digest in members]
                heights[digest] = 1 + max(below, default=-1)
            return heights[digest]

        levels: list[list[_Node]] = [[] for _ in range(1 + max(map(height, group), default=-1))]
        for node in group:
            levels[heights[node.descriptor.digest]].append(node)
        return levels

    def _send_manifest(self, node: _Node) -> None:
        self._crew.checkpoint()
        if node.manifest is None:
            return
        self._sink.put_manifest(node.manifest)
        with self._lock:
            self._tally.bytes_sent += node.descriptor.size
        self._emit(TransferEvent(kind="sent", descriptor=node.descriptor))

    def _verify(self, descriptor: Descriptor) -> None:
        self._crew.checkpoint()
        if not self._sink.has(descriptor):
            raise VerificationError(
                f"manifest {descriptor.digest} is not there after it was written",
                why="the destination accepted it and does not show it",
                hint="run the same command again; nothing has been named yet",
            )
        self._emit(TransferEvent(kind="verified", descriptor=descriptor))

    def _emit(self, event: TransferEvent) -> None:
        if self._on_event is not None:
            with self._lock:
                self._on_event(event)
