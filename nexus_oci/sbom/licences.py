"""Licences as SPDX expressions (SPDX 2.3, annex D), where what a package says of itself can be read as one.

A name that SPDX has none for becomes `LicenseRef-…`; what is no expression at all, such as a whole text, becomes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any, Final

_ALIASES: Final[Mapping[str, str]] = {
    "apache 2": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache license 2": "Apache-2.0",
    "the apache license, version 2.0": "Apache-2.0",
    "the apache software license, version 2.0": "Apache-2.0",
    "the mit license": "MIT",
    "apache software license": "Apache-2.0",
    "apache-2": "Apache-2.0",
    "artistic": "Artistic-1.0-Perl",
    "bsd 2-clause": "BSD-2-Clause",
    "bsd 3-clause": "BSD-3-Clause",
    "bsd-2-clauses": "BSD-2-Clause",
    "bsd-3-clauses": "BSD-3-Clause",
    "expat": "MIT",
    "isc license (iscl)": "ISC",
    "mit license": "MIT",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "psf-2": "PSF-2.0",
    "python software foundation license": "PSF-2.0",
    "sleepycat": "Sleepycat",
    "the unlicense (unlicense)": "Unlicense",
    "unicode": "Unicode-TOU",
    "zlib/libpng": "Zlib",
}
"""Names that packagers use, lower case, and SPDX's. None is here that stands for several licences, such as `BSD`."""
_ADDRESSES: Final[Mapping[str, str]] = {
    "apache.org/licenses/license-2.0": "Apache-2.0",
    "opensource.org/license/mit": "MIT",
    "opensource.org/licenses/apache-2.0": "Apache-2.0",
    "opensource.org/licenses/bsd-2-clause": "BSD-2-Clause",
    "opensource.org/licenses/bsd-3-clause": "BSD-3-Clause",
    "opensource.org/licenses/mit": "MIT",
    "opensource.org/licenses/mit-license": "MIT",
    "eclipse.org/legal/epl-2.0": "EPL-2.0",
    "eclipse.org/legal/epl-v10": "EPL-1.0",
    "eclipse.org/legal/epl-v20": "EPL-2.0",
    "eclipse.org/org/documents/epl-2.0": "EPL-2.0",
    "mozilla.org/en-us/mpl/2.0": "MPL-2.0",
    "mozilla.org/mpl/2.0": "MPL-2.0",
}
"""Addresses at which licences are, without scheme, `www.` and suffix, in lower case."""
_GNU: Final = re.compile(r"(?i)(A?GPL|LGPL|GFDL)(-NIV)?-?v?(\d+(?:\.\d+)?)(\+|-only|-or-later)?")
_REFERENCE: Final = "LicenseRef-"
_MOST_WAYS: Final = 64
_WORDS: Final = re.compile(r"(?i)\s*(,?\s+(?:and|or)\s+|\s+with\s+|[()]|,\s*)\s*")
_STRONG: Final = re.compile(r"(?i),\s+(and|or)\s+")


@cache
def _known() -> Any:
    """SPDX's own list of names. Loading it takes 30 ms, so that it waits for the first licence."""
    from license_expression import get_spdx_licensing

    return get_spdx_licensing()


def declared(text: str) -> str:
    """An SPDX expression for a licence that is given by its name or by its address; nothing where neither is known to SPDX."""
    plain = re.sub(r"^https?://(?:www\.)?|\.(?:txt|html?|php)$|/$", "", text.strip().lower())
    if text.strip().lower().startswith(("http://", "https://")):
        return _ADDRESSES.get(plain, "")
    found = _ALIASES.get(text.strip().lower()) or expression(text)
    return "" if _REFERENCE in found else found


@cache
def expression(text: str) -> str:
    """An SPDX expression for what a package says is its licence; nothing where that is none.

    Two licences with a comma between them, as a list of classifiers has them, both count. A comma before `and` or `or` binds less
    than either (DEP-5, "License specification").
    """
    text = " ".join(text.split())
    if not text or len(text) > 200 or text.upper() in ("UNKNOWN", "NOASSERTION", "NONE"):
        return ""
    parsed = _parsed(text)
    if parsed is not None and not _known().unknown_license_keys(parsed):
        return str(parsed.render())
    sides = _STRONG.split(text)
    if len(sides) > 1:
        return expression(" ".join(f"({side})" if number % 2 == 0 else side for number, side in enumerate(sides)))
    joined = " ".join(_words([part.strip() for part in _WORDS.split(text) if part.strip()]))
    parsed = _parsed(joined)
    return str(parsed.render()) if parsed is not None else _name(text)


def _parsed(text: str) -> Any:
    from license_expression import ExpressionError

    try:
        return _known().parse(text)
    except ExpressionError:
        return None


def _words(parts: list[str]) -> Iterator[str]:
    """Operators and licences' names in SPDX's words. A licence with an exception that SPDX does not know is one name."""
    rest = list(parts)
    while rest:
        part = rest.pop(0)
        operator = part.strip(", ").lower()
        if operator in ("and", "or"):
            yield operator.upper()
        elif part in ("(", ")"):
            yield part
        elif part == ",":
            if rest and rest[0].strip(", ").lower() not in ("and", "or"):
                yield "AND"
        elif len(rest) > 1 and rest[0].lower() == "with":
            whole = f"{_name(part)} WITH {rest[1]}"
            parsed = _parsed(whole)
            known = parsed is not None and not _known().unknown_license_keys(parsed)
            yield str(parsed.render()) if known else _name(f"{part}-with-{rest[1]}")
            rest = rest[2:]
        else:
            yield _name(part)


def _name(text: str) -> str:
    """One licence's name as SPDX has it, or a reference of our own."""
    text = text.strip()
    alias = _ALIASES.get(text.lower())
    if alias:
        return alias
    if match := _GNU.fullmatch(text):
        family, invariants, version, later = match.groups()
        number = version if "." in version else f"{version}.0"
        text = f"{family.upper()}-{number}"
        if invariants:
            text += "-no-invariants"
        text += "-or-later" if later in ("+", "-or-later") else "-only"
    parsed = _parsed(text)
    if parsed is not None and not _known().unknown_license_keys(parsed):
        return str(parsed.render())
    slug = re.sub(r"[^A-Za-z0-9.]+", "-", text.removeprefix(_REFERENCE)).strip("-.")
    return f"{_REFERENCE}{slug}" if slug else ""


def alternatives(text: str) -> tuple[tuple[str, ...], ...]:
    """The ways to comply with an SPDX expression: each the names that hold together, a name with its exception being one.

    Nothing for what is no expression. Where there are too many ways, one that takes every name.
    """
    parsed = _parsed(text) if text else None
    if parsed is None:
        return ()
    ways = _ways(parsed)
    names = tuple(sorted({name for way in ways or () for name in way} or set(map(str, parsed.objects))))
    return (names,) if ways is None else tuple(sorted({tuple(sorted(way)) for way in ways}))


def _ways(parsed: Any) -> list[frozenset[str]] | None:
    """None where there are more than anybody compares."""
    operator = getattr(parsed, "operator", "")
    if operator not in (" AND ", " OR ") and str(operator).strip() not in ("AND", "OR"):
        return [frozenset({str(parsed.render())})]
    sides = [_ways(side) for side in parsed.args]
    found: list[frozenset[str]] = [frozenset()] if operator.strip() == "AND" else []
    for side in sides:
        if side is None:
            return None
        found = [one | other for one in found for other in side] if operator.strip() == "AND" else [*found, *side]
        if len(found) > _MOST_WAYS:
            return None
    return found


def references(expressions: Iterable[str]) -> tuple[str, ...]:
    """The names in expressions that are none of SPDX's, sorted."""
    return tuple(sorted({name for text in expressions for name in re.findall(r"LicenseRef-[A-Za-z0-9.-]+", text)}))


def debian_copyright(text: str) -> str:
    """The expression for a machine-readable debian/copyright (DEP-5): every licence that some of the files are under.

    Nothing for one that is only prose.
    """
    paragraphs = list(_paragraphs(text))
    if not paragraphs or "format" not in paragraphs[0]:
        return ""
    names = {paragraph["license"] for paragraph in paragraphs if "files" in paragraph and paragraph.get("license")}
    found = sorted({found for name in names if (found := expression(name))})
    if len(found) < 2:
        return "".join(found)
    joined = _parsed(" AND ".join(f"({each})" for each in found))
    return str(joined.simplify().render()) if joined is not None else ""


def _paragraphs(text: str) -> Iterator[dict[str, str]]:
    """The fields of each paragraph by their names in lower case; of a field only its first line."""
    for block in re.split(r"\n\s*\n", text):
        fields: dict[str, str] = {}
        for line in block.splitlines():
            name, sign, value = line.partition(":")
            if sign and re.fullmatch(r"[A-Za-z][A-Za-z0-9-]*", name):
                fields.setdefault(name.lower(), value.strip())
        if fields:
            yield fields
