"""Package URLs, through their own library (package-url/purl-spec)."""

from __future__ import annotations

from nexus_oci.sbom.model import Kind


def purl(kind: Kind, name: str, version: str, *, namespace: str = "", **qualifiers: str) -> str:
    """The purl of a package; qualifiers that are empty are left out."""
    from packageurl import PackageURL

    given = {key: value for key, value in qualifiers.items() if value}
    found = PackageURL(type=kind, namespace=namespace or None, name=name, version=version or None, qualifiers=given or None)
    return str(found.to_string())


def image_purl(name: str, digest: str, platform: str) -> str:
    """The purl of an image (purl-spec, "oci"); it says which content, and not where it is kept."""
    from packageurl import PackageURL

    arch = {"arch": platform.split("/")[1]} if "/" in platform else None
    return str(PackageURL(type="oci", name=name.rpartition("/")[2].lower(), version=digest, qualifiers=arch).to_string())
