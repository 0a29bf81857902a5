"""OpenPGP signatures of rpms and of repositories' lists, made in one container and verified in another by another tool.

Neither has a network. The signing one is given the key over standard input and keeps it in a tmpfs; the verifying one never sees
it. gpg signs, deterministically: the time is faked, to the release's or the key's own if that is later, and its RSA, EdDSA and
ECDSA signatures have no random part. Sequoia verifies, through rpmkeys or sqv; lists are checked by gpgv too, as apt may use
either.
"""

from __future__ import annotations

import base64
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from nexus_oci.docker_engine import Mount
from nexus_oci.errors import BuildError, VerificationError
from nexus_oci.oci.values import Descriptor, digest_of
from nexus_oci.pipeline.toolbox import Outcome, Surroundings, Toolbox, run_script, script_digest
from nexus_oci.trust.openpgp import PassphraseError, SigningKey

_SCRIPTS = ("key.sh", "pinentry.sh", "sign_rpm.sh", "verify_rpm.sh", "sign_text.sh", "verify_text.sh")
_SOCKET = "/run/p11-kit/server"
_PIN = 77
"""What key.sh ends with where the token does not sign with the PIN that it was given."""
_WRONG_PIN = re.compile(r"PIN|cancell?ed", re.IGNORECASE)
_SIGNED = re.compile(r"^\s+Header .*Signature, key ID ([0-9a-f]+): OK$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class SignedText:
    """A text's two signatures: a detached one, and a copy of the text with its signature around it."""

    detached: Descriptor
    clear: Descriptor


def signing_inputs(key: SigningKey, epoch: int) -> Mapping[str, str]:
    """What a signature depends on beside its subject and the toolbox, for the keys of steps that sign: nothing secret."""
    return {
        "signer": key.signer,
        "certificate": str(digest_of(key.certificate)),
        "time": str(key.time(epoch)),
        "scripts": str(script_digest(*_SCRIPTS)),
    }


def sign_rpms(
    toolbox: Toolbox, key: SigningKey, packages: Sequence[tuple[str, Descriptor]], epoch: int
) -> list[tuple[str, Descriptor]]:
    """Sign the headers of rpms, pairs of a file name and a blob; the signed ones in the store, of the same media types.

    The same package and key give the same bytes. Raises `BuildError` where one cannot be signed, `PassphraseError` where the
    token refuses its PIN, and `VerificationError` where rpm does not find a signature good.
    """
    titles = ", ".join(title for title, _ in packages)
    outcome = _sign(toolbox, key, "sign_rpm.sh", {f"packages/{title}": blob for title, blob in packages}, epoch, titles)
    files = {f"packages/{title}": blob for title, blob in outcome.files.items()}
    verified = run_script(toolbox, "verify_rpm.sh", files={**files, "certificate.asc": key.certificate})
    for title, _ in packages:
        makers = [maker.upper() for maker in _SIGNED.findall(_section(verified.output, f"/job/in/packages/{title}:"))]
        if verified.exit_code or not makers or not all(key.signer.endswith(maker) for maker in makers):
            raise VerificationError(
                f"the signature of {title} does not verify",
                why=verified.last_lines(),
                hint="the key may be too weak for rpm, or of a kind that it does not know",
            )
    return [(title, replace(outcome.files[title], media_type=blob.media_type)) for title, blob in packages]


def _section(output: str, heading: str) -> str:
    """The indented lines below a heading."""
    _, found, rest = f"\n{output}".partition(f"\n{heading}\n")
    return "\n".join(itertools.takewhile(lambda line: line.startswith(" "), rest.splitlines())) if found else ""


def sign_text(toolbox: Toolbox, key: SigningKey, text: Descriptor, epoch: int, *, title: str, algorithm: str = "") -> SignedText:
    """Sign a small text, such as a repository's list, over SHA-256 or what else `algorithm` says; raises as `sign_rpms` does."""
    outcome = _sign(toolbox, key, "sign_text.sh", {"text": text}, epoch, title, *([algorithm] if algorithm else []))
    signed = SignedText(detached=outcome.files["detached"], clear=outcome.files["clear"])
    verified = run_script(
        toolbox,
        "verify_text.sh",
        files={"text": text, "detached": signed.detached, "clear": signed.clear, "certificate.asc": key.certificate},
    )
    if verified.exit_code:
        raise VerificationError(
            f"the signature of {title} does not verify",
            why=verified.last_lines(),
            hint="the key may be too weak, or of a kind that apt does not know",
        )
    return signed


def _sign(
    toolbox: Toolbox, key: SigningKey, script: str, files: Mapping[str, Descriptor], epoch: int, title: str, *more: str
) -> Outcome:
    """Run a script that signs; the key goes over its standard input."""
    passphrase = (key.passphrase or "").encode(errors="surrogateescape")
    secret = base64.b64encode(key.secret) + b"\n" + base64.b64encode(passphrase) + b"\n"
    outcome = run_script(
        toolbox,
        script,
        key.signer,
        str(key.time(epoch)),
        *more,
        files={**files, "certificate.asc": key.certificate},
        with_scripts=("key.sh", "pinentry.sh"),
        secret=secret,
        epoch=epoch,
        surroundings=_surroundings(key),
    )
    if outcome.exit_code == 0:
        return outcome
    if outcome.exit_code == _PIN and _WRONG_PIN.search(outcome.errors):
        raise PassphraseError(
            "the token refused its PIN",
            why=outcome.last_lines(3),
            hint="most tokens lock themselves after a few wrong ones: make sure of it before trying again",
        )
    raise BuildError(f"{title} could not be signed with the OpenPGP key {key.signer[-16:]}", why=outcome.last_lines())


def _surroundings(key: SigningKey) -> Surroundings:
    """Nothing; or, for a key on a token, the socket of p11-kit's server, as the user whose it is."""
    if key.token is None:
        return Surroundings()
    owner = key.token.socket.stat()
    return Surroundings(
        mounts=(Mount(source=str(key.token.socket), target=_SOCKET, read_only=False),),
        environment={"P11_KIT_SERVER_ADDRESS": f"unix:path={_SOCKET}"},
        user=f"{owner.st_uid}:{owner.st_gid}",
    )
