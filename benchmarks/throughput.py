"""The cost of a million clips with several networks, and clips in memory compared with files.

    python benchmarks/throughput.py models [MODEL ...] --into benchmarks/throughput.json
    python benchmarks/throughput.py memory [MODEL ...] --into benchmarks/throughput.json
    python tasks.py docs    # writes the tables into RELIABILITY.md and benchmarks/README.md

Run it on an idle machine. Weights are synthetic, because speed does not depend on their values, and
nothing is downloaded.

`models` runs `fad-onnx bench` on clips of ten seconds at 44.1 kHz with a worker on every core.
`memory` embeds the same clips from files (`fad_onnx.embed`) and from arrays (`embed_many`) in turn,
after one uncounted run of each; the time of files includes decoding.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import fad_onnx
from fad_onnx.api.dry_run import count_embeddings, count_windows
from fad_onnx.networks import machine, synthetic
from fad_onnx.networks.embedder import Embedder
from fad_onnx.networks.runtime import Settings
from fad_onnx.networks.selection import select
from fad_onnx.weights.binding import publish_synthetic
from fad_onnx.weights.prepare import opened

MODELS = ("vggish", "pann-32k", "clap", "passt", "mert-95m", "encodec-24k")
IN_MEMORY = ("logmel", "vggish")
SECONDS, CHUNK_FILES, ROUNDS = 10.0, 16, 5


def model(name: str, clips: int) -> dict[str, Any]:
    """The speed of one model, and the bytes that a chunk of its clips sends through a scheduler."""
    cores = machine.cores()
    command = [sys.executable, "-m", "fad_onnx", "bench", name, "--json", "--clips", str(clips)]
    command += ["--seconds", str(SECONDS), "--workers", str(cores)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    (timing,) = json.loads(said)["timings"]
    speed = timing["warm_speed"] / SECONDS
    selection = select(name)
    samples = round(SECONDS * selection.preparation.sample_rate_hz)
    windows = count_windows(selection, samples)
    embeddings = count_embeddings(selection, windows, samples, SECONDS)
    width, many = selection.output.width, CHUNK_FILES * embeddings
    sent = 8 * width * (1 + (many - 1 if many <= width + 1 else width))
    return {
        "model": name, "cores": cores, "clips": clips, "clips_per_second": round(speed, 3),
        "embeddings_per_clip": embeddings, "width": width, "bytes_per_chunk": sent,
    }  # fmt: skip


def in_memory(name: str, clips: int) -> dict[str, Any]:
    """Seconds for clips from files and from arrays, and the ratio of each pair."""
    selection = select(name)
    rate = selection.preparation.sample_rate_hz
    arrays = [synthetic.clip(index, round(SECONDS * rate))[0] for index in range(clips)]
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "clips").mkdir()
        (Path(folder) / "model").mkdir()
        for index, samples in enumerate(arrays):
            soundfile.write(f"{folder}/clips/{index:05}.wav", samples, rate)
        graph = publish_synthetic(selection, 0, Path(folder) / "model")
        session = opened(graph, selection, Settings("cpu"))
        embedder = Embedder(selection, session, {}, "")
        files, held = _ways(embedder, f"{folder}/clips", arrays, rate)
        pairs = [(_seconds(files), _seconds(held)) for _ in range(ROUNDS + 1)][1:]
    ratios = sorted(first / second for first, second in pairs)
    return {
        "model": name, "cores": machine.cores(), "clips": clips,
        "files_seconds": round(statistics.median(first for first, _ in pairs), 3),
        "memory_seconds": round(statistics.median(second for _, second in pairs), 3),
        "files_over_memory": round(statistics.median(ratios), 3),
        "range": [round(ratios[0], 3), round(ratios[-1], 3)],
    }  # fmt: skip


def _ways(
    embedder: Embedder, folder: str, arrays: list[NDArray[np.float32]], rate: int
) -> tuple[Callable[[], int], Callable[[], int]]:
    def files() -> int:
        return len(fad_onnx.embed(folder, embedder, cache=False))

    def held() -> int:
        clips = ((samples, rate) for samples in arrays)
        return sum(1 for _ in embedder.embed_many(clips))

    return files, held


def _seconds(work: Callable[[], int]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measured(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The requested findings, one at a time."""
    if options.what == "models":
        yield from (model(name, options.clips or 32) for name in options.models or MODELS)
    else:
        yield from (in_memory(name, options.clips or 100) for name in options.models or IN_MEMORY)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("models", "memory"))
    parser.add_argument("models", nargs="*")
    parser.add_argument("--clips", type=int)
    parser.add_argument("--into", type=Path)
    options = parser.parse_args()
    into = options.into if options.into and options.into.is_file() else None
    found = json.loads(into.read_text("utf-8")) if into else {}
    found["machine"] = f"{_processor()}, {machine.cores()} cores"
    for one in measured(options):
        print(json.dumps(one), flush=True)
        others = [old for old in found.get(options.what, []) if old["model"] != one["model"]]
        found[options.what] = [*others, one]
        if options.into:
            options.into.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


if __name__ == "__main__":
    main()
