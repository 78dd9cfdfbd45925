"""Scores of two datasets, by this package and by the original."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from fad_onnx.audio import sources
from fad_onnx.metrics.frechet import frechet_distance
from fad_onnx.metrics.moments import Moments
from fad_onnx.networks import synthetic
from fad_onnx.networks.embedder import Embedder
from fad_onnx.networks.preparation import Preparation
from fad_onnx.networks.table import Model

from .mocks import stand_ins
from .parity import Embed

Rows = NDArray[np.float32]
# Two datasets for a score; at 44.1 kHz they also show the effect of the resampler.
SET_CLIPS, SET_SECONDS, FOREIGN_HZ = 10, 3.1, 44_100
FILLED_CLIPS = 3  # for models where a clip fills a window of ten seconds, or is padded to thirty


@dataclass(frozen=True)
class Clip:
    """Samples float32 (channels, n) at a rate."""

    samples: NDArray[np.float32]
    rate_hz: int


def synthetic_sets(model: Model, count: int = SET_CLIPS) -> tuple[list[Clip], list[Clip]]:
    """Make a reference and an evaluation of this many clips that differ in level and noise."""
    seconds, random = SET_SECONDS, np.random.RandomState(5)
    rules, channels = model.preparation.windows, model.preparation.channel_count
    if rules.fill == "zeros":
        count = min(count, FILLED_CLIPS)
    if rules.tail == "pad" and rules.length_samples:
        count, seconds = FILLED_CLIPS, rules.length_samples / model.preparation.sample_rate_hz
    frames = round(seconds * FOREIGN_HZ)
    reference = [synthetic.clip(100 + i, frames, channels) for i in range(count)]
    evaluation = [synthetic.clip(200 + i, frames, channels) for i in range(count)]
    noisy = [0.5 * clip + 0.02 * random.standard_normal(clip.shape) for clip in evaluation]
    return (
        [Clip(clip, FOREIGN_HZ) for clip in reference],
        [Clip(clip.astype(np.float32), FOREIGN_HZ) for clip in noisy],
    )


def read_set(folder: Path) -> list[Clip]:
    """Read the audio files of a folder as clips."""
    clips = []
    for file in sources.find(folder):
        samples, rate = soundfile.read(file.path, dtype="float32", always_2d=True)
        clips.append(Clip(np.ascontiguousarray(samples.T), rate))
    return clips


def resampled(clip: Clip, rules: Preparation) -> Clip:
    """Mix and resample a clip as the original does: its channel rule, then resampy.

    frechet_audio_distance/utils.py, load_audio_task; it resamples the wrong axis of stereo files,
    which is not imitated.

    Parameters
    ----------
    clip : Clip
        At any rate.
    rules : Preparation
        Names the channels and the rate.

    Returns
    -------
    Clip
        At the model's rate.
    """
    import resampy

    samples = clip.samples
    if rules.channels == "mean" or len(samples) != rules.channel_count:
        samples = np.repeat(samples.mean(axis=0, keepdims=True), rules.channel_count, axis=0)
    if clip.rate_hz != rules.sample_rate_hz:
        samples = resampy.resample(samples, clip.rate_hz, rules.sample_rate_hz, axis=-1)
    return Clip(samples.astype(np.float32), rules.sample_rate_hz)


@dataclass(frozen=True)
class Scores:
    """A distance by this package, by the original (or None), and by this package from the
    original's embeddings.
    """

    score: float
    original: float | None
    of_original_rows: float

    @property
    def difference(self) -> float:
        """The relative difference from the original's score, if there is one."""
        theirs = self.of_original_rows if self.original is None else self.original
        return abs(self.score / theirs - 1)


def scores(ours: Embedder, theirs: Embed, sets: Sequence[Sequence[Clip]]) -> Scores:
    """Compute the distance of a reference and an evaluation.

    Parameters
    ----------
    ours : Embedder
        The run time's model.
    theirs : callable
        The original network.
    sets : two sequences of Clip
        The reference and the evaluation, at any rate.

    Returns
    -------
    Scores
        By this package and by the original.
    """
    got = [[ours.embed(clip.samples.T, clip.rate_hz) for clip in clips] for clips in sets]
    heard = [[resampled(clip, ours.preparation).samples for clip in clips] for clips in sets]
    expected = [[theirs(samples) for samples in clips] for clips in heard]
    pair = [np.concatenate(embeddings) for embeddings in expected]
    here = frechet_distance(*(Moments.of(np.concatenate(embeddings)) for embeddings in got))
    return Scores(here, original_score(*pair), frechet_distance(*map(Moments.of, pair)))


def original_score(reference: Rows, evaluation: Rows) -> float | None:
    """Compute the distance with the original's own methods.

    Parameters
    ----------
    reference, evaluation : ndarray of float32, shape (m, width)
        Embeddings.

    Returns
    -------
    float or None
        None if the original refuses the result of its matrix square root.
    """
    # If transformers is installed, laion_clap makes it fetch files from the network.
    unwanted = ("torchvision", "torchaudio", "laion_clap") if find_spec("transformers") else ()
    with stand_ins(*unwanted):
        from frechet_audio_distance.fad import FrechetAudioDistance as Original
    # Neither method uses its object, whose constructor would download.
    statistics = Original.calculate_embd_statistics
    moments = (*statistics(None, reference), *statistics(None, evaluation))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return float(Original.calculate_frechet_distance(None, *moments))
        except ValueError:  # "Imaginary component": the method's own refusal
            return None
