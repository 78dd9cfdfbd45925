"""The positions of the members of a zip archive, from its central directory; unpacks nothing.

The format: PKWARE APPNOTE 6.3.10. This reads only what checkpoints and NumPy archives use, and
refuses archives that two readers could understand differently.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

from .mapped import Mapped, quoted

STORED, DEFLATED = 0, 8
_END, _END_BYTES = b"PK\5\6", 22
_END64, _LOCATOR64 = b"PK\6\6", b"PK\6\7"
_CENTRAL, _CENTRAL_BYTES = b"PK\1\2", 46
_LOCAL, _LOCAL_BYTES = b"PK\3\4", 30
_ENCRYPTED = 0x1 | 0x40 | 0x2000
_UTF8 = 0x800
_MEMBER_COST_BYTES = 600


class Member(NamedTuple):
    """One member: `packed` bytes at `start` that become `size` bytes."""

    name: str
    method: int
    crc32: int
    start: int
    packed: int
    size: int


class _Entry(NamedTuple):
    name: bytes
    flags: int
    method: int
    crc32: int
    packed: int
    size: int
    header: int
    end: int


def members(file: Mapped) -> dict[str, Member]:
    """The members by name, in the order of the central directory.

    CheckpointError for anything damaged, encrypted, duplicated, overlapping, or named like a
    path out of a folder.
    """
    offset, length, count = _directory(file)
    found: dict[str, Member] = {}
    extents: list[tuple[int, int]] = []
    position, end = offset, offset + length
    for _ in range(count):
        entry = _entry(file, position, end)
        position = entry.end
        name = _name(file, entry)
        if name in found:
            raise file.error(f"two members are named {quoted(name)}")
        member = _member(file, entry, name)
        found[name] = member
        extents.append((entry.header, member.start + member.packed))
    if position != end:
        raise file.error(f"its directory holds more than the {count} members it announces")
    _check_extents(file, extents, offset)
    return found


def _directory(file: Mapped) -> tuple[int, int, int]:
    """Offset, length and member count of the central directory."""
    tail = max(0, file.size - _END_BYTES - 0xFFFF)
    at = bytes(file.data[tail:]).rfind(_END)
    if at < 0 or tail + at + _END_BYTES > file.size:
        raise file.error("the zip archive has no end; it is cut short, fetch it again")
    at += tail
    count, length, offset = (
        file.unsigned(at + 10, 2, "zip end"),
        file.unsigned(at + 12, 4, "zip end"),
        file.unsigned(at + 16, 4, "zip end"),
    )
    if file.unsigned(at + 4, 4, "zip end") not in (0, 0xFFFFFFFF):
        raise file.error("is one part of a zip archive in several; join the parts first")
    if at >= 20 and file.span(at - 20, 4, "zip64 locator") == _LOCATOR64:
        at = file.unsigned(at - 12, 8, "zip64 locator")
        if file.span(at, 4, "zip64 end") != _END64:
            raise file.error("the zip64 end record is not where its locator points")
        count, length, offset = (
            file.unsigned(at + 32, 8, "zip64 end"),
            file.unsigned(at + 40, 8, "zip64 end"),
            file.unsigned(at + 48, 8, "zip64 end"),
        )
    if offset + length > at:
        raise file.error(f"its directory, {length} bytes at {offset}, runs past its end at {at}")
    return offset, length, count


def _entry(file: Mapped, at: int, end: int) -> _Entry:
    what = "zip directory"
    if at + _CENTRAL_BYTES > end or file.span(at, 4, what) != _CENTRAL:
        raise file.error(f"its directory is damaged at byte {at}; fetch it again")
    name_bytes, extra_bytes, comment_bytes = (
        file.unsigned(at + 28 + 2 * index, 2, what) for index in range(3)
    )
    name_at = at + _CENTRAL_BYTES
    extra_at = name_at + name_bytes
    after = extra_at + extra_bytes + comment_bytes
    if after > end:
        raise file.error(f"its directory is damaged at byte {at}; fetch it again")
    file.spend(_MEMBER_COST_BYTES + 5 * name_bytes)
    sizes = [file.unsigned(at + offset, 4, what) for offset in (24, 20, 42)]
    size, packed, header = _widened(file, sizes, extra_at, extra_bytes)
    return _Entry(
        bytes(file.span(name_at, name_bytes, what)),
        file.unsigned(at + 8, 2, what),
        file.unsigned(at + 10, 2, what),
        file.unsigned(at + 16, 4, what),
        packed,
        size,
        header,
        after,
    )


def _widened(file: Mapped, sizes: list[int], at: int, length: int) -> list[int]:
    """Size, packed size and offset; values of all ones are replaced by those of the zip64 field."""
    if 0xFFFFFFFF not in sizes:
        return sizes
    end = at + length
    while at + 4 <= end:
        kind, field = file.unsigned(at, 2, "zip64"), file.unsigned(at + 2, 2, "zip64")
        at += 4
        if kind == 1 and field >= 8 * sizes.count(0xFFFFFFFF) and at + field <= end:
            wide = iter(range(at, at + field, 8))
            return [
                file.unsigned(next(wide), 8, "zip64") if size == 0xFFFFFFFF else size
                for size in sizes
            ]
        at += field
    raise file.error("a member of 4 GiB or more lacks its zip64 field")


def _name(file: Mapped, entry: _Entry) -> str:
    try:
        name = entry.name.decode("utf-8" if entry.flags & _UTF8 else "cp437")
    except UnicodeDecodeError as error:
        raise file.error("a member's name is not UTF-8 though it says so") from error
    if "\0" in name or name.startswith("/") or ".." in name.split("/"):
        raise file.error(f"refuses a member named {quoted(name)}: it points out of the archive")
    return name


def _member(file: Mapped, entry: _Entry, name: str) -> Member:
    """The member with the offset of its data, which only the local header gives."""
    what = f"member {quoted(name)}"
    if entry.flags & _ENCRYPTED:
        raise file.error(f"{what} is encrypted; save the file without a password")
    local = file.span(entry.header, _LOCAL_BYTES, what)
    name_bytes = int.from_bytes(local[26:28], "little")
    extra_bytes = int.from_bytes(local[28:30], "little")
    if local[:4] != _LOCAL or name_bytes != len(entry.name):
        raise file.error(f"{what}: its local header disagrees with the directory")
    if file.span(entry.header + _LOCAL_BYTES, name_bytes, what) != entry.name:
        raise file.error(f"{what}: its local header has another name")
    start = entry.header + _LOCAL_BYTES + name_bytes + extra_bytes
    file.check(start, entry.packed, what)
    if entry.method == STORED and entry.packed != entry.size:
        raise file.error(f"{what}: stored, yet {entry.packed} bytes become {entry.size}")
    return Member(name, entry.method, entry.crc32, start, entry.packed, entry.size)


def _check_extents(file: Mapped, extents: list[tuple[int, int]], limit: int) -> None:
    extents.sort()
    for (_, end), (start, _) in pairwise([*extents, (limit, limit)]):
        if end > start:
            raise file.error(f"its members overlap at byte {start}; it is damaged or hostile")
