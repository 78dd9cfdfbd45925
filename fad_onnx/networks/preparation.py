"""A preparation: everything between a file and the network, and after it up to the embeddings.

Every rule that changes a number is a named value with a closed vocabulary. Absent keys are
defaults, and defaults are not part of a fingerprint: never change one, add a value instead.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from ..audio.resampling import Resampler

LevelStep = Literal["remove_dc", "peak_minus_1_db", "pcm16", "int16_cut"]


@dataclass(frozen=True)
class Samples:
    """Front end of networks that take the samples themselves."""

    kind: ClassVar[str] = "samples"


@dataclass(frozen=True)
class Stft:
    """Front end that gives the magnitude or power of the short-time spectrum.

    Attributes
    ----------
    frame_samples, hop_samples, fft_samples : int
        Length of a frame, distance of two frames, points of the transform.
    padding : {"none", "reflect"}
        "none": frames lie within the window; "reflect": the window is reflected by half a
        transform at both ends.
    spectrum : {"power", "magnitude"}
        Squared or plain absolute value.
    precision : {"float64", "float32"}
        Precision of the Hann window and of the transform's input.
    """

    kind: ClassVar[str] = "stft"
    frame_samples: int
    hop_samples: int
    fft_samples: int
    padding: Literal["none", "reflect"] = "none"
    spectrum: Literal["power", "magnitude"] = "power"
    precision: Literal["float64", "float32"] = "float64"


Frontend = Samples | Stft


@dataclass(frozen=True)
class Windows:
    """How a clip is cut into windows of samples at the network's rate.

    Attributes
    ----------
    cover : {"whole", "windows", "crop"}
        "whole": the clip is one window. "windows": a window at every hop. "crop": one window
        of `length_samples`.
    length_samples, hop_samples : int or None
        Length of a window and distance of two windows.
    fill : {"none", "zeros", "repeat", "repeat_cut", "reflect"}
        How a clip shorter than `length_samples` is filled up: not at all; with zeros; with as
        many whole copies as fit, then zeros; with copies, the last one cut; by reflection at
        its ends.
    long : {"all", "center", "random", "head"}
        Which part of a longer clip is used: all of it, the middle, a part drawn from `seed`
        and the samples, the beginning.
    tail : {"drop", "pad", "keep"}
        The samples after the last full window: dropped, padded with zeros (the embeddings of
        the padding are dropped), or kept as a shorter window.
    seed : int
        For `long` "random".
    """

    cover: Literal["whole", "windows", "crop"] = "whole"
    length_samples: int | None = None
    hop_samples: int | None = None
    fill: Literal["none", "zeros", "repeat", "repeat_cut", "reflect"] = "none"
    long: Literal["all", "center", "random", "head"] = "all"
    tail: Literal["drop", "pad", "keep"] = "drop"
    seed: int = 0


@dataclass(frozen=True)
class Pooling:
    """What becomes of the embeddings of a clip: kept as they are, or reduced.

    Attributes
    ----------
    over : {"frames", "seconds", "clip"}
        "frames": every embedding is kept. "seconds": one for each second. "clip": one for the
        clip.
    statistic : {"mean", "maximum", "weighted"}
        "weighted": the mean over windows, each weighted by the samples that are the clip's own.
    """

    over: Literal["frames", "seconds", "clip"] = "frames"
    statistic: Literal["mean", "maximum", "weighted"] = "mean"


@dataclass(frozen=True)
class Preparation:
    """Everything that decides the embeddings of a file, given a network.

    Attributes
    ----------
    sample_rate_hz : int
        The rate at which the network listens.
    channels : {"mean", "stereo", "first"}
        The mean over channels, taken before resampling; or two channels (one is doubled, of
        more than two the mean is doubled); or the first channel alone.
    resampler : {"soxr_hq", "resampy_kaiser_best", "resampy_kaiser_fast", "torchaudio_hann", \
"torchaudio_hann_float32", "torchaudio_kaiser_best", "julius"}
        soxr HQ, cut to floor(frames * target / source) samples; or a filter of
        `audio.sinc.FILTERS`, with the length that its original gives.
    level_before, level_after : tuple of {"remove_dc", "peak_minus_1_db", "pcm16", "int16_cut"}
        Steps in order, at the rate of the file and at that of the network. "remove_dc": the
        clip's mean is subtracted. "peak_minus_1_db": the largest magnitude becomes -1 dB of full
        scale. "pcm16": rounded to a 16-bit file, full scale is 32768. "int16_cut": cut towards
        zero to 16 bits, full scale is 32767.
    sample_format : {"float32", "float64", "int16", "int32"}
        How PCM is decoded.
    frontend : Samples or Stft
        What NumPy does to a window before the graph.
    windows : Windows
        How a clip is cut.
    pooling : Pooling
        What becomes of the embeddings of a clip.
    minimum_samples : int
        The shortest clip that the network takes, at its rate.
    embedding_type : {"float32", "float16"}
        How the embeddings of a clip are kept.
    """

    sample_rate_hz: int
    channels: Literal["mean", "stereo", "first"] = "mean"
    resampler: Literal[
        "soxr_hq",
        "resampy_kaiser_best",
        "resampy_kaiser_fast",
        "torchaudio_hann",
        "torchaudio_hann_float32",
        "torchaudio_kaiser_best",
        "julius",
    ] = "soxr_hq"
    level_before: tuple[LevelStep, ...] = ()
    level_after: tuple[LevelStep, ...] = ()
    sample_format: Literal["float32", "float64", "int16", "int32"] = "float32"
    frontend: Frontend = field(default_factory=Samples)
    windows: Windows = field(default_factory=Windows)
    pooling: Pooling = field(default_factory=Pooling)
    minimum_samples: int = 1
    embedding_type: Literal["float32", "float16"] = "float32"

    @property
    def channel_count(self) -> int:
        """Channels of a window."""
        return 2 if self.channels == "stereo" else 1

    @property
    def before_windows(self) -> tuple[object, ...]:
        """All that decides the samples which windows are cut from."""
        level = self.level_before, self.level_after
        return self.sample_rate_hz, self.channels, self.resampler, level, self.sample_format

    def resample(self, source_hz: int, source_channels: int) -> Resampler:
        """What brings blocks of a file to the channels, the rate and the level of the network."""
        return Resampler(
            source_hz,
            self.sample_rate_hz,
            source_channels,
            self.channels,
            self.resampler,
            self.level_before,
            self.level_after,
        )
