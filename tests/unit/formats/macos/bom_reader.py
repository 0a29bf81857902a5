"""A reader of Boms that keeps to the format's rules more strictly than the Installer: for tests of what is written."""

from __future__ import annotations

import itertools
import struct


def read_bom(data: bytes) -> list[tuple[str, int, int, int]]:
    """Path, mode, size and checksum of every entry, in the tree's order; an `AssertionError` where a rule is broken."""
    magic, version, count, index, index_size, variables, variables_size = struct.unpack_from(">8s6I", data)
    assert (magic, version) == (b"BOMStore", 1)
    assert index + index_size == len(data)
    assert variables + variables_size == index
    (slots,) = struct.unpack_from(">I", data, index)
    places = [struct.unpack_from(">II", data, index + 4 + 8 * slot) for slot in range(slots)]
    assert sum(1 for start, _ in places if start) == count
    ends = sorted((start, start + size) for start, size in places if start)
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(ends))

    def block(number: int) -> bytes:
        start, size = places[number]
        return data[start : start + size]

    named = {}
    position = variables + 4
    for _ in range(struct.unpack_from(">I", data, variables)[0]):
        number, length = struct.unpack_from(">IB", data, position)
        named[data[position + 5 : position + 5 + length]] = number
        position += 5 + length
    assert set(named) == {b"BomInfo", b"Paths", b"HLIndex", b"VIndex", b"Size64"}
    tree, _, child, page, paths = struct.unpack_from(">4s4I", block(named[b"Paths"]))
    assert (tree, page) == (b"tree", 4096)
    leaves = []

    def walk(number: int) -> None:
        content = block(number)
        assert len(content) == page
        leaf, entries, following, before = struct.unpack_from(">HHII", content)
        pairs = [struct.unpack_from(">II", content, 12 + 8 * entry) for entry in range(entries)]
        if leaf:
            leaves.append((number, following, before, pairs))
            return
        for below, last in pairs:
            walk(below)
            assert leaves[-1][3][-1][1] == last

    walk(child)
    for position, (_, following, before, _) in enumerate(leaves):
        assert following == (leaves[position + 1][0] if position + 1 < len(leaves) else 0)
        assert before == (leaves[position - 1][0] if position else 0)
    names: dict[int, str] = {}
    order = []
    found = []
    for _, _, _, pairs in leaves:
        for key, place in pairs:
            number, facts = struct.unpack(">II", block(key))
            (parent,) = struct.unpack_from(">I", block(place))
            name = block(place)[4:-1]
            order.append((parent, name))
            names[number] = f"{names[parent]}/{name.decode()}" if parent else name.decode()
            kind, _, _, mode, _, _, _, size, _ = struct.unpack_from(">BBHHIIIIB", block(facts))
            checksum = struct.unpack_from(">I", block(facts), 23)[0] if kind != 2 else 0
            assert block(facts).endswith(bytes(8))
            found.append((names[number], mode, size, checksum))
    assert order == sorted(order)
    assert len(found) == paths
    return found
