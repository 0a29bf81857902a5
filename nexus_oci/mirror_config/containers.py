"""podman, CRI-O, skopeo and buildah: a drop-in of containers-registries.conf(5), version 2.

Signature policies go by the name that was asked for: policy.json needs no word about a mirror that is set up here. But whether to
look for signatures is decided by the place that is asked: `registries.d` has to name the mirror (containers-registries.d(5)).
"""

from __future__ import annotations

from nexus_oci.mirror_config.redirect import Redirect, Written, quoted

_LOOK = """\
# Signatures are under .sig tags beside the images.
docker:
  {mirror}:
    use-sigstore-attachments: true
"""


def registries_conf(redirect: Redirect) -> list[Written]:
    """`registries.conf.d`, `registries.d` and, for the mirror's authorities, `certs.d`, as they stand below `/etc/containers`."""
    insecure = ["insecure = true"] if redirect.plain_http else []
    lines = [f"# {redirect.source} comes from {redirect.mirror}. CRI-O wants to be reloaded.", "[[registry]]"]
    lines.append(f"prefix = {quoted(redirect.source)}")
    if redirect.exclusive:
        lines += [f"location = {quoted(redirect.mirror)}", *insecure]
    else:
        lines += [f"location = {quoted(redirect.source)}", "", "[[registry.mirror]]"]
        lines += [f"location = {quoted(redirect.mirror)}", *insecure]
    files = [Written(path=f"containers/registries.conf.d/50-{redirect.slug}.conf", text="\n".join(lines) + "\n")]
    files.append(Written(path=f"containers/registries.d/{redirect.slug}-mirror.yaml", text=_LOOK.format(mirror=redirect.mirror)))
    if redirect.authorities:
        path = f"containers/certs.d/{redirect.mirror_host}/{redirect.slug}.crt"
        files.append(Written(path=path, text=redirect.certificates))
    return files
