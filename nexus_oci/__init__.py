"""nexus-oci: builds every distribution of an engine from one definition, as multi-arch OCI images."""

__version__ = "0.1.0"
