"""The results as a JUnit file, as CI systems read it: a test suite an artifact, a test case a check."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence

from nexus_oci.acceptance.results import Check, Row

_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 (2.2) cannot say, even escaped."""


def junit(rows: Sequence[Row]) -> bytes:
    """The file's bytes, UTF-8."""
    root = ET.Element("testsuites", _numbers([check for row in rows for check in row.checks], sum(row.seconds for row in rows)))
    for row in rows:
        suite = ET.SubElement(root, "testsuite", {"name": _text(row.file), **_numbers(row.checks, row.seconds)})
        properties = ET.SubElement(suite, "properties")
        for name, value in (("format", row.format), ("platform", row.platform), ("note", row.note)):
            if value:
                ET.SubElement(properties, "property", {"name": name, "value": _text(value)})
        for check in row.checks:
            _add(suite, row, check)
    ET.indent(root)
    data: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return data + b"\n"


def _add(suite: ET.Element, row: Row, check: Check) -> None:
    named = {"classname": _text(f"{row.file}.{check.group}"), "name": _text(check.name), "time": f"{check.seconds:.3f}"}
    case = ET.SubElement(suite, "testcase", named)
    if check.status == "failed":
        first = _text(check.why).splitlines()[0] if check.why.strip() else "failed"
        ET.SubElement(case, "failure", {"message": first}).text = _text(check.why)
    elif check.status == "skipped":
        ET.SubElement(case, "skipped", {"message": _text(check.why)})


def _numbers(checks: Sequence[Check], seconds: float) -> dict[str, str]:
    return {
        "tests": str(len(checks)),
        "failures": str(sum(check.status == "failed" for check in checks)),
        "errors": "0",
        "skipped": str(sum(check.status == "skipped" for check in checks)),
        "time": f"{seconds:.3f}",
    }


def _text(text: str) -> str:
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)
