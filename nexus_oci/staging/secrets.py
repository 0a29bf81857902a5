"""A search for secrets in what is about to be packaged: keys, tokens, and files that hold passwords.

Large files are read in blocks, once, and a block is looked at closely only where the expression over all beginnings of secrets
matches. What is found is told by file, line and kind; of the secret itself four characters at most. Certificates, public keys and
mere mentions of a key's first line are no findings; what is inside compressed archives is not seen.

Patterns follow what the services publish for their tokens, most of which begin with letters that nothing else has. A password in
a configuration file has no such beginning: only the value of a key named so is one, and neither an empty value nor a variable
(`${PASSWORD}`), a path or a word that only says what belongs there.
"""

from __future__ import annotations

import base64
import binascii
import fnmatch
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO, Final

from nexus_oci.staging.tree import Item

BLOCK: Final = 4 << 20
"""Bytes that are read at a time."""
OVERLAP: Final = 32 << 10
"""Bytes of a block that are looked at again with the next, so that nothing is missed between two; more than any match has."""
_BEFORE = 64
"""Bytes before a match that a pattern may look at."""
_SMALL = 1 << 20
"""Bytes of the largest file that counts as configuration written by hand."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A secret: where it is, and of what kind. `line` counts from 1; `hint` has its first characters, four at most."""

    path: str
    line: int
    kind: str
    hint: str = ""

    def __str__(self) -> str:
        """One line, without the secret."""
        begins = f" ({self.hint}…)" if self.hint else ""
        return (
            f"{self.path}:{self.line}: {self.kind}{begins}; take it out and revoke it, or say why it is none under "
            f"`secrets: {{allow: {{PATTERN: REASON}}}}`"
        )


@dataclass(frozen=True, kw_only=True)
class _Rule:
    """A kind of secret: what it looks like, and whether a match really is one.

    `anchors` are parts of it, one of which it always has. They begin with letters that are rare in text and in programs alike,
    which is what makes the search for all of them fast. A pattern begins with plain letters for the same reason: whether it may
    follow a letter, a digit or an underscore is what `inside` says.
    """

    kind: str
    anchors: tuple[bytes, ...]
    pattern: re.Pattern[bytes]
    sure: Callable[[re.Match[bytes]], bool]
    inside: bool


def scan(items: Iterable[Item], allow: Mapping[str, str] | None = None) -> list[Finding]:
    """The secrets in all files of a tree, in the order of the items. `allow` has patterns of paths whose findings are none."""
    return [
        finding
        for item in items
        if item.kind == "file" and not allowed(item.path, allow or {})
        for finding in scan_file(item.path, item.place)
    ]


def allowed(path: str, allow: Mapping[str, str]) -> bool:
    """Whether a pattern stands for a path: as in a shell, but `*` matches `/` too; a leading `/` changes nothing."""
    name = path.lstrip("/")
    return any(fnmatch.fnmatchcase(name, pattern.lstrip("/")) for pattern in allow)


def scan_file(path: str, place: str) -> list[Finding]:
    """The secrets in the file at `place`, told as being in `path`."""
    with io.FileIO(place) as file:
        return _scan(path, file)


def scan_bytes(path: str, data: bytes) -> list[Finding]:
    """The secrets in a file that is not on disk."""
    return _scan(path, io.BytesIO(data))


def _scan(path: str, file: BinaryIO | io.RawIOBase) -> list[Finding]:
    name = path.rpartition("/")[2]
    found: list[tuple[int, str, str]] = []
    small = b""
    for start, window, last in _windows(file):
        if start == 0 and last:
            small = window
        found += _in_window(window, start, last=last)
    if small and len(small) <= _SMALL and b"\0" not in small:
        found += _in_configuration(name, small)
    findings = [Finding(path=path, line=_line(file, offset), kind=kind, hint=hint) for offset, kind, hint in sorted(set(found))]
    whole = _by_name(name, small)
    if whole and not findings:
        findings = [Finding(path=path, line=1, kind=whole)]
    return findings


def _windows(file: BinaryIO | io.RawIOBase) -> Iterator[tuple[int, bytes, bool]]:
    """Overlapping parts of a file: where each begins, its bytes, and whether it is the last."""
    start, window = 0, file.read(OVERLAP) or b""
    block = window if len(window) == OVERLAP else b""
    while block:
        block = file.read(BLOCK) or b""
        if block:
            yield start, window, False
            start += len(window) - OVERLAP
            window = window[-OVERLAP:] + block
    yield start, window, True


def _in_window(window: bytes, start: int, *, last: bool) -> Iterator[tuple[int, str, str]]:
    """What begins in a window, but for its end, which the next one shows better."""
    first, end = (_BEFORE if start else 0), (len(window) if last else len(window) - OVERLAP + _BEFORE)
    anchors = set(_ANCHORS.findall(window, first))
    for rule in _RULES:
        if anchors.isdisjoint(rule.anchors):
            continue
        for match in rule.pattern.finditer(window, first):
            at = match.start()
            if at < end and (rule.inside or not _WORD.match(window, max(at - 1, 0), at)) and rule.sure(match):
                yield start + at, rule.kind, _first(match)


def _first(match: re.Match[bytes]) -> str:
    """What may be shown of a secret: its first four characters, and those of a group only where it is long."""
    text = match[match.lastindex or 0].decode("ascii", "replace")
    return "" if text.startswith("-") or len(text) < 16 else text[:4]


def _line(file: BinaryIO | io.RawIOBase, offset: int) -> int:
    file.seek(0)
    line = 1
    while offset > 0 and (block := file.read(min(BLOCK, offset))):
        line += block.count(b"\n")
        offset -= len(block)
    return line


def _is_jwt(match: re.Match[bytes]) -> bool:
    """Whether it is a signed JSON web token (RFC 7515, 3.1)."""
    header = match[0].partition(b".")[0]
    try:
        found = json.loads(base64.urlsafe_b64decode(header + b"=" * (-len(header) % 4)))
    except (binascii.Error, ValueError):
        return False
    return isinstance(found, dict) and str(found.get("alg", "none")).lower() != "none"


def _is_basic(match: re.Match[bytes]) -> bool:
    """Whether it is a name and a password, as Docker's config.json and npm have them."""
    try:
        return b":" in base64.b64decode(match[1], validate=True)
    except (binascii.Error, ValueError):
        return False


def _is_varied(match: re.Match[bytes]) -> bool:
    """Whether it looks drawn by chance: documentation has tokens of one letter, or that say EXAMPLE."""
    text = match[match.lastindex or 0]
    return len(set(text)) >= 8 and not re.search(rb"EXAMPLE|example|xxxx|XXXX|0123456789|1234567890", text)


def _always(_: re.Match[bytes]) -> bool:
    return True


def _rule(
    kind: str,
    anchors: str,
    pattern: str,
    sure: Callable[[re.Match[bytes]], bool] = _is_varied,
    *,
    inside: bool = False,
) -> _Rule:
    words = tuple(word.encode() for word in anchors.split("|"))
    return _Rule(kind=kind, anchors=words, pattern=re.compile(pattern.encode()), sure=sure, inside=inside)


_WORD = re.compile(rb"\w")
_BREAK = r"(?:\r?\n|\\r?\\?n)"
"""The end of a line, also as an escape in a string."""
_ARMOUR = rf"(?:[ \t]*{_BREAK}[ \t\"'+]*(?:[A-Za-z-]+: [^\r\n\\]{{0,100}})?){{1,12}}[ \t\"'+]*[A-Za-z0-9+/=]{{32}}"
"""What follows the first line of a real key: headers, and at least a line of base64. A mere mention of that line has none."""
_GITLAB = "pat|ptt|dt|rt|cbt|ft|soat|agent|oas"
_RULES: Final = (
    _rule(
        "a private key",
        "PRIVATE KEY",
        r"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----" + _ARMOUR,
        _always,
        inside=True,
    ),
    _rule("a PuTTY private key", "PuTTY-User-Key-File-", r"PuTTY-User-Key-File-[123]: \S{4,40}", _always, inside=True),
    _rule("an age private key", "AGE-SECRET-KEY-1", r"AGE-SECRET-KEY-1[0-9A-Z]{58}"),
    _rule("an AWS access key", "AKIA|ASIA", r"A[KS]IA[A-Z2-7]{16}(?![A-Za-z0-9/+=])"),
    _rule(
        "an AWS secret key", "ws_secret_access_key", r"aws_secret_access_key[\"']?\s{0,4}[=:]\s{0,4}[\"']?([A-Za-z0-9/+]{40})\b"
    ),
    _rule("a GitHub token", "ghp_|gho_|ghu_|ghs_|ghr_", r"gh[pousr]_[A-Za-z0-9]{36,255}\b"),
    _rule("a GitHub token", "github_pat_", r"github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}\b"),
    _rule(
        "a GitLab token",
        "|".join(f"gl{kind}-" for kind in _GITLAB.split("|")),
        rf"gl(?:{_GITLAB})-[A-Za-z0-9_.=-]{{20,300}}",
    ),
    _rule("a Slack token", "xox", r"xox[abeoprs]-[0-9A-Za-z-]{10,250}"),
    _rule("a Slack token", "xapp-", r"xapp-\d-[A-Z0-9]{8,16}-\d{8,16}-[a-f0-9]{32,80}"),
    _rule(
        "a Slack webhook", "k.com/services/", r"hooks\.slack\.com/services/(T[A-Z0-9]{6,14}/B[A-Z0-9]{6,14}/[A-Za-z0-9]{20,32})"
    ),
    _rule("an npm token", "pm_", r"npm_[A-Za-z0-9]{36}\b"),
    _rule("a PyPI token", "ypi-Ag", r"pypi-Ag[A-Za-z0-9_-]{60,400}"),
    _rule("a Google API key", "AIza", r"AIza[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])"),
    _rule("a Google client secret", "GOCSPX-", r"GOCSPX-[A-Za-z0-9_-]{28}"),
    _rule("an Azure storage key", "AccountKey=", r"AccountKey=([A-Za-z0-9+/]{86}==)"),
    _rule("an Azure key", "SharedAccess", r"SharedAccess(?:Key=|Signature sr=[^\s&]{1,200}&sig=)([A-Za-z0-9+/%]{40,100}=?)"),
    _rule("an Azure shared access signature", "&sig=", r"&sig=([A-Za-z0-9+/%]{40,100}(?:%3[dD]|=))", inside=True),
    _rule("a Stripe key", "k_live_", r"sk_live_[A-Za-z0-9]{16,250}"),
    _rule("a Stripe key", "k_live_", r"rk_live_[A-Za-z0-9]{16,250}"),
    _rule("a Stripe secret", "whsec_", r"whsec_[A-Za-z0-9+/=]{32,100}"),
    _rule("a signed JSON web token", "yJ", r"eyJ[\w-]{8,4000}\.eyJ[\w-]{8,12000}\.[\w-]{32,2000}", _is_jwt),
    _rule("a Docker token", "kr_pat_|kr_oat_", r"dckr_[po]at_[A-Za-z0-9_-]{27,60}"),
    _rule("a Hashicorp Vault token", "vs.", r"hvs\.[A-Za-z0-9_-]{24,300}"),
    _rule("an API key", "k-ant-|k-proj-", r"sk-(?:ant|proj)-[A-Za-z0-9_-]{32,250}"),
    _rule("a client key of a cluster", "y-data", r"client-key-data[\"']?:\s{0,4}[\"']?([A-Za-z0-9+/=]{64})", _always),
    _rule("a registry's password", 'uth"', r"\"auth\"\s{0,4}:\s{0,4}\"([A-Za-z0-9+/]{8,400}={0,2})\"", _is_basic, inside=True),
)
_ANCHORS: Final = re.compile(b"|".join(map(re.escape, sorted({anchor for rule in _RULES for anchor in rule.anchors}))))

_CONFIGURATION = re.compile(
    r"\.(?:toml|ya?ml|json|ini|cfg|conf|config|properties|xml|env|service|socket|sh|tf|tfvars)$|^\.?(?:env|pgpass)|^\.[a-z]+rc$",
    re.IGNORECASE,
)
_ABOUT_SECRETS = re.compile(rb"(?i)pass(?:w|phrase)|secret|api[_-]?key|token")
_PASSWORD = re.compile(
    rb"""(?ix)(?:passw(?:or)?d|passphrase|secret|secret[_-]?key|api[_-]?key|(?:access|auth|api|refresh)[_-]?token)
    ["']?[ \t]*(?:=|:[ \t]|:(?="))[ \t]*(?:"([^"\n]{6,200})"|'([^'\n]{6,200})'|([^\s"'\#;,\[\]{}<>]{6,200}))"""
)
_COMMENT = re.compile(rb"[ \t]*(?:[#;]|//|<!--)")
_IN_URL = re.compile(
    rb"(?i)\b(?:postgres(?:ql)?|mysql|mariadb|mongodb(?:\+srv)?|redis|rediss|amqps?|https?)://[^\s:/@]{1,64}:([^\s/@]{6,100})@"
)
_NPM = re.compile(rb"(?m)^[ \t]*(?://[^\s=]{1,200}:)?(?:_authToken|_auth|_password)[ \t]*=[ \t]*[\"']?([^\s\"'$]{6,400})")
_MERE_WORD = re.compile(
    rb"(?i)^(?:[x*._-]+|<.*>|.*(?:change[-_ ]?me|example|placeholder|your[-_ ]|redacted|hidden|dummy|insert[-_ ]|todo).*"
    rb"|none|null|true|false|undefined|string|password|passwd|secret|optional|required|default)$"
)
_REFERENCE = re.compile(rb"^(?:[$%]|\{\{|<%|@|/|\./|~/|file:|env:|vault:|arn:|https?://|process\.|os\.|self\.|config\.)|\(|\$\{")


def _in_configuration(name: str, data: bytes) -> Iterator[tuple[int, str, str]]:
    """Passwords that only their key tells, in small text files that are configuration by their name."""
    if name in (".npmrc", "npmrc", ".yarnrc"):
        yield from ((match.start(), "a password for an npm registry", "") for match in _NPM.finditer(data))
    elif name in (".pypirc", ".netrc", "_netrc", ".git-credentials"):
        return
    elif _CONFIGURATION.search(name):
        for match in _PASSWORD.finditer(data) if _ABOUT_SECRETS.search(data) else ():
            value = match[match.lastindex or 0]
            if _is_value(value) and not _COMMENT.match(data, data.rfind(b"\n", 0, match.start()) + 1):
                yield match.start(match.lastindex or 0), "a password in a configuration file", ""
        for match in _IN_URL.finditer(data) if b"://" in data else ():
            if _is_value(match[1]):
                yield match.start(), "a password in an address", ""


def _is_value(value: bytes) -> bool:
    """Whether the value of a key named like a password is one: drawn or chosen, not a word about it, a path or a variable."""
    text = value.strip()
    if _MERE_WORD.search(text) or _REFERENCE.search(text) or b" " in text:
        return False
    return len(set(text)) >= 5 and not re.fullmatch(rb"[a-z]+(?:[_.-][a-z]+)*|[A-Z]+(?:_[A-Z]+)*", text)


def _by_name(name: str, data: bytes) -> str:
    """The kind of a file that is secret as a whole, whatever stands in it; otherwise nothing."""
    if re.fullmatch(r"\.env(?:\..+)?", name) and not re.search(
        r"\.(?:example|sample|template|tmpl|dist|defaults?|schema)$", name
    ):
        return "a file of environment variables (.env)"
    if name in (".netrc", "_netrc", ".git-credentials", ".pgpass"):
        return f"a file of passwords ({name})"
    if name == ".pypirc" and re.search(rb"(?im)^\s*password\s*[=:]\s*[^\s$%]", data):
        return "a file of passwords (.pypirc)"
    if name == "cosign.key":
        return "a private key (cosign.key)"
    if re.search(r"\.(?:p12|pfx)$", name, re.IGNORECASE) and data[:1] == b"\x30":
        return "a key store (PKCS #12)"
    return ""
