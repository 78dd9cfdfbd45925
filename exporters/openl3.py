"""OpenL3: 512 numbers per window of 1 s, from the audio network with 256 mel bands.

J. Cramer, H.-H. Wu, J. Salamon, J. P. Bello, "Look, Listen and Learn More: Design Choices for Deep
Audio Embeddings", ICASSP 2019. Layers and constants are those of openl3 0.4.2 (models.py,
_construct_mel256_audio_network 425) and of the front end that it takes from kapre 0.4.1
(composed.py, get_melspectrogram_layer).

The run time passes STFT magnitudes (batch, 199 frames, 1025 bins) in float32. Tensors are named by
their position in the file of Keras: `3.kernel` is the kernel of the fourth layer that has weights.
Kernels are stored as in Keras, (height, width, in, out).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, cast

import librosa
import numpy as np
import torch
from numpy.typing import NDArray
from scipy import fft
from torch import Tensor, nn
from torch.nn import functional

from fad_onnx.networks.frontends import hann
from fad_onnx.networks.preparation import Stft

from .parity import Embed
from .skeleton import Graph
from .sparse import Sparse

RATE_HZ, WINDOW_SAMPLES, HOP_SAMPLES = 48_000, 48_000, 24_000
FFT_SAMPLES, STEP_SAMPLES, FRAMES, BANDS = 2048, 242, 199, 256
BINS = FFT_SAMPLES // 2 + 1
MAGNITUDE_FLOOR, DYNAMIC_RANGE_DB = 1e-10, 80.0  # models.py:31
EPSILON = 1e-3  # of Keras's BatchNormalization
FRONTEND = Stft(FFT_SAMPLES, STEP_SAMPLES, FFT_SAMPLES, precision="float32", hann="tensorflow")
WIDTHS = (64, 64, 128, 128, 256, 256, 512, 512)
HALVED = (1, 3, 5)  # the convolutions that are followed by a pooling of 2 x 2
ORDER = ("gamma", "beta", "moving_mean", "moving_variance")  # the order in which Keras saves them


class Normalisation(nn.Module):
    """Keras's BatchNormalization of maps (batch, channels, bands, frames)."""

    gamma: Tensor
    beta: Tensor
    moving_mean: Tensor
    moving_variance: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        for name in ORDER:
            self.register_buffer(name, torch.rand(channels) + 0.5)

    def forward(self, maps: Tensor) -> Tensor:
        return functional.batch_norm(
            maps, self.moving_mean, self.moving_variance, self.gamma, self.beta, eps=EPSILON
        )


class Convolution(nn.Module):
    """Keras's Conv2D, 3 x 3 with padding "same"."""

    def __init__(self, inner: int, outer: int) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(3, 3, inner, outer) / 30)
        self.bias = nn.Parameter(torch.randn(outer))

    def forward(self, maps: Tensor) -> Tensor:
        return functional.conv2d(maps, self.kernel.permute(3, 2, 0, 1), self.bias, padding=1)


class OpenL3(nn.ModuleList):
    """STFT magnitudes (batch, 199, 1025) to embeddings (batch, 512)."""

    def __init__(self) -> None:
        inner = (1, *WIDTHS[:-1])
        layers: list[nn.Module] = []
        for before, after in zip(inner, WIDTHS, strict=True):
            layers += [Normalisation(before), Convolution(before, after)]
        super().__init__(layers)
        self.mel = Sparse(mel_matrix())

    def decibels(self, magnitude: Tensor) -> Tensor:
        """Mel bands (batch, 199, 256), relative to the loudest of each window (models.py:31)."""
        level = 10.0 * torch.log10((magnitude @ self.mel()).clamp(min=MAGNITUDE_FLOOR))
        return (level - level.amax(dim=(1, 2), keepdim=True)).clamp(min=-DYNAMIC_RANGE_DB)

    def forward(self, magnitude: Tensor) -> Tensor:
        maps = self.decibels(magnitude).transpose(1, 2).unsqueeze(1)
        for number in range(len(WIDTHS)):
            normalise, convolve = self[2 * number], self[2 * number + 1]
            # Between two convolutions: batch norm, ReLU, and then the pooling.
            maps = normalise(maps)
            if number:
                maps = torch.relu(maps)
            if number - 1 in HALVED:
                maps = functional.max_pool2d(maps, 2)
            maps = convolve(maps)
        return maps.amax(dim=(2, 3))


def mel_matrix() -> NDArray[np.float32]:
    """Slaney's triangles (1025 bins, 256 bands), as in kapre's backend.py, filterbank_mel."""
    bank = librosa.filters.mel(
        sr=RATE_HZ, n_fft=FFT_SAMPLES, n_mels=BANDS, fmin=0.0, fmax=None, htk=False, norm="slaney"
    )
    return np.ascontiguousarray(bank.T.astype(np.float32))


def _keras() -> Any:
    os.environ.setdefault("KERAS_BACKEND", "torch")
    import keras

    return keras


def network() -> Any:
    """The layers of openl3's models.py from the first batch norm on, in Keras 3 on torch."""
    layers = _keras().layers
    maps = given = _keras().Input((BANDS, FRAMES, 1))
    for number, width in enumerate(WIDTHS):
        maps = layers.BatchNormalization()(maps)
        if number:
            maps = layers.Activation("relu")(maps)
        if number - 1 in HALVED:
            maps = layers.MaxPooling2D(pool_size=(2, 2), strides=2)(maps)
        maps = layers.Conv2D(width, (3, 3), padding="same")(maps)
    maps = layers.MaxPooling2D(pool_size=(32, 24), padding="same")(maps)
    return _keras().Model(given, layers.Flatten()(maps))


def windows(samples: NDArray[np.float32], hop: int = HOP_SAMPLES) -> NDArray[np.float32]:
    """Samples (1, n) to windows (count, 48000), centred (core.py, _preprocess_audio_batch)."""
    audio = np.pad(samples[0], (WINDOW_SAMPLES // 2, 0))
    beyond = len(audio) - WINDOW_SAMPLES
    end = -beyond if beyond < 0 else int(np.ceil(beyond / hop)) * hop - beyond
    audio = np.pad(audio, (0, end))
    starts = range(0, len(audio) - WINDOW_SAMPLES + 1, hop)
    return np.stack([audio[start : start + WINDOW_SAMPLES] for start in starts])


def decibels(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Windows (count, 48000) to pictures (count, 256, 199, 1), as kapre and models.py:31 make them.

    tf.signal.stft with pad_end in float32, its magnitude, the filterbank, and the decibels. Only
    the window is that of the run time, which equals TensorFlow's bit for bit.
    """
    end = (FRAMES - 1) * STEP_SAMPLES + FFT_SAMPLES - WINDOW_SAMPLES
    padded = np.pad(samples, ((0, 0), (0, end)))
    frames = np.lib.stride_tricks.sliding_window_view(padded, FFT_SAMPLES, axis=1)[
        :, ::STEP_SAMPLES
    ]
    # This gives the same bits as TensorFlow's transform; torch's does not.
    magnitude = torch.from_numpy(np.abs(fft.rfft(frames * hann(FRONTEND))))
    bands = torch.tensordot(magnitude, torch.from_numpy(mel_matrix()), dims=1)
    level = 10 * torch.log(torch.clamp(bands, min=MAGNITUDE_FLOOR)) / np.log(10)
    level = level - level.amax(dim=(1, 2), keepdim=True)
    pictures = torch.clamp(level, min=-DYNAMIC_RANGE_DB).transpose(1, 2)[..., None]
    return np.asarray(pictures.numpy(), np.float32)


def keras_weights(tensors: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
    """The tensors in the order in which Keras takes them."""
    leaves = {leaf: index for index, leaf in enumerate((*ORDER, "kernel", "bias"))}

    def place(name: str) -> tuple[int, int]:
        layer, _, leaf = name.partition(".")
        return int(layer), leaves[leaf]

    return [tensors[name] for name in sorted(tensors, key=place)]


def original(tensors: Mapping[str, NDArray[Any]], **_: str) -> Embed:
    """Keras's own layers on these tensors, with openl3's framing and kapre's front end."""
    made = network()
    made.set_weights(keras_weights(tensors))

    def embed(samples: NDArray[np.float32]) -> NDArray[np.float32]:
        pictures = decibels(windows(samples))
        with torch.no_grad():
            return np.concatenate([made(picture[None]).numpy() for picture in pictures])

    return embed


def original_features(tensors: Mapping[str, NDArray[Any]]) -> Embed:
    """The decibels (frames, 256) that the original network is fed, window after window."""

    def features(samples: NDArray[np.float32]) -> NDArray[np.float32]:
        pictures = decibels(windows(samples))[..., 0]
        return cast(NDArray[np.float32], pictures.transpose(0, 2, 1).reshape(-1, BANDS))

    return features


NAMES = ("openl3-music", "openl3-env")
GRAPHS = (
    Graph(
        name="openl3_mel256",
        module=OpenL3,
        example=lambda: (torch.rand(3, FRAMES, BINS),),
        input_names=("magnitude",),
        output_names=("embedding",),
        dynamic=({0: "batch"},),
    ),
)
ORIGINALS = dict.fromkeys(NAMES, original)
FEATURES = dict.fromkeys(NAMES, ("clamp_1", original_features))
# The shortest clip, and lengths on either side of the start of another window.
CLIP_SAMPLES = dict.fromkeys(NAMES, (1, 23_999, 24_000, 24_001, 48_000, 48_001, 71_993, 120_013))
