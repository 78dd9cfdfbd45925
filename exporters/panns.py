"""CNN14: 2048 numbers and 527 logits per clip (PANNs), or 512 numbers as LAION's CLAP encoder.

Q. Kong et al., "PANNs: Large-Scale Pretrained Audio Neural Networks for Audio Pattern
Recognition", IEEE/ACM TASLP 28, 2020, arXiv:1912.10211. Layers and tensor names are those of
frechet_audio_distance 0.3.4 (models/pann.py: Cnn14 142, Cnn14_16k 2530, Cnn14_8k 2627, which
differ in nothing but the spectrogram) and, for CLAP's PANN-14 configuration, of laion_clap
(clap_module/pann_model.py: Cnn14 126; clap_module/model.py: CLAP.audio_projection).

The run time passes STFT powers (batch, frames, bins) in float32. The filterbank is a tensor
of the checkpoint (`logmel_extractor.melW`), so mel bands, logarithm and network are in the
graph. Each of five poolings halves the frames and drops an odd one, so a graph needs 32 frames.

A long clip can be computed in windows, exactly. A step of the last layer covers 32 frames and
depends on 126 more on either side: two convolutions of width 3 at each of the strides 1, 2, 4, 8,
16 and 32 see 2 (1 + 2 + 4 + 8 + 16 + 32) frames. In windows that start at a multiple of 32 frames,
every step except the CONTEXT_STEPS next to a cut is therefore that of the whole clip, even with the
two frames at the cut that the front end completes by reflection. `steps` gives the steps of a
window; those of all windows together go through the head graph, which pools them over time as the
whole graph does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from . import laion
from .mocks import stand_ins
from .parity import Embed
from .skeleton import Graph

BANDS = 64
POWER_FLOOR = 1e-10  # amin of torchlibrosa's LogmelFilterBank: silence is -100 dB.
WIDTHS = (1, 64, 128, 256, 512, 1024, 2048)
EMBEDDING = WIDTHS[-1]
CLASSES = 527  # of AudioSet
# From 32 to 63 frames the last layer has one step. torch.export treats a size of one specially
# because of strides, which ONNX does not have: tests/parity runs the graph at each such length.
TRACED_FRAMES = 64
CONTEXT_STEPS = 4
SHORTEST = 1e-12  # eps of torch.nn.functional.normalize.
JOINT = 512  # The space that CLAP shares between sound and text.


class LogMel(nn.Module):
    """STFT powers (..., bins) to decibels in mel bands (..., 64), with the checkpoint's filters.

    torchlibrosa/stft.py, LogmelFilterBank.power_to_db with ref 1 and no top_db.
    """

    def __init__(self, bins: int) -> None:
        super().__init__()
        self.melW = nn.Parameter(torch.rand(bins, BANDS))

    def forward(self, power: Tensor) -> Tensor:
        return 10.0 * torch.log10(torch.clamp(power @ self.melW, min=POWER_FLOOR))


class ConvBlock(nn.Module):
    """Twice convolution 3 x 3, batch norm and ReLU, then the mean of 2 x 2 unless it is the last.

    Maps (batch, channels, frames, bands) in and out; an odd frame at the end is dropped.
    """

    def __init__(self, inner: int, outer: int, halve: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inner, outer, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(outer, outer, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outer)
        self.bn2 = nn.BatchNorm2d(outer)
        self.halve = halve

    def forward(self, maps: Tensor) -> Tensor:
        maps = torch.relu(self.bn1(self.conv1(maps)))
        maps = torch.relu(self.bn2(self.conv2(maps)))
        return functional.avg_pool2d(maps, 2) if self.halve else maps


class Head(nn.Module):
    """The layers after the last block: from its maps to embeddings (batch, 2048)."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(EMBEDDING, EMBEDDING)

    def pooled(self, maps: Tensor) -> Tensor:
        """Maximum plus mean over time, and what follows: (batch, 2048, steps) to embeddings."""
        # The mean as a pooling, which becomes a single ONNX operator. For a mean, ONNX Runtime may
        # choose the axis and so the order of the additions, and a clip in windows would differ from
        # the whole clip in the last bits.
        mean = torch.onnx.ops.symbolic(
            "GlobalAveragePool", (maps,), dtype=maps.dtype, shape=(*maps.shape[:2], 1)
        )
        return torch.relu(self.fc1(maps.amax(dim=2) + mean.squeeze(2)))


class ClassifyingHead(Head):
    """Steps of the last layer (batch, steps, 2048) to embeddings and logits (batch, 527)."""

    def __init__(self) -> None:
        super().__init__()
        self.fc_audioset = nn.Linear(EMBEDDING, CLASSES)

    def forward(self, steps: Tensor) -> tuple[Tensor, Tensor]:
        embeddings = self.pooled(steps.transpose(1, 2))
        return embeddings, self.fc_audioset(embeddings)


class Cnn14(Head):
    """STFT powers (batch, frames, bins) to embeddings (batch, 2048)."""

    def __init__(self, bins: int) -> None:
        super().__init__()
        self.logmel_extractor = LogMel(bins)
        self.bn0 = nn.BatchNorm2d(BANDS)
        for number, (inner, outer) in enumerate(pairwise(WIDTHS), start=1):
            self.add_module(f"conv_block{number}", ConvBlock(inner, outer, outer < EMBEDDING))

    def maps(self, power: Tensor) -> Tensor:
        """The last layer's maps averaged over mel: (batch, 2048, frames // 32)."""
        maps = self.logmel_extractor(power).unsqueeze(1)
        # bn0 has one scale and shift for each band, so it needs the bands on the channel axis.
        maps = self.bn0(maps.transpose(1, 3)).transpose(1, 3)
        for number in range(1, len(WIDTHS)):
            maps = self.get_submodule(f"conv_block{number}")(maps)
        return maps.mean(dim=3)

    def forward(self, power: Tensor) -> Tensor:
        return self.pooled(self.maps(power))


class ClassifyingCnn14(Cnn14, ClassifyingHead):
    """Embeddings, their logits (batch, 527), and the steps (batch, frames // 32, 2048) from which
    the embeddings are pooled.

    The head's tensors come first, here and in the head graph, which reads the same weights.
    """

    def forward(self, power: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # type: ignore[override]
        maps = self.maps(power)
        embeddings = self.pooled(maps)
        return embeddings, self.fc_audioset(embeddings), maps.transpose(1, 2)


class ClapCnn14(nn.Module):
    """STFT powers (batch, frames, 513) to embeddings (batch, 512) of length one."""

    def __init__(self) -> None:
        super().__init__()
        self.audio_branch = Cnn14(bins=513)
        self.audio_projection = nn.Sequential(
            nn.Linear(EMBEDDING, JOINT), nn.ReLU(), nn.Linear(JOINT, JOINT)
        )

    def forward(self, power: Tensor) -> Tensor:
        embeddings = self.audio_projection(self.audio_branch(power))
        length = torch.linalg.vector_norm(embeddings, dim=-1, keepdim=True)
        return embeddings / torch.clamp(length, min=SHORTEST)


def _graph(
    name: str, bins: int, module: Callable[[], nn.Module], outputs: tuple[str, ...]
) -> Graph:
    return Graph(
        name=name,
        module=module,
        example=lambda: (torch.rand(3, 101, bins),),
        input_names=("power",),
        output_names=outputs,
        dynamic=({0: "batch", 1: torch.export.Dim("frames", min=TRACED_FRAMES)},),
    )


HEAD = Graph(
    name="cnn14_head",
    module=ClassifyingHead,
    example=lambda: (torch.rand(3, 7, EMBEDDING),),
    input_names=("steps",),
    output_names=("embedding", "logits"),
    dynamic=({0: "batch", 1: "steps"},),
)


def original_network(
    name: str, settings: tuple[int, ...], tensors: Mapping[str, NDArray[Any]]
) -> Any:
    """A network of frechet_audio_distance/models/pann.py with these tensors, ready to run.

    `settings`: rate, window, hop, bands, lowest and highest Hz, classes; as in fad.py 116 to 146.
    """
    with stand_ins():
        from frechet_audio_distance.models import pann
    network = getattr(pann, name)(*settings).eval()
    given = {name: torch.tensor(array) for name, array in tensors.items()}
    # The Fourier kernels, which the constructor computes, are missing.
    unexpected = network.load_state_dict(given, strict=False).unexpected_keys
    if unexpected:
        raise ValueError(f"{name} has no tensors named {unexpected}")
    return network


def original(
    name: str,
    settings: tuple[int, ...],
    tensors: Mapping[str, NDArray[Any]],
    output: str = "embedding",
) -> Embed:
    """The original's network on these tensors, from samples to embeddings or logits."""
    network = original_network(name, settings, tensors)
    return embed(network) if output == "embedding" else logits(network)


def embed(network: Any) -> Embed:
    """Samples (1, n) to one embedding (1, 2048), as in frechet_audio_distance/fad.py:235."""

    def embed(samples: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            return np.asarray(network(torch.from_numpy(samples), None)["embedding"].numpy())

    return embed


def logits(network: Any) -> Embed:
    """Samples (1, n) to logits (1, 527): the output of fc_audioset before the sigmoid."""

    def embed(samples: NDArray[np.float32]) -> NDArray[np.float32]:
        found = []
        hook = network.fc_audioset.register_forward_hook(lambda *made: found.append(made[2]))
        with torch.inference_mode():
            network(torch.from_numpy(samples), None)
        hook.remove()
        return np.asarray(found[0].numpy())

    return embed


def original_features(
    name: str, settings: tuple[int, ...], tensors: Mapping[str, NDArray[Any]]
) -> Embed:
    """Samples (1, n) to the log-mel bands (frames, 64) of the original, in bel as the graph's."""
    network = original_network(name, settings, tensors)

    def bands(samples: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            power = network.spectrogram_extractor(torch.from_numpy(samples))
            return np.asarray(network.logmel_extractor(power)[0, 0].numpy()) / 10

    return bands


def original_clap(tensors: Mapping[str, NDArray[Any]], **_: str) -> Embed:
    """LAION's CLAP in its PANN-14 configuration."""
    return laion.embed(laion.module("PANN-14", tensors))


def original_clap_features(tensors: Mapping[str, NDArray[Any]]) -> Embed:
    """The log-mel bands (1001, 64) of the same, in bel as the graph's."""
    bands = laion.log_mel(laion.module("PANN-14", tensors))
    return lambda samples: bands(samples) / 10


OUTPUTS = ("embedding", "logits", "steps")
GRAPHS = (
    *(
        _graph(f"cnn14_{rate}", bins, partial(ClassifyingCnn14, bins), OUTPUTS)
        for rate, bins in (("8k", 129), ("16k", 257), ("32k", 513))
    ),
    _graph("clap_cnn14", 513, ClapCnn14, ("embedding",)),
    HEAD,
)
# frechet_audio_distance's own arguments. 16000 Hz does not fit the checkpoint's filterbank, which
# replaces the one that is made from the arguments.
SETTINGS = {
    "pann-8k": ("Cnn14_8k", (8000, 256, 80, BANDS, 50, 4000, 527)),
    "pann-16k": ("Cnn14_16k", (16000, 512, 160, BANDS, 50, 8000, 527)),
    "pann-32k": ("Cnn14", (32000, 1024, 320, BANDS, 50, 16000, 527)),
}
ORIGINALS = {
    **{model: partial(original, *settings) for model, settings in SETTINGS.items()},
    "clap-cnn14": original_clap,
}
FEATURES = {
    **{
        model: ("log10", partial(original_features, *settings))
        for model, settings in SETTINGS.items()
    },
    "clap-cnn14": ("log10", original_clap_features),
}
