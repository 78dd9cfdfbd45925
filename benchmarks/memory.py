"""Peak memory and time of metrics on embeddings files, against the number of embeddings.

    python benchmarks/memory.py [--width 128] [--least 4] [--most 7] [--only FAD KAD]
        [--minutes 10] [--into benchmarks/memory.json] [--plot memory.png]

Writes two files of 10^4 to 10^MOST embeddings, ten to a clip, into a temporary folder (10^7 of 128
numbers, 10^6 of 2048: 5.7 and 9 GB, with a reference of a tenth), compares them, and records the
highest resident memory of the process; how much of it was its own, without the pages of the mapped
files, sampled every 20 ms; and the wall time. --into adds to what the file holds; --plot draws what
it holds, in light and in dark (memory.png and memory-dark.png), and --most 0 measures nothing.
--minutes stops each process after that time, and records its memory until then as that of a
process that did not finish; the plot leaves such points empty.

"several models" gathers a dataset for three models, and computes their FAD and KAD, while workers
elsewhere compute the embeddings. Chunks of random numbers replace these, so the benchmark measures
what the process holds apart from the networks. Results that arrive early, and wait for their turn,
add up to 256 MiB.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fad_onnx.pipeline.metadata import Metadata

PER_CLIP = 10
LIMIT_MB = 700
MODELS = ("first", "second", "third")
METRICS = ("fad", "kad")
# What is measured, and the most embeddings with which it ends within an hour, by their width.
ASKED: dict[str, tuple[list[str], dict[int, int]]] = {
    "FAD": (["score"], {}),
    "interval": (["score", "--ci=0.95"], {}),
    "every clip": (["score", "--per-file={folder}/clips.csv"], {}),
    "FAD-infinity": (["score", "--inf"], {}),
    "KAD": (["score", "--kad"], {}),
    "prdc": (["evaluate", "--metric=prdc"], {128: 10**6, 2048: 10**5}),
    "several models": (["several"], {2048: 10**5}),
}


def write(path: Path, count: int, width: int, seed: int) -> None:
    """Embeddings whose covariance is not diagonal, and whose mean drifts from block to block.

    Straight into the archive: `embeddings.write` would need the disk twice.
    """
    random = np.random.default_rng(seed)
    mixing = random.standard_normal((width, width), np.float32) / np.float32(np.sqrt(width))
    clips, at_once = count // PER_CLIP, 1000 * PER_CLIP
    said = Metadata(files=clips, embeddings=count, file_seconds=(float(PER_CLIP),) * clips)
    others = {
        "offsets": np.arange(0, count + 1, PER_CLIP),
        "names": np.array([f"{clip:07}.wav" for clip in range(clips)]),
        "metadata": np.array(json.dumps(said.to_json())),
    }
    with zipfile.ZipFile(path, "w") as archive:
        with archive.open("embeddings.npy", "w", force_zip64=True) as member:
            header = {"descr": "<f4", "fortran_order": False, "shape": (count, width)}
            np.lib.format.write_array_header_1_0(member, header)
            for start in range(0, count, at_once):
                block = random.standard_normal((min(at_once, count - start), width), np.float32)
                block = block @ mixing + np.float32(0.01 * seed + start / PER_CLIP * 1e-6)
                member.write(block.data)
        for name, array in others.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array)


def measured(command: list[str], seconds: float) -> dict[str, Any]:
    """Peak memory in MB and wall time of one process, which is stopped after some seconds."""
    start, own, finished = time.perf_counter(), 0, True
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen([*command, "-q"], stdout=subprocess.DEVNULL, stderr=said)
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            own = max(own, _anonymous_kb(process.pid))
            time.sleep(0.02)
            if finished and time.perf_counter() - start > seconds:
                os.kill(process.pid, signal.SIGKILL)  # Popen.kill would take the exit status
                finished = False
        if finished and os.waitstatus_to_exitcode(status):
            said.seek(0)
            raise SystemExit(f"failed: {' '.join(command)}\n{said.read().decode()}")
    return {
        "peak_mb": round(usage.ru_maxrss * 1024 / 1e6),
        "own_mb": round(own * 1024 / 1e6),
        "seconds": round(time.perf_counter() - start, 1),
        **({} if finished else {"finished": False}),
    }


def _anonymous_kb(pid: int) -> int:
    text = Path(f"/proc/{pid}/status").read_text("utf-8")
    found = [line for line in text.splitlines() if line.startswith("RssAnon")]
    return int(found[0].split()[1]) if found else 0


class Elsewhere(Executor):
    """Workers whose results, random embeddings, arrive when they are awaited."""

    def __init__(self, width: int) -> None:
        self.width = width

    def submit(self, run: Any, job: Any, files: Any) -> Awaited:  # type: ignore[override]
        return Awaited(self, len(job.requests), files)

    def chunk(self, models: int, files: Any) -> Any:
        """The result for these files."""
        from fad_onnx.metrics.moments import Moments
        from fad_onnx.pipeline.executors import Chunk
        from fad_onnx.pipeline.summaries import FileSummary

        random = np.random.default_rng(len(files[0].name))
        every = [
            tuple(random.standard_normal((PER_CLIP, self.width), np.float32) for _ in range(models))
            for _ in files
        ]
        moments = tuple(Moments.of(np.concatenate(own)) for own in zip(*every, strict=True))
        summaries = tuple(
            FileSummary(file, (PER_CLIP,) * len(own), 10.0, 16000, None, own)
            for file, own in zip(files, every, strict=True)
        )
        return Chunk(summaries, moments, ({},) * len(moments))


class Awaited(Future[Any]):
    """A chunk that is made when it is awaited."""

    def __init__(self, workers: Elsewhere, models: int, files: Any) -> None:
        super().__init__()
        self.made = workers, models, files

    def result(self, timeout: float | None = None) -> Any:
        workers, models, files = self.made
        return workers.chunk(models, files)


def several(count: int, width: int, folder: Path) -> None:
    """FAD and KAD of two datasets for three models."""
    import fad_onnx

    sides = []
    for name, size in zip(("reference", "evaluation"), sizes(count, width), strict=True):
        listed = folder / f"{name}.txt"
        with listed.open("w", encoding="utf-8") as out:
            for index in range(size // PER_CLIP):
                out.write(f"{folder}/{name}-{index:07}.wav\n")
        sides.append(listed)
    network = {"extends": "logmel", "outputs": {"embedding": {"width": width, "checkpoints": []}}}
    same = {"network": network, "preparation": "vggish", "summary": "as wide as the benchmark asks"}
    for name in MODELS:
        fad_onnx.register({"name": name, **same})
    metrics = [f"{metric}:{model}" for model in MODELS for metric in METRICS]
    with Elsewhere(width) as executor:
        fad_onnx.evaluate(sides[1], sides[0], metrics, executor=executor, cache=False)


def plot(found: list[dict[str, Any]], path: Path, ink: str, paper: str) -> None:
    """Peak memory against the number of embeddings, for both widths."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    colours = {"text.color": ink, "axes.labelcolor": ink, "axes.edgecolor": ink, "xtick.color": ink,
               "ytick.color": ink, "figure.facecolor": paper, "axes.facecolor": paper}  # fmt: skip
    with mpl.rc_context({**colours, "font.size": 9}):
        figure, panels = pyplot.subplots(1, 2, figsize=(9, 3.8), dpi=150, sharey=True)
        for axes, width in zip(panels, (128, 2048), strict=True):
            _panel(axes, [one for one in found if one["width"] == width], width, ink)
        panels[0].set(ylabel="peak memory, MB")
        lines = panels[0].get_legend_handles_labels()
        figure.legend(*lines, loc="lower center", ncols=5, frameon=False)
        figure.tight_layout(rect=(0, 0.13, 1, 1))
        figure.savefig(path)
        pyplot.close(figure)


def _panel(axes: Any, found: list[dict[str, Any]], width: int, ink: str) -> None:
    for index, name in enumerate(ASKED):
        own = sorted((one for one in found if one["asked"] == name), key=_place)
        sizes, peaks = ([one[key] for one in own] for key in ("embeddings", "peak_mb"))
        if own:
            axes.plot(sizes, peaks, marker="o", markersize=4, label=name, color=f"C{index}")
        stopped = [place for place, one in enumerate(own) if not one.get("finished", True)]
        axes.plot(
            [sizes[i] for i in stopped], [peaks[i] for i in stopped], "o", markersize=4,
            color=f"C{index}", markerfacecolor=axes.get_facecolor(),
        )  # fmt: skip
    size = np.geomspace(1e4, max(one["embeddings"] for one in found), 99) if found else np.zeros(0)
    axes.plot(size, size * width * 4 / 1e6, ":", color=ink, label="size of a file")
    axes.axhline(LIMIT_MB, linestyle="--", color="#c44", linewidth=1, label="limit")
    axes.set(xscale="log", ylim=(0, 1000), title=f"{width} numbers each")
    axes.set(xlabel="embeddings of the evaluation")
    axes.spines[["top", "right"]].set_visible(False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--least", type=int, default=4)
    parser.add_argument("--most", type=int, default=7)
    parser.add_argument("--only", nargs="+", default=list(ASKED), choices=ASKED)
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--into", type=Path)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--several", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("-q", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.several:
        count, width, folder = options.several
        return several(int(count), int(width), Path(folder))
    into = options.into if options.into and options.into.is_file() else None
    found = json.loads(into.read_text("utf-8"))["findings"] if into else []
    for power in range(options.least, options.most + 1):
        for one in run(10**power, options.width, options.only, 60 * options.minutes):
            print(json.dumps(one), flush=True)
            found = [old for old in found if _place(old) != _place(one)] + [one]
            if options.into:
                text = json.dumps({"limit_mb": LIMIT_MB, "findings": sorted(found, key=_place)})
                text = text.replace('{"asked', '\n  {"asked').replace("]}", "\n]}")
                options.into.write_text(text + "\n", "utf-8")
    if options.plot:
        plot(found, options.plot, "#24292f", "#ffffff")
        dark = options.plot.with_stem(options.plot.stem + "-dark")
        plot(found, dark, "#e6edf3", "#0d1117")
    return None


def sizes(count: int, width: int) -> list[int]:
    """The embeddings of the reference and of the evaluation.

    Above 2 GB, only the evaluation has the full size, because disks may be small.
    """
    return [count if 4 * width * count < 2 * 10**9 else count // 10, count]


def run(count: int, width: int, only: list[str], seconds: float) -> Any:
    """Measure everything for this many embeddings, one after the other."""
    limited = seconds < float("inf")
    asked = {
        name: words
        for name, (words, most) in ASKED.items()
        if name in only and (limited or count <= most.get(width, count))
    }
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{seed}.npz" for seed in (1, 2)]
        if set(asked) - {"several models"}:
            for seed, (file, size) in enumerate(zip(files, sizes(count, width), strict=True), 1):
                write(file, size, width, seed)
        for name, words in asked.items():
            command = _command(words, files, (count, width), folder)
            yield {"asked": name, "width": width, "embeddings": count, **measured(command, seconds)}


def _command(words: list[str], files: list[Path], size: tuple[int, int], folder: str) -> list[str]:
    if words == ["several"]:
        return [sys.executable, __file__, "--several", *map(str, size), folder]
    command, *more = (word.format(folder=folder) for word in words)
    reference, evaluation = map(str, files)
    sides = [reference, evaluation]
    if command == "evaluate":
        sides = [evaluation, "--reference", reference]
    return [sys.executable, "-m", "fad_onnx", command, *sides, *more]


def _place(one: dict[str, Any]) -> tuple[Any, ...]:
    return one["width"], list(ASKED).index(one["asked"]), one["embeddings"]


if __name__ == "__main__":
    main()
