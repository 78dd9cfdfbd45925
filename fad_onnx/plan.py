"""What a run would cost: from the headers of the files, and one batch through the network."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Unpack

from . import machine, manifest, sets, shards, synthetic, weights
from .archives import is_archive, read_set
from .audio import Decoder, left_out
from .embedder import Embedder
from .errors import AudioError
from .manifest import Model, Windows
from .memory import is_large
from .run import PathLike, Run, RunOptions, workers
from .windows import Window

# Decoding, resampling and front end, as a share of the network's time (measured: under 0.1).
OVERHEAD = 1.1
# Python, NumPy, SciPy and ONNX Runtime before any model.
BASE_BYTES = 150 << 20


def estimate(
    paths: Sequence[PathLike],
    name: str | None,
    shard: str | None = None,
    **run: Unpack[RunOptions],
) -> dict[str, Any]:
    """Files, seconds, rows, unreadable files, memory and, if the weights are here, time.

    The model is the named one, or that of a statistics file among the paths. The time comes from
    running the network on one batch of synthetic windows. shard: as of `stats`.
    """
    runner = Run(name, run)
    for path in filter(is_archive, paths):
        runner.assume(read_set(path, run.get("key")))
    model = manifest.model(runner.requests[0].name)
    chosen = model.choose(runner.options)
    rules, rate = model.window_rules(chosen), model.sample_rate_hz
    audio = [path for path in paths if not is_archive(path)]
    listed = sets.list_files(audio) if audio else ()
    files, seconds, rows, work, longest, bad = 0, 0.0, 0, 0, 0, []
    for file in shards.cut(listed, shard) if shard else listed:
        try:
            with Decoder(file.path) as decoder:
                samples = decoder.length() * rate // decoder.sample_rate_hz
                seconds += decoder.length() / decoder.sample_rate_hz
        except AudioError as error:
            bad.append({"path": file.path, "reason": error.reason})
            continue
        if runner.policy.short == "pad":
            samples = max(samples, model.minimum_samples)
        files, longest = files + 1, max(longest, samples)
        count = count_windows(model, rules, samples)
        rows += count_rows(model, count, samples)
        work += count * max(samples if rules.cover == "whole" else 0, rules.length_samples or 0)
    result = {"model": model.name, "files": files, "seconds": round(seconds, 3), "rows": rows}
    state = weights.state(model, chosen, runner.requests[0].weights)
    embedder = None if state == "to download" else runner.embedders[0]
    return {
        **result,
        "weights": state,
        "unreadable": bad,
        "left_out": left_out(listed),
        "memory_mb": _memory(model, rules, longest, embedder, workers(run)) >> 20,
        "estimated_seconds": _time(embedder, rules, longest, work, workers(run))
        if embedder
        else None,
    }


def count_windows(model: Model, rules: Windows, samples: int) -> int:
    """How many windows a clip of so many samples gives; 0 below the model's minimum."""
    if samples < model.minimum_samples:
        return 0
    if rules.cover != "windows":
        return 1
    assert rules.length_samples and rules.hop_samples
    full = max(0, 1 + (samples - rules.length_samples) // rules.hop_samples)
    rest = samples - full * rules.hop_samples
    overlap = rules.length_samples - rules.hop_samples
    return full + (rules.tail == "pad" and rest > overlap)


def count_rows(model: Model, windows: int, samples: int) -> int:
    """How many rows these windows of one clip give."""
    if model.samples_per_row is None or not windows:
        return windows
    return -(-samples // model.samples_per_row)


def _memory(
    model: Model, rules: Windows, longest: int, embedder: Embedder | None, workers: int
) -> int:
    weight_bytes = sum(checkpoint.bytes or 0 for checkpoint in model.checkpoints.values())
    if embedder is not None:
        folder = embedder.network.graph.parent
        weight_bytes = sum(file.stat().st_size for file in folder.glob("weights.bin"))
    samples = max(rules.length_samples or 0, longest if rules.cover == "whole" else 0)
    working = samples * (model.peak_bytes_per_sample or 64 * 4)
    if not is_large(model, samples):  # those are computed one at a time
        working *= workers
    # The file is mapped and ONNX Runtime keeps a packed copy of it; statistics are float64.
    return BASE_BYTES + 2 * weight_bytes + working + 4 * 8 * model.dimension**2


def _time(embedder: Embedder, rules: Windows, longest: int, work: int, workers: int) -> float:
    """Seconds for windows of so many samples in all."""
    length = rules.length_samples or min(longest, 10 * embedder.model.sample_rate_hz)
    length = max(length, embedder.model.minimum_samples)
    clip = synthetic.clip(0, length, embedder.model.channels)
    batch = [Window(clip, length)] * min(embedder.batch_windows, 8)
    embedder.run(batch)
    start = time.perf_counter()
    embedder.run(batch)
    a_sample = (time.perf_counter() - start) / (len(batch) * length)
    return round(OVERHEAD * a_sample * work / min(workers, machine.cores()), 1)
