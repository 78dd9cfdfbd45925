"""Closed, full and unread streams, and signals: what can be done is done, and said in one line."""

import os
import pathlib
import signal
import stat
import subprocess
import sys
import time

import numpy as np
import pytest

from fad_onnx.cli import main
from fad_onnx.files import embeddings
from fad_onnx.networks import table

from .conftest import write_clip
from .kit import WEIGHTLESS
from .loopback import Loopback

COMMAND = [sys.executable, "-m", "fad_onnx"]


@pytest.fixture(autouse=True)
def buffered(monkeypatch):
    """As users have it; without buffers argparse itself hides what stdout does not take."""
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)


@pytest.fixture
def one(tmp_path):
    """Two datasets in a statistics file, so that a score costs nothing; it warns."""
    array = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    embeddings.write(tmp_path / "e.npz", lambda to: [
        *(to.add(f"{index}.wav", part) for index, part in enumerate(np.split(array, 2))),
        to.metadata({"model": "m", "files": 2, "rows": 4, "seconds": 2.0,
                     "file_seconds": [1.0] * 2}),
    ])  # fmt: skip
    return str(tmp_path / "e.npz")


@pytest.fixture
def full(tmp_path):
    """A stream that takes nothing: a device of our own, or a file at its limit."""
    if os.geteuid() == 0:
        os.mknod(tmp_path / "full", stat.S_IFCHR | 0o666, os.makedev(1, 7))
        return tmp_path / "full"
    return pathlib.Path("/dev/full")


def shell(redirect, *arguments, **kwargs):
    """The command in a shell, where streams can be closed before it starts."""
    line = f'"$@" {redirect}'
    return subprocess.run(
        ["/bin/sh", "-c", line, "sh", *COMMAND, *map(os.fspath, arguments)],
        capture_output=True, text=True, timeout=60, **kwargs,
    )  # fmt: skip


@pytest.mark.parametrize("redirect", [pytest.param(">&-", marks=pytest.mark.large), "<&- >&- 2>&-"])
def test_nobody_wants_stdout(one, tmp_path, redirect):
    files = {name: tmp_path / name for name in ("a.csv", "b.csv", "c.html")}
    done = shell(redirect, "score", one, one, "--csv", files["a.csv"], "--per-file",
                 files["b.csv"], "--report", files["c.html"])  # fmt: skip
    assert done.returncode == 0 and "Traceback" not in done.stderr and not done.stdout
    assert done.stderr.startswith("warning: ") or "2>&-" in redirect
    assert all(path.stat().st_size > 100 for path in files.values())
    # No stream's number was given to a file.
    assert "warning" not in "".join(path.read_text() for path in (files["a.csv"], files["b.csv"]))


@pytest.mark.parametrize("quiet", [[], ["-q"]])
def test_nobody_wants_stderr(one, quiet):
    done = shell("2>&-", "score", one, one, *quiet)
    assert done.returncode == 0 and float(done.stdout) == 0


@pytest.mark.parametrize("redirect", [">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("command", [["--help"], ["nonsense"]])
def test_closed_streams_change_no_exit_code(redirect, command):
    done = shell(redirect, *command)
    assert done.returncode == (2 if command == ["nonsense"] else 0)
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_a_windowed_program_has_no_streams(one, monkeypatch, tmp_path, name):
    monkeypatch.setattr(sys, name, None)
    assert main(["score", one, one, "--csv", str(tmp_path / "t.csv")]) == 0
    assert (tmp_path / "t.csv").exists()


@pytest.mark.parametrize("command", [["score"], ["models"], ["--help"]])
def test_a_full_stdout_is_one_line(one, full, tmp_path, command):
    more = [one, one, "-q", "--csv", tmp_path / "t.csv"] if command == ["score"] else []
    done = shell(f">'{full}'", *command, *more)
    assert done.returncode == 1
    said = [line for line in done.stderr.splitlines() if not line.startswith("warning: ")]
    assert said == ["fad-onnx: standard output: cannot be written: no space left on device"]
    assert command != ["score"] or (tmp_path / "t.csv").stat().st_size > 100


@pytest.mark.parametrize(
    "command", [["score"], pytest.param(["nowhere"], marks=pytest.mark.large), ["nonsense"]]
)
def test_a_full_stderr_costs_no_result(one, full, command):
    given = {"score": ["score", one, one], "nowhere": ["score", one, "nowhere"]}
    done = shell(f"2>'{full}'", *given.get(command[0], command))
    assert done.returncode == {"score": 0, "nowhere": 1, "nonsense": 2}[command[0]]
    assert command != ["score"] or float(done.stdout) == 0


@pytest.mark.parametrize(
    "command", [["score"], ["--help"], pytest.param(["score", "2>&1"], marks=pytest.mark.large)]
)
def test_a_reader_that_has_seen_enough_is_no_error(one, tmp_path, command):
    more = [one, one, "-q", "--csv", tmp_path / "t.csv"] if "score" in command else []
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [*COMMAND, command[0], *map(os.fspath, more)], stdout=writer, text=True, timeout=60,
        stderr=writer if command[1:] else subprocess.PIPE,
    )  # fmt: skip
    os.close(writer)
    assert done.returncode == 1
    said = (done.stderr or "").splitlines()
    assert not [line for line in said if not line.startswith("warning: ")]
    assert not more or (tmp_path / "t.csv").stat().st_size > 100


@pytest.mark.parametrize("environment", [
    {"COLUMNS": "1", "PYTHONIOENCODING": "ascii"},
    *(pytest.param(one, marks=pytest.mark.large) for one in (
        {"COLUMNS": "-7", "LC_ALL": "C"}, {"COLUMNS": "9" * 30, "PYTHONIOENCODING": "utf-16"},
        {"COLUMNS": "many", "TERM": ""},
    )),
])  # fmt: skip
def test_odd_terminals(one, tmp_path, environment):
    (tmp_path / "\u97f3.npz").symlink_to(one)
    for command in (["score", "--help"], ["score", one, tmp_path / "\u97f3.npz", one]):
        done = subprocess.run(
            [*COMMAND, *command], capture_output=True, timeout=60,
            env={**os.environ, **environment},
        )  # fmt: skip
        assert done.returncode == 0 and b"Traceback" not in done.stderr, done.stderr
        assert done.stdout


@pytest.fixture
def busy(tmp_path):
    """Arguments of an embedding that takes longer than any test waits."""
    clip = write_clip(tmp_path / "one.wav", 1, 5)
    (tmp_path / "big").mkdir()
    for index in range(1500):
        (tmp_path / "big" / f"{index}.wav").symlink_to(clip)
    (tmp_path / "out").mkdir()
    return ["embed", str(tmp_path / "big"), "-m", WEIGHTLESS, "--workers", "1", "--no-cache",
            "-o", str(tmp_path / "out" / "e.npz")]  # fmt: skip


def started(arguments, prepare=lambda: None, **kwargs):
    def fresh():
        # Whatever the caller of the tests ignores, as a shell's background jobs do.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        prepare()

    return subprocess.Popen(
        [*COMMAND, *arguments], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        preexec_fn=fresh, **kwargs,
    )  # fmt: skip


def at_work(folder, process):
    """Wait until a temporary file is there."""
    deadline = time.monotonic() + 30
    while not list(folder.glob(".fad-onnx-tmp-*")) and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    time.sleep(0.3)


@pytest.mark.parametrize(
    ("number", "times"),
    [
        (signal.SIGTERM, 2),
        pytest.param(signal.SIGHUP, 1, marks=pytest.mark.large),
        pytest.param(signal.SIGINT, 2, marks=pytest.mark.large),
    ],
)
def test_a_signal_leaves_nothing_behind(busy, tmp_path, number, times):
    process = started(busy)
    at_work(tmp_path / "out", process)
    for _ in range(times):  # `timeout` and task runners send it twice
        process.send_signal(number)
    out, error = process.communicate(timeout=20)
    assert process.returncode == 128 + number and not out
    assert len(error.strip().splitlines()) == 1 and "in the cache" in error
    assert not list((tmp_path / "out").iterdir())


def test_a_signal_that_is_ignored_stays_so(busy, tmp_path):
    process = started(busy, lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    at_work(tmp_path / "out", process)
    process.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == 143


def handled(process, number):
    """Wait until the process has a handler of its own for the signal."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
        caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
        if int(caught.split()[1], 16) >> (number - 1) & 1:
            return
        time.sleep(0.001)
    pytest.fail("it never handles the signal")


@pytest.mark.parametrize("seconds", [0, 0.1, 0.2, 0.4])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_modules_load(busy, tmp_path, seconds, number):
    process = started(busy)
    handled(process, signal.SIGTERM)  # Python itself has one for SIGINT
    time.sleep(seconds)
    process.send_signal(number)
    _, error = process.communicate(timeout=20)
    assert process.returncode == 128 + number and "Traceback" not in error
    assert not list((tmp_path / "out").iterdir())


def test_a_signal_that_something_swallows_ends_the_run_all_the_same():
    code = (
        "import time, os, signal\n"
        "from fad_onnx.cli import stop\n"
        "stop.GRACE_SECONDS = 0.5\n"
        "stop.on_signals(stop.unwind)\n"
        "class Swallows:\n"
        "    def __del__(self): os.kill(os.getpid(), signal.SIGTERM); time.sleep(0.1)\n"
        "Swallows()\n"
        "time.sleep(30)\n"
    )
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 143 and time.monotonic() - start < 10


@pytest.mark.large
def test_a_signal_while_demo_and_bench_work_leaves_no_folder(tmp_path):
    for command in (["demo"], ["bench", "--clips", "400", "logmel"]):
        process = started(command, env={**os.environ, "TMPDIR": str(tmp_path)})
        deadline = time.monotonic() + 30
        # Not in the instant in which the folder is made, of which Python cannot clean up.
        while not list(tmp_path.glob("*/**/*.wav")) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
        assert process.returncode == 143 and not list(tmp_path.iterdir())


def test_a_signal_while_downloading_keeps_what_has_arrived(home):
    model = next(
        one for one in table.models().values() if one.network.checkpoints.get("main")
        and one.network.checkpoints["main"].bytes
    )  # fmt: skip
    size = model.network.checkpoints["main"].bytes

    def slow(connection):
        connection.head("200 OK", f"Content-Length: {size}", 'ETag: "one"')
        connection.sock.sendall(b"x" * 1_000_000)
        connection.wait(30)

    with Loopback(b"", slow) as server:
        environment = {name: value for name, value in os.environ.items() if "OFFLINE" not in name}
        process = started(
            ["pull", model.name], env={**environment, "FAD_ONNX_MIRROR": server.url("")}
        )
        deadline = time.monotonic() + 30
        while not any(path.stat().st_size for path in home.glob("**/*.part")):
            assert time.monotonic() < deadline and process.poll() is None, process.communicate()
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        _, error = process.communicate(timeout=20)
    assert process.returncode == 143 and "Traceback" not in error
    # The next run goes on from there; nothing else is left, and nobody holds a lock.
    assert list(home.glob("**/*.part")) and not list(home.glob("**/.fad-onnx-tmp-*"))
