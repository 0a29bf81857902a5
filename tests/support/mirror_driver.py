"""Runs mirrors in children of its own, one after the other, so that a test can kill each at any moment.

It reads lines from stdin, `SOURCE DESTINATION BASE CACHE`: two registries on loopback, a namespace at the destination, a folder.
For each it prints the child's number, lets it begin with the next line, and says how it ended (as `os.waitstatus_to_exitcode` does).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from nexus_oci.mirroring.item import Settings, Wanted
from nexus_oci.mirroring.run import mirror
from nexus_oci.mirroring.tee import Shared
from nexus_oci.registry.place import RegistryPlace
from nexus_oci.registry.settings import RegistrySettings

CHUNK = 64 * 1024
"""Bytes of the pieces in which blobs are sent."""


def run(source: str, destination: str, base: str, cache: Path) -> int:
    """One mirror of everything below `team`; the exit code."""
    settings = RegistrySettings(plain_http=True, chunk_size=CHUNK, whole_up_to=0, journal=cache / "uploads")
    places = [RegistryPlace(source, "team", settings), RegistryPlace(destination, base, settings)]
    shared = Shared(spool=cache / "mirror")
    wanted = [Wanted(repository="releases", tag=tag) for tag in ("1.0.0", "1.1.0")]
    return mirror(places[0], places[1:], wanted, Settings(shared=shared, jobs=3)).exit_code


def main() -> None:
    """Take orders until there are no more."""
    while line := sys.stdin.readline():
        source, destination, base, cache = line.split()
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            os.read(reading, 1)
            os._exit(run(source, destination, base, Path(cache)))
        print(child, flush=True)
        sys.stdin.readline()
        os.write(writing, b"x")
        os.close(writing)
        os.close(reading)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
