"""The wire format of protocol buffers: the fields of one message, decoded on request.

Format: protobuf.dev/programming-guides/encoding. Messages are byte ranges of the mapped
file, so that a large field costs nothing until it is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from .mapped import Mapped

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


class Field(NamedTuple):
    """One field: the value of a VARINT, otherwise the position of its `length` bytes."""

    number: int
    kind: int
    value: int
    start: int
    length: int

    @property
    def end(self) -> int:
        """The position after the field's bytes."""
        return self.start + self.length


def fields(file: Mapped, start: int, end: int) -> Iterator[Field]:
    """The fields of the message in these bytes; CheckpointError if they are not a message."""
    position = start
    while position < end:
        tag, position = varint(file, position, end)
        number, kind = tag >> 3, tag & 7
        value = length = 0
        if number == 0:
            raise file.error(f"is damaged at byte {position}: field 0 in protocol buffers")
        if kind == VARINT:
            value, after = varint(file, position, end)
            length = after - position
        elif kind == BYTES:
            length, position = varint(file, position, end)
        elif kind in (FIXED64, FIXED32):
            length = 8 if kind == FIXED64 else 4
        else:
            raise file.error(f"is damaged at byte {position}: wire type {kind}")
        if position + length > end:
            raise file.error(f"is cut short or damaged at byte {position}; fetch it again")
        yield Field(number, kind, value, position, length)
        position += length


def varint(file: Mapped, position: int, end: int) -> tuple[int, int]:
    """An unsigned 64-bit number and the position after it."""
    value = shift = 0
    while position < end and shift < 64:
        byte = file.data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, position
    raise file.error(f"is cut short or damaged at byte {position}; fetch it again")


def varints(file: Mapped, field: Field) -> Iterator[int]:
    """Signed 64-bit numbers of a repeated field, packed or not."""
    if field.kind == VARINT:
        yield signed(field.value)
    position = field.start if field.kind == BYTES else field.end
    while position < field.end:
        value, position = varint(file, position, field.end)
        yield signed(value)


def signed(value: int) -> int:
    """Two's complement of 64 bits."""
    return value - 2**64 if value >= 2**63 else value


def text(file: Mapped, field: Field, what: str) -> str:
    """A string field, of at most 64 kB."""
    if field.kind != BYTES or field.length > 65536:
        raise file.error(f"{what} is not a string of reasonable length")
    file.spend(5 * field.length)
    try:
        return bytes(file.data[field.start : field.end]).decode("utf-8")
    except UnicodeDecodeError as error:
        raise file.error(f"{what} is not UTF-8") from error


def message(number: int, content: bytes) -> bytes:
    """A field of kind BYTES with this content."""
    return _varint(number << 3 | BYTES) + _varint(len(content)) + content


def written(file: Mapped, field: Field) -> bytes:
    """A field as it is stored in a file, with its tag."""
    content = bytes(file.data[field.start : field.end])
    if field.kind == BYTES:
        return message(field.number, content)
    tag = _varint(field.number << 3 | field.kind)
    return tag + (_varint(field.value) if field.kind == VARINT else content)


def _varint(value: int) -> bytes:
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])
