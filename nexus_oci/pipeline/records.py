"""Step records: what a step's key led to, kept in the store, so that work already done is not done again.

A record counts only while every blob it names is in the store, whole and untouched. Records are JSON files under `.nexus/steps/`.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nexus_oci.errors import VerificationError
from nexus_oci.oci.store import Store
from nexus_oci.oci.values import Descriptor, Digest, digest_of


@dataclass(frozen=True, kw_only=True)
class Record:
    """The result of a step: blobs of the store, and small facts about them."""

    key: Digest
    step: str
    inputs: Mapping[str, str]
    blobs: tuple[Descriptor, ...]
    facts: Mapping[str, Any]
    listing: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The record as plain data."""
        return {
            "key": self.key,
            "step": self.step,
            "inputs": dict(self.inputs),
            "blobs": [blob.to_json() for blob in self.blobs],
            "facts": dict(self.facts),
            "listing": dict(self.listing),
        }


class Records:
    """The records of one store. Threads that ask for the same key at once share one run of it."""

    def __init__(self, store: Store, say: Callable[[str], None]) -> None:
        self._store = store
        self._folder = store.steps
        self._say = say
        self._locks: dict[Digest, threading.Lock] = {}
        self._guard = threading.Lock()

    def find(self, key: Digest) -> Record | None:
        """The record of `key` whose blobs are all intact.

        A damaged blob is named aloud and removed, so that the step runs again and its bytes are never used.
        """
        record = self.peek(key)
        if record is not None:
            return record
        record = self._read(self._folder / f"{key.hex}.json")
        if record is None:
            return None
        for blob in record.blobs:
            if not self._store.intact(blob) and self._store.path(blob.digest).exists():
                self._say(f"blob {blob.digest} of «{record.step}» is damaged in the store: it is made again")
                self._store.drop(blob.digest)
        return None

    def peek(self, key: Digest) -> Record | None:
        """As `find`, but nothing is said or removed: for those who only look."""
        record = self._read(self._folder / f"{key.hex}.json")
        return record if record and all(self._store.intact(blob) for blob in record.blobs) else None

    def run(self, key: Digest, work: Callable[[], Record]) -> tuple[Record, bool]:
        """The record of `key`: the known one, or that of `work`, which then runs once. Also says whether it was known."""
        with self._lock(key):
            known = self.find(key)
            if known is not None:
                return known, True
            record = work()
            self.add(record)
            return record, False

    def last(self, step: str) -> Record | None:
        """The newest record of a step of that name, whatever its key: what `plan --explain` compares with."""
        try:
            return self._read(self._folder / f"{Digest(self._pointer(step).read_text()).hex}.json")
        except (OSError, ValueError, VerificationError):
            return None

    def _lock(self, key: Digest) -> threading.Lock:
        with self._guard:
            return self._locks.setdefault(key, threading.Lock())

    def _read(self, path: Path) -> Record | None:
        try:
            data = json.loads(path.read_bytes())
            return Record(
                key=Digest(data["key"]),
                step=data["step"],
                inputs=data["inputs"],
                facts=data["facts"],
                blobs=tuple(Descriptor.from_json(blob) for blob in data["blobs"]),
                listing=data["listing"],
            )
        except (OSError, ValueError, KeyError, TypeError, VerificationError):
            return None

    def add(self, record: Record) -> None:
        """Keep the record of a step that was done."""
        text = json.dumps(record.to_json(), sort_keys=True)
        self._store.replace_file(self._folder / f"{record.key.hex}.json", text.encode())
        self.remember(record)

    def remember(self, record: Record) -> None:
        """Note that this is now the newest record of its step."""
        pointer = self._pointer(record.step)
        if not pointer.is_file() or pointer.read_bytes() != record.key.encode():
            self._store.replace_file(pointer, record.key.encode())

    def _pointer(self, step: str) -> Path:
        return self._folder / f"last-{digest_of(step.encode()).hex[:24]}"
