"""Where no more threads can be started, and what threads leave behind after an error."""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import fad_onnx
from fad_onnx.cli import main
from fad_onnx.errors import AudioError, ThreadLimitError
from fad_onnx.pipeline import dask

from .kit import WEIGHTLESS


@pytest.fixture(params=[0, 1, 3])
def few_threads(request, monkeypatch):
    """A system that starts so many threads and no more."""
    left, start = [None] * request.param, threading.Thread.start

    def limited(self):
        if not left:
            raise RuntimeError("can't start new thread")
        left.pop()
        start(self)

    monkeypatch.setattr(threading.Thread, "start", limited)


def test_no_more_threads_are_one_line(few_threads, clips, capsys):
    arguments = ["score", str(clips), str(clips), "-m", WEIGHTLESS, "--workers", "6", "-q"]
    assert main(arguments) == 1
    assert capsys.readouterr().err == (
        "fad-onnx: the system refuses to start more threads: raise the limit (ulimit -u, or that"
        " of the container), or use fewer with --workers\n"
    )


@pytest.mark.parametrize("few_threads", [0], indirect=True)
def test_no_threads_for_an_executor_or_for_dask(few_threads, clips):
    with ThreadPoolExecutor(2) as executor, pytest.raises(ThreadLimitError):
        fad_onnx.stats(clips, None, WEIGHTLESS, executor=executor)
    with pytest.raises(ThreadLimitError), dask.dask_executor("tcp://127.0.0.1:9"):
        pass


def test_other_errors_of_the_kind_are_not_taken_for_it(clips, monkeypatch):
    def broken(*_):
        raise RuntimeError("something else")

    monkeypatch.setattr(threading.Thread, "start", broken)
    with pytest.raises(RuntimeError, match="something else"):
        fad_onnx.stats(clips, None, WEIGHTLESS)


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="the system does not count them")
def test_runs_that_fail_leave_no_files_open(clips, tmp_path):
    (clips / "05.wav").write_bytes(b"broken")

    def fail():
        with pytest.raises(AudioError):
            fad_onnx.stats(clips, None, WEIGHTLESS, workers=4, cache_dir=tmp_path / "kept")

    def open_files():
        deadline = time.monotonic() + 5
        while any("fad_onnx" in t.name for t in threading.enumerate()):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return len(os.listdir("/proc/self/fd"))

    fail()
    before = open_files()
    for _ in range(20):
        fail()
    assert open_files() <= before
