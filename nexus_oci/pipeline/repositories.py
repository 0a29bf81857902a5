"""Static repositories for apt and dnf: a folder that any web server can serve, made of packages that are there already.

apt: the layout and the fields of Debian's repository format (wiki.debian.org/DebianRepository/Format), with by-hash. yum: what
createrepo_c writes, with repomd.xml.asc. With a key both are signed, and a client's configuration that trusts just that key lies
beside; without one they are made all the same, and refused by clients that were not told to trust them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from nexus_oci.errors import BuildError, DefinitionError
from nexus_oci.oci.values import Descriptor
from nexus_oci.pipeline.signing import sign_text, signing_inputs
from nexus_oci.pipeline.toolbox import Toolbox, run_script, script_digest
from nexus_oci.trust.openpgp import SigningKey

Kind = Literal["apt", "yum"]
KINDS: Final[tuple[Kind, ...]] = ("apt", "yum")

URL = "URL-OF-THIS-FOLDER"
"""Stands in a client's configuration where nobody said from where the repository will be served."""

_TYPES = {
    ".asc": "application/pgp-keys",
    ".gpg": "application/pgp-signature",
    ".gz": "application/gzip",
    ".xml": "application/xml",
    ".xz": "application/x-xz",
    "InRelease": "text/plain",
    "repomd.xml.asc": "application/pgp-signature",
}
_TEXT = "text/plain"


@dataclass(frozen=True, kw_only=True)
class About:
    """What a repository says of itself. `name` also names its files; `suite` is apt's; `url` is where it will be served."""

    name: str
    description: str
    suite: str = "stable"
    url: str = URL

    def __post_init__(self) -> None:
        """Refuse what could not stand in a list's one line, or in a file's name."""
        for text, pattern in (
            (self.name, r"[A-Za-z0-9][A-Za-z0-9+._-]*"),
            (self.suite, r"[a-z0-9][a-z0-9+.-]*"),
            (self.url, r"\S+"),
        ):
            if not re.fullmatch(pattern, text):
                why = f"it must match {pattern}"
                raise DefinitionError(f"{text!r} cannot name a repository, its suite or its place", why=why)

    @property
    def title(self) -> str:
        """The description in one line."""
        return " ".join(self.description.split()) or self.name

    @property
    def stem(self) -> str:
        """The name as apt and dnf take it for a file's and a source's: apt ignores files that have a plus sign in theirs."""
        return self.name.replace("+", "-")


def repository_inputs(kind: Kind, key: SigningKey | None, epoch: int, about: About) -> Mapping[str, str]:
    """What a repository depends on beside its packages and the toolbox: for the keys of steps that make one."""
    signed = {f"signature {name}": value for name, value in signing_inputs(key, epoch).items()} if key else {"signature": "none"}
    facts = {"name": about.name, "description": about.title, "suite": about.suite, "url": about.url, "epoch": str(epoch)}
    return {**signed, **facts, "script": str(script_digest(f"{kind}.sh")), "readme": _readme(kind, about, key)}


def make_repository(
    kind: Kind,
    toolbox: Toolbox,
    key: SigningKey | None,
    packages: Sequence[tuple[str, Descriptor]],
    *,
    epoch: int,
    about: About,
) -> list[tuple[str, Descriptor]]:
    """The files of a repository of `packages`, pairs of a file name and a blob: their paths, which begin with `kind`, and blobs.

    The packages stay the blobs that they are. rpms must be signed before. The same packages, key and epoch give the same bytes.
    Raises `BuildError` where the tools fail, and what `sign_text` raises.
    """
    pool = "pool/main" if kind == "apt" else "packages"
    inside: dict[str, Descriptor] = {}
    for title, blob in packages:
        # What is for every architecture comes from each platform's build.
        if inside.setdefault(f"{pool}/{title}", blob).digest != blob.digest:
            raise BuildError(f"two packages of the {kind} repository are called {title}", hint="let their names tell them apart")
    if not inside:
        raise BuildError(f"there are no packages for the {kind} repository")
    files = dict(inside)
    files |= _apt(toolbox, key, inside, epoch, about) if kind == "apt" else _yum(toolbox, key, inside, epoch, about)
    texts = _configuration(kind, key, about)
    files |= {name: toolbox.store.put(text, _type(name)) for name, text in texts.items()}
    return [(f"{kind}/{path}", files[path]) for path in sorted(files)]


def _apt(
    toolbox: Toolbox, key: SigningKey | None, packages: Mapping[str, Descriptor], epoch: int, about: About
) -> dict[str, Descriptor]:
    outcome = run_script(toolbox, "apt.sh", about.suite, str(epoch), about.name, about.title, files=packages, epoch=epoch)
    outcome.check("apt-ftparchive could not make the apt repository")
    files = _typed(outcome.files)
    folder = f"dists/{about.suite}"
    if key:
        signed = sign_text(toolbox, key, files[f"{folder}/Release"], epoch, title="the apt repository")
        files |= _typed({f"{folder}/InRelease": signed.clear, f"{folder}/Release.gpg": signed.detached})
    return files


def _yum(
    toolbox: Toolbox, key: SigningKey | None, packages: Mapping[str, Descriptor], epoch: int, about: About
) -> dict[str, Descriptor]:
    outcome = run_script(toolbox, "yum.sh", str(epoch), files=packages, epoch=epoch)
    outcome.check(f"createrepo_c could not make the yum repository of {about.name}")
    files = _typed(outcome.files)
    if key:
        signed = sign_text(toolbox, key, files["repodata/repomd.xml"], epoch, title="the yum repository")
        files |= _typed({"repodata/repomd.xml.asc": signed.detached})
    return files


def _typed(files: Mapping[str, Descriptor]) -> dict[str, Descriptor]:
    return {path: replace(blob, media_type=_type(path)) for path, blob in files.items()}


def _type(path: str) -> str:
    name = path.rpartition("/")[2]
    return _TYPES.get(name) or _TYPES.get(f".{name.rpartition('.')[2]}", _TEXT)


def _configuration(kind: Kind, key: SigningKey | None, about: About) -> dict[str, bytes]:
    """What lies beside a repository for its users: the key, a client's configuration, and how to use them."""
    files = {"README": _readme(kind, about, key).encode()}
    if kind == "apt":
        files[f"{about.stem}.sources"] = _sources(key, about).encode()
        key_file = f"{about.stem}.asc"
    else:
        files[f"{about.stem}.repo"] = _repo(about).encode()
        key_file = f"RPM-GPG-KEY-{about.stem}"
    return files | ({key_file: key.certificate} if key else {})


def _sources(key: SigningKey | None, about: About) -> str:
    """A source in apt's deb822 form (sources.list(5)), with the key inside."""
    lines = ["Types: deb", f"URIs: {about.url}", f"Suites: {about.suite}", "Components: main"]
    if key:
        armored = key.certificate.decode().splitlines()
        lines += ["Signed-By:", *(f" {line}" if line.strip() else " ." for line in armored)]
    return "\n".join(lines) + "\n"


def _repo(about: About) -> str:
    """A repository's section (dnf.conf(5)); it asks for signatures whether there are any or not."""
    return (
        f"[{about.stem}]\nname={about.title}\nbaseurl={about.url}\nenabled=1\n"
        f"gpgcheck=1\nrepo_gpgcheck=1\ngpgkey={about.url}/RPM-GPG-KEY-{about.stem}\n"
    )


def _readme(kind: Kind, about: About, key: SigningKey | None) -> str:
    file, folder = (
        (f"{about.stem}.sources", "/etc/apt/sources.list.d") if kind == "apt" else (f"{about.stem}.repo", "/etc/yum.repos.d")
    )
    copy = f"Put {file} into {folder}"
    change = f", with the place of this folder (https://…) for {URL} in it" if about.url == URL else ""
    use = "apt-get update" if kind == "apt" else "dnf makecache"
    trust = (
        f"It is signed with the OpenPGP key {key.fingerprint}; compare that with what its maker publishes elsewhere."
        if key
        else "It is NOT signed: apt and dnf refuse it unless they are told to trust it unseen."
    )
    return f"{about.title}\nServe this folder with any web server. {copy}{change}, and run `{use}`.\n{trust}\n"
