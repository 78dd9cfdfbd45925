"""PaSST: 768 numbers and 527 logits per window of up to 10, 20 or 30 s.

K. Koutini, J. Schlüter, H. Eghbal-zadeh, G. Widmer, "Efficient Training of Audio Transformers with
Patchout", Interspeech 2022, arXiv:2110.05069. Layers and tensor names are those of hear21passt
0.0.26 (models/passt.py: PaSST 360; models/preprocess.py: AugmentMelSTFT). The three checkpoints
differ in the columns of `time_new_pos_embed`.

The run time passes STFT powers (batch, frames, 513) in float32; mel bands, logarithm and network
are in the graph. Windows shorter than the table of positions use its first columns.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .mocks import stand_ins
from .panns import CLASSES
from .parity import Embed
from .skeleton import Graph
from .sparse import Sparse
from .swin import Mlp
from .vggish import htk_mel

RATE_HZ, BINS, BANDS = 32_000, 513, 128
HIGHEST_HZ = 15_000.0  # Half the rate, less half of fmax_aug_range (preprocess.py:33).
WIDTH, HEADS, DEPTH = 768, 12, 12
PATCH, STRIDE = 16, 10
ROWS = (BANDS - PATCH) // STRIDE + 1
COLUMNS = {"passt_10s": 99, "passt_20s": 200, "passt_30s": 300}
HEADS_AT_ONCE = 3  # whose scores are in memory together: 0.16 GB for a window of 30 s


def mel_matrix() -> NDArray[np.float32]:
    """Kaldi's triangular filters (513 bins, 128 bands); the highest bin has no weight.

    torchaudio 2.11.0, compliance/kaldi.py 436, get_mel_banks, works in float32. So does this,
    except for the logarithm, whose last bit differs between processors.
    """
    bins = htk_mel(np.arange(BINS - 1) * (RATE_HZ / 2 / (BINS - 1))).astype(np.float32)[:, None]
    step = float(htk_mel(HIGHEST_HZ)) / (BANDS + 1)
    band = np.arange(BANDS, dtype=np.float32)
    lower, centre, upper = (np.float32(step) * (band + np.float32(i)) for i in range(3))
    rising, falling = (bins - lower) / (centre - lower), (upper - bins) / (upper - centre)
    weights = np.maximum(np.float32(0), np.minimum(rising, falling))
    return np.concatenate([weights, np.zeros((1, BANDS), np.float32)])


class LogMel(nn.Module):
    """STFT powers (batch, frames, 513) to normalised log mel bands (batch, frames, 128)."""

    def __init__(self) -> None:
        super().__init__()
        self.mel = Sparse(mel_matrix())

    def forward(self, power: Tensor) -> Tensor:
        return (torch.log(power @ self.mel() + 0.00001) + 4.5) / 5.0


class Attention(nn.Module):
    """Attention of all tokens (batch, tokens, 768), or of the first `wanted`, to all tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.proj = nn.Linear(WIDTH, WIDTH)

    def forward(self, tokens: Tensor, wanted: int | None) -> Tensor:
        parts = self.qkv(tokens).unflatten(2, (3, HEADS, WIDTH // HEADS)).permute(2, 0, 3, 1, 4)
        # The original scales the scores; a power of two changes no bit of the product.
        query = _first(parts[0], wanted) * (WIDTH // HEADS) ** -0.5
        heads = (part.split(HEADS_AT_ONCE, dim=1) for part in (query, parts[1], parts[2]))
        mixed = [(q @ k.transpose(2, 3)).softmax(3) @ v for q, k, v in zip(*heads, strict=True)]
        return cast(Tensor, self.proj(torch.cat(mixed, dim=1).transpose(1, 2).flatten(2)))


def _first(tokens: Tensor, wanted: int | None) -> Tensor:
    """All tokens (..., tokens, width), or the first `wanted`."""
    return tokens if wanted is None else tokens[..., :wanted, :]


class Block(nn.Module):
    """Attention, then two layers for every token; the first `wanted` tokens of the result."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = (nn.LayerNorm(WIDTH, eps=1e-6) for _ in range(2))
        self.attn = Attention()
        self.mlp = Mlp(WIDTH)

    def forward(self, tokens: Tensor, wanted: int | None = None) -> Tensor:
        tokens = _first(tokens, wanted) + self.attn(self.norm1(tokens), wanted)
        return tokens + cast(Tensor, self.mlp(self.norm2(tokens)))


class PatchEmbed(nn.Module):
    """Normalised bands (batch, 1, 128, frames) to patches (batch, 768, 12, columns)."""

    def __init__(self) -> None:
        super().__init__()
        self.proj = nn.Conv2d(1, WIDTH, PATCH, STRIDE)

    def forward(self, bands: Tensor) -> Tensor:
        return cast(Tensor, self.proj(bands))


class Passt(nn.Module):
    """STFT powers (batch, frames, 513) to embeddings (batch, 768) and logits (batch, 527)."""

    def __init__(self, columns: int) -> None:
        super().__init__()
        self.log_mel = LogMel()
        self.cls_token, self.dist_token = (nn.Parameter(torch.rand(1, 1, WIDTH)) for _ in range(2))
        self.new_pos_embed = nn.Parameter(torch.rand(1, 2, WIDTH))
        self.freq_new_pos_embed = nn.Parameter(torch.rand(1, WIDTH, ROWS, 1))
        self.time_new_pos_embed = nn.Parameter(torch.rand(1, WIDTH, 1, columns))
        self.patch_embed = PatchEmbed()
        self.blocks = nn.ModuleList(Block() for _ in range(DEPTH))
        self.norm = nn.LayerNorm(WIDTH, eps=1e-6)
        self.head = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, CLASSES))

    def tokens(self, power: Tensor) -> Tensor:
        """The class and the distillation token, then the patches: (batch, 2 + 12 columns, 768)."""
        patches = self.patch_embed(self.log_mel(power).transpose(1, 2).unsqueeze(1))
        columns = torch.arange(patches.shape[3])
        patches = patches + self.time_new_pos_embed.index_select(3, columns)
        # Row by row: for a reshape, torch.export would ask how the columns divide the tokens.
        rows = (patches + self.freq_new_pos_embed).unbind(2)
        first = torch.cat([self.cls_token, self.dist_token], dim=1) + self.new_pos_embed
        return torch.cat(
            [first.expand(patches.shape[0], -1, -1), *(row.transpose(1, 2) for row in rows)], dim=1
        )

    def forward(self, power: Tensor) -> tuple[Tensor, Tensor]:
        tokens = self.tokens(power)
        for block in self.blocks[:-1]:
            tokens = block(tokens)
        # Nothing reads the patches after the last block.
        classes = self.norm(self.blocks[-1](tokens, 2))
        embedding = (classes[:, 0] + classes[:, 1]) / 2
        return embedding, self.head(embedding)


def graph(name: str, columns: int) -> Graph:
    """The graph for a checkpoint whose table of positions has this many columns."""
    longest = PATCH + STRIDE * columns - 1
    return Graph(
        name=name,
        module=partial(Passt, columns),
        example=lambda: (torch.rand(2, 57, BINS),),
        input_names=("power",),
        output_names=("embedding", "logits"),
        # From 16 to 25 frames there is one column, which the export would take for a constant.
        dynamic=({0: "batch", 1: torch.export.Dim("frames", min=26, max=longest)},),
    )


def mel_banks(
    bands: int, transform: int, rate: float, lowest: float, highest: float, *_: float, **__: float
) -> tuple[Tensor, None]:
    """What torchaudio.compliance.kaldi.get_mel_banks gives, without warping: (bands, bins).

    Kaldi, src/feat/mel-computations.cc, MelBanks::MelBanks, in float32. No release of torchaudio
    fits torch 2.13, and this is the only function of it that the original needs.
    """

    def mel(hertz: Tensor) -> Tensor:
        return 1127.0 * (1.0 + hertz / 700.0).log()

    ends = mel(torch.tensor([lowest, highest], dtype=torch.float64))
    width = (ends[1] - ends[0]) / (bands + 1)
    points = mel(rate / transform * torch.arange(transform // 2))
    made = torch.zeros(bands, transform // 2)
    for band in range(bands):
        left, centre, right = (float(ends[0] + (band + i) * width) for i in range(3))
        rising, falling = (points - left) / (centre - left), (right - points) / (right - centre)
        made[band] = torch.minimum(rising, falling).clamp_min(0.0)
    return made, None


def original_model(columns: int, tensors: Mapping[str, NDArray[Any]]) -> Any:
    """The package's own model as its load_model makes it, without the download.

    base.py, base20sec.py and base30sec.py: windows, hops and the arguments of the front end.
    """
    arch, frames, milliseconds, hop = ARCHITECTURES[columns]
    with stand_ins("torchaudio", "timm"), contextlib.redirect_stdout(io.StringIO()):
        from hear21passt.models import passt, preprocess

        preprocess.torchaudio.compliance.kaldi.get_mel_banks = mel_banks
        mel = preprocess.AugmentMelSTFT(
            n_mels=128, sr=32000, win_length=800, hopsize=320, n_fft=1024, freqm=48, timem=192,
            htk=False, fmin=0.0, fmax=None, norm=1, fmin_aug_range=10, fmax_aug_range=2000,
        )  # fmt: skip
        net = passt.get_model(arch=arch, pretrained=False, input_tdim=frames)
        passt.first_RUN = False  # It prints the shapes of its first run.
    given = {name: torch.from_numpy(array) for name, array in tensors.items()}
    # The distillation head, which nothing reads, is missing. The arrays are not copied.
    unexpected = net.load_state_dict(given, strict=False, assign=True).unexpected_keys
    if unexpected:
        raise ValueError(f"{arch} has no tensors named {unexpected}")
    return original_wrapper(mel, net, milliseconds, hop)


def original_wrapper(mel: Any, net: Any, milliseconds: int, hop: int) -> Any:
    """The package's model of a front end and a network: it cuts clips into windows."""
    with stand_ins("torchaudio", "timm"):
        from hear21passt.wrapper import PasstBasicWrapper
    return PasstBasicWrapper(mel, net, max_model_window=milliseconds, scene_hop=hop).eval()


def original(columns: int, tensors: Mapping[str, NDArray[Any]], output: str = "embedding") -> Embed:
    """Samples (1, n) to one embedding (1, 768), logits (1, 527), or logits and embedding (1, 1295),
    as get_scene_embeddings.
    """
    model = original_model(columns, tensors)

    def embed(samples: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            both = model.get_scene_embeddings(torch.from_numpy(samples)).numpy()
        logits, embedding = both[:, :CLASSES], both[:, CLASSES:]
        return np.asarray({"logits": logits, "embedding": embedding, "all": both}[output])

    return embed


def original_features(columns: int, tensors: Mapping[str, NDArray[Any]]) -> Embed:
    """Samples (1, n) to the normalised bands (frames, 128) that the package feeds its network."""
    mel = original_model(columns, tensors).mel

    def bands(samples: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            return np.asarray(mel(torch.from_numpy(samples))[0].T.numpy())

    return bands


# For each table: the architecture, the constructor's number of frames, and window and hop in ms.
ARCHITECTURES = {
    99: ("passt_s_swa_p16_128_ap476", 998, 10_000, 2_500),
    200: ("passt_20sec", 2000, 20_000, 5_000),
    300: ("passt_30sec", 3000, 30_000, 10_000),
}
MODELS = {"passt": 99, "passt-20s": 200, "passt-30s": 300}
ORIGINALS = {model: partial(original, columns) for model, columns in MODELS.items()}
FEATURES = {
    model: ("div", partial(original_features, columns)) for model, columns in MODELS.items()
}
# A second of a clip takes seconds, so clips are short; and lengths on both sides of a column.
CLIP_SAMPLES = dict.fromkeys(MODELS, (4801, 4802, 8000, 8001, 43_853, 92_813))
GRAPHS = tuple(graph(name, columns) for name, columns in COLUMNS.items())
