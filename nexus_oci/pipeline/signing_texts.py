"""OpenPGP signatures of a release's own texts: the list of its files, and the provenance file of its chart.

A key in a file signs here, without the engine. One on a token signs in the toolbox, as it does for packages, and only what it has
not signed yet. The time of every signature is the release's.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from nexus_oci.errors import NexusError, StoreError
from nexus_oci.oci import media_types
from nexus_oci.oci.store import Store
from nexus_oci.oci.values import Descriptor, canonical_json, digest_of
from nexus_oci.pipeline.records import Record, Records
from nexus_oci.pipeline.signing import sign_text, signing_inputs
from nexus_oci.pipeline.toolbox import Toolbox
from nexus_oci.trust.openpgp import SigningKey
from nexus_oci.trust.openpgp_signature import sign_clear, sign_detached
from nexus_oci.trust.openpgp_verification import SUFFIX, detached_makers, read_certificates

SUMS_OPENPGP = f"SHA256SUMS{SUFFIX}"
"""The OpenPGP signature of the list of files, beside it."""
_ALGORITHM = "SHA512"


@dataclass(frozen=True, kw_only=True)
class TextSigner:
    """Signs the texts of a release of the time `epoch`, in seconds since 1970. `toolbox` is called for a key on a token only."""

    key: SigningKey
    epoch: int
    toolbox: Callable[[], Toolbox] | None = None

    def detached(self, text: bytes, title: str) -> bytes:
        """An armored signature; raises what `sign_detached` and `sign_text` raise."""
        if self.key.token is None:
            return sign_detached(self.key, text, self.key.time(self.epoch))
        return self._on_token(text, title)[0]

    def clear(self, text: bytes, title: str) -> bytes:
        """The text with its signature around it; raises as `detached` does."""
        if self.key.token is None:
            return sign_clear(self.key, text, self.key.time(self.epoch))
        return self._on_token(text, title)[1]

    def _on_token(self, text: bytes, title: str) -> tuple[bytes, bytes]:
        assert self.toolbox is not None  # noqa: S101  who has such a key gives the toolbox
        toolbox = self.toolbox()
        blob = toolbox.store.put(text, "text/plain")
        signed = sign_text(toolbox, self.key, blob, self.epoch, title=title, algorithm=_ALGORITHM)
        return toolbox.store.read(signed.detached), toolbox.store.read(signed.clear)


def release_epoch(store: Store, root: Descriptor) -> int:
    """When a release was made, as its index says, in seconds since 1970; 0 where it does not say."""
    try:
        return max(0, int(datetime.fromisoformat(store.manifest(root).annotations[media_types.CREATED]).timestamp()))
    except (KeyError, ValueError, OverflowError):
        return 0


def chart_inputs(key: SigningKey | None, epoch: int) -> Mapping[str, str]:
    """What a chart depends on beside its files: what signs its provenance file; nothing where there is no key."""
    return {f"signature {name}": value for name, value in signing_inputs(key, epoch).items()} if key else {}


def store_provenance(store: Store, signer: TextSigner, text: bytes, title: str) -> Descriptor:
    """The blob of a chart's signed provenance file; one that the key made of that very text before is taken again."""
    inputs = {"text": str(digest_of(text)), **chart_inputs(signer.key, signer.epoch)}
    step = f"signature {title}"
    key = digest_of(canonical_json({"step": step, **inputs}))

    def work() -> Record:
        blob = store.put(signer.clear(text, title), media_types.HELM_PROVENANCE)
        return Record(key=key, step=step, inputs=inputs, blobs=(blob,), facts={})

    record, _ = Records(store, lambda _: None).run(key, work)
    return replace(record.blobs[0], media_type=media_types.HELM_PROVENANCE)


def sign_sums(folder: Path, sums: str, signer: TextSigner) -> tuple[Path, ...]:
    """Sign the list of files `sums` of a folder, where there is one; what the key has signed already stays as it is."""
    target = folder / SUMS_OPENPGP
    try:
        data = (folder / sums).read_bytes()
    except FileNotFoundError:
        return ()
    if signer.key.token is not None and _is_signed(target, data, signer):
        return (target,)
    made = signer.detached(data, sums)
    with contextlib.suppress(OSError):
        if target.read_bytes() == made:
            return (target,)
    _write(target, made)
    return (target,)


def _is_signed(target: Path, data: bytes, signer: TextSigner) -> bool:
    """Whether the signature that is there is this key's, of these bytes."""
    with contextlib.suppress(OSError, NexusError):
        certificates = read_certificates(signer.key.certificate, "the key's certificate")
        return any(maker.signer == signer.key.signer for maker in detached_makers(target.read_bytes(), data, certificates))
    return False


def _write(target: Path, text: bytes) -> None:
    try:
        with tempfile.NamedTemporaryFile(dir=target.parent, prefix=".", delete=False) as file:
            file.write(text)
            os.fchmod(file.fileno(), 0o644)
        Path(file.name).replace(target)
    except OSError as error:
        raise StoreError(f"cannot write {target}", why=error.strerror or str(error)) from error
