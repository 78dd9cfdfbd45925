"""How far a model is from the original package, step by step, as a table or JSON."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import soundfile
from numpy.typing import NDArray

from fad_onnx import audio, checkpoints, synthetic, weights
from fad_onnx.embedder import Embedder
from fad_onnx.frechet import frechet_distance
from fad_onnx.manifest import Model, Variant
from fad_onnx.moments import Moments
from fad_onnx.session import Network

from . import parity
from .golden import options_key
from .parity import Embed, Tensors

Rows = NDArray[np.float32]
# Two sets of clips for a score; at 44.1 kHz they also show what the resampler does to it.
SET_CLIPS, SET_SECONDS, FOREIGN_HZ = 10, 3.1, 44_100


@dataclass(frozen=True)
class Clip:
    """Samples float32 (channels, n) at a rate."""

    samples: NDArray[np.float32]
    rate_hz: int


@dataclass(frozen=True)
class Finding:
    """One variant of a model on one checkpoint.

    Errors are relative to the spread of the original's rows. ``score`` is this package's for two
    sets at the model's rate, ``original`` the other's, or None where its matrix square root fails
    (it does on few or degenerate rows). Differences of scores are relative, to ``original`` or
    else to this package's distance between the original's rows. ``resampled_difference`` is that
    for the sets at their own rates, where the original resamples with resampy, this with soxr.
    """

    model: str
    options: str
    weights: str
    clips: int
    rows: int
    features_error: float | None
    rows_error: float
    largest_difference: float
    score: float
    original: float | None
    score_difference: float
    resampled_difference: float


def verify(
    model: Model,
    given: Mapping[str, Path],
    seeds: int,
    sets: tuple[Sequence[Clip], Sequence[Clip]] | None = None,
) -> Iterator[Finding]:
    """A finding per variant and seed; with a checkpoint given, one for the variant that uses it.

    sets: clips of a reference and an evaluation, in place of synthetic ones.
    """
    for variant in model.variants:
        if given and set(variant.checkpoints) != given.keys():
            continue
        for seed in range(1 if given or not variant.checkpoints else seeds):
            with tempfile.TemporaryDirectory() as folder:
                source, tensors, ours = _loaded(model, variant, given, seed, Path(folder))
                theirs = parity.original(model, ours.chosen, tensors)
                yield _finding(source, variant, ours, theirs, tensors, sets or _synthetic(model))


def _loaded(
    model: Model, variant: Variant, given: Mapping[str, Path], seed: int, folder: Path
) -> tuple[str, Tensors, Embedder]:
    """Where the weights come from, the weights, and the run time's network on them."""
    infos = parity.bound(parity.graph_path(variant))
    if given:
        ready = weights.prepare(model, variant, given)
        bound = checkpoints.open(ready.graph).tensors()
        tensors = {name: np.array(bound[name].read()) for name in infos}
        source = " + ".join(path.name for path in given.values())
    else:
        tensors = synthetic.tensors(infos, seed)
        source = f"synthetic, seed {seed}" if tensors else "none"
    return source, tensors, parity.embedder(model, model.choose(variant.when), tensors, folder)


def _finding(
    source: str,
    variant: Variant,
    ours: Embedder,
    theirs: Embed,
    tensors: Tensors,
    sets: tuple[Sequence[Clip], Sequence[Clip]],
) -> Finding:
    model = ours.model
    compared = parity.compare(ours, theirs, parity.clip_samples(model), seed=7)
    rows = parity.pooled(compared)
    at_rate = _scores(ours, theirs, [[_resampled(clip, model) for clip in clips] for clips in sets])
    resampled = _scores(ours, theirs, sets)
    return Finding(
        model=model.name,
        options=options_key(dict(variant.when)),
        weights=source,
        clips=len(compared),
        rows=len(rows.got),
        features_error=_features_error(ours, tensors),
        rows_error=rows.spread_error,
        largest_difference=float(np.abs(rows.got - rows.expected).max()),
        score=at_rate.score,
        original=at_rate.original,
        score_difference=at_rate.difference,
        resampled_difference=resampled.difference,
    )


def _features_error(ours: Embedder, tensors: Tensors) -> float | None:
    """The error of what the network is fed, where the family says what that is."""
    named = parity.offered("FEATURES").get(ours.model.name)
    if named is None:
        return None
    value, original_features = named
    compared = parity.compare(
        replace(ours, network=_with_output(ours.network, value)),
        original_features(tensors),
        parity.clip_samples(ours.model),
        seed=7,
    )
    return parity.pooled(compared).spread_error


def _with_output(network: Network, value: str) -> Network:
    """The same network, cut off at an intermediate value."""
    proto = onnx.load(network.graph, load_external_data=False)
    proto.graph.output.append(onnx.ValueInfoProto(name=value))
    path = network.graph.with_name(f"until_{value}.onnx")
    path.write_bytes(proto.SerializeToString())
    return Network(path, value, network.settings)


def _synthetic(model: Model) -> tuple[list[Clip], list[Clip]]:
    """Two sets that differ in level and noise."""
    frames, random = round(SET_SECONDS * FOREIGN_HZ), np.random.RandomState(5)
    reference = [synthetic.clip(100 + i, frames, model.channels) for i in range(SET_CLIPS)]
    evaluation = [synthetic.clip(200 + i, frames, model.channels) for i in range(SET_CLIPS)]
    noisy = [0.5 * clip + 0.02 * random.standard_normal(clip.shape) for clip in evaluation]
    return (
        [Clip(clip, FOREIGN_HZ) for clip in reference],
        [Clip(clip.astype(np.float32), FOREIGN_HZ) for clip in noisy],
    )


def read_set(folder: Path) -> list[Clip]:
    """The audio files of a folder as clips."""
    clips = []
    for file in audio.find(folder):
        samples, rate = soundfile.read(file.path, dtype="float32", always_2d=True)
        clips.append(Clip(np.ascontiguousarray(samples.T), rate))
    return clips


def _resampled(clip: Clip, model: Model) -> Clip:
    """The clip as the original hears it: its channel rule, then resampy.

    frechet_audio_distance/utils.py load_audio_task; of stereo files it would resample the wrong
    axis, which is not imitated.
    """
    import resampy

    samples = clip.samples
    if model.channel_rule == "mean" or len(samples) != model.channels:
        samples = np.repeat(samples.mean(axis=0, keepdims=True), model.channels, axis=0)
    if clip.rate_hz != model.sample_rate_hz:
        samples = resampy.resample(samples, clip.rate_hz, model.sample_rate_hz, axis=-1)
    return Clip(samples.astype(np.float32), model.sample_rate_hz)


@dataclass(frozen=True)
class Scores:
    """One distance three ways: this package, the original (or None), the original's rows here."""

    score: float
    original: float | None
    of_original_rows: float

    @property
    def difference(self) -> float:
        """Relative, to the original's score where there is one."""
        theirs = self.of_original_rows if self.original is None else self.original
        return abs(self.score / theirs - 1)


def _scores(ours: Embedder, theirs: Embed, sets: Sequence[Sequence[Clip]]) -> Scores:
    got = [[ours.embed(clip.samples.T, clip.rate_hz) for clip in clips] for clips in sets]
    expected = [[theirs(_resampled(clip, ours.model).samples) for clip in clips] for clips in sets]
    pair = [np.concatenate(rows) for rows in expected]
    here = frechet_distance(*(Moments.of(np.concatenate(rows)) for rows in got))
    return Scores(here, original_score(*pair), frechet_distance(*map(Moments.of, pair)))


def original_score(reference: Rows, evaluation: Rows) -> float | None:
    """The distance as the original's own methods compute it from rows (n, dim), if they can."""
    with parity.stand_ins():
        from frechet_audio_distance.fad import FrechetAudioDistance as Original
    # Neither method looks at its object, whose constructor downloads.
    statistics = Original.calculate_embd_statistics
    moments = (*statistics(None, reference), *statistics(None, evaluation))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return float(Original.calculate_frechet_distance(None, *moments))
        except ValueError:  # "Imaginary component": the method's own refusal
            return None


Column = tuple[str, Callable[[Finding], str]]
COLUMNS: tuple[Column, ...] = (
    ("model", lambda f: f.model if f.options == "default" else f"{f.model} {f.options}"),
    ("weights", lambda f: f.weights),
    ("rows", lambda f: str(f.rows)),
    ("features", lambda f: "-" if f.features_error is None else f"{f.features_error:.1e}"),
    ("rows' error", lambda f: f"{f.rows_error:.1e}"),
    ("largest", lambda f: f"{f.largest_difference:.1e}"),
    ("score", lambda f: f"{f.score:.6g}"),
    ("original", lambda f: "fails" if f.original is None else f"{f.original:.6g}"),
    ("difference", lambda f: f"{f.score_difference:.1e}"),
    ("soxr for resampy", lambda f: f"{f.resampled_difference:.1e}"),
)


def table(findings: Sequence[Finding]) -> str:
    """The findings as a Markdown table."""
    lines = [[name for name, _ in COLUMNS], *([show(f) for _, show in COLUMNS] for f in findings)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "| "
        + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        + " |"
        for line in lines
    )


def as_json(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """The findings as plain values."""
    return [asdict(finding) for finding in findings]
