"""Which repositories may be pulled from, whose signatures they need, and the files that say so to one runtime.

A scope covers a repository and everything below it: that is how containers-policy.json(5) matches, and the other forms are
written to agree. Any one key of a scope is enough.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from nexus_oci.errors import UsageError

_NAME = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, kw_only=True)
class Key:
    """A public key: PEM, what people call it, and the limits of what it may sign, as trust files say them. Empty is no limit."""

    name: str
    pem: str
    not_before: datetime | None = None
    not_after: datetime | None = None
    repositories: tuple[str, ...] = ()
    distributions: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Scope:
    """HOST/REPOSITORY, with all that is below it, and the keys of which one has to have signed what is in it."""

    repository: str
    keys: tuple[Key, ...]

    def covers(self, repository: str) -> bool:
        """Whether a repository is this one, or below it."""
        return within(repository, self.repository)


@dataclass(frozen=True, kw_only=True)
class Mirror:
    """What begins with `source` (HOST or HOST/PATH) is also, or only, to be had with `copy` in its place."""

    source: str
    copy: str

    def apply(self, repository: str) -> str | None:
        """The repository's name in the mirror; None where it is not mirrored."""
        return self.copy + repository[len(self.source) :] if within(repository, self.source) else None


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Everything that the files of one runtime are made from.

    `name` begins the names of objects. `closed` are prefixes below which nothing but the scopes is let in, where the form can say
    so. `authorities` are PEM certificates that Notation signatures may chain up to, of subjects in `identities`. `attestations`
    are predicate types that have to be there as well. With `audit` violations are reported and let in. `plain_http` is for
    registries on loopback and in tests.
    """

    name: str
    scopes: tuple[Scope, ...]
    closed: tuple[str, ...] = ()
    mirrors: tuple[Mirror, ...] = ()
    authorities: tuple[str, ...] = ()
    identities: tuple[str, ...] = ("*",)
    attestations: tuple[str, ...] = ()
    revoked: tuple[str, ...] = ()
    audit: bool = False
    plain_http: bool = False

    @property
    def slug(self) -> str:
        """The name as Kubernetes takes it (RFC 1123 label)."""
        return _NAME.sub("-", self.name.lower()).strip("-")[:50].strip("-") or "release"

    def mirrored(self, scope: Scope) -> tuple[Scope, ...]:
        """The same scope in each mirror that has it."""
        names = (mirror.apply(scope.repository) for mirror in self.mirrors)
        return tuple(replace(scope, repository=name) for name in names if name is not None)

    def everywhere(self) -> tuple[Scope, ...]:
        """The scopes, each followed by what mirrors have of it."""
        return tuple(place for scope in self.scopes for place in (scope, *self.mirrored(scope)))

    def groups(self) -> tuple[Group, ...]:
        """The scopes, with those of mirrors, gathered by the keys that they need."""
        found: dict[tuple[Key, ...], list[str]] = {}
        for scope in self.everywhere():
            found.setdefault(scope.keys, []).append(scope.repository)
        names = [self.slug, *(f"{self.slug}-{number}" for number in range(2, len(found) + 1))]
        return tuple(
            Group(name=name, repositories=tuple(dict.fromkeys(repositories)), keys=keys)
            for name, (keys, repositories) in zip(names, found.items(), strict=True)
        )


@dataclass(frozen=True, kw_only=True)
class Group:
    """Repositories that need the same keys, under the name of the object that says so."""

    name: str
    repositories: tuple[str, ...]
    keys: tuple[Key, ...]


@dataclass(frozen=True, kw_only=True)
class Written:
    """A file to be written: its path below the output folder, its text, and whether it is a program. `notes` are for the user."""

    path: str
    text: str
    program: bool = False
    notes: tuple[str, ...] = field(default=())


def within(repository: str, prefix: str) -> bool:
    """Whether a repository is `prefix` or below it. A host with another port is another host."""
    return repository == prefix or repository.startswith(f"{prefix}/")


def require_keys(rules: Rules, kind: str) -> None:
    """Raise `UsageError` where some scope has no key: `kind` cannot check anything else."""
    for scope in rules.scopes:
        if not scope.keys:
            raise UsageError(
                f"{kind} would let in everything of {scope.repository}",
                why="it checks signatures by keys, and none is given for that repository",
                hint="name a key with --key, or give one in the trust file that may sign it",
            )


def refuse_attestations(rules: Rules, kind: str, why: str) -> None:
    """Raise `UsageError` where attestations are demanded from something that cannot look at them."""
    if rules.attestations:
        raise UsageError(
            f"{kind} cannot demand attestations",
            why=why,
            hint="leave --attestation away for it, or let Kyverno demand them",
        )


def refuse_audit(rules: Rules, kind: str) -> None:
    """Raise `UsageError` where violations are to be reported by something that only accepts or refuses."""
    if rules.audit:
        raise UsageError(f"{kind} cannot merely report", why="it accepts or refuses", hint="leave --audit away for it")


def yaml_text(documents: Sequence[Any], head: Sequence[str]) -> str:
    """Documents as YAML with long texts in block style, below lines of comment."""
    import yaml

    class Dumper(yaml.SafeDumper):
        """Writes keys and expressions so that people can read them."""

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        style = "|" if "\n" in value else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Dumper.add_representer(str, text)
    texts = [yaml.dump(one, Dumper=Dumper, sort_keys=False, width=120, allow_unicode=True) for one in documents]
    # No marker before the first: below a comment, some readers would take that for an empty document.
    body = "---\n".join(texts)
    return "".join(f"# {line}\n" for line in head) + body
