"""A pickle machine that can describe data and can do nothing else.

Python's own unpickler imports and calls what the stream names. This one has no import and
no call: a global is looked up in a table of inert stand-ins (`stand_ins.py`), anything else
ends the reading with an error that names it. It keeps its own stack, so that nesting costs
no recursion, accounts for every object it makes, and leaves long strings in the file.

Opcodes: Python's pickletools. Those of protocol 0 that torch never writes, and those that
call or load from outside (INST, OBJ, EXT*, PERSID, NEXT_BUFFER), are refused.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from ..errors import CheckpointError
from .mapped import Mapped, quoted

INLINE_BYTES = 65536
"""Longer strings stay in the file, as a Span."""

_MAX_INT_BYTES = 255
_SLOT_COST = 24
_CONTAINER_COST = 320
_SCALAR_COST = 56
_MEMO_COST = 160


@dataclass(frozen=True, slots=True)
class Span:
    """A string left in the file: UTF-8 text, such text as Latin-1 bytes, or plain bytes."""

    offset: int
    length: int
    kind: str


@dataclass(frozen=True, slots=True)
class Opaque:
    """Something a checkpoint may hold that is of no use here."""

    what: str


UNUSED_SET = Opaque("set")
HUGE_INT = Opaque("integer")


class Inert(Protocol):
    """What the machine may do with a global, a state or a persistent id: describe it."""

    def find(self, module: str, name: str) -> object: ...

    def reduce(self, callee: object, arguments: tuple[object, ...]) -> object: ...

    def build(self, target: object, state: object) -> None: ...

    def persistent(self, identity: object) -> object: ...


class Machine:
    """One pickle, from `position` to its STOP or at most to `end`."""

    def __init__(self, file: Mapped, position: int, end: int, inert: Inert) -> None:
        self.file, self.position, self.end, self.inert = file, position, end, inert
        self.stack: list[object] = []
        self.marks: list[list[object]] = []
        self.memo: dict[int, object] = {}

    def load(self) -> object:
        """The described object; `position` is then just behind the pickle."""
        data, file = self.file.data, self.file
        while self.position < self.end:
            code = data[self.position]
            self.position += 1
            cost, step = _STEPS[code]
            file.spend(cost)
            step(self)
            if code == _STOP:
                return self.pop()
        raise self.error("ends before its STOP; the file is cut short, fetch it again")

    def load_next(self) -> object:
        """The object of the pickle that follows the last one."""
        self.stack, self.marks, self.memo = [], [], {}
        return self.load()

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
        return int.from_bytes(self.take(width), "little")

    def line(self) -> str:
        """Text up to the next line feed, for GLOBAL."""
        window = bytes(self.file.data[self.position : min(self.position + 512, self.end)])
        length = window.find(b"\n")
        if length < 0:
            raise self.error("holds a name of more than 512 bytes")
        self.position += length + 1
        return window[:length].decode("ascii", "backslashreplace")

    def pop(self) -> object:
        if not self.stack:
            raise self.error("takes more from its stack than it put there")
        return self.stack.pop()

    def top(self) -> object:
        if not self.stack:
            raise self.error("uses an empty stack")
        return self.stack[-1]

    def push(self, value: object) -> None:
        self.stack.append(value)

    def pop_mark(self) -> list[object]:
        """What was pushed since the last MARK."""
        if not self.marks:
            raise self.error("closes a group that it did not open")
        items, self.stack = self.stack, self.marks.pop()
        return items

    def text(self, length: int) -> None:
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
        if index not in self.memo:
            raise self.error(f"recalls object {index}, which it never stored")
        self.push(self.memo[index])

    def store(self, index: int) -> None:
        self.memo[index] = self.top()

    def integer(self, length: int) -> None:
        data = self.take(length)
        known = length <= _MAX_INT_BYTES
        self.push(int.from_bytes(data, "little", signed=True) if known else HUGE_INT)

    def extend(self, values: list[object]) -> None:
        target = self.top()
        if not isinstance(target, list):
            raise self.error("appends to something that is not a list")
        target.extend(values)

    def assign(self, items: list[object]) -> None:
        target = self.top()
        if not isinstance(target, dict):
            raise self.error("sets items of something that is not a dictionary")
        set_items(self.file, target, items)

    def tuple_of(self, count: int) -> None:
        if len(self.stack) < count:
            raise self.error("takes more from its stack than it put there")
        self.stack[-count:] = [tuple(self.stack[-count:])]

    def reduce(self) -> None:
        arguments, callee = self.pop(), self.pop()
        if type(arguments) is not tuple:
            raise self.error("applies arguments that are not a tuple")
        self.push(self.inert.reduce(callee, arguments))


def set_items(file: Mapped, target: dict[object, object], items: list[object]) -> None:
    """Assign alternating keys and values; only keys that a name path can use are kept.

    Other keys could not be asked for, and hashing what a stranger built could take for ever.
    """
    if len(items) % 2:
        raise file.error("its pickle sets a key without a value")
    file.spend(120 * len(items) // 2)
    for key, value in zip(items[::2], items[1::2], strict=True):
        if type(key) is str or (type(key) is int and abs(key) < 2**31):
            target[key] = value


Step = Callable[[Machine], object]


def _refused(machine: Machine, name: str) -> None:
    raise machine.error(f"uses {name}, which no torch checkpoint needs; nothing was run")


def _refuse(name: str) -> tuple[int, Step]:
    return 0, lambda machine: _refused(machine, name)


def _inst(machine: Machine) -> None:
    module, name = machine.line(), machine.line()
    raise machine.error(f"asks to call {quoted(f'{module}.{name}')} (INST); nothing was run")


def _global(machine: Machine) -> None:
    module, name = machine.line(), machine.line()
    machine.push(machine.inert.find(module, name))


def _stack_global(machine: Machine) -> None:
    name, module = machine.pop(), machine.pop()
    if not isinstance(name, str) or not isinstance(module, str):
        raise machine.error("names a global by something that is not text")
    machine.push(machine.inert.find(module, name))


def _newobj(machine: Machine) -> None:
    machine.reduce()


def _build(machine: Machine) -> None:
    state = machine.pop()
    machine.inert.build(machine.top(), state)


def _persistent(machine: Machine) -> None:
    machine.push(machine.inert.persistent(machine.pop()))


def _protocol(machine: Machine) -> None:
    version = machine.number(1)
    if version > 5:
        raise machine.error(f"is of protocol {version}; up to 5 are known")


def _mark(machine: Machine) -> None:
    machine.marks.append(machine.stack)
    machine.stack = []


def _pop(machine: Machine) -> None:
    # As in Python's own: POP on a fresh group drops the MARK.
    if machine.stack:
        machine.stack.pop()
    else:
        machine.pop_mark()


def _mark_to_tuple(machine: Machine) -> None:
    items = machine.pop_mark()
    machine.push(tuple(items))


def _setitem(machine: Machine) -> None:
    value, key = machine.pop(), machine.pop()
    machine.assign([key, value])


def _add_items(machine: Machine) -> None:
    machine.pop_mark()
    if machine.top() is not UNUSED_SET:
        raise machine.error("adds to something that is not a set")


def _frozen_set(machine: Machine) -> None:
    machine.pop_mark()
    machine.push(Opaque("frozenset"))


def _push(value: Callable[[Machine], object]) -> Step:
    return lambda machine: machine.push(value(machine))


_STOP = ord(".")
_KNOWN: dict[int, tuple[int, Step]] = {
    0x80: (0, _protocol),
    0x95: (0, lambda m: m.take(8)),  # FRAME: a hint for buffered readers
    _STOP: (0, lambda m: None),
    ord("("): (_CONTAINER_COST, _mark),
    ord("0"): (0, _pop),
    ord("1"): (0, lambda m: m.pop_mark()),
    ord("2"): (_SLOT_COST, lambda m: m.push(m.top())),
    ord("N"): (_SLOT_COST, _push(lambda m: None)),
    0x88: (_SLOT_COST, _push(lambda m: True)),
    0x89: (_SLOT_COST, _push(lambda m: False)),
    ord("J"): (
        _SCALAR_COST,
        _push(lambda m: int.from_bytes(m.take(4), "little", signed=True)),
    ),
    ord("K"): (_SLOT_COST, _push(lambda m: m.number(1))),
    ord("M"): (_SCALAR_COST, _push(lambda m: m.number(2))),
    0x8A: (_SCALAR_COST + _MAX_INT_BYTES, lambda m: m.integer(m.number(1))),
    0x8B: (_SCALAR_COST + _MAX_INT_BYTES, lambda m: m.integer(m.number(4))),
    ord("G"): (_SCALAR_COST, _push(lambda m: struct.unpack(">d", m.take(8))[0])),
    ord("X"): (_CONTAINER_COST, lambda m: m.text(m.number(4))),
    0x8C: (_CONTAINER_COST, lambda m: m.text(m.number(1))),
    0x8D: (_CONTAINER_COST, lambda m: m.text(m.number(8))),
    ord("T"): (_CONTAINER_COST, lambda m: m.python2_string(m.number(4))),
    ord("U"): (_CONTAINER_COST, lambda m: m.python2_string(m.number(1))),
    ord("B"): (_CONTAINER_COST, lambda m: m.raw(m.number(4))),
    ord("C"): (_CONTAINER_COST, lambda m: m.raw(m.number(1))),
    0x8E: (_CONTAINER_COST, lambda m: m.raw(m.number(8))),
    0x96: (_CONTAINER_COST, lambda m: m.raw(m.number(8))),
    ord("]"): (_CONTAINER_COST, _push(lambda m: [])),
    ord("a"): (_SLOT_COST, lambda m: m.extend([m.pop()])),
    ord("e"): (_SLOT_COST, lambda m: m.extend(m.pop_mark())),
    ord(")"): (_SLOT_COST, _push(lambda m: ())),
    ord("t"): (_CONTAINER_COST, _mark_to_tuple),
    0x85: (_CONTAINER_COST, lambda m: m.tuple_of(1)),
    0x86: (_CONTAINER_COST, lambda m: m.tuple_of(2)),
    0x87: (_CONTAINER_COST, lambda m: m.tuple_of(3)),
    ord("}"): (_CONTAINER_COST, _push(lambda m: {})),
    ord("s"): (_SLOT_COST, _setitem),
    ord("u"): (_SLOT_COST, lambda m: m.assign(m.pop_mark())),
    0x8F: (_SLOT_COST, _push(lambda m: UNUSED_SET)),
    0x90: (0, _add_items),
    0x91: (_CONTAINER_COST, _frozen_set),
    ord("h"): (_SLOT_COST, lambda m: m.recall(m.number(1))),
    ord("j"): (_SLOT_COST, lambda m: m.recall(m.number(4))),
    ord("q"): (_MEMO_COST, lambda m: m.store(m.number(1))),
    ord("r"): (_MEMO_COST, lambda m: m.store(m.number(4))),
    0x94: (_MEMO_COST, lambda m: m.store(len(m.memo))),
    ord("c"): (_CONTAINER_COST, _global),
    0x93: (_CONTAINER_COST, _stack_global),
    ord("R"): (_CONTAINER_COST, lambda m: m.reduce()),
    ord("b"): (_SLOT_COST, _build),
    0x81: (_CONTAINER_COST, _newobj),
    ord("Q"): (_CONTAINER_COST, _persistent),
    ord("i"): (0, _inst),
}
_REFUSED = {
    ord("o"): "OBJ",
    0x92: "NEWOBJ_EX",
    0x82: "EXT1",
    0x83: "EXT2",
    0x84: "EXT4",
    ord("P"): "PERSID",
    0x97: "NEXT_BUFFER",
    0x98: "READONLY_BUFFER",
    ord("I"): "INT",
    ord("L"): "LONG",
    ord("F"): "FLOAT",
    ord("S"): "STRING",
    ord("V"): "UNICODE",
    ord("p"): "PUT",
    ord("g"): "GET",
    ord("d"): "DICT",
    ord("l"): "LIST",
}
_STEPS: list[tuple[int, Step]] = [
    _KNOWN.get(code) or _refuse(_REFUSED.get(code, f"the unknown opcode 0x{code:02x}"))
    for code in range(256)
]
