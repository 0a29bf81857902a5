"""An installer package of macOS: one component in a product archive, as productbuild makes it.

A xar that has `Distribution` (what the Installer shows and demands; Apple's «Distribution Definition Reference») and a folder for
the component with `Bom`, `Payload`, `Scripts` and `PackageInfo`. Made of the same files, with the same key, it is the same to the
byte on every machine.
"""

from __future__ import annotations

import stat
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO, Final
from xml.sax.saxutils import escape, quoteattr

from nexus_oci.formats.macos.bom import make_bom
from nexus_oci.formats.macos.payload import write_payload
from nexus_oci.formats.macos.tree import Entry, ordered
from nexus_oci.formats.macos.xar import HashedFile, Members, Stored, TableSigner, write_xar

COMPONENT: Final = "component.pkg"
_SCRIPTS: Final = ("preinstall", "postinstall")
_HEAD: Final = '<?xml version="1.0" encoding="utf-8"?>\n'


@dataclass(frozen=True, kw_only=True)
class Product:
    """What a package says of itself. `architectures` are Apple's names, `minimum` is the oldest macOS, `licence` plain text."""

    identifier: str
    version: str
    title: str
    architectures: Sequence[str]
    minimum: str = "11.0"
    licence: str = ""


def write_package(
    out: IO[bytes],
    product: Product,
    files: Sequence[Entry],
    scripts: Mapping[str, bytes],
    epoch: int,
    signer: TableSigner | None = None,
) -> None:
    """Write a package that installs `files` under `/`, running `preinstall` and `postinstall` of `scripts` around it.

    `epoch` is the time of everything in it, in seconds. Raises `ArchiveError` for files that it cannot hold.
    """
    entries = ordered(files)
    kilobytes = (sum(entry.size for entry in entries) + 1023) // 1024
    with tempfile.TemporaryDirectory(prefix="nexus-oci-pkg-") as folder, ExitStack() as stack:

        def write(name: str, fill: Callable[[HashedFile], object]) -> Stored:
            path = Path(folder) / name
            hashed = HashedFile(path=path, file=stack.enter_context(path.open("wb")))
            fill(hashed)
            hashed.flush()
            return hashed.stored

        checksums: tuple[int, ...] = ()

        def payload(file: HashedFile) -> None:
            nonlocal checksums
            checksums = write_payload(entries, file, epoch)  # type: ignore[arg-type]  # it writes and flushes, and no more is asked

        component: dict[str, Stored | Members] = {"Payload": write("Payload", payload)}
        component["Bom"] = write("Bom", lambda file: file.write(make_bom(entries, checksums, epoch)))
        if scripts:
            packed = ordered([_script(name, data) for name, data in sorted(scripts.items())])
            component["Scripts"] = write("Scripts", lambda file: write_payload(packed, file, epoch))  # type: ignore[arg-type]
        info = package_info(product, len(entries), kilobytes, tuple(scripts))
        component["PackageInfo"] = write("PackageInfo", lambda file: file.write(info))
        members: dict[str, Stored | Members] = {
            "Distribution": write("Distribution", lambda file: file.write(distribution(product, kilobytes))),
            COMPONENT: dict(sorted(component.items())),
        }
        if product.licence:
            text = product.licence.encode()
            members["Resources"] = {"LICENSE.txt": write("LICENSE.txt", lambda file: file.write(text))}
        write_xar(out, members, epoch, signer)


def _script(name: str, data: bytes) -> Entry:
    mode = 0o755 if name in _SCRIPTS else 0o644
    return Entry(path=f"./{name}", mode=stat.S_IFREG | mode, size=len(data), open=lambda: BytesIO(data))


def package_info(product: Product, count: int, kilobytes: int, scripts: Sequence[str]) -> bytes:
    """`PackageInfo`: the component's identifier, version and size, and its scripts."""
    run = "".join(f'<{name} file="./{name}"/>' for name in _SCRIPTS if name in scripts)
    told = f"<scripts>{run}</scripts>" if run else ""
    named = f"identifier={quoteattr(product.identifier)} version={quoteattr(product.version)}"
    return (
        f'{_HEAD}<pkg-info format-version="2" {named} install-location="/" auth="root" overwrite-permissions="true" '
        f'relocatable="false" postinstall-action="none"><payload numberOfFiles="{count}" installKBytes="{kilobytes}"/>'
        f"{told}</pkg-info>\n"
    ).encode()


def distribution(product: Product, kilobytes: int) -> bytes:
    """`Distribution`: what the Installer shows, and on which machines it goes on."""
    name = quoteattr(product.identifier)
    licence = '<license file="LICENSE.txt" mime-type="text/plain"/>' if product.licence else ""
    options = f'customize="never" require-scripts="false" hostArchitectures={quoteattr(",".join(product.architectures))}'
    return (
        f'{_HEAD}<installer-gui-script minSpecVersion="2"><title>{escape(product.title)}</title>{licence}'
        f'<options {options} rootVolumeOnly="true"/><domains enable_localSystem="true"/>'
        f"<volume-check><allowed-os-versions><os-version min={quoteattr(product.minimum)}/></allowed-os-versions></volume-check>"
        f'<choices-outline><line choice="default"/></choices-outline>'
        f'<choice id="default" title={quoteattr(product.title)}><pkg-ref id={name}/></choice>'
        f'<pkg-ref id={name} version={quoteattr(product.version)} installKBytes="{kilobytes}">#{COMPONENT}</pkg-ref>'
        f"</installer-gui-script>\n"
    ).encode()
