"""Verify: who signed what of a release, by the keys that are believed.

1. The root's digest is known: nothing is looked up by a name from here on, but the tags that lead to signatures, whose content
   proves itself.
2. Every manifest below it, and the artifacts that refer to one, are read and hashed.
3. So are the signatures attached to each, in both forms.
4. A signature counts if a key that is trusted made it, the key is valid now, fits the repository and distribution, and is not
   revoked; and if the signed payload names exactly this manifest. A signature by a trusted key that names another manifest was
   moved here: a fault. Bundles with a statement of another type are judged in the same way, and are no signatures; they may also
   name the file in an artifact beside its manifest.
5. The root has to be signed; so has every part of a release, and every artifact that nothing above pins. Other manifests may be
   covered by the digest in the index above them.
6. What was signed in both forms somewhere was so everywhere: a form that one manifest lacks was taken away, or damaged.
7. What is revoked is refused.

That the keys are the right ones, and that a digest is the newest release, remains the caller's business.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from nexus_oci.errors import NexusError
from nexus_oci.oci.values import Descriptor
from nexus_oci.pipeline.attached import Attached, Locate, read_attached
from nexus_oci.pipeline.subjects import Subject, is_release, repository_names, subjects_of
from nexus_oci.transfer.ends import Source
from nexus_oci.trust.cosign import SimpleSignature, read_payload, verifies
from nexus_oci.trust.dsse import SIGNATURE, Bundle
from nexus_oci.trust.verification import Trust, TrustedKey

TAG, BUNDLE = "tag", "bundle"
"""The two forms of a signature."""


@dataclass(kw_only=True)
class Checked:
    """What was found of one manifest. `signers` are pairs of a form and the key; `refusals` say why signatures did not count.

    `statements` are what else trusted keys say of it, such as an SBOM: pairs of a predicate type and the key.
    """

    subject: Subject
    signers: list[tuple[str, TrustedKey]] = field(default_factory=list)
    statements: list[tuple[str, TrustedKey]] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    @property
    def forms(self) -> set[str]:
        """The forms in which it is signed."""
        return {form for form, _ in self.signers}

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"{self.subject.kind} {self.subject.repositories[0]}@{self.subject.digest}"

    def to_json(self) -> dict[str, Any]:
        """The manifest's part of the report."""
        signers = [{"form": form, "key": key.name, "fingerprint": key.key.fingerprint} for form, key in self.signers]
        said = [{"predicateType": kind, "key": key.name, "fingerprint": key.key.fingerprint} for kind, key in self.statements]
        return {
            "statements": said,
            "digest": self.subject.digest,
            "kind": self.subject.kind,
            "repositories": list(self.subject.repositories),
            "distribution": self.subject.distribution,
            "signatures": signers,
            "covered": bool(not self.signers and self.subject.pinned),
        }


@dataclass(frozen=True, kw_only=True)
class SignatureReport:
    """What was checked, by which key, and what was not; the release is signed if there are no faults."""

    checked: tuple[Checked, ...]
    faults: tuple[str, ...]
    unchecked: tuple[str, ...]


def verify_signatures(
    source: Source,
    root: Descriptor,
    trust: Trust,
    locate: Locate,
    *,
    repository: str,
    prefix: str = "",
    now: datetime,
    shallow: bool = False,
    jobs: int = 8,
) -> SignatureReport:
    """Judge the signatures of everything from `root` down; with `shallow` nothing else that is said of it.

    `repository` and `prefix` are as in `subjects_of` and `repository_names`. Raises `VerificationError` for a manifest that is
    damaged, and what the source raises: of what cannot be read nothing can be said.
    """
    subjects = subjects_of(source, root, repository)

    def check(subject: Subject) -> Checked:
        attached = read_attached(source, locate, subject.digest, only_signatures=shallow)
        return _judge(subject, attached, trust, repository_names(prefix, subject), now)

    with ThreadPoolExecutor(max_workers=jobs) as pool:
        checked = tuple(pool.map(check, subjects))
    faults = [fault for one in checked for fault in one.faults]
    faults += _missing(checked, whole=is_release(subjects[0].manifest))
    faults += [f"{one.name} is revoked" for one in checked if one.subject.digest in trust.revoked]
    unchecked = [f"{one.name}: {note}" for one in checked for note in (*one.refusals, *one.others)]
    return SignatureReport(checked=checked, faults=tuple(faults), unchecked=tuple(unchecked))


def _missing(checked: Sequence[Checked], *, whole: bool) -> list[str]:
    """Signatures that should be there. With `whole` every manifest needs its own, as our `sign` gives it one."""
    found = []
    forms = {form for one in checked for form in one.forms}
    for index, one in enumerate(checked):
        if not one.forms:
            if index == 0 or whole or not one.subject.pinned:
                reasons = "; ".join(dict.fromkeys(one.refusals)) or "it has no signature"
                found.append(f"{one.name} is not signed by a key that is trusted here: {reasons}")
        elif forms - one.forms:
            words = {TAG: "under its .sig tag", BUNDLE: "as a bundle that refers to it"}
            lacking = " and ".join(words[form] for form in sorted(forms - one.forms))
            found.append(f"{one.name} has no good signature {lacking}, and others here have: it was taken away or changed")
    return found


def _judge(subject: Subject, attached: Attached, trust: Trust, repositories: Sequence[str], now: datetime) -> Checked:
    checked = Checked(subject=subject, faults=list(attached.faults), others=list(attached.others))
    keys = trust.usable()
    for signature in attached.simple:
        makers = [key for key in keys if verifies(signature, key.key)]
        _count(checked, signature, makers, repositories, now)
    for bundle in attached.bundles:
        makers = [key for key in keys if bundle.verified_by(key.key)]
        if not makers and bundle.hint in {key.key.hint for key in keys}:
            checked.faults.append(f"{checked.name} has a bundle that says it is by a trusted key, and is not: it was changed")
        else:
            _count(checked, bundle, makers, repositories, now)
    return checked


def _count(
    checked: Checked, one: SimpleSignature | Bundle, makers: Sequence[TrustedKey], repositories: Sequence[str], now: datetime
) -> None:
    """Let one signature count, or say why it does not. `makers` are the entries of the trust whose key made it."""
    form = BUNDLE if isinstance(one, Bundle) else TAG
    if not makers:
        checked.refusals.append(f"a signature ({form}) is by a key that is not trusted here, or was changed")
        return
    try:
        digests = one.statement.subjects if isinstance(one, Bundle) else (read_payload(one.payload).digest,)
    except NexusError as error:
        checked.faults.append(f"{checked.name}: {error.what}, though {makers[0].name} signed it")
        return
    says_more = isinstance(one, Bundle) and one.statement.predicate_type != SIGNATURE
    if checked.subject.digest not in digests or (len(digests) > 1 and not says_more):
        named = ", ".join(digests) or "nothing"
        checked.faults.append(
            f"{checked.name} has a signature ({form}) by {makers[0].name} that is of {named}: it was moved here"
        )
        return
    refusals = {key: key.refusal(repositories, checked.subject.distribution, now) for key in makers}
    accepted = [key for key, refusal in refusals.items() if refusal is None]
    if isinstance(one, Bundle) and says_more:
        checked.statements += [(one.statement.predicate_type, key) for key in accepted[:1]]
    else:
        checked.signers += [(form, key) for key in accepted[:1]]
    if not accepted:
        checked.refusals += [refusal for refusal in refusals.values() if refusal is not None]
