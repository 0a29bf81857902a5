"""What cosign 3.1.3 made with one key pair that was thrown away: a public key, and signatures in each form."""

from __future__ import annotations

import base64

PUBLIC = b"""\
-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE/lgAGnZTf7x3nVW2jAppOAP2XZv8
otkp7F0QxyAcFCgUx8gjgK3aTfZNkfQ2HQpDan9MOE5vstlmANSbBIMOHw==
-----END PUBLIC KEY-----
"""
HINT = "sGSaasRqAH5tZ0QIJflyOhUmqTm4LuTv+TjpHv12s7U="
SIGNED = "sha256:c6b3cf70c15f1de91d37b29d63082a39b219aec26661fbd08b71556ffb55080d"
"""The manifest that it signed, in this repository."""
REPOSITORY = "127.0.0.1:5999/seal/ec"
PAYLOAD = (
    b'{"critical":{"identity":{"docker-reference":"127.0.0.1:5999/seal/ec"},"image":{"docker-manifest-digest":'
    b'"sha256:c6b3cf70c15f1de91d37b29d63082a39b219aec26661fbd08b71556ffb55080d"},'
    b'"type":"cosign container image signature"},"optional":null}'
)
SIGNATURE = base64.b64decode("MEQCIDEgWd2pmJ330Wi5RjkAqgslGqp5qSyOFPuPjMVCBBI6AiAVU2nHCijknAoM3fa8XT2W8K5lM0rXPvBeWh7Vyl6Nyw==")
BUNDLE = (
    b'{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json", "verificationMaterial":{"publicKey":{"hint":'
    b'"sGSaasRqAH5tZ0QIJflyOhUmqTm4LuTv+TjpHv12s7U="}}, "dsseEnvelope":{"payload":"'
    b"eyJfdHlwZSI6Imh0dHBzOi8vaW4tdG90by5pby9TdGF0ZW1lbnQvdjEiLCAic3ViamVjdCI6W3siZGlnZXN0Ijp7InNoYTI1NiI6ImM2YjNjZjcw"
    b"YzE1ZjFkZTkxZDM3YjI5ZDYzMDgyYTM5YjIxOWFlYzI2NjYxZmJkMDhiNzE1NTZmZmI1NTA4MGQifSwgImFubm90YXRpb25zIjp7fX1dLCAicHJl"
    b"ZGljYXRlVHlwZSI6Imh0dHBzOi8vc2lnc3RvcmUuZGV2L2Nvc2lnbi9zaWduL3YxIiwgInByZWRpY2F0ZSI6e319"
    b'", "payloadType":"application/vnd.in-toto+json", "signatures":[{"sig":'
    b'"MEYCIQDLFEMR5nG1IQVCnm0CphN2fsWcJD1jDxd7Q3yRPiJ55AIhAIhSZE7ZWF5O7HBkkP0lHiMfFcqug0VQRPF1iy03iM/b"}]}}'
)
FILE = b"hello"
FILE_SIGNATURE = b"MEUCIDeY8j7rbGcqBu+GrUv7L8zvmVgLogokUbZOyxg3d/o4AiEAmwx9CZobsLI1vZV9PQtU8qMiZdA5CTt16MkIErVNFbs="
