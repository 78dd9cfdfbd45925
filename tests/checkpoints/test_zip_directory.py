"""Archives that mean two things to two readers, or point out of themselves."""

import io
import struct
import warnings
import zipfile

import pytest

from fad_onnx.errors import CheckpointError
from fad_onnx.weights.checkpoints.mapped import Mapped
from fad_onnx.weights.checkpoints.zip_directory import members

from .writers import zipped

PLAIN = [("a/one", b"first"), ("a/two", b"second"), ("b", b"")]


def listed(write, data):
    return members(Mapped(write(data)))


def content(write, data):
    file = Mapped(write(data))
    return {
        name: bytes(file.data[member.start : member.start + member.packed])
        for name, member in members(file).items()
    }


def test_finds_every_member(write):
    assert content(write, zipped(PLAIN)) == dict(PLAIN)


def test_streamed_archives_keep_sizes_in_the_directory_only(write):
    """As torch writes them: local headers say zero, the sizes follow the data."""

    class Pipe(io.RawIOBase):
        def __init__(self):
            self.data = bytearray()

        def writable(self):
            return True

        def write(self, data):
            self.data += data
            return len(data)

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w") as archive:
        for name, data in PLAIN:
            with archive.open(zipfile.ZipInfo(name), "w") as member:
                member.write(data)
    assert bytes(pipe.data)[18:26] == bytes(8)
    assert content(write, bytes(pipe.data)) == dict(PLAIN)


def test_zip64(write):
    """The sizes and the end as zip64 records, as torch writes them for every file."""
    name, data = b"x", b"content"
    extra = struct.pack("<HHQQQ", 1, 24, len(data), len(data), 0)
    local = struct.pack("<4sHHHHHIIIHH", b"PK\3\4", 45, 0, 0, 0, 0, 0, 0, 0, 1, 4) + name
    local += b"FB\0\0"  # torch's padding
    ones = 0xFFFFFFFF
    central = struct.pack(
        "<4sHHHHHHIIIHHHHHII", b"PK\1\2", 45, 45, 0, 0, 0, 0, 0, ones, ones, 1, len(extra),
        0, 0, 0, 0, ones,
    ) + name + extra  # fmt: skip
    start = len(local) + len(data)
    end64 = struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, len(central), start)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, start + len(central), 1)
    end = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, ones, ones, 0)
    whole = local + data + central + end64 + locator + end
    assert content(write, whole) == {"x": data}
    for wrong in (2**63, start):
        lie = locator[:8] + struct.pack("<Q", wrong) + locator[16:]
        with pytest.raises(CheckpointError):
            listed(write, local + data + central + end64 + lie + end)
    cut = central[: 46 + 1] + struct.pack("<HHQ", 1, 8, 7) + extra[12:]
    with pytest.raises(CheckpointError, match="zip64 field"):
        listed(write, local + data + cut + end64 + locator + end)


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/passwd", "a\0b", ".."])
def test_names_that_point_out(write, name):
    data = zipped([("N" * len(name), b"")]).replace(b"N" * len(name), name.encode())
    with pytest.raises(CheckpointError, match="points out of the archive"):
        listed(write, data)


def test_a_name_twice(write):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = zipped([("a", b"1"), ("a", b"2")])
    with pytest.raises(CheckpointError, match="two members are named 'a'"):
        listed(write, data)


def patched(data, signature, offset, value, which=0):
    at = -1
    for _ in range(which + 1):
        at = data.index(signature, at + 1)
    return data[: at + offset] + value + data[at + offset + len(value) :]


@pytest.mark.parametrize(
    ("signature", "offset", "value", "message"),
    [
        (b"PK\1\2", 8, b"\1\0", "encrypted"),
        (b"PK\1\2", 8, b"\0\x20", "encrypted"),
        (b"PK\1\2", 24, b"\x09\0\0\0", "stored, yet 5 bytes become 9"),
        (b"PK\1\2", 20, b"\xfe\xff\xff\x7f", "lie outside the file"),
        (b"PK\1\2", 42, b"\x01\0\0\0", "local header disagrees"),
        (b"PK\1\2", 42, b"\xfe\xff\xff\x7f", "lie outside the file"),
        (b"PK\1\2", 28, b"\xff\xff", "directory is damaged"),
        (b"PK\1\2", 0, b"XX", "directory is damaged"),
        (b"PK\3\4", 26, b"\x09", "local header disagrees"),
        (b"PK\3\4", 30, b"b", "another name"),
        (b"PK\3\4", 28, b"\xff\xff", "lie outside the file"),
        (b"PK\3\4", 28, b"\x40\0", "overlap"),
        (b"PK\5\6", 10, b"\xff\xff", "directory is damaged"),
        (b"PK\5\6", 10, b"\x01\0", "more than the 1 members"),
        (b"PK\5\6", 12, b"\xff\xff\xff\x7f", "runs past its end"),
        (b"PK\5\6", 16, b"\xff\xff\xff\x7f", "runs past its end"),
        (b"PK\5\6", 4, b"\1\0", "in several"),
        (b"PK\5\6", 0, b"XX", "has no end"),
    ],
)
def test_one_field_changed(write, signature, offset, value, message):
    with pytest.raises(CheckpointError, match=message):
        listed(write, patched(zipped(PLAIN), signature, offset, value))


def test_members_that_share_bytes(write):
    """Two directory entries on one local header: a bomb made of overlaps."""
    data = zipped([("a", b"x" * 64), ("b", b"")])
    with pytest.raises(CheckpointError, match="another name"):
        listed(write, patched(data, b"PK\1\2", 42, bytes(4), which=1))


def test_a_member_inside_another(write):
    inner = zipped([("b", b"")])
    data = zipped([("a", inner), ("b", b"")])
    at = data.index(inner).to_bytes(4, "little")
    with pytest.raises(CheckpointError, match="overlap"):
        listed(write, patched(data, b"PK\1\2", 42, at, which=2))
