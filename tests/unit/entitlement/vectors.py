"""Tokens and what is to become of them: the cases that Python's reader and the checker in Go are both held to.

`python -m tests.unit.entitlement.vectors` writes vectors.json anew. Nothing of the program is used here: tokens are put together by
hand, from the description in docs/licensing.md, and each verdict is written down, not computed. The keys are of no worth.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

FILE = Path(__file__).with_name("vectors.json")
SEEDS = {"vendor": bytes(range(32)), "rotated": bytes(range(32, 64)), "stranger": bytes(range(64, 96))}
ORDER = 2**252 + 27742317777372353535851937790883648493
"""Of the group of Ed25519 (RFC 8032, section 5.1)."""
ISSUED = 1_770_000_000
BEGINS, ENDS, GRACE = ISSUED + 86_400, ISSUED + 31_536_000, 14 * 86_400
NOW = ISSUED + 10_000_000
CLAIMS: dict[str, Any] = {
    "aud": "shop", "distributions": ["container", "runtime"], "exp": ENDS, "features": ["http", "unix"], "grace": GRACE, "iat": ISSUED,
    "jti": "order-4711", "limits": {"requests-per-minute": 6000, "workers": 4}, "nbf": BEGINS, "sub": "Example Stores Ltd", "tier": "enterprise",
}  # fmt: skip
SITE: dict[str, Any] = {
    "engine": "shop", "distribution": "container", "tier": "enterprise", "epoch": ISSUED - 1000, "mark": NOW - 5000, "revoked": ["order-1"],
}  # fmt: skip


def private(name: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(SEEDS[name])


def public(name: str) -> bytes:
    return private(name).public_key().public_bytes_raw()


def kid(name: str) -> str:
    der = private(name).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def header(name: str = "vendor", **changes: Any) -> bytes:
    fields = {"alg": "EdDSA", "kid": kid(name), "typ": "nexus-entitlement+jwt"} | changes
    return compact({key: value for key, value in fields.items() if value is not None})


def compact(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()


def claims(**changes: Any) -> bytes:
    return compact(CLAIMS | changes)


def token(payload: bytes | None = None, head: bytes | None = None, signer: str = "vendor") -> str:
    signed = f"{b64(header() if head is None else head)}.{b64(claims() if payload is None else payload)}"
    return f"{signed}.{b64(private(signer).sign(signed.encode()))}"


def parts(text: str) -> tuple[str, str, bytes]:
    head, payload, signature = text.split(".")
    return head, payload, base64.urlsafe_b64decode(signature + "==")


def case(
    name: str, expect: str, text: str, *, now: int = NOW, keys: tuple[str, ...] = ("vendor",), **site: Any
) -> dict[str, Any]:
    return {"name": name, "expect": expect, "token": text, "now": now, "keys": list(keys), "site": SITE | site}


def _good() -> Iterator[dict[str, Any]]:
    yield case("plain", "valid", token())
    yield case("a line end behind it", "valid", token() + "\n")
    yield case("blanks around it", "valid", f" \t{token()}\r\n")
    yield case("no features, no limits, no grace", "valid", token(claims(features=[], limits={}, grace=0)))
    yield case("a customer in other letters", "valid", token(claims(sub="Żółw 株式会社 Café & <Söhne> 😀")))
    yield case("a customer with quotes and backslashes", "valid", token(claims(sub='the "best" \\ / shop')))
    yield case("a customer of 200 bytes", "valid", token(claims(sub="é" * 100)))
    yield case("64 features of 50 letters", "valid", token(claims(features=sorted(f"{n:02d}" + "f" * 48 for n in range(64)))))
    yield case("the largest limit", "valid", token(claims(limits={"a": 2**53 - 1, "b": 0})))
    yield case("signed by the key before the rotation", "valid", token(), keys=("rotated", "vendor"))
    yield case(
        "signed by the key after the rotation",
        "valid",
        token(head=header("rotated"), signer="rotated"),
        keys=("rotated", "vendor"),
    )
    yield case("a higher tier than asked for", "valid", token(claims(tier="sovereign")))
    yield case("the last second", "valid", token(), now=ENDS)
    yield case("the first second of the grace", "grace", token(), now=ENDS + 1)
    yield case("the last second of the grace", "grace", token(), now=ENDS + GRACE)
    yield case("begins in five minutes", "valid", token(), now=BEGINS - 300, mark=0)
    yield case("issued by a clock that is five minutes ahead", "valid", token(claims(iat=NOW + 300)))
    yield case("seen five minutes later", "valid", token(), mark=NOW + 300)
    yield case("built five minutes later", "valid", token(), epoch=NOW + 300)
    yield case("the year 9999", "valid", token(claims(exp=253402300799)))


def _late() -> Iterator[dict[str, Any]]:
    yield case("over, grace and all", "expired", token(), now=ENDS + GRACE + 1)
    yield case("over, without grace", "expired", token(claims(grace=0)), now=ENDS + 1)
    yield case("not begun", "not-yet-valid", token(), now=BEGINS - 301, mark=0)
    yield case("issued later than now", "clock", token(claims(iat=NOW + 301)))
    yield case("issued later than now, and over", "clock", token(claims(iat=ENDS - 1, nbf=0)), now=BEGINS, mark=0)
    yield case("now is before the latest time seen", "clock", token(), mark=NOW + 301)
    yield case("now is before the build", "clock", token(), epoch=NOW + 301)
    yield case("a clock set back behind the end", "clock", token(), now=ENDS - 10, mark=ENDS + GRACE + 5000)


def _elsewhere() -> Iterator[dict[str, Any]]:
    yield case("another engine", "wrong-engine", token(claims(aud="shopping")))
    yield case("another distribution", "wrong-distribution", token(claims(distributions=["library", "runtime"])))
    yield case("a lower tier", "wrong-tier", token(claims(tier="professional")))
    yield case("a free tier", "wrong-tier", token(claims(tier="developer")))
    yield case("revoked", "revoked", token(claims(jti="order-1")))
    yield case("revoked and for another engine", "revoked", token(claims(jti="order-1", aud="shopping")))
    yield case("a key that is not known", "wrong-key", token(head=header("stranger"), signer="stranger"))
    yield case("a key that is no longer known", "wrong-key", token(), keys=("rotated",))
    yield case("no key is known", "wrong-key", token(), keys=())


def _edited() -> Iterator[dict[str, Any]]:
    head, payload, signature = parts(token())
    better = b64(claims(exp=ENDS + 1, tier="sovereign"))
    yield case("claims exchanged", "edited", f"{head}.{better}.{b64(signature)}")
    yield case("claims that are none exchanged", "edited", f"{head}.{b64(b'{}')}.{b64(signature)}")
    yield case(
        "one bit of the signature",
        "edited",
        f"{head}.{payload}.{b64(signature[:9] + bytes([signature[9] ^ 4]) + signature[10:])}",
    )
    yield case("the other half of the signature", "edited", f"{head}.{payload}.{b64(signature[32:] + signature[:32])}")
    yield case("no signature but zeros", "edited", f"{head}.{payload}.{b64(bytes(64))}")
    higher = (int.from_bytes(signature[32:], "little") + ORDER).to_bytes(32, "little")
    yield case("S and the order of the group", "edited", f"{head}.{payload}.{b64(signature[:32] + higher)}")
    yield case("R is the neutral element, S is 0", "edited", f"{head}.{payload}.{b64(bytes([1]) + bytes(63))}")
    yield case("the id of one known key, the signature of another", "edited", token(signer="rotated"), keys=("rotated", "vendor"))
    yield case("signed by a stranger under a known id", "edited", token(signer="stranger"))
    yield case("signed without the header", "edited", f"{head}.{payload}.{b64(private('vendor').sign(payload.encode()))}")
    yield case(
        "what decodes to it was signed", "edited", f"{head}.{payload}.{b64(private('vendor').sign(header() + b'.' + claims()))}"
    )
    yield case(
        "its hash was signed",
        "edited",
        f"{head}.{payload}.{b64(private('vendor').sign(hashlib.sha512(f'{head}.{payload}'.encode()).digest()))}",
    )


def _envelopes() -> Iterator[dict[str, Any]]:
    good = token()
    head, payload, raw = parts(good)
    signature = b64(raw)
    spoiled = {
        "nothing": "", "a blank": " ", "dots": "..", "one part": head, "two parts": f"{head}.{payload}",
        "no signature": f"{head}.{payload}.", "four parts": f"{good}.{signature}", "five parts, as of JWE": f"{good}.{head}.{head}",
        "padding": f"{good}==", "a dot before it": f".{good}", "a line end in it": f"{head}.{payload}\n.{signature}",
        "a line end in a part": f"{head}.{payload[:8]}\n{payload[8:]}.{signature}", "a carriage return in a part": f"{head[:4]}\r{head[4:]}.{payload}.{signature}",
        "a blank in a part": f"{head}.{payload[:8]} {payload[8:]}.{signature}", "two tokens": f"{good}\n{good}",
        "not ASCII": f"{head}.{payload}é.{signature}", "a byte order mark": f"\ufeff{good}", "a form feed around it": f"{good}\f",
        "a signature of 63 bytes": f"{head}.{payload}.{b64(raw[:63])}", "a signature of 65 bytes": f"{head}.{payload}.{b64(raw + b'x')}",
        "bits beyond the last byte": f"{head}.{payload}.{signature[:-1]}{_next(signature[-1])}",
        "JSON instead of compact form": json.dumps({"payload": payload, "protected": head, "signature": signature}),
        "in quotes": f'"{good}"', "Bearer before it": f"Bearer {good}", "more than 8192 bytes of blanks": good + " " * 8192,
    }  # fmt: skip
    for name, text in spoiled.items():
        yield case(name, "malformed", text)
    odd = next(text for n in range(200) if "-" in (text := token(claims(jti=f"n-{n}"))).split(".")[2])
    yield case("the other alphabet of base64", "malformed", odd[: odd.rindex(".")] + odd[odd.rindex(".") :].replace("-", "+"))
    yield case(
        "more than 8192 bytes",
        "malformed",
        token(
            claims(
                features=sorted(f"{n:02d}" + "f" * 62 for n in range(64)),
                distributions=sorted(f"{n:02d}" + "d" * 62 for n in range(64)),
            )
        ),
    )


def _next(letter: str) -> str:
    """The letter of base64url that differs in its lowest bit."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return letters[letters.index(letter) ^ 1]


def _headers() -> Iterator[dict[str, Any]]:
    heads = {
        "alg none": header(alg="none"), "alg HS256": header(alg="HS256"), "alg ES256": header(alg="ES256"), "alg eddsa": header(alg="eddsa"),
        "alg Ed25519": header(alg="Ed25519"), "no alg": header(alg=None), "no kid": header(kid=None), "no typ": header(typ=None),
        "typ JWT": header(typ="JWT"), "kid in capitals": header(kid=kid("vendor").upper()), "a short kid": header(kid=kid("vendor")[:16]),
        "a path as kid": header(kid="../../dev/null"), "crit": header(crit=["exp"]), "a key of its own": header(jwk={"kty": "OKP"}),
        "b64 false": header(b64=False), "the keys in another order": json.dumps({"typ": "nexus-entitlement+jwt", "alg": "EdDSA", "kid": kid("vendor")}, separators=(",", ":")).encode(),
        "blanks in the header": json.dumps({"alg": "EdDSA", "kid": kid("vendor"), "typ": "nexus-entitlement+jwt"}).encode(),
        "alg twice": header().replace(b'{"alg":"EdDSA"', b'{"alg":"none","alg":"EdDSA"'), "a line end behind the header": header() + b"\n",
        "no JSON": b"header", "a list": b"[]", "a digit of another script in kid": header(kid="٣" + kid("vendor")[1:]),
    }  # fmt: skip
    for name, head in heads.items():
        yield case(name, "malformed", token(head=head))


def _payloads() -> Iterator[dict[str, Any]]:
    plain = claims()
    texts = {
        "no claims": b"{}", "a list of claims": b"[]", "a text": b'"claims"', "null": b"null", "no JSON at all": b"claims",
        "blanks between claims": json.dumps(CLAIMS, sort_keys=True).encode(), "a blank behind the claims": plain + b" ",
        "a line end behind the claims": plain + b"\n", "two objects": plain + plain, "a byte order mark before the claims": b"\xef\xbb\xbf" + plain,
        "the claims in another order": json.dumps(dict(reversed(CLAIMS.items())), separators=(",", ":")).encode(),
        "a claim twice": plain.replace(b'"tier":', b'"tier":"sovereign","tier":'), "a claim twice, in capitals": plain.replace(b'"tier":', b'"TIER":"sovereign","tier":'),
        "a claim in capitals": plain.replace(b'"tier"', b'"TIER"'), "a claim more": claims(admin=True), "a claim less": compact({k: v for k, v in CLAIMS.items() if k != "grace"}),
        "an escape that is not needed": plain.replace(b'"shop"', b'"sh\\u006fp"'), "an escaped slash": claims(sub="a/b").replace(b"a/b", b"a\\/b"),
        "UTF-8 that is none": claims(sub="XX").replace(b"XX", b"\xff\xfe"), "UTF-8 that is longer than needed": claims(sub="XX").replace(b"XX", b"\xc0\xaf"),
        "half a character, escaped": claims(sub="XX").replace(b"XX", b"\\ud800"), "half a character, in UTF-8": claims(sub="XX").replace(b"XX", b"\xed\xa0\x80"),
        "a fraction": claims(exp=ENDS + 0.5), "a fraction that is whole": plain.replace(str(ENDS).encode(), b"%d.0" % ENDS),
        "an exponent": plain.replace(str(ENDS).encode(), b"2e9"), "a number in quotes": claims(exp=str(ENDS)), "true for a number": claims(grace=True),
        "minus zero": claims(grace=0).replace(b'"grace":0', b'"grace":-0'), "a zero before a number": claims(grace=7).replace(b'"grace":7', b'"grace":07'),
        "a number too large for 64 bits": claims(exp=2**64 + ENDS), "a number of 5000 digits": claims(exp=7).replace(b'"exp":7', b'"exp":' + b"7" * 5000),
        "NaN": plain.replace(str(ENDS).encode(), b"NaN"), "null for a list": claims(features=None), "null for the limits": claims(limits=None),
        "null for a text": claims(sub=None), "null for a number": claims(grace=None), "a text for a list": claims(distributions="container"),
        "a number in a list": claims(features=[1]), "null in a list": claims(features=[None]), "a list for the limits": claims(limits=[]),
        "a text as a limit": claims(limits={"workers": "4"}), "true as a limit": claims(limits={"workers": True}), "null as a limit": claims(limits={"workers": None}),
        "a limit twice": claims(limits={"w": 1}).replace(b'{"w":1}', b'{"w":9,"w":1}'), "limits in another order": claims(limits={"a": 1, "b": 2}).replace(b'{"a":1,"b":2}', b'{"b":2,"a":1}'),
        "nested 3000 deep": claims(sub="XX").replace(b'"XX"', b"[" * 1500 + b"]" * 1500),
    }  # fmt: skip
    for name, text in texts.items():
        yield case(name, "malformed", token(text))


def _values() -> Iterator[dict[str, Any]]:
    wrong: dict[str, dict[str, Any]] = {
        "no id": {"jti": ""}, "an id with a blank": {"jti": "a b"}, "an id that ends with a dot": {"jti": "a."}, "an id of 65 letters": {"jti": "a" * 65},
        "an id with a line end": {"jti": "a\n"}, "a path as id": {"jti": "../a"}, "no customer": {"sub": ""}, "a blank before the customer": {"sub": " Ann"},
        "a blank behind the customer": {"sub": "Ann "}, "a customer of 201 bytes": {"sub": "é" * 100 + "e"}, "a customer with a line end": {"sub": "a\nb"},
        "a customer with NUL": {"sub": "a\0b"}, "a customer with an escape sequence": {"sub": "a\x1b[31mb"}, "a customer with C1": {"sub": "a\x9bb"},
        "a customer that runs backwards": {"sub": "a\u202eb"}, "a customer with a line separator": {"sub": "a\u2028b"}, "a customer with an invisible blank": {"sub": "a\u200bb"},
        "a customer with a byte order mark": {"sub": "a\ufeffb"}, "no engine": {"aud": ""}, "an engine in capitals": {"aud": "Shop"}, "an engine in other letters": {"aud": "shöp"},
        "engines": {"aud": ["shop"]}, "no tier": {"tier": ""}, "a tier that is none": {"tier": "gold"}, "a tier in capitals": {"tier": "Enterprise"}, "a tier that runs no engine": {"tier": "embedded"},
        "no distribution": {"distributions": []}, "distributions unsorted": {"distributions": ["runtime", "container"]}, "a distribution twice": {"distributions": ["container", "container"]},
        "every distribution": {"distributions": ["*"]}, "features unsorted": {"features": ["b", "a"]}, "a feature in capitals": {"features": ["A"]}, "an empty feature": {"features": [""]},
        "65 features": {"features": sorted(f"f{n:02d}" for n in range(65))}, "a feature of 65 letters": {"features": ["f" * 65]}, "a limit below zero": {"limits": {"workers": -1}},
        "a limit that JSON cannot say exactly": {"limits": {"workers": 2**53}}, "a limit without a name": {"limits": {"": 1}}, "a limit in capitals": {"limits": {"W": 1}},
        "65 limits": {"limits": {f"l{n:02d}": n for n in range(65)}}, "a time before 1970": {"nbf": -1}, "a time after the year 9999": {"exp": 253402300800},
        "it ends when it begins": {"exp": BEGINS}, "it ends before it was issued": {"iat": ENDS}, "a grace of 367 days": {"grace": 367 * 86400}, "a grace below zero": {"grace": -1},
    }  # fmt: skip
    for name, changes in wrong.items():
        yield case(name, "malformed", token(claims(**changes)))


def document() -> dict[str, Any]:
    makers = (_good, _late, _elsewhere, _edited, _envelopes, _headers, _payloads, _values)
    cases = [found for maker in makers for found in maker()]
    return {"keys": {name: base64.b64encode(public(name)).decode() for name in SEEDS}, "cases": cases}


def text() -> str:
    return json.dumps(document(), indent=1, ensure_ascii=True) + "\n"


if __name__ == "__main__":
    FILE.write_text(text())
