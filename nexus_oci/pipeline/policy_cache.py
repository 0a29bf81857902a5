"""The policy cache of a bundle: policy files of the project, verified before anything is built with them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from nexus_oci.render.context import ContextFile, in_memory
from nexus_oci.trust.detached import verify_policies

if TYPE_CHECKING:
    from nexus_oci.definition.distribution_model import Policies


def policy_files(root: Path, defaults: Path, policies: Policies | None, name: str) -> Mapping[str, ContextFile]:
    """The verified policies and their signatures by installed path (`/usr/share/NAME/policies/X.json`); none without the block.

    The folder and each key are the project's own, or the shipped one where the project has none of that path. The bytes are those
    that were verified: a file that changes later changes nothing. Raises `PolicyError`.
    """
    if policies is None:
        return {}
    found = verify_policies(_own(root, defaults, policies.path), [_own(root, defaults, key) for key in policies.keys])
    destination = policies.destination or f"/usr/share/{name}/policies"
    return {f"{destination}/{file}": in_memory(data) for file, data in found.items()}


def _own(root: Path, defaults: Path, path: str) -> Path:
    return root / path if (root / path).exists() else defaults / path
