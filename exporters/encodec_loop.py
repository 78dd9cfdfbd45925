"""The causal Encodec, tile by tile: any length in the memory of one tile, which fits a cache.

A tile is FRAMES rows and the samples of two rows before it. The convolutions look back 478
samples, so two rows of every tile but the first are wrong and dropped; from there on the tile
says what the whole clip would. The LSTM's state and the last convolution's six columns of
context go from tile to tile. So the result is exact for any length, an hour included.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from .encodec_nodes import (
    EMBEDDING,
    FAR,
    FRAME_SAMPLES,
    HIDDEN,
    STRIDES,
    after,
    before,
    convolution,
    elu,
    flat,
    lstm,
    lstm_weights,
    with_kernels,
)  # fmt: skip
from .operators import BOOLEAN, FLOAT, INTEGER, Ops, variable

FRAMES = 32  # Of a tile: 1.4 MB of the widest layer, and 6 % more work for the overlap.
OVERLAP_FRAMES = 2
CONTEXT = 6  # Of the last convolution, whose kernel is 7.

Tensors = Mapping[str, ir.Value]


def write(tensors: Tensors, opset: int) -> ir.Model:
    """Samples (batch, 1, n) to rows (batch, ceil(n / 320), 128)."""
    ops = Ops()
    samples = variable("samples", FLOAT, ["batch", 1, "samples"])
    batch = ops.Shape(samples, start=0, end=1)
    frames = _ceil_divide(ops, ops.Shape(samples, start=2, end=3), FRAME_SAMPLES)
    tiles = ops.Squeeze(_ceil_divide(ops, frames, FRAMES))
    quiet = ops.Expand(0.0, ops.Concat([1], batch, [HIDDEN], axis=0))
    context = ops.Expand(0.0, ops.Concat(batch, [HIDDEN, CONTEXT], axis=0))
    weights = [lstm_weights(ops, tensors, number) for number in (0, 1)]
    body = _body(ops.body(), samples, with_kernels(ops, tensors), weights)
    rows = ops.many("Loop", 6, tiles, True, *[quiet] * 4, context, body=body)[-1]
    # (tiles, frames of a tile, batch, 128): in a row, without what fills the last tile.
    rows = ops.Reshape(rows, ops.Concat([-1], batch, [EMBEDDING], axis=0))
    rows = ops.Transpose(ops.Slice(rows, [0], frames, [0]), perm=[1, 0, 2])
    rows.type, rows.shape = ir.TensorType(FLOAT), ir.Shape(["batch", None, EMBEDDING])
    return ops.model([samples], {"embedding": rows}, opset)


def _ceil_divide(ops: Ops, x: ir.Value, divisor: int) -> ir.Value:
    return ops.Div(ops.Add(x, [divisor - 1]), [divisor])


def _body(ops: Ops, samples: ir.Value, tensors: Tensors, weights: list[list[ir.Value]]) -> ir.Graph:
    """One tile: its number and the state before it to the state after it and its rows."""
    number, go = variable("tile", INTEGER, []), variable("go", BOOLEAN, [])
    state = [variable(name, FLOAT, [1, None, HIDDEN]) for name in ("h0", "c0", "h1", "c1")]
    context = variable("context", FLOAT, [None, HIDDEN, CONTEXT])
    first = ops.Equal(number, 0)
    x = _convolutions(ops, _tile(ops, samples, number), tensors)
    x = ops.Slice(x, ops.Where(first, [0], [OVERLAP_FRAMES]), [FAR], [2])
    x = ops.Transpose(x, perm=[2, 0, 1])
    y, h0, c0 = lstm(ops, x, weights[0], state[:2])
    y, h1, c1 = lstm(ops, y, weights[1], state[2:])
    y = elu(ops, ops.Transpose(ops.Add(y, x), perm=[1, 2, 0]))
    y = ops.Concat(ops.Where(first, before(ops, y, CONTEXT), context), y, axis=2)
    rows = ops.Transpose(flat(ops, convolution(ops, y, tensors, "15"), "15"), perm=[2, 0, 1])
    missing = ops.Sub([FRAMES], ops.Shape(rows, start=0, end=1))
    rows = ops.Pad(rows, ops.Concat([0, 0, 0], missing, [0, 0], axis=0), 0.0)
    context_after = ops.Slice(y, [-CONTEXT], [FAR], [2])
    return ops.graph([number, go, *state, context], [go, h0, c0, h1, c1, context_after, rows])


def _tile(ops: Ops, samples: ir.Value, number: ir.Value) -> ir.Value:
    """The samples of a tile and of the two rows before it, if there are any."""
    tile, overlap = FRAMES * FRAME_SAMPLES, OVERLAP_FRAMES * FRAME_SAMPLES
    start = ops.Mul(ops.Reshape(number, [1]), [tile])
    overlapping = ops.Max(ops.Sub(start, [overlap]), [0])
    return ops.Slice(samples, overlapping, ops.Add(start, [tile]), [2])


def _convolutions(ops: Ops, x: ir.Value, tensors: Tensors) -> ir.Value:
    """Samples (batch, 1, n) to (batch, 512, ceil(n / 320)), padded as if they were a clip."""

    def layer(x: ir.Value, name: str, kernel: int, stride: int = 1) -> ir.Value:
        left = kernel - stride
        pieces = [before(ops, x, left), x] if left else [x]
        if stride > 1:
            pieces.append(after(ops, x, left, 0, stride))
        x = ops.Concat(*pieces, axis=2) if left else x
        return flat(ops, convolution(ops, x, tensors, name, stride), name)

    x = layer(x, "0", 7)
    for position, stride in zip(range(1, 13, 3), STRIDES, strict=True):
        hidden = layer(elu(ops, x), f"{position}.block.1", 3)
        raised = layer(elu(ops, hidden), f"{position}.block.3", 1)
        x = ops.Add(layer(x, f"{position}.shortcut", 1), raised)
        x = layer(elu(ops, x), str(position + 2), 2 * stride, stride)
    return x
