"""VGGish: 128 numbers per patch of 0.96 s, as torchvggish computes them.

S. Hershey et al., "CNN Architectures for Large-Scale Audio Classification", ICASSP 2017. The
network, its tensor names and its constants are those of torchvggish 0.2 (torchvggish.py,
mel_features.py, vggish_params.py), which ported tensorflow/models research/audioset/vggish.

The run time cuts patches of 15600 samples at 16 kHz and passes STFT magnitudes (batch, 96 frames,
257 bins) in float32; mel bands, logarithm and network are in the graph.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .parity import Embed
from .skeleton import Graph

SAMPLE_RATE_HZ = 16_000
FRAMES, BINS, BANDS = 96, 257, 64
LOWEST_HZ, HIGHEST_HZ = 125.0, 7500.0
LOG_OFFSET = 0.01  # Keeps silence finite.
PCA_LIMIT = 2.0  # PCA coefficients are clipped to +-PCA_LIMIT, then spread over 0..255.


def htk_mel(hertz: NDArray[Any] | float) -> NDArray[Any]:
    """Hertz to mel by HTK's formula (mel_features.py:114)."""
    return np.asarray(1127.0 * np.log(1.0 + np.asarray(hertz) / 700.0))


def mel_matrix() -> NDArray[Any]:
    """Triangular filters (257 bins, 64 bands), float64, linear in mel (mel_features.py:128).

    The bin of 0 Hz has no weight in any band, as in HTK.
    """
    bins = htk_mel(np.linspace(0.0, SAMPLE_RATE_HZ / 2, BINS))[:, None]
    edges = np.linspace(htk_mel(LOWEST_HZ), htk_mel(HIGHEST_HZ), BANDS + 2)
    lower, centre, upper = edges[:-2], edges[1:-1], edges[2:]
    rising, falling = (bins - lower) / (centre - lower), (upper - bins) / (upper - centre)
    weights = np.maximum(0.0, np.minimum(rising, falling))
    weights[0] = 0.0
    return np.asarray(weights)


class LogMel(nn.Module):
    """STFT magnitudes (batch, frames, 257) to log mel bands (batch, frames, 64)."""

    mel: Tensor

    def __init__(self) -> None:
        super().__init__()
        mel = torch.from_numpy(mel_matrix()).float()
        self.register_buffer("mel", mel, persistent=False)

    def forward(self, magnitude: Tensor) -> Tensor:
        return torch.log(magnitude @ self.mel + LOG_OFFSET)


def convolutions() -> nn.Sequential:
    """The convolutional part: one 3 x 3 convolution and ReLU per width, "M" halves both axes."""
    layers: list[nn.Module] = []
    channels = 1
    for width in (64, "M", 128, "M", 256, 256, "M", 512, 512, "M"):
        if isinstance(width, str):
            layers.append(nn.MaxPool2d(2))
        else:
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
    return nn.Sequential(*layers)


class Vggish(nn.Module):
    """STFT magnitudes (batch, 96, 257) to embeddings (batch, 128), with and without a last ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.log_mel = LogMel()
        self.features = convolutions()
        self.embeddings = nn.Sequential(
            nn.Linear(512 * 4 * 6, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU(),
            nn.Linear(4096, 128),
        )  # fmt: skip

    def forward(self, magnitude: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.features(self.log_mel(magnitude).unsqueeze(1))
        # TensorFlow's layout: channels last, so that they vary fastest in the flattened vector.
        embedding = self.embeddings(maps.permute(0, 2, 3, 1).flatten(1))
        return embedding, torch.relu(embedding)


class VggishPca(Vggish):
    """VGGish with each output projected, clipped and quantised to 0..255 (torchvggish.py:66).

    The bytes are float32 numbers; ties round to even, as in torch and ONNX.
    """

    pca_eigen_vectors: Tensor
    pca_means: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("pca_eigen_vectors", torch.randn(128, 128))
        self.register_buffer("pca_means", torch.randn(128))

    def quantise(self, embeddings: Tensor) -> Tensor:
        projected = (embeddings - self.pca_means) @ self.pca_eigen_vectors.T
        clipped = torch.clamp(projected, -PCA_LIMIT, PCA_LIMIT)
        return torch.round((clipped + PCA_LIMIT) * (255.0 / (2 * PCA_LIMIT)))

    def forward(self, magnitude: Tensor) -> tuple[Tensor, Tensor]:
        embedding, activation = super().forward(magnitude)
        return self.quantise(embedding), self.quantise(activation)


def _graph(name: str, module: type[Vggish]) -> Graph:
    return Graph(
        name=name,
        module=module,
        example=lambda: (torch.rand(3, FRAMES, BINS),),
        input_names=("magnitude",),
        output_names=("embedding", "activation"),
        dynamic=({0: "batch"},),
    )


def original_examples(samples: NDArray[np.float32]) -> NDArray[np.float64]:
    """Log mel patches (n, 1, 96, 64) of samples (1, n) by torchvggish's own front end."""
    from torchvggish import vggish_input

    examples = vggish_input.waveform_to_examples(samples[0], SAMPLE_RATE_HZ, return_tensor=False)
    return np.asarray(examples)[:, None]


def original(
    tensors: Mapping[str, NDArray[Any]], use_pca: str = "false", use_activation: str = "false"
) -> Embed:
    """torchvggish's network, assembled as in frechet_audio_distance/fad.py:103."""
    from torchvggish import torchvggish

    network = torchvggish.VGG(torchvggish.make_layers(), postprocess=False)
    pca = {name: torch.tensor(array) for name, array in tensors.items() if name.startswith("pca_")}
    network.load_state_dict(
        {name: torch.tensor(array) for name, array in tensors.items() if name not in pca}
    )
    if use_activation == "false":
        network.embeddings = network.embeddings[:-1]
    if use_pca == "true":
        network.postprocess, network.pproc = True, _postprocessor(torchvggish, pca)

    def embed(samples: NDArray[np.float32]) -> NDArray[np.float32]:
        examples = torch.tensor(original_examples(samples)).float()
        with torch.inference_mode():
            # The original squeezes the embeddings of a single patch to one dimension.
            return np.asarray(network(examples).reshape(-1, 128).numpy())

    return embed


def _postprocessor(torchvggish: Any, pca: Mapping[str, Tensor]) -> Any:
    """torchvggish's Postprocessor with these parameters: its constructor downloads others."""
    made = torchvggish.Postprocessor.__new__(torchvggish.Postprocessor)
    made._pca_matrix = pca["pca_eigen_vectors"].float()
    made._pca_means = pca["pca_means"].reshape(-1, 1).float()
    return made


def original_features(tensors: Mapping[str, NDArray[Any]]) -> Embed:
    """The log mel bands (frames, 64) that the original network is fed, patch after patch."""

    def features(samples: NDArray[np.float32]) -> NDArray[np.float32]:
        return original_examples(samples).reshape(-1, BANDS).astype(np.float32)

    return features


GRAPHS = (_graph("vggish", Vggish), _graph("vggish_pca", VggishPca))
ORIGINALS = {"vggish": original}
FEATURES = {"vggish": ("log", original_features)}
