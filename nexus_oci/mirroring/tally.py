"""What was done at one destination, in numbers; sizes in bytes."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

from nexus_oci.oci.values import Descriptor
from nexus_oci.transfer.ends import Outcome

_lock = threading.Lock()
"""One for all: counting takes no time, and there may be very many tallies."""


@dataclass(kw_only=True, slots=True)
class Tally:
    """Counts of blobs and manifests.

    `bytes_sent` counts what went over the wire, repetitions and manifests included; `bytes_new` the blobs that were sent, once.
    """

    bytes_sent: int = 0
    bytes_new: int = 0
    bytes_mounted: int = 0
    bytes_present: int = 0
    blobs_sent: int = 0
    blobs_mounted: int = 0
    blobs_present: int = 0
    manifests_sent: int = 0
    manifests_present: int = 0
    tags_written: int = 0

    def blob(self, descriptor: Descriptor, outcome: Outcome) -> None:
        """A blob is there now; one that was there before is counted by `rest`."""
        with _lock:
            if outcome is Outcome.SENT:
                self.blobs_sent += 1
                self.bytes_new += descriptor.size
            elif outcome is Outcome.MOUNTED:
                self.blobs_mounted += 1
                self.bytes_mounted += descriptor.size

    def rest(self, blobs: int, size: int) -> None:
        """Of so many blobs, and bytes of blobs, those that were neither sent nor mounted were there."""
        with _lock:
            self.blobs_present = max(0, blobs - self.blobs_sent - self.blobs_mounted)
            self.bytes_present = max(0, size - self.bytes_new - self.bytes_mounted)

    def add(self, **counts: int) -> None:
        """Add to some of the counts."""
        with _lock:
            for name, count in counts.items():
                setattr(self, name, getattr(self, name) + count)

    def merge(self, other: Tally) -> None:
        """Add all of another one's."""
        self.add(**other.to_json())

    def take(self) -> Tally:
        """What was counted so far; counting begins anew."""
        with _lock:
            counts = self.to_json()
            for name in counts:
                setattr(self, name, 0)
        return Tally(**counts)

    @property
    def changed(self) -> bool:
        """Whether anything was, or would be, written."""
        return bool(self.blobs_sent or self.blobs_mounted or self.manifests_sent or self.tags_written)

    def to_json(self) -> dict[str, Any]:
        """The counts by their names."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}
