"""GnuPG and Sequoia's verifier of a clean Debian, in a container without a network: keys that they make, and what they say of ours."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.clean_debian import Machine

PACKAGES = ("gnupg", "gpgv", "sqv")
_QUIET = ("--quiet", "--batch", "--no-tty", "--pinentry-mode", "loopback", "--passphrase", "")


@dataclass(frozen=True, kw_only=True)
class Key:
    """A key that gpg made, exported: the secret key, the certificate, and the certificate as a keyring."""

    user: str
    secret: Path
    certificate: Path
    keyring: Path


@dataclass
class Gnupg:
    """The tools, and one home of gpg."""

    machine: Machine
    count: int = field(default=0)

    def make_key(self, folder: Path, name: str, *options: str, kind: str = "rsa2048", lifetime: str = "never") -> Key:
        """A new key that certifies and signs; `options` may set the clock back."""
        user = f"{name} <{name}@nexus.example>"
        self._gpg(*options, "--quick-generate-key", user, kind, "sign", lifetime)
        key = Key(user=user, secret=folder / f"{name}.key", certificate=folder / f"{name}.asc", keyring=folder / f"{name}.gpg")
        for path, command in (
            (key.secret, ["--armor", "--export-secret-keys"]),
            (key.certificate, ["--armor", "--export"]),
            (key.keyring, ["--export"]),
        ):
            path.write_bytes(self._output(*command, f"{name}@nexus.example"))
        return key

    def clear_sign(self, name: str, text: bytes, *options: str) -> bytes:
        """A text with gpg's signature around it, by a key's name, or by a fingerprint with an exclamation mark."""
        return self._signed(name, text, *options, "--clear-sign")

    def detach_sign(self, name: str, data: bytes, *options: str) -> bytes:
        """gpg's armored signature of some data."""
        return self._signed(name, data, *options, "--armor", "--detach-sign")

    def gpgv_accepts(self, keyring: Path, signature: Path, data: Path) -> bool:
        """Whether gpgv finds a good signature by a key that is good now.

        For one by a key that has expired it ends with 0 too: as apt does, its status lines are read.
        """
        names = [self._put(path) for path in (keyring, signature, data)]
        code, out = self.machine.attempt("gpgv", "--status-fd", "1", "--keyring", *names)
        return code == 0 and "[GNUPG:] GOODSIG " in out

    def sqv_accepts(self, keyring: Path, signature: Path, data: Path) -> bool:
        """Whether sqv finds a good signature."""
        names = [self._put(path) for path in (keyring, signature, data)]
        code, _ = self.machine.attempt("sqv", "--keyring", names[0], "--signature-file", names[1], names[2])
        return code == 0

    def _signed(self, name: str, data: bytes, *options: str) -> bytes:
        self.count += 1
        code, out = self.machine.attempt(
            "sh", "-c", f"printf %s '{base64.b64encode(data).decode()}' | base64 -d >/root/text{self.count}"
        )
        assert code == 0, out
        user = name if name.endswith("!") else f"{name}@nexus.example"
        return self._output("--digest-algo", "SHA512", "--local-user", user, "--output", "-", *options, f"/root/text{self.count}")  # fmt: skip

    def _put(self, path: Path) -> str:
        self.count += 1
        folder = f"/root/{self.count}"
        self.machine.run("mkdir", folder)
        return self.machine.put(path, folder)

    def _gpg(self, *arguments: str) -> None:
        self.machine.run("gpg", *_QUIET, *arguments)

    def _output(self, *arguments: str) -> bytes:
        """What gpg writes, without what it says."""
        words = " ".join(f"'{word}'" for word in ("gpg", *_QUIET, *arguments))
        return base64.b64decode(self.machine.run("sh", "-c", f"{words} 2>/dev/null | base64"))
