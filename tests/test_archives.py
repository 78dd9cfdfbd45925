"""Clips in tar, tar.gz and zip archives: the bits of a folder, and errors with their names."""

import gc
import gzip
import io
import os
import tarfile
import tracemalloc
import zipfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
import soundfile

import fad_onnx
from fad_onnx.api.dry_run import estimate
from fad_onnx.audio import decoding, sources
from fad_onnx.audio.blobs import InMemory
from fad_onnx.audio.sources import gzips, patterns
from fad_onnx.cache.embeddings import hashes
from fad_onnx.errors import AudioError, DuplicateNameError, NoAudioError, SourceError
from fad_onnx.networks import synthetic
from fad_onnx.pipeline.batching import Engine

from .conftest import write_clip
from .kept import all_kinds, as_shards, as_tar, as_zip, files_of, tar_of
from .kit import WEIGHTLESS
from .test_audio import CUT, READ


def bits(audio, **options):
    made = fad_onnx.stats(audio, model=WEIGHTLESS, **{"cache": False, **options})
    return made.moments.mean.tobytes(), made.moments.covariance().tobytes(), made.moments.count


@pytest.fixture
def many(tmp_path):
    """Clips in folders of several levels, more than a chunk."""
    for index in range(37):
        name = f"{'abc'[index % 3]}/{index}.wav" if index % 4 else f"{index}.flac"
        write_clip(tmp_path / "many" / name, index, 1 + index % 3 / 7, (16000, 44100)[index % 2])
    return tmp_path / "many"


def test_every_kind_of_source_gives_the_bits_of_the_folder(many, tmp_path):
    expected = bits(many)
    names = [file.name for file in sources.find(many)]
    kinds = all_kinds(many, tmp_path / "kept")
    for kind, source in kinds.items():
        found = [file.name for file in sources.find(source)]
        if kind == "list":
            names_of_list = [os.path.relpath(name, many) for name in found]
            assert names_of_list == names
        elif kind not in ("shards", "glob"):
            assert found == names, kind
        if kind != "shards":  # of which each is in order by itself
            assert bits(source, workers=3) == expected, kind
    assert bits(kinds["tar"], workers=1) == expected


def test_shards_in_the_order_of_names_give_the_bits_of_the_folder(clips, tmp_path):
    pattern = as_shards(clips, tmp_path / "shards", 4)
    assert bits(pattern) == bits(clips) == bits(f"{tmp_path}/shards/*.tar")
    listed = sources.find(pattern)
    assert [file.name for file in listed] == [file.name for file in sources.find(clips)]
    parts = [
        fad_onnx.stats(pattern, tmp_path / f"{i}.npz", WEIGHTLESS, shard=f"{i}/3")
        for i in (1, 2, 3)
    ]
    assert sum(part.counts["files"] for part in parts) == 10


@pytest.mark.large
def test_workers_open_the_shards_themselves(clips, tmp_path, monkeypatch):
    kinds, expected = all_kinds(clips, tmp_path / "kept"), bits(clips)
    monkeypatch.chdir(tmp_path)
    with ProcessPoolExecutor(1, get_context("spawn"), os.chdir, ("/",)) as executor:
        for kind, source in kinds.items():
            assert bits(os.path.relpath(source), executor=executor) == expected, kind


def test_the_cache_knows_a_clip_by_its_content_wherever_it_is(clips, tmp_path, monkeypatch):
    expected = bits(clips, cache=True)
    kinds = all_kinds(clips, tmp_path / "kept")

    def fail(*args, **kwargs):
        raise AssertionError("decoded again")

    monkeypatch.setattr(decoding.Decoder, "__iter__", fail)
    for kind, source in kinds.items():
        assert bits(source, cache=True) == expected, kind


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "zip", "stored zip", "list"])
def test_the_hash_of_each_member_is_remembered_by_itself(clips, tmp_path, monkeypatch, kind):
    monkeypatch.setattr(hashes, "SETTLED_SECONDS", -1)
    source = all_kinds(clips, tmp_path / "kept")[kind]
    expected = bits(source)
    assert bits(source, cache=True) == expected

    def fail(*args):
        raise AssertionError("read again")

    for part in {type(file.part) for file in sources.find(source)} - {type(None)}:
        monkeypatch.setattr(part, "blob", fail)
    assert bits(source, cache=True) == expected


def test_clips_keep_their_names(clips, tmp_path):
    made = fad_onnx.embed(as_tar(clips, tmp_path / "x.tar"), WEIGHTLESS)
    whole = fad_onnx.embed(clips, WEIGHTLESS)
    assert list(made) == list(whole)
    for name in whole:
        np.testing.assert_array_equal(made[name], whole[name])
    wanted = fad_onnx.Wanted(ci=0.9, per_file=True)
    score = fad_onnx.score(clips, as_zip(clips, tmp_path / "x.zip"), WEIGHTLESS, wanted)
    assert float(score) == pytest.approx(0, abs=1e-9)
    assert {one.path for one in score.files} == {f"{tmp_path}/x.zip: {name}" for name in whole}
    assert estimate([tmp_path / "x.tar"], WEIGHTLESS)["files"] == 10


def test_members_of_the_same_name_in_two_shards_cannot_be_embedded_as_one(
    clips, tmp_path, monkeypatch
):
    for index in range(2):
        as_tar(clips, tmp_path / f"{index}.tar")
    assert fad_onnx.stats(f"{tmp_path}/*.tar", model=WEIGHTLESS).counts["files"] == 20
    monkeypatch.setattr(Engine, "embed", None)  # it is an error before the work
    for output in (None, tmp_path / "x.npz"):
        with pytest.raises(DuplicateNameError, match=r"00\.wav"):
            fad_onnx.embed(f"{tmp_path}/*.tar", WEIGHTLESS, output=output, cache=False)
    assert not (tmp_path / "x.npz").exists()


def test_what_else_is_in_shards_is_counted_over_all_of_them(clips, tmp_path):
    wav = files_of(clips)[0].read_bytes()
    for index in range(2):
        tar_of(
            [("./a.wav", wav), ("a.json", b"{}"), ("a.cls", b"1"), (".hidden.wav", b""),
             ("__MACOSX/._a.wav", b""), ("in.tar", b"x"), ("b/c.txt", b"")],
            tmp_path / f"{index}.tar",
        )  # fmt: skip
    listed = sources.find(f"{tmp_path}/{{0..1}}.tar")
    assert [file.name for file in listed] == ["a.wav", "a.wav"]
    assert listed.left_out == "8 files of other suffixes (2 .cls, 2 .json, 2 .tar, 2 .txt)"
    with pytest.raises(NoAudioError, match=r"no audio file in it, but 1 files .*1 \.txt"):
        sources.find(tar_of([("x.txt", b"")], tmp_path / "none.tar"))
    with pytest.raises(NoAudioError, match="nothing at all"):
        sources.find(tar_of([], tmp_path / "empty.tar"))


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "zip"])
def test_a_damaged_member_is_named_and_skipped(clips, tmp_path, kind):
    files = {file.name: file.read_bytes() for file in files_of(clips)}
    files["05.wav"] = files["05.wav"][:5000]
    files["07.wav"] = b"not audio"
    path = tmp_path / f"shard-003.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in files.items():
                archive.writestr(name, data)
    else:
        tar_of(files.items(), path)
    with pytest.raises(AudioError, match=rf"shard-003\.{kind}: 05\.wav: cut short") as caught:
        bits(path)
    assert caught.value.path == f"{path}: 05.wav"
    made = fad_onnx.stats(path, model=WEIGHTLESS, skip_errors=True)
    assert [name for name, _ in made.skipped] == [f"{path}: 05.wav", f"{path}: 07.wav"]
    assert made.counts["files"] == 8
    assert len(estimate([path], WEIGHTLESS)["unreadable"]) == 2


def test_the_bytes_of_skipped_clips_are_released(clips, tmp_path):
    bad = {f"{index}.wav": bytes(1 << 21) for index in range(40)}
    path = as_zip(clips, tmp_path / "x.zip")
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        for name, data in bad.items():
            archive.writestr(f"bad/{name}", data)
    gc.collect()
    gc.disable()  # it knows nothing of the size of what it leaves
    tracemalloc.start()
    try:
        made = fad_onnx.stats(path, model=WEIGHTLESS, cache=False, skip_errors=True, workers=2)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        gc.enable()
    assert made.counts["files"] == len(files_of(clips))
    assert peak < 20 << 21  # all of them are 40 times 2 MiB


@pytest.mark.parametrize("kind", [*CUT, *(f"x.{suffix}" for suffix, _, _ in READ)])
def test_bytes_decode_as_the_file_does(tmp_path, kind):
    if kind in CUT:
        container, subtype = CUT[kind]
    else:
        _, container, subtype = READ[[f"x.{suffix}" for suffix, _, _ in READ].index(kind)]
    rate, channels = (48000, 2) if kind in CUT else (8000, 1)
    path = tmp_path / f"x.{kind}"
    clip = synthetic.clip(8, rate, channels).T
    soundfile.write(path, clip, rate, subtype, format=container)
    with decoding.Decoder(path) as decoder:
        expected, seen = np.concatenate(list(decoder)), vars(decoder)
    (member,) = sources.find(tar_of([("x.wav", path.read_bytes())], tmp_path / "x.tar"))
    for blob in (InMemory(path.read_bytes(), "x"), member.blob()):
        with decoding.Decoder(blob) as decoder:
            np.testing.assert_array_equal(np.concatenate(list(decoder)), expected)
            assert decoder.sample_rate_hz == seen["sample_rate_hz"]
            assert decoder.length() == len(expected)
        data = path.read_bytes()
        cut = InMemory(data[: int(0.7 * len(data))], "cut")
        if kind in CUT:
            with pytest.raises(AudioError, match="cut short|damaged|not readable"):
                list(decoding.Decoder(cut))


def test_two_stars_mean_every_folder_below(tmp_path):
    for name in ("a.wav", "x/b.wav", "x/y/c.wav", "x/y/d.flac"):
        write_clip(tmp_path / name, 1, 1.0)
    found = sources.find(f"{tmp_path}/**/*.wav")
    assert sorted(file.name for file in found) == ["a.wav", "x/b.wav", "x/y/c.wav"]
    assert len(sources.find(f"{tmp_path}/**")) == 4
    assert len(sources.find(f"{tmp_path}/**/y/**")) == 2
    for folders in ("**/y", "**/"):
        with pytest.raises(NoAudioError, match=r"only folders match it; end it with /\*\*"):
            sources.find(f"{tmp_path}/{folders}")


def test_a_brace_is_a_range_or_alternatives():
    assert list(patterns.expanded("a{08..11}b")) == ["a08b", "a09b", "a10b", "a11b"]
    assert list(patterns.expanded("{1..3}{x,yz}")) == ["1x", "1yz", "2x", "2yz", "3x", "3yz"]
    assert list(patterns.expanded("{3..1}")) == ["3", "2", "1"]
    assert list(patterns.expanded("{000..001}/{a,}")) == ["000/a", "000/", "001/a", "001/"]
    with pytest.raises(SourceError, match="more than 100000 files"):
        patterns.matches("{0..99999999}")
    with pytest.raises(SourceError, match="more than 100000 files"):
        patterns.matches("{0..9999}{0..9999}")


def test_a_pattern_that_means_nothing_is_an_error_with_what_is_missing(clips, tmp_path):
    as_tar(clips, tmp_path / "0.tar")
    with pytest.raises(NoAudioError, match=r"1\.tar: no such file"):
        sources.find(f"{tmp_path}/{{0..1}}.tar")
    with pytest.raises(NoAudioError, match=r"\*\.zip: no file matches"):
        sources.find(f"{tmp_path}/*.zip")
    odd = write_clip(tmp_path / "x[1]{a,b}.wav", 1, 1)
    assert [file.path for file in sources.find(odd)] == [str(odd)]


@pytest.mark.parametrize(("kept", "times", "workers"), [(1 << 24, 1, 3), (1 << 20, 2, 1)])
def test_a_tar_gz_is_unpacked_once_if_it_is_small_and_twice_if_not(
    clips, tmp_path, monkeypatch, kept, times, workers
):
    """To list its members, and to read them in order."""
    path = as_tar(clips, tmp_path / "x.tar.gz", files_of(clips))
    read, packed = [], gzips.Reader._packed

    def counting(self, at):
        block = packed(self, at)
        read.append(len(block))
        return block

    monkeypatch.setattr(gzips.Reader, "_packed", counting)
    monkeypatch.setattr(gzips, "STEP_BYTES", 1 << 14)
    monkeypatch.setattr(gzips, "KEPT_BYTES", kept)
    assert bits(path, workers=workers) == bits(clips)
    assert times - 0.1 < sum(read) / path.stat().st_size < times + 0.1


def gzip_of(parts):
    return b"".join(gzip.compress(part, 6) for part in parts)


def test_members_in_another_order_than_their_names_cost_little_more(tmp_path, monkeypatch):
    data, path, read = np.random.RandomState(0).bytes(24 << 20), tmp_path / "x.gz", []
    path.write_bytes(gzip.compress(data, 1))
    monkeypatch.setattr(gzips, "KEPT_BYTES", 1 << 18)
    reader = gzips.reader(str(path))
    for start in range(0, len(data), 1 << 20):
        reader.read(start, 1 << 20)
    packed = gzips.Reader._packed
    monkeypatch.setattr(
        gzips.Reader, "_packed", lambda self, at: (block := packed(self, at), read.append(block))[0]
    )
    for start in range(20 << 20, 0, -(1 << 20)):
        assert reader.read(start, 100_000) == data[start : start + 100_000]
    assert sum(map(len, read)) < 20 * (3 << 19)


def test_any_part_of_a_gzip_can_be_read(tmp_path, monkeypatch):
    monkeypatch.setattr(gzips, "APART_BYTES", 1 << 16)
    monkeypatch.setattr(gzips, "SKIP_BYTES", 1 << 17)
    monkeypatch.setattr(gzips, "STEP_BYTES", 5000)
    monkeypatch.setattr(gzips, "MOST_COPIES", 8)
    monkeypatch.setattr(gzips, "KEPT_BYTES", 12_000)
    random = np.random.RandomState(0)
    data = random.bytes(700_000) + bytes(900_000) + random.bytes(400_000)
    path = tmp_path / "x.gz"
    path.write_bytes(gzip_of([data[:1_000_000], b"", data[1_000_000:]]) + bytes(3000))
    reader = gzips.reader(str(path))
    for _ in range(200):
        start, size = random.randint(0, len(data) + 10), random.randint(0, 60_000)
        assert reader.read(start, size) == data[start : start + size]
    assert len(reader._places) <= 8
    path.write_bytes(gzip.compress(b"other"))
    assert gzips.reader(str(path)).read(0, 99) == b"other"


@pytest.mark.parametrize("share", [0.2, 0.6, 0.95])
@pytest.mark.parametrize("kind", ["tar", "tar.gz", "zip"])
def test_an_archive_that_is_cut_short_is_an_error(clips, tmp_path, kind, share):
    make = as_zip if kind == "zip" else as_tar
    path = make(clips, tmp_path / f"x.{kind}")
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(AudioError, match=rf"x\.{kind}: .*(cannot be read|cut short)"):
        bits(path)
    try:
        made = fad_onnx.stats(path, model=WEIGHTLESS, skip_errors=True)
    except NoAudioError:
        assert kind == "zip" or share < 0.5
    else:
        assert 0 < made.counts["files"] <= 10 and made.skipped


def test_members_of_a_tar_are_read_where_they_lie(clips, tmp_path):
    path = as_tar(clips, tmp_path / "x.tar")
    data = path.read_bytes()
    for file in sources.find(path):
        assert data[file.part.start :].startswith(b"RIFF")
        with file.blob().open() as span:
            assert not isinstance(span, io.BytesIO)
            assert span.read() == (clips / file.name).read_bytes()


def test_a_tar_is_known_by_its_bytes_not_by_its_suffix(clips, tmp_path):
    zipped = as_tar(clips, tmp_path / "x.tar.gz")
    (tmp_path / "y.tar").write_bytes(zipped.read_bytes())
    (tmp_path / "z.tgz").write_bytes(as_tar(clips, tmp_path / "x.tar").read_bytes())
    assert bits(tmp_path / "y.tar") == bits(tmp_path / "z.tgz") == bits(clips)


def test_names_of_a_zip_are_utf_8_where_they_can_be(clips, tmp_path):
    wav = files_of(clips)[0].read_bytes()
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("ünï.wav", wav)
    said = path.read_bytes()
    assert said.count(b"\0\x08\0\0") == 2
    path.write_bytes(said.replace(b"\0\x08\0\0", bytes(4)))
    assert [file.name for file in sources.find(path)] == ["ünï.wav"]
    path.write_bytes(path.read_bytes().replace("ünï".encode(), b"\x81n\x8b!!"))
    assert [file.name for file in sources.find(path)] == ["ünï!!.wav"]


def test_long_names_of_a_tar(clips, tmp_path):
    wav = files_of(clips)[0].read_bytes()
    name = "/".join(["folder" * 5] * 12) + "/ünï.wav"
    for kind in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        (found,) = sources.find(tar_of([(name, wav)], tmp_path / f"{kind}.tar", format=kind))
        assert found.name == name
