"""A catalogue as CycloneDX 1.6, through the CycloneDX project's own library.

The subject is the metadata's component, its base the ancestor in its pedigree. A package's files are the occurrences in its
evidence; files that belong to no package are components of their own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parseaddr
from typing import Any, Final

from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType, Pedigree
from cyclonedx.model.component_evidence import ComponentEvidence, Occurrence
from cyclonedx.model.contact import OrganizationalEntity
from cyclonedx.model.dependency import Dependency
from cyclonedx.model.license import LicenseAcknowledgement, LicenseExpression
from cyclonedx.model.tool import ToolRepository
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from nexus_oci import __version__
from nexus_oci.sbom import model
from nexus_oci.sbom.purls import image_purl

PREDICATE: Final = "https://cyclonedx.org/bom"
"""The predicate type of an in-toto statement whose predicate is such a document."""
SUFFIX: Final = ".cdx.json"
_OWN: Final = "nexus-oci:"
_ALGORITHMS: Final = {"sha256": HashAlgorithm.SHA_256, "sha512": HashAlgorithm.SHA_512}


def cyclonedx_document(catalogue: model.Catalogue) -> dict[str, Any]:
    """The document as plain data, ready to be written as JSON; the same for the same catalogue."""
    subject = catalogue.subject
    root = _root(subject)
    packages = [_package(package) for package in catalogue.packages]
    files = [_file(file) for file in catalogue.unowned()]
    tool = Component(type=ComponentType.APPLICATION, name="nexus-oci", version=__version__, bom_ref="nexus-oci")
    bom = Bom(
        serial_number=model.document_id(subject, "cyclonedx"),
        metadata=BomMetaData(
            timestamp=datetime.fromtimestamp(subject.epoch, UTC),
            component=root,
            tools=ToolRepository(components=[tool]),
            properties=list(_properties(subject)),
        ),
        components=[*packages, *files],
        dependencies=[
            Dependency(root.bom_ref, dependencies=[Dependency(part.bom_ref) for part in (*packages, *files)]),
            *(Dependency(part.bom_ref) for part in (*packages, *files)),
        ],
    )
    document: dict[str, Any] = json.loads(JsonV1Dot6(bom).output_as_string())
    return document


def _properties(subject: model.Subject) -> Iterator[Property]:
    if subject.platform:
        yield Property(name=f"{_OWN}platform", value=subject.platform)
    if subject.note:
        yield Property(name=f"{_OWN}note", value=subject.note)


def _root(subject: model.Subject) -> Component:
    image = subject.kind == "image"
    base = subject.base
    ancestors = [
        Component(
            type=ComponentType.CONTAINER,
            name=base.name,
            bom_ref=f"base {base.digest}",
            hashes=[HashType(alg=_ALGORITHMS[base.digest.algorithm], content=base.digest.hex)],
        )
        for base in ([base] if base else [])
    ]
    return Component(
        type=ComponentType.CONTAINER if image else ComponentType.FILE,
        name=subject.name,
        version=subject.version or None,
        bom_ref=f"subject {subject.digest}",
        description=subject.description or None,
        supplier=_entity(subject.supplier),
        licenses=_licences(subject.licence),
        purl=PackageURL.from_string(image_purl(subject.name, subject.digest, subject.platform)) if image else None,
        hashes=[HashType(alg=_ALGORITHMS[subject.digest.algorithm], content=subject.digest.hex)],
        pedigree=Pedigree(ancestors=ancestors) if ancestors else None,
    )


def _package(package: model.Package) -> Component:
    places = sorted({*package.files, *package.evidence})
    return Component(
        type=ComponentType.LIBRARY,
        name=package.name,
        version=package.version or None,
        bom_ref=package.purl,
        purl=PackageURL.from_string(package.purl),
        supplier=_entity(package.supplier),
        licenses=_licences(package.licence),
        evidence=ComponentEvidence(
            occurrences=[Occurrence(location=model.shown_path(place), bom_ref=_place(package, place)) for place in places]
        ),
        properties=[Property(name=f"{_OWN}base", value="true")] if package.in_base else [],
    )


def _place(package: model.Package, path: str) -> str:
    return f"{model.short_id(package.purl)}-{model.short_id(path)}"


def _file(file: model.File) -> Component:
    return Component(
        type=ComponentType.FILE,
        name=file.shown,
        bom_ref=f"file {model.short_id(file.path)}",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=file.sha256)],
        properties=[Property(name=f"{_OWN}base", value="true")] if file.in_base else [],
    )


def _licences(text: str) -> list[LicenseExpression]:
    return [LicenseExpression(text, acknowledgement=LicenseAcknowledgement.DECLARED)] if text else []


def _entity(text: str) -> OrganizationalEntity | None:
    name, _ = parseaddr(text)
    return OrganizationalEntity(name=name or text.strip()) if text.strip() else None
