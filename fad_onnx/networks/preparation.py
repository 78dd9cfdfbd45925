"""A preparation: the steps from a file to the network, and from its output to the embeddings.

Every rule that affects an embedding is a named value from a closed vocabulary. Absent keys take
their defaults, and defaults are not part of a fingerprint: never change one, add a value instead.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from ..audio.resampling import Resampler
from ..errors import AudioError

_ACROSS = (
    "{} channels at {} Hz: resampled across the channels, as the protocol does, they would be {},"
    " and two are needed; use another protocol, or convert the file"
)
LevelStep = Literal[
    "remove_dc", "peak_minus_1_db", "positive_peak", "loudness_minus_16", "pcm16", "int16_cut"
]  # fmt: skip


@dataclass(frozen=True)
class Samples:
    """The front end of networks that take samples directly.

    Attributes
    ----------
    normalise : bool
        Whether the mean of the window is subtracted, and the result divided by its standard
        deviation.
    """

    kind: ClassVar[str] = "samples"
    normalise: bool = False


@dataclass(frozen=True)
class Stft:
    """A front end that computes the magnitude or power of the short-time Fourier transform.

    Attributes
    ----------
    frame_samples, hop_samples, fft_samples : int
        The length of a frame, the distance between frames, the size of the transform.
    padding : {"none", "reflect", "zeros_after"}
        "none": frames lie within the window; "reflect": the window is extended at both ends by
        reflecting half a frame; "zeros_after": a frame starts at every hop of the window, and
        zeros follow the window where frames reach beyond it.
    spectrum : {"power", "magnitude"}
        The squared or the absolute value.
    precision : {"float64", "float32"}
        The precision of the Hann window and of the input of the transform.
    hann : {"periodic", "symmetric", "tensorflow"}
        The Hann window: its period is the frame, or one sample less than the frame. "tensorflow":
        "periodic" as TensorFlow rounds it, in float32 at every step.
    pre_emphasis : float
        This multiple of the previous sample is subtracted from each sample; the first sample of
        the window, which has no previous one, is dropped. 0: no subtraction, no sample is dropped.
    most_frames : int or None
        How many frames of a window are used, from its beginning; None uses all of them.
    """

    kind: ClassVar[str] = "stft"
    frame_samples: int
    hop_samples: int
    fft_samples: int
    padding: Literal["none", "reflect", "zeros_after"] = "none"
    spectrum: Literal["power", "magnitude"] = "power"
    precision: Literal["float64", "float32"] = "float64"
    hann: Literal["periodic", "symmetric", "tensorflow"] = "periodic"
    pre_emphasis: float = 0.0
    most_frames: int | None = None


@dataclass(frozen=True)
class SamplesAndStft(Stft):
    """Both inputs: the samples, and the magnitude or power of their transform."""

    kind: ClassVar[str] = "samples_and_stft"


Frontend = Samples | Stft | SamplesAndStft


@dataclass(frozen=True)
class Windows:
    """How a clip is cut into windows of samples at the network's rate.

    Attributes
    ----------
    cover : {"whole", "windows", "crop"}
        "whole": the clip is one window. "windows": a window at every hop. "crop": one window
        of `length_samples`.
    length_samples, hop_samples : int or None
        The length of a window and the distance between windows.
    fill : {"none", "zeros", "repeat", "repeat_cut", "reflect"}
        How a clip shorter than `length_samples` is extended: not at all; with zeros; with as many
        whole copies as fit, then zeros; with copies, the last one cut; by reflection at both ends.
    long : {"all", "center", "random", "head"}
        The part of a longer clip that is used: all of it; the middle; a random part that depends
        on `seed` and the samples; the beginning.
    tail : {"drop", "pad", "keep", "pad_every"}
        What happens to the samples after the last full window: dropped; padded with zeros (the
        embeddings of the padding are dropped); kept as a shorter window. "pad_every": windows
        continue at every hop to the end of the clip, each padded with zeros.
    seed : int
        The random seed for `long` "random".
    margins : {"none", "reflect", "zeros", "zeros_before"}
        How `cover` "windows" extends a clip at its ends. "reflect": a clip of up to
        `length_samples` is one window of its own length; a longer one is extended at both ends by
        reflecting half a window. "zeros": any clip is padded with zeros to a multiple of a window,
        and then with half a window of zeros at both ends; all of these zeros count as samples of
        the clip. "zeros_before": half a window of zeros precedes the clip.
    dropped_samples, unpadded_samples : int
        The samples after the last full window are dropped if there are at most `dropped_samples`
        of them. With `tail` "pad", they are left unpadded up to `unpadded_samples`.
    """

    cover: Literal["whole", "windows", "crop"] = "whole"
    length_samples: int | None = None
    hop_samples: int | None = None
    fill: Literal["none", "zeros", "repeat", "repeat_cut", "reflect"] = "none"
    long: Literal["all", "center", "random", "head"] = "all"
    tail: Literal["drop", "pad", "keep", "pad_every"] = "drop"
    seed: int = 0
    margins: Literal["none", "reflect", "zeros", "zeros_before"] = "none"
    dropped_samples: int = 0
    unpadded_samples: int = 0


@dataclass(frozen=True)
class Pooling:
    """How the embeddings of a clip are reduced, if at all.

    Attributes
    ----------
    over : {"frames", "seconds", "fifths", "clip", "numbers"}
        "frames": every embedding is kept. "seconds": one for each second. "fifths": one for each
        fifth of the clip's embeddings. "clip": one for the clip. "numbers": every number of an
        embedding counts as an embedding of dimension one; frechet_audio_distance/fad.py 0.3.4,
        get_embeddings, joins PANN's vectors to one.
    statistic : {"mean", "maximum", "weighted"}
        "weighted": the mean over windows, each weighted by its number of samples without padding.
    """

    over: Literal["frames", "seconds", "fifths", "clip", "numbers"] = "frames"
    statistic: Literal["mean", "maximum", "weighted"] = "mean"


@dataclass(frozen=True)
class Preparation:
    """Everything that determines the embeddings of a file, given a network.

    Attributes
    ----------
    sample_rate_hz : int
        The sample rate of the network.
    channels : {"mean", "doubled", "stereo", "stereo_across", "first", "each", "joined"}
        The mean over channels, taken before resampling; or that mean twice; or two channels (one is
        doubled, of more than two the mean is doubled); or the first channel alone. "stereo_across":
        as "stereo", but the filter runs across the two channels of a stereo clip, whose rate does
        not change: frechet_audio_distance/utils.py 0.3.4, load_audio_task, resamples the last axis.
        "each": the first two channels, or one twice, each of which goes through the network alone;
        its two embeddings are joined. "joined": all channels, one after the other in time, as one
        (msclap 1.3.4, CLAPWrapper.py, load_audio_into_tensor).
    resampler : {"soxr_hq", "resampy_kaiser_best", "resampy_kaiser_fast", "torchaudio_hann", \
"torchaudio_hann_float32", "torchaudio_kaiser_best", "julius", "resampy_0_2_kaiser_best", \
"librosa_soxr_hq", "soxr_44100_resampy"}
        soxr HQ, cut to floor(frames * target / source) samples, or with librosa's length, which is
        rounded up; or a filter of `audio.sinc.FILTERS`, with the length that its original gives.
        "soxr_44100_resampy": soxr HQ to 44.1 kHz, not cut, and then "resampy_0_2_kaiser_best".
    level_before, level_after : tuple of {"remove_dc", "peak_minus_1_db", "positive_peak", \
"loudness_minus_16", "pcm16", "int16_cut"}
        Steps in order, at the rate of the file and at that of the network. "remove_dc": the
        clip's mean is subtracted. "peak_minus_1_db": the largest magnitude becomes -1 dB of full
        scale. "positive_peak": the largest sample becomes full scale, but a tenth of a 16-bit step
        is the least divisor (google-research/frechet_audio_distance/audioset_model.py,
        extract_features, which is given integers). "loudness_minus_16": -16 LUFS, or quieter where
        the largest magnitude would exceed one (`audio.loudness.normalised`). "pcm16": rounded to a
        16-bit file, full scale is 32768. "int16_cut": cut towards zero to 16 bits, full scale is
        32767.
    sample_format : {"float32", "float64", "int16", "int32"}
        How PCM is decoded.
    frontend : Samples, Stft or SamplesAndStft
        The computation on a window before the graph.
    windows : Windows
        How a clip is cut into windows.
    pooling : Pooling
        How the embeddings of a clip are reduced.
    minimum_samples : int
        The length of the shortest clip that the network takes, at its rate.
    maximum_samples : int or None
        The length that a longer clip is cut to, from its beginning.
    embedding_type : {"float32", "float16"}
        How the embeddings of a clip are kept.
    """

    sample_rate_hz: int
    channels: Literal["mean", "doubled", "stereo", "stereo_across", "first", "each", "joined"] = (
        "mean"
    )
    resampler: Literal[
        "soxr_hq",
        "resampy_kaiser_best",
        "resampy_kaiser_fast",
        "torchaudio_hann",
        "torchaudio_hann_float32",
        "torchaudio_kaiser_best",
        "julius",
        "resampy_0_2_kaiser_best",
        "librosa_soxr_hq",
        "soxr_44100_resampy",
    ] = "soxr_hq"
    level_before: tuple[LevelStep, ...] = ()
    level_after: tuple[LevelStep, ...] = ()
    sample_format: Literal["float32", "float64", "int16", "int32"] = "float32"
    frontend: Frontend = field(default_factory=Samples)
    windows: Windows = field(default_factory=Windows)
    pooling: Pooling = field(default_factory=Pooling)
    minimum_samples: int = 1
    maximum_samples: int | None = None
    embedding_type: Literal["float32", "float16"] = "float32"

    @property
    def channel_count(self) -> int:
        """The number of channels of a window."""
        return 1 if self.channels in ("mean", "first", "joined") else 2

    @property
    def most_samples(self) -> float:
        """The most samples of a clip that are used."""
        crop = self.windows.length_samples if self.windows.cover == "crop" else None
        return min(one for one in (self.maximum_samples, crop, math.inf) if one is not None)

    def used_seconds(self, seconds: float) -> float:
        """The seconds that are used of a clip of this length."""
        return min(seconds, self.most_samples / self.sample_rate_hz)

    @property
    def before_windows(self) -> tuple[object, ...]:
        """All settings that determine the samples from which windows are cut."""
        level = self.level_before, self.level_after
        return self.sample_rate_hz, self.channels, self.resampler, level, self.sample_format

    def resample(self, source_hz: int, source_channels: int, path: str = "samples") -> Resampler:
        """A resampler from the channels, rate and level of a file to those of the network.

        Raises
        ------
        AudioError
            For channels at a rate that the rule does not take.
        """
        if self.channels == "stereo_across" and source_channels > 1:
            made = source_channels * self.sample_rate_hz // source_hz
            if (source_channels, made) != (2, 2):
                raise AudioError(path, _ACROSS.format(source_channels, source_hz, made))
        return Resampler(
            source_hz,
            self.sample_rate_hz,
            source_channels,
            self.channels,
            self.resampler,
            self.level_before,
            self.level_after,
        )
