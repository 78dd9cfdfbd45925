"""Workers in other folders, on other mounts: they read the files that were meant, or say so."""

import os
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest

import fad_onnx
from fad_onnx.audio.sources import find
from fad_onnx.errors import AudioError, FileMismatchError
from fad_onnx.networks.spec import ModelSpec
from fad_onnx.pipeline import clip_windows, executors
from fad_onnx.pipeline.clip_windows import Policy
from fad_onnx.pipeline.options import RunOptions
from fad_onnx.pipeline.run import Run
from fad_onnx.weights import prepare

from .conftest import write_clip
from .kit import WEIGHTLESS


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The caller's folder; another has files of the same names."""
    for index in range(3):
        write_clip(tmp_path / "here" / "clips" / f"{index}.wav", index, 2)
        write_clip(tmp_path / "there" / "clips" / f"{index}.wav", 9 - index, 2)
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def test_processes_in_another_folder_read_the_callers_files(here):
    expected = fad_onnx.stats("clips", None, WEIGHTLESS, cache=False).moments
    there = (here.parent / "there",)
    with ProcessPoolExecutor(1, get_context("spawn"), os.chdir, there) as executor:
        made = fad_onnx.stats("clips", None, WEIGHTLESS, executor=executor, cache_dir="kept")
    np.testing.assert_array_equal(made.moments.mean, expected.mean)
    assert (here / "kept").is_dir() and not (here.parent / "there" / "kept").exists()
    assert [clip.path for clip in made.files] == [f"clips/{i}.wav" for i in range(3)]


def test_paths_that_a_worker_is_sent_are_absolute(here):
    named = {"weights": {"main": "x.pth"}, "folders": ["y"], "cache_dir": "kept"}
    made = Run(WEIGHTLESS, RunOptions(**named))
    (request,) = made.requests
    assert request.spec.weights == {"main": str(here / "x.pth")}
    spec = ModelSpec(WEIGHTLESS, weights={"main": "z.pth"})
    assert Run(spec).specs[0].weights == {"main": str(here / "z.pth")}
    assert request.folders == (str(here / "y"),)
    assert made.cache_folder == here / "kept"


def another_mount(monkeypatch, change):
    """As if the worker's mount had other files under the paths that it is sent."""
    original = executors.run_chunk

    def run_chunk(job, files):
        for file in files:
            change(file)
        return original(job, files)

    monkeypatch.setattr(executors, "run_chunk", run_chunk)


def stats(executor, **run):
    return fad_onnx.stats("clips", None, WEIGHTLESS, cache=False, executor=executor, **run)


def test_another_file_of_another_size_is_an_error(here, monkeypatch):
    size = (here / "clips" / "1.wav").stat().st_size
    another_mount(monkeypatch, lambda file: write_clip(here / "clips" / "1.wav", 1, 3))
    with ThreadPoolExecutor(1) as executor:
        with pytest.raises(
            FileMismatchError, match=rf"1\.wav: .* different file here: \d+ bytes instead of {size}"
        ):
            stats(executor)
        skipped = stats(executor, skip_errors=True).skipped
    assert not skipped  # what is here has changed too, in this test


def test_another_file_of_the_same_size_is_an_error(here, monkeypatch):
    """Where the dates differ, the hashes decide."""
    path = here / "clips" / "1.wav"
    own = path.read_bytes()
    monkeypatch.setattr(
        executors, "_doubtful",
        lambda chunk, found=executors._doubtful: [(f, "0" * 64) for f, _ in found(chunk)],
    )  # fmt: skip
    another_mount(monkeypatch, lambda file: (path.write_bytes(own), os.utime(path, (1, 1))))
    with (
        ThreadPoolExecutor(1) as executor,
        pytest.raises(
            FileMismatchError, match=r"1\.wav: .* different file here: sha256 0+ instead of sha"
        ),
    ):
        stats(executor)


def test_the_same_file_of_another_date_is_read(here, monkeypatch):
    expected = fad_onnx.stats("clips", None, WEIGHTLESS, cache=False).moments
    another_mount(monkeypatch, lambda file: os.utime(file.path, (1, 1)))
    with ThreadPoolExecutor(1) as executor:
        np.testing.assert_array_equal(stats(executor).moments.mean, expected.mean)


def test_a_file_of_another_size_is_not_read(here):
    (file, *_) = find("clips")
    sent = executors._for_elsewhere(file)
    assert sent.path == str(here / "clips" / "0.wav") and sent.stamp is not None
    write_clip(here / "clips" / "0.wav", 0, 1)
    model = prepare.load(prepare.Request(ModelSpec(WEIGHTLESS)))
    with pytest.raises(FileMismatchError, match="a different file here"):
        next(clip_windows.load(sent, [model], Policy(), None))
    (here / "clips" / "0.wav").unlink()
    with pytest.raises(AudioError, match="cannot be opened"):
        next(clip_windows.load(executors._for_elsewhere(file), [model], Policy(), None))


def test_what_waits_from_an_executor_is_bounded_by_bytes(clips, monkeypatch):
    monkeypatch.setattr(executors, "CHUNK_FILES", 1)
    monkeypatch.setattr(executors, "FIRST_CHUNKS", 2)
    held = []

    class Watched(ThreadPoolExecutor):
        def submit(self, *args):
            future = super().submit(*args)
            future.result()  # the slowest caller: all that was asked for waits
            held.append(future)
            return future

    size, most = None, []

    def progress(name, done, total):
        nonlocal size
        size = size or held[0].result().bytes
        most.append(len(held) - done)

    for budget, wanted in ((1 << 30, 10), (1, 2)):
        monkeypatch.setattr(executors, "AHEAD_BYTES", budget)
        held.clear()
        most.clear()
        done = iter(range(1, 99))
        with Watched(1) as executor:
            fad_onnx.stats(
                clips, None, WEIGHTLESS, cache=False, executor=executor,
                progress=lambda name, one, total, done=done: progress(name, next(done), total),
            )  # fmt: skip
        assert max(most) <= wanted
        assert (max(most) > 2) == (budget > 1)
    assert size and size > 128 * 8
