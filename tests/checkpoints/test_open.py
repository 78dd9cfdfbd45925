"""What is no checkpoint says what it is instead."""

import os

import pytest

from fad_onnx.errors import CheckpointError
from fad_onnx.weights import checkpoints

from . import writers


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"\x80\x02}q\x00.", "plain pickle"),
        (b"RIFF\0\0\0\0WAVE", "52 49 46 46"),
        (b"P", "no container known"),
        (b"PK", "no end"),
        (writers.zipped([("readme.txt", b"hello")]), "of no checkpoint"),
        (writers.zipped([]), "of no checkpoint"),
    ],
)
def test_other_files(write, data, message):
    with pytest.raises(CheckpointError, match=message) as caught:
        checkpoints.open(write(data))
    assert str(caught.value).startswith(str(write(data)))


def test_no_file_no_regular_file(tmp_path):
    with pytest.raises(CheckpointError, match="cannot be read: No such file"):
        checkpoints.open(tmp_path / "absent")
    with pytest.raises(CheckpointError, match="not a regular file"):
        checkpoints.open(tmp_path)
    with pytest.raises(CheckpointError, match="cannot be mapped"):
        checkpoints.open("a\0b")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
def test_a_fifo_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(CheckpointError, match="not a regular file"):
        checkpoints.open(tmp_path / "fifo")


def test_as_a_context(write):
    with checkpoints.open(write(writers.torch_zip({}))) as checkpoint:
        assert checkpoint.tree == {}
