from __future__ import annotations

import pytest

from nexus_oci.sbom.licences import debian_copyright, expression, references


@pytest.mark.parametrize(
    ("given", "spdx"),
    [
        ("MIT", "MIT"),
        ("Apache 2.0", "Apache-2.0"),
        ("MIT License", "MIT"),
        ("(MIT OR Apache-2.0)", "MIT OR Apache-2.0"),
        ("Apache Software License, MIT License", "Apache-2.0 AND MIT"),
        ("GPL-2+", "GPL-2.0-or-later"),
        ("LGPL-2.1", "LGPL-2.1-only"),
        ("GFDL-NIV-1.3+", "GFDL-1.3-no-invariants-or-later"),
        ("GPL-2+ or Artistic, and Expat", "(GPL-2.0-or-later OR Artistic-1.0-Perl) AND MIT"),
        ("GPL-2.0-only with Classpath-exception-2.0", "GPL-2.0-only WITH Classpath-exception-2.0"),
        ("GPL-3+ with autoconf exception", "LicenseRef-GPL-3-with-autoconf-exception"),
        ("BSD", "LicenseRef-BSD"),
        ("SEE LICENSE IN LICENSE.md", "LicenseRef-SEE-LICENSE-IN-LICENSE.md"),
        ("UNKNOWN", ""),
        ("Permission is hereby granted " * 20, ""),
    ],
)  # fmt: skip
def test_what_a_package_says_becomes_an_spdx_expression(given, spdx):
    assert expression(given) == spdx


def test_every_licence_of_a_machine_readable_copyright_counts_once():
    text = (
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\nUpstream-Name: x\n\n"
        "Files: *\nCopyright: 2020 A\nLicense: GPL-2+\n Long text\n License: not a field\n\n"
        "Files: debian/*\nCopyright: 2021 B\nLicense: Expat\n\nFiles: y\nCopyright: C\nLicense: GPL-2+\n\n"
        "License: Zlib\n A text that no file is under.\n"
    )
    assert debian_copyright(text) == "GPL-2.0-or-later AND MIT"


def test_prose_is_no_copyright_that_can_be_read():
    assert debian_copyright("This is Debian's package of x.\n\nLicense: GPL-2\n") == ""


def test_names_that_spdx_does_not_have_are_found_in_expressions():
    assert references(["MIT AND LicenseRef-b.1", "LicenseRef-a OR LicenseRef-b.1", ""]) == ("LicenseRef-a", "LicenseRef-b.1")
