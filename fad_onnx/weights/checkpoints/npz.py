"""NumPy archives (.npz), read without pickle and without trust in their headers.

The member format: numpy/lib/format.py. Arrays of numbers are read, and arrays of text for the
JSON string in statistics; object arrays and records are refused.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator
from math import prod
from typing import Any, NamedTuple

import numpy as np

from .mapped import ALLOWANCE_BYTES, Mapped, Path, quoted
from .tensors import MAX_RANK, TENSOR_COST_BYTES, Array, LazyTensor, checked
from .zip_directory import DEFLATED, STORED, Member, members

SUFFIX = ".npy"
_MAGIC = b"\x93NUMPY"
_MAX_HEADER = 8192
_CHUNK = 1 << 20
_FORGET = 64 << 20  # verifying a checksum keeps no more than this of a file in memory
# The memory for a member, relative to its least size in a file with as many as possible.
COST_PER_BYTE = 16
TEXT_COST_BYTES = 60
_HEADER = re.compile(
    r"\{\s*'descr':\s*'(?P<descr>[<>|=]?[a-zA-Z][0-9]{0,9})',"
    r"\s*'fortran_order':\s*(?P<fortran>True|False),"
    r"\s*'shape':\s*\((?P<shape>(?:[0-9]{1,18}L?,\s*)*(?:[0-9]{1,18}L?)?)\),?\s*\}\s*"
)
_DTYPE = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248]|c8|c16|[SU][1-9][0-9]{0,8})")


class Header(NamedTuple):
    """The header of a member: dtype, shape, order, and its length in bytes."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran: bool
    length: int


def read(path: Path, names: Iterable[str] | None = None) -> dict[str, Array]:
    """Copies of all or the named arrays of an archive, in native byte order.

    Memory: the arrays, and for compressed members at most the file's size plus
    ALLOWANCE_BYTES. CheckpointError if the file is no archive, damaged (checksums are
    compared), holds two members of a name, objects instead of numbers, or lacks a name.
    """
    file = Mapped(path)
    found = members(file)
    wanted = found if names is None else _chosen(file, found, names)
    expanded = sum(member.size for member in wanted.values() if member.method == DEFLATED)
    _check_expansion(file, expanded, "its arrays together")
    return {name: np.array(tensor.read()) for name, tensor in describe(file, wanted).items()}


def names(path: Path) -> list[str]:
    """The names of the arrays of an archive, in order, without reading any array."""
    file = Mapped(path, COST_PER_BYTE)
    return [_array_name(file, name) for name in members(file)]


def _chosen(file: Mapped, found: dict[str, Member], wanted: Iterable[str]) -> dict[str, Member]:
    chosen = {}
    for name in wanted:
        if name + SUFFIX not in found:
            listed = ", ".join(quoted(known.removesuffix(SUFFIX), 40) for known in list(found)[:8])
            raise file.error(f"holds no array {quoted(name)}; it holds {listed or 'none'}")
        chosen[name + SUFFIX] = found[name + SUFFIX]
    return chosen


def _array_name(file: Mapped, member: str) -> str:
    if not member.endswith(SUFFIX):
        raise file.error(f"member {quoted(member)} is not an array; is it a NumPy archive?")
    return member.removesuffix(SUFFIX)


def _check_expansion(file: Mapped, size: int, what: str) -> None:
    if size > file.size + ALLOWANCE_BYTES:
        raise file.error(f"{what} would expand to {size} bytes; refused as a zip bomb")


def holds(found: dict[str, Member]) -> bool:
    """Whether these are the members of a NumPy archive."""
    return bool(found) and all(name.endswith(SUFFIX) for name in found)


def describe(file: Mapped, found: dict[str, Member]) -> dict[str, LazyTensor]:
    """The arrays, read on request, by their names without .npy."""
    return {_array_name(file, name): _describe_member(file, found[name]) for name in found}


def _describe_member(file: Mapped, member: Member) -> LazyTensor:
    file.spend(TENSOR_COST_BYTES)
    what = f"array {quoted(member.name.removesuffix(SUFFIX))}"
    if member.method not in (STORED, DEFLATED):
        raise file.error(f"{what} is compressed by method {member.method}; store or deflate it")
    header = _header(file, _opening(file, member), what)
    nbytes = prod(header.shape) * header.dtype.itemsize
    if header.length + nbytes != member.size:
        raise file.error(
            f"{what}: {header.dtype} {header.shape} needs {nbytes} bytes,"
            f" {member.size - header.length} are there"
        )

    def load() -> Array:
        content = _content(file, member, what)
        flat = np.frombuffer(content, header.dtype, prod(header.shape), header.length)
        shaped = flat.reshape(header.shape, order="F" if header.fortran else "C")
        return checked(file, shaped, what)

    return LazyTensor(header.dtype.newbyteorder("="), header.shape, load)


def _opening(file: Mapped, member: Member) -> bytes:
    """The start of the member, up to the longest possible header."""
    packed = file.span(member.start, member.packed, quoted(member.name))
    if member.method == STORED:
        return bytes(packed[:_MAX_HEADER])
    return _inflated(file, packed, min(_MAX_HEADER, member.size), member)


def _header(file: Mapped, opening: bytes, what: str) -> Header:
    if opening[:6] != _MAGIC or opening[6:7] not in (b"\1", b"\2", b"\3"):
        raise file.error(f"{what} is not in NumPy's format")
    width = 2 if opening[6] == 1 else 4
    length = int.from_bytes(opening[8 : 8 + width], "little")
    text = opening[8 + width : 8 + width + length]
    if len(text) != length:
        raise file.error(f"{what} has a header of {length} bytes; up to {_MAX_HEADER} are read")
    match = _HEADER.fullmatch(text.decode("latin-1"))
    if not match or not _DTYPE.fullmatch(match["descr"]):
        raise file.error(f"{what} holds no plain numbers (objects or records); nothing was run")
    shape = tuple(int(number.rstrip("L")) for number in re.findall("[0-9]+L?", match["shape"]))
    dtype = np.dtype(match["descr"])
    if len(shape) > MAX_RANK or prod(max(n, 1) for n in shape) * max(dtype.itemsize, 1) >= 2**62:
        raise file.error(f"{what} has an impossible shape")
    return Header(dtype, shape, match["fortran"] == "True", 8 + width + length)


def _content(file: Mapped, member: Member, what: str) -> bytes | memoryview:
    """The member's bytes, with their checksum verified."""
    file.check_whole()
    packed = file.span(member.start, member.packed, what)
    content: bytes | memoryview = packed
    if member.method == DEFLATED:
        _check_expansion(file, member.size, what)
        content = _inflated(file, packed, member.size, member)
    checksum = 0
    for start in range(0, len(content), _FORGET):
        checksum = zlib.crc32(content[start : start + _FORGET], checksum)
        file.forget()
    if checksum != member.crc32:
        raise file.error(f"{what} is damaged: its checksum differs; copy the file again")
    return content


def _inflated(file: Mapped, packed: memoryview, size: int, member: Member) -> bytes:
    """The content of a deflated member, which must have exactly `size` bytes."""
    return b"".join(_inflate(file, packed, size, member))


def _inflate(file: Mapped, packed: memoryview, size: int, member: Member) -> Iterator[bytes]:
    machine = zlib.decompressobj(-zlib.MAX_WBITS)
    have, position = 0, 0
    try:
        while have < size and not machine.eof:
            chunk = packed[position : position + _CHUNK]
            piece = machine.decompress(chunk, min(size - have, _CHUNK))
            position += len(chunk) - len(machine.unconsumed_tail)
            if not piece and not chunk:
                break
            yield piece
            have += len(piece)
    except zlib.error as error:
        raise file.error(f"array {quoted(member.name)} is damaged: {error}") from error
    if have < size:
        raise file.error(f"array {quoted(member.name)} expands to less than it announces")


def texts(file: Mapped, member: Member) -> Iterator[str]:
    """The strings of an array of text; its padded form is never held whole."""
    what = f"array {quoted(member.name.removesuffix(SUFFIX))}"
    header = _header(file, _opening(file, member), what)
    width = header.dtype.itemsize
    if header.dtype.kind != "U" or len(header.shape) != 1 or width > _CHUNK:
        raise file.error(f"{what} is not a list of texts, but {header.dtype} {header.shape}")
    if header.length + header.shape[0] * width != member.size:
        raise file.error(f"{what}: {header.shape[0]} texts are not {member.size} bytes")
    rest, checksum, skip = b"", 0, header.length
    for piece in _pieces(file, member, what):
        checksum = zlib.crc32(piece, checksum)
        rest, skip = rest + piece[skip:], max(0, skip - len(piece))
        whole = len(rest) // width
        block = np.frombuffer(rest, header.dtype, whole)
        rest = rest[whole * width :]
        for text in checked(file, block, what).tolist():
            file.spend(TEXT_COST_BYTES + len(text))
            yield text
    if checksum != member.crc32:
        raise file.error(f"{what} is damaged: its checksum differs; copy the file again")


def _pieces(file: Mapped, member: Member, what: str) -> Iterator[bytes]:
    file.check_whole()
    packed = file.span(member.start, member.packed, what)
    if member.method == DEFLATED:
        yield from _inflate(file, packed, member.size, member)
    else:
        for start in range(0, len(packed), _CHUNK):
            yield bytes(packed[start : start + _CHUNK])
