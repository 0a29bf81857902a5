"""`nexus-oci admission`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nexus_oci.cli.console import Console
from nexus_oci.cli.written import write_files
from nexus_oci.errors import UsageError

if TYPE_CHECKING:
    from nexus_oci.admission.containerd import Checker
    from nexus_oci.admission.rules import Rules, Written
    from nexus_oci.pipeline.admission import Repositories
    from nexus_oci.trust.verification import Trust

_PATH = click.Path(path_type=Path, exists=True, dir_okay=False)
_KINDS = ("kyverno", "kyverno-cluster-policy", "policy-controller", "ratify", "notation", "policy.json", "containerd")
TRUST = Path("policies") / "trust.yaml"
"""Where a project says whose signatures count; used where the command names no key."""


@click.command()
@click.option("--for", "kinds", multiple=True, required=True, type=click.Choice(_KINDS), help="What will enforce it; repeatable.")
@click.option("--key", "keys", type=_PATH, multiple=True, help="A public key; repeatable: any one of them is enough.")
@click.option("--trust", "trust_file", type=_PATH, help=f"A file of keys, each with its time and scope. Default: {TRUST}.")
@click.option("--repository", "repositories", metavar="HOST/NAME", multiple=True,
              help="A repository, and all below it. Default: those of the definition.")  # fmt: skip
@click.option("--mirror", "mirrors", metavar="FROM=TO", multiple=True,
              help="What begins with FROM is also to be had from TO; repeatable.")  # fmt: skip
@click.option(
    "--notation-ca", "authorities", type=_PATH, multiple=True, help="Certificates that Notation signatures chain up to."
)
@click.option("--notation-identity", "identities", metavar="X509.SUBJECT:…", multiple=True, help="Whose. Default: anyone's.")
@click.option("--attestation", "attestations", metavar="TYPE", multiple=True,
              help="Demand it too: provenance, spdx, cyclonedx, or a predicate type's URI.")  # fmt: skip
@click.option("--audit", is_flag=True, help="Report violations and let them in.")
@click.option("--others", type=click.Choice(["accept", "reject"]), default="accept", show_default=True,
              help="policy.json: images from anywhere else.")  # fmt: skip
@click.option("--any-tag", is_flag=True, help="policy.json: let a mirror's image have tags that it was not signed with.")
@click.option("--checker", type=click.Choice(["nexus-oci", "cosign"]), default="nexus-oci", show_default=True,
              help="containerd: the program on the nodes that checks.")  # fmt: skip
@click.option(
    "--node-folder", metavar="DIR", help="containerd: where the files will be. Default: /opt/containerd/image-verifier."
)
@click.option("--plain-http", is_flag=True, help="The registry speaks HTTP.")
@click.option("--output", "-o", type=click.Path(path_type=Path), help="The folder to write to. Default: admission.")
@click.pass_obj
def command(
    console: Console,
    kinds: tuple[str, ...],
    keys: tuple[Path, ...],
    trust_file: Path | None,
    repositories: tuple[str, ...],
    mirrors: tuple[str, ...],
    authorities: tuple[Path, ...],
    identities: tuple[str, ...],
    attestations: tuple[str, ...],
    audit: bool,
    others: str,
    any_tag: bool,
    checker: Checker,
    node_folder: str | None,
    plain_http: bool,
    output: Path | None,
) -> None:
    """Write what a cluster or a node needs so that it runs only what these keys signed, for exactly these repositories.

    Signatures by keys stand in no transparency log; the policies say so. A key is written for the repositories that it may sign,
    and only while it is valid. Prints the files.
    """
    from nexus_oci.pipeline.admission import parse_mirror, read_certificates, rules_for

    name, places = _places(console, repositories)
    rules, notes = rules_for(
        name,
        places,
        _trust(console, keys, trust_file, certified=bool(authorities)),
        datetime.now(UTC),
        mirrors=[parse_mirror(text) for text in mirrors],
        authorities=[one for path in authorities for one in read_certificates(path)],
        identities=identities,
        attestations=attestations,
        audit=audit,
        plain_http=plain_http,
    )
    makers = _makers(others=others, any_tag=any_tag, checker=checker, node_folder=node_folder)
    written = [file for kind in dict.fromkeys(kinds) for file in makers[kind](rules)]
    paths = write_files(output or console.directory / "admission", written)
    for note in (*notes, *dict.fromkeys(note for file in written for note in file.notes)):
        console.say(f"note: {note}")
    if console.as_json:
        console.data({"files": [str(path) for path in paths], "repositories": [scope.repository for scope in rules.scopes]})
        return
    for path in paths:
        console.result(str(path))


def _makers(
    *, others: str, any_tag: bool, checker: Checker, node_folder: str | None
) -> dict[str, Callable[[Rules], list[Written]]]:
    from nexus_oci.admission.containerd import FOLDER, containerd_files
    from nexus_oci.admission.containers_policy import containers_policy
    from nexus_oci.admission.kyverno import cluster_policies, image_validating_policies
    from nexus_oci.admission.notation import notation_files
    from nexus_oci.admission.policy_controller import cluster_image_policies
    from nexus_oci.admission.ratify import ratify_objects

    return {
        "kyverno": image_validating_policies,
        "kyverno-cluster-policy": cluster_policies,
        "policy-controller": cluster_image_policies,
        "ratify": ratify_objects,
        "notation": notation_files,
        "policy.json": lambda rules: containers_policy(rules, refuse_others=others == "reject", any_tag=any_tag),
        "containerd": lambda rules: containerd_files(rules, checker, node_folder or FOLDER),
    }


def _places(console: Console, given: Sequence[str]) -> tuple[str, Repositories]:
    """What the objects are called, and which repositories they are about."""
    from nexus_oci.definition import load
    from nexus_oci.pipeline.admission import Repositories, parse_prefix, repositories_of
    from nexus_oci.pipeline.project import default_folder

    if given and not (console.directory / "images" / "nexus.yaml").is_file():
        names = [parse_prefix(text) for text in given]
        return names[0].rpartition("/")[2], Repositories(distributions=dict.fromkeys(names))
    definition = load(console.directory, defaults=default_folder())
    if not given:
        return definition.engine.name, repositories_of(definition)
    known = repositories_of(definition).distributions if definition.registry else {}
    return definition.engine.name, Repositories(
        distributions={name: known.get(name) for name in (parse_prefix(text) for text in given)}
    )


def _trust(console: Console, keys: Sequence[Path], trust_file: Path | None, *, certified: bool) -> Trust:
    """Whose signatures count: the options' keys, else the project's own trust file."""
    from nexus_oci.trust.verification import Trust, load_trust, trusted_file

    default = console.directory / TRUST
    if trust_file is None and not keys and default.is_file():
        trust_file = default
    if trust_file is None and not keys and not certified:
        raise UsageError(
            "admission needs to know whose signatures count",
            why=f"no key was given, and there is no {default}",
            hint="name the public key with --key, a trust file with --trust, or certificates with --notation-ca",
        )
    trust = load_trust(trust_file) if trust_file else Trust(keys=())
    return trust.with_keys([trusted_file(path) for path in keys])
