"""A Dask cluster of processes on tar shards, whose worker and scheduler are killed midway.

    python benchmarks/cluster.py [--clips 100000] [--shards 20] [--workers 2] [--model logmel]

Makes the clips (0.3 s, padded) in a temporary folder, computes their statistics with one worker
here, then through a scheduler with processes as workers:

1. a worker is killed after a fifth of the clips, and another one joins;
2. the scheduler is killed after three fifths, which ends the run with ExecutorError;
3. a scheduler starts at the same address, with new workers, and the same call runs again.

Prints the figures as JSON, and whether the statistics have the bits of the serial run.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import fad_onnx
from fad_onnx.errors import ExecutorError
from fad_onnx.pipeline.dask import dask_executor

SECONDS, RATE = 0.3, 16000


def make(folder: Path, clips: int, shards: int) -> str:
    """Write shards of clips, each with its own pitch and noise; return their pattern."""
    time_axis = np.arange(int(SECONDS * RATE)) / RATE
    for shard in range(shards):
        random = np.random.default_rng(shard)
        with tarfile.open(folder / f"shard-{shard:03}.tar", "w") as tar:
            for index in range(shard * clips // shards, (shard + 1) * clips // shards):
                tone = 0.3 * np.sin(2 * np.pi * random.uniform(80, 2000) * time_axis)
                noise = random.uniform(-0.1, 0.1, len(tone))
                file = io.BytesIO()
                soundfile.write(file, tone + noise, RATE, "PCM_16", format="WAV")
                info = tarfile.TarInfo(f"{index:07}.wav")
                info.size = file.tell()
                file.seek(0)
                tar.addfile(info, file)
                tar.members.clear()  # type: ignore[attr-defined]
    return f"{folder}/shard-{{000..{shards - 1:03}}}.tar"


class Cluster:
    """A scheduler and its workers, each a process without a nanny."""

    def __init__(self, workers: int) -> None:
        self.workers: list[subprocess.Popen[bytes]] = []
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{self.port}"
        self.start(workers)

    def start(self, workers: int) -> None:
        """A scheduler at the address, and workers for it."""
        options = ("--host", "127.0.0.1", "--port", str(self.port), "--no-dashboard", "--no-show")
        self.scheduler = _started("distributed.cli.dask_scheduler", *options)
        for _ in range(workers):
            self.join()

    def join(self) -> None:
        """One more worker."""
        options = (self.address, "--nthreads", "1", "--no-nanny", "--no-dashboard")
        self.workers.append(_started("distributed.cli.dask_worker", *options))

    def kill_worker(self) -> None:
        """Kill the first worker without a warning, and start another one."""
        self.workers.pop(0).send_signal(signal.SIGKILL)
        self.join()

    def kill(self) -> None:
        """Kill everything that is left of the cluster."""
        for process in (self.scheduler, *self.workers):
            process.kill()
            process.wait()
        self.workers = []


def _started(module: str, *options: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", module, *options]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@contextmanager
def running(workers: int) -> Iterator[Cluster]:
    """A cluster that is stopped at the end."""
    cluster = Cluster(workers)
    try:
        yield cluster
    finally:
        cluster.kill()


class Incidents:
    """A progress function that calls other functions after some of the clips."""

    def __init__(self, total: int, *events: tuple[float, Callable[[], object]]) -> None:
        self.done, self._left = 0, [(int(share * total), event) for share, event in events]

    def __call__(self, name: str, count: int, total: int) -> None:
        self.done += count
        while self._left and self.done >= self._left[0][0]:
            self._left.pop(0)[1]()


def digest(made: fad_onnx.Dataset) -> str:
    """A hash of all bits of the statistics."""
    arrays = made.moments.to_arrays()
    return hashlib.sha256(b"".join(arrays[key].tobytes() for key in sorted(arrays))).hexdigest()


def measure(pattern: str, folder: Path, clips: int, workers: int, model: str) -> dict[str, Any]:
    """Run the steps in the docstring of this module, and return the figures."""
    start, found = time.perf_counter(), {}

    def lap(name: str) -> None:
        nonlocal start
        found[name], start = round(time.perf_counter() - start, 1), time.perf_counter()

    said = {"model": model, "short": "pad", "cache_dir": folder / "kept"}
    serial = fad_onnx.stats(pattern, **{**said, "cache": False}, workers=1)
    lap("serial_seconds")
    with running(workers) as cluster:
        incidents = Incidents(clips, (0.2, cluster.kill_worker), (0.6, cluster.scheduler.kill))
        error = ""
        try:
            with dask_executor(cluster.address) as executor:
                fad_onnx.stats(pattern, **said, executor=executor, progress=incidents)
        except ExecutorError as caught:
            error = str(caught)
        lap("seconds_until_the_scheduler_died")
        cluster.kill()
        cluster.start(workers)
        with dask_executor(cluster.address) as executor:
            made = fad_onnx.stats(pattern, **said, executor=executor)
        lap("seconds_of_the_second_run")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    return {
        "clips": made.counts["files"], "workers": workers, **found, "caller_peak_mb": round(peak),
        "clips_done_before": incidents.done, "error": error,
        "same_bits": digest(made) == digest(serial),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=100_000)
    parser.add_argument("--shards", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--model", default="logmel")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault("FAD_ONNX_HOME", folder)
        pattern = make(Path(folder), options.clips, options.shards)
        found = measure(pattern, Path(folder), options.clips, options.workers, options.model)
        print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
