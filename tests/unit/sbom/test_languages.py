from __future__ import annotations

import json

from nexus_oci.oci.values import digest_of
from nexus_oci.sbom.catalogue import catalogue
from nexus_oci.sbom.languages import built_in, node_packages, python_packages
from nexus_oci.sbom.model import Subject
from tests.unit.sbom.kit import go_program, tree

SUBJECT = Subject(name="x", version="1", digest=digest_of(b""), kind="image", platform="linux/amd64", epoch=0)


def test_a_python_distribution_owns_what_its_record_lists():
    top = "usr/lib/x/site-packages"
    (found,) = python_packages(
        tree({
            f"{top}/My_Package-1.0.dist-info/METADATA": b"Name: My_Package\nVersion: 1.0\nLicense-Expression: MIT\nAuthor: A\n\nName: no\n",
            f"{top}/My_Package-1.0.dist-info/RECORD": b'my/a.py,sha256=x,1\n"my/b,c.py",,\n../../bin/tool,,\nmy/gone.py,,\n',
            f"{top}/my/a.py": b"",
            f"{top}/my/b,c.py": b"",
            f"{top}/other.py": b"",
            "usr/lib/bin/tool": b"",
        })
    )  # fmt: skip
    assert (found.purl, found.licence, found.supplier) == ("pkg:pypi/my-package@1.0", "MIT", "A")
    assert found.files == (
        "usr/lib/bin/tool",
        f"{top}/My_Package-1.0.dist-info/METADATA",
        f"{top}/My_Package-1.0.dist-info/RECORD",
        f"{top}/my/a.py",
        f"{top}/my/b,c.py",
    )


def test_a_node_package_owns_its_folder_but_for_the_packages_in_it():
    def described(name: str, version: str, **more: object) -> bytes:
        return json.dumps({"name": name, "version": version, **more}).encode()

    found = {
        package.purl: package
        for package in node_packages(
            tree({
                "app/package.json": described("the-engine", "1.0.0"),
                "app/node_modules/@s/a/package.json": described("@s/a", "1.0.0", license="MIT", author={"name": "A"}),
                "app/node_modules/@s/a/index.js": b"",
                "app/node_modules/@s/a/lib/package.json": b'{"type": "module"}',
                "app/node_modules/@s/a/node_modules/b/package.json": described("b", "2.0.0", licenses=[{"type": "ISC"}]),
                "app/node_modules/@s/a/node_modules/b/b.js": b"",
                "app/node_modules/broken/package.json": b"{",
            })
        )
    }  # fmt: skip
    assert set(found) == {"pkg:npm/%40s/a@1.0.0", "pkg:npm/b@2.0.0"}
    top = "app/node_modules/@s/a"
    assert found["pkg:npm/%40s/a@1.0.0"].files == (f"{top}/index.js", f"{top}/lib/package.json", f"{top}/package.json")
    assert found["pkg:npm/b@2.0.0"].files == (f"{top}/node_modules/b/b.js", f"{top}/node_modules/b/package.json")
    assert [found[purl].licence for purl in sorted(found)] == ["MIT", "ISC"]


def test_a_module_is_in_the_program_that_tells_of_it_and_does_not_own_it():
    found = built_in(tree({"bin/x": go_program("dep\tgithub.com/a/b/v2\tv2.0.0\th1:x")}))
    module, stdlib = sorted(found, key=lambda package: package.name)
    assert (stdlib.purl, stdlib.licence) == ("pkg:golang/stdlib@1.24.4", "BSD-3-Clause")
    assert (module.purl, module.files, module.evidence) == ("pkg:golang/github.com/a/b/v2@v2.0.0", (), ("bin/x",))


def test_one_package_in_two_places_is_listed_once_and_is_the_bases_only_where_all_of_it_is():
    program = go_program()
    found = catalogue(SUBJECT, tree({"bin/a": program}, {"bin/b": program}, base=1))
    (stdlib,) = found.packages
    assert (stdlib.evidence, stdlib.in_base) == (("bin/a", "bin/b"), False)
    assert [file.path for file in found.unowned()] == ["bin/a", "bin/b"]
