"""The 48 kHz Encodec, layer by layer in tiles: each layer reads and writes memory once.

Every convolution is normalised over the whole clip, so no tile can go through two layers. But a
tile can go through what lies between two sets of statistics (norm, ELU, padding, convolution,
sums of the result) while it is in a cache: ONNX's Scan over tiles of TILE_SAMPLES. What is left
over of the clip, one to two tiles, takes the same steps outside the Scan, and so does a clip
that is shorter. The last quarter of the layers, whose signals are small, is not tiled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from .encodec_nodes import (
    EMBEDDING,
    EPSILON,
    FAR,
    STRIDES,
    after,
    before,
    convolution,
    elu,
    flat,
    is_image,
    length,
    lstm,
    lstm_weights,
)  # fmt: skip
from .operators import FLOAT, Ops, variable

TILE_SAMPLES = 4_800  # 0.6 MB of the widest layer: a batch of four still fits a cache.
TILED_LEVELS = 3

Tensors = Mapping[str, ir.Value]


@dataclass(frozen=True)
class Signal:
    """A convolution's output, cut in time, and the scale and shift of its norm.

    tiles: (tiles, batch, channels, columns), or None if nothing is cut. rest: what follows them,
    (batch, channels, columns). scale, shift: (batch, channels, 1); None for samples.
    """

    tiles: ir.Value | None
    rest: ir.Value
    scale: ir.Value | None = None
    shift: ir.Value | None = None


@dataclass(frozen=True)
class Step:
    """From one set of statistics to the next: the sum of normed signals, ELU, convolutions.

    layer is the convolution of the activated sum, shortcut one of size 1 of the sum itself.
    """

    layer: str
    kernel: int
    stride: int = 1
    shortcut: str | None = None

    @property
    def right(self) -> int:
        """Columns that the padding has on the right, before the last window is filled."""
        return (self.kernel - self.stride) // 2

    @property
    def left(self) -> int:
        """Columns that the padding has on the left."""
        return self.kernel - self.stride - self.right


def write(tensors: Tensors, opset: int) -> ir.Model:
    """Samples (batch, 2, n) to rows (batch, ceil(n / 320), 128)."""
    ops = Ops()
    samples = variable("samples", FLOAT, ["batch", 2, "samples"])
    short = ops.Less(ops.Squeeze(length(ops, samples)), 2 * TILE_SAMPLES)
    branches = (_branch(ops.body(), samples, tensors, cut) for cut in (False, True))
    whole, cut = branches
    signal = Signal(None, *ops.many("If", 3, short, then_branch=whole, else_branch=cut))
    signal = _level(ops, tensors, signal, TILED_LEVELS)
    x = ops.Transpose(_normed(ops, [signal.rest], [signal]), perm=[2, 0, 1])
    y = x
    for number in (0, 1):
        y, _, _ = lstm(ops, y, lstm_weights(ops, tensors, number))
    y = Signal(None, ops.Transpose(ops.Add(y, x), perm=[1, 2, 0]))
    (signal,) = _step(ops, tensors, [y], Step("15", 7))
    rows = ops.Transpose(_normed(ops, [signal.rest], [signal]), perm=[0, 2, 1])
    rows.type, rows.shape = ir.TensorType(FLOAT), ir.Shape(["batch", None, EMBEDDING])
    return ops.model([samples], {"embedding": rows}, opset)


def _branch(ops: Ops, samples: ir.Value, tensors: Tensors, cut: bool) -> ir.Graph:
    """The layers that are tiled, on a clip that is cut in tiles or on one that is not."""
    signal = _cut(ops, samples) if cut else Signal(None, samples)
    (signal,) = _step(ops, tensors, [signal], Step("0", 7), activate=False)
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
    hidden, past = _step(ops, tensors, [signal], down)
    (raised,) = _step(ops, tensors, [hidden], Step(f"{position}.block.3", 1))
    shorten = Step(str(position + 2), 2 * stride, stride)
    (shortened,) = _step(ops, tensors, [past, raised], shorten)
    return shortened


def _normed(ops: Ops, raw: Sequence[ir.Value], signals: Sequence[Signal]) -> ir.Value:
    """The sum of the signals after their norms, for these pieces of them."""
    scaled = [
        piece if signal.scale is None else ops.Mul(piece, signal.scale)
        for piece, signal in zip(raw, signals, strict=True)
    ]
    shifts = [signal.shift for signal in signals if signal.shift is not None]
    total = scaled[0] if len(scaled) == 1 else ops.Add(*scaled)
    return ops.Add(total, shifts[-1]) if shifts else total


def _step(
    ops: Ops, tensors: Tensors, signals: Sequence[Signal], step: Step, activate: bool = True
) -> list[Signal]:
    """One step for all pieces of a clip: the new signals, with the norms of their layers."""
    layers = [step.layer, step.shortcut] if step.shortcut else [step.layer]
    if len(signals) == 2:
        # The two shifts as one, on the last signal.
        both = ops.Add(signals[0].shift, signals[1].shift)
        signals = [Signal(s.tiles, s.rest, s.scale, both) for s in signals]

    def activated(ops: Ops, raw: Sequence[ir.Value]) -> tuple[ir.Value, ir.Value]:
        x = _normed(ops, raw, signals)
        return x, elu(ops, x) if activate else x

    def finish(ops: Ops, x: ir.Value, padded: ir.Value) -> list[ir.Value]:
        """The step's convolutions, then the sums and sums of squares of each."""
        outputs = [convolution(ops, padded, tensors, step.layer, step.stride)]
        if step.shortcut:
            outputs.append(convolution(ops, x, tensors, step.shortcut))
        axes = [[2, 3] if is_image(layer) else [2] for layer in layers]
        pairs = list(zip(outputs, axes, strict=True))
        sums = [ops.ReduceSum(y, axis, keepdims=0) for y, axis in pairs]
        # Its own ReduceSumSquare is not vectorised.
        squares = [ops.ReduceSum(ops.Mul(y, y), axis, keepdims=0) for y, axis in pairs]
        return [*outputs, *sums, *squares]

    rest = _rest(ops, signals, step, activated, finish)
    tiled = signals[0].tiles is not None
    tiles = _tiles(ops, signals, step, activated, finish) if tiled else [None] * len(rest)
    count = len(layers)
    found = []
    for index, layer in enumerate(layers):
        # Out here a change of shape copies nothing, as the result of a tile's graph it would.
        piece = ops.Squeeze(tiles[index], [3]) if tiled and is_image(layer) else tiles[index]
        pieces = piece, flat(ops, rest[index], layer)
        sums, squares = ((tiles[at], rest[at]) for at in (index + count, index + 2 * count))
        found.append(Signal(*pieces, *_norm(ops, tensors, layer, pieces, sums, squares)))
    return found


Activated = Callable[[Ops, Sequence[ir.Value]], tuple[ir.Value, ir.Value]]
Finish = Callable[[Ops, ir.Value, ir.Value], list[ir.Value]]


def _rest(
    ops: Ops, signals: Sequence[Signal], step: Step, activated: Activated, finish: Finish
) -> list[ir.Value]:
    """The step for what follows the tiles, or for a clip that is not cut."""
    x, y = activated(ops, [signal.rest for signal in signals])
    if not step.left:
        return finish(ops, x, y)
    if signals[0].tiles is None:
        context = before(ops, y, step.left)
    else:
        ends = [ops.Slice(s.tiles, [-1, -step.left], [FAR, FAR], [0, 3]) for s in signals]
        _, context = activated(ops, [ops.Squeeze(end, [0]) for end in ends])
    end = after(ops, y, step.left, step.right, step.stride)
    return finish(ops, x, ops.Concat(context, y, end, axis=2))


def _tiles(
    ops: Ops, signals: Sequence[Signal], step: Step, activated: Activated, finish: Finish
) -> Sequence[ir.Value]:
    """The step for the tiles, each with the columns on either side of it."""
    inputs = [signal.tiles for signal in signals]
    if step.left:
        inputs += [_edges(ops, signal, step) for signal in signals]
    body = ops.body()
    pieces = [variable(f"{step.layer}.piece_{i}", FLOAT, [None] * 3) for i in range(len(inputs))]
    x, y = activated(body, pieces[: len(signals)])
    if step.left:
        _, edges = activated(body, pieces[len(signals) :])
        left, right = body.many("Split", 2, edges, [step.left, step.right], axis=2)
        y = body.Concat(left, y, right, axis=2)
    outputs = finish(body, x, y)
    return ops.many(
        "Scan", len(outputs), *inputs,
        body=body.graph(pieces, outputs), num_scan_inputs=len(inputs),
    )  # fmt: skip


def _edges(ops: Ops, signal: Signal, step: Step) -> ir.Value:
    """The columns left and right of every tile, (tiles, batch, channels, left + right)."""
    mirror = ops.Gather(
        ops.Slice(signal.tiles, [0], [1], [0]), list(range(step.left, 0, -1)), axis=3
    )
    ends = ops.Slice(signal.tiles, [0, -step.left], [-1, FAR], [0, 3])
    starts = ops.Slice(signal.tiles, [1, 0], [FAR, step.right], [0, 3])
    next_start = ops.Unsqueeze(ops.Slice(signal.rest, [0], [step.right], [2]), [0])
    left, right = ops.Concat(mirror, ends, axis=0), ops.Concat(starts, next_start, axis=0)
    return ops.Concat(left, right, axis=3)


Pieces = tuple[ir.Value | None, ir.Value]


def _norm(
    ops: Ops, tensors: Tensors, layer: str, pieces: Pieces, sums: Pieces, squares: Pieces
) -> tuple[ir.Value, ir.Value]:
    """Scale and shift (batch, channels, 1) of a layer's norm, from sums over each piece.

    Each sum goes over the columns of one channel of one piece in float32; they are added up in
    float64, for a clip has millions of numbers.
    """
    name = f"encoder.model.{layer}.conv.norm"
    weight, bias = (ops.Unsqueeze(tensors[f"{name}.{which}"], [1]) for which in ("weight", "bias"))
    columns = length(ops, pieces[1])
    if pieces[0] is not None:
        shape = ops.Shape(pieces[0])
        columns = ops.Add(columns, ops.Mul(ops.Gather(shape, [0]), ops.Gather(shape, [3])))
    count = ops.Cast(ops.Mul(columns, ops.Shape(pieces[1], start=1, end=2)), to=ir.DataType.DOUBLE)
    mean, square = (ops.Div(_total(ops, pair), count) for pair in (sums, squares))
    variance = ops.Cast(ops.Sub(square, ops.Mul(mean, mean)), to=FLOAT)
    scale = ops.Mul(weight, ops.Reciprocal(ops.Sqrt(ops.Add(variance, EPSILON))))
    return scale, ops.Sub(bias, ops.Mul(ops.Cast(mean, to=FLOAT), scale))


def _total(ops: Ops, sums: Pieces) -> ir.Value:
    """The sum over tiles and channels, (batch, 1, 1) in float64."""
    parts = [ops.Unsqueeze(sums[1], [0])]
    if sums[0] is not None:
        parts.append(sums[0])
    together = ops.Concat(*parts, axis=0) if len(parts) > 1 else parts[0]
    total = ops.ReduceSum(ops.Cast(together, to=ir.DataType.DOUBLE), [0, 2], keepdims=0)
    return ops.Unsqueeze(total, [1, 2])
