"""`nexus-oci mirror-config`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nexus_oci.cli.console import Console
from nexus_oci.cli.written import write_files
from nexus_oci.errors import UsageError

if TYPE_CHECKING:
    from nexus_oci.definition.definition import Definition
    from nexus_oci.mirror_config.redirect import Redirect, Written

_PATH = click.Path(path_type=Path, exists=True, dir_okay=False)
_KINDS = ("containerd", "k3s", "cri-o", "podman", "openshift", "docker", "helm")


@click.command()
@click.argument("mirror", metavar="HOST/NAMESPACE")
@click.option("--for", "kinds", multiple=True, required=True, type=click.Choice(_KINDS), help="The runtime; repeatable.")
@click.option("--source", metavar="HOST[/NAMESPACE]", help="Whose names are asked for. Default: the definition's `registry`.")
@click.option("--ca", "authorities", type=_PATH, multiple=True, help="Certificates that the mirror's own chains up to.")
@click.option("--exclusive", is_flag=True, help="Never ask the original registry.")
@click.option("--plain-http", is_flag=True, help="The mirror speaks HTTP.")
@click.option("--release", help="helm: the version whose image is named, where dist has several.")
@click.option("--output", "-o", type=click.Path(path_type=Path), help="The folder to write to. Default: mirror-config.")
@click.pass_obj
def command(
    console: Console,
    mirror: str,
    kinds: tuple[str, ...],
    source: str | None,
    authorities: tuple[Path, ...],
    exclusive: bool,
    plain_http: bool,
    release: str | None,
    output: Path | None,
) -> None:
    """Write the settings by which runtimes pull from a mirror what is asked for by its original name.

    containerd gets hosts.toml, k3s registries.yaml, podman and CRI-O a drop-in of registries.conf, OpenShift its mirror sets,
    Helm values. Docker knows mirrors of Docker Hub only, and gets a script that pulls and renames. Prints the files.
    """
    from nexus_oci.mirror_config.redirect import Redirect
    from nexus_oci.pipeline.admission import parse_prefix, read_certificates

    definition = _definition(console)
    original = source or (definition.registry if definition else "")
    if not original:
        raise UsageError(
            "it is not known whose names are mirrored",
            why="neither the command nor a definition names the original registry",
            hint="give --source HOST/NAMESPACE",
        )
    redirect = Redirect(
        name=definition.engine.name if definition else parse_prefix(original).rpartition("/")[2],
        source=parse_prefix(original),
        mirror=parse_prefix(mirror),
        exclusive=exclusive,
        plain_http=plain_http,
        authorities=tuple(one for path in authorities for one in read_certificates(path)),
    )
    makers = _makers(console, definition, release)
    files = {file.path: file for kind in kinds for file in makers[kind](redirect)}.values()
    paths = write_files(output or console.directory / "mirror-config", files)
    for note in dict.fromkeys(note for file in files for note in file.notes):
        console.say(f"note: {note}")
    if console.as_json:
        console.data({"source": redirect.source, "mirror": redirect.mirror, "files": [str(path) for path in paths]})
        return
    for path in paths:
        console.result(str(path))


def _definition(console: Console) -> Definition | None:
    """The project's definition, where there is one."""
    if not (console.directory / "images" / "nexus.yaml").is_file():
        return None
    from nexus_oci.definition import load
    from nexus_oci.pipeline.project import default_folder

    return load(console.directory, defaults=default_folder())


def _makers(
    console: Console, definition: Definition | None, release: str | None
) -> dict[str, Callable[[Redirect], list[Written]]]:
    from nexus_oci.mirror_config.containerd import hosts_toml
    from nexus_oci.mirror_config.containers import registries_conf
    from nexus_oci.mirror_config.docker import docker_files
    from nexus_oci.mirror_config.helm import chart_values
    from nexus_oci.mirror_config.k3s import registries_yaml
    from nexus_oci.mirror_config.openshift import mirror_sets

    def helm(redirect: Redirect) -> list[Written]:
        from nexus_oci.pipeline.mirror_config import chart_image, open_built

        if definition is None:
            raise UsageError("there is no chart", why="images/nexus.yaml, which names it, is not here", hint="give -C DIR")
        return chart_values(redirect, chart_image(definition, open_built(console.dist), release))

    return {
        "containerd": hosts_toml,
        "k3s": registries_yaml,
        "cri-o": registries_conf,
        "podman": registries_conf,
        "openshift": mirror_sets,
        "docker": docker_files,
        "helm": helm,
    }
