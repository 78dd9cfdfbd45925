"""The layers of the wav2vec 2.0 family as ONNX nodes: exact, with memory linear in the clip.

In every layer, the queries of the attention and everything after them run in a Scan over blocks
of frames. Only keys, values and hidden states span the clip. Order of operations as in
transformers 4.57.6, modeling_wav2vec2.py, modeling_hubert.py and modeling_wavlm.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from .operators import FLOAT, INTEGER, Ops, variable
from .wav2vec2_front import Front
from .wav2vec2_nodes import BUCKETS, FRAME_SAMPLES, HEAD, SHORTEST, Blocks, Form, Parts, gelu

# A block has as many queries as give SCORES scores for each head, but at least LEAST_QUERIES, with
# which the products are still efficient.
SCORES, LEAST_QUERIES = 1 << 18, 32
# WavLM's distances are exact below EXACT and logarithmic up to FARTHEST, on either side.
EXACT, FARTHEST = BUCKETS // 4, 800


def write(form: Form, tensors: Mapping[str, ir.Value], opset: int) -> ir.Model:
    """Samples (batch, 1, n) to every layer's hidden states (batch, frames, width)."""
    ops = Ops()
    samples = variable("samples", FLOAT, ["batch", 1, "samples"])
    batch = ops.Shape(samples, start=0, end=1)
    front, layers = Front(form, tensors, batch), _Layers(form, tensors, batch)
    length = ops.Shape(samples, start=2, end=3)
    frames = ops.Add(ops.Div(ops.Sub(length, [SHORTEST]), [FRAME_SAMPLES]), [1])
    most = ops.Max(ops.Div([SCORES], frames), [LEAST_QUERIES])
    blocks = Blocks.of(ops, frames, most)
    features = front.features(ops, samples, frames)
    hidden = front.embedded(ops, features, blocks)
    bias = layers.relative_bias(ops, blocks) if form.relative else None
    outputs = {}
    for layer in range(form.layers):
        hidden = layers.layer(ops, layer, hidden, blocks, bias)
        found = _whole(ops, hidden, blocks)
        if form.norm_first and layer == form.layers - 1:
            found = layers.norm(ops, found, "encoder.layer_norm")
        found.type, found.shape = ir.TensorType(FLOAT), ir.Shape(["batch", None, form.width])
        outputs[f"layer_{layer + 1}"] = found
    return ops.model([samples], outputs, opset)


def _whole(ops: Ops, blocks: ir.Value, cut: Blocks) -> ir.Value:
    """Blocks (count, batch, size, width) as (batch, frames, width)."""
    joined = ops.Reshape(ops.Transpose(blocks, perm=[1, 0, 2, 3]), _shape(ops, blocks, cut.total))
    return ops.Slice(joined, [0], cut.frames, [1])


def _shape(ops: Ops, blocks: ir.Value, total: ir.Value) -> ir.Value:
    ends = ops.Shape(blocks, start=1, end=2), total, ops.Shape(blocks, start=3, end=4)
    return ops.Concat(*ends, axis=0)


def bucket_of_distance() -> list[int]:
    """The bucket of each distance on one side, up to the first in the last bucket.

    transformers 4.57.6, modeling_wavlm.py, _relative_positions_bucket: distances below EXACT
    have a bucket of their own; further ones share EXACT more, in equal steps of the logarithm up
    to FARTHEST. Computed in float32, as there.
    """
    distances = np.arange(1, FARTHEST, dtype=np.float32)
    steps = np.log(distances / np.float32(EXACT)) / np.float32(math.log(FARTHEST / EXACT))
    far = (EXACT + steps * np.float32(EXACT)).astype(np.int64)
    buckets = np.where(distances < EXACT, distances.astype(np.int64), far)
    buckets = np.concatenate([[0], np.minimum(buckets, BUCKETS // 2 - 1)])
    return [int(bucket) for bucket in buckets[: 1 + int(np.argmax(buckets))]]


class _Layers(Parts):
    """The layers, and WavLM's bias of the scores."""

    def layer(
        self, ops: Ops, number: int, hidden: ir.Value, blocks: Blocks, bias: ir.Value | None
    ) -> ir.Value:
        """One layer, block by block of queries: (count, batch, size, width) to the same shape."""
        name = f"encoder.layers.{number}"
        x = self.norm(ops, hidden, f"{name}.layer_norm") if self.form.norm_first else hidden
        keys, values = self._keys_and_values(ops, x, f"{name}.attention", blocks)
        body = ops.body()
        x = variable(f"block_{number}", FLOAT, ["batch", None, self.form.width])
        start = variable(f"start_{number}", INTEGER, [])
        own = None
        if bias is not None:
            first = body.Sub(body.Sub(blocks.total, blocks.size), body.Reshape(start, [1]))
            own = body.Slice(bias, first, body.Add(first, blocks.frames), [2])
        y = self.norm(body, x, f"{name}.layer_norm") if self.form.norm_first else x
        y = self._attention(body, y, f"{name}.attention", (keys, values), own)
        y = body.Add(x, y)
        if not self.form.norm_first:
            y = self.norm(body, y, f"{name}.layer_norm")
        y = self._mapped(body, y, name)
        graph = body.graph([x, start], [y])
        found: ir.Value = ops.Scan(hidden, blocks.starts(ops), body=graph, num_scan_inputs=2)
        return found

    def _keys_and_values(
        self, ops: Ops, x: ir.Value, name: str, blocks: Blocks
    ) -> tuple[ir.Value, ir.Value]:
        """Keys (batch, heads, 64, frames) and values (batch, heads, frames, 64) of the clip."""
        split = ops.Concat(blocks.count, self.batch, blocks.size, [self.form.heads, HEAD], axis=0)
        found = []
        for which, order, shape, axis in (
            ("k_proj", [1, 3, 4, 0, 2], [0, 0, HEAD, -1], 3),
            ("v_proj", [1, 3, 0, 2, 4], [0, 0, -1, HEAD], 2),
        ):
            y = ops.Reshape(self.linear(ops, x, f"{name}.{which}"), split)
            y = ops.Transpose(y, perm=order)
            shape = ops.Concat(self.batch, [self.form.heads, *shape[2:]], axis=0)
            found.append(ops.Slice(ops.Reshape(y, shape), [0], blocks.frames, [axis]))
        return found[0], found[1]

    def _attention(
        self,
        ops: Ops,
        x: ir.Value,
        name: str,
        memory: tuple[ir.Value, ir.Value],
        bias: ir.Value | None,
    ) -> ir.Value:
        """A block's frames (batch, size, width) attend to all keys and values of the clip."""
        queries = self.shaped(ops, self.linear(ops, x, f"{name}.q_proj"), self.form.heads, HEAD)
        queries = ops.Mul(ops.Transpose(queries, perm=[0, 2, 1, 3]), HEAD**-0.5)
        scores = ops.MatMul(queries, memory[0])
        if bias is not None:
            scores = ops.Add(scores, ops.Mul(bias, self._gate(ops, x, name)))
        y = ops.MatMul(ops.Softmax(scores, axis=-1), memory[1])
        y = self.linear(ops, ops.Transpose(y, perm=[0, 2, 1, 3]), f"{name}.out_proj")
        return self.shaped(ops, y, self.form.width)

    def _mapped(self, ops: Ops, x: ir.Value, name: str) -> ir.Value:
        """The two maps of a layer, with their residual and norm."""
        y = self.norm(ops, x, f"{name}.final_layer_norm") if self.form.norm_first else x
        y = gelu(ops, self.linear(ops, y, f"{name}.feed_forward.intermediate_dense"))
        y = self.linear(ops, y, f"{name}.feed_forward.output_dense")
        y = ops.Add(x, self.shaped(ops, y, self.form.width))
        return y if self.form.norm_first else self.norm(ops, y, f"{name}.final_layer_norm")

    def relative_bias(self, ops: Ops, blocks: Blocks) -> ir.Value:
        """The bias of the last block's queries, continued to the right for those before.

        (heads, size, total - size + frames). A bias depends on key less query alone, so block b
        takes the columns from total - size - b * size on.
        """
        buckets = bucket_of_distance()
        width = ops.Squeeze(ops.Add(ops.Sub(blocks.total, blocks.size), blocks.frames))
        query = ops.Add(
            ops.Range(0, ops.Squeeze(blocks.size), 1), ops.Sub(blocks.total, blocks.size)
        )
        ahead = ops.Sub(ops.Range(0, width, 1), ops.Unsqueeze(query, [1]))
        distance = ops.Min(ops.Abs(ahead), [len(buckets) - 1])
        later = ops.Mul(ops.Cast(ops.Greater(ahead, [0]), to=INTEGER), [BUCKETS // 2])
        bucket = ops.Add(ops.Gather(buckets, distance), later)
        table = ops.Transpose(self.tensors["encoder.layers.0.attention.rel_attn_embed.weight"],
                              perm=[1, 0])  # fmt: skip
        found: ir.Value = ops.Gather(table, bucket, axis=1)
        return found

    def _gate(self, ops: Ops, x: ir.Value, name: str) -> ir.Value:
        """How much of the bias each query takes, (batch, heads, size, 1)."""
        split = ops.Reshape(x, [-1, HEAD])
        gates = self.linear(ops, split, f"{name}.gru_rel_pos_linear")
        gates = self.shaped(ops, gates, self.form.heads, 2, 4)
        gates = ops.Sigmoid(ops.ReduceSum(gates, [4], keepdims=0))
        gates = ops.Transpose(gates, perm=[0, 2, 1, 3])
        reset, update = ops.many("Split", 2, gates, [1, 1], axis=3)
        inner = ops.Sub(ops.Mul(update, self.tensors[f"{name}.gru_rel_pos_const"]), 1.0)
        gate: ir.Value = ops.Add(ops.Mul(reset, inner), 2.0)
        return gate
