"""Five metrics of three networks in one pass, against the three networks alone.

    python benchmarks/evaluate.py [--clips 1000] [--seconds 10] [--workers N]

Synthetic weights and clips: speed does not depend on the values, and nothing is downloaded. Both
sides, the reference and the evaluation, have this number of clips. `networks` is the time within
the networks' runs over the number of workers, `alone` that of `stats` for one network after the
other, `evaluate` that of everything. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import soundfile

import fad_onnx
from fad_onnx.networks import machine, synthetic
from fad_onnx.networks.embedder import Embedder
from fad_onnx.networks.runtime import Session, Settings
from fad_onnx.networks.selection import select
from fad_onnx.weights import prepare
from fad_onnx.weights.binding import publish_synthetic

NETWORKS = ("vggish", "pann-16k", "clap")
METRICS = ("fad:vggish", "fad:pann-16k", "kl:pann-16k", "isc:pann-16k", "prdc:clap")
RATE_HZ = 44100


def write_clips(folder: Path, clips: int, seconds: float, first: int) -> Path:
    folder.mkdir(parents=True)
    for index in range(clips):
        clip = synthetic.clip(first + index, round(seconds * RATE_HZ))[0]
        soundfile.write(folder / f"{index:05}.wav", clip, RATE_HZ)
    return folder


def with_synthetic_weights(folder: Path) -> None:
    """From here on, models have weights of their own making."""
    sessions: dict[str, Session] = {}

    def load(requests: Sequence[Any], progress: object = None) -> list[Embedder]:
        found = []
        for request in requests:
            selection = select(request.spec).decoding(request.sample_format)
            name = selection.model.name
            if name not in sessions:
                place = folder / name
                place.mkdir()
                sessions[name] = Session(publish_synthetic(selection, 0, place), Settings("cpu"))
            found.append(Embedder(selection, sessions[name], {}, name, request=request))
        return found

    prepare.load_all = load


class Busy:
    """Seconds within the runs of networks, of all threads together."""

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


def seconds_of(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(clips: int, seconds: float, workers: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="fad-onnx-evaluate-") as name:
        folder = Path(name)
        sides = [
            str(write_clips(folder / side, clips, seconds, first))
            for side, first in (("reference", 0), ("evaluation", clips))
        ]
        with_synthetic_weights(folder)
        given: dict[str, Any] = {"cache": False, "workers": workers, "provider": "cpu"}
        for model in (*NETWORKS, "logmel"):  # with everything loaded, and files in the page cache
            fad_onnx.stats(sides if model == "logmel" else f"{sides[0]}/00000.wav", model=model,
                           **given)  # fmt: skip
        alone = {
            model: seconds_of(lambda model=model: fad_onnx.stats(sides, model=model, **given))
            for model in NETWORKS
        }
        splits = {"isc_splits": min(10, clips)}
        with Busy() as busy:
            spent = seconds_of(
                lambda: fad_onnx.evaluate(
                    sides[1], sides[0], METRICS, metric_options=splits, **given
                )
            )
    return {
        "clips": 2 * clips, "seconds": seconds, "workers": workers, "metrics": METRICS,
        "networks": round(busy.seconds / workers, 2),
        "alone": {model: round(value, 2) for model, value in alone.items()},
        "evaluate": round(spent, 2),
        "evaluate_over_networks": round(spent * workers / busy.seconds, 3),
        "evaluate_over_alone": round(spent / sum(alone.values()), 3),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--clips", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--workers", type=int, default=machine.cores())
    print(json.dumps(measure(**vars(parser.parse_args())), indent=1))


if __name__ == "__main__":
    main()
