"""Weights of Keras 2 are read by position; what the reader does not read is named."""

import gzip
import struct

import numpy as np
import pytest

from fad_onnx.errors import CheckpointError
from fad_onnx.weights import checkpoints
from fad_onnx.weights.checkpoints import gzipped

from . import hdf5_writer
from .hdf5_writer import Writer, keras, message

RNG = np.random.RandomState(5)


def layers(count=2):
    """As in a network: layers without weights, and counters that start anywhere."""
    made = [("input_1", [])]
    for i in range(count):
        name = f"conv2d_{i + 7}"
        weights = [(f"{name}/kernel:0", RNG.randn(2, 3).astype("<f4")),
                   (f"{name}/bias:0", RNG.randn(3).astype("<f4"))]  # fmt: skip
        made += [(name, weights), (f"activation_{i}", [])]
    return made


def read(path):
    return {name: tensor.read() for name, tensor in checkpoints.open(path).tensors().items()}


@pytest.mark.parametrize("variable", [False, True])
@pytest.mark.parametrize("count", [1, 2, 40])
def test_tensors_by_position(write, count, variable):
    made = layers(count)
    found = read(write(keras(made, variable)))
    weights = [weights for _, weights in made if weights]
    assert list(found) == [f"{i}.{j}" for i in range(count) for j in range(2)]
    for name, array in found.items():
        layer, index = map(int, name.split("."))
        np.testing.assert_array_equal(array, weights[layer][index][1])
        assert array.dtype == np.float32


@pytest.mark.parametrize("dtype", ["<f2", "<f8"])
def test_other_floats(write, dtype):
    array = RNG.randn(3).astype(dtype)
    (found,) = read(write(keras([("a", [("a/w:0", array)])]))).values()
    np.testing.assert_array_equal(found, array)
    assert found.dtype == array.dtype


def test_the_order_of_the_names_counts_and_not_that_of_the_group(write):
    first, second = np.zeros(2, "<f4"), np.ones(2, "<f4")
    found = read(write(keras([("b", [("b/z:0", first), ("b/a:0", second)]), ("a", [])])))
    np.testing.assert_array_equal(found["0.0"], first)
    np.testing.assert_array_equal(found["0.1"], second)


def test_names_of_several_parts(write):
    array = RNG.randn(2).astype("<f4")
    made = keras([("a", [("b/c/w:0", array)])])
    np.testing.assert_array_equal(read(write(made))["0.0"], array)


def test_an_empty_dataset(write):
    (found,) = read(write(keras([("a", [("a/w:0", np.zeros((0, 3), "<f4"))])]))).values()
    assert found.shape == (0, 3)


def with_dataset(**changes):
    return keras([("a", [("a/w:0", np.zeros(2, "<f4"))])], **changes)


def superblock(at, value):
    data = bytearray(keras(layers()))
    data[at] = value
    return bytes(data)


BIG_ENDIAN = bytearray(hdf5_writer.floats("<f4"))
BIG_ENDIAN[1] |= 1


def a_group_for_a_weight():
    file = Writer()
    inner = {"b/w:0": file.dataset(np.zeros(2, "<f4"))}
    layer = file.nested(inner, file.names("weight_names", ["b"], False))
    return file.finish(file.group({"a": layer}, file.names("layer_names", ["a"], False)))


def root(*messages):
    file = Writer()
    group = message(0x11, struct.pack("<QQ", file.tree(0, []), 0))
    return file.finish(file.header(group, *messages))


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (superblock(8, 3), "superblock of version 3"),
        (superblock(13, 4), "addresses of 4 bytes"),
        (superblock(25, 2), "user block"),
        (keras(layers())[:-40], "cut short"),
        (b"\x89HDF\r\n\x1a\n", "superblock"),
        (with_dataset(layout=struct.pack("<BBQQ", 3, 2, 0, 0)), "chunked"),
        (with_dataset(layout=struct.pack("<BBQQ", 3, 0, 0, 0)), "compact"),
        (with_dataset(layout=struct.pack("<BBQQ", 4, 1, 0, 0)), "layout of version 4"),
        (with_dataset(layout=struct.pack("<BBQQ", 3, 1, 99, 4)), "4 bytes of data"),
        (with_dataset(kind=hdf5_writer.text(4)), "text, not floats"),
        (with_dataset(kind=struct.pack("<BBBBI", 0x10, 8, 0, 0, 4)), "integers, not floats"),
        (with_dataset(kind=bytes(BIG_ENDIAN)), "not little-endian IEEE 754"),
        (a_group_for_a_weight(), "is not a dataset"),
        (root(message(0, b"")), "no attribute layer_names"),
        (root(message(0x15, b"")), "attributes of the newer format"),
        (root(message(0x06, b"")), "links of the newer format"),
        (root(message(0x10, struct.pack("<QQ", 0, 96)), message(0, b"")), "header"),
        (keras([("a", [("a/w:0", np.zeros((1,) * 33, "<f4"))])]), "33 dimensions"),
    ],
)  # fmt: skip
def test_what_is_not_read_is_named(write, data, problem):
    with pytest.raises(CheckpointError, match=problem):
        read(write(data))


def replaced(data, old, new):
    assert data.count(old)
    return data.replace(old, new)


def test_a_name_that_the_group_does_not_hold(write):
    data = keras([("layer", [("layer/w:0", np.zeros(2, "<f4"))])])
    with pytest.raises(CheckpointError, match="holds no 'layex'"):
        read(write(replaced(data, b"layer/w:0", b"layex/w:0")))


def test_compressed_datasets_are_named(write):
    class Compressing(Writer):
        def header(self, *messages):
            filters = [message(0x0B, b"")] if messages[-1][:1] == b"\x08" else []
            return super().header(*filters, *messages)

    original, hdf5_writer.Writer = hdf5_writer.Writer, Compressing
    try:
        data = with_dataset()
    finally:
        hdf5_writer.Writer = original
    with pytest.raises(CheckpointError, match="compressed or filtered"):
        read(write(data))


def test_a_circle_in_the_b_tree(write):
    file = Writer()
    tree = file.tree(1, [0])
    file.data[tree + 32 : tree + 40] = struct.pack("<Q", tree)
    heap = file.put(b"HEAP\0\0\0\0" + struct.pack("<QQQ", 0, 0, 0))
    names = file.names("layer_names", ["a"], False)
    root = file.header(message(0x11, struct.pack("<QQ", tree, heap)), names)
    with pytest.raises(CheckpointError, match="circle"):
        read(write(file.finish(root)))


def test_a_circle_in_a_header(write):
    file = Writer()
    block = message(0x10, struct.pack("<QQ", len(file.data) + 16, 24))
    root = file.put(struct.pack("<BxHII4x", 1, 1, 1, len(block)) + block)
    with pytest.raises(CheckpointError, match="circle"):
        read(write(file.finish(root)))


@pytest.mark.parametrize("variable", [False, True])
def test_a_million_names_out_of_a_small_file(write, variable):
    """Their count is the file's own word; memory and time are not."""
    kind = struct.pack("<BBBBI", 0x19, 1, 0, 0, 16) if variable else hdf5_writer.text(0)
    space = hdf5_writer.dataspace([2**40 if not variable else 4])
    names = hdf5_writer.attribute("layer_names", kind, space, bytes(64))
    with pytest.raises(CheckpointError, match="MiB beyond|no global heap"):
        read(write(root(names)))


def test_behind_gzip(write):
    data = keras(layers(3))
    plain, packed = read(write(data, "plain")), read(write(gzip.compress(data), "packed"))
    assert plain.keys() == packed.keys()
    for name, array in plain.items():
        np.testing.assert_array_equal(packed[name], array)


def test_gzip_cut_short_or_damaged(write):
    packed = bytearray(gzip.compress(keras(layers(3))))
    with pytest.raises(CheckpointError, match="cut short"):
        read(write(bytes(packed[:-9])))
    packed[-6] ^= 1
    with pytest.raises(CheckpointError, match="CRC"):
        read(write(bytes(packed)))


def test_gzip_that_expands_too_far(write, monkeypatch):
    monkeypatch.setattr(gzipped, "MOST_BYTES", 2 << 20)
    with pytest.raises(CheckpointError, match="zip bomb"):
        read(write(gzip.compress(bytes(8 << 20))))
