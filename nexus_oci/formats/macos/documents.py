"""What a package of macOS carries beside the engine: its launchd job, the Installer's scripts, and the administrator's."""

from __future__ import annotations

import plistlib
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

FOLDER: Final = "/usr/local"
_SHELL: Final = "#!/bin/sh\n"


@dataclass(frozen=True, kw_only=True)
class Job:
    """A service: its label, its command, and what launchd shall do for it. `user` is an account that the system has."""

    label: str
    command: Sequence[str]
    user: str = "daemon"
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def plist(self) -> str:
        """Where launchd looks for it."""
        return f"/Library/LaunchDaemons/{self.label}.plist"


def launchd_plist(job: Job) -> bytes:
    """The job as launchd reads it (launchd.plist(5)): started at boot, started anew where it fails, without new privileges."""
    facts: dict[str, object] = {
        "Label": job.label,
        "ProgramArguments": list(job.command),
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "ThrottleInterval": 10,
        "UserName": job.user,
        "Umask": 0o027,
        "ProcessType": "Background",
        "StandardOutPath": f"/var/log/{job.label}.log",
        "StandardErrorPath": f"/var/log/{job.label}.log",
    }
    if job.environment:
        facts["EnvironmentVariables"] = dict(sorted(job.environment.items()))
    return plistlib.dumps(facts, sort_keys=True)


def preinstall(job: Job | None) -> bytes:
    """Stop what runs of the version before."""
    lines = [_SHELL, "# Runs before files are replaced: the job of an earlier version is taken out of launchd.\n", "set -u\n"]
    if job is not None:
        lines.append(f"launchctl bootout system/{shlex.quote(job.label)} 2>/dev/null || true\n")
    return "".join([*lines, "exit 0\n"]).encode()


def postinstall(job: Job | None) -> bytes:
    """Give the job to launchd."""
    lines = [
        _SHELL,
        "# Runs after files are in place: launchd gets the job, unless another volume than the running one was chosen.\n",
    ]
    lines.append("set -eu\n")
    if job is not None:
        plist, log = shlex.quote(job.plist), shlex.quote(f"/var/log/{job.label}.log")
        lines += [
            'if [ "${3:-/}" != / ]; then exit 0; fi\n',
            f"chown root:wheel {plist}\nchmod 644 {plist}\n",
            f"touch {log}\nchown {shlex.quote(job.user)} {log}\nchmod 640 {log}\n",
            f"launchctl bootstrap system {plist}\n",
        ]
    return "".join([*lines, "exit 0\n"]).encode()


def uninstall(identifier: str, job: Job | None, paths: Sequence[str]) -> bytes:
    """Take away everything that the package brought: the job, its files, its own folders that are empty then, and the receipt."""
    files = [path for path in paths if not path.endswith("/")]
    folders = sorted((path for path in paths if path.endswith("/")), key=lambda path: (-path.count("/"), path))
    lines = [
        _SHELL,
        "# Removes what the package installed. Run it as root. Configuration that was changed is removed too: keep a copy.\n",
        'set -u\nif [ "$(id -u)" != 0 ]; then echo "run this with sudo" >&2; exit 1; fi\n',
    ]
    if job is not None:
        lines.append(f"launchctl bootout system/{shlex.quote(job.label)} 2>/dev/null || true\n")
    lines += [f"rm -f -- {shlex.quote(path)}\n" for path in sorted(files)]
    lines += [f"rmdir -- {shlex.quote(path.rstrip('/'))} 2>/dev/null || true\n" for path in folders]
    lines.append(f"pkgutil --forget {shlex.quote(identifier)} >/dev/null 2>&1 || true\n")
    return "".join(lines).encode()


def release_quarantine(paths: Sequence[str]) -> bytes:
    """For sites that verify releases by their own means: take the mark of a download off what was installed."""
    lines = [
        _SHELL,
        "# Takes com.apple.quarantine off the installed programs: macOS will not ask about them again.\n"
        "# Verify the release first: nexus-oci verify.\n",
        "set -eu\n",
    ]
    lines += [f"xattr -d com.apple.quarantine {shlex.quote(path)} 2>/dev/null || true\n" for path in sorted(paths)]
    return "".join(lines).encode()


def notarization_checklist(title: str, identifier: str, file_name: str, programs: Sequence[str]) -> bytes:
    """What is left to do on a Mac with an Apple developer account, which no other machine can do."""
    listed = "".join(f"   codesign --verify --strict --verbose=2 {path}\n" for path in programs)
    return f"""\
Notarization of {title} ({identifier})

What is made without a Mac is a signed package. Apple's notary service takes it only when the following holds.

1. The programs in it are signed with a «Developer ID Application» certificate, a secure time and the hardened runtime:
{listed}\
2. The package is signed with a «Developer ID Installer» certificate:
   pkgutil --check-signature {file_name}
3. It is submitted, and accepted:
   xcrun notarytool submit {file_name} --keychain-profile PROFILE --wait
4. The ticket is stapled, and checked. That changes the file: publish its new digest.
   xcrun stapler staple {file_name}
   xcrun stapler validate {file_name}
5. Gatekeeper takes it on a machine that has never seen it:
   spctl --assess --type install --verbose=2 {file_name}
""".encode()
