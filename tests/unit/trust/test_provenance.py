from __future__ import annotations

import copy
from dataclasses import replace

import pytest

from nexus_oci.errors import VerificationError
from nexus_oci.trust.provenance import Change, Dependency, Parameters, Provenance, changes

MADE = Provenance(
    name="engine",
    version="1.0.0",
    parameters=Parameters(distributions=("runtime",), platforms=("linux/arm64",), formats=("deb",), epoch=1760000000),
    source={"uri": "https://git.example/engine", "commit": "1" * 40, "dirty": False},
    internal={"definition": "sha256:1", "plan": "sha256:2", "builds": {"runtime linux/arm64": ["deb"]}},
    dependencies=(
        Dependency(name="base static linux/arm64", digest={"sha256": "a" * 64}),
        Dependency(name="deb libx amd64 of static", digest={"sha256": "b" * 64}, uri="pkg:deb/debian/libx@1.0"),
    ),
    tools={"nexus-oci": "0.1.0"},
)


def test_what_was_written_reads_back_as_it_was():
    assert Provenance.from_json(MADE.to_json()) == MADE


def test_the_predicate_has_what_slsa_asks_for():
    predicate = MADE.to_json()
    assert predicate["buildDefinition"]["externalParameters"]["epoch"] == 1760000000
    assert predicate["buildDefinition"]["resolvedDependencies"][1] == {
        "name": "deb libx amd64 of static", "digest": {"sha256": "b" * 64}, "uri": "pkg:deb/debian/libx@1.0",
    }  # fmt: skip
    assert predicate["runDetails"]["builder"] == {"id": "urn:nexus-oci:builder:local", "version": {"nexus-oci": "0.1.0"}}


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("buildDefinition", "buildType"), "https://actions.github.io/buildtypes/workflow/v1", "another kind"),
        (("buildDefinition", "externalParameters"), {}, "cannot be read"),
        (("buildDefinition", "resolvedDependencies"), [1], "cannot be read"),
        (("runDetails", "builder"), None, "cannot be read"),
    ],
)
def test_a_provenance_of_another_program_is_refused(path, value, message):
    predicate = copy.deepcopy(MADE.to_json())
    predicate[path[0]][path[1]] = value
    with pytest.raises(VerificationError, match=message):
        Provenance.from_json(predicate)


def test_the_same_build_has_no_changes_whatever_its_plan_is_called():
    assert changes(MADE, replace(MADE, internal={**MADE.internal, "plan": "sha256:3"})) == ()


def test_waivers_are_no_change_of_what_is_built():
    assert changes(MADE, replace(MADE, internal={**MADE.internal, "waivers": [{"gate": "root-user"}]})) == ()


def test_changes_are_named_one_by_one():
    dependencies = (
        MADE.dependencies[0],
        replace(MADE.dependencies[1], uri="pkg:deb/debian/libx@1.1", digest={"sha256": "c" * 64}),
    )
    other = replace(
        MADE,
        source={**MADE.source, "dirty": True},
        parameters=replace(MADE.parameters, formats=()),
        dependencies=(*dependencies, Dependency(name="chart", digest={"sha256": "d" * 64})),
    )
    assert changes(MADE, other) == (
        Change(what="source dirty", then="False", now="True"),
        Change(what="formats", then="deb", now=""),
        Change(what="chart", then="", now=f"sha256:{'d' * 64}"),
        Change(
            what="deb libx amd64 of static",
            then=f"pkg:deb/debian/libx@1.0 sha256:{'b' * 64}",
            now=f"pkg:deb/debian/libx@1.1 sha256:{'c' * 64}",
        ),
    )
