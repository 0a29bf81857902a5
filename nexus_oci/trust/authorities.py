"""Certificate authorities that are believed for Notation's signatures, and for which names in their certificates."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from nexus_oci.errors import UsageError
from nexus_oci.oci.values import Digest
from nexus_oci.trust.certificates import Chain, has_subject, parse_subject, read_certificates
from nexus_oci.trust.keys import read_small
from nexus_oci.trust.notation import NotationSignature
from nexus_oci.trust.verification import Limited


@dataclass(frozen=True, kw_only=True)
class TrustedAuthority(Limited):
    """Certificates of which one has to be in a signature's chain, and the subjects of leaves, of which one has to fit.

    Without `subjects` every leaf counts that the authority vouches for. `leaf` is what reports name of a signature that was met.
    """

    roots: frozenset[str]
    subjects: tuple[tuple[tuple[str, str], ...], ...] = ()
    leaf: str = ""

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of the leaf's certificate where one was met, else of the first root's, in hexadecimal digits."""
        return self.leaf or min(self.roots)

    def vouches_for(self, chain: Chain) -> bool:
        """Whether one of its certificates is in the chain."""
        return not self.roots.isdisjoint(chain.thumbprints)

    def reason_against(
        self, signature: NotationSignature, repositories: Iterable[str], distribution: str | None, now: datetime
    ) -> str | None:
        """Why a signature of its own does not count; None where it does."""
        if self.subjects and not any(has_subject(signature.chain.leaf, wanted) for wanted in self.subjects):
            return f"{signature.chain.subject} is none of the subjects that are trusted of {self.name}"
        return signature.untimely(now) or self.refusal(repositories, distribution, now)

    def met(self, signature: NotationSignature) -> TrustedAuthority:
        """The same as reports name it, by the leaf that signed."""
        name = f"{signature.chain.subject}, by {self.name}"
        return replace(self, name=name, leaf=signature.chain.thumbprints[0])


def is_revoked(chain: Chain, key_fingerprint: str, revoked: Collection[Digest]) -> bool:
    """Whether a certificate of a chain, or the leaf's key, is among what is revoked."""
    return any(f"sha256:{digits}" in revoked for digits in (*chain.thumbprints, key_fingerprint))


def trusted_authority(path: Path, subjects: Iterable[str] = ()) -> TrustedAuthority:
    """An authority from a file of its certificates, PEM or DER; raises `UsageError` for what is none."""
    found = read_certificates(read_small(path, "the certificates"), str(path))
    if not found:
        raise UsageError(f"{path} holds no certificate")
    chain = Chain(der=found)
    return TrustedAuthority(
        name=path.name, roots=frozenset(chain.thumbprints), subjects=tuple(parse_subject(subject) for subject in subjects)
    )
