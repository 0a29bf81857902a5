"""Looks for what a tier wants proved of a release.

checksums       In a store: dist/SHA256SUMS lists every file of the release. Verified: every digest was recomputed and was right.
signature       The release and every part of it has a signature; verified, one by a trusted key.
sbom            Every image and artifact has an SBOM, in SPDX or CycloneDX, as a signed statement.
provenance      The release has a SLSA provenance, as a signed statement.
reproducibility The provenance has what `reproduce` rebuilds from: a commit with nothing changed, a time, and the digest of
                everything that was read.
air-gap         The release is whole without a network: no layer is to be fetched from elsewhere, and every image that its index
                names is pinned in it by digest.
audit           The provenance says who built it, from which commit, and with which parameters.

Without keys a statement or signature that is attached counts, and the detail says that nobody judged it: that is what `check` and
`push` ask. With keys only what one of them signed does: that is what `verify` asks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nexus_oci.errors import NexusError
from nexus_oci.oci.values import Digest
from nexus_oci.pipeline.describe import is_image
from nexus_oci.pipeline.provenance import Kept, read_signed
from nexus_oci.pipeline.subjects import Subject
from nexus_oci.policy.judging import Proved
from nexus_oci.policy.model import Proof
from nexus_oci.transfer.ends import Source
from nexus_oci.trust.dsse import BUNDLE, SIGNATURE
from nexus_oci.trust.dsse import PREDICATE as NOTE
from nexus_oci.trust.provenance import PREDICATE as PROVENANCE

if TYPE_CHECKING:
    from nexus_oci.pipeline.attached import Locate
    from nexus_oci.pipeline.verify import Verification
    from nexus_oci.trust.keys import PublicKey

SBOMS: Final = ("https://spdx.dev/Document", "https://cyclonedx.org/bom")
"""The predicate types of SBOMs, as `nexus_oci.sbom` writes them; named here so that no library of theirs is needed to look."""
_ATTEST: Final = "run `nexus-oci attest --key KEY` on the release"
_SIGN: Final = "run `nexus-oci sign --key KEY` on the release"


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Where proofs are looked for. `locate` finds signatures by tag; `folder` is dist/; `verification` what `verify` found,
    with keys.

    `provenance` is the release's, and whose word it is.
    """

    locate: Locate | None = None
    folder: Path | None = None
    verification: Verification | None = None
    judged: bool = False
    provenance: Kept | None = None


def proofs_of(source: Source, subjects: Sequence[Subject], evidence: Evidence, wanted: Iterable[Proof]) -> tuple[Proved, ...]:
    """Each proof that is wanted, there or not."""
    looking = _Looking(source, subjects, evidence)
    kinds: Mapping[Proof, Callable[[], Proved]] = {
        "checksums": looking.checksums,
        "signature": looking.signature,
        "sbom": looking.sbom,
        "provenance": looking.provenance,
        "reproducibility": looking.reproducibility,
        "air-gap": looking.air_gap,
        "audit": looking.audit,
    }
    return tuple(kinds[proof]() for proof in wanted)


class _Looking:
    def __init__(self, source: Source, subjects: Sequence[Subject], evidence: Evidence) -> None:
        self._source, self._subjects, self._evidence = source, subjects, evidence
        self._root = subjects[0]
        report = evidence.verification.signatures if evidence.verification else None
        self._checked = {one.subject.digest: one for one in report.checked} if report else {}

    def checksums(self) -> Proved:
        verification = self._evidence.verification
        if verification is not None:
            shallow = any(note.startswith("blobs:") for note in verification.unchecked)
            if verification.faults or shallow:
                return _missing("checksums", "no blob was read" if shallow else "digests are wrong", "verify without --shallow")
            return _there("checksums", f"{verification.manifests} manifests and {verification.blobs} blobs were recomputed")
        if self._evidence.folder is None:
            return _missing("checksums", "nothing was recomputed", "verify the release")
        files = {layer.digest.hex for one in self._subjects if one.is_artifact for layer in one.manifest.layers}
        try:
            listed = (self._evidence.folder / "SHA256SUMS").read_text(encoding="utf-8", errors="surrogateescape")
        except OSError as error:
            return _missing("checksums", f"SHA256SUMS cannot be read: {error.strerror}", "run `nexus-oci build` again")
        lacking = files - {line.lstrip("\\")[:64] for line in listed.splitlines()}
        if lacking:
            return _missing("checksums", f"SHA256SUMS lacks {len(lacking)} files of the release", "run `nexus-oci build` again")
        return _there("checksums", f"SHA256SUMS lists {len(listed.splitlines())} files")

    def signature(self) -> Proved:
        unsigned = [one for one in self._parts() if not self._is_signed(one)]
        if unsigned:
            first = f"{unsigned[0].kind} {unsigned[0].repositories[0]}@{unsigned[0].digest.short}"
            lack = f"{len(unsigned)} of {len(self._parts())} parts have no signature, such as {first}"
            return _missing("signature", lack + self._not_by_whom(), _SIGN + self._give_key())
        return _there("signature", f"{len(self._parts())} parts are signed{self._by_whom()}")

    def sbom(self) -> Proved:
        wanted = [one for one in self._subjects if is_image(one) or one.is_artifact]
        lacking = [one for one in wanted if not any(self._says(one, kind) for kind in SBOMS)]
        if lacking:
            first = f"{lacking[0].kind} {lacking[0].repositories[0]}@{lacking[0].digest.short}"
            lack = f"{len(lacking)} of {len(wanted)} images and artifacts have no SBOM, such as {first}"
            return _missing("sbom", lack + self._not_by_whom(), _ATTEST + self._give_key())
        return _there("sbom", f"{len(wanted)} images and artifacts have one{self._by_whom()}")

    def provenance(self) -> Proved:
        if not self._says(self._root, PROVENANCE):
            return _missing("provenance", "the release has none" + self._not_by_whom(), _ATTEST + self._give_key())
        return _there("provenance", "the release has one" + self._by_whom())

    def reproducibility(self) -> Proved:
        kept = self._evidence.provenance
        if kept is None:
            return _missing("reproducibility", "there is no provenance to rebuild from" + self._not_by_whom(), _ATTEST)
        made = kept.provenance
        lacks = [
            words
            for words, there in (
                ("it names no commit", made.source.get("commit")),
                ("its source had changes that are in no commit", made.source.get("dirty") is False),
                ("it names no time", made.parameters.epoch > 0),
                ("it names nothing that was read", made.dependencies),
                ("something that was read has no digest", all(one.digest for one in made.dependencies)),
            )
            if not there
        ]
        if lacks:
            return _missing(
                "reproducibility", f"of the provenance: {'; '.join(lacks)}", "commit everything, build and attest again"
            )
        detail = (
            f"it can be rebuilt from commit {str(made.source['commit'])[:12]} and {len(made.dependencies)} inputs with digests"
        )
        return _there("reproducibility", detail)

    def air_gap(self) -> Proved:
        foreign = [
            f"{one.kind} {one.digest.short}"
            for one in self._subjects
            for layer in one.manifest.data.get("layers") or ()
            if layer.get("urls") or "nondistributable" in str(layer.get("mediaType")) or "foreign" in str(layer.get("mediaType"))
        ]
        if foreign:
            lack = f"{foreign[0]} has a layer that is to be fetched from elsewhere"
            return _missing("air-gap", lack, "stand the image on a base whose layers may be copied")
        loose = [one for one in self._subjects if not one.pinned and one is not self._root]
        if loose:
            lack = f"{loose[0].kind} {loose[0].digest.short} refers to the release, which does not pin it"
            return _missing("air-gap", lack, "release everything in one index")
        return _there("air-gap", f"{len(self._subjects)} manifests are pinned by one digest, and no layer is elsewhere")

    def audit(self) -> Proved:
        kept = self._evidence.provenance
        if kept is None:
            return _missing("audit", "there is no provenance that says who built it" + self._not_by_whom(), _ATTEST)
        commit = kept.provenance.source.get("commit")
        if not (kept.provenance.builder and commit):
            return _missing(
                "audit", "the provenance does not say by whom, or from which commit", "build from a commit, and attest again"
            )
        return _there("audit", f"built by {kept.provenance.builder} from commit {str(commit)[:12]}")

    def _parts(self) -> list[Subject]:
        """What has to be signed by itself: the root, and everything of a release that has a name, or that nothing pins."""
        return [
            one
            for one in self._subjects
            if one is self._root or one.manifest.is_index or one.is_artifact or one.kind == "chart" or not one.pinned
        ]

    def _is_signed(self, one: Subject) -> bool:
        if self._evidence.judged:
            found = self._checked.get(one.digest)
            return bool(found and found.signers)
        locate = self._evidence.locate
        return bool(locate and locate(one.digest)) or self._attached(one.digest, SIGNATURE)

    def _says(self, one: Subject, predicate_type: str) -> bool:
        if self._evidence.judged:
            found = self._checked.get(one.digest)
            return bool(found and any(kind == predicate_type for kind, _ in found.statements))
        return self._attached(one.digest, predicate_type)

    def _attached(self, digest: Digest, predicate_type: str) -> bool:
        """Whether a bundle that says it holds a statement of that type refers to a manifest."""
        for referrer in self._source.referrers(digest):
            manifest = self._source.manifest(referrer)
            if manifest.artifact_type == BUNDLE and manifest.annotations.get(NOTE) == predicate_type:
                return True
        return False

    def _by_whom(self) -> str:
        if self._evidence.judged:
            return " by a trusted key"
        return " (no key was given: not judged by whom)"

    def _not_by_whom(self) -> str:
        return " by a trusted key" if self._evidence.judged else ""

    def _give_key(self) -> str:
        """With nothing to judge by, `verify` can take nobody's word."""
        verification = self._evidence.verification
        nobody = verification is not None and verification.signatures is None
        return ", and name who is trusted with --key" if nobody else ""


def read_kept(source: Source, digest: Digest, keys: tuple[PublicKey, ...] = ()) -> Kept | None:
    """The release's provenance, by one of the keys, or by anybody where there are none; None where there is none that counts."""
    try:
        return read_signed(source, digest, keys)
    except NexusError:
        return None


def _there(proof: Proof, detail: str) -> Proved:
    return Proved(proof=proof, there=True, detail=detail)


def _missing(proof: Proof, detail: str, advice: str) -> Proved:
    return Proved(proof=proof, there=False, detail=detail, advice=advice)
