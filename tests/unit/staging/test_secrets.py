"""What the search for secrets finds, where it says it is, and what it leaves alone."""

from __future__ import annotations

import base64
import os
import random
import string
import tracemalloc

import pytest

from nexus_oci.staging import secrets
from nexus_oci.staging.tree import read_tree

_CHANCE = random.Random(7)


def drawn(count: int, letters: str = string.ascii_letters + string.digits) -> str:
    return "".join(_CHANCE.choices(letters, k=count))


def pem(kind: str) -> str:
    body = "\n".join(drawn(64) for _ in range(4))
    return f"-----BEGIN {kind}-----\n{body}\n-----END {kind}-----\n"


def jwt(algorithm: str) -> str:
    parts = (f'{{"alg":"{algorithm}","typ":"JWT"}}', '{"sub":"somebody","admin":true}')
    head = ".".join(base64.urlsafe_b64encode(part.encode()).rstrip(b"=").decode() for part in parts)
    return f"{head}.{drawn(43)}"


BASE32 = string.ascii_uppercase + "234567"
SECRETS = {
    "PKCS #8": ("a.txt", pem("PRIVATE KEY"), "a private key"),
    "RSA, as a string with escapes": ("a.json", '{"k": "' + pem("RSA PRIVATE KEY").replace("\n", "\\n") + '"}', "a private key"),
    "OpenSSH": ("id_ed25519", pem("OPENSSH PRIVATE KEY"), "a private key"),
    "encrypted, with headers": (
        "key.pem",
        pem("EC PRIVATE KEY").replace("-----\n", "-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00FF\n\n", 1),
        "a private key",
    ),
    "OpenPGP": ("x.asc", pem("PGP PRIVATE KEY BLOCK").replace("-----\n", "-----\nComment: mine\n\n", 1), "a private key"),
    "PuTTY": ("x.ppk", "PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\n", "a PuTTY private key"),
    "AWS": ("a.txt", "AKIA" + drawn(16, BASE32), "an AWS access key"),
    "AWS, the secret": ("credentials", f"aws_secret_access_key = {drawn(40)}", "an AWS secret key"),
    "GitHub": ("a.js", f'x="ghp_{drawn(36)}"', "a GitHub token"),
    "GitHub, fine": ("a.js", f"github_pat_{drawn(22)}_{drawn(59)}", "a GitHub token"),
    "GitLab": ("a.txt", f"glpat-{drawn(20)}", "a GitLab token"),
    "Slack": ("a.txt", f"xoxb-{drawn(12, string.digits)}-{drawn(24)}", "a Slack token"),
    "npm": ("a.txt", f"npm_{drawn(36)}", "an npm token"),
    "PyPI": ("a.txt", f"pypi-AgEIcHlwaS5vcmc{drawn(80)}", "a PyPI token"),
    "Google": ("a.html", f"AIza{drawn(35)}", "a Google API key"),
    "Azure SAS": (
        "a.txt",
        f"https://a.blob.core.windows.net/c?sv=2024-11-04&ss=b&sig={drawn(43)}%3D",
        "an Azure shared access signature",
    ),
    "Azure storage": ("a.txt", f"AccountName=a;AccountKey={drawn(86)}==;", "an Azure storage key"),
    "Stripe": ("a.rb", f"sk_live_{drawn(24)}", "a Stripe key"),
    "JWT": ("a.txt", f"Bearer {jwt('HS256')}", "a signed JSON web token"),
    "kubeconfig": ("config", f"    client-key-data: {drawn(200)}", "a client key of a cluster"),
    "Docker": (
        "config.json",
        '{"auths":{"r":{"auth":"' + base64.b64encode(b"ann:hunter22x").decode() + '"}}}',
        "a registry's password",
    ),
    "npmrc": (".npmrc", f"//r.example/:_authToken={drawn(30)}\n", "a password for an npm registry"),
    "netrc": (".netrc", "machine a login b password c\n", "a file of passwords (.netrc)"),
    "pypirc": (".pypirc", "[pypi]\nusername = a\npassword = b1c2d3\n", "a file of passwords (.pypirc)"),
    "env": (".env", "A=b\n", "a file of environment variables (.env)"),
    "env of a stage": (".env.production", "A=b\n", "a file of environment variables (.env)"),
    "cosign": ("cosign.key", "", "a private key (cosign.key)"),
    "TOML": ("a.toml", 'db_password = "Tr0ub4dor&3"\n', "a password in a configuration file"),
    "YAML": ("a.yaml", "client-secret: 9f8e7d6c5b4a\n", "a password in a configuration file"),
    "an address": ("a.ini", "url = postgres://app:s3cr3tPw9@db/app\n", "a password in an address"),
}
INNOCENT = {
    "a certificate": ("a.pem", pem("CERTIFICATE") + pem("PUBLIC KEY") + pem("PGP PUBLIC KEY BLOCK")),
    "code that knows how keys begin": ("ssh.py", 'SK_START = b"-----BEGIN OPENSSH PRIVATE KEY-----"\nSK_END = b"-----END\n' + "x = 1\n" * 20),
    "a token of documentation": ("a.md", "AKIAIOSFODNN7EXAMPLE ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx npm_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
    "letters within others": ("a.txt", f"xxxAKIA{drawn(16, BASE32)} my_ghp_{drawn(36)}"),
    "an unsigned token": ("a.txt", jwt("none")),
    "an example of .env": (".env.example", "PASSWORD=\n"),
    "an .npmrc with a variable": (".npmrc", "//r.example/:_authToken=${NPM_TOKEN}\nregistry=https://r.example/\n"),
    "passwords from elsewhere": (
        "a.yaml",
        "password: ${DB_PASSWORD}\nsecret: /run/secrets/db\npassword: changeme-now\napi_key: your-api-key\ntoken: true\n"
        'password: ""\nsecret: vault:kv/db\nauth_token: "{{ token }}"\n# password: Tr0ub4dor&3\npassword: required\n',
    ),
    "a schema": ("a.json", '{"password": {"type": "string"}, "secret": "string", "auth": "dXNlcm5hbWU="}'),
    "a password in code": ("a.py", 'password = "Tr0ub4dor&3"\n'),
}  # fmt: skip


@pytest.mark.parametrize(("name", "text", "kind"), SECRETS.values(), ids=SECRETS)
def test_a_secret_is_found_with_its_line_and_never_shown(name: str, text: str, kind: str) -> None:
    before = "" if name.startswith(".") or not text else "a line\n\n"
    (finding,) = secrets.scan_bytes(f"/usr/{name}", (before + text).encode())
    assert finding.kind == kind
    number = 1 if finding.kind.startswith(("a file", "a private key (")) else 1 + before.count("\n")
    assert finding.line == number
    message = str(finding)
    assert message.startswith(f"/usr/{name}:{number}: {kind}")
    longest = max("".join(c if c.isalnum() else " " for c in text).split() or [""], key=len)
    assert len(longest) < 12 or longest not in message
    assert len(finding.hint) <= 4


@pytest.mark.parametrize(("name", "text"), INNOCENT.values(), ids=INNOCENT)
def test_what_only_looks_like_a_secret_passes(name: str, text: str) -> None:
    assert secrets.scan_bytes(f"/usr/{name}", text.encode()) == []


@pytest.mark.parametrize("distance", [-20_000, -100, -70, -64, -40, -1, 0, 1, 64])
@pytest.mark.parametrize("edge", [secrets.OVERLAP, secrets.OVERLAP + secrets.BLOCK])
def test_a_secret_across_two_blocks_is_found_once(edge: int, distance: int) -> None:
    token = f"ghp_{drawn(36)}"
    data = bytearray(b"\n" * (edge + secrets.BLOCK // 4))
    data[edge + distance : edge + distance + len(token)] = token.encode()
    findings = secrets.scan_bytes("/x", bytes(data))
    assert [(finding.line, finding.kind) for finding in findings] == [(edge + distance + 1, "a GitHub token")]


def test_a_token_behind_a_letter_is_none_even_where_a_block_begins() -> None:
    for start in (secrets.BLOCK - 1, secrets.BLOCK, secrets.BLOCK + 63, secrets.BLOCK + 64, secrets.BLOCK + secrets.OVERLAP - 1):
        data = bytearray(b" " * (2 * secrets.BLOCK + secrets.OVERLAP))
        data[start : start + 42] = b"Xghp_" + drawn(37).encode()
        assert secrets.scan_bytes("/x", bytes(data)) == [], start


def test_a_large_file_is_never_in_memory_as_a_whole(tmp_path) -> None:
    place = tmp_path / "big"
    with place.open("wb") as file:
        file.truncate(128 << 20)
        file.seek(0, os.SEEK_END)
        file.write(f"sk_live_{drawn(24)}".encode())
    tracemalloc.start()
    try:
        (finding,) = secrets.scan_file("/big", str(place))
        assert finding.kind == "a Stripe key"
        assert tracemalloc.get_traced_memory()[1] < 8 * secrets.BLOCK
    finally:
        tracemalloc.stop()


def test_a_path_that_the_definition_allows_is_not_searched(tmp_path) -> None:
    for name in ("lib/pkg/tests/key.pem", "lib/pkg/key.pem"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(pem("PRIVATE KEY"))
    found = secrets.scan(read_tree(str(tmp_path)), {"/lib/*/tests/*": "keys of its own tests"})
    assert [finding.path for finding in found] == ["/lib/pkg/key.pem"]
