"""Shifted-window attention on a square picture of tokens, as HTS-AT uses it.

Z. Liu et al., "Swin Transformer", ICCV 2021, arXiv:2103.14030. Tensor names are those of
laion_clap 1.1.7 (clap_module/htsat.py: WindowAttention 279, SwinTransformerBlock 364,
PatchMerging 488), including the masks and position indices, which are in the checkpoint.

The original keeps tokens in the order of the picture, and cuts, rolls and rejoins windows for each
attention. Everything else works on single tokens, so here they stay in the order of the windows,
and one gather takes them from each window order to the next.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

WINDOW = 8  # Tokens on a window's side.
TOKENS = WINDOW**2


def window_order(side: int, shift: int = 0) -> np.ndarray:
    """The places of a picture of side x side tokens, window by window: int64 (side ** 2,).

    With a shift, windows start there and wrap around (htsat.py:454).
    """
    places = np.roll(np.arange(side**2).reshape(side, side), (-shift, -shift), axis=(0, 1))
    windows = places.reshape(side // WINDOW, WINDOW, side // WINDOW, WINDOW)
    return windows.transpose(0, 2, 1, 3).reshape(-1)


def merged_order(side: int) -> np.ndarray:
    """The places of side x side tokens, four at a time, for the next stage's window order.

    Four neighbours become one token; the upper left comes first, then the one below it, the one
    to its right, the one across (htsat.py:515).
    """
    quads = np.arange(side**2).reshape(side // 2, 2, side // 2, 2).transpose(0, 2, 3, 1)
    return quads.reshape(-1, 4)[window_order(side // 2)].reshape(-1)


def reordered(tokens: Tensor, order: np.ndarray, wanted: np.ndarray) -> Tensor:
    """Tokens in one order of the places, moved to another."""
    moves = np.argsort(order)[wanted]
    if (moves == np.arange(len(moves))).all():
        return tokens
    return tokens.index_select(1, torch.from_numpy(moves))


class Attention(nn.Module):
    """Attention among the 64 tokens of each window: (batch, tokens, width) in and out."""

    relative_position_index: Tensor

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        table = torch.rand((2 * WINDOW - 1) ** 2, heads)
        self.relative_position_bias_table = nn.Parameter(table)
        index = torch.zeros(TOKENS, TOKENS, dtype=torch.int64)
        self.register_buffer("relative_position_index", index)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def bias(self, mask: Tensor | None) -> Tensor:
        """What is added to the scores: (1 or windows of a picture, heads, 64, 64).

        It depends only on the checkpoint, so ONNX Runtime computes it once.
        """
        index = self.relative_position_index.flatten()
        bias = self.relative_position_bias_table.index_select(0, index)
        bias = bias.reshape(1, TOKENS, TOKENS, self.heads).permute(0, 3, 1, 2)
        return bias if mask is None else bias + mask[:, None]

    def forward(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        # Views with an open first axis: reshape would spell out the batch in the graph.
        count, width = tokens.shape[1:]
        query, key, value = (
            functional.linear(tokens, weight, bias)
            .view(-1, TOKENS, self.heads, width // self.heads)
            .transpose(1, 2)
            for weight, bias in zip(self.qkv.weight.chunk(3), self.qkv.bias.chunk(3), strict=True)
        )
        scores = (query * (width // self.heads) ** -0.5) @ key.transpose(-2, -1)
        bias = self.bias(mask)
        scores = scores.view(-1, bias.shape[0], self.heads, TOKENS, TOKENS) + bias
        weights = scores.view(-1, self.heads, TOKENS, TOKENS).softmax(dim=-1)
        mixed = (weights @ value).transpose(1, 2).contiguous().view(-1, count, width)
        return cast(Tensor, self.proj(mixed))


def gelu(x: Tensor) -> Tensor:
    """The exact GELU, in the order of operations that ONNX Runtime fuses into one (GeluFusion)."""
    return x * (1.0 + torch.erf(x / math.sqrt(2.0))) * 0.5


class Mlp(nn.Module):
    """Two layers with the exact GELU between them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        return cast(Tensor, self.fc2(gelu(self.fc1(tokens))))


class Block(nn.Module):
    """Attention within windows, then the same two layers for every token.

    Tokens (batch, side ** 2, width) in and out, in the window order of this block.
    """

    attn_mask: Tensor

    def __init__(self, width: int, heads: int, side: int, shifted: bool) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = Attention(width, heads)
        self.mlp = Mlp(width)
        self.shift = WINDOW // 2 if shifted else 0
        self.register_buffer("attn_mask", None)
        if shifted:
            self.attn_mask = torch.zeros((side // WINDOW) ** 2, TOKENS, TOKENS)

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + cast(Tensor, self.attn(self.norm1(tokens), self.attn_mask))
        return tokens + cast(Tensor, self.mlp(self.norm2(tokens)))


class Merge(nn.Module):
    """Every four tokens to one of twice the width: (batch, n, width) to (batch, n / 4, 2 width)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * width)
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        count, width = tokens.shape[1:]
        return cast(Tensor, self.reduction(self.norm(tokens.reshape(-1, count // 4, 4 * width))))


class Stage(nn.Module):
    """Blocks at one width, every other one with shifted windows, then a merge unless it is last.

    Tokens in the plain window order of this stage in, of the next one out.
    """

    def __init__(self, width: int, heads: int, side: int, depth: int, last: bool) -> None:
        super().__init__()
        self.side = side
        # A picture of one window has nothing to shift (htsat.py:393).
        shifts = [side > WINDOW and number % 2 == 1 for number in range(depth)]
        self.blocks = nn.ModuleList(Block(width, heads, side, shift) for shift in shifts)
        self.downsample = None if last else Merge(width)

    def forward(self, tokens: Tensor) -> Tensor:
        order = window_order(self.side)
        for block in self.blocks:
            wanted = window_order(self.side, cast(int, block.shift))
            tokens, order = block(reordered(tokens, order, wanted)), wanted
        if self.downsample is None:
            return tokens
        return cast(Tensor, self.downsample(reordered(tokens, order, merged_order(self.side))))


def stages(width: int, depths: Sequence[int], side: int) -> nn.Sequential:
    """Stages with these depths: each doubles width and heads, and halves the picture's side."""
    last = len(depths) - 1
    return nn.Sequential(
        *(
            Stage(width << i, 4 << i, side >> i, depth, last=i == last)
            for i, depth in enumerate(depths)
        )
    )
