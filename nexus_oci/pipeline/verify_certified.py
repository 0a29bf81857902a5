"""Judge the signatures of one manifest that certificates vouch for: Notation's, and those by identity.

They count as signatures by keys do: made by somebody who is trusted, now, for this repository and distribution, not revoked, and
of exactly this manifest. What one of them signed and that names another manifest was moved here: a fault.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from nexus_oci.errors import VerificationError
from nexus_oci.trust.authorities import TrustedAuthority, is_revoked
from nexus_oci.trust.dsse import SIGNATURE
from nexus_oci.trust.notation import ChangedEnvelopeError, NotationSignature, read_envelope

if TYPE_CHECKING:
    from nexus_oci.pipeline.verify_signatures import Checked
    from nexus_oci.trust.keyless import CertifiedBundle, TrustedIdentity
    from nexus_oci.trust.verification import Trust

NOTATION, KEYLESS = "notation", "keyless"
"""What reports call these forms of a signature."""


def judge_envelope(checked: Checked, envelope: bytes, trust: Trust, repositories: Sequence[str], now: datetime) -> None:
    """Let one of Notation's envelopes count, or say why it does not."""
    try:
        signature = read_envelope(envelope)
    except ChangedEnvelopeError as error:
        if any(one.vouches_for(error.chain) for one in trust.authorities):
            checked.faults.append(f"{checked.name} has a signature ({NOTATION}) that names a trusted authority, and was changed")
        else:
            checked.refusals.append(f"a signature ({NOTATION}) is by an authority that is not trusted here, and was changed")
        return
    except VerificationError as error:
        why = f": {error.why}" if error.why else ""
        checked.refusals.append(f"a signature ({NOTATION}) is none that can be used: {error.what}{why}")
        return
    if is_revoked(signature.chain, signature.key.fingerprint, trust.revoked):
        checked.refusals.append(f"a certificate of {signature.chain.subject} is revoked")
        return
    vouching = [one for one in trust.authorities if one.vouches_for(signature.chain)]
    if not vouching:
        checked.refusals.append(f"a signature ({NOTATION}) is by an authority that is not trusted here")
    elif not signature.is_of(checked.subject.manifest.descriptor):
        named = f"{checked.name} has a signature ({NOTATION}) by {signature.chain.subject} that is of {signature.target.digest}"
        checked.faults.append(f"{named}: it was moved here")
    else:
        _count(checked, signature, vouching, repositories, now)


def _count(
    checked: Checked,
    signature: NotationSignature,
    vouching: Sequence[TrustedAuthority],
    repositories: Sequence[str],
    now: datetime,
) -> None:
    reasons = [one.reason_against(signature, repositories, checked.subject.distribution, now) for one in vouching]
    accepted = [one for one, reason in zip(vouching, reasons, strict=True) if reason is None]
    if accepted:
        checked.signers.append((NOTATION, accepted[0].met(signature)))
    else:
        checked.refusals += [reason for reason in reasons if reason is not None]


def judge_certified(checked: Checked, bundle: CertifiedBundle, trust: Trust, repositories: Sequence[str], now: datetime) -> bool:
    """Let a bundle with a certificate count, as a signature or as a statement of another type, or say why it does not."""
    reasons = {one: one.verifies(bundle) for one in trust.identities}
    makers = [one for one, reason in reasons.items() if reason is None]
    if not makers:
        known = "; ".join(f"{one.identity}: {reason}" for one, reason in reasons.items()) or "no identity is"
        checked.refusals.append(f"a signature ({KEYLESS}) is by no identity that is trusted here ({known})")
        return False
    if f"sha256:{hashlib.sha256(makers[0].certificate_of(bundle)).hexdigest()}" in trust.revoked:
        checked.refusals.append(f"a certificate of {makers[0].identity} is revoked")
        return False
    try:
        said = bundle.said.statement
    except VerificationError as error:
        checked.faults.append(f"{checked.name}: {error.what}, though {makers[0].name} signed it")
        return False
    is_signature = said.predicate_type == SIGNATURE
    if checked.subject.digest not in said.subjects or (is_signature and len(said.subjects) > 1):
        named = ", ".join(said.subjects) or "nothing"
        checked.faults.append(
            f"{checked.name} has a signature ({KEYLESS}) by {makers[0].name} that is of {named}: it was moved here"
        )
        return False
    return _count_identity(checked, makers, None if is_signature else said.predicate_type, repositories, now)


def _count_identity(
    checked: Checked, makers: Sequence[TrustedIdentity], predicate: str | None, repositories: Sequence[str], now: datetime
) -> bool:
    refusals = {one: one.refusal(repositories, checked.subject.distribution, now) for one in makers}
    accepted = [one for one, refusal in refusals.items() if refusal is None]
    if not accepted:
        checked.refusals += [refusal for refusal in refusals.values() if refusal is not None]
    elif predicate is None:
        checked.signers.append((KEYLESS, accepted[0]))
    else:
        checked.statements.append((predicate, accepted[0]))
    return bool(accepted)
