"""Nothing leaves the machine, and no file is written outside the cache."""

import os
import re
import shutil
import subprocess
import sys

import pytest

from .conftest import write_clip
from .kit import WEIGHTLESS

pytestmark = pytest.mark.large  # one run of fifteen seconds

# The same score here, in a spawned process and in a Dask worker. ONNX Runtime's first report
# goes out nine seconds after its start.
PROGRAM = """
import sys, time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import fad_onnx

def main(folder, model, seconds):
    from distributed import LocalCluster
    from fad_onnx.pipeline.dask import dask_executor
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


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """The program in a fresh home that is not a CI's: its home, and what strace saw.

    One run for all that is looked at: it must live for some seconds.
    """
    folder = tmp_path_factory.mktemp("quiet")
    home, clips, program, log = (folder / name for name in ("home", "clips", "program.py", "log"))
    home.mkdir()
    program.write_text(PROGRAM)
    for index in range(3):
        write_clip(clips / f"{index}.wav", index, 2)
    unset = ("CI", "ORT_DISABLE_TELEMETRY", "FAD_ONNX_HOME", "FAD_ONNX_OFFLINE", "TF_BUILD",
             "GITHUB_ACTIONS", "TORCH_HOME")  # fmt: skip
    env = {key: value for key, value in os.environ.items() if key not in unset}
    env |= {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "TMPDIR": str(folder)}
    command, seconds = [sys.executable, str(program), str(clips), WEIGHTLESS], "0"
    if shutil.which("strace"):
        watch = ["strace", "-f", "-yy", "--seccomp-bpf", "-e", "trace=%network", "-o", str(log)]
        command, seconds = [*watch, *command], "12"
    subprocess.run([*command, seconds], env=env, cwd=folder, check=True)
    return home, log


def test_no_file_outside_the_cache(watched):
    home, _ = watched
    written = [path.relative_to(home) for path in home.rglob("*") if path.is_file()]
    assert written
    assert {path.parts[:2] for path in written} == {("cache", "fad-onnx")}


@pytest.mark.decoders("strace")
def test_no_packet_to_another_machine(watched):
    _, log = watched
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
