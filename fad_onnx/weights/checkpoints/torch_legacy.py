"""torch's container before 1.6: five pickles in sequence, then the storages.

Layout (torch/serialization.py, `_legacy_save`): magic number, protocol version, facts about the
writing machine, the object, the sorted keys of the storages; then, for each key, its element count
as int64 and its elements.
"""

from __future__ import annotations

from .mapped import Mapped, quoted
from .pickle_machine import Machine
from .pickle_opcodes import load
from .stand_ins import Storage
from .tensors import Region
from .torch_globals import TorchGlobals

MAGIC = 0x1950A86A20F9469CFC6C
OPENINGS = (b"\x8a\x0a" + MAGIC.to_bytes(10, "little") + b".", b"L%dL\n." % MAGIC)
"""The first pickle: after its protocol, after a frame from protocol 4 on, and as text in
protocols 0 and 1.
"""

_PROTOCOL = 1001


def holds(file: Mapped) -> bool:
    """Whether the file starts like this container."""
    start = bytes(file.data[:64])
    return any(-1 < start.find(opening) <= 11 for opening in OPENINGS)


def read(file: Mapped) -> object:
    """The saved object; its tensors stay in the file."""
    inert = TorchGlobals(file, lambda key, nbytes: None)
    machine = Machine(file, 0, file.size, inert)
    magic, protocol, facts, tree, keys = (_next(machine) for _ in range(5))
    if magic != MAGIC or protocol != _PROTOCOL:
        raise file.error(f"is a torch checkpoint of a form other than {_PROTOCOL}")
    if not isinstance(facts, dict) or facts.get("little_endian") is not True:
        raise file.error("was written on a big-endian machine; save it again on another")
    _place(file, machine.position, keys, inert.storages)
    return tree


def _next(machine: Machine) -> object:
    machine.restart()
    return load(machine)


def _place(file: Mapped, position: int, keys: object, storages: dict[str, Storage]) -> None:
    """Set the position of every storage."""
    if type(keys) is not list:
        raise file.error("its list of storages is not a list")
    for key in keys:
        storage = storages.get(key) if isinstance(key, str) else None
        if storage is None or storage.region is not None:
            raise file.error(f"storage {quoted(key)} is listed twice, or used by no tensor")
        what = f"storage {quoted(key)}"
        count = file.unsigned(position, 8, what)
        position += 8
        if count * storage.element.stored.itemsize != storage.nbytes:
            raise file.error(f"{what} has {count} elements, {storage.nbytes} bytes were announced")
        file.check(position, storage.nbytes, what)
        storage.region = Region(position, storage.nbytes)
        position += storage.nbytes
    missing = [key for key, storage in storages.items() if storage.region is None]
    if missing:
        raise file.error(f"lacks {len(missing)} storages, first {quoted(missing[0])}")
