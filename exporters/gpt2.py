"""The text tower of Microsoft's CLAP of 2023: GPT-2, and the projection to 1024 numbers.

Radford et al., "Language Models are Unsupervised Multitask Learners", 2019. Layers and tensor names
are those of msclap 1.3.4 (models/clap.py: TextEncoder 41) and of transformers' GPT2Model, whose
weights are (in, out). The original pads captions to 77 tokens. Every token attends only to those
before it, so this graph can take captions at their true length.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .msclap import JOINT, Projection, package
from .skeleton import Graph

WORDS, POSITIONS, WIDTH, HEADS, BLOCKS = 50_257, 1024, 768, 12, 12
PADDED = 77
PAD = 0  # "!", which captions may hold too
EPSILON = 1e-5
HIDDEN = float(torch.finfo(torch.float32).min)


class Dense(nn.Module):
    """transformers' Conv1D: a linear layer whose weight is (in, out)."""

    def __init__(self, inner: int, outer: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(inner, outer) * 0.02)
        self.bias = nn.Parameter(torch.zeros(outer))

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens @ self.weight + self.bias


class Attention(nn.Module):
    """Every token attends to itself and those before it: (batch, length, 768) to the same shape."""

    def __init__(self) -> None:
        super().__init__()
        self.c_attn = Dense(WIDTH, 3 * WIDTH)
        self.c_proj = Dense(WIDTH, WIDTH)

    def forward(self, tokens: Tensor) -> Tensor:
        batch, length = tokens.shape[:2]
        query, key, value = (
            part.view(batch, length, HEADS, WIDTH // HEADS).transpose(1, 2)
            for part in self.c_attn(tokens).split(WIDTH, dim=2)
        )
        weights = query @ key.transpose(-2, -1) / math.sqrt(WIDTH // HEADS)
        place = torch.arange(length)
        weights = weights.masked_fill(place > place[:, None], HIDDEN).softmax(dim=-1)
        found = (weights @ value).transpose(1, 2).reshape(batch, length, WIDTH)
        return cast(Tensor, self.c_proj(found))


class Mlp(nn.Module):
    """Two layers, with GPT-2's GELU (a formula with tanh) between them."""

    def __init__(self) -> None:
        super().__init__()
        self.c_fc = Dense(WIDTH, 4 * WIDTH)
        self.c_proj = Dense(4 * WIDTH, WIDTH)

    def forward(self, tokens: Tensor) -> Tensor:
        inner = self.c_fc(tokens)
        # transformers' NewGELUActivation.
        bent = torch.tanh(math.sqrt(2 / math.pi) * (inner + 0.044715 * inner * inner * inner))
        return cast(Tensor, self.c_proj(0.5 * inner * (1.0 + bent)))


class Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(WIDTH, EPSILON)
        self.attn = Attention()
        self.ln_2 = nn.LayerNorm(WIDTH, EPSILON)
        self.mlp = Mlp()

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.attn(self.ln_1(tokens))
        return cast(Tensor, tokens + self.mlp(self.ln_2(tokens)))


class Gpt2(nn.Module):
    """Ids (batch, length) to states (batch, length, 768)."""

    def __init__(self) -> None:
        super().__init__()
        self.wte = nn.Embedding(WORDS, WIDTH)
        self.wpe = nn.Embedding(POSITIONS, WIDTH)
        self.h = nn.Sequential(*(Block() for _ in range(BLOCKS)))
        self.ln_f = nn.LayerNorm(WIDTH, EPSILON)

    def forward(self, ids: Tensor) -> Tensor:
        places = self.wpe.weight[: ids.shape[1]]
        return cast(Tensor, self.ln_f(self.h(self.wte(ids) + places)))


class CaptionEncoder(nn.Module):
    """Ids (batch, length) to embeddings (batch, 1024)."""

    def __init__(self) -> None:
        super().__init__()
        self.base = Gpt2()
        self.projection = Projection(WIDTH, JOINT)

    def forward(self, ids: Tensor) -> Tensor:
        # Not the last one where a caption holds the padding itself (clap.py:68).
        last = (ids != PAD).sum(1) - 1
        states = self.base(ids)
        chosen = states.gather(1, last[:, None, None].expand(-1, 1, WIDTH)).squeeze(1)
        return cast(Tensor, self.projection(chosen))


class TextTower(nn.Module):
    """The text side, with the names of the checkpoint."""

    def __init__(self) -> None:
        super().__init__()
        self.caption_encoder = CaptionEncoder()

    def forward(self, ids: Tensor) -> Tensor:
        return cast(Tensor, self.caption_encoder(ids))


def original(tensors: Mapping[str, NDArray[Any]]) -> Callable[[NDArray[np.int64]], NDArray[Any]]:
    """Ids (length,) to an embedding (1024,), by msclap's TextEncoder on transformers' GPT2Model."""
    package()
    from msclap.models import clap
    from transformers import GPT2Config, GPT2Model

    clap.AutoModel.from_pretrained = lambda name: GPT2Model(GPT2Config())
    encoder = clap.TextEncoder(JOINT, "gpt2", WIDTH).eval()
    encoder.load_state_dict(
        {name.removeprefix("caption_encoder."): torch.tensor(a) for name, a in tensors.items()}
    )

    def embedding(ids: NDArray[np.int64]) -> NDArray[Any]:
        padded = torch.full((1, max(PADDED, len(ids))), PAD)
        padded[0, : len(ids)] = torch.tensor(ids)
        mask = (torch.arange(padded.shape[1]) < len(ids)).long()[None]
        with torch.inference_mode():
            return np.asarray(encoder({"input_ids": padded, "attention_mask": mask})[0].numpy())

    return embedding


GRAPHS = (
    Graph(
        name="msclap_text",
        module=TextTower,
        example=lambda: (torch.arange(2, 12).reshape(2, 5),),
        input_names=("ids",),
        output_names=("embedding",),
        dynamic=({0: "batch", 1: torch.export.Dim("length", min=2, max=POSITIONS)},),
    ),
)
TEXTS = {"msclap_text": original}
