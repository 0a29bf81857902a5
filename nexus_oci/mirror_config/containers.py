"""podman, CRI-O, skopeo and buildah: a drop-in of containers-registries.conf(5), version 2.

Signature policies go by the name that was asked for: policy.json needs no word about a mirror that is set up here.
"""

from __future__ import annotations

from nexus_oci.mirror_config.redirect import Redirect, Written, quoted


def registries_conf(redirect: Redirect) -> list[Written]:
    """`registries.conf.d` and, for the mirror's authorities, `certs.d`; both as they stand below `/etc/containers`."""
    insecure = ["insecure = true"] if redirect.plain_http else []
    lines = [f"# {redirect.source} comes from {redirect.mirror}. CRI-O wants to be reloaded.", "[[registry]]"]
    lines.append(f"prefix = {quoted(redirect.source)}")
    if redirect.exclusive:
        lines += [f"location = {quoted(redirect.mirror)}", *insecure]
    else:
        lines += [f"location = {quoted(redirect.source)}", "", "[[registry.mirror]]"]
        lines += [f"location = {quoted(redirect.mirror)}", *insecure]
    files = [Written(path=f"containers/registries.conf.d/50-{redirect.slug}.conf", text="\n".join(lines) + "\n")]
    if redirect.authorities:
        path = f"containers/certs.d/{redirect.mirror_host}/{redirect.slug}.crt"
        files.append(Written(path=path, text=redirect.certificates))
    return files
