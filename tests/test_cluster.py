"""A real Dask cluster of two worker processes gives the bits of serial, also if one is killed."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from distributed import Client, LocalCluster

from fad_onnx.api import making
from fad_onnx.cli import main
from fad_onnx.errors import ExecutorError, OptionError, WorkerError
from fad_onnx.networks import table
from fad_onnx.networks.spec import ModelSpec
from fad_onnx.pipeline.dask import dask_executor
from fad_onnx.weights import prepare

from .conftest import write_clip
from .kept import as_tar, files_of
from .kit import WEIGHTLESS


@pytest.fixture(scope="module")
def cluster():
    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None,
        host="127.0.0.1", silence_logs=50,
    ) as running:  # fmt: skip
        yield running


@pytest.fixture
def many(tmp_path):
    folder = tmp_path / "many"
    clips = [write_clip(tmp_path / f"{i}.wav", i, 2 + i) for i in range(4)]
    folder.mkdir()
    for index in range(128):
        (folder / f"{index:03}.wav").symlink_to(clips[index % 4])
    return folder


def stats(folder, **run):
    return making.stats(folder, model=WEIGHTLESS, cache=False, **run).moments


def same(a, b):
    np.testing.assert_array_equal(a.mean, b.mean)
    np.testing.assert_array_equal(a.dense_scatter(), b.dense_scatter())


def test_two_workers_give_the_bits_of_serial(cluster, many):
    expected = stats(many, workers=1)
    with dask_executor(cluster.scheduler_address) as executor:
        same(stats(many, executor=executor), expected)


@pytest.mark.large
def test_a_killed_worker_changes_nothing(cluster, many):
    expected = stats(many, workers=1)
    pids = []

    def kill(name, count, total):
        if not pids:
            pids.append(next(iter(cluster.workers.values())).process.process.pid)
            os.kill(pids[0], signal.SIGKILL)
        time.sleep(0.01)

    with dask_executor(cluster.scheduler_address) as executor:
        same(stats(many, executor=executor, progress=kill), expected)
    assert pids, "no worker was killed"


@pytest.mark.large
@pytest.mark.parametrize("suffix", ["tar", "tar.gz"])
def test_workers_open_shards_themselves(cluster, many, tmp_path, suffix):
    files = files_of(many)
    for index in range(3):
        own = files[index * 43 : index * 43 + 43]
        as_tar(many, tmp_path / f"{index}.{suffix}", own, dereference=True)
    with dask_executor(cluster.scheduler_address) as executor:
        found = stats(f"{tmp_path}/{{0..2}}.{suffix}", executor=executor)
    same(found, stats(many, workers=1))


def test_a_worker_without_the_weights_is_an_error_that_names_it(cluster, many):
    """The caller's model is loaded already; the workers may not download it."""
    named = next(one.name for one in table.models().values() if one.network.checkpoints)
    request = prepare.Request(ModelSpec(named), offline=True)
    model = replace(prepare.load(prepare.Request(ModelSpec(WEIGHTLESS))), request=request)
    pids = {worker.process.process.pid for worker in cluster.workers.values()}
    with (
        dask_executor(cluster.scheduler_address) as executor,
        pytest.raises(WorkerError, match=f"cannot load {named}: .*pull {named}") as caught,
    ):
        making.stats(many, model=model, cache=False, executor=executor)
    assert any(f"the worker in process {pid} of " in str(caught.value) for pid in pids)


@pytest.mark.large
def test_the_command_line_uses_a_scheduler(cluster, many, capsys):
    arguments = ["score", str(many), str(many), "-m", WEIGHTLESS, "--no-cache"]
    assert main([*arguments, "--dask", cluster.scheduler_address]) == 0
    through = capsys.readouterr().out
    assert main(arguments) == 0
    assert capsys.readouterr().out == through


def test_nobody_at_the_address_is_an_error(monkeypatch):
    monkeypatch.setattr("fad_onnx.pipeline.dask.CONNECT_SECONDS", 1)
    with (
        pytest.raises(OptionError, match="no scheduler answers"),
        dask_executor("tcp://127.0.0.1:9"),
    ):
        pass


@pytest.fixture
def other_folder(cluster, tmp_path):
    """The workers in a folder of their own, with files of the same relative names."""
    elsewhere = tmp_path / "elsewhere"
    for side, seed in (("ref", 50), ("gen", 60)):
        for index in range(4):
            write_clip(tmp_path / "own" / side / f"{index}.wav", 10 * index + seed, 3)
            write_clip(elsewhere / side / f"{index}.wav", index, 3)
    with Client(cluster.scheduler_address) as client:
        before = client.run(os.getcwd)
        client.run(os.chdir, str(elsewhere))
        yield elsewhere
        for worker, folder in before.items():
            client.run(os.chdir, folder, workers=[worker])


def test_workers_in_another_folder_read_the_callers_files(
    cluster, other_folder, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path / "own")
    arguments = ["score", "ref", "gen", "-m", WEIGHTLESS, "--cache-dir", "kept"]
    assert main([*arguments, "--dask", cluster.scheduler_address]) == 0
    through = capsys.readouterr().out
    assert (tmp_path / "own" / "kept").is_dir() and not (other_folder / "kept").exists()
    assert main([*arguments[:-2], "--no-cache"]) == 0
    assert capsys.readouterr().out == through
    with dask_executor(cluster.scheduler_address) as executor:
        made = making.stats("ref", None, WEIGHTLESS, cache=False, executor=executor)
    assert {clip.path for clip in made.files} == {f"ref/{i}.wav" for i in range(4)}


@pytest.mark.large
def test_a_signal_ends_a_run_on_a_scheduler(cluster, clips, tmp_path):
    many = tmp_path / "many"
    many.mkdir()
    (tmp_path / "out").mkdir()
    for index in range(4000):
        (many / f"{index}.wav").symlink_to(clips / "00.wav")
    process = subprocess.Popen(
        [sys.executable, "-m", "fad_onnx", "embed", many, "-m", WEIGHTLESS, "--no-cache",
         "--dask", cluster.scheduler_address, "-o", tmp_path / "out" / "e.npz"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not list((tmp_path / "out").iterdir()):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.terminate()
    _, error = process.communicate(timeout=30)
    assert process.returncode == 143 and "Traceback" not in error
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.slow
def test_a_cluster_on_shards_whose_worker_and_scheduler_are_killed():
    """The script of benchmarks/, with fewer clips."""
    script = Path(__file__).parents[1] / "benchmarks" / "cluster.py"
    done = subprocess.run(
        [sys.executable, script, "--clips", "2000", "--shards", "4"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["clips"] == 2000 and found["same_bits"]
    assert "run again" in found["error"] and 1200 <= found["clips_done_before"] < 2000


@pytest.mark.slow
def test_a_scheduler_that_dies_is_an_error_and_the_next_run_continues(many, tmp_path):
    def started(*words):
        return subprocess.Popen([sys.executable, "-m", *words], stderr=subprocess.DEVNULL)

    for index in range(128, 2000):
        (many / f"{index:03}.wav").symlink_to(many / f"{index % 4:03}.wav")
    place = tmp_path / "scheduler.json"
    common = ("--scheduler-file", str(place), "--no-dashboard")
    running = [started("distributed.cli.dask_scheduler", "--host", "127.0.0.1", *common)]
    try:
        while not place.is_file():
            time.sleep(0.1)
        one = ("--nthreads", "1", "--no-nanny", *common)
        running += [started("distributed.cli.dask_worker", *one) for _ in range(2)]
        address = json.loads(place.read_text("utf-8"))["address"]

        def kill(name, count, total):
            running[0].kill()

        with dask_executor(address) as executor, pytest.raises(ExecutorError, match="run again"):
            making.stats(many, model=WEIGHTLESS, executor=executor, progress=kill)
    finally:
        for process in running:
            process.kill()
    same(making.stats(many, model=WEIGHTLESS).moments, stats(many, workers=1))
