"""Verify: who signed what of a release, by the keys that are believed.

1. The root's digest is known: nothing is looked up by a name from here on, but the tags that lead to signatures, whose content
   proves itself.
2. Every manifest below it, and the artifacts that refer to one, are read and hashed.
3. So are the signatures attached to each, in both forms.
4. A signature counts if a key that is trusted made it, the key is valid now, fits the repository and distribution, and is not
   revoked; and if the signed payload names exactly this manifest. A signature by a trusted key that names another manifest was
   moved here: a fault.
5. Bundles with a statement of another type are judged in the same way, and are no signatures; they may also name the file in an
   artifact beside its manifest. What its carrier says of the type has to be what was signed. Where builders are expected, a SLSA
   provenance by a trusted key has to name one of them.
6. The root has to be signed; so has every part of a release, and every artifact that nothing above pins. Other manifests may be
   covered by the digest in the index above them. Where builders are expected, each of these needs a provenance too.
7. What was signed in both forms somewhere was so everywhere: a form that one manifest lacks was taken away, or damaged.
8. What is revoked is refused.

That the keys are the right ones, and that a digest is the newest release, remains the caller's business.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from nexus_oci.errors import NexusError
from nexus_oci.oci.values import Descriptor, Digest, digest_of
from nexus_oci.pipeline.attached import Attached, Locate, read_attached
from nexus_oci.pipeline.subjects import Subject, is_release, repository_names, signed_names, subjects_of
from nexus_oci.transfer.crew import Crew
from nexus_oci.transfer.ends import Source
from nexus_oci.trust.cosign import SimpleSignature, payload_for, read_payload, verifies
from nexus_oci.trust.dsse import SIGNATURE, Bundle
from nexus_oci.trust.provenance import PREDICATE as PROVENANCE
from nexus_oci.trust.provenance import builder_of
from nexus_oci.trust.verification import Trust, TrustedKey

if TYPE_CHECKING:
    from nexus_oci.trust.authorities import TrustedAuthority
    from nexus_oci.trust.keyless import TrustedIdentity

    Signatory = TrustedKey | TrustedAuthority | TrustedIdentity

TAG, BUNDLE = "tag", "bundle"
"""The two forms of a signature by a key; those that certificates vouch for are in `verify_certified`."""
_WORDS = {
    TAG: "under its .sig tag",
    BUNDLE: "as a bundle that refers to it",
    "notation": "of Notation that refers to it",
    "keyless": "by identity that refers to it",
}


@dataclass(kw_only=True)
class Checked:
    """What was found of one manifest. `signers` are pairs of a form and the key; `refusals` say why signatures did not count.

    `statements` are what else trusted keys say of it, such as an SBOM: pairs of a predicate type and the key. Where builders are
    expected, `builders` are those of them that its provenances name, and `proven` says that there is any provenance.
    """

    subject: Subject
    signers: list[tuple[str, Signatory]] = field(default_factory=list)
    statements: list[tuple[str, Signatory]] = field(default_factory=list)
    builders: list[str] = field(default_factory=list)
    proven: bool = False
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
        signers = [{"form": form, "key": key.name, "fingerprint": key.fingerprint} for form, key in self.signers]
        said = [{"predicateType": kind, "key": key.name, "fingerprint": key.fingerprint} for kind, key in self.statements]
        return {
            "statements": said,
            "digest": self.subject.digest,
            "kind": self.subject.kind,
            "repositories": list(self.subject.repositories),
            "distribution": self.subject.distribution,
            "signatures": signers,
            "builders": self.builders,
            "covered": bool(not self.signers and self.subject.pinned),
        }


@dataclass(frozen=True, kw_only=True)
class SignatureReport:
    """What was checked, by which key, and what was not; the release is signed if there are no faults."""

    checked: tuple[Checked, ...]
    faults: tuple[str, ...]
    unchecked: tuple[str, ...]

    @property
    def vouched(self) -> frozenset[Digest]:
        """The manifests whose content is a trusted signer's word: signed themselves, or pinned by what is."""
        rooted = bool(self.checked and self.checked[0].signers)
        return frozenset(one.subject.digest for one in self.checked if one.signers or (rooted and one.subject.pinned))


def verify_signatures(
    source: Source,
    root: Descriptor,
    trust: Trust,
    locate: Locate,
    *,
    repository: str,
    prefix: str = "",
    tag: str | None = None,
    now: datetime,
    shallow: bool = False,
    jobs: int = 8,
) -> SignatureReport:
    """Judge the signatures of everything from `root` down; with `shallow` nothing else that is said of it, but who built it.

    `repository`, `prefix` and `tag` are as in `subjects_of` and `repository_names`. With `shallow` a payload that is what `sign`
    writes, word for word, is known by its digest, and not read. Raises `VerificationError` for a manifest that is damaged, and
    what the source raises: of what cannot be read nothing can be said.
    """
    subjects = subjects_of(source, root, repository, tag)
    also = (PROVENANCE,) if trust.builders else ()
    guesses = _Guesses(prefixes={prefix})

    def check(subject: Subject) -> Checked:
        known = guesses.payloads(subject) if shallow else {}
        attached = read_attached(source, locate, subject.digest, only_signatures=shallow, also=also, payloads=known)
        if subject is subjects[0]:
            guesses.learn(subject, attached.simple)
        return _judge(subject, attached, trust, repository_names(prefix, subject), now)

    checked = (check(subjects[0]), *Crew(jobs).map(check, subjects[1:]))
    faults = [fault for one in checked for fault in one.faults]
    needed = _needed(checked, whole=is_release(subjects[0].manifest))
    faults += _missing(checked, needed)
    if trust.builders:
        faults += [f"{one.name} has no provenance by a key that is trusted here" for one in needed if not one.proven]
    faults += [f"{one.name} is revoked" for one in checked if one.subject.digest in trust.revoked]
    unchecked = [f"{one.name}: {note}" for one in checked for note in (*one.refusals, *one.others)]
    return SignatureReport(checked=checked, faults=tuple(faults), unchecked=tuple(unchecked))


@dataclass(kw_only=True)
class _Guesses:
    """What the payloads of signatures probably are, before they are read: signed where they are now, or all in another place."""

    prefixes: set[str]
    references: set[str] = field(default_factory=set)

    def payloads(self, subject: Subject) -> dict[Digest, bytes]:
        """What `sign` writes as the payloads of a manifest, by their digests."""
        names = {name for prefix in self.prefixes for name in signed_names(prefix, subject)} | self.references
        return {digest_of(payload): payload for payload in (payload_for(subject.digest, name) for name in sorted(names))}

    def learn(self, subject: Subject, signatures: Sequence[SimpleSignature]) -> None:
        """Take from the root's signatures where everything was when it was signed."""
        for signature in signatures[:8]:
            with contextlib.suppress(NexusError):
                reference = read_payload(signature.payload).reference[:500]
                self.references.add(reference)
                self.prefixes |= {
                    reference.removesuffix(name).rstrip("/")
                    for name in (*subject.repositories, *subject.tagged)
                    if reference.endswith(f"/{name}")
                }


def _needed(checked: Sequence[Checked], *, whole: bool) -> list[Checked]:
    """What needs a signature of its own. With `whole` every manifest does, as our `sign` gives it one."""
    return [one for index, one in enumerate(checked) if index == 0 or whole or not one.subject.pinned]


def _missing(checked: Sequence[Checked], needed: Sequence[Checked]) -> list[str]:
    """Signatures that should be there."""
    found = []
    forms = {form for one in checked for form in one.forms}
    lacking_none = {id(one) for one in needed}
    for one in checked:
        if not one.forms:
            if id(one) in lacking_none:
                reasons = "; ".join(dict.fromkeys(one.refusals)) or "it has no signature"
                found.append(f"{one.name} is not signed by a key that is trusted here: {reasons}")
        elif forms - one.forms:
            lacking = " and ".join(_WORDS[form] for form in sorted(forms - one.forms))
            found.append(f"{one.name} has no good signature {lacking}, and others here have: it was taken away or changed")
    return found


def _judge(subject: Subject, attached: Attached, trust: Trust, repositories: Sequence[str], now: datetime) -> Checked:
    checked = Checked(subject=subject, faults=list(attached.faults), others=list(attached.others))
    keys = trust.usable()
    hints = {key.key.hint for key in keys}
    for signature in attached.simple:
        makers = [key for key in keys if verifies(signature, key.key)]
        _count(checked, signature, makers, repositories, now)
    for bundle, label in zip(attached.bundles, attached.labels, strict=True):
        likely = [key for key in keys if key.key.hint == bundle.hint] or keys
        makers = [key for key in likely if bundle.verified_by(key.key)]
        if not makers and bundle.hint in hints:
            checked.faults.append(f"{checked.name} has a bundle that says it is by a trusted key, and is not: it was changed")
        elif _count(checked, bundle, makers, repositories, now):
            _compare(checked, bundle, label, trust)
    if attached.envelopes or attached.certified:
        from nexus_oci.pipeline.verify_certified import judge_certified, judge_envelope

        for envelope in attached.envelopes:
            judge_envelope(checked, envelope, trust, repositories, now)
        for certified in attached.certified:
            if judge_certified(checked, certified, trust, repositories, now):
                _compare(checked, certified.said, None, trust)
    return checked


def _compare(checked: Checked, bundle: Bundle, label: str | None, trust: Trust) -> None:
    """Compare a bundle that counts with what its carrier says of it, and the builder in it with those that are expected."""
    said = bundle.statement
    if label is not None and label != said.predicate_type:
        checked.faults.append(
            f"{checked.name} has a bundle that is said to hold {label[:100]}, and what was signed is {said.predicate_type[:100]}"
        )
    if said.predicate_type == PROVENANCE and trust.builders:
        checked.proven = True
        builder = builder_of(said.predicate)
        if trust.accepts_builder(builder):
            checked.builders.append(builder)
        else:
            who = f"{builder[:200] or 'nobody'}, as its provenance says"
            checked.faults.append(f"{checked.name} was built by {who}, and not by {', '.join(trust.builders)}")


def _count(
    checked: Checked, one: SimpleSignature | Bundle, makers: Sequence[TrustedKey], repositories: Sequence[str], now: datetime
) -> bool:
    """Let one signature count, or say why it does not. `makers` are the entries of the trust whose key made it."""
    form = BUNDLE if isinstance(one, Bundle) else TAG
    if not makers:
        checked.refusals.append(f"a signature ({form}) is by a key that is not trusted here, or was changed")
        return False
    try:
        digests = one.statement.subjects if isinstance(one, Bundle) else (read_payload(one.payload).digest,)
    except NexusError as error:
        checked.faults.append(f"{checked.name}: {error.what}, though {makers[0].name} signed it")
        return False
    says_more = isinstance(one, Bundle) and one.statement.predicate_type != SIGNATURE
    if checked.subject.digest not in digests or (len(digests) > 1 and not says_more):
        named = ", ".join(digests[:10]) or "nothing"
        checked.faults.append(
            f"{checked.name} has a signature ({form}) by {makers[0].name} that is of {named}: it was moved here"
        )
        return False
    refusals = {key: key.refusal(repositories, checked.subject.distribution, now) for key in makers}
    accepted = [key for key, refusal in refusals.items() if refusal is None]
    if isinstance(one, Bundle) and says_more:
        checked.statements += [(one.statement.predicate_type, key) for key in accepted[:1]]
    else:
        checked.signers += [(form, key) for key in accepted[:1]]
    if not accepted:
        checked.refusals += [refusal for refusal in refusals.values() if refusal is not None]
    return bool(accepted)
