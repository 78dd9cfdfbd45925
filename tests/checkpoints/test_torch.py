"""Both of torch's containers: the same arrays, whatever the layout."""

import mmap
import os
import zipfile

import numpy as np
import pytest

from fad_onnx.errors import CheckpointError
from fad_onnx.weights import checkpoints

from . import writers
from .writers import CONTAINERS, Call, Code, Storage, Tensor, nestings, ordered, tensor

RNG = np.random.RandomState(7)
DTYPES = ["<f8", "<f4", "<f2", "<i8", "<i4", "<i2", "|i1", "|u1", "|b1", "<c8", "<c16"]


@pytest.fixture(params=CONTAINERS)
def opened(request, write):
    def opened(value):
        checkpoint = checkpoints.open(write(CONTAINERS[request.param](value)))
        assert checkpoint.container == request.param
        return checkpoint

    return opened


def test_every_dtype(opened):
    arrays = {dtype: (RNG.randn(3, 5) * 9).astype(dtype) for dtype in DTYPES}
    tensors = opened(ordered(**{k: tensor(v) for k, v in arrays.items()})).tensors()
    assert list(tensors) == DTYPES
    for name, array in arrays.items():
        read = tensors[name].read()
        assert read.dtype == tensors[name].dtype == array.dtype
        assert tensors[name].shape == array.shape
        np.testing.assert_array_equal(read, array)


def test_shapes_without_elements_or_dimensions(opened):
    arrays = {"scalar": np.float32(2.5), "none": np.empty((0, 4), np.float32), "one": np.ones((1,))}
    tensors = opened(ordered(**{k: tensor(v) for k, v in arrays.items()})).tensors()
    for name, array in arrays.items():
        assert tensors[name].shape == array.shape
        np.testing.assert_array_equal(tensors[name].read(), array)


def test_bfloat16_is_widened_exactly(opened):
    values = np.array([1.5, -0.0, 3e38, np.inf, 2**-130], np.float32)
    halves = (values.view(np.uint32) >> 16).astype(np.uint16)
    made = Tensor(Storage(halves, type_name="BFloat16"), 0, (5,), (1,))
    (read,) = (one.read() for one in opened({"x": made}).tensors().values())
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read.view(np.uint32), halves.astype(np.uint32) << 16)


@pytest.mark.parametrize(
    ("offset", "shape", "stride"),
    [
        (0, (6, 4), (1, 6)),  # transposed
        (6, (3, 3), (6, 2)),  # from the second row, every other column
        (23, (1,), (1,)),  # the last element
        (5, (), ()),
        (3, (2, 3, 2), (0, 1, 4)),  # expanded
        (24, (0, 3), (3, 1)),  # empty, behind the end
    ],
)
def test_views_look_into_one_storage(opened, offset, shape, stride):
    shared = Storage(RNG.randn(24).astype(np.float32))
    whole, view = Tensor(shared, 0, (4, 6), (6, 1)), Tensor(shared, offset, shape, stride)
    tensors = opened({"whole": whole, "view": view}).tensors()
    steps = [4 * step for step in stride]
    expected = np.lib.stride_tricks.as_strided(shared.elements[offset:], shape, steps)
    np.testing.assert_array_equal(tensors["view"].read(), expected)
    np.testing.assert_array_equal(tensors["whole"].read(), shared.elements.reshape(4, 6))


@pytest.mark.parametrize(
    ("offset", "shape", "stride"),
    [
        (0, (25,), (1,)), (24, (1,), (1,)), (0, (4, 7), (6, 1)), (1, (4, 6), (6, 1)),
        (2**40, (1,), (1,)), (0, (2**31, 2**31), (0, 2**33)), (0, (2, 2), (1,)),
        (-1, (1,), (1,)), (0, (-1,), (1,)), (0, (2,), (-1,)), (0, (1,) * 33, (1,) * 33),
        (0, (0, 2**61, 2**61), (1, 1, 1)), (0, (1.0,), (1,)), (0, (True,), (1,)),
    ],
)  # fmt: skip
def test_views_out_of_their_storage_are_refused(opened, offset, shape, stride):
    shared = Storage(np.zeros(24, np.float32))
    with pytest.raises(CheckpointError, match="storage '0'"):
        opened({"x": Tensor(shared, offset, shape, stride)})


def test_an_expanded_element_is_not_unfolded_without_bound(opened):
    made = Tensor(Storage(np.ones(1, np.float32)), 0, (2**20, 2**20), (0, 0))
    with pytest.raises(CheckpointError, match="bytes out of a file of"):
        opened({"x": made}).tensors()["x"].read()


def test_numpy_arrays_and_scalars(opened):
    arrays = {
        "small": np.arange(6.0).reshape(2, 3),
        "large": RNG.randn(200, 100),  # longer than is read ahead
        "bytes": np.arange(256, dtype=np.uint8).repeat(600).reshape(300, -1),
        "fortran": np.asfortranarray(RNG.randn(3, 4).astype(np.float32)),
        "big_endian": np.arange(5, dtype=">i4"),
        "empty": np.empty((0, 3), np.float32),
        "scalar": np.float64(0.1),
        "bool": np.bool_(True),
    }
    tensors = opened(dict(arrays)).tensors()
    for name, array in arrays.items():
        read = tensors[name].read()
        assert read.dtype == tensors[name].dtype == array.dtype.newbyteorder("=")
        assert read.shape == tensors[name].shape == array.shape
        np.testing.assert_array_equal(read, array)


@pytest.mark.parametrize("array", [np.array([1, "x", None], object), np.array(["a", "bc"])])
def test_arrays_of_anything_else_are_kept_but_not_read(opened, array):
    tensors = opened({"other": array, "x": np.ones(2)}).tensors()
    np.testing.assert_array_equal(tensors["x"].read(), np.ones(2))
    with pytest.raises(CheckpointError, match="does not hold plain numbers"):
        tensors["other"].read()


def test_nesting(opened):
    weights = ordered(**{"module.conv.weight": tensor(np.ones((2, 3), np.float32))})
    optimizer = {"state": {0: {"step": tensor(np.float32(3)), "lr": np.float64(1e-3)}}}
    optimizer["param_groups"] = [{"params": [0], "betas": (0.9, 0.999), "name": None}]
    checkpoint = opened({"epoch": 45, "name": "best", "model": weights, "optimizer": optimizer})
    assert list(checkpoint.tensors(("model",))) == ["module.conv.weight"]
    assert checkpoint.tensors() == checkpoint.tensors(["state_dict", "deeper"]) == {}
    assert nestings(checkpoint) == (("model",),)
    assert checkpoint.tree["epoch"] == 45
    assert checkpoint.tree["optimizer"]["param_groups"][0]["betas"] == (0.9, 0.999)
    assert checkpoint.tree["optimizer"]["state"][0]["step"].read() == 3


def test_locations_parameters_and_python_2(opened):
    parameter = Call("torch._utils", "_rebuild_parameter", (tensor(np.ones(2)), True, ordered()))
    pairs = Call("collections", "OrderedDict", ([["a", parameter], ["b", tensor(np.zeros(3))]],))
    cuda = tensor(np.ones(4, np.float32), location="cuda:0", module="torch.cuda")
    size = Call("torch", "Size", ((2, 3),))
    device = Call("torch", "device", ("cuda", 0))
    checkpoint = opened({"old": pairs, "cuda": cuda, "size": size, "device": device})
    assert checkpoint.tensors(["old"])["a"].read().sum() == 2
    assert checkpoint.tensors()["cuda"].read().sum() == 4
    assert checkpoint.tree["size"] == (2, 3)


def test_arrays_are_views_that_keep_the_file_mapped(opened):
    tensors = opened({"x": tensor(np.arange(1000.0))}).tensors()
    array = tensors["x"].read()
    base = array
    while not isinstance(base, memoryview | mmap.mmap):
        base = base.base
    assert isinstance(getattr(base, "obj", base), mmap.mmap)
    assert not array.flags.writeable
    del tensors
    assert array.sum() == 499500


def test_a_file_cut_short_meanwhile(opened):
    checkpoint = opened({"x": tensor(np.arange(9.0)), "state": np.zeros(100_000)})
    os.truncate(checkpoint.path, 4096)
    for lazy in checkpoint.tensors().values():
        with pytest.raises(CheckpointError, match="cut short while it was being read"):
            lazy.read()


def test_a_conjugate_view_is_refused(opened):
    made = tensor(np.ones(2, np.complex64))
    made.rest = (False, ordered(), {"conj": True})
    with pytest.raises(CheckpointError, match="conjugate"):
        opened({"x": made})


def test_a_truth_value_is_zero_or_one(opened):
    made = Tensor(Storage(np.array([0, 1, 2], np.uint8), type_name="Bool"), 0, (3,), (1,))
    with pytest.raises(CheckpointError, match="neither 0 nor 1"):
        opened({"x": made}).tensors()["x"].read()


class V3(writers.Pickler):
    """Tensors of the newer dtypes: an untyped storage, and the dtype among the arguments."""

    def tensor(self, value):
        return super().tensor(value).replace(b"_rebuild_tensor_v2", b"_rebuild_tensor_v3")


@pytest.mark.parametrize(("name", "dtype"), [("uint16", "<u2"), ("uint32", "<u4")])
def test_newer_dtypes(write, name, dtype):
    read = v3(write, name, np.arange(4, dtype=dtype)).read()
    assert read.dtype == dtype
    assert read.tolist() == [0, 1, 2, 3]


def test_float8_is_described_and_refused_when_read(write):
    described = v3(write, "float8_e5m2", np.zeros(4, np.uint8))
    assert described.shape == (4,)
    with pytest.raises(CheckpointError, match="float8_e5m2 has no NumPy equivalent"):
        described.read()


def v3(write, name, elements):
    storage = Storage(elements.view(np.uint8), type_name="Untyped")
    rest = (False, ordered(), Code(writers.line("torch", name)))
    pickle = V3().dumps({"x": Tensor(storage, 0, (4,), (1,), rest)})
    return zipped(write, [("a/data.pkl", pickle), ("a/data/0", elements.tobytes())]).tensors()["x"]


# The zip container alone


def zipped(write, members):
    return checkpoints.open(write(writers.zipped(members)))


PICKLE = writers.Pickler().dumps({"x": tensor(np.arange(4.0))})


def test_a_missing_or_short_storage_is_named(write):
    with pytest.raises(CheckpointError, match="lacks the storage 'a/data/0'"):
        zipped(write, [("a/data.pkl", PICKLE)])
    with pytest.raises(CheckpointError, match="has 31 of its 32 bytes"):
        zipped(write, [("a/data.pkl", PICKLE), ("a/data/0", bytes(31))])


def test_two_pickles_no_root_and_torchscript(write):
    with pytest.raises(CheckpointError, match="2 members"):
        zipped(write, [("a/data.pkl", PICKLE), ("b/data.pkl", PICKLE)])
    with pytest.raises(CheckpointError, match="TorchScript"):
        zipped(write, [("a/data.pkl", PICKLE), ("a/constants.pkl", b"")])
    bare = zipped(write, [("data.pkl", PICKLE), ("data/0", bytes(32))])
    assert bare.tensors()["x"].read().sum() == 0


@pytest.mark.parametrize("byteorder", [b"big", b"", b"little endian"])
def test_another_byte_order_is_refused(write, byteorder):
    data = writers.torch_zip({"x": tensor(np.ones(2))}, byteorder=byteorder)
    with pytest.raises(CheckpointError, match="big-endian"):
        checkpoints.open(write(data))


def test_before_there_was_a_byte_order(write):
    data = writers.torch_zip({"x": tensor(np.ones(2))}, byteorder=None)
    assert checkpoints.open(write(data)).tensors()["x"].read().sum() == 2


def test_compressed_members_are_refused(write):
    members = [("a/data.pkl", PICKLE), ("a/data/0", bytes(32))]
    with pytest.raises(CheckpointError, match="compressed"):
        checkpoints.open(write(writers.zipped(members, zipfile.ZIP_DEFLATED)))


# The legacy container alone


def legacy_view(write, offset, count):
    """Elements 1 and 2 of a view of a storage of ten, as torch 0.3 wrote them."""
    kind = Code(writers.line("torch", "FloatStorage"))
    identity = ("storage", kind, "0", "cpu", 10, ("7", offset, count))
    body = writers.Pickler().body(identity) + b"Q"
    rest = b"".join(writers.Pickler().body(part) for part in (1, (2,), (1,)))
    view = Code(writers.line("torch._utils", "_rebuild_tensor") + b"(" + body + rest + b"tR")
    head = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, {"x": view}, ["0"])
    data = b"".join(writers.Pickler().dumps(part) for part in head)
    data += (10).to_bytes(8, "little") + np.arange(10, dtype=np.float32).tobytes()
    return checkpoints.open(write(data)).tensors()["x"].read()


def test_legacy_views_of_a_storage(write):
    assert legacy_view(write, 4, 3).tolist() == [5, 6]
    assert legacy_view(write, 7, 3).tolist() == [8, 9]


@pytest.mark.parametrize(("offset", "count"), [(8, 3), (0, 11), (4, 2), (-1, 3), (2**61, 3)])
def test_legacy_views_out_of_their_storage(write, offset, count):
    with pytest.raises(CheckpointError, match="past the end|reach byte|not in 0"):
        legacy_view(write, offset, count)


@pytest.mark.parametrize(
    ("keys", "message"),
    [([], "lacks 1 storages"), (["0", "0"], "listed twice"), (["1"], "used by no"), ("0", "list")],
)
def test_legacy_lists_every_storage_once(write, keys, message):
    data = writers.torch_legacy({"x": tensor(np.ones(3))}, keys=keys)
    with pytest.raises(CheckpointError, match=message):
        checkpoints.open(write(data))


def test_legacy_big_endian_and_counts_that_lie(write):
    value = {"x": tensor(np.ones(3))}
    with pytest.raises(CheckpointError, match="big-endian"):
        checkpoints.open(write(writers.torch_legacy(value, little_endian=False)))
    data = writers.torch_legacy(value)
    for count in (2, 4, 2**63):
        lie = data[:-32] + count.to_bytes(8, "little") + data[-24:]
        with pytest.raises(CheckpointError, match="24 bytes were announced"):
            checkpoints.open(write(lie))


@pytest.mark.parametrize("container", CONTAINERS)
def test_every_truncation_is_an_error(write, container):
    path = write(CONTAINERS[container](ordered(a=tensor(np.ones(3)), b=np.arange(4))))
    checkpoints.open(path)
    for length in reversed(range(path.stat().st_size)):
        os.truncate(path, length)
        with pytest.raises(CheckpointError):
            checkpoints.open(path)
