"""Arrays of a checkpoint: described when it is opened, read on request."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .mapped import ALLOWANCE_BYTES, Mapped

Array = NDArray[Any]

MAX_RANK = 32
"""The most dimensions in NumPy 1.26."""

TENSOR_COST_BYTES = 2000
"""The most memory of a LazyTensor: object, shape, strides, closure and its cells."""


class Element(NamedTuple):
    """An element type: its name, its type in the file, and the type that read() returns."""

    name: str
    stored: np.dtype[Any]
    read_as: np.dtype[Any] | None


def _element(name: str, stored: str, read_as: str | None = None) -> tuple[str, Element]:
    return name, Element(name, np.dtype(stored), np.dtype(read_as or stored))


ELEMENTS: dict[str, Element] = dict(
    [
        _element("float64", "<f8"),
        _element("float32", "<f4"),
        _element("float16", "<f2"),
        # bfloat16 is the upper half of a float32, so widening is exact.
        _element("bfloat16", "<u2", "<f4"),
        _element("complex64", "<c8"),
        _element("complex128", "<c16"),
        _element("int8", "|i1"),
        _element("int16", "<i2"),
        _element("int32", "<i4"),
        _element("int64", "<i8"),
        _element("uint8", "|u1"),
        _element("uint16", "<u2"),
        _element("uint32", "<u4"),
        _element("uint64", "<u8"),
        _element("bool", "|b1"),
    ]
)
# In files, but without an equivalent in NumPy: described, and refused when read.
for _name in ("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz"):
    ELEMENTS[_name] = Element(_name, np.dtype("|u1"), None)


class LazyTensor:
    """One array of a checkpoint: dtype and shape now, the elements by `read()`."""

    __slots__ = ("dtype", "load", "shape")

    def __init__(
        self, dtype: np.dtype[Any], shape: tuple[int, ...], load: Callable[[], Array]
    ) -> None:
        self.dtype, self.shape, self.load = dtype, shape, load

    def read(self) -> Array:
        """The elements, of `shape` and `dtype` in native byte order.

        A read-only view of the mapped file if no conversion is needed, else a copy.
        CheckpointError if they cannot be read.
        """
        return self.load()

    def __repr__(self) -> str:
        return f"LazyTensor({self.dtype}, {self.shape})"


class Region(NamedTuple):
    """A run of bytes of a file that tensors view: a storage."""

    start: int
    nbytes: int


def whole_numbers(file: Mapped, values: object, what: str) -> tuple[int, ...]:
    """A shape or strides from an untrusted file: at most MAX_RANK integers in 0 .. 2^62."""
    if not isinstance(values, tuple | list) or len(values) > MAX_RANK:
        raise file.error(f"{what} is not a list of at most {MAX_RANK} numbers")
    for value in values:
        if type(value) is not int or not 0 <= value < 2**62:
            raise file.error(f"{what} holds a number that is not in 0 .. 2^62")
    return tuple(values)


def strided(
    file: Mapped,
    element: Element,
    region: Callable[[], Region],
    offset: int,
    shape: tuple[int, ...],
    strides: tuple[int, ...] | None,
    what: str,
    nbytes: int,
) -> LazyTensor:
    """A tensor over a storage of `nbytes` bytes; offset and strides count elements.

    `region` gives the position of the storage when the tensor is read, because a legacy container
    names its storages before their positions are known. Strides None means C order. CheckpointError
    if any element would lie outside the storage.
    """
    file.spend(TENSOR_COST_BYTES)
    strides = c_order(shape) if strides is None else strides
    size = element.stored.itemsize
    if len(strides) != len(shape):
        raise file.error(f"{what}: {len(shape)} dimensions but {len(strides)} strides")
    if prod(max(length, 1) for length in shape) * size >= 2**62:
        raise file.error(f"{what}: a shape of more than 2^62 bytes")
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if 0 not in shape and (offset < 0 or (last + 1) * size > nbytes):
        raise file.error(
            f"{what}: its elements reach byte {(last + 1) * size} of a storage of {nbytes}"
        )

    def load() -> Array:
        return _load_strided(file, element, region(), offset, shape, strides, what)

    return LazyTensor(element.read_as or element.stored, shape, load)


def c_order(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides, in elements, of a contiguous array of this shape."""
    return tuple(prod(max(n, 1) for n in shape[axis + 1 :]) for axis in range(len(shape)))


def _load_strided(
    file: Mapped,
    element: Element,
    region: Region,
    offset: int,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    what: str,
) -> Array:
    stored = element.stored
    if element.read_as is None:
        raise file.error(f"{what}: {element.name} has no NumPy equivalent; save it as float32")
    if 0 in shape:
        return np.empty(shape, element.read_as)
    # With a stride of 0, one element fills any shape, and the reader allocates all of it.
    total = prod(shape) * element.read_as.itemsize
    if total > 2 * file.size + ALLOWANCE_BYTES:
        raise file.error(f"{what}: {total} bytes out of a file of {file.size}")
    reach = 1 + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    start = region.start + offset * stored.itemsize
    file.check(start, reach * stored.itemsize, what)
    file.check_whole()
    flat = np.frombuffer(file.data, stored, reach, start)
    steps = [step * stored.itemsize for step in strides]
    array = np.lib.stride_tricks.as_strided(flat, shape, steps, writeable=False)
    return _as_read(file, element, array, what)


def _as_read(file: Mapped, element: Element, array: Array, what: str) -> Array:
    if element.name == "bfloat16":
        wide = array.astype(np.uint32)
        wide <<= 16
        return wide.view(np.float32)
    return checked(file, array, what)


def checked(file: Mapped, array: Array, what: str) -> Array:
    """The array in native byte order, if NumPy can trust its bytes.

    A truth value of 2 or a character beyond Unicode would cause errors elsewhere.
    """
    if array.dtype == bool and array.size and array.view(np.uint8).max() > 1:
        raise file.error(f"{what}: a truth value that is neither 0 nor 1")
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.dtype.kind == "U" and array.size:
        points = np.ascontiguousarray(array).reshape(-1).view(np.uint32)
        if points.max() > 0x10FFFF:
            raise file.error(f"{what}: a character beyond Unicode")
    return array
