"""Inside other applications: threads, fork, spawn, no global state, kills, long runs."""

import logging
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from fad_onnx.api import functions, making
from fad_onnx.cache import embeddings
from fad_onnx.networks import synthetic
from fad_onnx.networks.spec import ModelSpec
from fad_onnx.weights import prepare

from .conftest import write_clip
from .kit import WEIGHTLESS


def load():
    return prepare.load(prepare.Request(ModelSpec(WEIGHTLESS)))


def test_one_model_from_eight_threads_gives_the_serial_bits():
    model = load()
    clips = [synthetic.clip(seed, 20000 + 7777 * (seed % 5))[0] for seed in range(64)]
    serial = [model.embed(clip, 16000) for clip in clips]
    with ThreadPoolExecutor(8) as pool:
        for got, want in zip(pool.map(lambda c: model.embed(c, 16000), clips), serial, strict=True):
            np.testing.assert_array_equal(got, want)


MODEL = None


def child(clip):
    """Embed with the parent's model where there is one (fork), else with one of its own (spawn)."""
    return (MODEL or load()).embed(clip, 16000)


@pytest.mark.parametrize(
    "method", ["fork", "spawn", pytest.param("forkserver", marks=pytest.mark.large)]
)
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_child_processes_can_embed(method, monkeypatch):
    clip = synthetic.clip(1, 40000)[0]
    monkeypatch.setattr(sys.modules[__name__], "MODEL", load())
    expected = MODEL.embed(clip, 16000)
    with multiprocessing.get_context(method).Pool(2) as pool:
        for got in pool.map(child, [clip] * 4):
            np.testing.assert_array_equal(got, expected)


def test_import_changes_nothing_global():
    code = (
        "import logging, os, sys, threading, warnings\n"
        # The one thing that must be set before anything imports ONNX Runtime.
        "os.environ['ORT_DISABLE_TELEMETRY'] = '1'\n"
        "before = (list(logging.root.handlers), list(warnings.filters), dict(os.environ))\n"
        "import fad_onnx, fad_onnx.api, fad_onnx.cli\n"
        "assert (list(logging.root.handlers), list(warnings.filters), dict(os.environ)) == before\n"
        "assert not logging.getLogger('fad_onnx').handlers and threading.active_count() == 1\n"
    )
    # NumPy and SciPy add warning filters of their own when imported: not ours to answer for.
    code = "import numpy, scipy.linalg, scipy.special, scipy.fft, soundfile, soxr, tqdm\n" + code
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_run_leaves_no_threads_handlers_or_warnings(clips):
    threads, handlers = threading.active_count(), list(logging.root.handlers)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        functions.score(clips, clips, WEIGHTLESS, workers=3)
    deadline = time.monotonic() + 5
    while threading.active_count() > threads and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= threads and logging.root.handlers == handlers
    assert not caught


def command(folder, out, cache):
    program = [sys.executable, "-m", "fad_onnx", "stats", str(folder), "-o", str(out)]
    return [*program, "-m", WEIGHTLESS, "--cache-dir", str(cache), "--workers", "2"]


def kill_and_resume(folder, tmp_path, moments, expected):
    """Kill runs on one cache at these moments (s after the start); then finish and compare."""
    cache = tmp_path / "cache"
    rows_seen = 0
    for moment in moments:
        out = tmp_path / "killed.npz"
        process = subprocess.Popen(command(folder, out, cache), stderr=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL)  # fmt: skip
        time.sleep(moment)
        process.send_signal(signal.SIGKILL)
        process.wait()
        with embeddings.EmbeddingCache(cache) as held:
            assert held.info().values >= rows_seen, "what was kept must stay"
            rows_seen = held.info().values
        if out.exists():
            assert out.read_bytes() == expected
            out.unlink()
    final = tmp_path / "final.npz"
    subprocess.run(command(folder, final, cache), check=True, capture_output=True)
    assert final.read_bytes() == expected
    return rows_seen


@pytest.fixture
def many(tmp_path):
    folder = tmp_path / "many"
    for index in range(48):
        write_clip(folder / f"{index:03}.wav", index, 3 + index % 4)
    return folder


def uninterrupted(folder, tmp_path):
    out = tmp_path / "whole.npz"
    subprocess.run(command(folder, out, tmp_path / "other"), check=True, capture_output=True)
    return out.read_bytes()


@pytest.mark.large
def test_a_killed_run_goes_on_to_the_same_bytes(many, tmp_path):
    kill_and_resume(many, tmp_path, [1.0, 1.4], uninterrupted(many, tmp_path))


@pytest.mark.slow
def test_twenty_kills_at_random_moments(many, tmp_path):
    moments = np.random.RandomState(0).uniform(0.3, 2.5, 20)
    kept = kill_and_resume(many, tmp_path, moments, uninterrupted(many, tmp_path))
    assert kept > 0, "no run got far enough to keep anything"


@pytest.mark.large
def test_two_runs_on_one_cache_do_not_harm_each_other(many, tmp_path):
    expected = uninterrupted(many, tmp_path)
    outs = [tmp_path / f"{i}.npz" for i in range(2)]
    running = [subprocess.Popen(command(many, out, tmp_path / "cache")) for out in outs]
    assert [process.wait() for process in running] == [0, 0]
    assert [out.read_bytes() for out in outs] == [expected, expected]


@pytest.mark.slow
def test_a_hundred_thousand_clips_in_flat_memory(tmp_path):
    clips = [write_clip(tmp_path / f"{i}.wav", i, 1.0) for i in range(50)]
    folder = tmp_path / "many"
    folder.mkdir()
    for index in range(100_000):
        os.link(clips[index % 50], folder / f"{index:06}.wav")
    seen = []

    def watch(name, done, total):
        if len(seen) % 1000 == 0:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
            seen.append((peak, len(os.listdir("/proc/self/fd"))))
        else:
            seen.append(None)

    making.stats(folder, model=WEIGHTLESS, cache=False, progress=watch)
    marks = [mark for mark in seen if mark]
    early, late = marks[10], marks[-1]
    print("peak MB and open files after 10,000 clips:", early, "at the end:", late)
    # A summary of each file is kept for the result: some hundred bytes each.
    assert late[0] - early[0] < 90 and late[1] <= early[1] + 2
