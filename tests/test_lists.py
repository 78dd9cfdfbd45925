"""Lists of clips: what a line may be, and the bits of the folder that holds them."""

import json
import os

import numpy as np
import pytest

import fad_onnx
from fad_onnx.audio import sources
from fad_onnx.errors import AudioError, NoAudioError, SourceError

from .kit import WEIGHTLESS


def bits(audio, **options):
    made = fad_onnx.stats(audio, model=WEIGHTLESS, cache=False, **options)
    return made.moments.mean.tobytes(), made.moments.covariance().tobytes(), made.moments.count


def names(path):
    return [file.name for file in sources.find(path)]


def write(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding, "surrogateescape"))
    return path


def lists_of(folder, files):
    """The same files as a list of each kind, in an order of its own."""
    shuffled = [files[i] for i in np.random.RandomState(0).permutation(len(files))]
    yield write(folder / "a.txt", "".join(f"{one}\n" for one in shuffled))
    yield write(folder / "windows.txt", "\r\n".join(shuffled), "utf-8-sig")
    rows = [("id", "file"), *enumerate(shuffled)]
    yield write(folder / "b.csv", "".join(f'{number},"{file}"\n' for number, file in rows))
    yield write(folder / "c.tsv", "caption\tpath\n" + "\n".join(f"x\t{f}" for f in shuffled))
    objects = [{"text": "x", "audio_filepath": one} for one in files]
    yield write(folder / "d.jsonl", "\n\n".join(map(json.dumps, objects)))


def test_a_list_gives_the_bits_of_its_folder_whatever_its_order(clips, tmp_path):
    expected = bits(clips)
    files = [f"clips/{file.name}" for file in clips.iterdir()]
    for path in lists_of(tmp_path, files):
        assert names(path) == sorted(files), path
        assert bits(path) == expected, path
        assert bits([path]) == expected


@pytest.mark.parametrize("column", ["file", "path", "audio_filepath", "audio"])
@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl"])
def test_the_first_known_column_counts(tmp_path, column, suffix):
    later = {"file": "path", "path": "audio_filepath", "audio_filepath": "audio", "audio": "x"}
    mark = {"csv": ",", "tsv": "\t"}.get(suffix)
    heads, row = [later[column], column], ["no.wav", "yes.wav"]
    text = json.dumps(dict(zip(heads, row, strict=True)))
    if mark:
        text = f"{mark.join(heads)}\n{mark.join(row)}\n"
    assert names(write(tmp_path / f"x.{suffix}", text)) == ["yes.wav"]


def test_a_path_is_relative_to_its_list_and_named_as_it_is_written(tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    path = write(tmp_path / "in" / "x.TXT", f"./a b .wav\n../b.wav\n{tmp_path}/c.wav\n#d.wav\n")
    monkeypatch.chdir(tmp_path)
    for where in (path, "in/x.TXT"):
        found = sources.find(where)
        assert [one.name for one in found] == [
            f"{tmp_path}/c.wav",
            "#d.wav",
            "../b.wav",
            "a b .wav",
        ]
        assert os.path.realpath(found[2].path) == str(tmp_path / "b.wav")


def test_names_that_are_no_utf_8_are_the_bytes_that_they_were(tmp_path):
    path = write(tmp_path / "x.txt", "st\udcffray.wav\nünï.wav\n")
    assert names(path) == ["st\udcffray.wav", "ünï.wav"]


DAMAGED = {
    "a.txt": ("", "an empty list"),
    "b.txt": ("\n\r\n\n", "an empty list"),
    "c.txt": ("x.wav\ny.wav\n./x.wav\n", "line 3 has ./x.wav again, as line 1"),
    "d.txt": ("x\0y.wav\n", "line 1 is not a path: a zero byte"),
    "e.txt": ("x" * (1 << 21), "line 1 is longer than 1048576"),
    "a.csv": ("", "none of the columns file, path, audio_filepath, audio; it has none"),
    "b.csv": ("name,sound\nx,y\n", "it has name, sound"),
    "c.csv": ("id,file\n1,x.wav\n\n2\n", "line 4 has no file"),
    "d.csv": ("file,id\n,1\n", "line 2 has no file"),
    "e.csv": ("file\n", "an empty list"),
    "f.csv": ("file\n" + "x" * 200_000, "cannot be read: field larger"),
    "a.jsonl": ("{\n", "line 1 is not JSON"),
    "b.jsonl": ('{"file": "x.wav"}\n["y.wav"]\n', "line 2 is not a JSON object"),
    "c.jsonl": ('{"file": 3}', "line 1 names no file"),
    "d.jsonl": ('{"file": ""}', "line 1 names no file"),
    "e.jsonl": ('{"name": "x.wav"}', "it has name"),
    "f.jsonl": ("[" * 100_000, "line 1 is not JSON"),
    "h.jsonl": ('{"file": "\\ud800.wav"}', "line 1 is not a path"),
    "g.jsonl": ('{"file": ' + "9" * 5000 + "}", "line 1 is not JSON"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_list_that_says_no_clips_is_an_error_with_its_line(tmp_path, name):
    text, reason = DAMAGED[name]
    with pytest.raises(SourceError) as caught:
        sources.find(write(tmp_path / name, text))
    assert str(caught.value).startswith(f"{tmp_path / name}: ") and reason in str(caught.value)


def test_a_file_of_a_list_that_is_missing_is_an_error_or_skipped(clips, tmp_path):
    path = write(tmp_path / "x.txt", "clips/00.wav\nclips/no.wav\nclips\nclips/01.wav\n")
    with pytest.raises(AudioError, match=r"clips: not a regular file"):
        bits(path)
    skipped = fad_onnx.stats(path, model=WEIGHTLESS, skip_errors=True).skipped
    assert skipped == (
        (f"{tmp_path}/clips", "not a regular file"),
        (f"{tmp_path}/clips/no.wav", "cannot be opened: No such file or directory"),
    )
    with pytest.raises(NoAudioError, match="no such file"):
        sources.find(tmp_path / "none.txt")


def test_clips_of_a_list_are_indexed_by_their_names(clips, tmp_path):
    path = write(tmp_path / "x.txt", "clips/03.wav\nclips/01.wav\n")
    made = fad_onnx.embed(path, WEIGHTLESS, output=tmp_path / "x.npz")
    assert list(made) == ["clips/01.wav", "clips/03.wav"]
    whole = fad_onnx.embed(clips, WEIGHTLESS)
    np.testing.assert_array_equal(made["clips/03.wav"], whole["03.wav"])
