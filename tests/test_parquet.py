"""Clips in the rows of parquet files, as the `datasets` library keeps them."""

import sys
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest

import fad_onnx
from fad_onnx.audio import remote, sources
from fad_onnx.audio.sources import parquet as reading
from fad_onnx.errors import AudioError, MissingDependencyError, NoAudioError, SourceError
from fad_onnx.pipeline.batching import AHEAD_FILES

from .kept import as_parquet, files_of
from .kit import WEIGHTLESS
from .test_archives import bits

pa = pytest.importorskip("pyarrow")
from pyarrow import parquet


def test_a_table_gives_the_bits_of_the_folder(clips, tmp_path):
    path = as_parquet(clips, tmp_path / "x.parquet")
    expected = bits(clips)
    assert [file.name for file in sources.find(path)] == [file.name for file in sources.find(clips)]
    for workers in (1, 4):
        assert bits(path, workers=workers) == expected
    assert bits(path, cache=True) == bits(path, cache=True) == expected
    with ProcessPoolExecutor(1, get_context("spawn")) as executor:
        assert bits(path, executor=executor) == expected


def test_shards_of_a_table_follow_each_other(clips, tmp_path):
    files = files_of(clips)
    for index in range(2):
        own = files[5 * index : 5 * index + 5]
        as_parquet(clips, tmp_path / f"train-{index:05}-of-00002.parquet", files=own)
    assert bits(f"{tmp_path}/train-*.parquet") == bits(clips)


def written(path, cells, kind=None, **options):
    parquet.write_table(
        pa.table({"audio": pa.array(cells, kind), "text": ["x"] * len(cells)}), path
    )
    return path


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
def test_rows_without_names_are_numbered(clips, tmp_path, kind):
    data = [file.read_bytes() for file in files_of(clips)]
    path = written(tmp_path / "train-0.parquet", data, kind)
    assert [file.name for file in sources.find(path)][:2] == ["train-0-0000000", "train-0-0000001"]
    assert bits(path) == bits(clips)


def test_a_name_that_is_there_twice_or_not_is_the_number_of_the_row(clips, tmp_path):
    wav = files_of(clips)[0].read_bytes()
    cells = [{"bytes": wav, "path": name} for name in ("a.wav", "b.wav", None, "a.wav")]
    found = sources.find(written(tmp_path / "x.parquet", cells))
    assert [one.name for one in found] == ["x-0000000", "b.wav", "x-0000002", "x-0000003"]


def test_rows_that_are_no_audio_are_errors_with_their_names(clips, tmp_path):
    wav = files_of(clips)[0].read_bytes()
    cells = [{"bytes": data, "path": f"{i}.wav"} for i, data in enumerate([wav, None, b"x", wav])]
    path = written(tmp_path / "x.parquet", cells)
    with pytest.raises(AudioError, match=r"x\.parquet: 1\.wav: the table has no bytes for it"):
        bits(path)
    made = fad_onnx.stats(path, model=WEIGHTLESS, skip_errors=True)
    assert [name for name, _ in made.skipped] == [f"{path}: {i}.wav" for i in (1, 2)]


def test_tables_without_bytes_of_audio_say_what_they_have(clips, tmp_path):
    for cells, reason in ((["a.wav"], "which is string"), ([{"path": "a.wav"}], "which is struct")):
        with pytest.raises(SourceError, match=f"needs a column 'audio' of bytes, {reason}"):
            sources.find(written(tmp_path / "x.parquet", cells))
    parquet.write_table(pa.table({"sound": [b"x"], "text": ["x"]}), tmp_path / "x.parquet")
    with pytest.raises(SourceError, match="which is not among sound, text"):
        sources.find(tmp_path / "x.parquet")
    with pytest.raises(SourceError, match="without rows"):
        sources.find(written(tmp_path / "x.parquet", [], pa.binary()))
    with pytest.raises(NoAudioError, match="no such file"):
        sources.find(tmp_path / "none.parquet")


def test_a_damaged_table_is_an_error_or_skipped(clips, tmp_path):
    path = as_parquet(clips, tmp_path / "x.parquet", rows_per_group=2)
    data = bytearray(path.read_bytes())
    (tmp_path / "cut.parquet").write_bytes(data[: len(data) // 2])
    with pytest.raises(AudioError, match=r"cut\.parquet: cannot be read as parquet"):
        bits(tmp_path / "cut.parquet")
    for place in range(2000, len(data) - 2000, 3001):
        data[place] ^= 0xFF
    (tmp_path / "x.parquet").write_bytes(data)
    with pytest.raises(AudioError):
        bits(path)


def test_every_row_is_read_once_and_few_are_held(clips, tmp_path, monkeypatch):
    files = [files_of(clips)[i % 10] for i in range(300)]
    path = as_parquet(clips, tmp_path / "x.parquet", 100, files)
    began, most = [], []
    original = reading._Table._go_to
    monkeypatch.setattr(
        reading._Table, "_go_to", lambda self, row: (began.append(row), original(self, row))
    )
    listed = sources.find(path)

    def read(file):
        data = file.blob().data
        most.append(len(reading._table(str(path))._kept))
        return data

    # The engine begins as many clips ahead of the one that it waits for.
    ahead = [listed[start : start + AHEAD_FILES] for start in range(0, 300, AHEAD_FILES)]
    with ThreadPoolExecutor(4) as pool:
        held = [data for files in ahead for data in pool.map(read, files)]
    assert held == [file.read_bytes() for file in files]
    assert len(began) == 1 and max(most) <= 64
    random = np.random.RandomState(0)
    for row in random.randint(0, 300, 50):
        assert listed[row].blob().data == held[row]
    assert threading.active_count() < 100


def test_large_values_are_not_held_by_the_dozen(tmp_path, monkeypatch):
    value, path = bytes(1 << 20), tmp_path / "x.parquet"
    index = pa.DictionaryArray.from_arrays(pa.array([0] * 200, pa.int32()), pa.array([value]))
    parquet.write_table(pa.table({"audio": index}), path, store_schema=False)
    assert path.stat().st_size < 100_000
    monkeypatch.setattr(reading, "KEPT_BYTES", 5 << 20)
    before, most = pa.total_allocated_bytes(), 0
    for file in sources.find(path):
        assert file.blob().data == value
        most = max(most, pa.total_allocated_bytes() - before)
    assert most < 20 << 20
    monkeypatch.setattr(remote, "MEMBER_BYTES", 1000)
    with pytest.raises(AudioError, match="x-0000003: 1048576 bytes; at most 1000"):
        sources.find(path)[3].blob()


def test_without_pyarrow_the_error_says_how_to_get_it(clips, tmp_path, monkeypatch):
    path = as_parquet(clips, tmp_path / "x.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'fad-onnx\[parquet\]'"):
        sources.find(path)
