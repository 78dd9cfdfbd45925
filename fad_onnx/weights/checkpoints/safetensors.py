"""The safetensors container: a JSON header of names, dtypes, shapes and offsets, then bytes.

Format: github.com/huggingface/safetensors, README "Format": u64 header length, header,
buffer; offsets count from the end of the header, without holes or overlaps.
"""

from __future__ import annotations

import json
from math import prod
from typing import Any

from .mapped import Mapped, quoted
from .tensors import ELEMENTS, Element, LazyTensor, Region, strided, whole_numbers

MAX_HEADER_BYTES = 8 * 2**20
"""Parsed JSON takes up to twenty times its text; real headers have a few hundred kB."""

_DTYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16",
    "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8", "U64": "uint64",
    "U32": "uint32", "U16": "uint16", "U8": "uint8", "BOOL": "bool",
    "C64": "complex64", "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2",
}  # fmt: skip


def holds(file: Mapped) -> bool:
    """Whether the file starts like this container."""
    # No header has 2^40 bytes, so these bytes are zeros; other files with a brace there lack them.
    return bytes(file.data[5:9]) == b"\0\0\0{"


def read(file: Mapped) -> dict[str, LazyTensor]:
    """Name -> tensor."""
    length = file.unsigned(0, 8, "the header's length")
    if length > MAX_HEADER_BYTES:
        raise file.error(f"has a header of {length} bytes; up to {MAX_HEADER_BYTES} are read")
    header = _parsed(file, bytes(file.span(8, length, "the header")))
    header.pop("__metadata__", None)
    start, tensors, extents = 8 + length, {}, []
    for name, entry in header.items():
        element, shape, begin, end = _entry(file, name, entry)
        extents.append((begin, end))
        region = Region(start + begin, end - begin)
        tensors[name] = _tensor(file, name, element, shape, region)
    _check_extents(file, sorted(extents), file.size - start)
    return tensors


def _tensor(
    file: Mapped, name: str, element: Element, shape: tuple[int, ...], region: Region
) -> LazyTensor:
    what = f"tensor {quoted(name)}"
    if prod(shape) * element.stored.itemsize != region.nbytes:
        raise file.error(f"{what} of shape {shape} has {region.nbytes} bytes")
    return strided(file, element, lambda: region, 0, shape, None, what, region.nbytes)


def _parsed(file: Mapped, text: bytes) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) != len(pairs):
            raise file.error("its header names something twice")
        return made

    try:
        # Given bytes, json would guess the encoding; the format has only one.
        header = json.loads(text.decode("utf-8"), object_pairs_hook=unique)
    except RecursionError as error:
        raise file.error("its header is nested too deeply") from error
    except ValueError as error:
        if isinstance(error, type(file.error(""))):
            raise
        raise file.error("its header is not JSON; the file is damaged, fetch it again") from error
    if not isinstance(header, dict):
        raise file.error("its header is not a JSON object")
    return header


def _entry(file: Mapped, name: str, entry: Any) -> tuple[Element, tuple[int, ...], int, int]:
    what = f"tensor {quoted(name)}"
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise file.error(f"{what} is not described by dtype, shape and data_offsets")
    dtype = entry["dtype"]
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise file.error(f"{what} has the unknown dtype {quoted(dtype)}")
    offsets = whole_numbers(file, entry["data_offsets"], f"data_offsets of {what}")
    if len(offsets) != 2 or offsets[0] > offsets[1]:
        raise file.error(f"{what} has impossible data_offsets")
    shape = whole_numbers(file, entry["shape"], f"the shape of {what}")
    return ELEMENTS[_DTYPES[dtype]], shape, *offsets


def _check_extents(file: Mapped, extents: list[tuple[int, int]], nbytes: int) -> None:
    position = 0
    for begin, end in extents:
        if begin != position:
            raise file.error(f"its tensors overlap or leave a hole at byte {begin} of the data")
        position = end
    if position != nbytes:
        raise file.error(
            f"holds {nbytes} bytes of data, its header describes {position};"
            " the file is cut short or damaged, fetch it again"
        )
