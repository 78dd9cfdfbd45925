"""One step of the 48 kHz Encodec, from one set of statistics to the next, tile by tile.

A tile cannot go through two layers at once, because each layer is normalised over the whole clip.
But between two sets of statistics (norm, ELU, padding, convolution, sums of the result), a tile
stays in a cache.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from .encodec_nodes import (
    EPSILON,
    FAR,
    after,
    before,
    convolution,
    elu,
    flat,
    is_image,
    length,
)
from .operators import FLOAT, Ops, variable

Tensors = Mapping[str, ir.Value]
Pieces = tuple[ir.Value | None, ir.Value]  # The tiles of a signal, and what follows them.


@dataclass(frozen=True)
class Signal:
    """A convolution's output, cut in time, and the scale and shift of its norm.

    `tiles` is (tiles, batch, channels, columns), or None if nothing is cut. `rest` is what follows
    them, (batch, channels, columns). `scale` and `shift` are (batch, channels, 1), and None for
    samples.
    """

    tiles: ir.Value | None
    rest: ir.Value
    scale: ir.Value | None = None
    shift: ir.Value | None = None


@dataclass(frozen=True)
class Step:
    """The way from one set of statistics to the next: sum of normed signals, ELU, convolutions.

    `layer` is the convolution of the activated sum, `shortcut` one of size 1 of the sum itself.
    """

    layer: str
    kernel: int
    stride: int = 1
    shortcut: str | None = None
    activate: bool = True

    @property
    def layers(self) -> list[str]:
        """The layers whose outputs the step gives."""
        return [self.layer, self.shortcut] if self.shortcut else [self.layer]

    @property
    def right(self) -> int:
        """Columns that the padding has on the right, before the last window is filled."""
        return (self.kernel - self.stride) // 2

    @property
    def left(self) -> int:
        """Columns that the padding has on the left."""
        return self.kernel - self.stride - self.right


def normed(ops: Ops, raw: Sequence[ir.Value], signals: Sequence[Signal]) -> ir.Value:
    """The sum of the signals after their norms, for these pieces of them."""
    scaled = [
        piece if signal.scale is None else ops.Mul(piece, signal.scale)
        for piece, signal in zip(raw, signals, strict=True)
    ]
    shifts = [signal.shift for signal in signals if signal.shift is not None]
    total = scaled[0] if len(scaled) == 1 else ops.Add(*scaled)
    return ops.Add(total, shifts[-1]) if shifts else total


def run(ops: Ops, tensors: Tensors, signals: Sequence[Signal], step: Step) -> list[Signal]:
    """One step for all pieces of a clip: the new signals, with the norms of their layers."""
    if len(signals) == 2:
        # The two shifts as one, on the last signal.
        both = ops.Add(signals[0].shift, signals[1].shift)
        signals = [Signal(s.tiles, s.rest, s.scale, both) for s in signals]
    kit = _Kit(tensors, signals, step)
    tiled, count = signals[0].tiles is not None, len(step.layers)
    rest = kit.rest(ops)
    tiles = kit.tiles(ops) if tiled else [None] * len(rest)
    found = []
    for index, layer in enumerate(step.layers):
        # Out here a change of shape copies nothing, as the result of a tile's graph it would.
        piece = ops.Squeeze(tiles[index], [3]) if tiled and is_image(layer) else tiles[index]
        pieces = piece, flat(ops, rest[index], layer)
        sums, squares = ((tiles[at], rest[at]) for at in (index + count, index + 2 * count))
        found.append(Signal(*pieces, *_norm(ops, tensors, layer, pieces, sums, squares)))
    return found


@dataclass(frozen=True)
class _Kit:
    """A step on its inputs, for the pieces of a clip; every method writes to the graph given."""

    tensors: Tensors
    signals: Sequence[Signal]
    step: Step

    def activated(self, ops: Ops, raw: Sequence[ir.Value]) -> tuple[ir.Value, ir.Value]:
        """The sum of the normed signals, and what the step's convolution gets of it."""
        x = normed(ops, raw, self.signals)
        return x, elu(ops, x) if self.step.activate else x

    def finish(self, ops: Ops, x: ir.Value, padded: ir.Value) -> list[ir.Value]:
        """The step's convolutions, then the sums of each, then the sums of squares."""
        outputs = [convolution(ops, padded, self.tensors, self.step.layer, self.step.stride)]
        if self.step.shortcut:
            outputs.append(convolution(ops, x, self.tensors, self.step.shortcut))
        axes = [[2, 3] if is_image(layer) else [2] for layer in self.step.layers]
        pairs = list(zip(outputs, axes, strict=True))
        sums = [ops.ReduceSum(y, axis, keepdims=0) for y, axis in pairs]
        # Its own ReduceSumSquare is not vectorised.
        squares = [ops.ReduceSum(ops.Mul(y, y), axis, keepdims=0) for y, axis in pairs]
        return [*outputs, *sums, *squares]

    def rest(self, ops: Ops) -> list[ir.Value]:
        """The step for what follows the tiles, or for a clip that is not cut."""
        signals, left = self.signals, self.step.left
        x, y = self.activated(ops, [signal.rest for signal in signals])
        if not left:
            return self.finish(ops, x, y)
        if signals[0].tiles is None:
            context = before(ops, y, left)
        else:
            ends = [ops.Slice(s.tiles, [-1, -left], [FAR, FAR], [0, 3]) for s in signals]
            _, context = self.activated(ops, [ops.Squeeze(end, [0]) for end in ends])
        end = after(ops, y, left, self.step.right, self.step.stride)
        return self.finish(ops, x, ops.Concat(context, y, end, axis=2))

    def tiles(self, ops: Ops) -> Sequence[ir.Value]:
        """The step for the tiles, each with the columns on either side of it."""
        step, count = self.step, len(self.signals)
        inputs = [signal.tiles for signal in self.signals]
        if step.left:
            inputs += [_edges(ops, signal, step) for signal in self.signals]
        body = ops.body()
        names = [f"{step.layer}.piece_{index}" for index in range(len(inputs))]
        pieces = [variable(name, FLOAT, [None] * 3) for name in names]
        x, y = self.activated(body, pieces[:count])
        if step.left:
            _, edges = self.activated(body, pieces[count:])
            left, right = body.many("Split", 2, edges, [step.left, step.right], axis=2)
            y = body.Concat(left, y, right, axis=2)
        outputs = self.finish(body, x, y)
        graph = body.graph(pieces, outputs)
        return ops.many("Scan", len(outputs), *inputs, body=graph, num_scan_inputs=len(inputs))


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


def _norm(
    ops: Ops, tensors: Tensors, layer: str, pieces: Pieces, sums: Pieces, squares: Pieces
) -> tuple[ir.Value, ir.Value]:
    """Scale and shift (batch, channels, 1) of a layer's norm, from sums over each piece.

    Each sum covers the columns of one channel of one piece, in float32. The sums are added up in
    float64, because a clip has millions of numbers.
    """
    name = f"encoder.model.{layer}.conv.norm"
    weight, bias = (ops.Unsqueeze(tensors[f"{name}.{which}"], [1]) for which in ("weight", "bias"))
    columns = length(ops, pieces[1])
    if pieces[0] is not None:
        shape = ops.Shape(pieces[0])
        columns = ops.Add(columns, ops.Mul(ops.Gather(shape, [0]), ops.Gather(shape, [3])))
    count = ops.Cast(ops.Mul(columns, ops.Shape(pieces[1], start=1, end=2)), to=ir.DataType.DOUBLE)
    mean, square = (ops.Div(_total(ops, pair), count) for pair in (sums, squares))
    variance = ops.Max(ops.Cast(ops.Sub(square, ops.Mul(mean, mean)), to=FLOAT), 0.0)
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
