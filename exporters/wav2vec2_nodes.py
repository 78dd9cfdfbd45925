"""Shared parts of the wav2vec 2.0 family's nodes: forms, blocks of frames, small operations."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import onnx_ir as ir

from .operators import Ops

KERNELS, STRIDES, CHANNELS = (10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2), 512
FRAME_SAMPLES = math.prod(STRIDES)
SHORTEST = 400  # Samples that the first frame sees; each further frame needs FRAME_SAMPLES.
EPSILON = 1e-5  # The epsilon of every norm.
HEAD = 64  # Numbers of a query, a key, a value.
POSITIONS, GROUPS = 128, 16  # Kernel and groups of the positional convolution.
BUCKETS = 320  # for WavLM's distances between a query and a key


@dataclass(frozen=True)
class Form:
    """How the networks of the family differ.

    Attributes
    ----------
    width, layers, inner : int
        Numbers of a hidden state, layers, and numbers between the two maps of a layer.
    group_norm : bool
        One norm over the whole clip after the first convolution, instead of one over the channels
        of every step after each of them.
    convolution_bias : bool
        Whether the convolutions have biases.
    norm_first : bool
        Whether a layer's norms precede its parts ("stable layer norm"), or follow them.
    relative : bool
        Whether scores have WavLM's gated relative bias.
    """

    width: int = 768
    layers: int = 12
    inner: int = 3072
    group_norm: bool = True
    convolution_bias: bool = False
    norm_first: bool = False
    relative: bool = False

    @property
    def heads(self) -> int:
        """Heads of the attention."""
        return self.width // HEAD


@dataclass(frozen=True)
class Blocks:
    """How frames are cut: `count` blocks of `size` frames; the last frames may be padding.

    Each value is a tensor of one number.
    """

    frames: ir.Value
    count: ir.Value
    size: ir.Value
    total: ir.Value  # count * size

    @classmethod
    def of(cls, ops: Ops, frames: ir.Value, most: object) -> Blocks:
        """The fewest blocks of equal size, at most `most` frames, that hold all frames."""
        count = _ceil_divide(ops, frames, most)
        size = _ceil_divide(ops, frames, count)
        return cls(frames, count, size, ops.Mul(count, size))

    def starts(self, ops: Ops) -> ir.Value:
        """The first frame of each block."""
        return ops.Range(0, ops.Squeeze(self.total), ops.Squeeze(self.size))


def _ceil_divide(ops: Ops, x: ir.Value, divisor: object) -> ir.Value:
    return ops.Div(ops.Add(x, ops.Sub(divisor, [1])), divisor)


def gelu(ops: Ops, x: ir.Value) -> ir.Value:
    """x * (1 + erf(x / sqrt 2)) / 2, in the form for which ONNX Runtime has a single kernel."""
    error = ops.Erf(ops.Div(x, math.sqrt(2)))
    return ops.Mul(ops.Mul(x, ops.Add(error, 1.0)), 0.5)


@dataclass(frozen=True)
class Parts:
    """Operations that all parts of a network use; every method writes to a given graph."""

    form: Form
    tensors: Mapping[str, ir.Value]
    batch: ir.Value

    def linear(self, ops: Ops, x: ir.Value, name: str) -> ir.Value:
        """(..., m) to (any, n)."""
        weight, bias = self.tensors[f"{name}.weight"], self.tensors[f"{name}.bias"]
        assert weight.shape is not None
        flat = ops.Reshape(x, [-1, int(weight.shape[1])])
        return ops.Gemm(flat, weight, bias, transB=1)

    def norm(self, ops: Ops, x: ir.Value, name: str) -> ir.Value:
        """The layer norm of this name, over the last axis."""
        weight, bias = self.tensors[f"{name}.weight"], self.tensors[f"{name}.bias"]
        return ops.LayerNormalization(x, weight, bias, axis=-1, epsilon=EPSILON)

    def shaped(self, ops: Ops, x: ir.Value, *sizes: int) -> ir.Value:
        """Flat rows of a block as (batch, frames of the block, *sizes)."""
        return ops.Reshape(x, ops.Concat(self.batch, [-1, *sizes], axis=0))
