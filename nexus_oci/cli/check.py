"""`nexus-oci check`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from nexus_oci.cli.console import Console
from nexus_oci.cli.options import access, registry_options

if TYPE_CHECKING:
    from nexus_oci.pipeline.registries import Access


@click.command()
@click.option("--policy", is_flag=True, help="Check what would be released against policies/: tiers, gates and waivers.")
@click.option("--tier", help="The tier whose policy counts. Default: the definition's `tier`.")
@click.option("--dist", type=click.Path(path_type=Path), help="The folder that a build left. Default: dist.")
@click.option("--release", help="The version to check, where the store has several.")
@click.option(
    "--against", metavar="DIST|REF", help="The last release, from which sizes are counted. Default: what was pushed last."
)
@registry_options
@click.pass_obj
def command(
    console: Console,
    policy: bool,
    tier: str | None,
    dist: Path | None,
    release: str | None,
    against: str | None,
    plain_http: bool,
    ca_file: Path | None,
) -> None:
    """Check the definition, and that the files it names are there; say everything that is wrong at once.

    With --json: the effective definition, every default written out.

    With --policy: hold what a build left to the gates, and with --tier, or `tier:` in the definition, to what the tier may carry
    and what has to be proved. A refusal, exit code 3, names the gate, the value, the limit, the file, and how to waive it.
    """
    if policy:
        _check_policy(console, tier, dist, release, against, access(console, plain_http, ca_file))
        return
    from nexus_oci.errors import UsageError

    if tier or dist or release or against:
        raise UsageError("--tier, --dist, --release and --against go with --policy")
    _check_definition(console)


def _check_definition(console: Console) -> None:
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
    if _has_policies(console.directory, default_folder()):
        from nexus_oci.policy.loading import load_policy

        load_policy(console.directory, default_folder())
    if console.as_json:
        console.data(effective(definition))
        return
    names = ", ".join(distribution.distribution for distribution in definition.distributions)
    platforms = ", ".join(str(platform) for platform in definition.platforms)
    console.result(f"{definition.engine.name}: {names} for {platforms}: the definition is valid")


def _has_policies(root: Path, defaults: Path) -> bool:
    """Whether the project has gates, tiers or waivers of its own, which may then be wrong."""
    own = [root / "policies" / name for name in ("tiers.yaml", "gates", "waivers.yaml")]
    return any(path.exists() for path in own) and root.resolve() != defaults.resolve()


def _check_policy(
    console: Console, tier: str | None, dist: Path | None, release: str | None, against: str | None, registries: Access
) -> None:
    from nexus_oci.cli.policy_report import report, standard_of
    from nexus_oci.cli.session import only_root, open_release
    from nexus_oci.oci.store import Store
    from nexus_oci.pipeline.tier_check import check_store, weights

    standard = standard_of(console, tier)
    store = Store.open((dist or console.dist) / "oci")
    previous = weights(*open_release(console, against, None, registries)) if against else None
    verdict = check_store(store, only_root(store, release), standard, previous)
    report(console, verdict)
    verdict.enforce()
