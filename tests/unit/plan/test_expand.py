"""A step's key changes exactly when something that it reads does, with the Dockerfiles that are shipped."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from nexus_oci.definition import load
from nexus_oci.errors import DefinitionError, LockError
from nexus_oci.oci.values import Platform, digest_of
from nexus_oci.pipeline.contexts import Stamp, StartingPoints, build_context, template_values
from nexus_oci.plan.expand import BaseImage, Build, Request, expand, layer_key
from nexus_oci.plan.steps import Plan
from nexus_oci.render.context import Context, ContextFile, from_tree, in_memory
from nexus_oci.render.dockerfile import Dockerfile
from nexus_oci.render.templates import render

ROOT = Path(__file__).parents[3]
AMD64, ARM64 = Platform.parse("linux/amd64"), Platform.parse("linux/arm64")
STEPS = ("image runtime", "tar.gz runtime", "deb runtime", "image container")


def base(name: str, platform: Platform, pin: str = "1") -> BaseImage:
    return BaseImage(
        name=name, platform=platform, local_name=f"nexus-oci.local/{name}:{pin}-{platform.slug}", pin={"rootfs": pin}
    )


BASES = {(name, platform): base(name, platform) for name in ("static", "go-build", "toolbox") for platform in (AMD64, ARM64)}
Change = Mapping[str, bytes | None]


@pytest.fixture(scope="module")
def make() -> Callable[..., Request]:
    """The reference engine's request, with files of its source changed (None removes one), and other things replaced."""
    definition = load(ROOT, defaults=ROOT)
    source = from_tree(ROOT / definition.engine.source.path, "source", definition.engine.source.ignore)

    def build(distribution: str, platform: Platform, files: Mapping[str, ContextFile], stamp: Stamp) -> Build:
        wanted = definition.distribution(distribution)
        assert wanted is not None
        images = StartingPoints(
            base=BASES["static", platform].local_name, build_base=BASES["go-build", AMD64].local_name,
            toolbox=BASES["toolbox", AMD64].local_name, build_platform=AMD64, buildkit=True,
        )  # fmt: skip
        text = render(
            [ROOT / "dockerfiles"], "go.Dockerfile.j2", template_values(definition, wanted, platform, files, stamp, images)
        )
        context = build_context(definition, wanted, platform, files, stamp, [ROOT / "dockerfiles"])
        return Build(
            distribution=distribution, platform=platform, dockerfile=Dockerfile.parse(text), context=context,
            formats=tuple(name for name in wanted.formats if name != "image"), base=BASES["static", platform], labels={"a": "1"},
        )  # fmt: skip

    def request(change: Change | None = None, *, commit: str = "c", version: str = "1.0.0", epoch: int = 1) -> Request:
        files: dict[str, ContextFile] = dict(source)
        for name, data in (change or {}).items():
            if data is None:
                del files[name]
            else:
                files[name] = in_memory(data)
        stamp = Stamp(version=version, commit=commit, epoch=epoch)
        builds = [build(name, platform, files, stamp) for name in ("runtime", "container") for platform in (AMD64, ARM64)]
        return Request(
            name="nexus-engine", version=version, epoch=epoch, builds=builds, images=list(BASES.values()),
            annotations={"a": "1"}, chart={"chart": "1"}, encoder="e1",
            repositories={f"runtime/{kind}": {"name": "x"} for kind in ("apt", "yum")},
        )  # fmt: skip

    return request


def changed(before: Request, after: Request) -> set[str]:
    """Which image and format steps got another key; what holds for one platform has to hold for both."""
    old, new = ({step.id: step.key for step in expand(request).steps} for request in (before, after))
    found = {name for name in old if old[name] != new[name] and name.split()[0] in ("image", "tar.gz", "deb")}
    assert {name for name in found if "amd64" in name} == {name.replace("arm64", "amd64") for name in found if "arm64" in name}
    return {name.rpartition(" ")[0] for name in found}


def test_the_same_inputs_give_the_same_plan(make: Callable[..., Request]) -> None:
    assert expand(make()).digest == expand(make()).digest


@pytest.mark.parametrize(
    ("file", "steps"),
    [
        ("source/cmd/nexus-engine/main.go", STEPS),
        ("source/new.go", STEPS),
        ("source/README.md", STEPS),
    ],
)
def test_what_the_compile_stage_reads_is_in_every_key(make: Callable[..., Request], file: str, steps: Iterable[str]) -> None:
    assert changed(make(), make({file: b"package x"})) == set(steps)


@pytest.mark.parametrize(
    ("file", "steps"),
    [("package/stage.json", {"tar.gz runtime", "deb runtime"}), ("package/deb/nfpm.head", {"deb runtime"})],
)
def test_a_file_that_is_only_packed_is_only_in_the_keys_of_what_packs_it(
    make: Callable[..., Request], file: str, steps: set[str]
) -> None:
    before, after = make(), make()
    for build in after.builds:
        if file in build.context.files:
            build.context.files[file] = in_memory(b"changed")  # type: ignore[index]
    assert changed(before, after) == steps


def packed(make: Callable[..., Request], signer: str = "") -> Plan:
    """The plan of the runtime's packages and repositories, with or without a key."""
    request = make()
    builds = [
        replace(build, formats=("deb", "rpm", "apt", "yum")) if build.distribution == "runtime" else build
        for build in request.builds
    ]
    repositories = {f"runtime/{kind}": {"signer": signer} for kind in ("apt", "yum")}
    return expand(replace(request, builds=builds, signing={"signer": signer} if signer else {}, repositories=repositories))


def test_a_repository_is_made_of_the_packages_of_all_platforms(make: Callable[..., Request]) -> None:
    plan = packed(make)
    assert plan.step("apt runtime").needs == ("deb runtime linux/amd64", "deb runtime linux/arm64")
    assert plan.step("artifact apt runtime").needs == ("index runtime", "apt runtime")
    assert not plan.has("sign rpm runtime linux/amd64")


def test_what_carries_its_signature_is_signed_before_it_goes_anywhere(make: Callable[..., Request]) -> None:
    plan = packed(make, "A")
    signed = ("sign rpm runtime linux/amd64", "sign rpm runtime linux/arm64")
    assert plan.step("yum runtime").needs == signed
    assert plan.step(f"artifact {signed[0]}").needs == ("index runtime", signed[0])
    assert not plan.has("artifact rpm runtime linux/amd64")


def test_another_key_signs_anew_and_packs_nothing_anew(make: Callable[..., Request]) -> None:
    one, two = packed(make, "A"), packed(make, "B")
    other = {step.id for step in one.steps if step.kind in ("format", "sign", "repository") and step.key != two.step(step.id).key}
    assert other == {"apt runtime", "yum runtime", "sign rpm runtime linux/amd64", "sign rpm runtime linux/arm64"}


def test_a_file_that_no_stage_reads_is_in_no_key(make: Callable[..., Request]) -> None:
    before, after = make(), make()
    for build in after.builds:
        for name in ("trust/ca.crt", "elsewhere/x", "sourcecode"):
            build.context.files[name] = in_memory(b"x")  # type: ignore[index]
    assert changed(before, after) == set()


def test_the_epoch_is_in_the_keys_of_what_carries_times(make: Callable[..., Request]) -> None:
    before, after = make(), make(epoch=2)
    assert changed(before, after) == set(STEPS)
    unread = [replace(build, dockerfile=_without(build.dockerfile, "SOURCE_DATE_EPOCH")) for build in make().builds]
    old = replace(before, builds=unread)
    assert changed(old, replace(old, epoch=2)) == {"image runtime", "image container"}


def _without(dockerfile: Dockerfile, argument: str) -> Dockerfile:
    return Dockerfile.parse(dockerfile.text.replace(f"ARG {argument}\n", ""))


def test_the_version_is_in_every_key_since_the_engine_is_told_it(make: Callable[..., Request]) -> None:
    assert changed(make(), make(version="1.0.1")) == set(STEPS)
    assert changed(make(), make(commit="d")) == set(STEPS)


def test_labels_are_in_the_keys_of_images_alone(make: Callable[..., Request]) -> None:
    before = make()
    after = replace(before, builds=[replace(build, labels={"a": "2"}) for build in before.builds])
    assert changed(before, after) == {"image runtime", "image container"}


def test_the_encoder_is_in_every_key(make: Callable[..., Request]) -> None:
    assert changed(make(), replace(make(), encoder="e2")) == set(STEPS)


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        ("static", {"image runtime", "image container"}),
        ("go-build", set(STEPS)),
        ("toolbox", {"tar.gz runtime", "deb runtime"}),
    ],
)
def test_a_base_is_in_the_keys_of_what_starts_from_it(make: Callable[..., Request], name: str, steps: set[str]) -> None:
    before = make()
    images = [replace(image, pin={"rootfs": "2"}) if image.name == name else image for image in before.images]
    assert changed(before, replace(before, images=images)) == steps


def test_steps_that_read_the_same_share_a_key_and_platforms_never_do(make: Callable[..., Request]) -> None:
    keys = {step.id: step.key for step in expand(make()).steps}
    assert keys["image runtime linux/amd64"] == keys["image container linux/amd64"]
    assert keys["image runtime linux/amd64"] != keys["image runtime linux/arm64"]


def test_distributions_with_the_same_files_share_their_layer(make: Callable[..., Request]) -> None:
    runtime, runtime_arm, container, _ = make().builds
    assert layer_key(runtime, 1, "e") == layer_key(container, 1, "e")
    assert layer_key(runtime, 1, "e") != layer_key(runtime_arm, 1, "e")
    assert layer_key(runtime, 1, "e") != layer_key(runtime, 2, "e")


def test_the_comments_of_a_template_are_in_no_key(make: Callable[..., Request]) -> None:
    before = make()
    builds = [
        replace(b, dockerfile=Dockerfile.parse("# words\n" + b.dockerfile.text.replace("\nUSER", "\n# more\nUSER")))
        for b in before.builds
    ]
    assert changed(before, replace(before, builds=builds)) == set()


def small(text: str, formats: tuple[str, ...] = (), images: tuple[BaseImage, ...] = (), **files: bytes) -> Plan:
    static = BASES["static", AMD64]
    build = Build(
        distribution="runtime", platform=AMD64, dockerfile=Dockerfile.parse(text.replace("BASE", static.local_name)), labels={},
        context=Context(files={name: in_memory(data) for name, data in files.items()}), formats=formats, base=static,
    )  # fmt: skip
    return expand(
        Request(name="x", version="1", epoch=1, builds=[build], images=[static, *images], annotations={}, chart=None, encoder="e")
    )


def test_an_argument_before_the_first_from_is_in_the_key() -> None:
    text = "ARG FLAVOUR={}\nFROM BASE AS image\nARG FLAVOUR\nRUN make $FLAVOUR\n"
    keys = {small(text.format(value)).step("image runtime linux/amd64").key for value in ("a", "b")}
    assert len(keys) == 2


def test_a_pattern_in_a_copy_still_notices_a_changed_file() -> None:
    keys = {
        small("FROM BASE AS image\nCOPY *.conf /etc/\n", a=data).step("image runtime linux/amd64").key for data in (b"1", b"2")
    }
    assert len(keys) == 2


def test_a_format_without_a_stage_names_the_stages() -> None:
    with pytest.raises(DefinitionError, match=r"format 'deb' of runtime has no stage") as caught:
        small("FROM BASE AS image\n", formats=("deb",))
    assert "its stages are image" in str(caught.value)
    assert "FROM scratch AS deb" in str(caught.value)


@pytest.mark.parametrize("line", ["FROM debian:12 AS image", "FROM BASE AS image\nCOPY --from=debian:12 / /"])
def test_an_image_that_is_no_base_is_refused(line: str) -> None:
    with pytest.raises(LockError, match=r"'debian:12', which is no base"):
        small(line + "\n")


def test_steps_come_after_what_they_need(make: Callable[..., Request]) -> None:
    plan = expand(make())
    seen: set[str] = set()
    for step in plan.steps:
        assert set(step.needs) <= seen
        seen.add(step.id)
    assert plan.steps[-1].kind == "release"
    assert plan.step("image runtime linux/amd64").needs == ("base go-build linux/amd64", "base static linux/amd64")


def test_a_plan_is_plain_data(make: Callable[..., Request]) -> None:
    from nexus_oci.oci.values import canonical_json

    plan = expand(make())
    assert plan.digest == digest_of(canonical_json(plan.to_json()))
