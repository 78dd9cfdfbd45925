"""Encodec's layers as ONNX nodes, for the graphs that work through a clip in tiles.

The padding is that of encodec 0.1.1, modules/conv.py: a mirror image at either end (SConv1d),
longer on the right by what fills the last window of a strided convolution, which is (-n) mod
stride. If a signal is not longer than its padding, zeros are appended, the mirror image is taken,
and the zeros are removed again (pad1d). Written in this way, it is exact for every length from one
sample on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx_ir as ir

from .operators import Ops

FRAME_SAMPLES = 320  # The product of the strides: one row.
STRIDES = (2, 4, 5, 8)
EPSILON = 1e-5  # nn.GroupNorm's default, which the original keeps.
HIDDEN, EMBEDDING = 512, 128
FAR = 1 << 40  # A slice that ends here ends with its axis.
LAYER = "encoder.model.{}.conv.conv"
# One channel, or one column at a time: no window has to be copied.
FLAT_LAYERS = {"0"} | {f"{n}.{part}" for n in range(1, 13, 3) for part in ("block.3", "shortcut")}
LSTM = "encoder.model.13.lstm.{}_l{}"


def elu(ops: Ops, x: ir.Value) -> ir.Value:
    """max(x, min(exp(x), 1) - 1), which is ELU, since exp(x) - 1 is never below x.

    ONNX Runtime's Elu takes longer than these four operators, whose exp is vectorised.
    """
    return ops.Max(x, ops.Sub(ops.Clip(ops.Exp(x), None, 1.0), 1.0))


def length(ops: Ops, x: ir.Value) -> ir.Value:
    """The columns of (batch, channels, columns), as a tensor of one number."""
    return ops.Shape(x, start=2, end=3)


def before(ops: Ops, x: ir.Value, count: int) -> ir.Value:
    """The mirror image on the left of x, `count` columns; zeros where x is too short."""
    return _columns(ops, x, list(range(count, 0, -1)))


def after(ops: Ops, x: ir.Value, left: int, right: int, stride: int) -> ir.Value:
    """The mirror image on the right of x: `right` columns and what fills the last window.

    It is stride - 1 columns wider, and the last of them may never reach a window.
    """
    columns = length(ops, x)
    used = ops.Add(ops.Mod(ops.Neg(columns), [stride]), [right])
    # A signal no longer than the padding is filled up with zeros, mirrored, and cut again.
    filled = ops.Max(columns, ops.Add(ops.Max(used, [left]), [1]))
    source = ops.Add(columns, list(range(right + stride - 1)))
    mirrored = ops.Sub(ops.Mul(ops.Sub(filled, [1]), [2]), source)
    return _columns(ops, x, ops.Where(ops.Less(source, filled), source, mirrored))


def _columns(ops: Ops, x: ir.Value, source: ir.Value | Sequence[int]) -> ir.Value:
    columns = length(ops, x)
    inside = ops.Max(ops.Min(source, ops.Sub(columns, [1])), [0])
    return ops.Where(ops.Less(source, columns), ops.Gather(x, inside, axis=2), 0.0)


def is_image(layer: str) -> bool:
    """Whether `convolution` gives (batch, channels, 1, columns) for this layer."""
    return layer not in FLAT_LAYERS


def convolution(
    ops: Ops, x: ir.Value, tensors: Mapping[str, ir.Value], layer: str, stride: int = 1
) -> ir.Value:
    """A convolution of a signal that has its padding: (batch, channels, columns), or an image.

    If windows overlap, it is written as a convolution over images of height 1, because ONNX Runtime
    has a kernel for these that copies no window. Weights and biases are reshaped here, in the
    loop's own graph, because ONNX Runtime optimises the layout only of constants of the same graph.
    """
    weight, bias = (tensors[f"{LAYER.format(layer)}.{which}"] for which in ("weight", "bias"))
    if not is_image(layer):
        return ops.Conv(x, weight, bias, strides=[stride])
    weight, bias = ops.Unsqueeze(weight, [2]), ops.Reshape(bias, [-1])
    return ops.Conv(ops.Unsqueeze(x, [2]), weight, bias, strides=[1, stride])


def flat(ops: Ops, x: ir.Value, layer: str) -> ir.Value:
    """The result of `convolution` for this layer, as (batch, channels, columns)."""
    return ops.Squeeze(x, [2]) if is_image(layer) else x


def with_kernels(ops: Ops, tensors: Mapping[str, ir.Value]) -> dict[str, ir.Value]:
    """The tensors, and a weight for each weight_v (direction) and weight_g (length)."""
    found = dict(tensors)
    for name, direction in tensors.items():
        if name.endswith(".weight_v"):
            layer = name.removesuffix("_v")
            squares = ops.ReduceSum(ops.Mul(direction, direction), [1, 2], keepdims=1)
            found[layer] = ops.Mul(direction, ops.Div(tensors[f"{layer}_g"], ops.Sqrt(squares)))
    return found


def lstm_weights(ops: Ops, tensors: Mapping[str, ir.Value], number: int) -> list[ir.Value]:
    """Input weights, recurrent weights and bias of a layer, with the gates in ONNX's order."""

    def gates(name: str) -> ir.Value:
        inner, forget, cell, outer = ops.many(
            "Split", 4, tensors[LSTM.format(name, number)], axis=0, num_outputs=4
        )
        return ops.Concat(inner, outer, forget, cell, axis=0)

    bias = ops.Concat(gates("bias_ih"), gates("bias_hh"), axis=0)
    return [ops.Unsqueeze(t, [0]) for t in (gates("weight_ih"), gates("weight_hh"), bias)]


def lstm(
    ops: Ops, x: ir.Value, weights: Sequence[ir.Value], state: Sequence[ir.Value] = ()
) -> tuple[ir.Value, ir.Value, ir.Value]:
    """(frames, batch, 512) through one layer; its output, and its state after the last frame.

    `state` is hidden and cell (1, batch, 512) before the first frame; zeros if left out.
    """
    inputs = [*weights, None, *state] if state else weights
    y, hidden, cell = ops.many("LSTM", 3, x, *inputs, hidden_size=HIDDEN)
    return ops.Squeeze(y, [1]), hidden, cell
