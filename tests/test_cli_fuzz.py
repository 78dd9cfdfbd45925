"""Random command lines with odd files: no traceback, and an exit code that README names."""

import os
import random
import signal

import numpy as np
import pytest

import fad_onnx
from fad_onnx.cli import main

from .conftest import write_clip
from .kit import WEIGHTLESS

SECONDS = 60


@pytest.fixture
def odd_files(tmp_path, monkeypatch):
    """Paths of every kind, in a working folder of their own; some are good."""
    monkeypatch.chdir(tmp_path)
    for index in range(3):
        write_clip(tmp_path / "good" / f"{index}.wav", index, 2)
    fad_onnx.stats("good", "stats.npz", WEIGHTLESS, cache=False)
    fad_onnx.embed("good", WEIGHTLESS, cache=False)
    np.savez("foreign.npz", mu=np.zeros(128), sigma=np.eye(128))
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder.npz").mkdir()
    for name in ("empty", "empty.wav", "empty.npz", "new\nline.wav", "empty.pth"):
        (tmp_path / name).touch()
    (tmp_path / "text.npz").write_text("no archive")
    (tmp_path / os.fsdecode(b"stray\xff.wav")).write_bytes(b"RIFF")
    for name in ("pipe", "pipe.npz", "pipe.wav"):
        os.mkfifo(tmp_path / name)
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "circle.npz").symlink_to("circle.npz")
    (tmp_path / "dangling.npz").symlink_to("nowhere")
    return [
        "good", "good", "good", "stats.npz", "stats.npz", "good/0.wav", "foreign.npz", "folder",
        "folder.npz", "empty", "empty.wav", "empty.npz", "new\nline.wav", "text.npz", "empty.pth",
        os.fsdecode(b"stray\xff.wav"), "pipe", "pipe.npz", "pipe.wav", "circle", "circle.npz",
        "dangling.npz", "nowhere", "", " ", "-", "n" * 5000, "n/" * 2500, "nul\0.wav", "nul\0.npz",
        "good/../good", "/", "\udcff", "=", "a=b", "logmel:x=y", "~nobody-of-that-name",
    ]  # fmt: skip


FLAGS = {
    "score": ["--json", "--csv P", "--key P", "--inf", "--ci", "--ci=0.9", "--kad", "--per-file P",
              "--report P", "--seed 3"],
    "stats": ["-o P", "-o made.npz", "--name P", "--licence P", "--shard 1/2", "--json"],
    "embed": ["-o P", "-o made.npz", "--json"],
    "merge": ["-o P", "-o made.npz", "--json"],
    "pull": ["--from P", "--from main=P", "--keep", "--option P", "--offline", "-q", "--json"],
    "cache": ["--cache-dir P", "--max-gb 1", "--json"],
    "verify": ["--provider P", "--json"],
    "models": ["--json"],
}  # fmt: skip
RUN = ["-m P", f"-m {WEIGHTLESS}", "--option P", "--weights P", "--weights main=P", "--provider P",
       "--provider cpu", "--skip-errors", "--short pad", "--short skip", "--workers 2",
       "--no-cache", "--cache-dir P", "--offline", "--dry-run", "-q"]  # fmt: skip


def command_line(draw, files):
    command = draw.choice([*FLAGS, "score", "score", "stats", "embed"])
    flags = FLAGS[command] + (RUN if command in ("score", "stats", "embed") else [])
    words = [command]
    if command == "cache":
        words.append(draw.choice(["info", "clear", "prune"]))
    elif command != "models":
        words += draw.choices(files, k=draw.randint(1, 3))
    if command in ("score", "stats", "embed") and draw.random() < 0.8:
        words += ["-m", WEIGHTLESS]
    for flag in draw.sample(flags, min(len(flags), draw.randint(0, 4))):
        name, _, value = flag.partition(" ")
        words += [name, value.replace("P", draw.choice(files))] if value else [name]
    return words


def too_long(*_):
    raise TimeoutError(f"more than {SECONDS} s")


@pytest.mark.parametrize(
    "seed",
    [*range(20), *(pytest.param(one, marks=pytest.mark.large) for one in range(20, 60))],
)
def test_any_command_line_ends_in_words(seed, odd_files, capsys):
    words = command_line(random.Random(seed), odd_files)
    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(SECONDS)
    try:
        code = main(words)
    except SystemExit as stop:
        code = stop.code
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    error = capsys.readouterr().err
    assert code in (0, 1, 2) and "Traceback" not in error
    if code == 1:
        assert error.splitlines()[-1].startswith("fad-onnx: ")
