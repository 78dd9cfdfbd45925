"""Whisper: the encoder's states of a clip of up to 30 s, and two vectors of the decoder.

A. Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision", ICML 2023,
arXiv:2212.04356. Layers, tensor names and constants are those of transformers 4.57.6
(models/whisper/modeling_whisper.py: WhisperEncoder, WhisperDecoder, without the prefix "model." of
the published files; feature_extraction_whisper.py).

The run time passes STFT powers (batch, 3001, 201) in float32 of exactly 30 s. fadtk 1.1.0 and kadtk
1.1.0 use the decoder's output for two start tokens (model_loader.py, WhisperModel). One graph gives
the encoder's states and this output.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from .parity import Embed
from .skeleton import Graph

RATE_HZ, SAMPLES, HOP = 16_000, 480_000, 160
FRAMES, BINS, BANDS = SAMPLES // HOP, 201, 80
STATES = FRAMES // 2
SAMPLES_PER_STATE = SAMPLES // STATES
POWER_FLOOR, DYNAMIC_RANGE = 1e-10, 8.0  # The floor, as a power and in decades below the loudest.
VOCABULARY, POSITIONS = 51_865, 448
START_TOKEN, TOKENS = 50_258, 2  # decoder_start_token_id of every multilingual size


@dataclass(frozen=True)
class Size:
    """The width of a state, and how many layers and heads the encoder and the decoder have."""

    width: int
    layers: int
    heads: int


SIZES = {
    "tiny": Size(384, 4, 6),
    "base": Size(512, 6, 8),
    "small": Size(768, 12, 12),
    "medium": Size(1024, 24, 16),
    "large": Size(1280, 32, 20),
}


def filterbank() -> NDArray[np.float32]:
    """Slaney's mel filters with equal areas, 0 to 8000 Hz, (201, 80).

    audio_utils.py, mel_filter_bank with norm and mel_scale "slaney": in float64, then cast.
    """
    # 15 mel to 1000 Hz, and from there a factor of 6.4 in 27 mel (Slaney, Auditory Toolbox, 1998).
    top = 15 + 27 * np.log(8000 / 1000) / np.log(6.4)
    mel = np.linspace(0, top, BANDS + 2)
    hertz = np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((mel - 15) * np.log(6.4) / 27))
    bins = np.linspace(0, RATE_HZ // 2, BINS)[:, None]
    rising = (bins - hertz[:-2]) / np.diff(hertz)[:-1]
    falling = (hertz[2:] - bins) / np.diff(hertz)[1:]
    triangles = np.maximum(0, np.minimum(rising, falling))
    return (triangles * 2 / (hertz[2:] - hertz[:-2])).astype(np.float32)


class Attention(nn.Module):
    """Heads of 64 numbers; keys have no bias (WhisperAttention)."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.heads, self.scale = size.heads, (size.width // size.heads) ** -0.5
        self.k_proj = nn.Linear(size.width, size.width, bias=False)
        self.v_proj = nn.Linear(size.width, size.width)
        self.q_proj = nn.Linear(size.width, size.width)
        self.out_proj = nn.Linear(size.width, size.width)

    def forward(self, states: Tensor, others: Tensor, mask: Tensor | None = None) -> Tensor:
        """Each of `states` attends to `others`; both are (batch, n, width)."""
        queries = self._split(self.q_proj(states) * self.scale)
        scores = queries @ self._split(self.k_proj(others)).transpose(2, 3)
        if mask is not None:
            scores = scores + mask
        mixed = torch.softmax(scores, dim=-1) @ self._split(self.v_proj(others))
        return self.out_proj(mixed.transpose(1, 2).flatten(2))

    def _split(self, states: Tensor) -> Tensor:
        return states.unflatten(2, (self.heads, -1)).transpose(1, 2)


class Layer(nn.Module):
    """What layers of the encoder and of the decoder share: a norm before each part."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.self_attn = Attention(size)
        self.self_attn_layer_norm = nn.LayerNorm(size.width)
        self.fc1 = nn.Linear(size.width, 4 * size.width)
        self.fc2 = nn.Linear(4 * size.width, size.width)
        self.final_layer_norm = nn.LayerNorm(size.width)

    def attended(self, states: Tensor, mask: Tensor | None = None) -> Tensor:
        normed = self.self_attn_layer_norm(states)
        return states + self.self_attn(normed, normed, mask)

    def fed_forward(self, states: Tensor) -> Tensor:
        inner = functional.gelu(self.fc1(self.final_layer_norm(states)))
        return states + self.fc2(inner)

    def forward(self, states: Tensor) -> Tensor:
        return self.fed_forward(self.attended(states))


class DecoderLayer(Layer):
    """A layer that also attends to the encoder's states."""

    def __init__(self, size: Size) -> None:
        super().__init__(size)
        self.encoder_attn = Attention(size)
        self.encoder_attn_layer_norm = nn.LayerNorm(size.width)

    def forward(self, states: Tensor, encoded: Tensor, mask: Tensor) -> Tensor:  # type: ignore[override]
        states = self.attended(states, mask)
        states = states + self.encoder_attn(self.encoder_attn_layer_norm(states), encoded)
        return self.fed_forward(states)


class Encoder(nn.Module):
    """Log-mel bands (batch, 80, 3000) to states (batch, 1500, width)."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(BANDS, size.width, 3, padding=1)
        self.conv2 = nn.Conv1d(size.width, size.width, 3, stride=2, padding=1)
        self.embed_positions = nn.Embedding(STATES, size.width)
        self.layers = nn.ModuleList(Layer(size) for _ in range(size.layers))
        self.layer_norm = nn.LayerNorm(size.width)

    def forward(self, bands: Tensor) -> Tensor:
        states = functional.gelu(self.conv2(functional.gelu(self.conv1(bands))))
        states = states.transpose(1, 2) + self.embed_positions.weight
        for layer in self.layers:
            states = layer(states)
        return self.layer_norm(states)


class Decoder(nn.Module):
    """The encoder's states to the decoder's output for two start tokens, (batch, 2, width)."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(VOCABULARY, size.width)
        self.embed_positions = nn.Embedding(POSITIONS, size.width)
        self.layers = nn.ModuleList(DecoderLayer(size) for _ in range(size.layers))
        self.layer_norm = nn.LayerNorm(size.width)

    def forward(self, encoded: Tensor) -> Tensor:
        # The first token does not see the second.
        mask = torch.full((TOKENS, TOKENS), -torch.inf).triu(1)
        tokens = torch.tensor([[START_TOKEN] * TOKENS])
        states = self.embed_tokens(tokens) + self.embed_positions.weight[:TOKENS]
        for layer in self.layers:
            states = layer(states, encoded, mask)
        return self.layer_norm(states)


class Whisper(nn.Module):
    """STFT powers (batch, 3001, 201) to states of the encoder and vectors of the decoder."""

    mel: Tensor

    def __init__(self, size: Size) -> None:
        super().__init__()
        # Tensors without values: the large size would take 6 GB, and an export needs none.
        with torch.device("meta"):
            self.encoder, self.decoder = Encoder(size), Decoder(size)
        self.to_empty(device="cpu")
        self.register_buffer("mel", torch.from_numpy(filterbank()), persistent=False)

    def forward(self, power: Tensor) -> tuple[Tensor, Tensor]:
        """feature_extraction_whisper.py, _torch_extract_fbank_features, without the last frame."""
        levels = torch.log10(torch.clamp(power[:, :FRAMES] @ self.mel, min=POWER_FLOOR))
        loudest = levels.amax(dim=(1, 2), keepdim=True)
        bands = (torch.maximum(levels, loudest - DYNAMIC_RANGE) + 4) / 4
        encoded = self.encoder(bands.transpose(1, 2))
        return encoded, self.decoder(encoded)


def original_network(size: Size, tensors: Mapping[str, NDArray[Any]]) -> Any:
    """transformers' WhisperModel with these tensors, ready to run."""
    from transformers import WhisperConfig, WhisperModel

    counts = {
        f"{part}_{what}": number
        for part in ("encoder", "decoder")
        for what, number in (
            ("layers", size.layers),
            ("attention_heads", size.heads),
            ("ffn_dim", 4 * size.width),
        )
    }
    config = WhisperConfig(
        d_model=size.width, vocab_size=VOCABULARY, decoder_start_token_id=START_TOKEN, **counts
    )
    config._attn_implementation = "eager"
    with torch.device("meta"):
        network = WhisperModel(config)
    given = {name: torch.from_numpy(np.asarray(array)) for name, array in tensors.items()}
    network.load_state_dict(given, strict=True, assign=True)
    return network.eval()


def original_features(tensors: Mapping[str, NDArray[Any]] | None = None) -> Embed:
    """Samples (1, n) to the log-mel bands (3000, 80) of transformers' WhisperFeatureExtractor."""
    from transformers import WhisperFeatureExtractor

    extract = WhisperFeatureExtractor()

    def bands(samples: NDArray[np.float32]) -> NDArray[np.float32]:
        made = extract(samples[0], sampling_rate=RATE_HZ, return_tensors="np").input_features
        return np.asarray(made[0].T)

    return bands


def original(
    size: Size, tensors: Mapping[str, NDArray[Any]], output: str = "encoder", **_: str
) -> Embed:
    """Samples (1, n) to the states that the clip fills, or to two vectors as in fadtk."""
    network, features = original_network(size, tensors), original_features()

    def embed(samples: NDArray[np.float32]) -> NDArray[np.float32]:
        bands = torch.from_numpy(np.ascontiguousarray(features(samples).T[None]))
        with torch.inference_mode():
            if output == "decoder":
                start = torch.tensor([[1, 1]]) * network.config.decoder_start_token_id
                return np.asarray(network(bands, decoder_input_ids=start)[0][0].numpy())
            states = network.encoder(bands)[0][0].numpy()
        return np.asarray(states[: -(-samples.shape[1] // SAMPLES_PER_STATE)])

    return embed


GRAPHS = tuple(
    Graph(
        name=f"whisper_{name}",
        module=partial(Whisper, size),
        example=lambda: (torch.rand(2, FRAMES + 1, BINS),),
        input_names=("power",),
        output_names=("encoder", "decoder"),
        dynamic=({0: "batch"},),
    )
    for name, size in SIZES.items()
)
ORIGINALS = {f"whisper-{name}": partial(original, size) for name, size in SIZES.items()}
FEATURES = dict.fromkeys(ORIGINALS, ("div", original_features))
CLIP_SAMPLES = dict.fromkeys(ORIGINALS, (1, 320, 321, 5_000, 480_000, 500_003))
# A window of these sizes takes up to a minute; tests/parity_transformers has the other lengths.
CLIP_SAMPLES |= {"whisper-medium": (1, 321, 5_000), "whisper-large": (5_000,)}
PACKAGES = dict.fromkeys(ORIGINALS, "transformers")
