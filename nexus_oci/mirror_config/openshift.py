"""OpenShift 4.13 and later: `ImageDigestMirrorSet` and `ImageTagMirrorSet` (config.openshift.io/v1).

The first is for images by digest, the second for those by tag; ImageContentSourcePolicy, which came before, is deprecated.
"""

from __future__ import annotations

from typing import Any

from nexus_oci.mirror_config.redirect import Redirect, Written


def mirror_sets(redirect: Redirect) -> list[Written]:
    """The two objects in one file and, for the mirror's authorities, the ConfigMap that the cluster's image settings name."""
    import yaml

    entry: dict[str, Any] = {
        "source": redirect.source,
        "mirrors": [redirect.mirror],
        "mirrorSourcePolicy": "NeverContactSource" if redirect.exclusive else "AllowContactingSource",
    }
    documents = [
        _object("ImageDigestMirrorSet", redirect.slug, {"imageDigestMirrors": [entry]}),
        _object("ImageTagMirrorSet", redirect.slug, {"imageTagMirrors": [dict(entry)]}),
    ]
    head = f"# {redirect.source} comes from {redirect.mirror}. `oc apply -f` it; nodes take it over one by one.\n"
    files = [Written(path="openshift/mirror-sets.yaml", text=head + yaml.safe_dump_all(documents, sort_keys=False, width=120))]
    if redirect.authorities:
        files.append(_authorities(redirect))
    if redirect.plain_http:
        note = (
            f"OpenShift speaks HTTP to {redirect.mirror_host} only where spec.registrySources.insecureRegistries of "
            "image.config.openshift.io/cluster lists it"
        )
        files[0] = Written(path=files[0].path, text=files[0].text, notes=(note,))
    return files


def _object(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "config.openshift.io/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def _authorities(redirect: Redirect) -> Written:
    """A ConfigMap whose key is the host; a port follows two dots there."""
    name = f"{redirect.slug}-mirror-ca"
    lines = "".join(f"    {line}\n" for line in redirect.certificates.splitlines())
    text = (
        f"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n  namespace: openshift-config\ndata:\n"
        f"  {redirect.mirror_host.replace(':', '..')}: |\n{lines}"
    )
    note = (
        f"OpenShift takes the mirror's authorities once they are named: oc patch image.config.openshift.io/cluster --type merge "
        f'-p \'{{"spec":{{"additionalTrustedCA":{{"name":"{name}"}}}}}}\''
    )
    return Written(path="openshift/mirror-ca.yaml", text=text, notes=(note,))
