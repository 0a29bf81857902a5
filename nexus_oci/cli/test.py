"""`nexus-oci test`."""

from __future__ import annotations

from pathlib import Path

import click

from nexus_oci.cli.console import Console

_PATH = click.Path(path_type=Path, exists=True)


@click.command()
@click.argument("files", metavar="[FILE]...", nargs=-1, type=_PATH)
@click.option("--distribution", "-d", "distributions", multiple=True, help="Only this distribution; repeatable.")
@click.option("--platform", "-p", "platforms", multiple=True, help="Only this platform, as in linux/arm64; repeatable.")
@click.option("--format", "-f", "formats", multiple=True, help="Only this format; repeatable.")
@click.option("--from", "former", type=_PATH, help="A former release (its dist folder, or a file) to upgrade from.")
@click.option("--entitlement", type=_PATH, help="A token (`license issue`) for engines that do not start without one; else what "
              "needs them running is skipped.")  # fmt: skip
@click.option("--junit", type=click.Path(path_type=Path, dir_okay=False), help="The JUnit file. Default: dist/test-report.xml.")
@click.option("--jobs", "-j", default=2, show_default=True, type=click.IntRange(1, 16), help="Packages at once.")
@click.pass_obj
def command(
    console: Console,
    files: tuple[Path, ...],
    distributions: tuple[str, ...],
    platforms: tuple[str, ...],
    formats: tuple[str, ...],
    former: Path | None,
    entitlement: Path | None,
    junit: Path | None,
    jobs: int,
) -> None:
    """Install, start, check, upgrade and remove each package in containers, with systemd running in them.

    Without FILE: what the last build left in dist. Prints a table, and exits with 1 where anything failed.
    """
    from nexus_oci.acceptance import junit as report
    from nexus_oci.acceptance.table import table
    from nexus_oci.cli.session import Session, parse_platforms
    from nexus_oci.errors import NexusError, StoreError
    from nexus_oci.pipeline.testing import TestOptions, run_tests

    session = Session(console)
    options = TestOptions(
        dist=console.dist,
        files=files,
        formats=formats,
        distributions=distributions,
        platforms=parse_platforms(platforms),
        former=former,
        entitlement=entitlement,
        jobs=jobs,
    )
    with session.display() as display:
        rows = run_tests(session.settings(say=display.say), options, session.engine, display)
    target = junit or (console.dist if console.dist.is_dir() else Path()) / "test-report.xml"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(report.junit(rows))
    except OSError as error:
        raise StoreError(f"{target} cannot be written", why=error.strerror, hint="name another file with --junit") from error
    bad = [row for row in rows if row.status == "failed"]
    if console.as_json:
        console.data({"rows": [row.to_json() for row in rows], "report": str(target), "passed": not bad})
    else:
        console.result(table(rows))
    if bad:
        raise NexusError(
            f"{len(bad)} of {len(rows)} did not pass: {', '.join(row.file for row in bad)}",
            why=bad[0].why.partition("\n")[0],
            hint=f"{target} has every check",
        )
