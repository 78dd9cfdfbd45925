"""The effect of each opcode of a pickle on the machine, and its cost.

Opcodes: Python's pickletools. Those that call or load from outside (INST, OBJ, EXT*, PERSID,
NEXT_BUFFER) are refused. Costs are bytes of memory, rounded up. They also bound the time, because
nearly every step has a cost. `pickle_text` reads values that are written as lines of text.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from . import pickle_text
from .mapped import quoted
from .pickle_machine import UNUSED_SET, Machine, Opaque

_SLOT_COST = 24
_SCALAR_COST = 40
_TEXT_COST = 100
_MEMO_COST = 160
_CONTAINER_COST = 200

Step = Callable[[Machine], object]


def load(machine: Machine) -> object:
    """Run one pickle up to its STOP, and return the described object.

    CheckpointError for a damaged or refused pickle, or a global that is not allowed.
    """
    data, file = machine.file.data, machine.file
    while machine.position < machine.end:
        code = data[machine.position]
        machine.position += 1
        cost, step = _STEPS[code]
        file.spend(cost)
        step(machine)
        if code == _STOP:
            return machine.pop()
    raise machine.error("ends before its STOP; the file is cut short, fetch it again")


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


def _mark_to_dict(machine: Machine) -> None:
    items = machine.pop_mark()
    machine.push({})
    machine.assign(items)


def _mark_to_list(machine: Machine) -> None:
    items = machine.pop_mark()
    machine.push(items)


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
    0x8A: (_SCALAR_COST, lambda m: m.integer(m.number(1))),
    0x8B: (_SCALAR_COST, lambda m: m.integer(m.number(4))),
    ord("G"): (_SCALAR_COST, _push(lambda m: struct.unpack(">d", m.take(8))[0])),
    ord("X"): (_TEXT_COST, lambda m: m.text(m.number(4))),
    0x8C: (_TEXT_COST, lambda m: m.text(m.number(1))),
    0x8D: (_TEXT_COST, lambda m: m.text(m.number(8))),
    ord("T"): (_TEXT_COST, lambda m: m.python2_string(m.number(4))),
    ord("U"): (_TEXT_COST, lambda m: m.python2_string(m.number(1))),
    ord("B"): (_TEXT_COST, lambda m: m.raw(m.number(4))),
    ord("C"): (_TEXT_COST, lambda m: m.raw(m.number(1))),
    0x8E: (_TEXT_COST, lambda m: m.raw(m.number(8))),
    0x96: (_TEXT_COST, lambda m: m.raw(m.number(8))),
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
    0x81: (_CONTAINER_COST, lambda m: m.reduce()),
    ord("Q"): (_CONTAINER_COST, _persistent),
    ord("i"): (0, _inst),
    # Lines of text: protocol 0, and whole numbers above 32 bits in protocols 1 and 2 of Python 2.
    ord("I"): (_SCALAR_COST, _push(pickle_text.integer)),
    ord("L"): (_SCALAR_COST, _push(pickle_text.long)),
    ord("F"): (_SCALAR_COST, _push(pickle_text.number)),
    ord("S"): (_TEXT_COST, pickle_text.python2_string),
    ord("V"): (_TEXT_COST, _push(pickle_text.text)),
    ord("p"): (_MEMO_COST, lambda m: m.store(pickle_text.index(m))),
    ord("g"): (_SLOT_COST, lambda m: m.recall(pickle_text.index(m))),
    ord("d"): (_CONTAINER_COST, _mark_to_dict),
    ord("l"): (_CONTAINER_COST, _mark_to_list),
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
}
_STEPS: list[tuple[int, Step]] = [
    _KNOWN.get(code) or _refuse(_REFUSED.get(code, f"the unknown opcode 0x{code:02x}"))
    for code in range(256)
]
