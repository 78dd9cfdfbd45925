"""NumPy archives as NumPy reads them, and those that it would read to its harm."""

import os
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest

from fad_onnx.errors import CheckpointError
from fad_onnx.weights import checkpoints
from fad_onnx.weights.checkpoints import npz
from fad_onnx.weights.checkpoints.mapped import ALLOWANCE_BYTES

from .writers import zipped

RNG = np.random.RandomState(3)
ARRAYS = {
    "mu": RNG.randn(128),
    "sigma": RNG.randn(128, 128),
    "count": np.int64(12),
    "float16": RNG.randn(2, 3, 4).astype(np.float16),
    "fortran": np.asfortranarray(RNG.randn(5, 7)),
    "big": np.arange(4, dtype=">u4"),
    "empty": np.empty((0, 128), np.float32),
    "complex": RNG.randn(3) + 1j,
    "bool": np.array([True, False]),
    "meta": np.array('{"schema": 1, "name": "\u00e9\U0001f600"}'),
    "bytes": np.array([b"ab", b"c"]),
    "a folder/clip %C3.wav": np.ones((3, 2), np.float32),
}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_reads_what_numpy_writes(tmp_path, save):
    save(tmp_path / "a.npz", **ARRAYS)
    assert npz.names(tmp_path / "a.npz") == list(ARRAYS)
    read = npz.read(tmp_path / "a.npz")
    assert list(read) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert read[name].dtype == array.dtype.newbyteorder("=")
        assert read[name].shape == array.shape
        np.testing.assert_array_equal(read[name], array)
    assert read["mu"].flags.writeable
    assert read["meta"].item() == ARRAYS["meta"].item()
    lazy = checkpoints.open(tmp_path / "a.npz")
    assert lazy.container == "npz"
    np.testing.assert_array_equal(lazy.tensors()["sigma"].read(), ARRAYS["sigma"])


def test_names_asked_for(tmp_path):
    np.savez(tmp_path / "a.npz", **ARRAYS)
    assert list(npz.read(tmp_path / "a.npz", ["sigma", "mu"])) == ["sigma", "mu"]
    with pytest.raises(CheckpointError, match="holds no array 'nu'; it holds 'mu', 'sigma'"):
        npz.read(tmp_path / "a.npz", ["mu", "nu"])


def test_an_archive_of_nothing(tmp_path):
    np.savez(tmp_path / "a.npz")
    assert npz.read(tmp_path / "a.npz") == {}


def npy(descr="'<f8'", shape="(2,)", data=bytes(16), fortran="False", version=1):
    header = f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}\n"
    width = "<H" if version == 1 else "<I"
    return (
        b"\x93NUMPY"
        + bytes([version, 0])
        + struct.pack(width, len(header))
        + header.encode()
        + data
    )


@pytest.mark.parametrize("version", [1, 2, 3])
def test_header_versions(write, version):
    assert npz.read(write(zipped([("x.npy", npy(version=version))])))["x"].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (npy("'|O'"), "no plain numbers"),
        (npy("[('a', '<f8')]"), "no plain numbers"),
        (npy("'<f8', 'x': __import__('os').system('touch sentinel')"), "no plain numbers"),
        (npy("'<M8[s]'"), "no plain numbers"),
        (npy("'V8'"), "no plain numbers"),
        (npy("'<f3'"), "no plain numbers"),
        (npy("'<U0'", "(9,)", b""), "no plain numbers"),
        (npy(shape="(" * 5000), "no plain numbers"),
        (npy(shape="(" + "1" * 400 + ")"), "no plain numbers"),
        (npy(shape="(-2,)"), "no plain numbers"),
        (npy(shape="(3,)"), "needs 24 bytes, 16 are there"),
        (npy(shape="(1,)"), "needs 8 bytes, 16 are there"),
        (npy(shape="(999999999999999999, 999999999999999999)"), "impossible shape"),
        (npy(shape=f"({'1, ' * 40})"), "impossible shape"),
        (npy(shape="(0, 999999999999999999, 999999999999999999)", data=b""), "impossible shape"),
        (npy()[:9], "has a header of"),
        (npy(version=9), "not in NumPy's format"),
        (b"\x93NUMPY\x02\0" + b"\xff" * 4, "has a header of"),
        (b"hello", "not in NumPy's format"),
        (b"", "not in NumPy's format"),
        (npy("'|b1'", "(16,)", bytes(15) + b"\2"), "neither 0 nor 1"),
        (npy("'<U4'", "()", b"\xff" * 16), "beyond Unicode"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_members_that_lie(write, watch, member, message, method):
    path = write(zipped([("x.npy", member)], method))
    with watch, pytest.raises(CheckpointError, match=message):
        npz.read(path)


def test_checksums_are_compared(write):
    data = bytearray(zipped([("x.npy", npy(data=b"A" * 16))]))
    data[data.index(b"A" * 16)] ^= 1
    with pytest.raises(CheckpointError, match="checksum"):
        npz.read(write(bytes(data)))


def announcing(size, data):
    """A deflated member of these bytes that announces `size`."""
    archive = bytearray(zipped([("x.npy", data)], zipfile.ZIP_DEFLATED))
    central = archive.index(b"PK\1\2")
    archive[central + 24 : central + 28] = struct.pack("<I", size)
    return bytes(archive)


def peak_bytes(path, message):
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError, match=message):
            npz.read(path)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_zip_bomb_that_announces_itself(write):
    size = ALLOWANCE_BYTES + 2**24
    header = npy(shape=f"({size // 8},)", data=b"")
    path = write(announcing(size + len(header), header + bytes(2**20)))
    assert peak_bytes(path, "zip bomb") < 2**20
    with pytest.raises(CheckpointError, match="zip bomb"):
        checkpoints.open(path).tensors()["x"].read()


def test_a_zip_bomb_that_does_not(write):
    path = write(announcing(len(npy()), npy() + bytes(2**24)))
    assert peak_bytes(path, "checksum") < 2**20


def test_a_zip_bomb_in_many_members(write, monkeypatch):
    monkeypatch.setattr(npz, "ALLOWANCE_BYTES", 2**20)
    data = npy(shape="(65536,)", data=bytes(2**19))
    path = write(zipped([(f"{n}.npy", data) for n in range(9)], zipfile.ZIP_DEFLATED))
    assert peak_bytes(path, "its arrays together would expand to") < 2**18


def test_a_member_that_expands_to_less(write):
    path = write(announcing(len(npy()) + 8, npy()))
    assert peak_bytes(path, "expands to less") < 2**20
    path = write(announcing(len(npy(shape="(9,)")) + 56, npy(shape="(9,)")))
    assert peak_bytes(path, "expands to less") < 2**20


def test_truncated_anywhere(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, mu=RNG.randn(9), meta=np.array("text"))
    for length in reversed(range(path.stat().st_size)):
        os.truncate(path, length)
        with pytest.raises(CheckpointError):
            npz.read(path)


def test_other_members(write):
    with pytest.raises(CheckpointError, match="'readme.txt' is not an array"):
        npz.read(write(zipped([("x.npy", npy()), ("readme.txt", b"hello")])))
    with pytest.raises(CheckpointError, match="method 12"):
        npz.read(write(zipped([("x.npy", npy())], zipfile.ZIP_BZIP2)))


def test_a_file_cut_short_meanwhile(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros(10_000))
    lazy = checkpoints.open(tmp_path / "a.npz").tensors()["x"]
    os.truncate(tmp_path / "a.npz", 4096)
    with pytest.raises(CheckpointError, match="cut short while it was being read"):
        lazy.read()
