"""OpenPGP keys that sign packages and repositories: read and checked on this machine, before any work.

A key is good when it can sign now, by the real clock: it is neither expired nor revoked, its passphrase is right, and gpg, apt
and rpm know its kind (OpenPGP version 4: RFC 4880 with RFC 6637's curves). Secrets stay out of every message and `repr`.
"""

from __future__ import annotations

import base64
import binascii
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from nexus_oci.errors import UsageError

if TYPE_CHECKING:
    from pysequoia import Cert, Tsk
    from pysequoia.packet import Packet

KEY_VARIABLE = "NEXUS_OCI_OPENPGP_KEY"
"""The environment's variable that stands for the option; it may also hold the armored key itself."""
PASSPHRASE_VARIABLE = "NEXUS_OCI_OPENPGP_PASSPHRASE"  # noqa: S105  the variable's name
_SERVER_VARIABLE = "P11_KIT_SERVER_ADDRESS"
_LARGEST = 1024 * 1024
_ARMOR = "-----BEGIN PGP"
_VERSION_4 = 40
"""Hexadecimal digits of a version 4 fingerprint; those of version 6 have 64."""


class PassphraseError(UsageError):
    """A key's passphrase is missing or wrong. Exit code 2."""


@dataclass(frozen=True, kw_only=True)
class Token:
    """A PKCS#11 token behind a server of p11-kit on this machine: the server's socket.

    The server was started for one URI (RFC 7512) and shows no other token; which of its keys signs, the certificate says.
    """

    socket: Path


@dataclass(frozen=True, kw_only=True)
class SigningKey:
    """A key that can sign.

    `fingerprint` names the certificate and `signer` the key in it that signs, in upper-case hexadecimal digits. `user` is the
    first user ID. `valid_from` is the moment, in seconds since 1970, from which the key in its present form is valid: no
    signature may be dated before it. `certificate` is the armored public part. `secret` is empty for a key on a token, whose
    PIN is then the passphrase.
    """

    fingerprint: str
    signer: str
    user: str
    valid_from: int
    certificate: bytes
    secret: bytes = field(default=b"", repr=False)
    passphrase: str | None = field(default=None, repr=False)
    token: Token | None = None

    def time(self, epoch: int) -> int:
        """The time that signatures bear: the release's, or the key's own if that is later."""
        return max(epoch, self.valid_from)


def load_key(
    option: str,
    *,
    environment: Mapping[str, str],
    passphrase_file: Path | None = None,
    certificate: Path | None = None,
    ask: Callable[[str], str] | None = None,
) -> SigningKey:
    """Read and check the key that an option names: `FILE`, `env:NAME` or `pkcs11:URI`.

    A file or variable holds one secret key, armored or binary (a variable: base64 of it). The passphrase comes from
    `passphrase_file`, the environment, or `ask`, which is called with a question and only where the key is protected. For a
    token, `certificate` is the file of its OpenPGP certificate. Raises `UsageError`, and `PassphraseError` where the passphrase
    is missing or wrong.
    """
    passphrase = _passphrase(passphrase_file, environment)
    if option.startswith("pkcs11:"):
        return _on_token(certificate, passphrase, environment, ask)
    data = _secret_data(option, environment)
    tsk = _parse(data)
    found = tsk.extract_certificate()
    name = f"the OpenPGP key {found.fingerprint.upper()[-16:]}"
    _check_certificate(found, name)
    signer = _unlocked(tsk, found, name, None)
    if signer is None:
        passphrase = passphrase if passphrase is not None else _asked(ask, f"Passphrase of {name}")
        if passphrase is None:
            raise PassphraseError(
                f"{name} is protected by a passphrase, and none was given",
                hint=f"set {PASSPHRASE_VARIABLE}, or name a file that holds it with --openpgp-passphrase-file",
            )
        signer = _unlocked(tsk, found, name, passphrase)
        if signer is None:
            raise PassphraseError(
                f"the passphrase of {name} is wrong", why="the key does not open with it", hint="nothing was built; try again"
            )
    else:
        passphrase = None
    return _described(found, signer, name, bytes(tsk), passphrase)


def option_of(option: str | None, environment: Mapping[str, str]) -> str | None:
    """What the command line's option says, or else the environment; None where no key is given."""
    if option:
        return option
    value = environment.get(KEY_VARIABLE, "").strip()
    return (f"env:{KEY_VARIABLE}" if _ARMOR in value else value) or None


def _passphrase(file: Path | None, environment: Mapping[str, str]) -> str | None:
    """The first line of the file, as gpg takes it, or the variable."""
    if file is None:
        return environment.get(PASSPHRASE_VARIABLE)
    return _read(file, "the passphrase").partition(b"\n")[0].removesuffix(b"\r").decode(errors="surrogateescape")


def _asked(ask: Callable[[str], str] | None, question: str) -> str | None:
    return ask(question) if ask is not None else None


def _read(path: Path, what: str) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
    except (OSError, ValueError) as error:
        raise UsageError(f"{what} cannot be read from {path}", why=getattr(error, "strerror", None) or str(error)) from error
    if len(data) > _LARGEST:
        raise UsageError(f"{path} is too large for {what}", why=f"it has more than {_LARGEST} bytes")
    return data


def _secret_data(option: str, environment: Mapping[str, str]) -> bytes:
    """The bytes of the key that a file or a variable holds."""
    if _ARMOR in option:
        raise UsageError(
            "the OpenPGP key itself was given as an argument",
            why="every user of this machine can read a program's arguments",
            hint=f"consider that key known to others; put the next one into a file, or into {KEY_VARIABLE}",
        )
    if not option.startswith("env:"):
        return _read(Path(option), "the OpenPGP key")
    name = option.removeprefix("env:")
    value = environment.get(name, "").strip()
    if not value:
        raise UsageError(f"the variable {name} holds no OpenPGP key", why="it is empty or not set")
    if _ARMOR in value:
        return value.encode() + b"\n"
    try:
        return base64.b64decode("".join(value.split()), validate=True)
    except (binascii.Error, ValueError):
        raise UsageError(
            f"the variable {name} holds no OpenPGP key", why="it is neither an armored key nor base64 of one"
        ) from None


def _parse(data: bytes) -> Tsk:
    """The one secret key in the data."""
    from_bytes, split = sequoia()
    try:
        tsk = from_bytes(data)
    except Exception as error:  # noqa: BLE001  pysequoia raises plain RuntimeErrors, with a trace of its own in the text
        raise _unreadable(data, split, _first_line(error)) from None
    if not _has_secret(bytes(tsk)):
        raise UsageError(
            "the given OpenPGP key is only a public one",
            why=f"{tsk.extract_certificate().fingerprint.upper()} has no secret part",
            hint="export it with `gpg --export-secret-keys --armor`",
        )
    return tsk


def _unreadable(data: bytes, split: Callable[[bytes], list[Cert]], why: str) -> UsageError:
    try:
        several = len(split(data))
    except Exception:  # noqa: BLE001  as above
        several = 0
    if several > 1:
        return UsageError(
            f"the given file holds {several} OpenPGP keys",
            why="which one should sign is not said",
            hint="export one: `gpg --export-secret-keys --armor FINGERPRINT`",
        )
    return UsageError("what was given is no OpenPGP key", why=why, hint="export one with `gpg --export-secret-keys --armor`")


def sequoia() -> tuple[Callable[[bytes], Tsk], Callable[[bytes], list[Cert]]]:
    """What reads secret keys, and what reads certificates; raises `UsageError` where the library is not installed."""
    try:
        from pysequoia import Cert, Tsk
    except ImportError as error:
        raise UsageError(
            "an OpenPGP key was given, but pysequoia is not installed",
            why="it reads and checks OpenPGP keys",
            hint="run `pip install nexus-oci[signing]`",
        ) from error
    return Tsk.from_bytes, Cert.split_bytes


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def packets_of(data: bytes) -> list[Packet]:
    """The packets of a certificate, key or signature, armored or binary; raises what pysequoia raises."""
    from pysequoia.packet import PacketPile

    return list(PacketPile.from_bytes(data))


def _has_secret(data: bytes) -> bool:
    from pysequoia.packet import Tag

    return any(packet.tag in (Tag.SecretKey, Tag.SecretSubkey) for packet in packets_of(data))


def _check_certificate(found: Cert, name: str) -> None:
    """Refuse what could sign today and be refused by everybody else."""
    if len(found.fingerprint) != _VERSION_4:
        raise UsageError(
            f"{name} is of OpenPGP version 6",
            why="gpg, apt and rpm read version 4 only",
            hint="make one with `gpg --quick-generate-key`",
        )
    if found.is_revoked:
        raise UsageError(f"{name} is revoked", why="nobody would accept its signatures", hint="sign with another key")
    if found.expiration is not None and found.expiration.timestamp() <= time.time():
        raise UsageError(
            f"{name} has expired",
            why=f"it was valid until {found.expiration:%Y-%m-%d %H:%M} UTC",
            hint="extend it with `gpg --quick-set-expire`, export it again, and publish the new certificate",
        )


def _unlocked(tsk: Tsk, found: Cert, name: str, passphrase: str | None) -> str | None:
    """The fingerprint of the key that signs, found by signing; None where the passphrase is missing or wrong."""
    from pysequoia import Sig, SignatureMode, sign

    try:
        signature = sign(tsk.signer(passphrase), b"", mode=SignatureMode.DETACHED)
    except Exception as error:  # noqa: BLE001  as above
        if "No suitable" not in str(error):
            return None
        raise _cannot_sign(name, found) from None
    return (Sig.from_bytes(signature).issuer_fingerprint or "").upper()


def _cannot_sign(name: str, found: Cert) -> UsageError:
    return UsageError(
        f"{name} cannot sign",
        why=f"no key of {found.fingerprint.upper()} has its secret part here, is meant for signing, valid now, and strong enough",
        hint="look at it with `gpg --list-secret-keys --with-subkey-fingerprints`",
    )


def _described(
    found: Cert, signer: str, name: str, secret: bytes, passphrase: str | None, token: Token | None = None
) -> SigningKey:
    from pysequoia.packet import PublicKeyAlgorithm as Algorithm

    known = (Algorithm.RSAEncryptSign, Algorithm.RSASign, Algorithm.EdDSA, Algorithm.ECDSA)
    keys = Keys.of(packets_of(bytes(found)))
    algorithm = keys.packet(signer).key_algorithm
    if algorithm not in known:
        raise UsageError(f"{name} is of a kind that gpg, apt and rpm do not all know", why=f"it is {algorithm}")
    return SigningKey(
        fingerprint=found.fingerprint.upper(),
        signer=signer,
        user=next((str(user) for user in found.user_ids), ""),
        valid_from=keys.valid_from(signer),
        certificate=str(found).encode(),
        secret=secret,
        passphrase=passphrase,
        token=token,
    )


@dataclass(frozen=True, kw_only=True)
class Keys:
    """A certificate's keys, by fingerprint, each with the signatures that its owner made over it."""

    primary: str
    packets: Mapping[str, Packet]
    signatures: Mapping[str, list[Packet]]

    @classmethod
    def of(cls, packets: list[Packet]) -> Keys:
        """Sort a certificate's packets; signatures that others made do not count."""
        primary = (packets[0].fingerprint or "").upper()
        keys: dict[str, Packet] = {}
        signatures: dict[str, list[Packet]] = {}
        current = primary
        for packet in packets:
            if packet.fingerprint:
                current = packet.fingerprint.upper()
                keys[current] = packet
            own = (packet.issuer_fingerprint or packet.issuer_key_id or "-").upper()
            if packet.signature_created and primary.endswith(own):
                signatures.setdefault(current, []).append(packet)
        return cls(primary=primary, packets=keys, signatures=signatures)

    def packet(self, fingerprint: str) -> Packet:
        """The packet of a key."""
        return self.packets[fingerprint]

    def valid_from(self, fingerprint: str) -> int:
        """Seconds since 1970 from which all of the key's present signatures exist: verifiers look at them as of a
        signature's own time."""
        own = [self.primary, fingerprint]
        times = [packet.key_created for packet in map(self.packet, own)]
        times += [signature.signature_created for name in own for signature in self.signatures.get(name, ())]
        return max(int(moment.timestamp()) for moment in times if moment)

    def signing_at(self, now: float) -> list[str]:
        """The keys that are meant for signing and valid at `now`, in seconds since 1970; the newest first."""
        good = []
        for fingerprint, packet in self.packets.items():
            made = sorted(
                (s for s in self.signatures.get(fingerprint, ()) if s.key_flags), key=lambda s: str(s.signature_created)
            )
            revoked = any("Revocation" in str(s.signature_type) for s in self.signatures.get(fingerprint, ()))
            if not made or revoked or not made[-1].key_flags or not made[-1].key_flags.signing or not packet.key_created:
                continue
            lifetime = made[-1].key_validity_period
            if lifetime is None or (packet.key_created + lifetime).timestamp() > now:
                good.append(fingerprint)
        return sorted(good, key=lambda name: str(self.packet(name).key_created), reverse=True)


def _on_token(
    certificate: Path | None,
    pin: str | None,
    environment: Mapping[str, str],
    ask: Callable[[str], str] | None,
) -> SigningKey:
    """A key that never leaves its token: all but the PIN is checked here."""
    if certificate is None:
        raise UsageError(
            "the key on the token has no OpenPGP certificate",
            why="a token holds a bare key; who it belongs to is said by a certificate",
            hint="name the file of its certificate with --openpgp-certificate",
        )
    from_bytes, split = sequoia()
    data = _read(certificate, "the OpenPGP certificate")
    try:
        found = from_bytes(data).extract_certificate()
    except Exception as error:  # noqa: BLE001  as above
        raise _unreadable(data, split, _first_line(error)) from None
    name = f"the OpenPGP key {found.fingerprint.upper()[-16:]}"
    _check_certificate(found, name)
    signing = Keys.of(packets_of(bytes(found))).signing_at(time.time())
    if not signing:
        raise _cannot_sign(name, found)
    token = Token(socket=_socket(environment))
    pin = pin if pin is not None else _asked(ask, f"PIN of the token that holds {name}")
    if pin is None:
        raise PassphraseError(
            "the token's PIN was not given",
            hint=f"set {PASSPHRASE_VARIABLE}, or name a file that holds it with --openpgp-passphrase-file",
        )
    return _described(found, signing[0], name, b"", pin, token)


def _socket(environment: Mapping[str, str]) -> Path:
    """The socket that p11-kit's server listens at (p11-kit(8): `unix:path=…`)."""
    address = environment.get(_SERVER_VARIABLE, "")
    path = Path(address.removeprefix("unix:path=").partition(";")[0])
    if not address.startswith("unix:path=") or not path.is_socket():
        raise UsageError(
            "the token cannot be reached",
            why=f"{_SERVER_VARIABLE} is not set" if not address else f"there is no socket at {path}",
            hint="start `p11-kit server --provider MODULE URI` on this machine and export the variable that it prints",
        )
    return Path(os.path.realpath(path))
