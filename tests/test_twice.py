"""A clip counts once: one in two sources of a dataset, or a dataset named twice, is an error."""

import json
import os
import shutil
import tarfile

import pytest

import fad_onnx
from fad_onnx.audio.sources import find
from fad_onnx.cli import main
from fad_onnx.errors import OptionError, SourceError

from .conftest import write_clip
from .kit import WEIGHTLESS


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The folders a and b, a list and an archive of a's clips; in the working folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        for index in range(3):
            write_clip(tmp_path / name / f"{index}.wav", ord(name) + index, 2)
    (tmp_path / "list.txt").write_text("a/0.wav\n")
    with tarfile.open("t.tar", "w") as archive:
        archive.add("a/0.wav")
    return tmp_path


OVERLAPS = [
    ("a", "a"), ("a", "a/"), ("a", "./a"), ("a", "a/0.wav"), ("a/0.wav", "b", "a"),
    ("b", "b/../a", "a"), ("list.txt", "a"), ("t.tar", "./t.tar"), ("a/*.wav", "a"),
]  # fmt: skip
APART = [("a", "b"), ("a/0.wav", "a/1.wav"), ("list.txt", "b"), ("t.tar", "a"), ("a/[01].wav", "b")]


@pytest.mark.parametrize("sources", OVERLAPS)
def test_a_clip_in_two_sources_of_a_dataset(here, sources, capsys):
    with pytest.raises(SourceError, match="is in this dataset twice, through .*; name it once"):
        fad_onnx.stats(sources, None, WEIGHTLESS, cache=False)
    with pytest.raises(SourceError, match="twice"):
        fad_onnx.score("b/0.wav", list(sources), WEIGHTLESS, cache=False)
    for more in ((), ("--dry-run",)):
        line = ["stats", *sources, "-m", WEIGHTLESS, "-o", "s.npz", "-q", *more]
        assert main(line) == 1
        error = capsys.readouterr().err
        assert os.path.join("a", "0.wav") in error or "t.tar" in error
        assert not (here / "s.npz").exists()


@pytest.mark.parametrize("sources", APART)
def test_sources_without_a_common_clip(here, sources):
    made = fad_onnx.stats(sources, None, WEIGHTLESS, cache=False)
    assert made.counts["files"] == sum(len(find(one)) for one in sources)


def test_a_pattern_whose_sources_overlap(here):
    for pattern in ("{a,./a}", "{a,a/0.wav}", "{a/0.wav,list.txt}"):
        with pytest.raises(SourceError, match="is in this dataset twice"):
            find(pattern)
    assert len(find("{a,b}")) == 6 and len(find("{a,b/0.wav}")) == 4


def test_a_link_and_a_copy_are_clips_of_their_own(here):
    shutil.copytree("a", "copies")
    os.symlink("a", "link")
    assert fad_onnx.stats(["a", "copies", "link"], None, WEIGHTLESS).counts["files"] == 9


@pytest.mark.parametrize("command", ["score", "evaluate"])
@pytest.mark.parametrize(
    ("first", "second"), [("a", "a"), ("a", "a/"), ("./a", "a"), ("s.npz",) * 2]
)
def test_an_evaluation_dataset_that_is_named_twice(here, command, first, second, capsys):
    fad_onnx.stats("a", "s.npz", WEIGHTLESS)
    reference = ["b"] if command == "score" else ["--reference", "b"]
    assert main([command, *reference, first, "b", second, "-m", WEIGHTLESS, "-q"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"fad-onnx: EVAL: {second} is named twice")
    assert (f"also as {first}; " in error) == (first != second)
    for call in (fad_onnx.compare, lambda r, e, m: fad_onnx.evaluate(e, r, f"fad:{m}")):
        with pytest.raises(OptionError, match="evaluations: .* is named twice"):
            call("b", [first, second], WEIGHTLESS)


def test_what_may_be_named_again(here, capsys):
    assert main(["score", "a", "a", "b", "-m", WEIGHTLESS, "-q"]) == 0
    flags = ["--reference", "b", "--metric", f"fad:{WEIGHTLESS}", "-q"]
    assert main(["evaluate", "a", "--compare", "a", "b", *flags]) == 0
    assert main(["evaluate", "a", "a/0.wav", *flags]) == 0
    # A run embeds a reference that is evaluated too once, and its dry run counts it once.
    for line in (["score", "a", "a"], ["evaluate", "a", "--reference", "a"]):
        capsys.readouterr()
        assert main([*line, "-m", WEIGHTLESS, "--dry-run", "-q"]) == 0
        assert json.loads(capsys.readouterr().out)["files"] == 3
