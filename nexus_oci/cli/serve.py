"""`nexus-oci serve`."""

from __future__ import annotations

import contextlib
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nexus_oci.cli.console import Console
from nexus_oci.errors import UsageError

if TYPE_CHECKING:
    from nexus_oci.serving.catalogue import Content
    from nexus_oci.serving.server import Credential

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
_ADDRESS = re.compile(r"(?:(?P<host>\[[0-9A-Fa-f:.]+\]|[^:\[\]]+):)?(?P<port>[0-9]{1,5})\Z")


@click.command()
@click.argument("target", metavar="[DIST|FILE]", required=False)
@click.option(
    "--address", default="127.0.0.1:5000", show_default=True, metavar="[HOST:]PORT", help="Where to listen; port 0: any."
)
@click.option("--namespace", default="", metavar="PATH", help="What stands before every repository's name, as in team/nexus.")
@click.option("--tls-certificate", type=_FILE, help="Serve HTTPS with this certificate and its chain, PEM.")
@click.option("--tls-key", type=_FILE, help="The certificate's private key, PEM. Default: in the same file.")
@click.option("--user", help="Let only this user in (Basic authentication).")
@click.option("--password-file", metavar="FILE|fd:N", help="What holds that user's password, in its first line.")
@click.option("--insecure-http", is_flag=True, help="Take the password over HTTP on other addresses than loopback.")
@click.option("--verbose", "-v", is_flag=True, help="Say each request on stderr.")
@click.pass_obj
def command(
    console: Console,
    target: str | None,
    address: str,
    namespace: str,
    tls_certificate: Path | None,
    tls_key: Path | None,
    user: str | None,
    password_file: str | None,
    insecure_http: bool,
    verbose: bool,
) -> None:
    """Serve what a build left, an OCI layout, or a bundle (FILE, or FILE of FILE.001 …), as a read-only registry.

    Manifests, blobs in ranges, tags, referrers and the catalogue, as the distribution-spec 1.1 has them. Prints the address once
    it listens; Ctrl-C ends it. What is damaged is not served.
    """
    from nexus_oci.oci.reference import Reference, is_loopback
    from nexus_oci.serving.answers import Registry
    from nexus_oci.serving.server import Listening, RegistryServer

    host, port = _parsed(address)
    if namespace:
        Reference.parse(f"localhost/{namespace}/x")
    if tls_key is not None and tls_certificate is None:
        raise UsageError("--tls-key needs --tls-certificate", why="a key alone says nothing of who it belongs to")
    credential = _credential(console, user, password_file)
    if credential is not None and tls_certificate is None and not is_loopback(host) and not insecure_http:
        raise UsageError(
            f"the password would cross the network to {host} unprotected",
            why="without TLS everybody on the way can read it",
            hint="give --tls-certificate, or insist with --insecure-http",
        )
    content = _content(console, target)
    registry = Registry(content, namespace)
    names = registry.catalogue().repositories
    listening = Listening(host=host, port=port, certificate=tls_certificate, key=tls_key, credential=credential)
    with RegistryServer(registry, listening, console.say if verbose else lambda _: None) as server:
        if console.as_json:
            console.data({"address": server.url, "repositories": list(names)})
        else:
            console.result(server.url)
        sys.stdout.flush()
        if not console.quiet:
            console.say(f"serving {len(names)} repositories, read-only; Ctrl-C ends it")
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever(poll_interval=0.2)


def _parsed(address: str) -> tuple[str, int]:
    match = _ADDRESS.match(address)
    if match is None or int(match["port"]) > 65535:
        raise UsageError(f"{address!r} is no address to listen on", hint="write HOST:PORT or PORT, as in 127.0.0.1:5000")
    return (match["host"] or "127.0.0.1").strip("[]"), int(match["port"])


def _credential(console: Console, user: str | None, password_file: str | None) -> Credential | None:
    from nexus_oci.serving.server import Credential
    from nexus_oci.trust.keys import passphrase_source

    if user is None and password_file is None:
        return None
    if user is None or password_file is None or not user or ":" in user:
        raise UsageError(
            "--user and --password-file belong together", why="Basic authentication takes a name without `:`, and a password"
        )
    password = passphrase_source(password_file, console.environment, None)("the password") or b""
    if not password:
        raise UsageError(f"{password_file} holds no password", why="its first line is empty")
    return Credential(user=user, password=password.decode(errors="surrogateescape"))


def _content(console: Console, target: str | None) -> Content:
    from nexus_oci.bundle.opened import open_bundle
    from nexus_oci.bundle.parts import parts_of
    from nexus_oci.cli.session import find_store
    from nexus_oci.pipeline.serving import BundleContent, StoreContent

    for path in (Path(target), console.directory / target) if target is not None else ():
        if path.is_file() or (not path.is_dir() and parts_of(path)):
            return BundleContent(open_bundle([path]))
    store = find_store(console, target)
    if store is None:
        raise UsageError(f"{target} is no folder or file here", why="what is served is on this disk", hint="pull it first")
    return StoreContent(store)
