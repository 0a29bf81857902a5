"""nfpm's configuration of one package in one format, and the check of the fields that a definition lays over it.

Source: nfpm's configuration reference, and its own JSON schema (`nfpm jsonschema`). Which files there are is only known inside a
build: `nexus_oci.staging.contents` adds them there.
"""

from __future__ import annotations

import copy
import difflib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from nexus_oci.formats.package import LinuxPackage, architecture
from nexus_oci.formats.versions import package_version

PACKAGERS: Final[Mapping[str, str]] = {
    "deb": "deb",
    "rpm": "rpm",
    "srpm": "rpm",
    "apk": "apk",
    "archlinux": "archlinux",
    "ipk": "ipk",
}
"""nfpm's packagers, and the package format whose words each is written in."""
COMPRESSION: Final[Mapping[str, str]] = {"deb": "xz", "rpm": "zstd:7", "srpm": "zstd:7"}
"""Packager → what its packages are compressed with; the others have no choice.

dpkg reads zstd only since 1.21.18 (2023), rpm since 4.14 (2017). Of the reference engine's 7 MB, xz makes 2.85 in 1.9 s, zstd
3.04 in 0.1 s at level 7, and 2.89 in 0.6 s at level 19.
"""
BUILD_HOST: Final = "localhost"
"""What an rpm says of the machine that it was made on, whatever that is called."""
GROUP: Final = "Applications/System"
"""What old rpms sort packages by; newer ones want nothing there, and take it."""
_SCRIPT_FOLDERS = ("scripts", "deb.scripts", "rpm.scripts", "apk.scripts", "archlinux.scripts")
_GIVEN_ELSEWHERE: Final[Mapping[str, str]] = {
    "name": "package.name",
    "version": "engine.version",
    "version_schema": "engine.version",
    "prerelease": "engine.version",
    "version_metadata": "engine.version",
    "release": "package.release",
    "arch": "platforms",
    "platform": "platforms",
}
"""Fields that decide a file's name or its place in a release, and what sets them."""
_EXPANDED: Final = (
    *("name", "version", "release", "homepage", "maintainer", "vendor", "description"),
    *("depends", "recommends", "suggests", "conflicts", "replaces", "provides"),
    *("deb.fields", "deb.predepends", "ipk.fields", "ipk.predepends", "rpm.packager", "rpm.requires.post"),
)
"""The fields in which nfpm puts variables of its environment."""
_RELATIONS = ("depends", "recommends", "suggests", "conflicts", "replaces", "provides")


@dataclass(frozen=True, kw_only=True)
class FieldFault:
    """What is wrong with a field of `package.nfpm`, and where it is: keys and list indexes."""

    path: tuple[str | int, ...]
    what: str


def configuration(
    package: LinuxPackage,
    packager: str,
    scripts: Mapping[str, str],
    changelog: str = "",
    fields: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """nfpm's configuration of `package` for one of `PACKAGERS`, without `contents`.

    `scripts` maps a field (`scripts.postinstall`, `rpm.scripts.posttrans`) to a path inside the build; `changelog` is the path of
    one in chglog's format. `fields` are a definition's own, laid over the rest: mappings are joined, all else is replaced;
    `overrides.<packager>` among them comes last.

    As nfpm puts variables of its environment into texts, a dollar sign is written as the variable `DOLLAR`, which has to hold
    one. Times are left out: nfpm takes them from SOURCE_DATE_EPOCH.
    """
    words = PACKAGERS[packager]
    data: dict[str, Any] = {
        "name": package.name,
        "arch": architecture(words, package.architecture),
        "platform": "linux",
        "version": package_version(package.version, words),
        "version_schema": "none",
        "release": "" if words in ("deb", "ipk") else package.release,
        "section": package.section,
        "priority": package.priority,
        "maintainer": _one_line(package.maintainer),
        "description": _description(package, words),
        "vendor": _one_line(package.vendor),
        "homepage": package.homepage,
        "license": _one_line(package.licence),
        **{name: list(getattr(package.relations, name)) for name in _RELATIONS},
        "changelog": changelog,
        "umask": 0o022,
        "disable_globbing": True,
        **_of_packager(package, packager),
    }
    for field, path in scripts.items():
        _set(data, field, path)
    given = dict(fields or {})
    own = (given.pop("overrides", None) or {}).get(packager) or {}
    return _literal(_joined(_joined(_without_nothing(data), given), own))


def with_files_at(fields: Mapping[str, Any], place: Callable[[str], str]) -> dict[str, Any]:
    """`fields` without `contents`; every other path of the engine's source is replaced by where `place` puts it in the build."""
    found = copy.deepcopy(dict(fields))
    for block in (found, *(found.get("overrides") or {}).values()):
        block.pop("contents", None)
        if block.get("changelog"):
            block["changelog"] = place(block["changelog"])
        for name in _SCRIPT_FOLDERS:
            scripts = _get(block, name)
            scripts.update({key: place(path) for key, path in scripts.items()})
    return found


def raw_contents(fields: Mapping[str, Any], packager: str) -> list[Mapping[str, Any]]:
    """The `contents` among a definition's own fields that are for a packager."""
    names = ("", packager, PACKAGERS.get(packager, packager))
    blocks = (fields, (fields.get("overrides") or {}).get(packager) or {})
    return [entry for block in blocks for entry in block.get("contents") or () if (entry.get("packager") or "") in names]


def field_faults(fields: Mapping[str, Any], schema: Mapping[str, Any]) -> list[FieldFault]:
    """Everything in `fields` that nfpm's schema does not have or that is set elsewhere, in their order."""
    found = list(_own_faults(fields, ()))
    for name, block in (fields.get("overrides") or {}).items() if isinstance(fields.get("overrides"), Mapping) else ():
        if isinstance(block, Mapping):
            found += _own_faults(block, ("overrides", name))
    top = {key: value for key, value in _resolved(schema, schema).items() if key != "required"}
    return found or list(_faults(fields, top, schema, ()))


def _of_packager(package: LinuxPackage, packager: str) -> dict[str, Any]:
    """What only one packager knows."""
    before = list(package.relations.predepends)
    summary = _one_line(package.description.strip().partition("\n")[0])
    blocks: dict[str, dict[str, Any]] = {
        "deb": {"breaks": list(package.relations.breaks), "predepends": before},
        "rpm": {"buildhost": BUILD_HOST, "summary": summary, "packager": _one_line(package.maintainer), "group": GROUP},
        "archlinux": {"packager": _one_line(package.maintainer)},
        "ipk": {"predepends": before},
    }
    words = PACKAGERS[packager]
    compression = {"compression": COMPRESSION[packager]} if packager in COMPRESSION else {}
    return {words: blocks[words] | compression} if words in blocks else {}


def _description(package: LinuxPackage, words: str) -> str:
    """The text after the first line for rpm, which has that one as its summary; the first line for those who show no more."""
    first, *rest = [_one_line(line) for line in package.description.strip().splitlines()]
    if words in ("apk", "archlinux"):
        return first
    return "\n".join(rest).strip() or first if words == "rpm" else "\n".join([first, *rest])


def _own_faults(block: Mapping[str, Any], above: tuple[str | int, ...]) -> Iterator[FieldFault]:
    """What the schema allows and this program does not."""
    for name, value in block.items():
        if name in _GIVEN_ELSEWHERE and not above:
            yield FieldFault(path=(name,), what=f"`{_GIVEN_ELSEWHERE[name]}` sets this, for every format at once")
        if name == "contents" and isinstance(value, list):
            for index, entry in enumerate(value):
                if isinstance(entry, Mapping) and entry.get("expand"):
                    yield FieldFault(path=(*above, name, index, "expand"), what="there are no variables to expand in a build")
        if name == "msix":
            yield FieldFault(path=(*above, name), what="msix is no package of Linux")
        if isinstance(value, Mapping) and "signature" in value:
            yield FieldFault(
                path=(*above, name, "signature"),
                what="packages are signed after they were made, so that no key enters a build; leave it out",
            )


def _faults(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any], path: tuple[str | int, ...]) -> Iterator[FieldFault]:
    """What a value breaks of the part of JSON schema that nfpm's uses: $ref, type, enum, properties, items, required."""
    schema = _resolved(schema, root)
    kind = schema.get("type")
    if not _is_of(value, kind):
        yield FieldFault(path=path, what=f"expected {_NAMES.get(str(kind), kind)}, found {value!r}")
    elif isinstance(value, Mapping):
        known = schema.get("properties", {})
        others = schema.get("additionalProperties", True)
        for name, item in value.items():
            if name in known:
                yield from _faults(item, known[name], root, (*path, name))
            elif isinstance(others, Mapping):
                yield from _faults(item, others, root, (*path, name))
            elif not others:
                near = difflib.get_close_matches(str(name), known, n=1)
                told = f"; did you mean {near[0]!r}?" if near else f": it has {', '.join(sorted(known))}"
                yield FieldFault(path=(*path, name), what=f"nfpm has no field {name!r} here{told}")
        for name in schema.get("required", ()):
            if name not in value:
                yield FieldFault(path=path, what=f"{name!r} is missing")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _faults(item, schema.get("items", {}), root, (*path, index))
    elif "enum" in schema and not _is_one_of(value, schema["enum"]):
        yield FieldFault(path=path, what=f"{value!r} is none of {', '.join(filter(None, map(str, schema['enum'])))}")


def _is_one_of(value: Any, allowed: list[Any]) -> bool:
    """nfpm's schema has no word for a compression's level, as in zstd:19."""
    return value in allowed or (isinstance(value, str) and value.partition(":")[0] in allowed and value.count(":") == 1)


def _is_of(value: Any, kind: object) -> bool:
    if kind in ("integer", "number"):
        return isinstance(value, int) and not isinstance(value, bool)
    return kind not in _KINDS or isinstance(value, _KINDS[str(kind)])


_KINDS: Final[Mapping[object, type]] = {"string": str, "boolean": bool, "array": list, "object": Mapping}
_NAMES: Final[Mapping[str, str]] = {
    "string": "text",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping",
    "integer": "a number",
}


def _resolved(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    while "$ref" in schema:
        schema = root["$defs"][str(schema["$ref"]).rpartition("/")[2]]
    return schema


def _joined(data: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(data)
    for name, value in over.items():
        old = found.get(name)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            found[name] = _joined(old, value)
        else:
            found[name] = copy.deepcopy(value)
    return found


def _get(data: Mapping[str, Any], field: str) -> dict[str, Any]:
    found: Any = data
    for name in field.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found if isinstance(found, dict) else {}


def _set(data: dict[str, Any], field: str, value: str) -> None:
    *above, last = field.split(".")
    for name in above:
        data = data.setdefault(name, {})
    data[last] = value


def _without_nothing(data: Mapping[str, Any]) -> dict[str, Any]:
    found = {name: _without_nothing(value) if isinstance(value, Mapping) else value for name, value in data.items()}
    return {name: value for name, value in found.items() if value not in ("", [], {}, None)}


def _one_line(text: str) -> str:
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def _literal(data: dict[str, Any]) -> dict[str, Any]:
    """The configuration with texts that nfpm leaves as they are, though it looks for variables in them."""
    for name in _EXPANDED:
        *above, last = name.split(".")
        block = _get(data, ".".join(above)) if above else data
        if last in block:
            block[last] = _escaped(block[last])
    return data


def _escaped(value: Any) -> Any:
    if isinstance(value, list):
        return [_escaped(one) for one in value]
    if isinstance(value, Mapping):
        return {name: _escaped(one) for name, one in value.items()}
    return value.replace("$", "${DOLLAR}") if isinstance(value, str) else value
