"""A whole run: everything that is wanted, to every destination, with a report; one thing that fails does not stop the others."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nexus_oci.errors import NexusError, UnreachableError
from nexus_oci.mirroring.item import Done, Item, Settings, Wanted
from nexus_oci.mirroring.prune import Pruned, prune
from nexus_oci.mirroring.selection import Retention
from nexus_oci.mirroring.tally import Tally
from nexus_oci.transfer.crew import Crew
from nexus_oci.transfer.places import Place

_PATIENCE = 3
"""Things that fail one after the other because a destination cannot be reached, before the others are not even tried."""
_MOST_HELD = 20_000
"""Things whose story is kept for the report: a mirror may have millions, and `on_done` hears of each."""
_MOST_FAILURES = 100
_THREADS = 64
"""Threads that move things, of all items together."""


@dataclass(frozen=True, kw_only=True)
class Pruning:
    """That destinations are pruned, how, and in which repository; `wanted` are the tags that are mirrored."""

    repository: str
    wanted: tuple[str, ...]
    retention: Retention


@dataclass(kw_only=True)
class Destination:
    """What became of one destination."""

    place: Place
    counts: Counter[str] = field(default_factory=Counter)
    """How many things are in which state."""
    done: list[Done] = field(default_factory=list)
    """Those that were copied or failed, as far as there are not too many to be held."""
    tally: Tally = field(default_factory=Tally)
    pruned: Pruned | None = None
    failures: list[NexusError] = field(default_factory=list)
    """Also of what is no item: pruning. As far as there are not too many."""
    failed: int = 0

    def to_json(self) -> dict[str, Any]:
        """The destination's part of the report."""
        data: dict[str, Any] = {"name": self.place.name, "requests": self.place.requests_made, **self.tally.to_json()}
        data |= {state: self.counts[state] for state in ("copied", "unchanged", "failed")}
        data["items"] = [one.to_json() for one in self.done]
        data["items_left_out"] = self.counts["copied"] + self.counts["failed"] - len(self.done)
        if self.pruned is not None:
            data["pruned"] = self.pruned.to_json()
        return data


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a run did, or with `plan` would do."""

    source: Place
    destinations: tuple[Destination, ...]
    plan: bool

    @property
    def failures(self) -> list[NexusError]:
        """The errors, destination by destination, as far as they are held."""
        return [error for destination in self.destinations for error in destination.failures]

    @property
    def failed(self) -> int:
        """How much failed."""
        return sum(destination.failed for destination in self.destinations)

    @property
    def items(self) -> int:
        """How many things were to go to how many places."""
        return sum(destination.counts.total() for destination in self.destinations)

    @property
    def exit_code(self) -> int:
        """0 where all went well; the errors' own where nothing did and they agree; else 1."""
        if not self.failed:
            return 0
        codes = {error.exit_code for error in self.failures}
        return codes.pop() if len(codes) == 1 and self.failed >= self.items else 1

    def to_json(self) -> dict[str, Any]:
        """The machine's report."""
        return {
            "source": self.source.name,
            "source_requests": self.source.requests_made,
            "plan": self.plan,
            "failed": self.failed,
            "destinations": [destination.to_json() for destination in self.destinations],
        }


def mirror(
    source: Place,
    destinations: Sequence[Place],
    wanted: Sequence[Wanted],
    settings: Settings,
    *,
    tags: Mapping[str, frozenset[str]] | None = None,
    pruning: Pruning | None = None,
    on_done: Callable[[Done, Place], None] = lambda _, __: None,
) -> Report:
    """Bring everything that is wanted to every destination, several things at a time; then prune, where nothing failed.

    `tags` are all of a repository's at the source, where they were asked for already. `on_done` hears of each thing at each
    destination, one call at a time.
    """
    return _Run(source, destinations, settings, on_done, tags or {}).run(wanted, pruning)


class _Run:
    def __init__(
        self,
        source: Place,
        destinations: Sequence[Place],
        settings: Settings,
        on_done: Callable[[Done, Place], None],
        tags: Mapping[str, frozenset[str]],
    ) -> None:
        self._source = source
        self._destinations = [Destination(place=place) for place in destinations]
        self._settings = settings
        self._on_done = on_done
        self._tags = dict(tags)
        self._held = 0
        self._unreachable = [0] * len(destinations)
        self._lock = threading.Lock()

    def run(self, wanted: Sequence[Wanted], pruning: Pruning | None) -> Report:
        together = max(1, min(self._settings.jobs, _THREADS // (self._settings.jobs * min(16, len(self._destinations)))))
        for late in (False, True):
            Crew(together).map(self._one, [one for one in wanted if one.channel is late])
        for destination in self._destinations:
            if pruning is not None and not destination.failed:
                self._prune(destination, pruning)
        return Report(source=self._source, destinations=tuple(self._destinations), plan=self._settings.plan)

    def _one(self, wanted: Wanted) -> None:
        live = [
            (number, destination.place)
            for number, destination in enumerate(self._destinations)
            if self._unreachable[number] < _PATIENCE
        ]
        done = Item(self._source, self._tags_of, wanted, self._settings).run(live) if live else []
        with self._lock:
            reached = {one.destination for one in done}
            done += [self._given_up(wanted, number) for number in range(len(self._destinations)) if number not in reached]
            for one in done:
                lost = isinstance(one.failure, UnreachableError) and not one.tally.changed
                self._unreachable[one.destination] = self._unreachable[one.destination] + 1 if lost else 0
                destination = self._destinations[one.destination]
                destination.counts[one.state] += 1
                destination.tally.merge(one.tally)
                if one.failure is not None:
                    self._fail(destination, one.failure)
                if one.state != "unchanged" and self._held < _MOST_HELD:
                    self._held += 1
                    destination.done.append(one)
                self._on_done(one, destination.place)

    def _given_up(self, wanted: Wanted, number: int) -> Done:
        name = self._destinations[number].place.name
        failure = UnreachableError(
            f"{wanted.name} was not brought to {name}",
            why=f"that could not be reached {_PATIENCE} times in a row, or what it comes from could not",
            hint="try again later: what arrived will not be sent twice",
        )
        return Done(wanted=wanted, destination=number, digest=None, tally=Tally(), failure=failure)

    def _tags_of(self, repository: str) -> frozenset[str]:
        """All tags of a repository at the source, asked for once."""
        with self._settings.shared.gates.through(("tags", repository)):
            if repository not in self._tags:
                self._tags[repository] = frozenset(self._source.repository(repository).tags())
            return self._tags[repository]

    def _prune(self, destination: Destination, pruning: Pruning) -> None:
        try:
            destination.pruned = prune(
                destination.place, pruning.repository, pruning.wanted, pruning.retention, plan=self._settings.plan
            )
        except NexusError as error:
            self._fail(destination, error)

    @staticmethod
    def _fail(destination: Destination, error: NexusError) -> None:
        destination.failed += 1
        if len(destination.failures) < _MOST_FAILURES:
            destination.failures.append(error)
