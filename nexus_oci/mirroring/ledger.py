"""What is known to be where: blobs that were seen in, or put into, the repositories of a destination in this run."""

from __future__ import annotations

import threading
from collections import OrderedDict

from nexus_oci.oci.values import Digest

_MOST = 200_000
"""Entries that are remembered. A forgotten one costs a question, nothing else."""


class Ledger:
    """Used by several threads at once. Destinations go by their number."""

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._known: OrderedDict[tuple[int, bytes], tuple[str, ...]] = OrderedDict()
        self._lock = threading.Lock()

    def repositories(self, place: int, digest: Digest) -> tuple[str, ...]:
        """The repositories of a destination that have a blob, the one that was seen last at the end."""
        with self._lock:
            return self._known.get((place, _key(digest)), ())

    def note(self, place: int, digest: Digest, repository: str) -> None:
        """A repository has a blob."""
        with self._lock:
            key = place, _key(digest)
            before = self._known.pop(key, ())
            self._known[key] = before if repository in before else (*before, repository)
            while len(self._known) > self._most:
                self._known.popitem(last=False)


def _key(digest: Digest) -> bytes:
    return bytes.fromhex(digest.hex)
