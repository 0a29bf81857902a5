"""Each kind of fault: where it is said to be, what was found, what was expected, and what was probably meant."""

from __future__ import annotations

from collections.abc import Callable

import pytest

Problems = Callable[..., tuple[str, ...]]
PYTHON = "engine:\n  name: shop\n  version: 1.0.0\n  source: .\n  runtime: python\n  command: [python3, server.py]\n"
GO = PYTHON.replace("python\n", "go\n").replace("  command: [python3, server.py]\n", "")
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def engine(**values: str) -> str:
    """An engine with some keys replaced or added; an empty text leaves a key out."""
    keys = {"name": "shop", "version": "1.0.0", "source": ".", "runtime": "go"} | values
    return "engine:\n" + "".join(f"  {key}: {value}\n" for key, value in keys.items() if value)


@pytest.mark.parametrize(
    ("nexus", "expected"),
    [
        (engine(vresion="x"), "6:3: engine: unknown key 'vresion'; did you mean 'version'?"),
        (GO + "zzz: 1\n", "6:1: unknown key 'zzz'; expected bases, chart, engine, entitlement, platforms, registry, tier or tiers"),
        (GO + "runtime: go\n", "6:1: unknown key 'runtime'; it goes under 'engine'"),
        (engine(name=""), "1:1: engine: the key 'name' is missing"),
        (engine(name="8"), "2:9: engine.name: found the number 8, expected text; put it in quotes: \"8\""),
        (engine(name="[a]"), "2:9: engine.name: found a list, expected text"),
        ("engine: shop\n", "1:9: engine: found the text 'shop', expected a mapping of keys to values"),
        ("platforms: [linux/amd64]\n", "1:1: the key 'engine' is missing"),
        (engine(version="1.0"), "3:12: engine.version: found the number 1.0, expected a version in quotes, {file: PATH}, "
         'or {git: tag}; without quotes YAML reads 1.0 as a number, 1, and loses the rest: write "1.0"'),
        (engine(version="'1.0'"), "3:12: engine.version: '1.0' is no semantic version; it has three numbers: 1.0.0"),
        (engine(version="v1.0.0"), "3:12: engine.version: 'v1.0.0' is no semantic version; leave out the 'v': 1.0.0"),
        (engine(version="1.0.0-01"), "3:12: engine.version: '1.0.0-01' is no semantic version; write MAJOR.MINOR.PATCH, as "
         "in 1.0.0 or 1.1.0-rc.1"),
        (engine(version="{flie: VERSION}"), "3:13: engine.version: unknown key 'flie'; did you mean 'file'?"),
        (engine(version="{git: tags}"), "3:18: engine.version.git: found the text 'tags', expected tag; did you mean 'tag'?"),
        (engine(version=""), "1:1: engine: the key 'version' is missing"),
        (engine(source="/srv/shop"), "4:11: engine.source: '/srv/shop' is an absolute path; write it relative, inside the "
         "project"),
        (engine(source="{path: a/../../b}"), "4:18: engine.source.path: 'a/../../b' leaves its folder through '..'; a "
         "definition reads only what is inside the project"),
        (engine(source="{git: 'https://user:pw@git.example/x', commit: " + COMMIT + "}"), "4:17: engine.source.git: found "
         "the text 'https://user:pw@git.example/x', expected a git address (https, ssh, file or user@host:path) that holds "
         "no password"),
        (engine(source="{git: 'ext::sh -c id', commit: " + COMMIT + "}"), "4:17: engine.source.git: found the text "
         "'ext::sh -c id', expected a git address (https, ssh, file or user@host:path) that holds no password"),
        (engine(source="{git: 'https://git.example/x', commit: main}"), "4:50: engine.source.commit: found the text 'main', "
         "expected the 40 hexadecimal digits of a commit, not a branch or a tag"),
        (engine(source="{git: 'https://git.example/x'}"), "4:3: engine.source: the key 'commit' is missing"),
        (engine(runtime="rust"), "5:12: engine.runtime: found the text 'rust', expected go, python, node or binary"),
        (engine(url="shop.example"), "6:8: engine.url: found the text 'shop.example', expected a web address, as in "
         "https://example.com/engine"),
        (engine(maintainer="me"), "6:15: engine.maintainer: found the text 'me', expected a name and an address: "
         "Name <mail@example.com>"),
        (engine(licenses="Apache 2.0"), "6:13: engine.licenses: 'Apache 2.0' is no SPDX license expression, as in "
         "Apache-2.0 or MIT OR BSD-3-Clause; did you mean 'Apache-2.0'?"),
        (engine(licenses="MIT OR"), "6:13: engine.licenses: 'MIT OR' is no complete SPDX license expression, as in "
         "Apache-2.0"),
        (engine(command="shop serve"), "6:12: engine.command: found the text 'shop serve', expected a list of words, since "
         "no shell reads it: [shop, serve]"),
        (engine(command="[]"), "6:12: engine.command: found a list, expected at least one entry"),
        (engine(command="['']"), "6:13: engine.command[1]: found the text '', expected text that is not empty"),
        (engine(components="[core, api, core]"), "6:15: engine.components: 'core' is in the list twice"),
        (engine(components="core"), "6:15: engine.components: found the text 'core', expected a list; write [core]"),
        (engine(go="{variables: {main.v: '{vresion}'}}"), "6:28: engine.go.variables.main.v: '{vresion}' is filled in by "
         "nothing; did you mean 'version'?"),
        (engine(go="{package: ./...}"), "6:17: engine.go.package: './...' is a pattern; name the one main package, as in "
         "./cmd/engine"),
        (engine(python="{project: true}"), "6:3: engine: the key 'python' does not go with 'runtime: go'; take it out, or "
         "write 'runtime: python'"),
        (engine(runtime="python"), "5:12: engine: the key 'command' is missing for 'runtime: python'; nothing tells what to "
         "run: write command: [python3, server.py]"),
        (engine(runtime="node"), "5:12: engine: the key 'command' is missing for 'runtime: node'; write node: "
         "{entry: server.js}, or command: [node, server.js]"),
        (engine(runtime="binary", command="[shop]", binary="{trees: {linux/amd64: out}}"), "7:19: engine: no tree is built "
         "for linux/arm64; write binary: {trees: {linux/arm64: FOLDER}}, or leave the platform out of 'platforms'"),
        (engine(runtime="binary", command="[shop]", binary="{trees: {linux/amd64: out, linux/arm65: x}}"), "7:38: "
         "engine.binary.trees: found the key 'linux/arm65', 'linux/arm65' is not a platform that images are built for; did "
         "you mean 'linux/arm64'?"),
        (GO + "platforms: [linux/amd64, linux/x86_64]\n", "6:12: platforms: 'linux/amd64' is in the list twice"),
        (GO + "platforms: []\n", "6:12: platforms: found a list, expected at least one entry"),
        (GO + "platforms: [windows/amd64]\n", "6:13: platforms[1]: 'windows/amd64' is not a platform that images are built "
         "for; did you mean 'linux/amd64'?"),
        (GO + "tiers: [enterprize]\n", "6:9: tiers[1]: found the text 'enterprize', expected community, developer, "
         "professional, enterprise, regulated, sovereign or embedded; did you mean 'enterprise'?"),
        (GO + "chart:\n", "6:7: chart: found nothing, expected a value; leave the key out, or write {} for all defaults"),
        (GO + "chart: {path: chart, distribution: contaner}\n", "6:36: chart.distribution: there is no distribution "
         "'contaner'; did you mean 'container'?"),
        (GO + "bases: {x: {imgae: a.example/b:1}}\n", "6:13: bases.x: unknown key 'imgae'; did you mean 'image'?"),
        (GO + "bases: {x: {image: debian:12}}\n", "6:20: bases.x.image: 'debian:12' names no registry: a reference begins "
         "with the registry's host"),
        (GO + "bases: {x: {image: a.example/b}}\n", "6:20: bases.x.image: 'a.example/b' has no tag; write "
         "HOST/REPOSITORY:TAG, the lock then pins its digest"),
        (GO + "bases: {x: {for: target}}\n", "6:12: bases.x: found a mapping, expected {debian: {suite: NAME, packages: "
         "[NAMES]}} or {image: HOST/REPOSITORY:TAG}"),
        (GO + "bases: {x: {image: a.example/b:1, for: run}}\n", "6:40: bases.x.for: found the text 'run', expected target "
         "or build"),
    ],
)  # fmt: skip
def test_a_fault_of_nexus_yaml(problems: Problems, nexus: str, expected: str) -> None:
    found = problems(nexus)
    assert f"images/nexus.yaml:{expected}" in found
    assert len(found) <= 2


@pytest.mark.parametrize(
    ("container", "expected"),
    [
        ("distribution: container\nformat: [image]\n", "2:1: unknown key 'format'; did you mean 'formats'?"),
        ("distribution: sdk\n", "1:1: image.files: an sdk consists of these files and folders, and there are none; write "
         "files: {/sdk: FOLDER}"),
        ("distribution: library\nformats: [image, deb]\n", "2:18: formats: 'deb' is made for the distribution 'runtime' only"),
        ("distribution: container\nformats: [image, tar.gz]\n", "2:18: formats: 'tar.gz' is made for the distribution 'runtime' "
         "and 'library' and 'api' only"),
        ("distribution: containr\n", "1:15: distribution: found the text 'containr', expected runtime, library, container, api "
         "or sdk; did you mean 'container'?"),
        ("distribtion: container\n", "1:1: unknown key 'distribtion'; did you mean 'distribution'?"),
        ("image: {}\n", "1:1: the key 'distribution' is missing; write `distribution: container`"),
        ("distribution: container\nrepository: My/Shop\n", "2:13: repository: found the text 'My/Shop', expected a "
         "repository name: lower-case letters, digits and single separators . _ -, parted by /"),
        ("distribution: container\nbase: pyton\n", "2:7: base: there is no base 'pyton'; did you mean 'python'?"),
        ("distribution: container\nbase: go-build\n", "2:7: base: 'go-build' is for building ('for: build'); an image "
         "stands on one of node, python, static"),
        ("distribution: container\nplatforms: [linux/s390x]\n", "2:13: platforms: 'linux/s390x' is not among the "
         "definition's platforms (linux/amd64, linux/arm64)"),
        ("distribution: container\nformats: [image, deb]\n", "2:18: formats: 'deb' is made for the distribution 'runtime' "
         "only"),
        ("distribution: container\nformats: [tgz]\n", "2:11: formats[1]: found the text 'tgz', expected all, image, "
         "tar.gz, tar.zst, deb, rpm, srpm, apk, archlinux, ipk, apt or yum; did you mean 'tar.gz'?"),
        ("distribution: container\npackage: {name: shop}\n", "2:1: the key 'package' goes with 'distribution: runtime' "
         "only"),
        ("distribution: container\nimage: {user: 0}\n", "2:15: image.user: found the number 0, which is root; leave it out "
         "(65532), or write allow-root: true"),
        ("distribution: container\nimage: {user: -1}\n", "2:15: image.user: found the number -1, expected a number that is "
         "at least 0"),
        ("distribution: container\nimage: {allow-root: yes}\n", "2:21: image.allow-root: found the text 'yes', expected true "
         "or false; in YAML 1.2 yes is text: write true"),
        ("distribution: container\nimage: {ports: [70000]}\n", "2:17: image.ports[1]: found the number 70000, expected a "
         "port from 1 to 65535, as in 8080 or 8080/udp"),
        ("distribution: container\nimage: {ports: [80/tpc]}\n", "2:17: image.ports[1]: 'tpc' is not a protocol; did you mean "
         "'tcp'?"),
        ("distribution: container\nimage: {volumes: [data]}\n", "2:19: image.volumes[1]: 'data' is a relative path; write "
         "where it goes from the root, as in /etc/engine/settings.json"),
        ("distribution: container\nimage: {files: {/etc/x: y, /etc//x/: z}}\n", "2:16: image.files: '/etc/x' and '/etc//x/' are "
         "one path; leave one of them out"),
        ("distribution: container\nimage: {files: {/etc/../x: y}}\n", "2:17: image.files: found the key '/etc/../x', "
         "'/etc/../x' is not a plain absolute path; it may hold neither '..' nor '\\'"),
        ("distribution: container\nimage: {files: {/etc/x: /etc/passwd}}\n", "2:25: image.files./etc/x: '/etc/passwd' is an "
         "absolute path; write it relative, inside the project"),
        ("distribution: container\nimage: {environment: {MY-KEY: x}}\n", "2:23: image.environment: found the key 'MY-KEY', "
         "expected the name of an environment variable"),
        ("distribution: container\nimage: {environment: {DEBUG: true}}\n", "2:30: image.environment.DEBUG: found true, "
         "expected text; put it in quotes: \"true\""),
        ("distribution: container\nimage: {labels: {org.opencontainers.image.title: x}}\n", "2:18: image.labels: "
         "'org.opencontainers.image.title' is written by the build, from what the definition says about the engine"),
        ("distribution: container\nimage: {healthcheck: curl}\n", "2:22: image.healthcheck: found the text 'curl', expected "
         "a health check with a command, or none"),
        ("distribution: container\nimage: {healthcheck: {command: [x], timeout: 0s}}\n", "2:46: image.healthcheck.timeout: "
         "found the text '0s', expected a duration of at least 1ms"),
        ("distribution: container\nimage: {healthcheck: {command: [x], timeout: soon}}\n", "2:46: "
         "image.healthcheck.timeout: found the text 'soon', expected a duration, as in 10s or 1m30s"),
        ("distribution: container\nimage: {stop-signal: TERM}\n", "2:22: image.stop-signal: found the text 'TERM', expected "
         "a signal's name, as in SIGTERM"),
        ("distribution: container\nimage:\n", "2:7: image: found nothing, expected a mapping of keys to values"),
    ],
)  # fmt: skip
def test_a_fault_of_a_distribution(problems: Problems, container: str, expected: str) -> None:
    found = problems(PYTHON, container)
    assert f"images/container.yaml:{expected}" in found
    assert len(found) == 1


@pytest.mark.parametrize(
    ("engine", "expected"),
    [
        ("", ["'rpm' needs a licence: write engine.licenses, an SPDX expression such as Apache-2.0,",
              "'rpm' needs a maintainer: write engine.maintainer, Name <mail@example.com>,"]),
        ("  maintainer: A B <a@b.example>\n", ["'rpm' needs a licence: write engine.licenses, an SPDX expression such as Apache-2.0,"]),
    ],
)  # fmt: skip
def test_a_package_says_who_answers_for_it_and_under_which_licence(problems: Problems, engine: str, expected: list[str]) -> None:
    found = problems(PYTHON + engine, "distribution: runtime\nformats: [tar.gz, rpm]\n")
    assert list(found) == [f"images/container.yaml:2:19: formats: {text} in images/nexus.yaml" for text in expected]


@pytest.mark.parametrize(
    ("runtime", "expected"),
    [
        ("distribution: runtime\npackage: {files: {/etc/x: {config: true}}}\n", "2:19: package.files./etc/x: the key 'source' "
         "is missing; it names a file of the engine's source"),
        ("distribution: runtime\npackage: {files: {/run/x: {kind: ghost, source: x}}}\n", "2:49: package.files./run/x: a ghost "
         "has no source; take it out, or write kind: file"),
        ("distribution: runtime\npackage: {files: {/usr/x: {kind: link}}}\n", "2:19: package.files./usr/x: the key 'target' is "
         "missing; it says where the link points"),
        ("distribution: runtime\npackage: {overrides: {rpm: {files: {/usr/x: {kind: link, target: y, config: true}}}}}\n", "2:77: "
         "package.overrides.rpm.files./usr/x: a link is no configuration; take config out"),
        ("distribution: runtime\npackage: {socket: {listen: [/run/x.sock]}}\n", "2:11: package.socket: systemd hands sockets to "
         "a service; write package.service too"),
        ("distribution: runtime\npackage: {service: {}, socket: {listen: [run/x.sock]}}\n", "2:42: package.socket.listen[1]: found "
         "the text 'run/x.sock', expected a path, a port, or an address with a port, as in /run/engine/engine.sock, 8080 or "
         "127.0.0.1:8080"),
        ("distribution: runtime\npackage: {files: {/etc/x: {source: x, mode: \"64\"}}}\n", "2:45: "
         "package.files./etc/x.mode: found the text '64', expected a file mode in quotes, as in \"0644\", or \"4755\" with the setuid "
         "bit"),
        ("distribution: runtime\npackage: {files: {/etc/x: {source: x, mode: 0644}}}\n", "2:45: found the unquoted number "
         "0644, which YAML readers understand differently; write \"0644\" in quotes"),
        ("distribution: runtime\npackage: {relations: {depends: [libc6 >= 2]}}\n", "2:33: package.relations.depends[1]: found the text "
         "'libc6 >= 2', expected a package, as in passwd, libc6 (>= 2.36) or systemd | passwd"),
        ("distribution: runtime\npackage: {service: }\n", "2:20: package.service: found nothing, expected a value; leave "
         "the key out, or write {} for all defaults"),
        ("distribution: runtime\nrepository: container\n", "2:13: repository: 'container' is also the repository at "
         "images/container.yaml:1:1; each needs its own"),
    ],
)  # fmt: skip
def test_a_fault_of_the_runtime_distribution(problems: Problems, runtime: str, expected: str) -> None:
    assert problems(PYTHON, files={"images/runtime.yaml": runtime}) == (f"images/runtime.yaml:{expected}",)


def test_a_distribution_is_defined_once(problems: Problems) -> None:
    assert problems(files={"images/other.yaml": "distribution: container\n"}) == (
        "images/other.yaml:1:15: the distribution 'container' is defined twice, first at images/container.yaml:1:1",
    )


def test_a_definition_without_a_distribution_says_how_to_write_one(problems: Problems) -> None:
    assert problems(container=None) == (
        "images/nexus.yaml:1:1: no distribution is defined; write `distribution: container` into images/container.yaml",
    )


def test_a_distribution_under_the_wrong_ending_is_noticed(problems: Problems) -> None:
    assert problems(files={"images/runtime.yml": "distribution: runtime\n"}) == (
        "images/runtime.yml:1:1: the ending .yml is not read; rename it to images/runtime.yaml",
    )


def test_tiers_of_a_distribution_are_among_those_of_the_definition(problems: Problems) -> None:
    assert problems(PYTHON + "tiers: [community]\n", "distribution: container\ntiers: [community, sovereign]\n") == (
        "images/container.yaml:2:20: tiers: 'sovereign' is not among the definition's tiers (community)",
    )


def test_what_another_fault_explains_is_not_reported(problems: Problems) -> None:
    found = problems(PYTHON.replace("python\n", "pyhton\n") + "tiers: [comunity]\nplatforms: [linux/amd65]\n")
    assert [problem.split(": ")[1] for problem in found] == ["engine.runtime", "tiers[1]", "platforms[1]"]
