"""What the export must never do to the tensors of a checkpoint, on networks made to tempt it."""

import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from exporters.skeleton import Graph, export
from fad_onnx.weights.checkpoints.onnx_file import initializers

pytestmark = pytest.mark.parity


class Tempting(nn.Module):
    """Tensors that are tiny, equal, zero, one, scalar, whole numbers, or unused."""

    def __init__(self):
        super().__init__()
        self.one = nn.Parameter(torch.ones(3))
        self.other_one = nn.Parameter(torch.ones(3))
        self.zero = nn.Parameter(torch.zeros(3))
        self.scalar = nn.Parameter(torch.tensor(2.0))
        self.register_buffer("index", torch.tensor([2, 0, 1]))
        self.register_buffer("unused", torch.tensor(1))
        self.register_buffer("constant", torch.arange(3.0), persistent=False)
        self.norm = nn.BatchNorm1d(3)
        self.weight_v, self.weight_g = (
            nn.Parameter(torch.ones(3, 3)),
            nn.Parameter(torch.ones(3, 1)),
        )

    def forward(self, x):
        weight = self.weight_g * self.weight_v / self.weight_v.norm(dim=1, keepdim=True)
        x = self.norm(x * self.one * self.other_one + self.zero)[:, self.index]
        return x @ weight.T * self.scalar + self.constant


def graph(module, **changes):
    facts = {
        "name": "toy",
        "module": module,
        "example": lambda: (torch.rand(2, 3),),
        "input_names": ("x",),
        "output_names": ("y",),
        "dynamic": ({0: "batch"},),
    }
    return Graph(**(facts | changes))


def published(data, tensors, folder):
    """A session on exported bytes, with these tensors in weights.bin."""
    path = folder / "toy.onnx"
    path.write_bytes(data)
    with (folder / "weights.bin").open("wb") as file:
        for name, info in initializers(path).items():
            if info.external:
                file.seek(info.offset)
                file.write(tensors[name].numpy().tobytes())
    return onnxruntime.InferenceSession(path), initializers(path)


def test_no_tensor_is_folded_merged_or_renamed(tmp_path):
    data = export(graph(Tempting))
    torch.manual_seed(1)
    module = Tempting().eval()
    with torch.no_grad():
        for tensor in (*module.parameters(), module.norm.running_mean, module.norm.running_var):
            tensor.copy_(torch.rand_like(tensor) + 0.5)
        module.index.copy_(torch.tensor([1, 2, 0]))
    session, infos = published(data, module.state_dict(), tmp_path)
    bound = [name for name, info in infos.items() if info.external]
    unused = {"unused", "norm.num_batches_tracked"}
    assert bound == [name for name in module.state_dict() if name not in unused]
    x = torch.rand(5, 3)
    expected = module(x).detach().numpy()
    assert session.run(None, {"x": x.numpy()})[0] == pytest.approx(expected, abs=1e-6)


def test_places_in_the_weights_file_are_aligned_and_apart(tmp_path):
    class Large(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 5), nn.Linear(5, 1024)

        def forward(self, x):
            return self.b(self.a(x))

    path = tmp_path / "toy.onnx"
    path.write_bytes(export(graph(Large)))
    end = 0
    for info in initializers(path).values():
        assert info.external and info.location == "weights.bin"
        assert info.offset >= end and info.offset % (4096 if info.length >= 4096 else 64) == 0
        end = info.offset + info.length


def test_bytes_are_the_same_and_say_nothing_of_the_machine():
    data = export(graph(Tempting))
    assert export(graph(Tempting)) == data
    model = onnx.load_from_string(data)
    assert not model.metadata_props and not model.graph.value_info
    for part in (*model.graph.node, *model.graph.initializer, *model.graph.input):
        assert not part.doc_string and not part.metadata_props
    assert b".py" not in data and b"torch" not in data


def test_a_batch_that_the_module_fixes_is_an_error():
    class Fixed(nn.Module):
        def forward(self, x):
            return x * int(x.shape[0] * 1.0)

    with pytest.raises(Exception, match="batch"):
        export(graph(Fixed))


def test_an_onnx_operator_with_a_varying_length(tmp_path):
    class Recurrent(nn.Module):
        """ONNX's own LSTM: torch's does not export with a varying length."""

        def __init__(self):
            super().__init__()
            self.W, self.R = nn.Parameter(torch.rand(1, 8, 3)), nn.Parameter(torch.rand(1, 8, 2))

        def forward(self, x):
            y = torch.onnx.ops.symbolic(
                "LSTM", (x, self.W, self.R), {"hidden_size": 2}, dtype=x.dtype,
                shape=(x.shape[0], 1, x.shape[1], 2), version=14,
            )  # fmt: skip
            return y.squeeze(1)

    data = export(
        graph(Recurrent, example=lambda: (torch.rand(4, 2, 3),), dynamic=({0: "time", 1: "batch"},))
    )
    session, _ = published(data, Recurrent().state_dict(), tmp_path)
    for time, batch in ((1, 1), (7, 3)):
        rows = session.run(None, {"x": torch.rand(time, batch, 3).numpy()})[0]
        assert rows.shape == (time, batch, 2)
