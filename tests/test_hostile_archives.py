"""Archives made to do harm: nothing outside is touched, memory and time are bounded."""

import gzip
import io
import os
import re
import subprocess
import sys
import tarfile
import time
import zipfile
import zlib

import numpy as np
import pytest

import fad_onnx
from fad_onnx.audio import remote, sources
from fad_onnx.audio.sources import gzips, members
from fad_onnx.errors import AudioError, FadError, NoAudioError, SourceError

from .conftest import write_clip
from .kept import as_parquet, as_tar, as_zip, tar_of
from .kit import WEIGHTLESS


@pytest.fixture
def wav(tmp_path):
    return write_clip(tmp_path / "source" / "x.wav", 1, 1.5).read_bytes()


def reasons(path):
    """Why each clip of an archive that is no good is none, by its name."""
    found = {}
    for file in sources.find(path):
        try:
            with file.blob().open() as opened:
                opened.read()
        except AudioError as error:
            assert str(error).startswith(f"{file.label}: ")
            found[file.name] = error.reason
    return found


def info(name, size=0, kind=tarfile.REGTYPE, target=""):
    made = tarfile.TarInfo(name)
    made.size, made.type, made.linkname = size, kind, target
    return made


def test_a_member_without_a_name_is_no_clip(wav, tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("0", wav)
        archive.writestr("1.wav", wav)
    held = (tmp_path / "x.zip").read_bytes()
    at = held.index(
        b"PK\1\2"
    )  # the first entry of the directory: no name, but one byte more of extra
    entry = bytearray(held[at : at + 46])
    entry[28:34] = bytes(2) + bytes(2) + b"\1\0"
    (tmp_path / "x.zip").write_bytes(held[:at] + bytes(entry) + held[at + 46 :])
    assert [file.name for file in sources.find(tmp_path / "x.zip")] == ["1.wav"]


def test_names_that_lead_out_are_errors_and_nothing_is_written(wav, tmp_path):
    names = ["../out.wav", "a/../../up.wav", "/root.wav", "./in.wav", "a//./b.wav"]
    inside = tmp_path / "deep" / "er"
    inside.mkdir(parents=True)
    path = tar_of([(name, wav) for name in names], inside / "x.tar")
    with zipfile.ZipFile(inside / "x.zip", "w") as archive:
        for name in names:
            archive.writestr(name, wav)
    before = sorted(tmp_path.rglob("*"))
    for one in (path, inside / "x.zip"):
        said = dict.fromkeys(("../out.wav", "../up.wav"), "its name points outside the archive")
        assert reasons(one) == said
        made = fad_onnx.embed(one, WEIGHTLESS, skip_errors=True, cache=False)
        assert list(made) == ["a/b.wav", "in.wav", "root.wav"]
    assert sorted(tmp_path.rglob("*")) == before


def test_links_and_devices_are_counted_and_never_followed(wav, tmp_path):
    secret = write_clip(tmp_path / "secret.wav", 2, 1)
    kinds = [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE]
    links = [(info(f"{i}.wav", 0, kind, str(secret)), b"") for i, kind in enumerate(kinds)]
    path = tar_of([*links, ("x.wav", wav)], tmp_path / "x.tar")
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        link = zipfile.ZipInfo("link.wav")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, str(secret))
        archive.writestr("x.wav", wav)
    for one, count in ((path, 5), (tmp_path / "x.zip", 1)):
        found = sources.find(one)
        assert [file.name for file in found] == ["x.wav"]
        assert found.left_out == f"{count} links or devices"


def test_a_name_that_is_there_twice_means_neither(wav, tmp_path):
    twice = [("a.wav", wav), ("b.wav", wav), ("./a.wav", wav[:100]), ("/a.wav", wav)]
    path = tar_of(twice, tmp_path / "x.tar")
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name, data in twice:
            archive.writestr(name, data)
    for one in (path, tmp_path / "x.zip"):
        assert reasons(one) == {"a.wav": members.TWICE}


def test_a_header_may_announce_any_size(wav, tmp_path):
    """Neither is what it announces allocated, nor does reading go back for ever."""
    good = tar_of([("a.wav", wav), ("b.wav", wav)], tmp_path / "good.tar").read_bytes()
    second = good.index(b"b.wav")
    for number, size in enumerate([b"77777777777\0", b"\x80" + b"\xff" * 11, b"\xff" * 12]):
        for kind in (b"0", b"x", b"L", b"g"):
            header = bytearray(good[second : second + 512])
            header[124:136], header[156:157], header[148:156] = size, kind, b" " * 8
            header[148:155] = f"{sum(header):06o}\0".encode()
            path = tmp_path / f"{number}{ord(kind)}.tar"
            path.write_bytes(good[:second] + header + good[second + 512 :])
            found = reasons(path)
            assert "a.wav" not in found
            assert any("cut short" in why or "cannot be read" in why for why in found.values())


def test_headers_that_follow_each_other_without_end_are_an_error(wav, tmp_path):
    header = bytearray(info("x", 512, tarfile.XHDTYPE).tobuf(tarfile.USTAR_FORMAT))
    chain = (bytes(header) + b"8 a=bcd\n".ljust(512, b"\0")) * 20_000
    path = tmp_path / "x.tar"
    path.write_bytes(tar_of([("a.wav", wav)], path).read_bytes()[:-9216] + chain)
    assert "cannot be read to its end" in reasons(path)[""]


def test_a_gzip_that_becomes_far_more_is_an_error(wav, tmp_path, monkeypatch):
    monkeypatch.setattr(gzips, "RATIO_FREE_BYTES", 1 << 20)
    zeros = [(f"{i}.wav", bytes(1 << 22)) for i in range(8)]
    path = tar_of([("a.wav", wav), *zeros], tmp_path / "x.tar.gz")
    assert path.stat().st_size < 1 << 18
    assert "which no audio does" in reasons(path)[""]


@pytest.mark.parametrize("kind", ["tar.gz", "zip"])
def test_a_member_that_is_too_large_for_memory_is_an_error(wav, tmp_path, kind, monkeypatch):
    monkeypatch.setattr(remote, "MEMBER_BYTES", 1 << 20)
    path = tmp_path / f"x.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.wav", wav)
            archive.writestr("b.wav", bytes(1 << 21))
    else:
        tar_of([("a.wav", wav), ("b.wav", bytes(1 << 21))], path)
    found = reasons(path)
    assert list(found) == ["b.wav"] and "2097152 bytes" in found["b.wav"]


def changed(path, name, offset, value, bytes_each=4):
    """A zip whose directory says something else of one member."""
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\1\2")
    while data[at + 46 : at + 46 + len(name)] != name:
        at = data.index(b"PK\1\2", at + 4)
    data[at + offset : at + offset + bytes_each] = value.to_bytes(bytes_each, "little")
    path.write_bytes(data)


# Offset in the entry of the directory, value, reason.
LIES = {
    "becomes more": (24, 100, "becomes more than 100 bytes|cannot become 100"),
    "becomes less": (24, 1 << 20, "cut short: 48044 of 1048576"),
    "far too large": (24, 1 << 30, "1073741824 bytes"),
    "wrong checksum": (16, 7, "checksum [0-9a-f]{8} instead of 00000007"),
    "packed ends early": (20, 3000, "cut short"),
    "another method": (10, 93, "packed by method"),
    "elsewhere": (42, 100, "no member begins at byte 100|another member"),
    "encrypted": (8, 1, "is encrypted"),
}


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_directory_that_lies_is_an_error(wav, tmp_path, lie, method):
    offset, value, reason = LIES[lie]
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        for name in ("a.wav", "b.wav"):
            archive.writestr(name, wav)
    changed(path, b"b.wav", offset, value, 2 if offset in (8, 10) else 4)
    found = reasons(path)
    assert found and set(found) <= {"a.wav", "b.wav"}
    if lie == "another method" or method == zipfile.ZIP_DEFLATED or offset in (16, 42, 8):
        assert re.search(reason, found["b.wav"]), found


def test_members_that_share_their_bytes_are_errors(tmp_path):
    """A bomb of few bytes: every entry of the directory means the same large member."""
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("00000.wav", bytes(10_000_000))
    data = path.read_bytes()
    at, end = data.index(b"PK\1\2"), data.index(b"PK\5\6")
    entry = data[at:end]
    entries = b"".join(entry.replace(b"00000", f"{i:05}".encode()) for i in range(20_000))
    counts = (20_000).to_bytes(2, "little") * 2
    tail = data[end : end + 8] + counts + len(entries).to_bytes(4, "little") + data[end + 16 :]
    path.write_bytes(data[:at] + entries + tail)
    started = time.process_time()
    found = reasons(path)
    assert len(found) == 20_000 and set(found.values()) == {
        "its bytes are those of another member too"
    }
    assert time.process_time() - started < 20


def test_an_archive_within_an_archive_is_left_out(wav, tmp_path):
    inner = tar_of([("a.wav", wav)], tmp_path / "inner.tar").read_bytes()
    path = tar_of([("inner.tar", inner), ("b.wav", wav)], tmp_path / "x.tar")
    found = sources.find(path)
    assert [file.name for file in found] == ["b.wav"]
    assert found.left_out == "1 files of other suffixes (1 .tar)"


def test_a_damaged_header_in_the_middle_is_no_end(wav, tmp_path):
    path = tar_of([("a.wav", wav), ("b.wav", wav)], tmp_path / "x.tar")
    data = path.read_bytes()
    path.write_bytes(data.replace(b"b.wav", b"B.wav", 1))
    assert reasons(path) == {
        "": f"cannot be read to its end: damaged at byte {data.index(b'b.wav')}"
    }
    path.write_bytes(data[: data.index(b"b.wav") + 9_000])
    assert reasons(path)["b.wav"] == f"cut short: 8488 of {len(wav)} bytes are there"


def test_two_tars_joined_into_one_are_noticed(wav, tmp_path):
    one = tar_of([("a.wav", wav)], tmp_path / "one.tar").read_bytes()
    (tmp_path / "two.tar").write_bytes(one + one)
    assert "holds more after its end mark" in reasons(tmp_path / "two.tar")[""]


def test_what_is_no_archive_says_so(tmp_path):
    for name in ("x.tar", "x.zip", "x.tar.gz"):
        for content in (b"", b"not an archive" * 100, b"<html>" * 100, gzip.compress(b"x" * 2000)):
            (tmp_path / name).write_bytes(content)
            with pytest.raises(AudioError, match=rf"{name}: cannot be read"):
                fad_onnx.stats(tmp_path / name, model=WEIGHTLESS)


def test_more_members_than_a_shard_has_are_an_error(wav, tmp_path, monkeypatch):
    monkeypatch.setattr(members, "MOST_MEMBERS", 50)
    path = tar_of([(f"{i}.txt", b"") for i in range(51)], tmp_path / "x.tar")
    with pytest.raises(SourceError, match="more than 50 members"):
        sources.find(path)


KINDS = {
    "tar": as_tar, "tar.gz": as_tar, "zip": as_zip, "parquet": as_parquet,
    "stored.zip": lambda folder, path: as_zip(folder, path, zipfile.ZIP_STORED),
}  # fmt: skip


def fuzz(folder, tmp_path, kind, runs):
    path = KINDS[kind](folder, tmp_path / f"x.{kind}")
    whole, random = path.read_bytes(), np.random.RandomState(zlib.crc32(kind.encode()))
    outcomes = set()
    for _ in range(runs):
        data = bytearray(whole)
        for place in random.randint(0, len(data), random.randint(1, 4)):
            data[place] = random.randint(256)
        # Most of an archive is audio: what describes it is at its end, or before each member.
        for place in random.randint(1, 3000, random.randint(0, 4)):
            data[-place] = random.randint(256)
        if not random.randint(4):
            del data[random.randint(len(data) // 2, len(data)) :]
        path.write_bytes(data)
        try:
            for file in sources.find(path):
                with file.blob().open() as opened:
                    opened.read()
            outcomes.add("read")
        except FadError as error:
            outcomes.add(type(error))
    return outcomes


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_archive_gives_its_clips_or_a_typed_error(clips, tmp_path, kind):
    for name in ("04", "05", "06", "07", "08", "09"):
        (clips / f"{name}.wav").unlink()
    assert fuzz(clips, tmp_path, kind, 60) <= {"read", AudioError, SourceError, NoAudioError}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_thousands_of_damaged_archives(clips, tmp_path, kind):
    assert fuzz(clips, tmp_path, kind, 2000) <= {"read", AudioError, SourceError, NoAudioError}


LISTS = """
import resource, sys, time
from fad_onnx.audio import sources
before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
found = sources.find(sys.argv[1])
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(len(found), time.process_time() - started, (after - before) / 1024)
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tar", "tar.gz", "zip"])
def test_a_million_members_are_listed_in_bounded_memory_and_time(tmp_path, kind):
    path, count = tmp_path / f"x.{kind}", 1_000_000
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for index in range(count):
                archive.writestr(zipfile.ZipInfo(f"{index:07}.wav"), b"")
    else:
        mode = "w:gz" if kind == "tar.gz" else "w"
        with tarfile.open(path, mode) as tar:
            for index in range(count):
                tar.addfile(info(f"{index:07}.wav"), io.BytesIO())
                tar.members.clear()
    listed = subprocess.run(
        [sys.executable, "-c", LISTS, path], capture_output=True, text=True, check=True,
        cwd=os.fspath(tmp_path),
    )  # fmt: skip
    found, seconds, megabytes = map(float, listed.stdout.split())
    print(f"{kind}: {found:.0f} members, {seconds:.1f} s, {megabytes:.0f} MB")
    assert found == count and seconds < 120 and megabytes < 1500
