"""Messages of HDF5's object headers: shapes, element types, places of data, text attributes.

Format: "HDF5 File Format Specification Version 3.0", sections IV.A.1.a and IV.A.2. Numbers are
little-endian, addresses and lengths have 8 bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import NamedTuple

from .mapped import Mapped
from .tensors import MAX_RANK, Region

MESSAGE_COST_BYTES, HEAP_COST_BYTES = 2000, 200
"""The cost in `Mapped.spend` of a message, link or string, and of a step through a heap.

It exceeds their size, because a file can refer to the same bytes many times, which takes time.
"""

UNDEFINED = 2**64 - 1
DATASPACE, DATATYPE, LAYOUT, FILTERS, ATTRIBUTE, SYMBOL_TABLE = 0x01, 0x03, 0x08, 0x0B, 0x0C, 0x11
_CONTINUATION = 0x10
_UNREAD = {
    0x02: "links of the newer format",
    0x06: "links of the newer format",
    0x07: "data in other files",
    0x15: "attributes of the newer format",
}
_CLASSES = (
    "integers", "floats", "times", "text", "bit fields", "opaque bytes", "records", "references",
    "enumerations", "variable-length values", "arrays",
)  # fmt: skip
_FLOAT, _TEXT, _VARIABLE = 1, 3, 9
# IEEE 754, little-endian: the position of the sign, then the properties (offset, bits, exponent's
# place and size, mantissa's place and size, bias).
_IEEE = {
    2: ("float16", 15, bytes([0, 0, 16, 0, 10, 5, 0, 10, 15, 0, 0, 0])),
    4: ("float32", 31, bytes([0, 0, 32, 0, 23, 8, 0, 23, 127, 0, 0, 0])),
    8: ("float64", 63, bytes([0, 0, 64, 0, 52, 11, 0, 52, 255, 3, 0, 0])),
}
_IMPLIED_MANTISSA_BIT = 0x20


class Message(NamedTuple):
    """One message of an object header: its kind, and the position of its bytes."""

    kind: int
    start: int
    length: int


class Datatype(NamedTuple):
    """An element type."""

    kind: int
    size: int
    bits: bytes
    properties: bytes


def messages(file: Mapped, address: int, name: str) -> Iterator[Message]:
    """The messages of the object header (version 1) at an address, in order."""
    head = file.span(address, 16, f"the header of {name}")
    if head[0] != 1:
        newer = bytes(head[:4]) == b"OHDR"
        found = "2 (save with libver='earliest')" if newer else str(head[0])
        raise file.error(f"{name}: object headers of version {found} are not read")
    blocks = [(address + 16, int.from_bytes(head[8:12], "little"))]
    seen = set()
    for start, length in blocks:
        if start in seen:
            raise file.error(f"{name}: its header continues in a circle")
        seen.add(start)
        for message in _block(file, start, length, name):
            if message.kind in _UNREAD:
                raise file.error(f"{name}: holds {_UNREAD[message.kind]}, which are not read")
            if message.kind == _CONTINUATION:
                place = file.span(message.start, 16, f"the header of {name}")
                blocks.append((number(place[:8]), number(place[8:])))
            yield message


def _block(file: Mapped, start: int, length: int, name: str) -> Iterator[Message]:
    file.check(start, length, f"the header of {name}")
    end = start + length
    while start + 8 <= end:
        file.spend(MESSAGE_COST_BYTES)
        head = file.data[start : start + 8]
        message = Message(number(head[:2]), start + 8, number(head[2:4]))
        start = message.start + message.length
        if start > end:
            raise file.error(f"{name}: a message reaches beyond its header; the file is damaged")
        if head[4] & 2 and message.kind in (DATASPACE, DATATYPE, FILTERS, ATTRIBUTE):
            raise file.error(f"{name}: shares a message with another object, which is not read")
        yield message


def number(data: memoryview) -> int:
    """A little-endian unsigned integer."""
    return int.from_bytes(data, "little")


def shape(file: Mapped, data: memoryview, what: str) -> tuple[int, ...]:
    """The shape that a dataspace message describes."""
    version, rank = (*data[:2], 0, 0)[:2]
    start = {1: 8, 2: 4}.get(version)
    if start is None or (version == 2 and bytes(data[3:4]) == b"\2"):
        raise file.error(f"{what}: an empty shape, or a shape of version {version}, is not read")
    if rank > MAX_RANK or len(data) < start + 8 * rank:
        raise file.error(f"{what}: its shape is cut short, or has {rank} dimensions")
    return tuple(number(data[start + 8 * i : start + 8 * i + 8]) for i in range(rank))


def datatype(file: Mapped, data: memoryview, what: str) -> Datatype:
    """The element type that a datatype message describes."""
    if len(data) < 8:
        raise file.error(f"{what}: its element type is cut short")
    return Datatype(data[0] & 15, number(data[4:8]), bytes(data[1:4]), bytes(data[8:20]))


def float_name(file: Mapped, kind: Datatype, what: str) -> str:
    """The name in `tensors.ELEMENTS` of an element type."""
    if kind.kind != _FLOAT:
        raise file.error(f"{what}: holds {_class(kind)}, not floats")
    name, sign, properties = _IEEE.get(kind.size, ("", 0, b""))
    if kind.properties != properties or kind.bits != bytes([_IMPLIED_MANTISSA_BIT, sign, 0]):
        raise file.error(f"{what}: floats of {kind.size} bytes that are not little-endian IEEE 754")
    return name


def _class(kind: Datatype) -> str:
    known = kind.kind < len(_CLASSES)
    return _CLASSES[kind.kind] if known else f"values of the unknown class {kind.kind}"


def contiguous(file: Mapped, data: memoryview, what: str) -> Region:
    """The position of the data in a layout message."""
    version, kind = (*data[:2], 0, 0)[:2]
    if version != 3:
        raise file.error(f"{what}: a data layout of version {version} is not read")
    if kind != 1 or len(data) < 18:
        found = {0: "compact", 2: "chunked"}.get(kind, f"of class {kind}")
        raise file.error(f"{what}: its data are {found}, only contiguous data are read")
    start, size = number(data[2:10]), number(data[10:18])
    return Region(0 if start == UNDEFINED else start, 0 if start == UNDEFINED else size)


def attribute(
    file: Mapped, data: memoryview, wanted: str, what: str
) -> tuple[Datatype, tuple[int, ...], memoryview] | None:
    """Element type, shape and bytes of an attribute; None if it has another name."""
    version = number(data[:1])
    if version not in (1, 2, 3) or len(data) < 8:
        raise file.error(f"{what}: an attribute of version {version} is not read")
    # Version 1 pads each part to 8 bytes; version 3 adds the encoding of the name.
    sizes = [number(data[i : i + 2]) for i in (2, 4, 6)]
    unit, start = (8 if version == 1 else 1), (9 if version == 3 else 8)
    parts = []
    for size in sizes:
        parts.append(data[start : start + size])
        start += -(-size // unit) * unit
    if bytes(parts[0]).split(b"\0")[0] != wanted.encode():
        return None
    what = f"attribute {wanted} of {what}"
    found, sides = datatype(file, parts[1], what), shape(file, parts[2], what)
    if len(data) - start < prod(sides) * found.size:
        raise file.error(f"{what}: is cut short")
    return found, sides, data[start:]


def strings(
    file: Mapped, found: tuple[Datatype, tuple[int, ...], memoryview], what: str
) -> list[str]:
    """The values of an attribute of text, of fixed or variable length."""
    kind, sides, data = found
    if 0 in sides:  # an empty list, to which h5py gives floats for a type
        return []
    if len(sides) > 1 or kind.kind not in (_TEXT, _VARIABLE):
        raise file.error(f"{what}: {_class(kind)} of shape {sides} where names are expected")
    # A variable-length value holds its length, the address of a heap, and an index in the heap.
    variable = kind.kind == _VARIABLE
    if variable and (kind.bits[0] & 15 != 1 or kind.size != 16):
        raise file.error(f"{what}: variable-length values that are not text")
    texts = []
    for i in range(prod(sides)):
        value = data[i * kind.size : (i + 1) * kind.size]
        file.spend(MESSAGE_COST_BYTES + len(value))
        texts.append(text(file, _in_heap(file, value, what) if variable else value, what))
    return texts


def text(file: Mapped, value: memoryview, what: str) -> str:
    """UTF-8 up to the first zero byte."""
    try:
        return bytes(value).partition(b"\0")[0].decode("utf-8")
    except UnicodeDecodeError as error:
        raise file.error(f"{what}: text that is not UTF-8") from error


def _in_heap(file: Mapped, value: memoryview, what: str) -> memoryview:
    """The bytes of a variable-length value, which are in a global heap collection."""
    length, start, index = number(value[:4]), number(value[4:12]), number(value[12:16])
    file.spend(length)
    head = file.span(start, 16, f"the heap of {what}")
    if bytes(head[:5]) != b"GCOL\1":
        raise file.error(f"{what}: no global heap at byte {start}; the file is damaged")
    end, start = start + number(head[8:16]), start + 16
    while start + 16 <= min(end, file.size):
        file.spend(HEAP_COST_BYTES)
        entry, size = file.unsigned(start, 2, what), file.unsigned(start + 8, 8, what)
        if entry == index and length <= size:
            return file.span(start + 16, length, what)
        if entry == 0:
            break
        start += 16 + -(-size // 8) * 8
    raise file.error(f"{what}: value {index} is not in its heap; the file is damaged")
