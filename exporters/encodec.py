"""Encodec's encoder: 128 numbers per 320 samples, before quantisation.

A. Defossez et al., "High Fidelity Neural Audio Compression", 2022, arXiv:2210.13438. Layers,
tensor names and padding are those of encodec 0.1.1 (modules/seanet.py, conv.py, lstm.py). The
24 kHz model is causal and mono with weight norm; the 48 kHz model is not causal, stereo, and
normalises every convolution over all channels and the whole time axis. As in
frechet_audio_distance 0.3.4 (fad.py, get_embeddings) a clip goes through in one pass, with no
loudness normalisation and no segments of a second.

The run time hands over samples (batch, channels, n); rows are (batch, ceil(n / 320), 128), for
every n from 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from .parity import stand_ins
from .skeleton import Graph

STRIDES = (2, 4, 5, 8)
FRAME_SAMPLES = 320  # The product of the strides: one row.
# torch.export keeps a size of one apart for the sake of strides, which ONNX does not have;
# tests/parity runs the graphs at every length from 1.
TRACED_SAMPLES = 2 * FRAME_SAMPLES
FILTERS, HIDDEN, EMBEDDING = 32, 512, 128
EPSILON = 1e-5  # nn.GroupNorm's default, which the original keeps.


def reflected(signal: Tensor, left: int, right: int, used: int | torch.SymInt) -> Tensor:
    """Signal (batch, channels, n) with `left` and `right` columns mirrored at its ends.

    `used` of the columns on the right matter; the rest may hold anything. A signal that is not
    longer than the padding is first filled up with zeros on its right, the mirror image taken,
    and the zeros are removed again (conv.py, pad1d).
    """
    length = signal.shape[-1]
    if isinstance(length, int):
        return functional.pad(signal, (left, right), mode="reflect")
    filled = torch.sym_max(length, torch.sym_max(left, used) + 1)
    before, after = torch.arange(left, 0, -1), torch.arange(right) + length
    after = torch.where(after < filled, after, 2 * (filled - 1) - after)
    pieces = [_columns(signal, before), signal, _columns(signal, after)]
    return torch.cat(pieces if right else pieces[:2], dim=-1)


def _columns(signal: Tensor, source: Tensor) -> Tensor:
    """These columns of the signal, zeros where they lie beyond its end."""
    length = signal.shape[-1]
    last = torch.scalar_tensor(length - 1, dtype=torch.int64)
    columns = signal.index_select(-1, torch.minimum(source.clamp(min=0), last))
    return torch.where(source < length, columns, 0.0)


def elu(x: Tensor) -> Tensor:
    """max(x, min(exp(x), 1) - 1), which is ELU, since exp(x) - 1 is never below x.

    ONNX Runtime's Elu takes longer than these four operators, whose exp is vectorised.
    """
    return torch.maximum(x, torch.exp(x).clamp(max=1.0) - 1.0)


class Convolution(nn.Module):
    """A convolution over time with the original's padding, as it is in the checkpoint.

    Causal ones (24 kHz) have all padding on the left but what fills the last window, and their
    weights as direction and length (weight norm).
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

    def padded(self, x: Tensor) -> Tensor:
        """The input with its ends mirrored (conv.py, SConv1d.forward).

        The last window is filled up by (-length) mod stride columns. One less than a stride is
        always added, for those that no window reaches change nothing.
        """
        total = self.kernel - self.stride
        right = 0 if self.causal else total // 2
        if total == 0:
            return x
        fill = (-x.shape[-1]) % self.stride if self.stride > 1 else 0
        return reflected(x, total - right, right + self.stride - 1, right + fill)

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv1d(self.padded(x), self.kernels(), self.bias, self.stride)


class TimeNorm(nn.GroupNorm):
    """Group norm with one group: over all channels and the whole time axis.

    The mean is taken over time first, then over channels: ONNX Runtime's own
    InstanceNormalization adds up all 15 million numbers of a ten-second clip in a row, and is
    5e-4 of the rows' spread off.
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
    """Rows in torch's order of gates (input, forget, cell, output) to ONNX's (i, o, f, c)."""
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
    """Samples (batch, channels, n) to rows (batch, ceil(n / 320), 128) (SEANetEncoder)."""

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
        rows: Tensor = self.model["15"](elu(x)).transpose(1, 2)
        return rows


class Encodec(nn.Module):
    """The encoder under the name that it has in the checkpoint, which holds a decoder too."""

    def __init__(self, channels: int, causal: bool) -> None:
        super().__init__()
        self.encoder = Encoder(channels, causal)

    def forward(self, samples: Tensor) -> Tensor:
        rows: Tensor = self.encoder(samples)
        return rows


def _graph(name: str, channels: int, causal: bool, samples: int | None) -> Graph:
    """A graph for any batch of clips of any length or, given `samples`, for one such clip."""
    length = torch.export.Dim("samples", min=TRACED_SAMPLES)
    dynamic = {0: "batch", 2: length} if samples is None else {}
    shape = (2, channels, 9_617) if samples is None else (1, channels, samples)
    return Graph(
        name=name,
        module=partial(Encodec, channels, causal),
        example=lambda: (torch.rand(shape),),
        input_names=("samples",),
        output_names=("embedding",),
        dynamic=(dynamic,),
    )


GRAPHS = (
    _graph("encodec_24k", 1, True, None),
    _graph("encodec_48k", 2, False, None),
    _graph("encodec_24k_10s", 1, True, 240_000),
    _graph("encodec_48k_10s", 2, False, 480_000),
)


def _original(
    build: str, tensors: Mapping[str, np.ndarray[Any, Any]]
) -> Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]:
    """The encoder of encodec 0.1.1 on a whole clip, as frechet_audio_distance calls it."""
    with stand_ins("torchaudio"):
        from encodec import EncodecModel
    network = getattr(EncodecModel, build)(pretrained=False)
    state = {name: torch.from_numpy(np.ascontiguousarray(t)) for name, t in tensors.items()}
    network.encoder.load_state_dict(
        {name.removeprefix("encoder."): t for name, t in state.items()}, strict=True
    )

    @torch.no_grad()
    def embed(samples: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        rows: np.ndarray[Any, Any] = network.encoder(torch.from_numpy(samples)[None])[0].T.numpy()
        return rows

    return embed


_24K, _48K = (partial(_original, f"encodec_model_{rate}khz") for rate in (24, 48))
ORIGINALS = {"encodec-24k": _24K, "encodec-48k": _48K, "encodec-24k-10s": _24K,
             "encodec-48k-10s": _48K}  # fmt: skip
