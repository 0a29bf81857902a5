"""A step's name leads back to its line."""

from __future__ import annotations

import pytest

from nexus_oci.docker_engine import dockerfile

TEXT = """\
ARG VERSION=1
# syntax is not named
FROM base:1 AS build
ENV A=b
WORKDIR /src
COPY . /src
RUN make \\
    # in between
    all
RUN cat <<EOF > /x && \\
    true
RUN this is data
EOF
from build AS tests
RUN make test

FROM scratch
COPY --from=build /out /
ADD $VERSION.tar /
"""


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("[build 1/5] FROM docker.io/library/base:1", 3),
        ("[linux/arm64 build 1/5] FROM docker.io/library/base:1", 3),
        ("[build 2/5] WORKDIR /src", 5),
        ("[build 3/5] COPY . /src", 6),
        ("[build 4/5] RUN make     all", 7),
        ("[linux/amd64->arm64 build 4/5] RUN make     all", 7),
        ("[build 5/5] RUN cat <<EOF > /x &&     true", 10),
        ("[tests 1/1] RUN make test", 15),
        ("[stage-2 1/2] COPY --from=build /out /", 18),
        ("[stage-2 2/2] ADD 1.tar /", 19),
        ("[build 9/9] RUN make all", 7),
    ],
)
def test_a_buildkit_step_is_found(name: str, line: int) -> None:
    found = dockerfile.find_step(TEXT, name)
    assert found is not None
    assert found.line == line


@pytest.mark.parametrize("name", ["[internal] load remote build context", "exporting to image", "[other 1/2] RUN x", ""])
def test_a_step_that_is_not_in_the_dockerfile_is_not_found(name: str) -> None:
    assert dockerfile.find_step(TEXT, name) is None


@pytest.mark.parametrize(
    ("ordinal", "name", "line"),
    [
        (6, "Step 6/13 : RUN make     all", 7),
        (9, "Step 9/13 : RUN make test", 15),
        (2, "[2/3] STEP 2/2: RUN make test", 15),
    ],
)
def test_a_classic_step_is_found_by_its_number_or_text(ordinal: int, name: str, line: int) -> None:
    found = dockerfile.find_ordinal(TEXT, ordinal, name)
    assert found is not None
    assert found.line == line


def test_a_single_unnamed_stage_has_no_name_in_the_step() -> None:
    found = dockerfile.find_step("FROM a\nRUN b\n", "[2/2] RUN b")
    assert found is not None
    assert (found.line, found.stage) == (2, "stage-0")


def test_the_from_of_an_image_is_found_by_the_engines_full_name() -> None:
    found = dockerfile.find_base(TEXT, "docker.io/library/base:1")
    assert found is not None
    assert found.line == 3


def test_a_line_inside_an_instruction_leads_to_its_beginning() -> None:
    found = dockerfile.find_line(TEXT, 9)
    assert found is not None
    assert found.line == 7


def test_an_empty_dockerfile_has_no_instructions() -> None:
    assert dockerfile.instructions("") == ()
    assert dockerfile.find_line("", 1) is None
