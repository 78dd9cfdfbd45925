"""fad-onnx against the original: whole processes, in turn, with the same clips and weights.

    python benchmarks/side_by_side.py [MODEL ...] [--rate HZ] [--runs N] > results.json

Prints JSON: for each model wall and CPU seconds and peak memory of both, every run, and the
median ratio. Needs the extra [export] and the original packages (CONTRIBUTING.md). Weights and
clips are synthetic; the converted model is cached before the first run, embeddings are not.
OPENBLAS_CORETYPE is removed from the environment of both.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from fad_onnx.networks import synthetic, table
from fad_onnx.weights.binding import graph_file
from fad_onnx.weights.checkpoints.onnx_file import initializers

CLIPS, SECONDS = 23, 10


def prepare(name: str, rate: int | None, folder: Path) -> tuple[list[str], list[str]]:
    """Two folders of clips and a file of weights; the command lines of both programs."""
    model = table.model(name)
    infos = initializers(graph_file(model, model.variants[0]))
    bound = {key: info for key, info in infos.items() if info.external}
    np.savez(folder / "weights.npz", **synthetic.tensors(bound, 0))
    rate = rate or model.sample_rate_hz
    for number, side in enumerate(("reference", "evaluation")):
        (folder / side).mkdir()
        for index in range(CLIPS):
            clip = synthetic.clip(1000 * number + index, SECONDS * rate)[0]
            soundfile.write(folder / side / f"{index}.wav", clip, rate)
    sides = [str(folder / "reference"), str(folder / "evaluation")]
    weights = str(folder / "weights.npz")
    ours = [sys.executable, "-m", "fad_onnx", "score", *sides, "-m", name, "--weights", weights]
    theirs = [sys.executable, str(ROOT / "benchmarks" / "original.py"), name, weights, *sides]
    return [*ours, "--no-cache", "-q"], theirs


# A process of its own, because the system counts the parent's memory into a child's peak.
MEASURE = """
import json, os, subprocess, sys, time
start = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
printed = process.stdout.read()
_, status, usage = os.wait4(process.pid, 0)
if status:
    raise SystemExit(" ".join(sys.argv[1:]) + " failed")
print(json.dumps({
    "wall_s": round(time.perf_counter() - start, 3),
    "cpu_s": round(usage.ru_utime + usage.ru_stime, 3),
    "peak_mb": usage.ru_maxrss // 1024,
    "score": float(printed.split()[-1]),
}))
"""


def run(command: list[str], environment: dict[str, str]) -> dict[str, float]:
    """Wall and CPU seconds, peak memory in MB and the printed score of one process."""
    measured = subprocess.run(
        [sys.executable, "-c", MEASURE, *command],
        env=environment, cwd=ROOT, stdout=subprocess.PIPE, check=True,
    )  # fmt: skip
    found: dict[str, float] = json.loads(measured.stdout)
    return found


def compare(name: str, rate: int | None, runs: int) -> dict[str, object]:
    """Run both programs in turn, after one run of each that is not counted."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        ours, theirs = prepare(name, rate, folder)
        environment = {**os.environ, "FAD_ONNX_HOME": str(folder / "home")}
        for key in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
            environment.pop(key, None)
        pairs = [(run(ours, environment), run(theirs, environment)) for _ in range(runs + 1)][1:]
    ratios = [b["wall_s"] / a["wall_s"] for a, b in pairs]
    return {
        "model": name,
        "rate_hz": rate or table.model(name).sample_rate_hz,
        "times_the_original": round(statistics.median(ratios), 2),
        "range": [round(min(ratios), 2), round(max(ratios), 2)],
        "fad_onnx": [a for a, _ in pairs],
        "original": [b for _, b in pairs],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=["vggish"])
    parser.add_argument("--rate", type=int)
    parser.add_argument("--runs", type=int, default=3)
    chosen = parser.parse_args()
    results = [compare(name, chosen.rate, chosen.runs) for name in chosen.models]
    machine = {
        "cpus": os.cpu_count(),
        "machine": platform.machine(),
        "python": sys.version.split()[0],
    }
    print(
        json.dumps(
            {"clips": 2 * CLIPS, "seconds": SECONDS, **machine, "results": results}, indent=2
        )
    )


if __name__ == "__main__":
    main()
