"""Where ONNX Runtime spends its time: the operators of each model, on one thread, for one batch.

    python benchmarks/operators.py [MODEL ...] [--batch N] [--runs N] > operators.json

Prints JSON: milliseconds per ten-second clip as a whole and by operator, the floating-point
operations of a clip, and what share of this machine's own matrix product that speed is. Synthetic
weights. The share is of NumPy's float32 product of two 3000 x 3000 matrices on one thread, without
OPENBLAS_CORETYPE. The whole is the median of runs without profiling; the profiler slows the run.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnxruntime

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from fad_onnx.manifest import Model

from fad_onnx.networks import frontends, synthetic, table
from fad_onnx.networks.embedder import Embedder
from fad_onnx.networks.runtime import Network, Settings
from fad_onnx.weights.binding import publish_synthetic

SECONDS = 10
# 1e9 floating-point operations for ten seconds: twice the multiplications of all layers.
GFLOP = {"vggish": 17.3, "pann-8k": 40, "pann-16k": 40, "pann-32k": 40, "encodec-24k": 30,
         "encodec-24k-10s": 30, "encodec-48k": 60, "encodec-48k-10s": 60}  # fmt: skip
PRODUCT = """
import time, numpy as np
a = np.random.default_rng(0).random((3000, 3000), np.float32)
def once():
    start = time.perf_counter(); a @ a; return time.perf_counter() - start
once(); print(2 * 3000**3 / sorted(once() for _ in range(9))[4] / 1e9)
"""


def product_gflops() -> float:
    """Speed of NumPy's matrix product on one thread, in 1e9 operations a second."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OPENBLAS_")}
    environment["OPENBLAS_NUM_THREADS"] = "1"
    command = [sys.executable, "-c", PRODUCT]
    return float(subprocess.run(command, env=environment, capture_output=True, check=True).stdout)


def measure(model: Model, batch: int | None, runs: int) -> dict[str, Any]:
    """Measure one model on batches of its own size, or of this size."""
    with tempfile.TemporaryDirectory() as folder:
        variant = model.variant(model.choose())
        graph = publish_synthetic(model, variant, 0, Path(folder))
        network = Network(graph, variant.output, Settings("cpu"))
        embedder = Embedder(model, model.choose(), network, {}, "")
        size = batch or embedder.batch_windows
        inputs, clips = _batch(embedder, size)
        times = []
        for _ in range(runs + 1):
            start = time.perf_counter()
            network.run(inputs)
            times.append((time.perf_counter() - start) * 1000 / clips)
        by_operator = _profile(graph, variant.output, inputs, clips, Path(folder))
    return {
        "model": model.name,
        "batch_windows": size,
        "ms_per_clip": round(median(times[1:]), 1),
        "range": [round(min(times[1:]), 1), round(max(times[1:]), 1)],
        "gflop_per_clip": GFLOP.get(model.name),
        "operators_ms": by_operator,
    }


def _batch(embedder: Embedder, size: int) -> tuple[Any, float]:
    """The inputs of the network for this many windows, and the number of clips."""
    rate, windows, clips = embedder.model.sample_rate_hz, [], 0
    while len(windows) < size:
        clip = synthetic.clip(clips, SECONDS * rate, embedder.model.channels)
        windows += embedder.windower("pad").push(clip, last=True)
        clips += 1
    of_a_clip = len(windows) / clips
    stack = np.stack([window.samples for window in windows[:size]])
    return frontends.apply(embedder.model.frontend, stack), size / of_a_clip


def _profile(graph: Path, output: str, inputs: Any, clips: float, folder: Path) -> dict[str, float]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    options.enable_profiling, options.profile_file_prefix = True, str(folder / "profile")
    session = onnxruntime.InferenceSession(str(graph), options, ["CPUExecutionProvider"])
    feed = dict(zip((i.name for i in session.get_inputs()), inputs, strict=True))
    runs = 3
    for _ in range(runs):
        session.run([output], feed)
    spent: Counter[str] = Counter()
    for event in json.loads(Path(session.end_profiling()).read_text("utf-8")):
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            spent[event["args"]["op_name"]] += event["dur"]
    for holder in ("Loop", "Scan", "If"):  # their time is that of the operators in them
        spent.pop(holder, None)
    return {name: round(us / 1000 / runs / clips, 1) for name, us in spent.most_common(12)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=["vggish"])
    parser.add_argument("--batch", type=int)
    parser.add_argument("--runs", type=int, default=7)
    chosen = parser.parse_args()
    results = []
    for name in chosen.models:
        # Measured next to each other, because the speed of a shared machine drifts.
        speed = product_gflops()
        one = measure(table.model(name), chosen.batch, chosen.runs)
        if one["gflop_per_clip"]:
            share = one["gflop_per_clip"] / (one["ms_per_clip"] / 1000) / speed
            one |= {"product_gflops": round(speed, 1), "share": round(share, 2)}
        results.append(one)
    version = onnxruntime.__version__
    print(json.dumps({"threads": 1, "onnxruntime": version, "results": results}, indent=2))


if __name__ == "__main__":
    main()
