"""The kinds of scalar that a definition holds, each with its check, its words for a message and its JSON schema."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Final

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainSerializer,
    PlainValidator,
    StringConstraints,
    WithJsonSchema,
)
from pydantic_core import CoreSchema
from pydantic_core.core_schema import no_info_after_validator_function

from nexus_oci.definition.suggestions import did_you_mean
from nexus_oci.errors import NexusError
from nexus_oci.oci.reference import Reference
from nexus_oci.oci.values import Platform

EXPECTED: Final[dict[str, str]] = {}
"""What a message says in place of a regular expression: the pattern, and the words for it."""

PLATFORMS: Final = (
    "linux/amd64",
    "linux/arm64",
    "linux/arm/v7",
    "linux/386",
    "linux/ppc64le",
    "linux/riscv64",
    "linux/s390x",
)
"""The platforms that Debian and Go both know."""

_DURATION = r"^(?:[0-9]{1,9}(?:\.[0-9]{1,9})?(?:ns|us|µs|ms|s|m|h))+$"
_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_SEMVER = (
    r"^(?:0|[1-9][0-9]*)\.(?:0|[1-9][0-9]*)\.(?:0|[1-9][0-9]*)"
    r"(?:-(?:0|[1-9][0-9]*|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*)(?:\.(?:0|[1-9][0-9]*|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*))*)?"
    r"(?:\+[0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*)?$"
)
_ONE = r"[a-z0-9][a-z0-9+.-]+(?: \((?:<<|<=|=|>=|>>) [A-Za-z0-9.+~:-]+\))?"
"""One alternative of a dependency (Debian Policy 7.1)."""
_INSIDE = r"^(?!/)(?!.*(?:^|/)\.\.(?:/|$))[^\\\x00-\x1f]+$"
_ABSOLUTE = r"^/(?!.*(?:^|/)\.\.(?:/|$))[^\\\x00-\x1f]*$"


def _shaped(pattern: str, expected: str) -> StringConstraints:
    """Text that matches `pattern`; a message says `expected` instead of the pattern."""
    EXPECTED[pattern] = expected
    return StringConstraints(pattern=pattern)


def semantic_version(text: str) -> str:
    """`text`, when it is a semantic version (semver.org 2.0.0); raises `ValueError` with advice otherwise."""
    if re.match(_SEMVER, text) and not text.endswith("\n"):
        return text
    if text[:1] in ("v", "V") and re.match(_SEMVER, text[1:]):
        raise ValueError(f"{text!r} is no semantic version; leave out the {text[0]!r}: {text[1:]}")
    if re.fullmatch(r"[0-9]+\.[0-9]+", text):
        raise ValueError(f"{text!r} is no semantic version; it has three numbers: {text}.0")
    raise ValueError(f"{text!r} is no semantic version; write MAJOR.MINOR.PATCH, as in 1.0.0 or 1.1.0-rc.1")


def nanoseconds(duration: str) -> int:
    """The length of a checked duration such as `1m30s`, in nanoseconds, as an image's health check has it."""
    parts = re.findall(r"([0-9]+)(?:\.([0-9]+))?(ns|us|µs|ms|s|m|h)", duration)
    return sum(
        int(whole) * _UNITS[unit] + (int(part) * _UNITS[unit] // 10 ** len(part) if part else 0) for whole, part, unit in parts
    )


def _duration(value: Any) -> str:
    if not isinstance(value, str) or not re.match(_DURATION, value):
        unit = f"; a number needs a unit: {value}s" if isinstance(value, int) and not isinstance(value, bool) else ""
        raise ValueError(f"expected a duration, as in 10s or 1m30s{unit}")
    if nanoseconds(value) < 10**6:
        raise ValueError("expected a duration of at least 1ms")
    return value


def _inside(text: str) -> str:
    """A relative POSIX path that does not leave its root, tidied."""
    if text.startswith("/") or re.match(r"[A-Za-z]:[\\/]", text):
        raise ValueError(f"{text!r} is an absolute path; write it relative, inside the project")
    parts = [part for part in text.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise ValueError(f"{text!r} leaves its folder through '..'; a definition reads only what is inside the project")
    if not text or not re.match(_INSIDE, text):
        raise ValueError(f"{text!r} is not a path; write it with '/', as in config/runtime.toml")
    return "/".join(parts) or "."


def _absolute(text: str) -> str:
    """An absolute path in an image or on a host, tidied."""
    if not text.startswith("/"):
        raise ValueError(f"{text!r} is a relative path; write where it goes from the root, as in /etc/engine/settings.json")
    parts = [part for part in text.split("/") if part not in ("", ".")]
    if ".." in parts or not re.match(_ABSOLUTE, text):
        raise ValueError(f"{text!r} is not a plain absolute path; it may hold neither '..' nor '\\'")
    return "/" + "/".join(parts)


def _below_root(text: str) -> str:
    path = _absolute(text)
    if path == "/":
        raise ValueError("'/' is the root itself; write the path of a file or folder below it")
    return path


def _apart(value: Any) -> Any:
    """Keys that are one path once they are tidied would quietly replace one another."""
    seen: dict[str, str] = {}
    for key in value if isinstance(value, Mapping) else ():
        if isinstance(key, str):
            tidy = "/".join(part for part in key.split("/") if part not in ("", "."))
            if tidy in seen:
                raise ValueError(f"{seen[tidy]!r} and {key!r} are one path; leave one of them out")
            seen[tidy] = key
    return value


def _go_package(text: str) -> str:
    path = _inside(text)
    if "..." in path:
        raise ValueError(f"{text!r} is a pattern; name the one main package, as in ./cmd/engine")
    return path if path == "." else f"./{path}"


@cache
def _platform_named(text: str) -> Platform:
    try:
        platform = Platform.parse(text)
    except ValueError:
        platform = None
    if platform is None or str(platform) not in PLATFORMS:
        meant = did_you_mean(text, PLATFORMS) or f"; expected one of {', '.join(PLATFORMS)}"
        raise ValueError(f"{text!r} is not a platform that images are built for{meant}")
    return platform


def _platform(value: Any) -> Platform:
    if isinstance(value, Platform):
        return value
    if not isinstance(value, str):
        raise ValueError("expected a platform, as in linux/amd64")  # noqa: TRY004  pydantic reads ValueError only
    return _platform_named(value)


def _platform_key(text: str) -> str:
    return str(_platform_named(text))


def _port(value: Any) -> str:
    number, _, protocol = str(value).partition("/")
    if isinstance(value, bool | float) or not re.fullmatch(r"[1-9][0-9]{0,4}", number) or int(number) > 65535:
        raise ValueError("expected a port from 1 to 65535, as in 8080 or 8080/udp")
    if protocol not in ("", "tcp", "udp", "sctp"):
        raise ValueError(f"{protocol!r} is not a protocol{did_you_mean(protocol, ('tcp', 'udp', 'sctp'))}")
    return f"{number}/{protocol or 'tcp'}"


def _image_reference(text: str) -> str:
    try:
        reference = Reference.parse(text)
    except NexusError as error:
        raise ValueError(f"{error.what}: {error.why or 'write HOST/REPOSITORY:TAG'}") from error
    if not reference.tag and not reference.digest:
        raise ValueError(f"{text!r} has no tag; write HOST/REPOSITORY:TAG, the lock then pins its digest")
    return text


def _namespace(text: str) -> str:
    try:
        reference = Reference.parse(text)
    except NexusError as error:
        raise ValueError(f"{error.what}: {error.why or 'write HOST/NAMESPACE'}") from error
    if reference.tag or reference.digest:
        raise ValueError(f"{text!r} names one image; write HOST/NAMESPACE, under which the release has its repositories")
    return text


def _licence(text: str) -> str:
    """SPDX 2.3, annex D: the grammar of license expressions. That each name is listed is not checked."""
    tokens = re.findall(r"\(|\)|[^\s()]+", text)
    depth, want_name, after_with = 0, True, False
    for token in tokens:
        if token == "(" and want_name and not after_with:  # noqa: S105
            depth += 1
        elif token == ")" and not want_name and depth:  # noqa: S105
            depth -= 1
        elif token in ("AND", "OR", "WITH") and not want_name:
            want_name, after_with = True, token == "WITH"  # noqa: S105
        elif want_name and re.fullmatch(r"(?:DocumentRef-[A-Za-z0-9.-]+:)?[A-Za-z0-9][A-Za-z0-9.-]*\+?", token):
            want_name = after_with = False
        else:
            hint = f"; did you mean {'-'.join(tokens)!r}?" if tokens and not {"(", ")", "AND", "OR"} & set(tokens) else ""
            raise ValueError(f"{text!r} is no SPDX license expression, as in Apache-2.0 or MIT OR BSD-3-Clause{hint}")
    if want_name or depth:
        raise ValueError(f"{text!r} is no complete SPDX license expression, as in Apache-2.0")
    return text


def _unique(values: tuple[Any, ...]) -> tuple[Any, ...]:
    seen: set[Any] = set()
    for value in values:
        if value in seen:
            raise ValueError(f"{str(value)!r} is in the list twice")
        seen.add(value)
    return values


class _Unique:
    """Metadata of a list that may hold no value twice, for the validator and for the JSON schema."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return no_info_after_validator_function(_unique, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(schema), "uniqueItems": True}


def _plain_words(value: Any) -> Any:
    """A command as text is the commonest slip: say how its list would read."""
    if isinstance(value, str):
        words = ", ".join(value.split())
        raise ValueError(f"expected a list of words, since no shell reads it: [{words}]")  # noqa: TRY004
    return value


def _environment_value(value: Any) -> Any:
    """A whole number has one spelling, so it may stand without quotes; a fraction may not (1.10 would read 1.1)."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Name = Annotated[str, _shaped(r"^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?$", "lower-case letters, digits and inner hyphens")]
"""The name of an engine, a component, a base."""
PackageName = Annotated[str, _shaped(r"^[a-z0-9][a-z0-9+.-]+$", "a package name: lower-case letters, digits and + . -")]
UserName = Annotated[str, _shaped(r"^[a-z_][a-z0-9_-]{0,30}$", "a user name: at most 31 lower-case letters, digits, _ and -")]
FileName = Annotated[str, _shaped(r"^[A-Za-z0-9_][A-Za-z0-9_.+-]*$", "a file name without a path")]
Line = Annotated[str, _shaped(r"^[^\x00-\x1f]+$", "one line of text")]
Repository = Annotated[
    str,
    _shaped(
        r"^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$",
        "a repository name: lower-case letters, digits and single separators . _ -, parted by /",
    ),
]
Url = Annotated[str, _shaped(r"^https?://[^\s/@]+(?:/\S*)?$", "a web address, as in https://example.com/engine")]
GitUrl = Annotated[
    str,
    _shaped(
        r"^(?:https?://[^\s/@:]+(?::[0-9]+)?/\S+|ssh://\S+|file:///\S+|[A-Za-z0-9_.]+@[A-Za-z0-9.-]+:\S+)$",
        "a git address (https, ssh, file or user@host:path) that holds no password",
    ),
]
EntitlementId = Annotated[
    str, _shaped(r"^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?$", "an entitlement's id: letters, digits and inner . _ -")
]
LimitName = Annotated[
    str, _shaped(r"^[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?$", "a limit's name: lower-case letters, digits and inner . _ -")
]
Commit = Annotated[str, _shaped(r"^[0-9a-f]{40}$", "the 40 hexadecimal digits of a commit, not a branch or a tag")]
Maintainer = Annotated[str, _shaped(r"^[^<>\x00-\x1f]+ <[^<>@\s]+@[^<>@\s]+>$", "a name and an address: Name <mail@example.com>")]
Variable = Annotated[str, _shaped(r"^[A-Za-z_][A-Za-z0-9_]*$", "the name of an environment variable")]
GoTag = Annotated[str, _shaped(r"^[A-Za-z0-9_.]+$", "a Go build tag")]
GoVariable = Annotated[str, _shaped(r"^[A-Za-z0-9_./~-]+\.[A-Za-z0-9_]+$", "a Go variable with its package, as in main.version")]
Suite = Annotated[str, _shaped(r"^[a-z][a-z0-9-]*$", "the name of a Debian suite, as in trixie")]
Dependency = Annotated[
    str,
    _shaped(
        rf"^{_ONE}(?: \| {_ONE})*$",
        "a package, as in passwd, libc6 (>= 2.36) or systemd | passwd",
    ),
]
Revision = Annotated[str, _shaped(r"^[1-9][0-9]{0,8}$", 'a whole number in quotes, as in "1"')]
Listen = Annotated[
    str,
    BeforeValidator(_environment_value),
    _shaped(
        r"^(?:/[^\\\x00-\x1f\s]*[^\\\x00-\x1f\s/]|[1-9][0-9]{0,4}|(?:[0-9.]+|\[[0-9a-fA-F:.]+\]):[1-9][0-9]{0,4})$",
        "a path, a port, or an address with a port, as in /run/engine/engine.sock, 8080 or 127.0.0.1:8080",
    ),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "integer", "minimum": 1, "maximum": 65535}]}),
]
"""What systemd's ListenStream takes."""
Mode = Annotated[str, _shaped(r"^[0-7]{4}$", 'a file mode in quotes, as in "0644"')]
FileMode = Annotated[str, _shaped(r"^[0-7]{4}$", 'a file mode in quotes, as in "0644", or "4755" with the setuid bit')]
Signal = Annotated[str, _shaped(r"^SIG(?:RTMIN\+[0-9]+|RTMAX-[0-9]+|[A-Z][A-Z0-9]+)$", "a signal's name, as in SIGTERM")]
ValuePath = Annotated[
    str, _shaped(r"^[A-Za-z_][\w-]*(?:\.[A-Za-z_][\w-]*)*$", "a path in the chart's values, as in image.digest")
]
Prefix = Annotated[str, _shaped(r"^[A-Za-z0-9_./-]*$", "what tags begin with, as in v")]
SemanticVersion = Annotated[str, AfterValidator(semantic_version), WithJsonSchema({"type": "string", "pattern": _SEMVER})]
Duration = Annotated[str, PlainValidator(_duration), WithJsonSchema({"type": "string", "pattern": _DURATION})]
"""Text such as `1m30s`, as Go and Docker write it; `nanoseconds` gives its length."""
InsidePath = Annotated[str, AfterValidator(_inside), WithJsonSchema({"type": "string", "pattern": _INSIDE})]
"""A relative path that cannot leave its root."""
AbsolutePath = Annotated[str, AfterValidator(_absolute), WithJsonSchema({"type": "string", "pattern": _ABSOLUTE})]
PlacePath = Annotated[str, AfterValidator(_below_root), WithJsonSchema({"type": "string", "pattern": _ABSOLUTE[:-2] + "+$"})]
"""An absolute path that is not the root."""
GoPackage = Annotated[str, AfterValidator(_go_package), WithJsonSchema({"type": "string", "pattern": _INSIDE})]
PlatformValue = Annotated[
    Platform,
    PlainValidator(_platform),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "enum": list(PLATFORMS)}),
]
PlatformKey = Annotated[str, AfterValidator(_platform_key), WithJsonSchema({"type": "string", "enum": list(PLATFORMS)})]
Port = Annotated[
    str,
    PlainValidator(_port),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1, "maximum": 65535},
                {"type": "string", "pattern": r"^[1-9][0-9]{0,4}(?:/(?:tcp|udp|sctp))?$"},
            ]
        }
    ),
]
"""`8080/tcp`: the number, and the protocol that is `tcp` where none is written."""
ImageReference = Annotated[str, AfterValidator(_image_reference)]
RegistryNamespace = Annotated[str, AfterValidator(_namespace)]
"""HOST/NAMESPACE: where a release's repositories are."""
Licence = Annotated[str, AfterValidator(_licence)]
EnvironmentValue = Annotated[
    str, BeforeValidator(_environment_value), WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "integer"}]})
]
Unique = _Unique()
"""For lists: no value twice."""
Apart = BeforeValidator(_apart)
"""For mappings whose keys are paths: no two of them are one once they are tidied."""
Words = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1), BeforeValidator(_plain_words)]
"""A command in exec form: the program and its arguments, with no shell."""
