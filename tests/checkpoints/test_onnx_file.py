"""Initializers out of protocol buffers written by hand; fields as in onnx.proto3."""

import os
import struct
import tracemalloc

import numpy as np
import pytest

from fad_onnx.errors import CheckpointError
from fad_onnx.weights import checkpoints
from fad_onnx.weights.checkpoints import onnx_file

from ..toy import node
from .writers import ONNX_TYPES, external, initializer, message, onnx_model, varint

RNG = np.random.RandomState(11)
MATRIX = RNG.randn(3, 4).astype(np.float32)


def test_raw_data_of_every_type(write):
    arrays = {dtype: (RNG.randn(2, 3) * 9).astype(dtype) for dtype in ONNX_TYPES}
    arrays["scalar"] = np.float32(2.5) * np.ones((), np.float32)
    arrays["empty"] = np.empty((0, 3), np.float32)
    path = write(onnx_model(*(initializer(*item) for item in arrays.items())))
    infos, tensors = onnx_file.initializers(path), checkpoints.open(path).tensors()
    assert checkpoints.open(path).container == "onnx"
    assert list(infos) == list(tensors) == list(arrays)
    for name, array in arrays.items():
        info, read = infos[name], tensors[name].read()
        assert (info.dtype, info.shape, info.external) == (array.dtype, array.shape, False)
        assert path.read_bytes()[info.offset : info.offset + info.length] == array.tobytes()
        assert read.dtype == array.dtype
        np.testing.assert_array_equal(read, array)


def test_typed_fields(write):
    whole = np.array([[-3, 0, 2**40]], np.int64)
    half = np.array([1.5, -2], np.float16)
    path = write(
        onnx_model(
            initializer("float", MATRIX, (4, MATRIX.tobytes())),
            initializer("double", MATRIX.astype(np.float64), (10, MATRIX.astype("<f8").tobytes())),
            initializer("int64", whole, (7, b"".join(varint(int(n)) for n in whole.flat))),
            initializer("bool", np.array([True, False]), (5, b"\1\0")),
            initializer("int8", np.array([-1, 5], np.int8), (5, varint(-1) + varint(5))),
            initializer("half", half, (5, b"".join(varint(int(n)) for n in half.view(np.uint16)))),
        )
    )
    tensors = checkpoints.open(path).tensors()
    np.testing.assert_array_equal(tensors["float"].read(), MATRIX)
    np.testing.assert_array_equal(tensors["double"].read(), MATRIX.astype(np.float64))
    np.testing.assert_array_equal(tensors["int64"].read(), whole)
    assert tensors["bool"].read().tolist() == [True, False]
    assert tensors["int8"].read().tolist() == [-1, 5]
    np.testing.assert_array_equal(tensors["half"].read(), half)


def test_external_data(write, tmp_path):
    (tmp_path / "weights.bin").write_bytes(b"\0" * 64 + MATRIX.tobytes())
    fields = external(location="weights.bin", offset="64", length=str(MATRIX.nbytes))
    path = write(onnx_model(initializer("w", MATRIX, *fields)))
    info = onnx_file.initializers(path)["w"]
    assert (info.external, info.location, info.offset, info.length) == (True, "weights.bin", 64, 48)
    np.testing.assert_array_equal(checkpoints.open(path).tensors()["w"].read(), MATRIX)


def test_external_data_that_is_not_there_yet(write):
    """A weightless graph is described; its tensors cannot be read."""
    path = write(onnx_model(initializer("w", MATRIX, *external(location="weights.bin"))))
    assert onnx_file.initializers(path)["w"].shape == (3, 4)
    with pytest.raises(CheckpointError, match="weights.bin: cannot be read"):
        checkpoints.open(path).tensors()["w"].read()


@pytest.mark.parametrize(
    "location",
    ["../secret", "/etc/passwd", "a/../../secret", "..\\secret", "C:\\secret", "~/x", "", "a\0b"],
)
def test_external_data_stays_in_the_folder(write, location):
    path = write(onnx_model(initializer("w", MATRIX, *external(location=location))))
    with pytest.raises(CheckpointError, match="outside the model's folder"):
        onnx_file.initializers(path)


def test_a_link_out_of_the_folder(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret").write_bytes(MATRIX.tobytes())
    os.symlink(tmp_path / "secret", folder / "weights.bin")
    path = folder / "m.onnx"
    path.write_bytes(onnx_model(initializer("w", MATRIX, *external(location="weights.bin"))))
    with pytest.raises(CheckpointError, match="link out of the model's folder"):
        checkpoints.open(path).tensors()["w"].read()


def test_external_data_out_of_its_file(write, tmp_path):
    (tmp_path / "weights.bin").write_bytes(bytes(100))
    path = write(
        onnx_model(initializer("w", MATRIX, *external(location="weights.bin", offset="64")))
    )
    with pytest.raises(CheckpointError, match="bytes 64 to 112 lie outside the file's 100"):
        checkpoints.open(path).tensors()["w"].read()


def raw(*fields):
    return message((1, b"\3\4"), (2, 1), (8, b"w"), *fields)


GOOD = (9, MATRIX.tobytes())


@pytest.mark.parametrize(
    ("model", "text"),
    [
        (onnx_model(initializer("w", MATRIX), initializer("w", MATRIX)), "two initializers"),
        (onnx_model(raw((9, bytes(47)))), "47 bytes, shape"),
        (onnx_model(raw(GOOD, GOOD)), "in pieces"),
        (onnx_model(raw((9, 5))), "in pieces"),
        (onnx_model(raw((7, bytes(48)))), "in field 7"),
        (onnx_model(raw()), "0 bytes, shape"),
        (onnx_model(message((1, b"\3"), (2, 8), (8, b"w"), GOOD)), "ONNX type 8"),
        (onnx_model(message((1, varint(-3)), (2, 1), (8, b"w"), GOOD)), "not in 0"),
        (onnx_model(message((1, varint(2**62)), (2, 1), (8, b"w"), GOOD)), "not in 0"),
        (onnx_model(message((1, b"\1" * 40), (2, 1), (8, b"w"), GOOD)), "at most 32"),
        (onnx_model(message((1, b"\1" * 5000), (2, 1), (8, b"w"), GOOD)), "too many dimensions"),
        (onnx_model(message((1, b"\1"), (2, 1), (8, b"\xff"), GOOD)), "not UTF-8"),
        (onnx_model(message((1, b"\1"), (2, 1), (8, b"x" * 99999), GOOD)), "reasonable length"),
        (onnx_model(raw(*external(location="w", offset="-1"))), "not a number"),
        (onnx_model(raw(*external(location="w", offset="1" * 20))), "not a number"),
        (onnx_model(raw(*external(location="w", length="7"))), "7 bytes, shape"),
        (onnx_model(raw(*external(location="w"), *external(location="v"))), "says twice"),
        (message((1, 8), (2, b"producer")), "0 graphs"),
        (message((1, 8), (7, b""), (7, b"")), "2 graphs"),
        (message((1, 8), (7, b"\xff" * 20)), "damaged"),
        (message((1, 8)) + b"\x3a\xff\xff\xff\xff\x7f", "cut short"),
        (message((1, 8)) + b"\x3b", "wire type 3"),
        (message((1, 8)) + b"\x00\x00", "field 0"),
    ],
)
def test_models_that_lie(write, watch, model, text):
    path = write(model)
    with watch, pytest.raises(CheckpointError, match=text):
        checkpoints.open(path)
    with pytest.raises(CheckpointError, match=text):
        onnx_file.initializers(path)


@pytest.mark.parametrize(
    ("name", "array", "content"),
    [
        ("long", np.zeros((2,), np.int64), b"\1\1\1"),
        ("short", np.zeros((2,), np.int64), b"\1"),
        ("broken", np.zeros((2,), np.int64), b"\1\xff"),
        ("endless", np.zeros((2,), np.int64), b"\xff" * 20),
    ],
)
def test_typed_fields_that_lie(write, name, array, content):
    path = write(onnx_model(initializer(name, array, (7, content))))
    with pytest.raises(CheckpointError):
        checkpoints.open(path).tensors()[name].read()


def test_fixed_width_fields_are_stepped_over(write):
    data = onnx_model(initializer("w", MATRIX))
    odd = varint(15 << 3 | 1) + struct.pack("<d", 1.0) + varint(16 << 3 | 5) + bytes(4)
    assert list(onnx_file.initializers(write(data + odd))) == ["w"]


def test_a_number_without_end_is_given_up_after_ten_bytes(write):
    path = write(message((1, 8)) + b"\xff" * 1000)
    with pytest.raises(CheckpointError, match="at byte 12;"):
        onnx_file.initializers(path)


def test_fields_without_number_cost_no_memory(write):
    """An entry of 50,000 unknown fields, where two are of use."""
    entry = message((1, b"offset"), (2, b"64"), *((number, 0) for number in range(3, 50_000)))
    tensor = message((1, 1), (2, 1), (8, b"w"), (13, message((1, b"location"), (2, b"x"))),
                     (13, entry), (13, message((1, b"length"), (2, b"4"))), (14, 1))  # fmt: skip
    path = write(message((1, 8), (7, message((5, tensor)))))
    tracemalloc.start()
    try:
        assert onnx_file.initializers(path)["w"].offset == 64
        assert tracemalloc.get_traced_memory()[1] < 2**17
    finally:
        tracemalloc.stop()


def test_what_a_value_is_computed_from(write):
    """Also through a graph within a node, which sees the values outside."""
    inner = message((1, node("Neg", ["w2"], "negative")), (12, message((1, b"w3"))))
    branch = message((1, b"then_branch"), (20, 5), (6, inner))
    choice = message((1, b"flag"), (2, b"c"), (4, b"If"), (5, branch))
    nodes = [
        node("Add", ["x", "w1"], "a"),
        choice,
        node("Mul", ["a", "w4"], "first"),
        node("Mul", ["c", "a"], "second"),
    ]
    path = write(message((1, 8), (7, message(*((1, one) for one in nodes)))))
    assert onnx_file.behind(path, "a") == {"a", "x", "w1"}
    assert onnx_file.behind(path, "first") == {"first", "a", "x", "w1", "w4"}
    assert onnx_file.behind(path, "second") >= {"c", "flag", "w1", "w2", "w3"}
    assert "w4" not in onnx_file.behind(path, "second")
