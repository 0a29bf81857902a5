"""From where to where a runtime is redirected, and the files that tell it so."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_NAME = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, kw_only=True)
class Redirect:
    """What begins with `source` (HOST or HOST/NAMESPACE) is to be had from `mirror`, under the same names below it.

    With `exclusive` the original is never asked. `authorities` are PEM certificates that the mirror's own chains up to;
    `plain_http` is for mirrors on loopback and in tests. `name` begins the names of files and objects.
    """

    name: str
    source: str
    mirror: str
    exclusive: bool = False
    plain_http: bool = False
    authorities: tuple[str, ...] = ()

    @property
    def slug(self) -> str:
        """The name as files and Kubernetes take it (RFC 1123 label)."""
        return _NAME.sub("-", self.name.lower()).strip("-")[:50].strip("-") or "mirror"

    @property
    def source_host(self) -> str:
        """HOST[:PORT] of the original."""
        return self.source.partition("/")[0]

    @property
    def source_path(self) -> str:
        """The namespace there; nothing where the whole host is mirrored."""
        return self.source.partition("/")[2]

    @property
    def mirror_host(self) -> str:
        """HOST[:PORT] of the mirror."""
        return self.mirror.partition("/")[0]

    @property
    def mirror_path(self) -> str:
        """The namespace there."""
        return self.mirror.partition("/")[2]

    @property
    def address(self) -> str:
        """The mirror's URL, without a path."""
        return f"{'http' if self.plain_http else 'https'}://{self.mirror_host}"

    @property
    def certificates(self) -> str:
        """The authorities as one PEM file."""
        return "".join(self.authorities)


@dataclass(frozen=True, kw_only=True)
class Written:
    """A file to be written: its path below the output folder, its text, and whether it is a program. `notes` are for the user."""

    path: str
    text: str
    program: bool = False
    notes: tuple[str, ...] = field(default=())


def quoted(text: str) -> str:
    """A string as TOML writes it; hosts, paths and URLs have no character that needs more than quotes."""
    return f'"{text}"'
