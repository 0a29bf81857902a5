"""`python3 -m guest FOLDER`: tests the package that FOLDER/subject.json names, and prints one JSON line a check."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from .report import Report
from .subject import Subject

_PROGRAMS = {
    "deb": "deb",
    "rpm": "rpm",
    "srpm": "srpm",
    "apk": "apk",
    "archlinux": "archlinux",
    "ipk": "ipk",
    "apt": "repository",
    "yum": "repository",
    "tar.gz": "archive",
    "tar.zst": "archive",
}


def main(folder: str) -> None:
    """Run the checks of one package."""
    subject = Subject.read(Path(folder) / "subject.json")
    subject.put_entitlement()
    module = importlib.import_module(f"{__package__}.{_PROGRAMS[subject.format]}")
    module.test(Report(), subject)


if __name__ == "__main__":
    main(sys.argv[1])
