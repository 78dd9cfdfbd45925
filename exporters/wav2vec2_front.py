"""The first part of the wav2vec 2.0 family as ONNX nodes: convolutions, features, positions.

The convolutions run in a Scan over blocks of frames, so that their outputs, 200 numbers a sample,
never span the clip.
"""

from __future__ import annotations

import onnx_ir as ir

from .operators import FLOAT, INTEGER, Ops, variable
from .wav2vec2_nodes import (
    CHANNELS,
    EPSILON,
    FRAME_SAMPLES,
    GROUPS,
    KERNELS,
    POSITIONS,
    SHORTEST,
    STRIDES,
    Blocks,
    Parts,
    gelu,
)

FRONT_FRAMES = 64  # Frames of a block: 8 MB of the first convolution's output.
FAR = 1 << 40  # A slice that ends here ends with its axis.
DOUBLE = ir.DataType.DOUBLE


class Front(Parts):
    """Samples to the input of the first layer."""

    def features(self, ops: Ops, samples: ir.Value, frames: ir.Value) -> ir.Value:
        """The convolutions and the projection: blocks (count, batch, size, width)."""
        cut = Blocks.of(ops, frames, [FRONT_FRAMES])
        statistics = self._group_norm(ops, samples) if self.form.group_norm else None
        # The last block extends beyond the clip; its surplus frames are dropped later.
        seen = ops.Add(ops.Mul(cut.size, [FRAME_SAMPLES]), [SHORTEST - FRAME_SAMPLES])
        end = ops.Add(ops.Mul(cut.total, [FRAME_SAMPLES]), [SHORTEST - FRAME_SAMPLES])
        missing = ops.Max(ops.Sub(end, ops.Shape(samples, start=2, end=3)), [0])
        samples = ops.Pad(samples, ops.Concat([0] * 5, missing, axis=0), 0.0)
        body, start = ops.body(), variable("front_start", INTEGER, [])
        first = body.Mul(body.Reshape(start, [1]), [FRAME_SAMPLES])
        x = body.Slice(samples, first, body.Add(first, seen), [2])
        for level in range(len(KERNELS)):
            x = self._convolved(body, x, level, statistics)
        x = self.norm(body, body.Transpose(x, perm=[0, 2, 1]), "feature_projection.layer_norm")
        x = self.linear(body, x, "feature_projection.projection")
        graph = body.graph([start], [self.shaped(body, x, self.form.width)])
        found = ops.Scan(cut.starts(ops), body=graph, num_scan_inputs=1)
        found = ops.Reshape(
            ops.Transpose(found, perm=[1, 3, 0, 2]),
            ops.Concat(self.batch, [self.form.width], cut.total, axis=0),
        )
        return ops.Slice(found, [0], frames, [2])

    def _convolved(
        self, ops: Ops, x: ir.Value, level: int, statistics: tuple[ir.Value, ir.Value] | None
    ) -> ir.Value:
        name = f"feature_extractor.conv_layers.{level}"
        bias = self.tensors[f"{name}.conv.bias"] if self.form.convolution_bias else None
        x = ops.Conv(x, self.tensors[f"{name}.conv.weight"], bias, strides=[STRIDES[level]])
        if statistics is None:
            x = ops.Transpose(x, perm=[0, 2, 1])
            x = ops.Transpose(self.norm(ops, x, f"{name}.layer_norm"), perm=[0, 2, 1])
        elif level == 0:
            scale, shift = statistics
            x = ops.Add(ops.Mul(x, scale), shift)
        return gelu(ops, x)

    def _group_norm(self, ops: Ops, samples: ir.Value) -> tuple[ir.Value, ir.Value]:
        """Scale and shift (batch, channels, 1) of the norm after the first convolution.

        A channel of that convolution is w x for every window x of ten samples, so its mean is w m
        and its variance w C w, with the mean m and the covariance C of the windows: the whole
        clip's statistics without the convolution's output, in float64. The convolution has
        one channel before it and, here, no bias (modeling_hubert.py, HubertGroupNormConvLayer).
        """
        name, stride, kernel = "feature_extractor.conv_layers.0", STRIDES[0], KERNELS[0]
        rows = ops.Div(ops.Shape(samples, start=2, end=3), [stride])
        rows = ops.Slice(samples, [0], ops.Mul(rows, [stride]), [2])
        rows = ops.Reshape(ops.Cast(rows, to=DOUBLE), [0, -1, stride])
        # Twice the stride is the kernel: a window is a row and the next one.
        windows = ops.Concat(
            ops.Slice(rows, [0], [-1], [1]), ops.Slice(rows, [1], [FAR], [1]), axis=2
        )
        mean = ops.ReduceMean(windows, [1], keepdims=1)
        windows = ops.Sub(windows, mean)
        count = ops.Cast(ops.Shape(windows, start=1, end=2), to=DOUBLE)
        covariance = ops.MatMul(ops.Transpose(windows, perm=[0, 2, 1]), windows)
        covariance = ops.Div(covariance, count)
        weight = ops.Cast(self.tensors[f"{name}.conv.weight"], to=DOUBLE)
        weight = ops.Reshape(weight, [CHANNELS, kernel])
        means = ops.MatMul(weight, ops.Transpose(mean, perm=[0, 2, 1]))
        spread = ops.Mul(ops.MatMul(weight, covariance), weight)
        spread = ops.ReduceSum(spread, [2], keepdims=1)
        gain, bias = (
            ops.Cast(ops.Reshape(self.tensors[f"{name}.layer_norm.{which}"], [CHANNELS, 1]),
                     to=DOUBLE)
            for which in ("weight", "bias")
        )  # fmt: skip
        epsilon = ops.Cast(EPSILON, to=DOUBLE)
        scale = ops.Div(gain, ops.Sqrt(ops.Add(spread, epsilon)))
        shift = ops.Sub(bias, ops.Mul(means, scale))
        return ops.Cast(scale, to=FLOAT), ops.Cast(shift, to=FLOAT)

    def embedded(self, ops: Ops, features: ir.Value, blocks: Blocks) -> ir.Value:
        """The input of the first layer: features (batch, width, frames) plus their positions."""
        name = "encoder.pos_conv_embed.conv"
        direction, gain = self.tensors[f"{name}.weight_v"], self.tensors[f"{name}.weight_g"]
        # Weight norm with dim=2: a norm for each tap, over the other two axes.
        squares = ops.ReduceSum(ops.Mul(direction, direction), [0, 1], keepdims=1)
        kernel = ops.Mul(direction, ops.Div(gain, ops.Sqrt(squares)))
        # The kernel is even: of the frames + 1 steps of symmetric padding the last is dropped.
        pads = [POSITIONS // 2, POSITIONS // 2 - 1]
        position = ops.Conv(features, kernel, self.tensors[f"{name}.bias"], group=GROUPS, pads=pads)
        x = ops.Add(features, gelu(ops, position))
        missing = ops.Sub(blocks.total, blocks.frames)
        x = ops.Pad(x, ops.Concat([0] * 5, missing, axis=0), 0.0)
        shape = ops.Concat(self.batch, [self.form.width], blocks.count, blocks.size, axis=0)
        x = ops.Transpose(ops.Reshape(x, shape), perm=[2, 0, 3, 1])
        return x if self.form.norm_first else self.norm(ops, x, "encoder.layer_norm")
