"""Peak memory and time of `score` on embeddings files, against the number of embeddings.

    python benchmarks/memory.py [--most 7] [--into benchmarks/memory.json] [--plot memory.png]

Writes two files of 10^4 to 10^MOST embeddings of 128 numbers, ten to a clip, into a temporary
folder (10^7: 10.4 GB), scores them, and records the highest resident memory of the process and its
wall time. --into adds to what the file holds; --plot draws what it holds.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fad_onnx.files import embeddings
from fad_onnx.pipeline.metadata import Metadata

WIDTH, PER_CLIP = 128, 10
ASKED = {"FAD": [], "interval": ["--ci=0.95"], "KAD": ["--kad"], "FAD-infinity": ["--inf"]}


def write(path: Path, count: int, seed: int) -> None:
    """Embeddings whose covariance is not diagonal, and whose mean drifts from block to block."""
    random = np.random.RandomState(seed)
    mixing = random.standard_normal((WIDTH, WIDTH)).astype(np.float32) / np.sqrt(WIDTH)
    clips = count // PER_CLIP

    def fill(writer: embeddings.Writer) -> None:
        for start in range(0, clips, 1000):
            own = min(1000, clips - start)
            block = random.standard_normal((own, PER_CLIP, WIDTH)).astype(np.float32) @ mixing
            for i, clip in enumerate(block + np.float32(0.01 * seed + start * 1e-6)):
                writer.add(f"{start + i:07}.wav", clip)
        said = Metadata(files=clips, embeddings=count, file_seconds=(float(PER_CLIP),) * clips)
        writer.metadata(said.to_json())

    embeddings.write(path, fill)


def measured(reference: Path, evaluation: Path, more: list[str]) -> dict[str, float]:
    """Peak resident memory in MB and wall time of one process."""
    command = [sys.executable, "-m", "fad_onnx", "score", str(reference), str(evaluation), *more]
    start = time.perf_counter()
    process = subprocess.Popen(
        [*command, "-q"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status):
        raise SystemExit(f"failed: {' '.join(command)}")
    seconds = time.perf_counter() - start
    return {"peak_mb": round(usage.ru_maxrss / 1000), "seconds": round(seconds, 1)}


def plot(found: list[dict[str, Any]], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 3.6), dpi=150)
    for name in ASKED:
        own = sorted((one["embeddings"], one["peak_mb"]) for one in found if one["asked"] == name)
        axes.plot(*zip(*own, strict=True), marker="o", label=name)
    size = sorted({one["embeddings"] for one in found})
    axes.plot(size, [n * WIDTH * 4 / 1e6 for n in size], "--", color="grey", label="size of a file")
    axes.set(xscale="log", xlabel="embeddings of 128 numbers, on each side", ylabel="peak MB",
             ylim=(0, 1200))  # fmt: skip
    axes.legend(loc="upper left", fontsize=8)
    figure.tight_layout()
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--least", type=int, default=4)
    parser.add_argument("--most", type=int, default=7)
    parser.add_argument("--into", type=Path)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    into = options.into if options.into and options.into.is_file() else None
    found = json.loads(into.read_text("utf-8"))["findings"] if into else []
    for power in range(options.least, options.most + 1):
        with tempfile.TemporaryDirectory() as folder:
            files = [Path(folder) / f"{seed}.npz" for seed in (1, 2)]
            for seed, file in enumerate(files, 1):
                write(file, 10**power, seed)
            for name, more in ASKED.items():
                one = {"asked": name, "embeddings": 10**power, **measured(*files, more)}
                print(json.dumps(one), flush=True)
                same = (name, 10**power)
                found = [old for old in found if (old["asked"], old["embeddings"]) != same] + [one]
    if options.into:
        text = json.dumps({"width": WIDTH, "findings": found}, indent=1)
        options.into.write_text(text + "\n", "utf-8")
    if options.plot:
        plot(found, options.plot)


if __name__ == "__main__":
    main()
