"""`nexus-oci plan`."""

from __future__ import annotations

from pathlib import Path

import click

from nexus_oci.cli.console import Console


@click.command()
@click.option("--output", "-o", type=click.Path(path_type=Path), help="The folder of the store. Default: dist.")
@click.option("--distribution", "-d", "distributions", multiple=True, help="Only this distribution; repeatable.")
@click.option("--platform", "-p", "platforms", multiple=True, help="Only this platform; repeatable.")
@click.option("--explain", "with_reasons", is_flag=True, help="Say why each step would run or is cached.")
@click.pass_obj
def command(
    console: Console,
    output: Path | None,
    distributions: tuple[str, ...],
    platforms: tuple[str, ...],
    with_reasons: bool,
) -> None:
    """Show the steps that a build would take. With --json: the plan itself, Dockerfiles included."""
    from nexus_oci.cli.session import Session
    from nexus_oci.oci.store import Store
    from nexus_oci.pipeline.explain import explain
    from nexus_oci.pipeline.project import load_project

    session = Session(console)
    project = load_project(session.settings(distributions=distributions, platforms=platforms, say=console.say))
    folder = (output or console.dist) / "oci"
    store = Store.open(folder) if (folder / "oci-layout").is_file() else None
    verdicts = explain(project, store)
    if console.as_json:
        data = project.plan.to_json() | {"digest": project.plan.digest}
        data["verdicts"] = {v.step.id: {"state": v.state, "reasons": list(v.reasons)} for v in verdicts}
        data["dockerfiles"] = {f"{b.distribution} {b.platform}": b.dockerfile.text for b in project.builds}
        console.data(data)
        return
    width = max(len(verdict.step.id) for verdict in verdicts)
    console.result(f"{project.plan.name} {project.plan.version}  plan {project.plan.digest.short}")
    for verdict in verdicts:
        console.result(f"  {verdict.step.id:<{width}}  {verdict.state:<9}  {verdict.step.key.short}")
        if with_reasons:
            for reason in verdict.reasons:
                console.result(f"  {'':<{width}}    {reason}")
