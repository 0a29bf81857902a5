"""containerd: `hosts.toml` below the folder that `config_path` names (containerd, docs/hosts.md).

Settings are of a whole registry host: other namespaces of the source's host are asked of the mirror first, too. A host may stand
for another with a path before every name (`override_path`), but names cannot be rewritten: the mirror's namespace has to end in
the source's.
"""

from __future__ import annotations

from nexus_oci.errors import UsageError
from nexus_oci.mirror_config.redirect import Redirect, Written, quoted

_FOLDER = "/etc/containerd/certs.d"
_HUB = {"docker.io": "registry-1.docker.io"}
_CONFIG = f"""\
# Tells containerd where hosts.toml files are. For 1.x: version = 2 and [plugins."io.containerd.grpc.v1.cri".registry].
version = 3

[plugins."io.containerd.cri.v1.images".registry]
  config_path = "{_FOLDER}"
"""


def hosts_toml(redirect: Redirect) -> list[Written]:
    """`certs.d/HOST/hosts.toml`, the mirror's authorities beside it, and the setting that names the folder.

    Raises `UsageError` where the mirror's namespace does not end in the source's.
    """
    prefix = _prefix(redirect)
    address = f"{redirect.address}/v2/{prefix}" if prefix else redirect.address
    facts = ['capabilities = ["pull", "resolve"]']
    if prefix:
        facts.append("override_path = true")
    folder = f"containerd/certs.d/{redirect.source_host}"
    files = []
    if redirect.authorities:
        facts.append(f"ca = {quoted('mirror.pem')}")
        files.append(Written(path=f"{folder}/mirror.pem", text=redirect.certificates))
    head = f"# {redirect.source} comes from {redirect.mirror}. containerd reads this at every pull.\n"
    if redirect.exclusive:
        text = head + f"server = {quoted(address)}\n" + "".join(f"{fact}\n" for fact in facts)
        whole = f"containerd asks {redirect.mirror_host} for everything of {redirect.source_host}, and nothing else"
        notes: tuple[str, ...] = (whole,)
    else:
        original = _HUB.get(redirect.source_host, redirect.source_host)
        text = head + f"server = {quoted(f'https://{original}')}\n\n[host.{quoted(address)}]\n"
        text += "".join(f"  {fact}\n" for fact in facts)
        notes = ()
    config = Written(path="containerd/config.toml", text=_CONFIG)
    return [Written(path=f"{folder}/hosts.toml", text=text, notes=notes), *files, config]


def _prefix(redirect: Redirect) -> str:
    """What stands before the source's names in the mirror; nothing where they are the same."""
    source, mirror = redirect.source_path, redirect.mirror_path
    if mirror == source:
        return ""
    if not source:
        return mirror
    if mirror.endswith(f"/{source}"):
        return mirror.removesuffix(f"/{source}")
    raise UsageError(
        f"containerd cannot find {redirect.source} at {redirect.mirror}",
        why="it puts a path before names, and cannot change them: the mirror's namespace has to end in the original one",
        hint=f"mirror to {redirect.mirror_host}/…/{source}",
    )
