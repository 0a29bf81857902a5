"""Docker: `registry-mirrors` are for Docker Hub and nothing else, so other images are pulled by the mirror's name and renamed."""

from __future__ import annotations

import json
from typing import Any

from nexus_oci.mirror_config.redirect import Redirect, Written

_PULL = """\
#!/bin/sh
# Pulls images of {source} from {mirror} and gives them their original names:
#     pull.sh engine:1.0.0 …
# By digest an image keeps the mirror's name, as Docker lets nobody write a digest's name.
set -eu
[ $# -gt 0 ] || {{ echo "usage: pull.sh NAME:TAG|NAME@DIGEST…" >&2; exit 2; }}
for name in "$@"; do
    name=${{name#{source}/}}
    docker pull "{mirror}/$name"
    case "$name" in
        *@*) ;;
        *) docker tag "{mirror}/$name" "{source}/$name" ;;
    esac
done
"""
_HUB = "docker.io"


def docker_files(redirect: Redirect) -> list[Written]:
    """What works: `registry-mirrors` for all of Docker Hub, else a script; and the mirror's authorities in `certs.d`."""
    settings: dict[str, Any] = {}
    notes: tuple[str, ...] = ()
    if redirect.source == _HUB and not redirect.mirror_path:
        settings["registry-mirrors"] = [redirect.address]
        if redirect.exclusive:
            notes = ("dockerd asks Docker Hub itself when the mirror has not got an image: no setting forbids that",)
    else:
        notes = (
            f"Docker has mirrors for the whole of Docker Hub only: docker/pull.sh gets images of {redirect.source} from the "
            "mirror and names them; in Kubernetes and Compose files write the mirror's names",
        )
    if redirect.plain_http:
        settings["insecure-registries"] = [redirect.mirror_host]
    script = _PULL.format(source=redirect.source, mirror=redirect.mirror)
    files = [Written(path="docker/pull.sh", text=script, program=True, notes=notes)]
    if settings:
        files.append(Written(path="docker/daemon.json", text=json.dumps(settings, indent=2) + "\n"))
    if redirect.authorities:
        files.append(Written(path=f"docker/certs.d/{redirect.mirror_host}/ca.crt", text=redirect.certificates))
    return files
