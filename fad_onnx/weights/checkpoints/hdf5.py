"""HDF5 files as Keras 2 writes weights: tensors by the positions of their layer and weight.

Format: "HDF5 File Format Specification Version 3.0"; layout: tf_keras/src/saving/legacy/
hdf5_format.py, save_weights_to_hdf5_group. Keras binds weights by position, because the names of
its layers contain counters (`conv2d_7`) that differ from run to run. This reader does the same:
"3.0" is the first weight of the fourth layer that has weights.

This reads what h5py writes by default: superblock 0 or 1, object headers of version 1, groups of
symbol tables, contiguous floats, attributes of text. Anything else is an error that names it. h5py
is not used, because it would add 17 MB for every user and parses hostile files in C.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from math import prod

from . import hdf5_messages as messages
from .hdf5_messages import Message, number
from .mapped import Mapped, quoted
from .tensors import ELEMENTS, LazyTensor, strided

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_ROOT_ENTRY = {0: 56, 1: 60}  # by the version of the superblock
_ENTRY_BYTES = 40
MAX_NAME_BYTES = 1000


def holds(file: Mapped) -> bool:
    """Whether the file starts like this container."""
    return bytes(file.data[:8]) == _SIGNATURE


def read(file: Mapped) -> dict[str, LazyTensor]:
    """The tensors by position: "LAYER.WEIGHT"."""
    root = Object(file, _root(file), "the file")
    if (layers := root.texts("layer_names")) is None:
        raise file.error("has no attribute layer_names; is it a file of weights by Keras 2?")
    tensors, position = {}, 0
    for layer in layers:
        group = root.below(layer)
        weights = group.texts("weight_names")
        if weights is None:
            raise file.error(f"{group.name} has no attribute weight_names")
        for index, weight in enumerate(weights):
            tensors[f"{position}.{index}"] = group.below(weight).tensor()
        position += bool(weights)
    return tensors


def _root(file: Mapped) -> int:
    """The address of the root group's header."""
    head = file.span(0, 100, "the superblock")
    if head[8] not in _ROOT_ENTRY:
        raise file.error(
            f"is HDF5 with a superblock of version {head[8]}, which is not read; save it with"
            " h5py's default libver"
        )
    if bytes(head[13:15]) != b"\x08\x08":
        raise file.error(f"is HDF5 with addresses of {head[13]} bytes, only 8 are read")
    start = _ROOT_ENTRY[head[8]]
    if number(head[start - 32 : start - 24]):
        raise file.error("is HDF5 behind a user block, which is not read")
    if (size := number(head[start - 16 : start - 8])) > file.size:
        raise file.error(f"is cut short: {file.size} of {size} bytes are there; fetch it again")
    return number(head[start + 8 : start + 16])


class Object:
    """A group or a dataset."""

    def __init__(self, file: Mapped, address: int, name: str) -> None:
        self.file, self.name = file, name
        self._messages: list[Message] = list(messages.messages(file, address, name))

    def _bytes(self, kind: int, missing: str) -> memoryview:
        """The first message of a kind."""
        for message in self._messages:
            if message.kind == kind:
                return self.file.span(message.start, message.length, self.name)
        raise self.file.error(f"{self.name} {missing}")

    @cached_property
    def members(self) -> dict[str, int]:
        """The members of this group: the addresses of their headers, by name."""
        table = self._bytes(messages.SYMBOL_TABLE, "is not a group")
        if len(table) < 16:
            raise self.file.error(f"{self.name}: its symbol table is cut short")
        start, size = _heap(self.file, number(table[8:16]), self.name)
        found = {}
        for offset, address in _entries(self.file, number(table[:8]), self.name):
            name = self.file.data[start + offset : start + min(size, offset + MAX_NAME_BYTES)]
            found[messages.text(self.file, name, f"a name in {self.name}")] = address
        return found

    def below(self, path: str) -> Object:
        """The object at a path of names."""
        found = self
        for name in path.split("/"):
            if name not in found.members:
                raise self.file.error(f"{found.name} holds no {quoted(name, 80)}")
            found = Object(self.file, found.members[name], quoted(name))
        return found

    def texts(self, name: str) -> list[str] | None:
        """The strings of an attribute, if there is one of this name."""
        for message in self._messages:
            if message.kind == messages.ATTRIBUTE:
                data = self.file.span(message.start, message.length, self.name)
                if found := messages.attribute(self.file, data, name, self.name):
                    return messages.strings(self.file, found, f"{name} of {self.name}")
        return None

    def tensor(self) -> LazyTensor:
        """The dataset."""
        file, what = self.file, f"dataset {self.name}"
        if any(message.kind == messages.FILTERS for message in self._messages):
            raise file.error(f"{what} is compressed or filtered, which is not read")
        shape = messages.shape(file, self._bytes(messages.DATASPACE, "is not a dataset"), what)
        kind = messages.datatype(file, self._bytes(messages.DATATYPE, "has no type"), what)
        element = ELEMENTS[messages.float_name(file, kind, what)]
        region = messages.contiguous(file, self._bytes(messages.LAYOUT, "has no data"), what)
        if prod(shape) * element.stored.itemsize != region.nbytes:
            raise file.error(f"{what} of shape {shape} has {region.nbytes} bytes of data")
        return strided(file, element, lambda: region, 0, shape, None, what, region.nbytes)


def _heap(file: Mapped, address: int, what: str) -> tuple[int, int]:
    """Start and size of the names of a group."""
    head = file.span(address, 32, f"the names of {what}")
    if bytes(head[:5]) != b"HEAP\0":
        raise file.error(f"{what}: no local heap at byte {address}; the file is damaged")
    size, start = number(head[8:16]), number(head[24:32])
    file.check(start, size, f"the names of {what}")
    return start, size


def _entries(file: Mapped, address: int, what: str) -> Iterator[tuple[int, int]]:
    """Offset of the name, and address of the header, of every member of a group."""
    nodes, seen = [address], set()
    while nodes:
        address = nodes.pop()
        if address in seen:
            raise file.error(f"{what}: its B-tree runs in a circle; the file is damaged")
        seen.add(address)
        head = file.span(address, 8, f"the B-tree of {what}")
        count = number(head[6:8])
        if bytes(head[:5]) == b"TREE\0":
            # There is a key between two children, and before the first are the siblings and a key.
            children = file.span(address + 32, 16 * count, f"the B-tree of {what}")
            file.spend(count * messages.MESSAGE_COST_BYTES)
            nodes += [number(children[16 * i : 16 * i + 8]) for i in reversed(range(count))]
        elif bytes(head[:5]) == b"SNOD\1":
            file.spend(count * messages.MESSAGE_COST_BYTES)
            table = file.span(address + 8, _ENTRY_BYTES * count, f"the members of {what}")
            for start in range(0, len(table), _ENTRY_BYTES):
                yield number(table[start : start + 8]), number(table[start + 8 : start + 16])
        else:
            raise file.error(f"{what}: no B-tree node at byte {address}; the file is damaged")
