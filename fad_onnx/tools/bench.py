"""Measures seconds of audio per second on this machine, and where the time is spent.

Models run with synthetic weights on synthetic clips, so nothing is downloaded: speed does not
depend on the values. Stages are timed one after the other on one thread; the total is timed with
everything in parallel, as in `score`.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import soundfile
from numpy.typing import NDArray

from ..audio import decoding, sources
from ..audio.sources import AudioFile
from ..errors import OptionError
from ..networks import frontends, machine, synthetic
from ..networks.embedder import Embedder, Embeddings
from ..networks.memory import full_batch, longest_window
from ..networks.network import Batch
from ..networks.preparation import Preparation
from ..networks.runtime import Settings
from ..networks.selection import Selection
from ..pipeline.batching import Engine
from ..pipeline.clip_windows import Policy
from ..pipeline.executors import fold
from ..weights.binding import publish_synthetic
from ..weights.prepare import opened

In = TypeVar("In")
Out = TypeVar("Out")


@dataclass(frozen=True)
class Load:
    """The work to measure: the clips, their length and rate, and the number of workers.

    `batch` is the number of windows in one run of the network; None takes the model's own.
    """

    clips: int = 16
    seconds: float = 10.0
    rate_hz: int = 44100
    workers: int = 1
    batch: int | None = None


@dataclass(frozen=True)
class Timing:
    """One measurement.

    Stages are seconds per clip on one thread. Speeds are seconds of audio per second: the cold one
    includes loading the network, the warm one does not.
    """

    model: str
    provider: str
    workers: int
    batch: int
    load_seconds: float
    cold_speed: float
    warm_speed: float
    stages: Mapping[str, float]


def measure(selection: Selection, settings: Settings, load: Load) -> Timing:
    """Measure one model on one provider; ProviderError if it does not load.

    Raises OptionError for clips that are too short for the model or do not fit into memory.
    """
    _check(selection, load)
    with tempfile.TemporaryDirectory(prefix="fad-onnx-bench-") as name:
        folder = Path(name)
        graph = publish_synthetic(selection, 0, folder)
        files = _clips(selection.preparation, load, folder / "clips")
        start = time.perf_counter()
        session = opened(graph, selection, settings)
        embedder = Embedder(_with_batch(selection, load.batch), session, {}, "")
        loaded = time.perf_counter() - start
        cold = _whole(embedder, files, load.workers)
        warm = min(_whole(embedder, files, load.workers) for _ in range(2))
        seconds = load.clips * load.seconds
        return Timing(
            selection.label, session.provider.name, load.workers, _batch(embedder, load),
            loaded, seconds / (loaded + cold), seconds / warm, _stages(embedder, files),
        )  # fmt: skip


def _check(selection: Selection, load: Load) -> None:
    preparation = selection.preparation
    least = preparation.minimum_samples / preparation.sample_rate_hz
    if not load.seconds >= least:
        raise OptionError(
            "seconds", f"{load.seconds:g} s is below the {least:g} s of {selection.label}"
        )
    # Each stage runs over all clips before the next one, so all clips are in memory.
    needed = load.clips * load.seconds * load.rate_hz * preparation.channel_count * 8
    available = machine.available_bytes()
    if available is not None and needed > available:
        raise OptionError(
            "clips, seconds", f"{load.clips} clips of {load.seconds:g} s need"
            f" {needed / 1e9:.1f} GB, {available / 1e9:.1f} GB are available",
        )  # fmt: skip


def _batch(embedder: Embedder, load: Load) -> int:
    """Windows in a full batch; fewer than requested if many batches run at once."""
    selection, accelerator = embedder.selection, embedder.session.provider.accelerator
    preparation = selection.preparation
    window = longest_window(selection, round(load.seconds * preparation.sample_rate_hz))
    return full_batch(selection.network, preparation, window, load.workers, accelerator)


def _with_batch(selection: Selection, batch: int | None) -> Selection:
    if batch is None:
        return selection
    network = replace(selection.network, batch=Batch(batch, batch))
    return replace(selection, model=replace(selection.model, network=network))


def _clips(preparation: Preparation, load: Load, folder: Path) -> list[AudioFile]:
    folder.mkdir()
    for index in range(load.clips):
        clip = synthetic.clip(index, round(load.seconds * load.rate_hz), preparation.channel_count)
        soundfile.write(folder / f"{index:04}.wav", clip.T, load.rate_hz)
    return list(sources.find(folder))


def _whole(embedder: Embedder, files: Sequence[AudioFile], workers: int) -> float:
    start = time.perf_counter()
    results = Engine([embedder], Policy(), workers).embed(files)
    fold([result.embeddings[0] for result in results], embedder.width, "bench")
    return time.perf_counter() - start


def _stages(embedder: Embedder, files: Sequence[AudioFile]) -> dict[str, float]:
    """Seconds per clip of every stage."""
    blocks, decode = _timed(_decode, files)
    samples, resample = _timed(lambda block: _resampled(embedder.preparation, *block), blocks)
    cuts = [embedder.windower("pad").push(clip, last=True) for clip in samples]
    batches = list(embedder.batches([window for cut in cuts for window in cut]))
    inputs, front = _timed(
        lambda batch: frontends.apply(
            embedder.preparation.frontend, np.stack([window.samples for window in batch])
        ),
        batches,
    )
    tensors = (embedder.selection.output.tensor,)
    outputs, network = _timed(lambda batch: embedder.session.run(batch, tensors)[0], inputs)
    parts: list[Embeddings] = [output.reshape(-1, embedder.width) for output in outputs]
    start = time.perf_counter()
    fold(parts, embedder.width, "bench")
    spent = (decode, resample, front, network, time.perf_counter() - start)
    names = ("decode", "resample", "front_end", "network", "statistics")
    return {name: value / len(files) for name, value in zip(names, spent, strict=True)}


def _decode(file: AudioFile) -> tuple[NDArray[np.float32], int]:
    with decoding.Decoder(file.blob()) as decoder:
        return np.concatenate(list(decoder)), decoder.sample_rate_hz


def _resampled(
    preparation: Preparation, block: NDArray[np.float32], rate: int
) -> NDArray[np.float32]:
    return preparation.resample(rate, block.shape[1]).push(block, last=True)


def _timed(work: Callable[[In], Out], values: Sequence[In]) -> tuple[list[Out], float]:
    start = time.perf_counter()
    results = [work(value) for value in values]
    return results, time.perf_counter() - start
