"""containerd 2's image verifier: its configuration, the program that it calls, and what that program trusts.

The `bindir` plugin calls every program in its folder with `-name`, `-digest` and `-stdin-media-type`, and the image's descriptor
on stdin; status 0 lets the pull go on, and stdout is the reason that users see (containerd, docs/image-verification.md). It
judges pulls through the transfer service, which is what the CRI plugin uses unless its `use_local_image_pull` is on.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

from nexus_oci.admission.rules import Key, Rules, Scope, Written, refuse_attestations, refuse_audit, require_keys, yaml_text

Checker = Literal["nexus-oci", "cosign"]
FOLDER = "/opt/containerd/image-verifier"
"""Where containerd looks when nothing else is said."""
_CONFIG = """\
# The image verifiers of containerd 2; a file in /etc/containerd/conf.d that config.toml imports, or a part of that file.
# Pulls are let through when the folder is missing or empty: watch over it. Every program in it is called, whatever their number.
version = 3

[plugins."io.containerd.image-verifier.v1.bindir"]
  bin_dir = "{folder}/bin"
  max_verifiers = -1
  per_verifier_timeout = "1m"
"""


def containerd_files(rules: Rules, checker: Checker = "nexus-oci", folder: str = FOLDER) -> list[Written]:
    """The configuration, the verifier, and its keys, as they will stand below `folder` on a node.

    Raises `UsageError` where nothing could be checked, or attestations are demanded.
    """
    require_keys(rules, "containerd's verifier")
    refuse_audit(rules, "containerd's verifier")
    refuse_attestations(rules, "containerd's verifier", "it is called for every pull, and checks signatures only")
    script = (
        _HEAD.format(name=rules.name, folder=rules.slug)
        + _cases(rules, checker)
        + (_NEXUS if checker == "nexus-oci" else _COSIGN)
    )
    keys = _files(rules)
    found = [
        Written(path="containerd/config.toml", text=_CONFIG.format(folder=folder)),
        Written(path=f"containerd/bin/{rules.slug}", text=script, program=True),
        *(Written(path=f"containerd/{rules.slug}/{name}", text=key.pem) for key, name in keys.items()),
    ]
    if checker == "nexus-oci":
        head = ["Which keys may sign what, for `nexus-oci verify --trust`."]
        return [*found, Written(path=f"containerd/{rules.slug}/trust.yaml", text=yaml_text([_trust(rules, keys)], head))]
    return found


_HEAD = """\
#!/bin/sh
# Image verifier of containerd: lets an image of {name} be pulled when one of the release's keys signed it.
# Called with -name NAME -digest DIGEST -stdin-media-type TYPE; 0 lets the pull go on, anything else refuses it.
set -u
trust=$(cd "$(dirname "$0")/../{folder}" && pwd) || {{ echo "the keys of the verifier are not there"; exit 1; }}
name='' digest=''
while [ $# -gt 1 ]; do
    case "$1" in
        -name) name=$2 ;;
        -digest) digest=$2 ;;
    esac
    shift 2
done
cat >/dev/null
[ -n "$name" ] && [ -n "$digest" ] || {{ echo "called without -name or -digest"; exit 1; }}

# The repository: the name without its digest and tag; a colon before the last slash belongs to the port.
repository=${{name%%@*}}
case "${{repository##*/}}" in *:*) repository=${{repository%:*}} ;; esac
"""
_NEXUS = """\
said=$(nexus-oci verify "$place@$digest" --shallow --trust "$trust/trust.yaml" $plain 2>&1)
status=$?
if [ "$status" -eq 0 ]; then
    echo "signed: $place@$digest"
    exit 0
fi
printf '%s\\n' "$said" | head -c 2000
exit "$status"
"""
_COSIGN = """\
today=$(date -u +%Y%m%d%H%M%S)
for entry in $keys; do
    key=${entry%%,*} window=${entry#*,}
    [ "$today" -ge "${window%-*}" ] && [ "$today" -lt "${window#*-}" ] || continue
    if cosign verify --key "$trust/$key" --insecure-ignore-tlog=true $plain "$place@$digest" >/dev/null 2>&1; then
        echo "signed by $key: $place@$digest"
        exit 0
    fi
done
echo "no key of the release signed $place@$digest"
exit 1
"""
_ALWAYS = ("00000000000000", "99999999999999")


def _cases(rules: Rules, checker: Checker) -> str:
    """The decision that names alone can make, and where signatures are looked for: in a mirror, where the name has one."""
    files = _files(rules)
    lines = ['case "$repository" in']
    lines += [
        f"    {_pattern(scope.repository)}) keys={shlex.quote(_windows(scope, files))} ;;"
        for scope in _longest_first(rules.everywhere())
    ]
    for prefix in _longest_first(_closed(rules)):
        pattern = _pattern(prefix.repository)
        lines.append(f'    {pattern}) echo "$repository is none of the release\'s repositories"; exit 1 ;;')
    lines += ['    *) echo "not judged here: $repository"; exit 0 ;;', "esac"]
    if rules.revoked:
        refusal = 'echo "$digest is revoked"; exit 1'
        lines.append(f'case "$digest" in {"|".join(rules.revoked)}) {refusal} ;; esac')
    lines += ["place=$repository", 'case "$repository" in']
    for mirror in sorted(rules.mirrors, key=lambda one: -len(one.source)):
        source = shlex.quote(mirror.source)
        lines.append(f"    {_pattern(mirror.source)}) place={shlex.quote(mirror.copy)}${{repository#{source}}} ;;")
    lines += ["    *) ;;", "esac"]
    plain = {"nexus-oci": "--plain-http", "cosign": "--allow-http-registry"}[checker]
    lines.append(f"plain={shlex.quote(plain if rules.plain_http else '')}")
    return "\n".join(lines) + "\n"


def _closed(rules: Rules) -> list[Scope]:
    copies = (mirror.apply(prefix) for prefix in rules.closed for mirror in rules.mirrors)
    return [Scope(repository=name, keys=()) for name in (*rules.closed, *(copy for copy in copies if copy is not None))]


def _longest_first(scopes: Sequence[Scope]) -> list[Scope]:
    return sorted(scopes, key=lambda scope: -len(scope.repository))


def _pattern(repository: str) -> str:
    """A shell pattern for a repository and all below it. Names have no character that the shell would read as a pattern."""
    return f"{repository}|{repository}/*"


def _windows(scope: Scope, files: dict[Key, str]) -> str:
    """Each key's file and from when to when it counts, as in `key.pub,20260101000000-99999999999999`."""
    return " ".join(
        f"{files[key]},{_moment(key.not_before) or _ALWAYS[0]}-{_moment(key.not_after) or _ALWAYS[1]}" for key in scope.keys
    )


def _moment(moment: datetime | None) -> str:
    return f"{moment:%Y%m%d%H%M%S}" if moment else ""


def _files(rules: Rules) -> dict[Key, str]:
    """The file of each key."""
    found = dict.fromkeys(key for scope in rules.scopes for key in scope.keys)
    return {key: f"key{number}.pub" for number, key in enumerate(found, 1)}


def _trust(rules: Rules, files: dict[Key, str]) -> dict[str, Any]:
    """The trust file of the keys, with their limits and what is revoked."""
    entries = []
    for key, file in files.items():
        entry: dict[str, Any] = {"key": file, "name": key.name}
        limits = {
            "not-before": key.not_before and key.not_before.isoformat(),
            "not-after": key.not_after and key.not_after.isoformat(),
            "repositories": list(key.repositories),
            "distributions": list(key.distributions),
        }
        entries.append(entry | {name: value for name, value in limits.items() if value})
    return {"keys": entries, **({"revoked": list(rules.revoked)} if rules.revoked else {})}
