"""`nexus-oci check`."""

from __future__ import annotations

import click

from nexus_oci.cli.console import Console


@click.command()
@click.pass_obj
def command(console: Console) -> None:
    """Check the definition, and that the files it names are there; say everything that is wrong at once.

    With --json: the effective definition, every default written out.
    """
    from nexus_oci.definition import check_sources, effective, load
    from nexus_oci.errors import DefinitionError
    from nexus_oci.pipeline.project import default_folder

    definition = load(console.directory, defaults=default_folder())
    problems = check_sources(definition, console.directory)
    if problems:
        raise DefinitionError("the definition names files that are not there", problems=problems)
    if definition.entitlement:
        from nexus_oci.pipeline.checker import public_keys

        public_keys(definition.entitlement, definition.root)
    if console.as_json:
        console.data(effective(definition))
        return
    names = ", ".join(distribution.distribution for distribution in definition.distributions)
    platforms = ", ".join(str(platform) for platform in definition.platforms)
    console.result(f"{definition.engine.name}: {names} for {platforms}: the definition is valid")
