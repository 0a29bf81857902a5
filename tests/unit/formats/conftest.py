"""A package with everything, from which each test takes away or changes what it is about."""

from __future__ import annotations

import pytest

from nexus_oci.formats.package import (
    Interpreter,
    Launcher,
    LinuxPackage,
    MetaPackage,
    PackageFile,
    Relations,
    ServiceUnit,
    SocketUnit,
)


@pytest.fixture
def package() -> LinuxPackage:
    return LinuxPackage(
        name="shop", version="1.0.0-rc.1", architecture="amd64", platform="linux/amd64", maintainer="Ann <ann@shop.example>",
        description="Sells.", vendor="Shop", homepage="https://shop.example", licence="Apache-2.0", section="net", user="shop",
        service=ServiceUnit(
            name="shop", description="Shop: 50% off\nand more", documentation="https://shop.example/doc", user="shop",
            command=("/usr/bin/shop", "serve"), restart="on-failure", state_directory="shop", runtime_directory="shop-run",
        ),
        socket=SocketUnit(name="shop", description="Shop (socket)", listen=("/run/shop-run/shop.sock", "8080"), group="buyers"),
        meta=MetaPackage(name="shop-all", description="Everything.", relations=Relations(depends=("till",))),
        completions={"bash": b"complete\n", "zsh": b"#compdef\n", "fish": b"complete -c\n"},
        manual={"shop.8": b".TH SHOP 8\n"},
        licences={"LICENSE": b"Do\n\nas you like.\n", "NOTICE": b"Made by Ann.\n"},
        lintian={"some-tag": "It is so,\nfor a reason."},
        files=(PackageFile(path="/etc/shop/shop.toml", kind="config", config="noreplace"),),
        epoch=1_767_225_600,
    )  # fmt: skip


@pytest.fixture
def launcher() -> Launcher:
    return Launcher(
        name="shop", interpreter=Interpreter(language="python", version="3.13.5", exact=True), command=("python3", "-m", "app"),
        home="/usr/lib/shop", work="/usr/lib/shop/app", path="/usr/lib/shop/bin:/usr/bin:/bin",
        environment={"PYTHONUSERBASE": "/usr/lib/shop", "GREETING": "it's $5 from /usr/lib/shopkeeper"},
    )  # fmt: skip
