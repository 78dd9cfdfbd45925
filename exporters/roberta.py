"""The text tower of LAION's CLAP: RoBERTa-base, its pooler, and the projection to 512 numbers.

Liu et al., RoBERTa, arXiv:1907.11692. Every checkpoint of LAION's CLAP holds one, and all have the
same shapes (laion_clap 1.1.7, clap_module/model.py:505 and 629). The original pads captions to 77
tokens and masks the padding; this graph takes their true length.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from .htsat import JOINT, SHORTEST
from .skeleton import Graph
from .swin import gelu

WORDS, POSITIONS, WIDTH, HEADS, INNER, BLOCKS = 50_265, 514, 768, 12, 3072, 12
PAD = 1  # positions start after this number, too
EPSILON = 1e-5


class Embeddings(nn.Module):
    """Ids (batch, length) to the input of the first block, (batch, length, 768)."""

    def __init__(self) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(WORDS, WIDTH)
        self.position_embeddings = nn.Embedding(POSITIONS, WIDTH)
        self.token_type_embeddings = nn.Embedding(1, WIDTH)
        self.LayerNorm = nn.LayerNorm(WIDTH, EPSILON)

    def forward(self, ids: Tensor) -> Tensor:
        # transformers' create_position_ids_from_input_ids: a caption may spell out <pad>, which
        # takes no place.
        words = (ids != PAD).long()
        places = words.cumsum(1) * words + PAD
        tokens = self.word_embeddings(ids) + self.token_type_embeddings.weight
        return cast(Tensor, self.LayerNorm(tokens + self.position_embeddings(places)))


class SelfAttention(nn.Module):
    """Every token attends to all tokens: (batch, length, 768) to the same shape."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(WIDTH, WIDTH) for _ in range(3))

    def forward(self, tokens: Tensor) -> Tensor:
        batch, length = tokens.shape[:2]
        size = WIDTH // HEADS
        query, key, value = (
            layer(tokens).view(batch, length, HEADS, size).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        weights = (query * size**-0.5 @ key.transpose(-2, -1)).softmax(dim=-1)
        return (weights @ value).transpose(1, 2).reshape(batch, length, WIDTH)


class Output(nn.Module):
    """A layer whose result is added to the input of the block, then normalised."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, WIDTH)
        self.LayerNorm = nn.LayerNorm(WIDTH, EPSILON)

    def forward(self, found: Tensor, tokens: Tensor) -> Tensor:
        return cast(Tensor, self.LayerNorm(self.dense(found) + tokens))


class Attention(nn.Module):
    """Attention with what follows it; the names of its parts are those of the checkpoint."""

    def __init__(self) -> None:
        super().__init__()
        self.self = SelfAttention()
        self.output = Output(WIDTH)

    def forward(self, tokens: Tensor) -> Tensor:
        return cast(Tensor, self.output(self.self(tokens), tokens))


class Dense(nn.Module):
    """One layer, which the checkpoint calls dense."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(WIDTH, width)

    def forward(self, tokens: Tensor) -> Tensor:
        return cast(Tensor, self.dense(tokens))


class Block(nn.Module):
    """A post-norm transformer block."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = Attention()
        self.intermediate = Dense(INNER)
        self.output = Output(INNER)

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = self.attention(tokens)
        return cast(Tensor, self.output(gelu(self.intermediate(tokens)), tokens))


class Encoder(nn.Module):
    """All blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Sequential(*(Block() for _ in range(BLOCKS)))

    def forward(self, tokens: Tensor) -> Tensor:
        return cast(Tensor, self.layer(tokens))


class Roberta(nn.Module):
    """Ids to the pooled first token: (batch, 768)."""

    def __init__(self) -> None:
        super().__init__()
        self.embeddings = Embeddings()
        self.encoder = Encoder()
        self.pooler = Dense(WIDTH)

    def forward(self, ids: Tensor) -> Tensor:
        return torch.tanh(self.pooler(self.encoder(self.embeddings(ids))[:, 0]))


class TextTower(nn.Module):
    """Ids (batch, length) to embeddings (batch, 512) of length one."""

    def __init__(self) -> None:
        super().__init__()
        self.text_branch = Roberta()
        self.text_projection = projection()

    def forward(self, ids: Tensor) -> Tensor:
        found = self.text_projection(self.text_branch(ids))
        length = torch.linalg.vector_norm(found, dim=-1, keepdim=True)
        return cast(Tensor, found / torch.clamp(length, min=SHORTEST))


def projection() -> nn.Sequential:
    """laion_clap's text_projection (clap_module/model.py:510)."""
    return nn.Sequential(nn.Linear(WIDTH, JOINT), nn.ReLU(), nn.Linear(JOINT, JOINT))


def original(tensors: Mapping[str, NDArray[Any]]) -> Callable[[NDArray[np.int64]], NDArray[Any]]:
    """Ids (length,) to an embedding (512,) as laion_clap's encode_text computes it.

    With transformers' RobertaModel, padded to 77 tokens and masked; laion_clap itself cannot be
    built without the network, because it fetches roberta-base before it reads a checkpoint.
    """
    from transformers import RobertaConfig, RobertaModel

    config = RobertaConfig(
        vocab_size=WORDS, hidden_size=WIDTH, num_hidden_layers=BLOCKS, num_attention_heads=HEADS,
        intermediate_size=INNER, max_position_embeddings=POSITIONS, type_vocab_size=1,
        layer_norm_eps=EPSILON,
    )  # fmt: skip
    branch, projected = RobertaModel(config).eval(), projection().eval()
    for module, prefix in ((branch, "text_branch."), (projected, "text_projection.")):
        own = {
            name.removeprefix(prefix): torch.tensor(array)
            for name, array in tensors.items()
            if name.startswith(prefix)
        }
        module.load_state_dict(own)

    def embedding(ids: NDArray[np.int64]) -> NDArray[Any]:
        padded = torch.full((1, 77), PAD)
        padded[0, : len(ids)] = torch.tensor(ids)
        mask = (torch.arange(77) < len(ids)).long()[None]
        with torch.inference_mode():
            pooled = branch(input_ids=padded, attention_mask=mask)["pooler_output"]
            return functional.normalize(projected(pooled), dim=-1)[0].numpy()

    return embedding


GRAPHS = (
    Graph(
        name="clap_text",
        module=TextTower,
        example=lambda: (torch.arange(2, 12).reshape(2, 5),),
        input_names=("ids",),
        output_names=("embedding",),
        dynamic=({0: "batch", 1: torch.export.Dim("length", min=2, max=POSITIONS - 2)},),
    ),
)
TEXTS = {"clap_text": original}
