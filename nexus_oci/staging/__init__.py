"""What is checked and written when a bundle is staged. It imports nothing but the standard library.

The same files work in two places: the program calls them before any work, and the `staged` stage of a build runs them in the
toolbox, where there is only python3-minimal. `program_files` gives them for a build context.
"""

from pathlib import Path


def program_files() -> dict[str, bytes]:
    """The sources of this package by their path under a folder that is to be on PYTHONPATH: `nexus_oci/staging/stage.py`, …

    So the toolbox runs `PYTHONPATH=FOLDER python3 -m nexus_oci.staging.stage CONFIGURATION`.
    """
    here = Path(__file__).resolve().parent
    return {f"nexus_oci/staging/{path.name}": path.read_bytes() for path in sorted(here.glob("*.py"))}
