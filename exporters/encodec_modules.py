"""Encodec's encoder in torch: which tensors a checkpoint has, and the graphs for accelerators.

Graphs for accelerators take clips of one length: they have no loops and no shape that varies. The
classes correspond to those of encodec 0.1.1 (modules/seanet.py, conv.py, lstm.py).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from .encodec_nodes import EMBEDDING, EPSILON, HIDDEN, STRIDES

FILTERS = 32


def elu(x: Tensor) -> Tensor:
    """ELU as the single operator that accelerators know; torch would export three operators."""
    y: Tensor = torch.onnx.ops.symbolic("Elu", (x,), dtype=x.dtype, shape=x.shape, version=6)
    return y


class Convolution(nn.Module):
    """A convolution over time with the original's padding, as it is in the checkpoint.

    Causal convolutions (24 kHz) have all padding on the left, except for what fills the last
    window. They store their weights as direction and length (weight norm).
    """

    def __init__(self, inner: int, outer: int, kernel: int, stride: int, causal: bool) -> None:
        super().__init__()
        self.kernel, self.stride, self.causal = kernel, stride, causal
        weight = nn.Parameter(torch.randn(outer, inner, kernel))
        if causal:
            self.weight_g, self.weight_v = nn.Parameter(torch.ones(outer, 1, 1)), weight
        else:
            self.weight = weight
        self.bias = nn.Parameter(torch.zeros(outer))

    def kernels(self) -> Tensor:
        """The weights (outer, inner, kernel)."""
        if not self.causal:
            return self.weight
        squares = (self.weight_v * self.weight_v).sum(dim=(1, 2), keepdim=True)
        return self.weight_v * (self.weight_g / torch.sqrt(squares))

    def forward(self, x: Tensor) -> Tensor:
        """Mirror the ends (conv.py, SConv1d.forward), filling up the last window; convolve."""
        total = self.kernel - self.stride
        right = 0 if self.causal else total // 2
        if total:
            fill = -x.shape[-1] % self.stride
            x = functional.pad(x, (total - right, right + fill), mode="reflect")
        return functional.conv1d(x, self.kernels(), self.bias, self.stride)


class TimeNorm(nn.GroupNorm):
    """Group norm with one group: over all channels and the whole time axis.

    The mean is taken over time first, then over channels: ONNX Runtime's own
    InstanceNormalization adds up all 15 million numbers of a ten-second clip one after another,
    and is off by 5e-4 of the embeddings' spread.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(1, channels, EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        centred = x - _mean(x)
        scale = self.weight[:, None] * torch.rsqrt(_mean(centred * centred) + EPSILON)
        return centred * scale + self.bias[:, None]


def _mean(x: Tensor) -> Tensor:
    return x.mean(dim=2).mean(dim=1)[:, None, None]


class Normalised(nn.Module):
    """A convolution and, at 48 kHz, its group norm over all channels and all of time."""

    def __init__(self, *sizes: int, causal: bool) -> None:
        super().__init__()
        self.conv = Convolution(*sizes, causal=causal)
        self.norm = nn.Identity() if causal else TimeNorm(sizes[1])

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.conv(x))
        return y


class Layer(nn.Module):
    """The level at which the original pads; here it only gives the tensors their names."""

    def __init__(self, inner: int, outer: int, kernel: int, stride: int, causal: bool) -> None:
        super().__init__()
        self.conv = Normalised(inner, outer, kernel, stride, causal=causal)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return y


class Residual(nn.Module):
    """Two convolutions through half the channels, and a third past them (SEANetResnetBlock)."""

    def __init__(self, size: int, causal: bool) -> None:
        super().__init__()
        down, up = Layer(size, size // 2, 3, 1, causal), Layer(size // 2, size, 1, 1, causal)
        self.block = nn.ModuleDict({"1": down, "3": up})
        self.shortcut = Layer(size, size, 1, 1, causal)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.shortcut(x) + self.block["3"](elu(self.block["1"](elu(x))))
        return y


def onnx_gates(tensor: Tensor) -> Tensor:
    """Reorder rows from torch's gates (input, forget, cell, output) to ONNX's (i, o, f, c)."""
    gates = tensor.chunk(4)
    return torch.cat([gates[0], gates[3], gates[1], gates[2]])


class Recurrent(nn.Module):
    """Two LSTM layers and a skip connection, (frames, batch, 512) (modules/lstm.py)."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(HIDDEN, HIDDEN, 2)

    def layer(self, x: Tensor, number: int) -> Tensor:
        """One layer from a state of zeros; nn.LSTM itself does not export at dynamic lengths."""
        weights = [
            onnx_gates(getattr(self.lstm, f"{name}_l{number}"))
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        ]
        bias = torch.cat(weights[2:])
        y: Tensor = torch.onnx.ops.symbolic(
            "LSTM",
            (x, weights[0][None], weights[1][None], bias[None]),
            attrs={"hidden_size": HIDDEN},
            dtype=x.dtype,
            shape=(x.shape[0], 1, x.shape[1], HIDDEN),
            version=14,
        )
        return y.squeeze(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(self.layer(x, 0), 1) + x


class Encoder(nn.Module):
    """Samples (batch, channels, n) to embeddings (batch, ceil(n / 320), 128) (SEANetEncoder)."""

    def __init__(self, channels: int, causal: bool) -> None:
        super().__init__()
        size = FILTERS
        layers: dict[str, nn.Module] = {"0": Layer(channels, size, 7, 1, causal)}
        for position, stride in zip(range(1, 13, 3), STRIDES, strict=True):
            layers[str(position)] = Residual(size, causal)
            layers[str(position + 2)] = Layer(size, 2 * size, 2 * stride, stride, causal)
            size *= 2
        layers["13"] = Recurrent()
        layers["15"] = Layer(HIDDEN, EMBEDDING, 7, 1, causal)
        self.model = nn.ModuleDict(layers)

    def forward(self, samples: Tensor) -> Tensor:
        x = self.model["0"](samples)
        for position in range(1, 13, 3):
            x = self.model[str(position + 2)](elu(self.model[str(position)](x)))
        x = self.model["13"](x.permute(2, 0, 1)).permute(1, 2, 0)
        embeddings: Tensor = self.model["15"](elu(x)).transpose(1, 2)
        return embeddings


class Encodec(nn.Module):
    """The encoder under the name that it has in the checkpoint, which holds a decoder too."""

    def __init__(self, channels: int, causal: bool) -> None:
        super().__init__()
        self.encoder = Encoder(channels, causal)

    def forward(self, samples: Tensor) -> Tensor:
        embeddings: Tensor = self.encoder(samples)
        return embeddings
