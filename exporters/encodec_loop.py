"""The causal Encodec, tile by tile: any length in the memory of one tile, which fits a cache.

Every part that looks back passes what it needs from tile to tile: a convolution passes the last
columns of its input, the LSTM its state. Therefore nothing is computed twice, and the result is
exact for any length.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

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
    length,
    lstm,
    lstm_weights,
    with_kernels,
)  # fmt: skip
from .operators import BOOLEAN, FLOAT, INTEGER, Ops, variable

FRAMES = 16  # in a tile: 0.7 MB of the widest layer
# How many columns each convolution looks back: the width of its kernel minus its stride.
BLOCKS = tuple(zip(range(1, 13, 3), STRIDES, strict=True))
LOOKS_BACK = {"0": 6, **{f"{n}.block.1": 2 for n, _ in BLOCKS},
              **{str(n + 2): stride for n, stride in BLOCKS}, "15": 6}  # fmt: skip

Tensors = Mapping[str, ir.Value]


def write(tensors: Tensors, opset: int) -> ir.Model:
    """Samples (batch, 1, n) to embeddings (batch, ceil(n / 320), 128)."""
    ops = Ops()
    samples = variable("samples", FLOAT, ["batch", 1, "samples"])
    batch = ops.Shape(samples, start=0, end=1)
    frames = _ceil_divide(ops, ops.Shape(samples, start=2, end=3), FRAME_SAMPLES)
    tiles = ops.Squeeze(_ceil_divide(ops, frames, FRAMES))
    quiet = ops.Expand(0.0, ops.Concat([1], batch, [HIDDEN], axis=0))
    weights = [lstm_weights(ops, tensors, number) for number in (0, 1)]
    body = _body(ops.body(), samples, with_kernels(ops, tensors), weights)
    # The first tile looks back to its own mirror image; the value here only has to fit it.
    state = [quiet] * 4 + [ops.constant([[[0.0]]])] * len(LOOKS_BACK)
    embeddings = ops.many("Loop", len(state) + 1, tiles, True, *state, body=body)[-1]
    # (tiles, frames of a tile, batch, 128): joined, without the padding of the last tile.
    embeddings = ops.Reshape(embeddings, ops.Concat([-1], batch, [EMBEDDING], axis=0))
    embeddings = ops.Transpose(ops.Slice(embeddings, [0], frames, [0]), perm=[1, 0, 2])
    embeddings.type, embeddings.shape = ir.TensorType(FLOAT), ir.Shape(["batch", None, EMBEDDING])
    return ops.model([samples], {"embedding": embeddings}, opset)


def _ceil_divide(ops: Ops, x: ir.Value, divisor: int) -> ir.Value:
    return ops.Div(ops.Add(x, [divisor - 1]), [divisor])


def _body(ops: Ops, samples: ir.Value, tensors: Tensors, weights: list[list[ir.Value]]) -> ir.Graph:
    """One tile: its number and the state before it to the state after it and its embeddings."""
    number, go = variable("tile", INTEGER, []), variable("go", BOOLEAN, [])
    state = [variable(name, FLOAT, [1, None, HIDDEN]) for name in ("h0", "c0", "h1", "c1")]
    contexts = {name: variable(f"context_{name}", FLOAT, [None] * 3) for name in LOOKS_BACK}
    layers = _Layers(ops, ops.Equal(number, 0), tensors, dict(contexts))
    start = ops.Mul(ops.Reshape(number, [1]), [FRAMES * FRAME_SAMPLES])
    x = ops.Slice(samples, start, ops.Add(start, [FRAMES * FRAME_SAMPLES]), [2])
    x = layers.apply(x, "0")
    for position, stride in BLOCKS:
        hidden = layers.apply(elu(ops, x), f"{position}.block.1")
        raised = layers.apply(elu(ops, hidden), f"{position}.block.3")
        x = ops.Add(layers.apply(x, f"{position}.shortcut"), raised)
        x = layers.apply(elu(ops, x), str(position + 2), stride)
    x = ops.Transpose(x, perm=[2, 0, 1])
    y, h0, c0 = lstm(ops, x, weights[0], state[:2])
    y, h1, c1 = lstm(ops, y, weights[1], state[2:])
    y = elu(ops, ops.Transpose(ops.Add(y, x), perm=[1, 2, 0]))
    embeddings = ops.Transpose(layers.apply(y, "15"), perm=[2, 0, 1])
    missing = ops.Sub([FRAMES], ops.Shape(embeddings, start=0, end=1))
    embeddings = ops.Pad(embeddings, ops.Concat([0, 0, 0], missing, [0, 0], axis=0), 0.0)
    after_it = [layers.contexts[name] for name in LOOKS_BACK]
    return ops.graph(
        [number, go, *state, *contexts.values()], [go, h0, c0, h1, c1, *after_it, embeddings]
    )


@dataclass
class _Layers:
    """The convolutions of one tile, and what each looks back to, before it and then after it."""

    ops: Ops
    first: ir.Value
    tensors: Tensors
    contexts: dict[str, ir.Value]

    def apply(self, x: ir.Value, name: str, stride: int = 1) -> ir.Value:
        """(batch, channels, n) to (batch, channels, ceil(n / stride))."""
        left = LOOKS_BACK.get(name, 0)
        if left:
            x = self._padded(x, name, left, stride)
        return flat(self.ops, convolution(self.ops, x, self.tensors, name, stride), name)

    def _padded(self, x: ir.Value, name: str, left: int, stride: int) -> ir.Value:
        """What lies before, x, and what fills the last window: in the first tile a mirror image
        as if the tile were a clip, for it may be.
        """
        ops = self.ops
        context = ops.Where(self.first, before(ops, x, left), self.contexts[name])
        # A tile with fewer columns is the last, and nothing looks back to it.
        self.contexts[name] = ops.Slice(x, [-left], [FAR], [2])
        if stride == 1:
            return ops.Concat(context, x, axis=2)
        # The end of x that a mirror image can show, of a length that ends a window where x does.
        windows = ops.Div(ops.Sub(length(ops, x), [1]), [stride])
        skipped = ops.Max(ops.Mul(ops.Sub(windows, [1]), [stride]), [0])
        end = ops.Concat(context, ops.Slice(x, skipped, [FAR], [2]), axis=2)
        filling = ops.Where(
            self.first, after(ops, x, left, 0, stride), after(ops, end, left, 0, stride)
        )
        return ops.Concat(context, x, filling, axis=2)
