"""Nothing leaves the machine, and no file is written outside the cache."""

import os
import re
import subprocess
import sys

import pytest

from .conftest import write_clip
from .kit import WEIGHTLESS

# The same score here, in a spawned process and in a Dask worker. ONNX Runtime's first report
# goes out nine seconds after its start.
PROGRAM = """
import sys, time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import fad_onnx

def main(folder, model, seconds):
    from distributed import LocalCluster
    from fad_onnx.cluster import dask_executor
    fad_onnx.score(folder, folder, model)
    with LocalCluster(n_workers=1, threads_per_worker=1, processes=True, silence_logs=50,
                      dashboard_address=None, host="127.0.0.1") as cluster:
        with dask_executor(cluster.scheduler_address) as executor:
            fad_onnx.score(folder, folder, model, cache=False, executor=executor)
        with ProcessPoolExecutor(1, get_context("spawn")) as executor:
            fad_onnx.score(folder, folder, model, cache=False, executor=executor)
            time.sleep(seconds)

if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
"""


@pytest.fixture
def quiet(tmp_path):
    """A command, its environment (a fresh home, not that of a CI) and its home."""
    home, folder, program = tmp_path / "home", tmp_path / "clips", tmp_path / "program.py"
    home.mkdir()
    program.write_text(PROGRAM)
    for index in range(3):
        write_clip(folder / f"{index}.wav", index, 2)
    unset = ("CI", "ORT_DISABLE_TELEMETRY", "FAD_ONNX_HOME", "FAD_ONNX_OFFLINE", "TF_BUILD",
             "GITHUB_ACTIONS", "TORCH_HOME")  # fmt: skip
    env = {key: value for key, value in os.environ.items() if key not in unset}
    env |= {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "TMPDIR": str(tmp_path)}
    return [sys.executable, str(program), str(folder), WEIGHTLESS], env, home


def written(home):
    return [path for path in home.rglob("*") if path.is_file()]


def test_no_file_outside_the_cache(quiet):
    command, env, home = quiet
    subprocess.run([*command, "0"], env=env, cwd=home.parent, check=True)
    assert written(home)
    assert {path.relative_to(home).parts[:2] for path in written(home)} == {("cache", "fad-onnx")}


@pytest.mark.decoders("strace")
def test_no_packet_to_another_machine(quiet, tmp_path):
    command, env, home = quiet
    log = tmp_path / "calls"
    watched = ["strace", "-f", "-yy", "--seccomp-bpf", "-e", "trace=%network", "-o", str(log)]
    subprocess.run([*watched, *command, "12"], env=env, cwd=home.parent, check=True)
    calls = log.read_text("utf-8", "replace").splitlines()
    assert any("127.0.0.1" in call for call in calls), "nothing was watched"
    assert [call for call in calls if _leaves(call)] == []


def _leaves(call):
    """Whether a line of strace sends something, or opens a connection, to another machine.

    A UDP socket that is connected and sends nothing (how Dask finds its own address) is silent.
    """
    if "nscd" in call:  # the name server's cache, asked before the name server
        return True
    sends = re.search(r"\bsend(to|msg|mmsg)\(\d+<(UDP|TCP)|\bconnect\(\d+<TCP", call)
    return bool(sends) and not re.search(r"127\.0\.0\.1|\[?::1\b", call)


def test_the_users_own_choice_is_kept(monkeypatch):
    code = "import fad_onnx, os; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    for given, found in ((None, "1"), ("0", "0")):
        env = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
        env |= {"ORT_DISABLE_TELEMETRY": given} if given else {}
        done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
        assert done.stdout.strip() == found
