"""A pickle machine that can describe data and can do nothing else.

Python's own unpickler imports and calls what the stream names. This one neither imports nor calls
anything: it looks up a global in a table of inert stand-ins (`stand_ins.py`), and any other global
is an error that names it. It keeps its own stack, so that nesting costs no recursion, and leaves
long strings in the file. The opcodes are in `pickle_opcodes.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ...errors import CheckpointError
from .mapped import Mapped

INLINE_BYTES = 65536
"""Longer strings stay in the file, as a Span."""

_MAX_INT_BYTES = 255
_ITEM_COST = 120


@dataclass(frozen=True, slots=True)
class Span:
    """A string left in the file: UTF-8 text, such text as Latin-1 bytes, or plain bytes."""

    offset: int
    length: int
    kind: str


@dataclass(frozen=True, slots=True)
class Opaque:
    """Something that a checkpoint may hold but that is not used here."""

    what: str


UNUSED_SET = Opaque("set")
HUGE_INT = Opaque("integer")


class Inert(Protocol):
    """The actions on a global, a state or a persistent id: they only describe it."""

    def find(self, module: str, name: str) -> object: ...

    def reduce(self, callee: object, arguments: tuple[object, ...]) -> object: ...

    def build(self, target: object, state: object) -> None: ...

    def persistent(self, identity: object) -> object: ...


class Machine:
    """The state of reading a pickle between `position` and `end`."""

    def __init__(self, file: Mapped, position: int, end: int, inert: Inert) -> None:
        self.file, self.position, self.end, self.inert = file, position, end, inert
        self.stack: list[object] = []
        self.marks: list[list[object]] = []
        self.memo: dict[int, object] = {}

    def restart(self) -> None:
        """Make ready for the pickle that follows the last one."""
        self.stack, self.marks, self.memo = [], [], {}

    def error(self, reason: str) -> CheckpointError:
        """The error to raise at this place of the stream."""
        return self.file.error(f"its pickle, at byte {self.position}, {reason}")

    def take(self, length: int) -> memoryview:
        """The next `length` bytes of the stream."""
        start = self.position
        if start + length > self.end:
            raise self.error(f"announces {length} bytes where {self.end - start} are left")
        self.position += length
        return self.file.data[start : start + length]

    def number(self, width: int) -> int:
        """The next `width` bytes as an unsigned number."""
        return int.from_bytes(self.take(width), "little")

    def line(self, longest: int = 512) -> str:
        """Text up to the next line feed: a name, or a value as protocol 0 writes it."""
        window = bytes(self.file.data[self.position : min(self.position + longest, self.end)])
        length = window.find(b"\n")
        if length < 0:
            raise self.error(f"holds a line of more than {longest} bytes")
        self.position += length + 1
        self.file.spend(length)
        return window[:length].decode("latin-1")

    def pop(self) -> object:
        """Take the value pushed last."""
        if not self.stack:
            raise self.error("takes more from its stack than it put there")
        return self.stack.pop()

    def top(self) -> object:
        """The value pushed last, left where it is."""
        if not self.stack:
            raise self.error("uses an empty stack")
        return self.stack[-1]

    def push(self, value: object) -> None:
        """Put a value on the stack."""
        self.stack.append(value)

    def pop_mark(self) -> list[object]:
        """The values pushed since the last MARK."""
        if not self.marks:
            raise self.error("closes a group that it did not open")
        items, self.stack = self.stack, self.marks.pop()
        return items

    def text(self, length: int) -> None:
        """Push `length` bytes of UTF-8; if long, as a Span."""
        if length > INLINE_BYTES:
            self.take(length)
            self.push(Span(self.position - length, length, "text"))
            return
        self.file.spend(4 * length)  # one wide character makes the whole string wide
        try:
            self.push(str(self.take(length), "utf-8"))
        except UnicodeDecodeError as error:
            raise self.error("holds text that is not UTF-8") from error

    def raw(self, length: int) -> None:
        """Push `length` bytes; if many, as a Span."""
        if length > INLINE_BYTES:
            self.take(length)
            self.push(Span(self.position - length, length, "bytes"))
            return
        self.file.spend(length)
        self.push(bytes(self.take(length)))

    def python2_string(self, length: int) -> None:
        """Python 2 did not tell text from bytes: ASCII is text, all else is bytes."""
        self.raw(length)
        value = self.top()
        if isinstance(value, bytes) and value.isascii():
            self.stack[-1] = value.decode("ascii")

    def recall(self, index: int) -> None:
        """Push the value stored under this number."""
        if index not in self.memo:
            raise self.error(f"recalls object {index}, which it never stored")
        self.push(self.memo[index])

    def store(self, index: int) -> None:
        """Keep the value pushed last under this number."""
        self.memo[index] = self.top()

    def integer(self, length: int) -> None:
        """Push a signed number of `length` bytes; a number of more than 255 bytes is not used."""
        data = self.take(length)
        self.file.spend(min(length, _MAX_INT_BYTES))
        known = length <= _MAX_INT_BYTES
        self.push(int.from_bytes(data, "little", signed=True) if known else HUGE_INT)

    def extend(self, values: list[object]) -> None:
        """Append to the list pushed last."""
        target = self.top()
        if not isinstance(target, list):
            raise self.error("appends to something that is not a list")
        target.extend(values)

    def assign(self, items: list[object]) -> None:
        """Set alternating keys and values in the dictionary pushed last."""
        target = self.top()
        if not isinstance(target, dict):
            raise self.error("sets items of something that is not a dictionary")
        set_items(self.file, target, items)

    def tuple_of(self, count: int) -> None:
        """Replace the last `count` values by a tuple of them."""
        if len(self.stack) < count:
            raise self.error("takes more from its stack than it put there")
        self.stack[-count:] = [tuple(self.stack[-count:])]

    def reduce(self) -> None:
        """Replace a callee and its arguments by the result of its stand-in."""
        arguments, callee = self.pop(), self.pop()
        if type(arguments) is not tuple:
            raise self.error("applies arguments that are not a tuple")
        self.push(self.inert.reduce(callee, arguments))


def set_items(file: Mapped, target: dict[object, object], items: list[object]) -> None:
    """Assign alternating keys and values; only keys that a name path can use are kept.

    Other keys could not be requested, and hashing hostile keys could take for ever.
    """
    if len(items) % 2:
        raise file.error("its pickle sets a key without a value")
    file.spend(_ITEM_COST * len(items) // 2)
    for key, value in zip(items[::2], items[1::2], strict=True):
        if type(key) is str or (type(key) is int and abs(key) < 2**31):
            target[key] = value
