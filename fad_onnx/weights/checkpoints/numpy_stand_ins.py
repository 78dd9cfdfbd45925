"""NumPy's half of the allow-list: pickled dtypes, arrays and scalars, without NumPy's code.

`numpy.ndarray.__setstate__` trusts what it is given (object arrays, false shapes). Here, a pickled
array becomes a LazyTensor whose bytes stay in the file until they are read. The state tuples are
those of NumPy's array and dtype `__reduce__` (numpy/_core/src/multiarray, methods.c and
descriptor.c).
"""

from __future__ import annotations

import codecs
import re
from math import prod
from typing import Any

import numpy as np

from .mapped import Mapped
from .pickle_machine import Span
from .tensors import TENSOR_COST_BYTES, Array, LazyTensor, checked, whole_numbers

_CODES = re.compile("b1|[iu][1248]|f[248]|c8|c16")
_CHUNK = 1 << 20
Payload = bytes | Span


class PickledDtype:
    """`numpy.dtype(code)`, then its state with the byte order; None if it is not a number."""

    __slots__ = ("dtype",)

    def __init__(self, code: object) -> None:
        self.dtype: np.dtype[Any] | None = None
        if isinstance(code, str) and _CODES.fullmatch(code):
            self.dtype = np.dtype(code)

    def set_state(self, file: Mapped, state: object) -> None:
        """(version, byte order, subarray, names, fields, ...) of a dtype's own pickling."""
        if type(state) is not tuple or len(state) < 5 or state[1] not in ("<", ">", "|", "="):
            raise file.error("a pickled NumPy dtype has a state of unknown form")
        plain = state[2] is None and state[3] is None and state[4] is None
        # "=" is the order of the machine that wrote it, which nothing tells: little-endian
        # ones do not write it.
        if self.dtype is not None and plain and state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])
        elif not plain:
            self.dtype = None


def unfilled(file: Mapped) -> LazyTensor:
    """The result of `_reconstruct`: an array without state."""
    file.spend(TENSOR_COST_BYTES)

    def load() -> Array:
        raise file.error("a pickled NumPy array was never given its contents")

    return LazyTensor(np.dtype(object), (), load)


def fill(file: Mapped, target: LazyTensor, state: object) -> None:
    """Array state: (version, shape, dtype, Fortran order, bytes)."""
    if type(state) is not tuple or len(state) not in (4, 5):
        raise file.error("a pickled NumPy array has a state of unknown form")
    shape, dtype, fortran, payload = state[-4:]
    if not isinstance(dtype, PickledDtype):
        raise file.error("a pickled NumPy array has no dtype")
    filled = array(file, dtype, whole_numbers(file, shape, "a NumPy shape"), payload, fortran)
    target.dtype, target.shape, target.load = filled.dtype, filled.shape, filled.load


def array(
    file: Mapped, kind: PickledDtype, shape: tuple[int, ...], payload: object, fortran: object
) -> LazyTensor:
    """The described array; if it does not hold numbers, a tensor that cannot be read."""
    file.spend(TENSOR_COST_BYTES)
    dtype = kind.dtype
    if dtype is None:
        return LazyTensor(np.dtype(object), shape, lambda: _no_numbers(file))
    content = as_bytes(file, payload)
    nbytes = prod(shape) * dtype.itemsize
    held = content.length if isinstance(content, Span) else len(content)
    if nbytes > held or (nbytes != held and not _is_text(content)):
        raise file.error(f"a NumPy array of shape {shape} has {held} bytes instead of {nbytes}")

    def load() -> Array:
        flat = np.frombuffer(_contents(file, content, nbytes), dtype)
        shaped = flat.reshape(shape, order="F" if fortran else "C")
        return checked(file, shaped, "a pickled NumPy array")

    return LazyTensor(dtype.newbyteorder("="), shape, load)


def as_bytes(file: Mapped, payload: object) -> Payload:
    """The bytes of a value: bytes, a Span, or an ASCII string of Python 2."""
    if isinstance(payload, bytes):
        return payload
    if isinstance(payload, Span) and payload.kind in ("bytes", "latin1"):
        return payload
    if isinstance(payload, str) and payload.isascii():
        return payload.encode("ascii")
    raise file.error("a pickled NumPy array holds something that is not bytes")


def _is_text(content: Payload) -> bool:
    return isinstance(content, Span) and content.kind == "latin1"


def _no_numbers(file: Mapped) -> Array:
    raise file.error("a pickled NumPy array does not hold plain numbers; save it as float32")


def _contents(file: Mapped, content: Payload, nbytes: int) -> bytes | bytearray | memoryview:
    if isinstance(content, bytes):
        return content
    file.check_whole()
    data = file.data[content.offset : content.offset + content.length]
    return _from_latin1_text(file, data, nbytes) if content.kind == "latin1" else data


def _from_latin1_text(file: Mapped, text: memoryview, nbytes: int) -> bytearray:
    """Bytes that protocol 2 wrote as UTF-8 text of code points 0-255; a chunk at a time."""
    out = bytearray(nbytes)
    decoder = codecs.getincrementaldecoder("utf-8")()
    filled = 0
    try:
        for start in range(0, len(text), _CHUNK):
            last = start + _CHUNK >= len(text)
            chunk = decoder.decode(text[start : start + _CHUNK], last).encode("latin-1")
            if filled + len(chunk) > nbytes:
                break
            out[filled : filled + len(chunk)] = chunk
            filled += len(chunk)
        else:
            if filled == nbytes:
                return out
    except UnicodeError as error:
        raise file.error("the bytes of a pickled NumPy array are damaged") from error
    raise file.error(f"a pickled NumPy array has another length than its {nbytes} bytes")
