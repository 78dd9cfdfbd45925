"""HDF5 as h5py writes it by default, with the groups and attributes of Keras 2, in plain bytes."""

from __future__ import annotations

import struct

import numpy as np

UNDEFINED = 2**64 - 1
FLOATS = {
    "<f2": (15, bytes([0, 0, 16, 0, 10, 5, 0, 10, 15, 0, 0, 0])),
    "<f4": (31, bytes([0, 0, 32, 0, 23, 8, 0, 23, 127, 0, 0, 0])),
    "<f8": (63, bytes([0, 0, 64, 0, 52, 11, 0, 52, 255, 3, 0, 0])),
}


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 8)


def message(kind: int, data: bytes) -> bytes:
    return struct.pack("<HHB3x", kind, len(padded(data)), 0) + padded(data)


def dataspace(shape) -> bytes:
    return struct.pack(f"<BBB5x{len(shape)}Q", 1, len(shape), 0, *shape)


def floats(dtype: str) -> bytes:
    sign, properties = FLOATS[dtype]
    return struct.pack("<BBBBI", 0x11, 0x20, sign, 0, int(dtype[2])) + properties


def text(size: int) -> bytes:
    return struct.pack("<BBBBI", 0x13, 0, 0, 0, size)


def attribute(name: str, kind: bytes, space: bytes, data: bytes) -> bytes:
    parts = name.encode() + b"\0", kind, space
    sizes = struct.pack("<BBHHH", 1, 0, *map(len, parts))
    return message(0x0C, sizes + b"".join(map(padded, parts)) + data)


class Writer:
    """A file that grows; every `put` returns the address of what it wrote."""

    def __init__(self) -> None:
        self.data = bytearray(96)

    def put(self, data: bytes) -> int:
        address = len(self.data)
        self.data += padded(data)
        return address

    def header(self, *messages: bytes) -> int:
        """An object header whose last message lies in a continuation block."""
        later = self.put(messages[-1])
        rest = struct.pack("<QQ", later, len(messages[-1]))
        block = b"".join(messages[:-1]) + message(0x10, rest)
        return self.put(struct.pack("<BxHII4x", 1, len(messages) + 1, 1, len(block)) + block)

    def names(self, name: str, values: list[str], variable: bool) -> bytes:
        """An attribute of text, of fixed or of variable length."""
        coded, space = [value.encode() for value in values], dataspace([len(values)])
        if not values:
            return attribute(name, floats("<f8"), space, b"")
        if not variable:
            size = max(map(len, coded))
            return attribute(name, text(size), space, b"".join(v.ljust(size, b"\0") for v in coded))
        objects = b"".join(
            struct.pack("<HH4xQ", i, 1, len(value)) + padded(value)
            for i, value in enumerate(coded, 1)
        )
        heap = self.put(b"GCOL\1\0\0\0" + struct.pack("<Q", 16 + len(objects)) + objects)
        kind = struct.pack("<BBBBI", 0x19, 1, 0, 0, 16) + text(1)
        places = (struct.pack("<IQI", len(v), heap, i) for i, v in enumerate(coded, 1))
        return attribute(name, kind, space, b"".join(places))

    def dataset(self, array, kind: bytes | None = None, layout: bytes | None = None) -> int:
        start = self.put(array.tobytes()) if array.size else UNDEFINED
        layout = layout or struct.pack("<BBQQ", 3, 1, start, array.nbytes)
        kind = kind or floats(array.dtype.str)
        return self.header(message(1, dataspace(array.shape)), message(3, kind), message(8, layout))

    def group(self, members: dict[str, int], *attributes: bytes) -> int:
        """A group of symbol nodes with up to two members, below as many levels as it takes."""
        names, offsets = bytearray(8), {}
        for name in sorted(members):
            offsets[name] = len(names)
            names += padded(name.encode() + b"\0")
        segment = self.put(bytes(names))
        heap = self.put(b"HEAP\0\0\0\0" + struct.pack("<QQQ", len(names), UNDEFINED, segment))
        entries = [struct.pack("<QQ24x", offsets[name], members[name]) for name in sorted(members)]
        nodes = [
            self.put(b"SNOD\1\0" + struct.pack("<H", len(entries[i : i + 2]))
                     + b"".join(entries[i : i + 2]))
            for i in range(0, len(entries), 2)
        ]  # fmt: skip
        level = 0
        while level == 0 or len(nodes) > 1:
            nodes = [self.tree(level, nodes[i : i + 3]) for i in range(0, max(1, len(nodes)), 3)]
            level += 1
        return self.header(message(0x11, struct.pack("<QQ", nodes[0], heap)), *attributes)

    def nested(self, paths: dict[str, int], *attributes: bytes) -> int:
        """A group of objects at the end of paths, with the groups on the way."""
        members: dict[str, int] = {}
        folders: dict[str, dict[str, int]] = {}
        for path, address in paths.items():
            folder, slash, rest = path.partition("/")
            if slash:
                folders.setdefault(folder, {})[rest] = address
            else:
                members[folder] = address
        members |= {folder: self.nested(inner) for folder, inner in folders.items()}
        return self.group(members, *attributes)

    def tree(self, level: int, children: list[int]) -> int:
        keys = b"".join(struct.pack("<QQ", child, 0) for child in children)
        head = struct.pack("<4sBBHQQ", b"TREE", 0, level, len(children), UNDEFINED, UNDEFINED)
        return self.put(head + bytes(8) + keys)

    def finish(self, root: int) -> bytes:
        head = b"\x89HDF\r\n\x1a\n" + struct.pack("<8BHHI", 0, 0, 0, 0, 0, 8, 8, 0, 4, 16, 0)
        head += struct.pack("<4Q", 0, UNDEFINED, len(self.data), UNDEFINED)
        self.data[:96] = head + struct.pack("<QQ24x", 0, root)
        return bytes(self.data)


def keras(layers, variable: bool = False, **dataset) -> bytes:
    """A file of weights: layers are pairs of a name and a list of pairs of a name and an array."""
    file, groups = Writer(), {}
    for layer, weights in layers:
        paths = {name: file.dataset(np.asarray(array), **dataset) for name, array in weights}
        names = file.names("weight_names", [name for name, _ in weights], variable)
        groups[layer] = file.nested(paths, names)
    names = file.names("layer_names", [layer for layer, _ in layers], variable)
    backend = attribute("backend", text(10), dataspace([]), b"tensorflow")
    return file.finish(file.group(groups, backend, names))
