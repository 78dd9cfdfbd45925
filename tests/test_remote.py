"""Datasets behind URLs, against servers on this machine."""

import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

import fad_onnx
from fad_onnx.audio import remote, sources
from fad_onnx.errors import (
    AudioError,
    MissingDependencyError,
    NoAudioError,
    OptionError,
    SourceError,
)

from .kept import all_kinds, as_parquet, as_tar, files_of
from .kit import WEIGHTLESS
from .loopback import Loopback, announces, cut, endless, garbage, status
from .test_archives import bits
from .web import Web

pytest.importorskip("fsspec")
pytest.importorskip("aiohttp")


@pytest.fixture(autouse=True)
def online(monkeypatch):
    monkeypatch.delenv("FAD_ONNX_OFFLINE")


@pytest.fixture
def kept(clips, tmp_path):
    """The clips as every kind of source, below one folder."""
    top = tmp_path / "kept"
    all_kinds(clips, top)
    (top / "clips").symlink_to(clips)
    (top / "clips.txt").write_text("".join(f"clips/{file.name}\r\n" for file in files_of(clips)))
    return top


KINDS = [
    "clips/", "clips.txt", "clips.tar", "clips.tar.gz", "clips.zip", "stored.zip",
    "shards/shard-{000..002}.tar", "shards/shard-*.tar", "clips/*.wav", "clips.tar?token=a/b.c",
]  # fmt: skip


@pytest.mark.large
def test_every_kind_of_source_gives_the_bits_of_the_folder(clips, kept):
    expected = bits(clips)
    with Web(kept) as web:
        for kind in KINDS:
            assert bits(web.url(kind), workers=3) == expected, kind
            assert bits(web.url(kind), cache=True) == expected, kind


def test_a_table_gives_the_bits_of_the_folder(clips, tmp_path):
    as_parquet(clips, tmp_path / "x.parquet")
    for ranges in (True, False):
        with Web(tmp_path, ranges=ranges) as web:
            assert bits(web.url("x.parquet")) == bits(clips)


@pytest.mark.large
def test_workers_open_urls_themselves(clips, kept):
    with Web(kept) as web, ProcessPoolExecutor(1, get_context("spawn")) as executor:
        assert bits(web.url("clips.tar"), executor=executor) == bits(clips)


def test_a_bucket_in_memory_is_a_folder(clips):
    import fsspec

    bucket = fsspec.filesystem("memory")
    for file in files_of(clips):
        bucket.pipe(f"/bucket/set/{file.name}", file.read_bytes())
    bucket.pipe("/bucket/set/cover.png", b"x")
    bucket.pipe("/bucket/set/.hidden/x.wav", b"x")
    found = sources.find("memory://bucket/set")
    assert [file.name for file in found] == [file.name for file in files_of(clips)]
    assert found.left_out == "1 files of other suffixes (1 .png)"
    assert bits("memory://bucket/set") == bits("memory://bucket/set/*.wav") == bits(clips)
    with pytest.raises(NoAudioError, match="no file matches"):
        sources.find("memory://bucket/*.zip")


ODD = ["a b.wav", "a%20b.wav", "a#b.wav", "a?b=c.wav", "a::b.wav", "100%.wav", "x[1].wav", "é+.wav"]


@pytest.mark.large
def test_names_with_any_character_are_those_of_the_files(clips, tmp_path):
    data, top = files_of(clips)[0].read_bytes(), tmp_path / "odd"
    top.mkdir()
    for index, name in enumerate(ODD):
        (top / name).write_bytes(data + bytes(index))
    (tmp_path / "odd.txt").write_text("".join(f"odd/{name}\n" for name in ODD))
    (top / "own.txt").write_text("".join(f"{name}\n" for name in ODD))

    def read(where):
        return {file.name: file.blob().open().read() for file in sources.find(where)}

    expected = read(top)
    assert sorted(expected) == sorted(ODD)
    with Web(tmp_path) as web:
        assert read(web.url("odd/")) == expected
        listed = read(web.url("odd.txt"))
        assert {name.removeprefix("odd/"): held for name, held in listed.items()} == expected
        assert list(read(web.url("odd/a%20b.wav"))) == ["a b.wav"]
        assert list(read(web.url("odd/a%{20,23}b.wav"))) == ["a b.wav", "a#b.wav"]
    for kind in ("", "own.txt", "*.wav"):
        assert read(f"file://{top}/{kind}") == expected, kind


def test_folders_that_match_a_pattern_are_read(clips):
    import fsspec

    bucket = fsspec.filesystem("memory")
    for folder, file in zip(("in/a", "in/b/c"), files_of(clips), strict=False):
        bucket.pipe(f"/many/{folder}/{file.name}", file.read_bytes())
    first, second = (file.name for file in files_of(clips)[:2])
    found = sources.find("memory://many/in/*")
    assert [file.name for file in found] == [first, f"c/{second}"]
    below = sources.find("memory://many/**")
    assert [file.name for file in below] == [f"in/a/{first}", f"in/b/c/{second}"]
    assert not found.left_out and not below.left_out


def test_of_a_tar_headers_are_read_once_and_each_clip_once(clips, tmp_path):
    path = as_tar(clips, tmp_path / "x.tar")
    with Web(tmp_path) as web:
        bits(web.url("x.tar"), workers=2)
        assert web.bytes < path.stat().st_size + 11 * 3 * (1 << 14)
        before = web.bytes
        assert sum(file.stat().st_size for file in files_of(clips)) < before


@pytest.mark.parametrize("kind", ["clips/", "clips.txt", "clips.tar", "clips.tar.gz", "clips.zip"])
def test_a_server_without_ranges_gives_whole_files(kind, clips, kept, monkeypatch):
    expected = bits(clips)
    with Web(kept, ranges=False) as web:
        assert bits(web.url(kind), workers=2) == expected
        if kind == "clips.tar":
            size = (kept / kind).stat().st_size
            assert web.bytes <= 2 * size  # the question, which is not read to its end, and the file
            monkeypatch.setattr(remote, "MEMBER_BYTES", size - 1)
            remote._fetched.cache_clear()
            with pytest.raises(AudioError, match="may be held in memory: give it as a local file"):
                bits(web.url(kind))


def test_errors_name_url_and_member(clips, tmp_path):
    as_tar(clips, tmp_path / "x.tar", files_of(clips))
    data = bytearray((tmp_path / "x.tar").read_bytes())
    data = data.replace(b"RIFF", b"JUNK", 1)
    (tmp_path / "x.tar").write_bytes(data)
    (tmp_path / "clips.txt").write_text("no.wav\n")
    (tmp_path / "bad.txt").write_text("/etc/passwd\n")
    with Web(tmp_path) as web:
        with pytest.raises(AudioError, match=r"x\.tar: 00\.wav: not readable as audio") as caught:
            bits(web.url("x.tar"))
        assert caught.value.path == f"{web.url('x.tar')}: 00.wav"
        made = fad_onnx.stats(web.url("x.tar"), model=WEIGHTLESS, skip_errors=True)
        assert made.counts["files"] == 9 and len(made.skipped) == 1
        for missing in ("no.wav", "clips.txt"):
            with pytest.raises(AudioError, match=r"/no\.wav: cannot be read: "):
                bits(web.url(missing))
        for missing in ("no.tar", "no.zip"):
            with pytest.raises(AudioError, match=rf"/{missing}: cannot be"):
                bits(web.url(missing))
        with pytest.raises(SourceError, match=r"no\.csv: cannot be"):
            sources.find(web.url("no.csv"))
        with pytest.raises(SourceError, match="names a file of this machine"):
            sources.find(web.url("bad.txt"))


BAD = [cut(500), announces(10**12), garbage, status("500 Down"), status("403 No"), endless]


@pytest.mark.parametrize("behaviour", BAD)
def test_a_server_that_misbehaves_is_an_audio_error(clips, behaviour, monkeypatch):
    monkeypatch.setattr(remote, "MEMBER_BYTES", 1 << 22)
    whole = files_of(clips)[0].read_bytes()
    with Loopback(whole, behaviour) as server, pytest.raises(AudioError, match="127.0.0.1"):
        bits(server.url("/x.wav"))


def test_nothing_is_read_where_the_network_is_forbidden(kept, tmp_path, monkeypatch):
    (tmp_path / "urls.txt").write_text("http://127.0.0.1:9/x.wav\n")
    with Web(kept) as web:
        for where in (web.url("clips.txt"), tmp_path / "urls.txt"):
            with pytest.raises(OptionError, match="offline: .* is a URL"):
                fad_onnx.stats(where, model=WEIGHTLESS, offline=True)
        monkeypatch.setenv("FAD_ONNX_OFFLINE", "1")
        with pytest.raises(SourceError, match="FAD_ONNX_OFFLINE is set"):
            sources.find(web.url("clips.txt"))
        assert not web.requests


def test_what_is_missing_is_named_with_its_pip_line(monkeypatch):
    with pytest.raises(SourceError, match="Protocol not known: nonsense"):
        sources.find("nonsense://x/y.tar")
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(MissingDependencyError, match="pip install gcsfs"):
        sources.find("gs://bucket/y.csv")
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'fad-onnx\[remote\]'"):
        sources.find("memory://bucket/y.csv")
