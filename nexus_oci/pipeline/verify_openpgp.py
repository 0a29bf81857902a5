"""Verify: what OpenPGP signs of a release, by the certificates that are believed: files, and the provenance files of charts.

1. A signature, detached or around a text, is read; what it is of is what was read and hashed.
2. A certificate that is trusted has to have made it; the certificate, and the key in it that signed, have to be good now: neither
   expired nor revoked, whenever the signature was made; and what is signed has to be within the limits of the trust.
3. A chart's provenance file has to be about this chart: its name, its version, and the digest of its archive.
4. Where certificates are trusted, every chart of a release has to have such a file: it could have been taken away.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from nexus_oci.chart.provenance import ChartStatement, read_statement
from nexus_oci.errors import NexusError, VerificationError
from nexus_oci.oci import media_types
from nexus_oci.oci.values import Digest
from nexus_oci.pipeline.attached import read_blob
from nexus_oci.pipeline.subjects import Subject, repository_names
from nexus_oci.transfer.ends import Source
from nexus_oci.trust.openpgp_verification import Maker, clear_makers, detached_makers
from nexus_oci.trust.verification import Trust, TrustedCertificate


@dataclass(frozen=True, kw_only=True)
class CheckedChart:
    """A chart whose provenance file is good, and by which certificate."""

    subject: Subject
    certificate: TrustedCertificate

    def to_json(self) -> dict[str, Any]:
        """The chart's part of the report."""
        return {
            "digest": self.subject.digest,
            "repositories": list(self.subject.repositories),
            "key": self.certificate.name,
            "fingerprint": self.certificate.fingerprint,
        }


def judge_detached(signature: bytes, data: bytes, trust: Trust, names: Iterable[str], now: datetime) -> TrustedCertificate:
    """Whose signature of `data` counts; raises `VerificationError` where none does. `names` are what limits are held against."""
    certificates = [entry.certificate for entry in trust.certificates]
    return _counting(detached_makers(signature, data, certificates), trust, names, now)


def judge_provenance(
    message: bytes, trust: Trust, names: Iterable[str], now: datetime
) -> tuple[ChartStatement, TrustedCertificate]:
    """What a chart's provenance file says, and whose word it is; raises as `judge_detached` does."""
    text, makers = clear_makers(message, [entry.certificate for entry in trust.certificates])
    certificate = _counting(makers, trust, names, now)
    return read_statement(text), certificate


def _counting(makers: Sequence[Maker], trust: Trust, names: Iterable[str], now: datetime) -> TrustedCertificate:
    """The first entry of the trust by whose certificate one of the good signatures was made, and counts."""
    named = tuple(names)
    refusals: list[str] = []
    for entry in trust.certificates:
        for maker in makers:
            if maker.certificate == entry.certificate:
                refusal = entry.certificate.unusable(maker.signer, now) or entry.refusal(named, None, now)
                if refusal is None:
                    return entry
                refusals.append(refusal)
    if refusals:
        raise VerificationError("the OpenPGP signature does not count", why="; ".join(dict.fromkeys(refusals)))
    raise VerificationError(
        "the OpenPGP signature is not good",
        why="no certificate that is trusted here made it over these bytes: one of them was changed, or another key signed",
    )


def charts_verified(
    source: Source, subjects: Sequence[Subject], trust: Trust, prefix: str, now: datetime
) -> tuple[list[CheckedChart], list[str]]:
    """The charts among the subjects whose provenance files are good, and what is wrong with the others."""
    good: list[CheckedChart] = []
    faults: list[str] = []
    for subject in subjects:
        if subject.is_chart:
            try:
                good.append(_chart(source, subject, trust, prefix, now))
            except NexusError as error:
                name = f"chart {subject.repositories[0]}@{subject.digest}"
                faults.append(f"{name}: {error.what}" + (f": {error.why}" if error.why else ""))
    return good, faults


def _chart(source: Source, subject: Subject, trust: Trust, prefix: str, now: datetime) -> CheckedChart:
    layers = {layer.media_type: layer for layer in subject.manifest.layers}
    signed, archive, config = layers.get(media_types.HELM_PROVENANCE), layers.get(media_types.HELM_CHART), subject.manifest.config
    if signed is None:
        raise VerificationError(
            "it has no provenance file", why="it was built without an OpenPGP key, or the file was taken away"
        )
    if archive is None or config is None:
        raise VerificationError("it has no archive")
    said, certificate = judge_provenance(read_blob(source, signed), trust, repository_names(prefix, subject), now)
    try:
        metadata = json.loads(read_blob(source, config))
        own = str(metadata["name"]), str(metadata["version"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise VerificationError("its metadata cannot be read") from None
    check_said(said, f"{own[0]}-{own[1]}.tgz", archive.digest)
    if (said.name, said.version) != own:
        raise VerificationError("its provenance file is of another chart", why=f"it is of {said.name} {said.version}")
    return CheckedChart(subject=subject, certificate=certificate)


def check_said(said: ChartStatement, file_name: str, digest: Digest) -> None:
    """Raise `VerificationError` unless a provenance file names this archive, with this digest."""
    if file_name not in said.files:
        raise VerificationError(
            "the provenance file is of another chart",
            why=f"it is of {', '.join(said.files) or 'nothing'}, and not of {file_name}",
        )
    if said.files[file_name] != digest:
        raise VerificationError(
            "the chart is not the one that was signed", why=f"its digest is {digest}, and the provenance file says another"
        )
