"""The safetensors container, and headers that lie."""

import json
import struct

import numpy as np
import pytest

from fad_onnx.errors import CheckpointError
from fad_onnx.weights import checkpoints
from fad_onnx.weights.checkpoints import safetensors

from . import writers

RNG = np.random.RandomState(5)


def test_reads_every_tensor(write):
    arrays = {
        "a": RNG.randn(3, 4).astype(np.float32), "b": np.arange(6).reshape(2, 3),
        "c": np.array([True, False]), "d": np.float16(1.5) * np.ones(()), "e": np.empty((0, 2)),
    }  # fmt: skip
    arrays["d"] = arrays["d"].astype(np.float16)
    checkpoint = checkpoints.open(write(writers.safetensors(arrays)))
    assert checkpoint.container == "safetensors"
    for name, array in arrays.items():
        read = checkpoint.tensors()[name].read()
        assert read.dtype == array.dtype
        assert read.shape == array.shape
        np.testing.assert_array_equal(read, array)


def made(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def one(dtype="F32", shape=(2,), offsets=(0, 8), **more):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets), **more}


EIGHT = bytes(8)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (made({"x": one()}, EIGHT[:7]), "holds 7 bytes of data, its header describes 8"),
        (made({"x": one()}, EIGHT + b"x"), "holds 9 bytes"),
        (made({"x": one(offsets=(0, 9))}, EIGHT + b"x"), r"of shape \(2,\) has 9 bytes"),
        (made({"x": one(offsets=(8, 0))}, EIGHT), "impossible data_offsets"),
        (made({"x": one(offsets=(0, 2**62))}, EIGHT), "not in 0"),
        (made({"x": one(offsets=(4, 12))}, EIGHT + b"xxxx"), "hole at byte 4"),
        (made({"x": one(), "y": one()}, EIGHT), "overlap"),
        (made({"x": one(shape=(2**31, 2**31, 0), offsets=(0, 0))}), "2\\^62"),
        (made({"x": one(shape=(-2,))}, EIGHT), "not in 0"),
        (made({"x": one(shape=(2.0,))}, EIGHT), "not in 0"),
        (made({"x": one(shape=(1,) * 40)}, EIGHT), "at most 32"),
        (made({"x": one(shape={})}, EIGHT), "has 8 bytes|not a list"),
        (made({"x": one(dtype="F4")}, EIGHT), "unknown dtype 'F4'"),
        (made({"x": one(dtype=[])}, EIGHT), "unknown dtype"),
        (made({"x": one(more=1)}, EIGHT), "not described by"),
        (made({"x": []}, EIGHT), "not described by"),
        (made(b'{"x": 1, "x": 2}'), "names something twice"),
        (made(b'{"x": {"dtype": "F32", "dtype": "F32"}}'), "names something twice"),
        (made(b"{" * 200), "not JSON"),
        (made(b'{"a":' + b"[" * 100_000), "nested too deeply|not JSON"),
        (made(b'{"a":' + b"9" * 5000 + b"}"), "not JSON"),
        (made(b'{"a": "\xff"}'), "not JSON"),
        (made(b"{\0}\0"), "not JSON"),
        (struct.pack("<Q", 2**33) + b"{}", "has a header of 8589934592 bytes"),
        (struct.pack("<Q", 3) + b"{}", "lie outside the file"),
        (made(b"{}")[:9], "lie outside the file"),
    ],
)
def test_headers_that_lie(write, watch, data, message):
    path = write(data)
    with watch, pytest.raises(CheckpointError, match=message):
        checkpoints.open(path)


def test_a_header_of_another_kind(write):
    path = write(made(b"[1]"))
    with pytest.raises(CheckpointError, match="no container known"):
        checkpoints.open(path)
    with pytest.raises(CheckpointError, match="not a JSON object"):
        safetensors.read(checkpoints.Mapped(path))


def test_float8_is_refused_when_read(write):
    data = made(
        {"x": one("F8_E4M3", (8,)), "y": one("BF16", (2,), (8, 12))}, EIGHT + b"\x80\x3f" * 2
    )
    tensors = checkpoints.open(write(data)).tensors()
    assert tensors["y"].read().tolist() == [1, 1]
    with pytest.raises(CheckpointError, match="float8_e4m3fn"):
        tensors["x"].read()
