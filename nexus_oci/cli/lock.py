"""`nexus-oci lock`."""

from __future__ import annotations

import click

from nexus_oci.cli.console import Console


@click.command()
@click.argument("names", nargs=-1)
@click.pass_obj
def command(console: Console, names: tuple[str, ...]) -> None:
    """Choose today's packages and image digests for the bases (all, or the named ones) and write images/bases.lock."""
    from nexus_oci.cli.session import Session
    from nexus_oci.pipeline.locking import refresh_lock

    session = Session(console)
    with session.display() as display:
        changes = refresh_lock(session.settings(say=display.say), names, session.engine, display)
    if console.as_json:
        console.data(changes)
        return
    for name, change in changes.items():
        console.result(f"{name}: {change}")
