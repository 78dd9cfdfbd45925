"""Peak memory of one run of a network per sample of its window, for `peak_bytes_per_sample`.

    python benchmarks/window_memory.py [MODEL ...] [--seconds 1 10 60] [--models FILE.json]

Prints, for each model and length of a clip, the samples of its longest window, and the memory that
a run on this window took beyond the loaded network; then how much a sample adds between the two
longest windows, and the entry's number. Every run also takes some memory whatever its length, so
compare long clips. Where windows have a fixed length, the memory of one is divided by its samples.

Each measurement is a process of its own with one thread and synthetic weights; a run counts with
the front end before it. Linux only: the memory is RssAnon of /proc/self/status, sampled every
millisecond, because pages of the mapped weights come and go.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fad_onnx.networks import registration, synthetic, table
from fad_onnx.networks.embedder import Embedder
from fad_onnx.networks.memory import longest_window
from fad_onnx.networks.runtime import Settings
from fad_onnx.networks.selection import select
from fad_onnx.weights.binding import publish_synthetic
from fad_onnx.weights.prepare import opened


def own_bytes() -> int:
    """The memory of this process, without mapped files."""
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("RssAnon"))


def highest(run: Callable[[], object]) -> int:
    """The most memory beyond what the process holds now, while `run` works."""
    ctypes.CDLL(None).malloc_trim(0)  # what was freed before must not serve the run
    before, done = own_bytes(), threading.Event()
    found = [before]

    def watch() -> None:
        while not done.wait(0.001):
            found.append(own_bytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    run()
    done.set()
    watcher.join()
    return max(found) - before


def measure(name: str, seconds: float) -> dict[str, Any]:
    """The memory of the longest window of a clip of this length."""
    selection = select(name)
    preparation = selection.preparation
    samples = max(round(seconds * preparation.sample_rate_hz), preparation.minimum_samples)
    with tempfile.TemporaryDirectory() as folder:
        graph = publish_synthetic(selection, 0, Path(folder))
        session = opened(graph, selection, Settings("cpu"))
        embedder = Embedder(selection, session, {}, "")
        clip = synthetic.clip(0, samples, preparation.channel_count)
        windows = list(embedder.windower("pad").push(clip, last=True))
        longest = max(windows, key=lambda window: window.samples.shape[-1])
        peak = highest(lambda: embedder.run([longest]))
    size = longest_window(selection, samples)
    return {"model": name, "seconds": seconds, "window_samples": size, "peak_mb": peak / 1e6}


def growth(found: Sequence[dict[str, Any]]) -> float:
    """The bytes that a sample adds."""
    sizes, peaks = ([one[key] for one in found] for key in ("window_samples", "peak_mb"))
    if len(found) < 2 or sizes[-1] == sizes[-2]:
        return float(1e6 * peaks[-1] / sizes[-1])
    return float(1e6 * (peaks[-1] - peaks[-2]) / (sizes[-1] - sizes[-2]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="*")
    parser.add_argument("--seconds", type=float, nargs="+", default=[1, 10, 60])
    parser.add_argument("--models", type=Path, action="append", default=[])
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    for file in options.models:
        registration.read(file)
    if options.one:
        print(json.dumps(measure(options.model[0], options.seconds[0])))
        return
    for name in options.model or table.models():
        found = []
        for seconds in sorted(options.seconds):
            command = [sys.executable, __file__, name, "--one", "--seconds", str(seconds)]
            command += [word for file in options.models for word in ("--models", str(file))]
            said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            found.append(json.loads(said))
            print(said, end="", flush=True)
        entry = select(name).network.peak_bytes_per_sample
        print(json.dumps({"model": name, "bytes_per_sample": growth(found), "entry": entry}))


if __name__ == "__main__":
    main()
