"""The elements of ONNX initializers: raw, in typed fields, or in another file of the model."""

from __future__ import annotations

import os
from itertools import islice
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .mapped import ALLOWANCE_BYTES, Mapped, quoted
from .protobuf import BYTES, Field, varints
from .tensors import Array, Element, LazyTensor, Region, checked, strided


class TensorInfo(NamedTuple):
    """One initializer.

    If it is `external`, its `length` bytes are at `offset` in the file `location` in the folder of
    the model. Otherwise they are in the model itself, unchanged (`raw`) or in a typed field.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    external: bool
    location: str
    offset: int
    length: int
    raw: bool
    element: Element


def tensor(file: Mapped, info: TensorInfo) -> LazyTensor:
    """The initializer, read on request; external ones only from the model's folder."""
    if info.external:
        return LazyTensor(info.dtype, info.shape, lambda: _read_external(file, info))
    if not info.raw:
        return LazyTensor(info.dtype, info.shape, lambda: _read_typed(file, info))
    region = Region(info.offset, info.length)
    what = f"initializer {quoted(info.name)}"
    return strided(file, info.element, lambda: region, 0, info.shape, None, what, region.nbytes)


def _read_external(file: Mapped, info: TensorInfo) -> Array:
    folder = Path(os.path.realpath(Path(file.path).parent))
    target = Path(os.path.realpath(folder / info.location))
    if not target.is_relative_to(folder):
        raise file.error(f"{quoted(info.location)} is a link out of the model's folder; refused")
    other = Mapped(target)
    what = f"initializer {quoted(info.name)}"
    other.check(info.offset, info.length, what)
    region = Region(info.offset, info.length)
    return strided(
        other, info.element, lambda: region, 0, info.shape, None, what, info.length
    ).read()


def _read_typed(file: Mapped, info: TensorInfo) -> Array:
    """Elements in float_data and its like: little-endian floats, or varints."""
    what = f"initializer {quoted(info.name)}"
    stored, count = info.element.stored, prod(info.shape)
    if stored.kind in "fc" and stored.itemsize != 2:
        if info.length != count * stored.itemsize:
            raise file.error(f"{what}: {info.length} bytes for {count} elements")
        flat = np.frombuffer(file.data, stored, count, info.offset)
        return checked(file, flat.reshape(info.shape), what)
    # Each varint takes a byte at least, and becomes eight.
    if count > info.length or 8 * count > file.size + ALLOWANCE_BYTES:
        raise file.error(f"{what}: {info.length} bytes for {count} elements; save it as raw data")
    field = Field(0, BYTES, 0, info.offset, info.length)
    numbers = np.fromiter(islice(varints(file, field), count + 1), np.int64)
    if len(numbers) != count:
        raise file.error(f"{what}: not the {count} elements of its shape {info.shape}")
    if info.element.name in ("float16", "bfloat16"):
        bits = numbers.astype(np.uint16)
        wide = (bits.astype(np.uint32) << 16).view(np.float32)
        return (bits.view(np.float16) if stored.kind == "f" else wide).reshape(info.shape)
    return numbers.astype(stored).reshape(info.shape)
