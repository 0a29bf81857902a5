"""The values of a catalogue: packages, files, what they were found in, and what that stands on."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Literal

from nexus_oci.oci.values import Digest, digest_of

Kind = Literal["deb", "pypi", "npm", "golang", "cargo", "maven"]


@dataclass(frozen=True, kw_only=True)
class File:
    """A regular file; `path` has no `/` in front, digests are hexadecimal, `in_base` says whether the base brought it."""

    path: str
    size: int
    sha1: str
    sha256: str
    in_base: bool = False

    @property
    def shown(self) -> str:
        """The path as text that every encoding can say; bytes that are no UTF-8 are replaced."""
        return shown_path(self.path)


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of a program or of a Java archive: `group` is a Maven group, `checksum` Go's `h1:` sum."""

    kind: Kind
    name: str
    version: str
    group: str = ""
    licence: str = ""
    checksum: str = ""


@dataclass(frozen=True, kw_only=True)
class Package:
    """A package of others. `licence` is what it declares of itself, as an SPDX expression; `files` are those that it owns.

    `purl` names it everywhere (package-url). `evidence` are the files that told of it: a module of a program is in one.
    """

    kind: Kind
    name: str
    version: str
    purl: str
    licence: str = ""
    supplier: str = ""
    home: str = ""
    files: tuple[str, ...] = ()
    evidence: tuple[str, ...] = ()
    in_base: bool = False


@dataclass(frozen=True, kw_only=True)
class Base:
    """The image that a described image stands on: its name, and the digest of its own manifest."""

    name: str
    digest: Digest


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is described: an image of one platform, or an artifact. `epoch`, seconds since 1970, is when its release was made."""

    name: str
    version: str
    digest: Digest
    kind: Literal["image", "artifact"]
    platform: str
    epoch: int
    licence: str = ""
    supplier: str = ""
    description: str = ""
    base: Base | None = None
    note: str = ""
    """How its content was found out, where it was not read itself."""


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """A subject, its packages by purl, and its files by path."""

    subject: Subject
    packages: tuple[Package, ...]
    files: tuple[File, ...]

    def unowned(self) -> tuple[File, ...]:
        """The files that belong to no package: the subject's own, and what the base has made."""
        owned = {path for package in self.packages for path in package.files}
        return tuple(file for file in self.files if file.path not in owned)


_NAMESPACE = uuid.UUID("5c0ff4f2-9d0a-5f39-8a4e-0b9f2f6d6a43")


def document_id(subject: Subject, form: str) -> uuid.UUID:
    """The UUID of a subject's document in one form: the same for the same bytes (RFC 9562, version 5)."""
    return uuid.uuid5(_NAMESPACE, f"{form} {subject.digest}")


def short_id(text: str) -> str:
    """Twelve hexadecimal digits that stand for a longer name where only few characters are allowed."""
    return digest_of(text.encode("utf-8", "surrogateescape")).short


def shown_path(path: str) -> str:
    """A path of a tar as text that every encoding can say; bytes that are no UTF-8 are replaced."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
