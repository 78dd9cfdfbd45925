"""Five metrics of three networks in one pass, against each of the three networks alone.

    python benchmarks/evaluate.py [--clips 1000] [--seconds 2] [--workers N] [--output FILE.json]
    python benchmarks/evaluate.py --table FILE.json

Weights, clips and captions are synthetic: speed does not depend on their values, and nothing is
downloaded. The reference, which has as many clips, is embedded beforehand, like a published one.
`alone` is the time of `stats` for each network, and of `embed_text` for the captions, one after the
other. `evaluate` is the time of everything at once, and `networks` the part of it within the
networks' runs, divided by the number of workers. Models are converted beforehand, and loaded within
each time. Writes JSON and prints its table, which `python tasks.py docs` puts into
benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

import fad_onnx
from fad_onnx.files import outputs
from fad_onnx.networks import machine, synthetic
from fad_onnx.networks.runtime import Session
from fad_onnx.networks.selection import select, text_tower
from fad_onnx.networks.tokenizer import LETTERS
from fad_onnx.weights.binding import external, graph_file

NETWORKS = ("vggish", "pann-16k:output=logits", "clap")
METRICS = ("fad:vggish", "kad:vggish", "kl:pann-16k", "isc:pann-16k", "clap-score:clap")
RATE_HZ = 44100
OUTPUT = Path(__file__).with_name("evaluate.json")
SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")


def write_clips(folder: Path, clips: int, seconds: float, first: int) -> Path:
    folder.mkdir(parents=True)
    for index in range(clips):
        clip = synthetic.clip(first + index, round(seconds * RATE_HZ))[0]
        soundfile.write(folder / f"{index:05}.wav", clip, RATE_HZ)
    return folder


def write_captions(path: Path, clips: int) -> list[str]:
    """Write captions of about a dozen tokens each, like a short sentence."""
    texts = [f"a dog {index:05}" for index in range(clips)]
    lines = (f"{index:05},{text}\n" for index, text in enumerate(texts))
    path.write_text("file,caption\n" + "".join(lines), "utf-8")
    return texts


def write_weights(folder: Path) -> dict[str, Path]:
    """Checkpoints with the tensors that the graphs need, and a vocabulary of single letters."""
    given: dict[str, Path] = {}
    for name in NETWORKS:
        selection = select(name)
        tower = text_tower(selection.model)
        model, graphs = selection.model.name, [selection, *([tower] if tower else [])]
        given[f"{model}:main"] = folder / f"{model}.npz"
        made: dict[str, Any] = {}
        for one in graphs:
            made |= synthetic.tensors(external(graph_file(one)), 0)
        np.savez(given[f"{model}:main"], **made)
        if tower:
            tokens = {token: i for i, token in enumerate([*SPECIAL, *sorted(LETTERS.values())])}
            given |= {f"{model}:vocab": folder / "vocab", f"{model}:merges": folder / "merges"}
            (folder / "vocab").write_text(json.dumps({**tokens, "<mask>": len(tokens)}), "utf-8")
            (folder / "merges").write_text("#version: 0.2\n", "utf-8")
    return given


class Busy:
    """The seconds that all threads together spend in runs of networks."""

    def __init__(self) -> None:
        self.seconds, self._lock, self._run = 0.0, threading.Lock(), Session.run

    def __enter__(self) -> Busy:
        def run(session: Session, *arguments: Any) -> Any:
            start = time.perf_counter()
            found = self._run(session, *arguments)
            with self._lock:
                self.seconds += time.perf_counter() - start
            return found

        Session.run = run  # type: ignore[method-assign]
        return self

    def __exit__(self, *error: object) -> None:
        Session.run = self._run  # type: ignore[method-assign]


def seconds_of(work: Callable[[], object]) -> tuple[float, float]:
    """The wall time and the CPU time of a call; other programs affect the CPU time less."""
    start, busy = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - start, time.process_time() - busy


class Case:
    """Clips, captions, weights and a reference in a folder."""

    def __init__(self, folder: Path, clips: int, seconds: float, workers: int) -> None:
        self.run = {"cache": False, "workers": workers, "provider": "cpu"}
        self.weights = write_weights(folder)
        self.evaluation = write_clips(folder / "evaluation", clips, seconds, clips)
        self.captions = folder / "captions.csv"
        self.texts = write_captions(self.captions, clips)
        self.splits = min(10, clips)
        for name in NETWORKS:  # from here on, the models are converted
            self.stats(name, self.evaluation / "00000.wav")
        self.text(1)
        reference = write_clips(folder / "reference", clips, seconds, 0)
        self.reference = [folder / f"{number}.npz" for number in range(2)]
        for name, path in zip(NETWORKS, self.reference, strict=False):
            fad_onnx.embed(reference, name, output=path, weights=self._own(name), **self.run)

    def _own(self, name: str) -> dict[str, Path]:
        model = name.partition(":")[0]
        return {key: path for key, path in self.weights.items() if key.startswith(f"{model}:")}

    def stats(self, name: str, audio: Path) -> None:
        fad_onnx.stats(audio, model=name, weights=self._own(name), **self.run)

    def text(self, count: int) -> None:
        workers = self.run["workers"]
        fad_onnx.embed_text(
            self.texts[:count], "clap", weights=self._own("clap"), workers=workers, provider="cpu"
        )

    def evaluate(self) -> None:
        fad_onnx.evaluate(
            self.evaluation, self.reference, METRICS, captions=self.captions, weights=self.weights,
            metric_options={"isc_splits": self.splits}, **self.run,
        )  # fmt: skip


def measure(clips: int, seconds: float, workers: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="fad-onnx-evaluate-") as name:
        os.environ["FAD_ONNX_HOME"] = str(Path(name) / "home")
        started = time.perf_counter()
        case = Case(Path(name), clips, seconds, workers)
        prepared = time.perf_counter() - started
        alone = {
            network: seconds_of(lambda network=network: case.stats(network, case.evaluation))
            for network in NETWORKS
        }
        alone["captions"] = seconds_of(lambda: case.text(clips))
        with Busy() as busy:
            spent, spent_busy = seconds_of(case.evaluate)
    total, total_busy = (sum(times) for times in zip(*alone.values(), strict=True))
    return {
        "clips": clips, "seconds": seconds, "workers": workers, "metrics": METRICS,
        "alone": {network: round(value, 2) for network, (value, _) in alone.items()},
        "sum": round(total, 2), "evaluate": round(spent, 2),
        "networks": round(busy.seconds / workers, 2), "preparation": round(prepared, 1),
        "evaluate_over_sum": round(spent / total, 3),
        "evaluate_over_sum_of_processor_time": round(spent_busy / total_busy, 3),
        "evaluate_over_networks": round(spent * workers / busy.seconds, 3),
    }  # fmt: skip


def table(found: Mapping[str, Any]) -> list[str]:
    """The table of benchmarks/README.md."""
    lines = [(f"`{name}` alone", value) for name, value in found["alone"].items()]
    lines += [("their sum", found["sum"]), ("`evaluate`", found["evaluate"]),
              ("of that within the networks", found["networks"])]  # fmt: skip
    metrics = ", ".join(f"`{name}`" for name in found["metrics"])
    clips = f"{found['clips']:,} clips of {found['seconds']:g} s"
    return [
        f"{clips}, {found['workers']} workers; {metrics}.",
        "",
        "| what | seconds | over the sum |",
        "|---|---:|---:|",
        *(f"| {what} | {value:.1f} | {value / found['sum']:.2f} |" for what, value in lines),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--clips", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--workers", type=int, default=machine.cores())
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--table", type=Path, help="print the table of what was measured before")
    arguments = vars(parser.parse_args())
    output, measured = arguments.pop("output"), arguments.pop("table")
    if measured is None:
        measured = output
        found = json.dumps(measure(**arguments), indent=1)
        outputs.write_bytes(output, f"{found}\n".encode())
    sys.stdout.write("\n".join([*table(json.loads(measured.read_text("utf-8"))), ""]))


if __name__ == "__main__":
    main()
