"""Who signs a manifest, and in which form: a key in cosign's two, a chain of certificates in Notation's, an identity in a bundle.

Each writes what it has not signed yet, and leaves alone what it has: signing twice adds nothing. Signatures by others stay. What
was signed once in a run is used again where the same manifest is in another repository: devices sign differently each time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from nexus_oci.errors import VerificationError
from nexus_oci.oci.store import Store
from nexus_oci.oci.values import Descriptor, Digest
from nexus_oci.pipeline.attached import Attached
from nexus_oci.pipeline.subjects import Subject
from nexus_oci.trust.cosign import SimpleSignature, payload_for, store_signatures, verifies
from nexus_oci.trust.dsse import SIGNATURE, sign_statement, statement, store_bundle
from nexus_oci.trust.keys import Signer
from nexus_oci.trust.notation import ChainSigner, read_envelope, sign_descriptor, store_notation

if TYPE_CHECKING:
    from nexus_oci.trust.keyless import KeylessSigner


@dataclass(frozen=True, kw_only=True)
class Fresh:
    """What a subject lacked: the image of all signatures under its `.sig` tag, and what refers to it; no tag leads to it yet."""

    image: Descriptor | None = None
    referrers: tuple[Descriptor, ...] = ()

    @property
    def added(self) -> int:
        """How many signatures."""
        return (self.image is not None) + len(self.referrers)

    def __add__(self, other: Fresh) -> Fresh:
        """Both; only one may have an image."""
        return Fresh(image=self.image or other.image, referrers=(*self.referrers, *other.referrers))


class Signatory(Protocol):
    """Somebody who signs manifests."""

    @property
    def name(self) -> str:
        """Who, as reports say it: a key's fingerprint, or a certificate's, or an identity."""
        ...

    def sign(self, store: Store, subject: Subject, attached: Attached, names: Sequence[str], created: str) -> Fresh:
        """Write into the store what a subject lacks.

        `attached` is what it has, `names` the full names that signatures say it bears, `created` (RFC 3339) the release's time.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class KeySignatory:
    """A key, in the forms of cosign: the image under the `.sig` tag, and the sigstore bundle."""

    signer: Signer
    made: dict[bytes, bytes] = field(default_factory=dict, repr=False)

    @property
    def name(self) -> str:
        """The key's fingerprint."""
        return self.signer.public.fingerprint

    def sign(self, store: Store, subject: Subject, attached: Attached, names: Sequence[str], created: str) -> Fresh:
        """Signatures that could not be read are not kept in the image."""
        key = self.signer.public
        wanted = [payload_for(subject.digest, name) for name in names]
        held = {one.payload for one in attached.simple if one.payload in wanted and verifies(one, key)}
        lacking = [payload for payload in wanted if payload not in held]
        image = None
        if lacking:
            image = store_signatures(store, [*attached.simple, *map(self._signature, lacking)])
        if any(one.verified_by(key) and one.signs(subject.digest) for one in attached.bundles):
            return Fresh(image=image)
        said = statement([subject.digest], SIGNATURE, {})
        body = self.made.get(said) or self.made.setdefault(said, sign_statement(self.signer, said))
        return Fresh(image=image, referrers=(store_bundle(store, body, subject.manifest.descriptor, SIGNATURE, created),))

    def _signature(self, payload: bytes) -> SimpleSignature:
        signature = self.made.get(payload) or self.made.setdefault(payload, self.signer.sign(payload))
        return SimpleSignature(payload=payload, signature=signature)


@dataclass(frozen=True, kw_only=True)
class NotationSignatory:
    """A key and its chain of certificates, in Notation's form. `now` is when it signs; `expires`, where given, when that ends."""

    signer: ChainSigner
    now: datetime
    expires: datetime | None = None
    made: dict[Digest, bytes] = field(default_factory=dict, repr=False)

    @property
    def name(self) -> str:
        """The fingerprint of the leaf's certificate."""
        return self.signer.chain.thumbprints[0]

    def sign(self, store: Store, subject: Subject, attached: Attached, names: Sequence[str], created: str) -> Fresh:  # noqa: ARG002
        """One that has expired, or whose certificates have, is not held against a new one."""
        about = subject.manifest.descriptor
        if any(self._holds(envelope, about) for envelope in attached.envelopes):
            return Fresh()
        if about.digest not in self.made:
            self.made[about.digest] = sign_descriptor(self.signer, about, now=self.now, expires=self.expires)
        envelope = self.made[about.digest]
        return Fresh(referrers=(store_notation(store, envelope, about, self.signer.chain, self.now),))

    def _holds(self, envelope: bytes, about: Descriptor) -> bool:
        try:
            found = read_envelope(envelope)
        except VerificationError:
            return False
        return found.chain.der == self.signer.chain.der and found.is_of(about) and found.untimely(self.now) is None


@dataclass(frozen=True, kw_only=True)
class IdentitySignatory:
    """An identity, in a sigstore bundle with a certificate and an entry in the log."""

    signer: KeylessSigner
    made: dict[Digest, bytes] = field(default_factory=dict, repr=False)

    @property
    def name(self) -> str:
        """The identity."""
        return self.signer.identity.identity

    def sign(self, store: Store, subject: Subject, attached: Attached, names: Sequence[str], created: str) -> Fresh:  # noqa: ARG002
        """A bundle that this identity signed before, with whichever certificate, counts."""
        held = (one for one in attached.certified if one.said.signs(subject.digest))
        if any(self.signer.identity.verifies(one) is None for one in held):
            return Fresh()
        if subject.digest not in self.made:
            self.made[subject.digest] = self.signer.sign(statement([subject.digest], SIGNATURE, {}))
        body = self.made[subject.digest]
        return Fresh(referrers=(store_bundle(store, body, subject.manifest.descriptor, SIGNATURE, created),))
