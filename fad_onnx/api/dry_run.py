"""The cost of a run, from the headers of the files and one batch through the network."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from ..audio.decoding import BLOCK_SAMPLES, Decoder
from ..audio.sources import joined, left_out
from ..errors import AudioError
from ..files import shards
from ..files.archives import is_archive, read_set
from ..networks import machine, synthetic
from ..networks.embedder import Embedder
from ..networks.memory import full_batch, limit_bytes, longest_window, needed_bytes
from ..networks.pooling import pooled_count
from ..networks.runtime import ACCELERATOR_RUNS
from ..networks.selection import Selection
from ..networks.windows import Window
from ..pipeline import datasets
from ..pipeline.batching import AHEAD_FILES, WAITING_BYTES
from ..pipeline.options import NO_OPTIONS, PathLike, RunOptions
from ..pipeline.run import Run
from ..weights import prepare
from . import inputs

# Time of decoding, resampling and front end, relative to the network (measured: under 0.1).
OVERHEAD = 1.1
# Python, NumPy, SciPy and ONNX Runtime before any model.
BASE_BYTES = 150 << 20


def estimate(
    sources: Sequence[PathLike | Sequence[PathLike]],
    name: str | None,
    shard: str | None = None,
    run: RunOptions = NO_OPTIONS,
) -> dict[str, Any]:
    """Files, seconds, embeddings, unreadable files, memory and, if the weights are here, time.

    Each source is a dataset: a path, or several. Equal ones count once, as a run embeds them once.
    The model is the named one, or that of a statistics file among the paths. The time comes from
    running the network on one batch of synthetic windows. `shard` is that of `stats`.
    """
    runner = Run(name, run)
    sides = [inputs.paths_of(one) for one in sources]
    for path in filter(is_archive, chain.from_iterable(sides)):
        runner.assume(read_set(path, run.key))
    selection = runner.selections[0]
    preparation = selection.preparation
    rules, rate = preparation.windows, preparation.sample_rate_hz
    audio = dict.fromkeys(tuple(path for path in own if not is_archive(path)) for own in sides)
    listings = [datasets.list_files(paths, run.offline) for paths in audio if paths]
    listed = joined(listings) if listings else ()
    files, seconds, embeddings, work, longest, widest, bad = 0, 0.0, 0, 0, 0, 0, []
    for file in shards.cut(listed, shard) if shard else listed:
        try:
            with Decoder(file.blob()) as decoder:
                samples = decoder.length() * rate // decoder.sample_rate_hz
                widest = max(widest, decoder.length() * decoder.channels)
                own_seconds = decoder.length() / decoder.sample_rate_hz
        except AudioError as error:
            bad.append({"path": file.label, "reason": error.reason})
            continue
        if runner.policy.short == "pad":
            samples = max(samples, preparation.minimum_samples)
        files, longest, seconds = files + 1, max(longest, samples), seconds + own_seconds
        count = count_windows(selection, samples)
        embeddings += count_embeddings(selection, count, samples, own_seconds)
        whole = samples if rules.cover == "whole" else 0
        work += count * max(whole, longest_window(selection, samples))
    result = {
        "model": selection.label,
        "files": files,
        "seconds": round(seconds, 3),
        "embeddings": embeddings,
    }
    state = prepare.state(selection, runner.specs[0].weights)
    embedder = None if state == "to download" else runner.embedders[0]
    todo = Work(work, longest, widest)
    return {
        **result,
        "weights": state,
        "unreadable": bad,
        "left_out": left_out(listed),
        "memory_mb": _memory(selection, todo, embedder, run.worker_count) >> 20,
        "estimated_seconds": _time(embedder, longest, work, run.worker_count) if embedder else None,
    }


def count_windows(selection: Selection, samples: int) -> int:
    """The number of windows of a clip of this many samples; 0 below the minimum."""
    rules = selection.preparation.windows
    if samples < selection.preparation.minimum_samples:
        return 0
    if rules.cover != "windows":
        return 1
    assert rules.length_samples and rules.hop_samples
    if rules.margins == "reflect":
        if samples <= rules.length_samples:
            return 1
        samples += rules.length_samples // 2 * 2
    elif rules.margins == "zeros":
        whole = -(-samples // rules.length_samples) * rules.length_samples
        samples = whole + rules.length_samples // 2 * 2
    elif rules.margins == "zeros_before":
        samples += rules.length_samples // 2
    full = max(0, 1 + (samples - rules.length_samples) // rules.hop_samples)
    rest = samples - full * rules.hop_samples
    overlap = rules.length_samples - rules.hop_samples
    return full + (rules.tail != "drop" and (rest > overlap or not full))


def count_embeddings(selection: Selection, windows: int, samples: int, seconds: float) -> int:
    """The number of embeddings of these windows of one clip."""
    output, preparation = selection.output, selection.preparation
    rules = preparation.windows
    if output.samples_per_embedding is None or not windows:
        count = windows * output.per_window
    elif rules.margins != "none":
        count = windows * output.count(rules.length_samples or 0)
    else:
        count = output.count(int(min(samples, preparation.most_samples)))
    used = preparation.used_seconds(seconds)
    return pooled_count(preparation.pooling, count, used) * (output.width // selection.width)


@dataclass(frozen=True)
class Work:
    """The work of a run: samples at the model's rate, in all windows and of the longest
    clip, and samples of all channels in the longest file.
    """

    samples: int
    longest: int
    widest: int


def _memory(selection: Selection, work: Work, embedder: Embedder | None, workers: int) -> int:
    """The peak memory in bytes: either while the model loads, or of all work in flight."""
    checkpoints = (selection.network.checkpoints[name] for name in selection.output.checkpoints)
    weight_bytes = sum(checkpoint.bytes or 0 for checkpoint in checkpoints)
    loading, accelerator = BASE_BYTES + 2 * weight_bytes, False
    if embedder is not None:
        folder = embedder.session.graph.parent
        weight_bytes = sum(file.stat().st_size for file in folder.glob("weights.bin"))
        loading = _peak_bytes()  # it has just been loaded
        accelerator = embedder.session.provider.accelerator
    running = _in_flight(selection, work, workers, accelerator)
    statistics = 4 * 8 * selection.width**2  # float64
    return max(loading, BASE_BYTES + weight_bytes + running + statistics)


def _in_flight(selection: Selection, work: Work, workers: int, accelerator: bool) -> int:
    """Bytes of decoded blocks, of windows that wait for a batch, and of running batches."""
    network, preparation = selection.network, selection.preparation
    channels = preparation.channel_count
    decoded = min(2 * workers, AHEAD_FILES) * 3 * 4 * min(BLOCK_SAMPLES, work.widest)
    waiting = min(WAITING_BYTES, 4 * channels * work.samples)
    held = 0 if preparation.windows.cover == "windows" else 3 * 4 * channels * work.longest
    window = longest_window(selection, work.longest)
    together = ACCELERATOR_RUNS if accelerator else workers
    samples = together * window * full_batch(network, preparation, window, workers, accelerator)
    running = min(limit_bytes(), needed_bytes(network, min(samples, work.samples)))
    return decoded + waiting + held + max(running, needed_bytes(network, window))


def _peak_bytes() -> int:
    """The peak memory of this process so far; 0 on Windows."""
    if sys.platform == "win32":
        return 0
    if sys.platform == "linux":  # where ru_maxrss is at least what the parent held at the start
        lines = Path("/proc/self/status").read_text("utf-8").splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))
    import resource

    unit = 1 if sys.platform == "darwin" else 1 << 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _time(embedder: Embedder, longest: int, work: int, workers: int) -> float:
    """Seconds for windows of this many samples in total."""
    preparation = embedder.preparation
    length = preparation.windows.length_samples or min(longest, 10 * preparation.sample_rate_hz)
    length = max(length, preparation.minimum_samples)
    clip = synthetic.clip(0, length, preparation.channel_count)
    batch = [Window(clip, length)] * min(embedder.batch_windows, 8)
    embedder.run(batch)
    start = time.perf_counter()
    embedder.run(batch)
    a_sample = (time.perf_counter() - start) / (len(batch) * length)
    return round(OVERHEAD * a_sample * work / min(workers, machine.cores()), 1)
