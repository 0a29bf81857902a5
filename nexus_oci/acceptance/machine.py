"""The machine that packages are tested on: how it starts with systemd as its first process, and what is copied onto it."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Final

from nexus_oci.acceptance.guest.subject import Subject

FOLDER: Final = "/opt/acceptance"
"""Where the programs and the packages are on that machine."""
CAPABILITIES: Final = ("SYS_ADMIN", "SYS_PTRACE", "SYS_NICE", "NET_ADMIN", "DAC_READ_SEARCH")
"""What systemd needs beside an engine's default set."""
TMPFS: Final = ("/run", "/tmp")  # noqa: S108  systemd finds them mounted
INIT: Final = (
    "/bin/sh",
    "-euc",
    """
export container=docker
if [ "$(stat -f -c %T /sys/fs/cgroup)" = cgroup2fs ]; then
    mount -o remount,rw /sys/fs/cgroup
    exec /lib/systemd/systemd
fi
mkdir /run/cgroup
mount -t cgroup2 cgroup2 /run/cgroup
own=/run/cgroup$(sed -n s/^0:://p /proc/self/cgroup)/testbed
mkdir "$own"
echo $$ > "$own/cgroup.procs"
exec unshare --cgroup /bin/sh -euc '
umount -l /run/cgroup
umount -l -R /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
exec /lib/systemd/systemd'
""",
)
"""The first process. systemd 256 and later want the unified hierarchy of control groups. Where the engine shows an older one, the
new one is mounted instead, as seen from a group of its own below the container's, which goes away with the container."""


def command() -> tuple[str, ...]:
    """What makes the checks, in the namespaces of the first process; it prints the results on standard output."""
    return ("nsenter", "--target=1", "--cgroup", "sh", "-c", f"cd {FOLDER} && exec python3 -B -m guest {FOLDER}")


def programs() -> Iterator[tuple[str, bytes]]:
    """The names and the bytes of the guest's programs."""
    for entry in sorted(resources.files("nexus_oci.acceptance.guest").iterdir(), key=lambda entry: entry.name):
        if entry.name.endswith(".py"):
            yield f"guest/{entry.name}", entry.read_bytes()


def load(subject: Subject, files: Mapping[str, Path]) -> bytes:
    """A tar of everything that goes to `FOLDER`: programs, the subject, and `files` by their names there."""
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w") as archive:
        texts = {**dict(programs()), "subject.json": json.dumps(asdict(subject)).encode()}
        for name, data in texts.items():
            header = tarfile.TarInfo(f"{FOLDER}/{name}".lstrip("/"))
            header.size, header.mode = len(data), 0o644
            archive.addfile(header, io.BytesIO(data))
        for name, path in files.items():
            archive.add(path, arcname=f"{FOLDER}/{name}".lstrip("/"), filter=_as_root)
    return output.getvalue()


def _as_root(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = 0
    info.uname = info.gname = "root"
    return info
