"""What a Dockerfile's text says: its stages, and everything that decides the bytes of one of them."""

from __future__ import annotations

import pytest

from nexus_oci.errors import DefinitionError
from nexus_oci.render.dockerfile import Dockerfile, read_instructions


def parse(*lines: str) -> Dockerfile:
    return Dockerfile.parse("\n".join(lines) + "\n")


def keywords(*lines: str) -> list[tuple[str, int]]:
    return [(item.keyword, item.line) for item in read_instructions("\n".join(lines))]


def test_comments_and_blank_lines_stand_anywhere() -> None:
    text = ["# first", "", "FROM scratch AS a", "  # indented", "RUN one && \\", "# inside", "", "    two", "USER 1"]
    assert keywords(*text) == [("FROM", 3), ("RUN", 5), ("USER", 9)]
    (_, run, _) = parse(*text).stages[0].instructions
    assert run.value == "one &&     two"
    assert "inside" not in run.text


def test_a_comment_never_changes_what_a_stage_is() -> None:
    plain = parse("FROM scratch", "RUN a \\", "  b")
    assert parse("# x", "FROM scratch", "# y", "RUN a \\", "# z", "  b").stages[0].text == plain.stages[0].text


def test_the_escape_directive_moves_the_continuation() -> None:
    text = ["# syntax=x", "# Escape = `", "FROM scratch", "RUN dir c:\\", "RUN a `", "b"]
    assert keywords(*text) == [("FROM", 3), ("RUN", 4), ("RUN", 5)]
    assert keywords("# a comment", *text[1:]) == [("FROM", 3), ("RUN", 4), ("B", 6)]
    assert parse(*text).preamble != parse(*text[2:4]).preamble


def test_a_doubled_backslash_ends_a_line() -> None:
    assert keywords("FROM scratch", "RUN a \\\\", "RUN b \\  ", "c") == [("FROM", 1), ("RUN", 2), ("RUN", 3)]


def test_here_documents_are_data() -> None:
    text = ["FROM scratch", "COPY <<'A' <<-\"B\" /x/", "FROM nothing", " A", "A", "RUN nothing", "\tB", "run last"]
    assert keywords(*text) == [("FROM", 1), ("COPY", 2), ("RUN", 8)]
    stage = parse(*text).stages[0]
    assert "FROM nothing" in stage.text
    assert parse(*text).context_paths("0") == set()


@pytest.mark.parametrize(
    "command", ["echo $((1<<4))", "echo $(( 1 << 4 ))", 'cat <<<"text"', "cat <<<text", "echo '<<EOF'", 'echo "<<EOF"']
)
def test_what_only_looks_like_a_here_document_is_none(command: str) -> None:
    assert keywords("FROM scratch", f"RUN {command}", "USER 1") == [("FROM", 1), ("RUN", 2), ("USER", 3)]


def test_windows_line_ends_and_a_byte_order_mark_are_read() -> None:
    found = Dockerfile.parse("\ufeffFROM scratch AS a\r\nRUN x \\\r\n y\r\nCOPY <<E /\r\nb\r\nE\r\nCOPY a b /\r\n")
    assert found.context_paths("a") == {"a", "b"}
    assert [item.line for item in found.stages[0].instructions] == [1, 2, 4, 7]


def test_stages_are_found_by_name_in_any_case() -> None:
    found = parse("from --platform=$BUILDPLATFORM Base:1 as Build", "FROM scratch", "COPY --from=BUILD /a /", "FROM build AS deb")
    assert [(s.name, s.base, s.platform) for s in found.stages] == [
        ("build", "Base:1", "$BUILDPLATFORM"), ("1", "scratch", None), ("deb", "build", None),
    ]  # fmt: skip
    assert [stage.name for stage in found.closure("1")] == ["build", "1"]
    assert found.external("deb") == {"Base:1"}


def test_a_stage_may_be_copied_from_by_its_number() -> None:
    found = parse(
        "FROM one AS a",
        "FROM two AS b",
        "FROM scratch AS c",
        "COPY --link --from=1 /x /",
        "FROM scratch AS d",
        "COPY --from=7 / /",
    )
    assert [stage.name for stage in found.closure("c")] == ["b", "c"]
    assert found.external("d") == {"7"}


def test_a_stage_below_is_an_image_to_those_above() -> None:
    found = parse("FROM late AS a", "COPY --from=b /x /", "FROM scratch AS late", "FROM scratch AS b")
    assert found.external("a") == {"late", "b"}


def test_mounts_read_stages_images_and_the_context() -> None:
    found = parse(
        "FROM scratch AS trust",
        "FROM base AS a",
        "RUN --mount=type=bind,from=trust,target=/t --mount=type=cache,id=x,target=/c,from=seed --network=none make",
        "RUN --mount=target=/src --mount=type=secret,id=s true",
        "FROM base AS b",
        'RUN --mount="type=bind,source=conf/x,target=/x" --mount=type=bind,src=./y/,dst=/y --mount=type=tmpfs,target=/z true',
    )
    assert [stage.name for stage in found.closure("a")] == ["trust", "a"]
    assert found.external("a") == {"base", "seed"}
    assert found.context_paths("a") == {"."}
    assert found.context_paths("b") == {"conf/x", "y"}


@pytest.mark.parametrize(
    ("line", "paths"),
    [
        ("COPY a b/ ./c/d /x/", {"a", "b", "c/d"}),
        ("copy --chown=1:2 --chmod=0644 a /x", {"a"}),
        ('COPY ["a b", "c", "/x/"]', {"a b", "c"}),
        ("COPY [a] /x", {"."}),
        ('COPY "a" /x', {"a"}),
        ("COPY . /x", {"."}),
        ("COPY /a /x", {"a"}),
        ("COPY a/../b /x", {"b"}),
        ("COPY ../../b /x", {"b"}),
        ("COPY src/*.go src/lib/??.c /x", {"src", "src/lib"}),
        ("COPY *.go /x", {"."}),
        ("COPY conf/$NAME/x ${DIR}/y /x", {"conf", "."}),
        ("COPY $A/../b /x", {"."}),
        ("COPY --from=scratch /a /x", set()),
        ("ADD https://files.example/x.tar git@git.example:a/b.git local.tar /x", {"local.tar"}),
        ("ONBUILD COPY a /x", {"a"}),
        ("ONBUILD RUN --mount=source=b,target=/b true", {"b"}),
        ("RUN cp a /x", set()),
    ],
)
def test_the_paths_that_a_stage_reads_are_known_or_enclosed(line: str, paths: set[str]) -> None:
    assert parse("FROM scratch AS a", line).context_paths("a") == paths


def test_an_argument_before_from_fills_it_in() -> None:
    found = parse("ARG BASE=debian TAG", "ARG VERSION=12", "FROM ${BASE}:$VERSION AS a", "FROM x-${TARGETARCH}:${TAG:-1} AS b")
    assert (found.stages[0].base, found.stages[1].base) == ("debian:12", "x-${TARGETARCH}:1")
    assert "VERSION=12" in found.preamble


def test_arguments_are_those_of_all_stages_that_are_needed() -> None:
    found = parse(
        "FROM scratch AS a",
        'ARG A=1 B="x y" TARGETARCH',
        "FROM scratch AS b",
        "ARG C",
        "FROM scratch",
        "COPY --from=a / /",
        "ARG D",
    )
    assert found.arguments("2") == {"A", "B", "D"}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([""], "has no FROM"),
        (["ARG A"], "has no FROM"),
        (["RUN x", "FROM scratch"], r"Dockerfile:1: RUN stands before the first FROM"),
        (["FROM scratch", "&& more"], r"Dockerfile:2: '&& more' is not an instruction"),
        (["FROM"], r"Dockerfile:1: 'FROM' is not a FROM"),
        (["FROM a b c d"], "is not a FROM"),
        (["FROM a AS"], "is not a FROM"),
        (["FROM a AS 9x"], "cannot be a stage's name"),
        (["FROM a AS x", "FROM b AS X"], r"Dockerfile:2: there is a stage named 'x' already"),
    ],
)
def test_what_makes_no_sense_is_told_with_its_line(lines: list[str], message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        parse(*lines)


def test_a_missing_stage_names_those_that_are_there() -> None:
    with pytest.raises(DefinitionError, match="no stage 'deb'") as caught:
        parse("FROM scratch AS image", "FROM scratch AS tar.gz").closure("deb")
    assert "its stages are image, tar.gz" in str(caught.value)


IMAGE = ["FROM scratch AS rootfs", "COPY a /rootfs/", "FROM base AS image"]


@pytest.mark.parametrize(
    "lines", [["COPY --from=rootfs /rootfs/ /", "ENV A=b", "USER 1", "CMD []"], ["USER 1", "copy --from=ROOTFS /rootfs/ /"]]
)
def test_an_image_that_only_adds_the_rootfs_is_recognised(lines: list[str]) -> None:
    assert parse(*IMAGE, *lines).is_copy_of("image", "rootfs")


@pytest.mark.parametrize(
    "lines",
    [
        [],
        ["COPY --from=rootfs /rootfs/ /", "RUN true"],
        ["COPY --from=rootfs /rootfs/ /", "COPY b /"],
        ["COPY --from=rootfs --chown=1 /rootfs/ /"],
        ["COPY --from=rootfs --link /rootfs/ /"],
        ["COPY --from=rootfs /rootfs/ /opt/"],
        ["COPY --from=rootfs /rootfs/etc/ /"],
        ["COPY rootfs/ /"],
    ],
)
def test_an_image_that_does_anything_else_is_not(lines: list[str]) -> None:
    assert not parse(*IMAGE, *lines).is_copy_of("image", "rootfs")


@pytest.mark.parametrize(
    "text", ["FROM scratch\nRUN " + "'" * 50_000, "FROM scratch\nCOPY " + '"\\' * 50_000, "FROM " + "$" * 100_000]
)
def test_hostile_text_is_read_in_linear_time(text: str) -> None:
    assert Dockerfile.parse(text).context_paths("0") is not None
