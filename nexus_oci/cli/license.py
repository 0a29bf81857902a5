"""`nexus-oci license`: entitlements are issued, looked at, and verified."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nexus_oci.cli.console import Console
from nexus_oci.cli.options import read_signer

if TYPE_CHECKING:
    from nexus_oci.definition.definition import Definition
    from nexus_oci.entitlement.claims import Claims

_TIERS = click.Choice(["community", "developer", "professional", "enterprise", "regulated", "sovereign"])
_FILE = click.Path(path_type=Path, dir_okay=False, allow_dash=True)
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@click.group()
def command() -> None:
    """Issue, inspect and verify entitlements: signed tokens without which engines of higher tiers do not start."""


@command.command()
@click.option("--key", required=True, metavar="KEY", help="The private key that signs it: FILE, env:NAME, or one in a device.")
@click.option("--passphrase-file", metavar="FILE|fd:N", help="What holds that key's passphrase, in its first line.")
@click.option("--customer", required=True, help="Whom it is for.")
@click.option("--engine", help="The engine's name. Default: the definition's.")
@click.option("--tier", required=True, type=_TIERS, help="The tier that the customer has.")
@click.option("--distribution", "-d", "distributions", multiple=True, default=("container", "runtime"), show_default=True,
              help="A distribution that may be run; repeatable.")  # fmt: skip
@click.option("--feature", "features", multiple=True, metavar="NAME", help="A feature that is licensed; repeatable.")
@click.option("--limit", "limits", multiple=True, metavar="NAME=NUMBER", help="What the engine is held to; repeatable.")
@click.option("--not-before", metavar="WHEN", help="When it begins, as in 2027-01-31 or 2027-01-31T12:00:00Z. Default: now.")
@click.option("--not-after", metavar="WHEN", help="When it ends. A date is its beginning, in UTC.")
@click.option("--days", type=click.IntRange(1, 36500), help="For how many days it holds, in place of --not-after.")
@click.option(
    "--grace", default="0d", show_default=True, metavar="LENGTH", help="How long after its end engines still start, as in 14d."
)
@click.option("--id", "identifier", help="What it is called when it is revoked. Default: 16 random digits.")
@click.option("--output", "-o", type=click.Path(path_type=Path), help="A new file for the token. Default: standard output.")
@click.pass_obj
def issue(console: Console, /, key: str, passphrase_file: str | None, output: Path | None, **options: Any) -> None:
    """Make an entitlement. The key is Ed25519 (nexus-oci keygen --type ed25519); its passphrase is asked for, or comes from
    NEXUS_OCI_KEY_PASSPHRASE or --passphrase-file. Prints the token, or the name of its file.
    """
    from nexus_oci.entitlement.token import opened
    from nexus_oci.pipeline.entitlements import issue_token

    claims = _claims(console, **options)
    token = issue_token(claims, read_signer(console, key, passphrase_file))
    target = None if output is None else console.directory / output
    if target is not None:
        _write_new(target, token)
    if console.as_json:
        file = {} if target is None else {"file": str(target)}
        console.data({"token": token, "key": opened(token.encode()).key, "claims": claims.to_json(), **file})
        return
    console.result(token if target is None else str(target))


@command.command()
@click.argument("file", type=_FILE)
@click.pass_obj
def inspect(console: Console, file: Path) -> None:
    """Show what the token in FILE (- for standard input) says, without checking who signed it."""
    from nexus_oci.entitlement.token import claims_of, opened
    from nexus_oci.pipeline.entitlements import described

    envelope = opened(_token(file))
    claims = claims_of(envelope)
    if console.as_json:
        console.data({"key": envelope.key, "signature": "not checked", "claims": claims.to_json()})
        return
    for name, value in {**described(claims), "key": envelope.key, "signature": "not checked; `license verify` does"}.items():
        console.result(f"{name + ':':<15}{value}")


@command.command()
@click.argument("file", type=_FILE)
@click.option("--key", "key_files", multiple=True, type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              help="A public key that may have signed it; repeatable. Default: the definition's.")  # fmt: skip
@click.option("--engine", help="The engine that it has to be for. Default: the definition's.")
@click.option("--distribution", "-d", help="The distribution that it has to cover.")
@click.option("--tier", type=_TIERS, help="The least tier that it has to be for.")
@click.option(
    "--revoked", multiple=True, metavar="ID", help="An entitlement that no longer holds; repeatable. Default: the definition's."
)
@click.option("--at", metavar="WHEN", help="The time that it has to hold at. Default: now.")
@click.pass_obj
def verify(console: Console, /, file: Path, key_files: tuple[Path, ...], at: str | None, **wanted: Any) -> None:
    """Check the token in FILE (- for standard input) as an engine does before it starts.

    The signature and the time always, engine, distribution and tier where they are given; what was not is told. A project's
    `entitlement:` block gives keys, engine and revoked ids. Exit code 4 where the token is refused.
    """
    from nexus_oci.entitlement.judgement import judge
    from nexus_oci.entitlement.refusals import Refused
    from nexus_oci.entitlement.token import key_id, read
    from nexus_oci.errors import UsageError
    from nexus_oci.pipeline.checker import public_keys
    from nexus_oci.pipeline.entitlements import read_keys

    definition = _definition(console)
    block = definition.entitlement if definition else None
    keys = read_keys(console.directory / name for name in key_files)
    if not keys and definition and block:
        keys = {key_id(key): key for key in public_keys(block, definition.root)}
    if not keys:
        raise UsageError(
            "no key is given", why="and no definition here names one", hint="name the vendor's public key with --key"
        )
    site = _site(definition, **wanted)
    now = _when(at) if at else int(time.time())
    try:
        claims = read(_token(file), keys)
        state = judge(claims, site, now)
    except Refused as refused:
        if console.as_json:
            console.data({"valid": False, "reason": refused.reason, "what": refused.what, "why": refused.why, "do": refused.hint})
        raise
    asked = {"engine": site.engine, "distribution": site.distribution, "tier": site.tier}
    _tell(console, claims, state, [name for name, value in asked.items() if value is None])


def _tell(console: Console, claims: Claims, state: str, skipped: list[str]) -> None:
    from nexus_oci.entitlement.claims import moment

    if console.as_json:
        console.data({"valid": True, "state": state, "not_checked": skipped, "claims": claims.to_json()})
        return
    console.result(f"valid: {claims.id} for {claims.customer}: {claims.engine}, {claims.tier}, until {moment(claims.not_after)}")
    if state == "grace":
        console.say(f"warning: it has ended; engines start until {moment(claims.not_after + claims.grace)}")
    if skipped and not console.quiet:
        console.say(f"not checked, as nothing was given to check against: {', '.join(skipped)}")


def _claims(console: Console, *, identifier: str | None, limits: tuple[str, ...], **options: Any) -> Claims:
    from secrets import token_hex

    from nexus_oci.entitlement.claims import Claims
    from nexus_oci.errors import UsageError

    issued = int(time.time())
    begins = _when(options["not_before"]) if options["not_before"] else issued
    if (options["not_after"] is None) == (options["days"] is None):
        raise UsageError("an entitlement has one end", hint="give either --not-after or --days")
    engine = options["engine"]
    if engine is None:
        definition = _definition(console)
        if definition is None:
            raise UsageError("no engine is named", why="and there is no definition here", hint="name it with --engine")
        engine = definition.engine.name
    return Claims(
        id=identifier or token_hex(8),
        customer=options["customer"],
        engine=engine,
        tier=options["tier"],
        distributions=tuple(sorted(set(options["distributions"]))),
        features=tuple(sorted(set(options["features"]))),
        limits=dict(map(_limit, limits)),
        issued=issued,
        not_before=begins,
        not_after=_when(options["not_after"]) if options["not_after"] else begins + options["days"] * 86400,
        grace=_length(options["grace"]),
    )


def _site(definition: Definition | None, *, engine: str | None, revoked: tuple[str, ...], **wanted: Any) -> Any:
    from nexus_oci.entitlement.judgement import Site

    block = definition.entitlement if definition else None
    if definition and block:
        engine, revoked = engine or definition.engine.name, (*block.revoked, *revoked)
    return Site(engine=engine, distribution=wanted["distribution"], tier=wanted["tier"], revoked=frozenset(revoked))


def _definition(console: Console) -> Definition | None:
    """The definition of the folder, where there is one."""
    if not (console.directory / "images" / "nexus.yaml").is_file():
        return None
    from nexus_oci.definition import load
    from nexus_oci.pipeline.project import default_folder

    return load(console.directory, defaults=default_folder())


def _token(file: Path) -> bytes:
    from nexus_oci.entitlement.token import LARGEST
    from nexus_oci.pipeline.entitlements import read_token

    return sys.stdin.buffer.read(LARGEST + 1) if str(file) == "-" else read_token(file)


def _when(text: str) -> int:
    """A date or a time as seconds since 1970; without an offset it is in UTC."""
    from datetime import UTC, datetime

    from nexus_oci.errors import UsageError

    try:
        found = datetime.fromisoformat(text)
        return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError):
        raise UsageError(f"{text!r} is no time", hint="write 2027-01-31, or 2027-01-31T12:00:00Z") from None


def _length(text: str) -> int:
    """A length of time, as in 14d or 36h, in seconds."""
    from nexus_oci.errors import UsageError

    if not (text[:-1].isascii() and text[:-1].isdigit() and text[-1] in _UNITS and len(text) <= 10):
        raise UsageError(f"{text!r} is no length of time", hint="write a whole number with s, m, h or d, as in 14d")
    return int(text[:-1]) * _UNITS[text[-1]]


def _limit(text: str) -> tuple[str, int]:
    from nexus_oci.errors import UsageError

    name, equals, number = text.partition("=")
    if not equals or not (number.isascii() and number.isdigit() and len(number) <= 16):
        raise UsageError(f"{text!r} is no limit", hint="write NAME=NUMBER, as in workers=4")
    return name, int(number)


def _write_new(path: Path, token: str) -> None:
    """A file that only its owner reads, and that was not there before."""
    import os

    from nexus_oci.errors import UsageError

    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{token}\n")
    except OSError as error:
        raise UsageError(f"{path} cannot be written", why=error.strerror, hint="name a new file with --output") from error
