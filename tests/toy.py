"""A network of a few nodes and no weights, with several outputs, in a table of its own."""

import hashlib
import json

import pytest

from fad_onnx.networks import table
from fad_onnx.weights import binding

from .checkpoints.writers import message, varint

FRAME = 100  # samples behind one embedding of the output "frames"
POOLING = {
    "help": "what becomes of the embeddings of a clip",
    "default": "frames",
    "values": ["frames", "seconds", "clip"],
    "sets": "preparation.pooling.over",
}
STATISTIC = {
    "help": "how they are pooled",
    "default": "mean",
    "values": ["mean", "maximum", "weighted"],
    "sets": "preparation.pooling.statistic",
}


def attribute(name, value):
    """An AttributeProto: a whole number, or a list of them."""
    if isinstance(value, int):
        return message((1, name.encode()), (20, 2), (3, value))
    return message((1, name.encode()), (20, 7), (8, b"".join(map(varint, value))))


def node(kind, inputs, output, **attributes):
    """A NodeProto with one output."""
    made = [attribute(name, value) for name, value in attributes.items()]
    given = [(1, name.encode()) for name in inputs]
    return message(*given, (2, output.encode()), (4, kind.encode()), *((5, one) for one in made))


def value(name, *axes, kind=1):
    """A ValueInfoProto of float32, or another kind, with named axes."""
    shape = message(*((1, message((2, axis.encode()))) for axis in axes))
    return message((1, name.encode()), (2, message((1, message((1, kind), (2, shape))))))


def model(nodes, inputs, outputs, initializers=()):
    """A ModelProto."""
    main = message(
        *((1, one) for one in nodes),
        (2, b"toy"),
        *((5, one) for one in initializers),
        *((11, one) for one in inputs),
        *((12, one) for one in outputs),
    )
    return message((1, 8), (7, main), (8, message((1, b""), (2, 13))))


def graph():
    """A ModelProto: samples in; their mean, maximum and means of frames out."""
    nodes = [
        node("ReduceMean", ["samples"], "mean", axes=[2], keepdims=0),
        node("ReduceMax", ["samples"], "maximum", axes=[2], keepdims=0),
        node(
            "AveragePool", ["samples"], "pooled", kernel_shape=[FRAME], strides=[FRAME], ceil_mode=1
        ),
        node("Transpose", ["pooled"], "frames", perm=[0, 2, 1]),
    ]
    outputs = [
        value("mean", "batch", "channels"),
        value("maximum", "batch", "channels"),
        value("frames", "batch", "frames", "channels"),
    ]
    return model(nodes, [value("samples", "batch", "channels", "n")], outputs)


def entry(**preparation):
    """The sections of a table for a model "toy" with this preparation at 1000 Hz."""
    outputs = {
        "mean": {"width": 1, "tensor": "mean", "checkpoints": []},
        "maximum": {"width": 1, "tensor": "maximum", "checkpoints": []},
        "frames": {
            "width": 1, "tensor": "frames", "checkpoints": [], "samples_per_embedding": FRAME,
        },
    }  # fmt: skip
    return {
        "networks": {
            "toy": {
                "graph": "toy.onnx", "outputs": outputs, "batch": {"cpu": 3, "gpu": 16},
                "peak_bytes_per_sample": 100, "citation": "-",
            }
        },
        "preparations": {"toy": {"sample_rate_hz": 1000, **preparation}},
        "models": {
            "toy": {
                "summary": "a toy", "network": "toy", "preparation": "toy",
                "options": {"pooling": POOLING, "statistic": STATISTIC},
            }
        },
    }  # fmt: skip


def install(monkeypatch, folder, network=None, graphs=None, model=None, **preparation):
    """Add the model "toy" to the table, for one test."""
    added = {"toy.onnx": graph(), **(graphs or {})}
    for name, data in added.items():
        (folder / name).write_bytes(data)
    for one in binding.GRAPHS.iterdir():
        (folder / one.name).symlink_to(one)
    shared = json.loads((table.PACKAGE.parent / "artifacts.json").read_text("utf-8"))
    shared["graphs"] |= {name: hashlib.sha256(data).hexdigest() for name, data in added.items()}
    made = entry(**preparation)
    made["networks"]["toy"] |= network or {}
    made["models"]["toy"] |= model or {}
    for section, entries in made.items():
        shared[section] |= entries
    models = table.parse(json.dumps(shared))
    monkeypatch.setattr(table, "models", lambda: models)
    monkeypatch.setattr(binding, "GRAPHS", folder)


@pytest.fixture
def toy(monkeypatch, tmp_path):
    """The model "toy", with whole clips."""
    folder = tmp_path / "graphs"
    folder.mkdir()
    install(monkeypatch, folder)
