"""The 48 kHz Encodec, layer by layer in tiles: each layer reads and writes memory once.

A step (encodec_step.py) is an ONNX Scan over tiles of TILE_SAMPLES. The rest of the clip, one to
two tiles, goes through the same steps outside the Scan, and so does a shorter clip. The last
quarter of the layers, whose signals are small, is not tiled.
"""

from __future__ import annotations

import onnx_ir as ir

from .encodec_nodes import EMBEDDING, FAR, STRIDES, length, lstm, lstm_weights
from .encodec_step import Signal, Step, Tensors, normed, run
from .operators import FLOAT, Ops, variable

TILE_SAMPLES = 4_800  # 0.6 MB of the widest layer: a batch of four still fits a cache.
TILED_LEVELS = 3


def write(tensors: Tensors, opset: int) -> ir.Model:
    """Samples (batch, 2, n) to embeddings (batch, ceil(n / 320), 128)."""
    ops = Ops()
    samples = variable("samples", FLOAT, ["batch", 2, "samples"])
    short = ops.Less(ops.Squeeze(length(ops, samples)), 2 * TILE_SAMPLES)
    whole, cut = (_branch(ops.body(), samples, tensors, tiles) for tiles in (False, True))
    signal = Signal(None, *ops.many("If", 3, short, then_branch=whole, else_branch=cut))
    signal = _level(ops, tensors, signal, TILED_LEVELS)
    x = ops.Transpose(normed(ops, [signal.rest], [signal]), perm=[2, 0, 1])
    y = x
    for number in (0, 1):
        y, _, _ = lstm(ops, y, lstm_weights(ops, tensors, number))
    y = Signal(None, ops.Transpose(ops.Add(y, x), perm=[1, 2, 0]))
    (signal,) = run(ops, tensors, [y], Step("15", 7))
    embeddings = ops.Transpose(normed(ops, [signal.rest], [signal]), perm=[0, 2, 1])
    embeddings.type, embeddings.shape = ir.TensorType(FLOAT), ir.Shape(["batch", None, EMBEDDING])
    return ops.model([samples], {"embedding": embeddings}, opset)


def _branch(ops: Ops, samples: ir.Value, tensors: Tensors, tiles: bool) -> ir.Graph:
    """The tiled layers, for a clip that is cut into tiles or for one that is not."""
    signal = _cut(ops, samples) if tiles else Signal(None, samples)
    (signal,) = run(ops, tensors, [signal], Step("0", 7, activate=False))
    for level in range(TILED_LEVELS):
        signal = _level(ops, tensors, signal, level)
    return ops.graph([], [_joined(ops, signal), signal.scale, signal.shift])


def _cut(ops: Ops, samples: ir.Value) -> Signal:
    """All tiles of a clip but the last, and the rest: one to two tiles."""
    count = ops.Sub(ops.Div(length(ops, samples), [TILE_SAMPLES]), [1])
    end = ops.Mul(count, [TILE_SAMPLES])
    tiles = ops.Slice(samples, [0], end, [2])
    tiles = ops.Reshape(tiles, ops.Concat([0, 0], count, [TILE_SAMPLES], axis=0))
    return Signal(ops.Transpose(tiles, perm=[2, 0, 1, 3]), ops.Slice(samples, end, [FAR], [2]))


def _joined(ops: Ops, signal: Signal) -> ir.Value:
    """The signal in one piece, (batch, channels, columns)."""
    if signal.tiles is None:
        return signal.rest
    tiles = ops.Reshape(ops.Transpose(signal.tiles, perm=[1, 2, 0, 3]), [0, 0, -1])
    return ops.Concat(tiles, signal.rest, axis=2)


def _level(ops: Ops, tensors: Tensors, signal: Signal, level: int) -> Signal:
    """A residual block and the convolution that shortens time by the level's stride."""
    position, stride = 1 + 3 * level, STRIDES[level]
    down = Step(f"{position}.block.1", 3, shortcut=f"{position}.shortcut")
    hidden, past = run(ops, tensors, [signal], down)
    (raised,) = run(ops, tensors, [hidden], Step(f"{position}.block.3", 1))
    shorten = Step(str(position + 2), 2 * stride, stride)
    (shortened,) = run(ops, tensors, [past, raised], shorten)
    return shortened
