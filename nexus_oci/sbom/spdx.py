"""A catalogue as SPDX 2.3, through the SPDX project's own library.

The subject is what the document describes. It contains its packages and files, and descends from its base, which contains what it
brought. A package contains the files that it owns; a program links the modules that were built into it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from email.utils import parseaddr
from typing import Any, Final

from spdx_tools.common.spdx_licensing import spdx_licensing
from spdx_tools.spdx.jsonschema.document_converter import DocumentConverter
from spdx_tools.spdx.model import (
    Actor,
    ActorType,
    Checksum,
    ChecksumAlgorithm,
    CreationInfo,
    Document,
    ExternalPackageRef,
    ExternalPackageRefCategory,
    ExtractedLicensingInfo,
    Package,
    PackagePurpose,
    PackageVerificationCode,
    Relationship,
    RelationshipType,
    SpdxNoAssertion,
)
from spdx_tools.spdx.model import File as SpdxFile

from nexus_oci import __version__
from nexus_oci.sbom import model
from nexus_oci.sbom.licences import references
from nexus_oci.sbom.purls import image_purl

PREDICATE: Final = "https://spdx.dev/Document"
"""The predicate type of an in-toto statement whose predicate is such a document."""
SUFFIX: Final = ".spdx.json"
_DOCUMENT: Final = "SPDXRef-DOCUMENT"
_SUBJECT: Final = "SPDXRef-Subject"
_BASE: Final = "SPDXRef-Base"
_TEAM: Final = re.compile(r"(?i)\b(?:team|maintainers|group|developers|project|foundation|inc|gmbh|ltd)\b")


def spdx_document(catalogue: model.Catalogue) -> dict[str, Any]:
    """The document as plain data, ready to be written as JSON; the same for the same catalogue."""
    return dict(DocumentConverter().convert(build(catalogue)))


def build(catalogue: model.Catalogue) -> Document:
    """The document as the library's own values: what its validator reads."""
    subject = catalogue.subject
    name = "-".join(re.sub(r"[^A-Za-z0-9.]+", "-", part) for part in (subject.name, subject.version, subject.platform) if part)
    files = {file.path: file for file in catalogue.files}
    packages = [_subject(catalogue)]
    if subject.base is not None:
        packages.append(_base(catalogue, subject.base))
    packages += [_package(package, files) for package in catalogue.packages]
    licences = references([subject.licence, *(package.licence for package in catalogue.packages)])
    return Document(
        creation_info=CreationInfo(
            spdx_version="SPDX-2.3",
            spdx_id=_DOCUMENT,
            name=name,
            document_namespace=f"https://spdx.org/spdxdocs/{name}-{model.document_id(subject, 'spdx')}",
            creators=[Actor(ActorType.TOOL, f"nexus-oci-{__version__}")],
            created=datetime.fromtimestamp(subject.epoch, UTC).replace(tzinfo=None),
            document_comment=subject.note or None,
        ),
        packages=packages,
        files=[_file(file) for file in catalogue.files],
        relationships=list(_relationships(catalogue)),
        extracted_licensing_info=[_extracted(licence) for licence in licences],
    )


def _subject(catalogue: model.Catalogue) -> Package:
    subject = catalogue.subject
    own = [file for file in catalogue.unowned() if not (subject.base and file.in_base)]
    is_image = subject.kind == "image"
    return Package(
        spdx_id=_SUBJECT,
        name=subject.name,
        version=subject.version or None,
        download_location=SpdxNoAssertion(),
        supplier=_actor(subject.supplier),
        files_analyzed=bool(own),
        verification_code=_code(own) if own else None,
        checksums=[_checksum(subject.digest.algorithm, subject.digest.hex)],
        license_concluded=SpdxNoAssertion(),
        license_declared=_licence(subject.licence),
        copyright_text=SpdxNoAssertion(),
        description=subject.description or None,
        comment=f"platform {subject.platform}" if subject.platform else None,
        external_references=[_purl(image_purl(subject.name, subject.digest, subject.platform))]
        if subject.kind == "image"
        else [],
        primary_package_purpose=PackagePurpose.CONTAINER if is_image else PackagePurpose.ARCHIVE,
    )


def _base(catalogue: model.Catalogue, base: model.Base) -> Package:
    own = [file for file in catalogue.unowned() if file.in_base]
    return Package(
        spdx_id=_BASE,
        name=base.name,
        download_location=SpdxNoAssertion(),
        files_analyzed=bool(own),
        verification_code=_code(own) if own else None,
        checksums=[_checksum(base.digest.algorithm, base.digest.hex)],
        license_concluded=SpdxNoAssertion(),
        license_declared=SpdxNoAssertion(),
        copyright_text=SpdxNoAssertion(),
        primary_package_purpose=PackagePurpose.CONTAINER,
    )


def _package(package: model.Package, files: dict[str, model.File]) -> Package:
    owned = [files[path] for path in package.files]
    return Package(
        spdx_id=_package_id(package),
        name=package.name,
        version=package.version or None,
        download_location=SpdxNoAssertion(),
        supplier=_actor(package.supplier),
        homepage=package.home if re.fullmatch(r"https?://[^\s<>\"]+", package.home) else None,
        files_analyzed=bool(owned),
        verification_code=_code(owned) if owned else None,
        license_concluded=SpdxNoAssertion(),
        license_declared=_licence(package.licence),
        copyright_text=SpdxNoAssertion(),
        source_info="found in " + ", ".join(map(model.shown_path, package.evidence)),
        external_references=[_purl(package.purl)],
        primary_package_purpose=PackagePurpose.LIBRARY,
    )


def _file(file: model.File) -> SpdxFile:
    return SpdxFile(
        name=f"./{file.shown}",
        spdx_id=_file_id(file.path),
        checksums=[_checksum("sha1", file.sha1), _checksum("sha256", file.sha256)],
        license_concluded=SpdxNoAssertion(),
        copyright_text=SpdxNoAssertion(),
    )


def _relationships(catalogue: model.Catalogue) -> Iterator[Relationship]:
    subject = catalogue.subject
    yield Relationship(_DOCUMENT, RelationshipType.DESCRIBES, _SUBJECT)
    if subject.base is not None:
        yield Relationship(_SUBJECT, RelationshipType.DESCENDANT_OF, _BASE)
    for package in catalogue.packages:
        holder = _BASE if subject.base and package.in_base else _SUBJECT
        yield Relationship(holder, RelationshipType.CONTAINS, _package_id(package))
        for path in package.files:
            yield Relationship(_package_id(package), RelationshipType.CONTAINS, _file_id(path))
        if package.kind in ("golang", "cargo"):
            for path in package.evidence:
                yield Relationship(_file_id(path), RelationshipType.STATIC_LINK, _package_id(package))
    for file in catalogue.unowned():
        holder = _BASE if subject.base and file.in_base else _SUBJECT
        yield Relationship(holder, RelationshipType.CONTAINS, _file_id(file.path))


def _package_id(package: model.Package) -> str:
    name = re.sub(r"[^A-Za-z0-9.]+", "-", package.name).strip("-")
    return f"SPDXRef-{package.kind}-{name}-{model.short_id(package.purl)}"


def _file_id(path: str) -> str:
    return f"SPDXRef-File-{model.short_id(path)}"


def _checksum(algorithm: str, value: str) -> Checksum:
    return Checksum(ChecksumAlgorithm[algorithm.upper()], value)


def _code(files: Iterable[model.File]) -> PackageVerificationCode:
    """SPDX 2.3, 7.9: the SHA-1 of the files' SHA-1 digests, sorted."""
    joined = "".join(sorted(file.sha1 for file in files))
    return PackageVerificationCode(hashlib.sha1(joined.encode(), usedforsecurity=False).hexdigest())


def _purl(purl: str) -> ExternalPackageRef:
    return ExternalPackageRef(ExternalPackageRefCategory.PACKAGE_MANAGER, "purl", purl)


def _licence(text: str) -> Any:
    return spdx_licensing.parse(text) if text else SpdxNoAssertion()


def _extracted(licence: str) -> ExtractedLicensingInfo:
    name = licence.removeprefix("LicenseRef-")
    return ExtractedLicensingInfo(
        license_id=licence,
        license_name=name,
        extracted_text=f"What a package calls «{name}»; the text is in the files of the packages that declare it.",
    )


def _actor(text: str) -> Actor | None:
    """A supplier as SPDX says it; a list of people is the first of them."""
    if not text.strip():
        return None
    name, address = parseaddr(text)
    kind = ActorType.ORGANIZATION if _TEAM.search(name) else ActorType.PERSON
    plain = re.sub(r"[()<>\"\s]+", " ", name or text.partition("<")[0] or address).strip()
    valid = re.fullmatch(r"[^@\s()<>]+@[^@\s()<>]+\.[^@\s()<>]+", address or "")
    return Actor(kind, plain or address, address if valid else None)
