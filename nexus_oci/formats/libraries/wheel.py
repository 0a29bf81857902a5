"""A wheel (PyPA, «Binary distribution format», 1.0): a package of Python with the engine's program inside, for one platform.

A program that is linked statically runs on every Linux, so its wheels carry both tags, manylinux and musllinux. The client's
modules are pure Python; what makes the wheel a platform's is the program alone.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Final

from nexus_oci.errors import DefinitionError
from nexus_oci.formats.libraries.members import Member, checked
from nexus_oci.formats.libraries.zip_archive import write_zip

TAGS: Final[Mapping[str, tuple[str, ...]]] = {
    "linux/amd64": ("manylinux_2_17_x86_64", "manylinux2014_x86_64", "musllinux_1_1_x86_64"),
    "linux/arm64": ("manylinux_2_17_aarch64", "manylinux2014_aarch64", "musllinux_1_1_aarch64"),
    "windows/amd64": ("win_amd64",),
    "windows/arm64": ("win_arm64",),
    "darwin/amd64": ("macosx_11_0_x86_64",),
    "darwin/arm64": ("macosx_11_0_arm64",),
}
"""Platform → its tags (PEP 600, PEP 656, and those of Windows and macOS)."""
_SITE_PACKAGES: Final = 110
"""Characters of a usual folder of packages on Windows, below a user's own."""
_BLOCK: Final = 1 << 20


@dataclass(frozen=True, kw_only=True)
class About:
    """What a wheel says of itself. `version` is PEP 440's, `licence` an SPDX expression, `texts` the licences' files by name."""

    name: str
    version: str
    summary: str = ""
    description: str = ""
    requires_python: str = ">=3.9"
    author: str = ""
    url: str = ""
    documentation: str = ""
    licence: str = ""
    texts: Mapping[str, bytes] = field(default_factory=dict)


def normalised(name: str) -> str:
    """A project's name as file names have it (PyPA, «Names and normalization»)."""
    return re.sub(r"[-_.]+", "_", name).lower()


def file_name(about: About, platform: str) -> str:
    """The wheel's name; raises `DefinitionError` for a platform that Python has no tag for."""
    return f"{normalised(about.name)}-{about.version}-py3-none-{'.'.join(_tags(platform))}.whl"


def write_wheel(out: IO[bytes], about: About, platform: str, files: Sequence[Member], epoch: int) -> None:
    """Write the wheel of one platform; `files` have the paths that they get below site-packages.

    Raises `ArchiveError` for paths that some system cannot have, and `DefinitionError` for a platform without a tag.
    """
    info = f"{normalised(about.name)}-{about.version}.dist-info"
    tags = "".join(f"Tag: py3-none-{tag}\n" for tag in _tags(platform))
    own = [
        Member(path=f"{info}/METADATA", data=_metadata(about)),
        Member(path=f"{info}/WHEEL", data=f"Wheel-Version: 1.0\nGenerator: nexus-oci\nRoot-Is-Purelib: false\n{tags}".encode()),
        *(Member(path=f"{info}/licenses/{name}", data=text) for name, text in about.texts.items()),
    ]
    listed = checked([*files, *own, Member(path=f"{info}/RECORD", data=b"")], room=_SITE_PACKAGES)
    record = "".join(_recorded(member) for member in listed if member.path != f"{info}/RECORD") + f"{info}/RECORD,,\n"
    # The format asks for the metadata at the archive's end.
    code = [member for member in listed if not member.path.startswith(f"{info}/")]
    facts = [member for member in listed if member.path.startswith(f"{info}/") and member.path != f"{info}/RECORD"]
    write_zip(out, [*code, *facts, Member(path=f"{info}/RECORD", data=record.encode())], epoch)


def _tags(platform: str) -> tuple[str, ...]:
    if platform not in TAGS:
        raise DefinitionError(
            f"there are no wheels for {platform}", why="Python has no tag for it", hint=f"known are {', '.join(TAGS)}"
        )
    return TAGS[platform]


def _metadata(about: About) -> bytes:
    """METADATA (PyPA, «Core metadata», 2.4)."""
    author, _, address = about.author.partition(" <")
    fields = [
        ("Metadata-Version", "2.4"),
        ("Name", about.name),
        ("Version", about.version),
        ("Summary", about.summary),
        ("Author", author if not address else ""),
        ("Author-email", about.author if address else ""),
        ("License-Expression", about.licence),
        *(("License-File", name) for name in sorted(about.texts)),
        ("Project-URL", f"Homepage, {about.url}" if about.url else ""),
        ("Project-URL", f"Documentation, {about.documentation}" if about.documentation else ""),
        ("Requires-Python", about.requires_python),
        ("Description-Content-Type", "text/markdown" if about.description else ""),
    ]
    lines = [f"{name}: {' '.join(value.split())}\n" for name, value in fields if value]
    return ("".join(lines) + (f"\n{about.description}" if about.description else "")).encode()


def _recorded(member: Member) -> str:
    """A line of RECORD: path, digest, size (RFC 4180 where a path needs quotes)."""
    digest = hashlib.sha256()
    if member.data is not None:
        digest.update(member.data)
    elif member.file is not None:
        with member.file.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    encoded = base64.urlsafe_b64encode(digest.digest()).rstrip(b"=").decode()
    path = member.path if not re.search(r'[",]', member.path) else '"{}"'.format(member.path.replace('"', '""'))
    return f"{path},sha256={encoded},{member.size}\n"
