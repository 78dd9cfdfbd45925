from __future__ import annotations

import errno
import hashlib
import json
import logging
import multiprocessing
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial as call
from pathlib import Path

import pytest

from fad_onnx.cache import filesystem
from fad_onnx.errors import (
    CacheError,
    CheckpointError,
    ChecksumError,
    DownloadError,
    FadError,
    OptionError,
)
from fad_onnx.weights import download
from fad_onnx.weights.download.connection import Patience
from fad_onnx.weights.download.reply import Reply, Start, start
from fad_onnx.weights.download.transfer import refusal
from fad_onnx.weights.download.verified import local_files, torch_hub_folder, verify

from . import loopback
from .loopback import ETAG, Behaviour, Loopback

BODY = bytes(range(256)) * 300
SHA = hashlib.sha256(BODY).hexdigest()
MD5 = hashlib.md5(BODY).hexdigest()
# As `git hash-object` gives it.
BLOB = hashlib.sha1(b"blob 76800\0" + BODY).hexdigest()
QUICK = Patience(
    attempts=5,
    connect_seconds=2.0,
    reply_seconds=0.25,
    stall_seconds=0.1,
    least_bytes_per_second=1000.0,
    pause_seconds=0.0,
)
# For servers that are not slow: a busy machine may take longer than QUICK to answer.
STEADY = replace(QUICK, connect_seconds=20.0, reply_seconds=20.0, stall_seconds=20.0)


@dataclass(frozen=True)
class Checkpoint:
    url: str
    file: str = "model.pth"
    bytes: int | None = len(BODY)
    digests: Mapping[str, str] = field(default_factory=call(dict, sha256=SHA))


UNKNOWN = Checkpoint("", bytes=None, digests={})


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    elsewhere = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    for name in ("FAD_ONNX_OFFLINE", "FAD_ONNX_MIRROR", *elsewhere):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FAD_ONNX_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    # Hundreds of small files: flushing each takes most of the time, and no test cuts the power.
    monkeypatch.setattr(os, "fsync", lambda _: None)
    return tmp_path / "home"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "home" / "checkpoints" / "model.pth"


def fetch(server: Loopback, target: Path, checkpoint: Checkpoint = UNKNOWN, **options: object):  # type: ignore[no-untyped-def]
    checkpoint = replace(checkpoint, url=server.url())
    return download.fetch(checkpoint, target, **{"patience": STEADY, **options})  # type: ignore[arg-type]


def known(**facts: object) -> Checkpoint:
    return replace(Checkpoint(""), **facts)  # type: ignore[arg-type]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


# Whole and honest


@pytest.mark.parametrize(
    ("checkpoint", "checked"),
    [
        (known(), "sha256"),
        (known(bytes=None), "sha256"),
        (known(digests={"sha256_prefix": SHA[:8]}), "sha256_prefix"),
        (known(digests={"md5": MD5}), "md5"),
        (known(digests={"git_blob_sha1": BLOB, "md5": MD5}, bytes=None), "git_blob_sha1"),
        (UNKNOWN, "none"),
    ],
)
def test_a_file_arrives_and_says_how_it_was_checked(
    target: Path, checkpoint: Checkpoint, checked: str
) -> None:
    seen: list[tuple[str, int, int | None]] = []
    with Loopback(BODY) as server:
        found = fetch(server, target, checkpoint, progress=lambda *step: seen.append(step))
        again = fetch(server, target, checkpoint)
        assert len(server.requests) == 1
        record = json.loads((target.parent / "model.pth.json").read_text())
        assert record == {
            "url": server.url(),
            "bytes": len(BODY),
            "sha256": SHA,
            "checked": checked,
        }
    assert (found.path, found.sha256, found.bytes, found.checked) == (
        target,
        SHA,
        len(BODY),
        checked,
    )
    assert again == found
    assert target.read_bytes() == BODY
    assert seen[-1] == ("model.pth", len(BODY), len(BODY))
    assert names(target.parent) == ["model.pth", "model.pth.json"]


@pytest.mark.parametrize("checkpoint", [known(), known(bytes=None)])
@pytest.mark.parametrize("behaviour", [loopback.chunked, loopback.announces(None)])
def test_a_length_that_is_not_announced(
    target: Path, checkpoint: Checkpoint, behaviour: Behaviour
) -> None:
    with Loopback(BODY, behaviour) as server:
        assert fetch(server, target, checkpoint).sha256 == SHA


def test_nothing_is_decompressed(target: Path) -> None:
    def packed(connection: loopback.Connection) -> None:
        connection.start(0, "Content-Encoding: gzip")
        connection.sock.sendall(BODY)

    with Loopback(BODY, packed) as server:
        assert fetch(server, target, known()).sha256 == SHA
        assert server.requests[0].headers["accept-encoding"] == "identity"


# Resuming


def test_a_cut_connection_goes_on_where_it_stopped(target: Path) -> None:
    with Loopback(BODY, loopback.cut(1000), loopback.cut(20000), loopback.whole) as server:
        assert fetch(server, target, known()).sha256 == SHA
        assert server.ranges() == [None, "bytes=1000-", "bytes=21000-"]
        assert [r.headers.get("if-range") for r in server.requests] == [None, ETAG, ETAG]


@pytest.mark.parametrize("checkpoint", [known(), UNKNOWN], ids=["hash", "no hash"])
@pytest.mark.parametrize("after", [1, 99, 5000, len(BODY) - 1])
def test_a_later_run_goes_on(target: Path, after: int, checkpoint: Checkpoint) -> None:
    once = replace(QUICK, attempts=1)
    with Loopback(BODY, loopback.cut(after), loopback.whole) as server:
        with pytest.raises(DownloadError, match=f"cut after {after} of 76800.*{after} bytes that"):
            fetch(server, target, checkpoint, patience=once)
        assert names(target.parent) == ["model.pth.part", "model.pth.part.json"]
        assert fetch(server, target, checkpoint).sha256 == SHA
        assert server.ranges() == [None, f"bytes={after}-"]
    assert names(target.parent) == ["model.pth", "model.pth.json"]


@pytest.mark.parametrize("seed", range(8))
def test_cuts_at_random_points(target: Path, seed: int) -> None:
    chance = random.Random(seed)
    points = [chance.randrange(0, 60000) for _ in range(30)]
    kinds = [loopback.cut, loopback.cut_ignoring_range]
    cuts = [chance.choice(kinds)(point) for point in points]
    with Loopback(BODY, *cuts, loopback.whole) as server:
        patient = replace(QUICK, attempts=40)
        assert fetch(server, target, known(), patience=patient).sha256 == SHA
    assert target.read_bytes() == BODY


def test_retries_are_bounded(target: Path) -> None:
    with Loopback(BODY, loopback.cut(10)) as server:
        with pytest.raises(DownloadError, match="5 attempts"):
            fetch(server, target, known())
        assert len(server.requests) == 5


def test_progress_earns_new_attempts(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "PROGRESS_BYTES", 1000)
    with Loopback(BODY, loopback.cut(8000)) as server:
        assert fetch(server, target, known()).sha256 == SHA
        assert len(server.requests) == 10


def test_a_server_that_ignores_ranges_starts_again(target: Path) -> None:
    with Loopback(BODY, loopback.cut(5000), loopback.ignores_range) as server:
        assert fetch(server, target, known()).sha256 == SHA
        assert server.ranges() == [None, "bytes=5000-"]


def test_a_wrong_part_is_not_appended(target: Path) -> None:
    with Loopback(BODY, loopback.cut(5000), loopback.wrong_part, loopback.whole) as server:
        assert fetch(server, target, UNKNOWN).sha256 == SHA
        assert server.ranges() == [None, "bytes=5000-", None]


def changed_part(connection: loopback.Connection) -> None:
    begin = connection.begin()
    connection.start(begin, 'ETag: "two"')
    connection.sock.sendall(connection.body[begin:])


def test_another_version_of_the_file_starts_again(target: Path) -> None:
    with Loopback(BODY, loopback.cut(5000), changed_part, loopback.whole) as server:
        assert fetch(server, target, UNKNOWN).sha256 == SHA
        assert server.ranges() == [None, "bytes=5000-", None]


def test_without_a_validator_nothing_is_resumed(target: Path) -> None:
    def bare(connection: loopback.Connection) -> None:
        connection.start(0, 'ETag: W/"weak"')
        connection.sock.sendall(BODY[:3000])

    with Loopback(BODY, bare, loopback.whole) as server:
        assert fetch(server, target, UNKNOWN).sha256 == SHA
        assert server.ranges() == [None, None]


def test_a_date_is_a_validator(target: Path) -> None:
    def dated(connection: loopback.Connection) -> None:
        connection.start(0, f"Last-Modified: {loopback.DATE}")
        connection.sock.sendall(BODY[:3000])

    with Loopback(BODY, dated, loopback.whole) as server:
        # The second answer has an ETag and no date: not provably the same file.
        assert fetch(server, target, UNKNOWN).sha256 == SHA
        assert server.requests[1].headers["if-range"] == loopback.DATE


def test_a_partial_from_another_server_is_not_continued(target: Path) -> None:
    once = replace(QUICK, attempts=1)
    with Loopback(BODY, loopback.cut(5000)) as server, pytest.raises(DownloadError):
        fetch(server, target, known(), patience=once)
    with Loopback(BODY) as server:
        assert fetch(server, target, known()).sha256 == SHA
        assert server.ranges() == [None]


def partial(target: Path, server: Loopback, data: bytes, flushed: object, **notes: object) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.with_name("model.pth.part").write_bytes(data)
    said = {"url": server.url(), "validator": ETAG, "bytes": flushed, **notes}
    target.with_name("model.pth.part.json").write_text(json.dumps(said))


def test_only_what_was_flushed_is_trusted(target: Path) -> None:
    with Loopback(BODY) as server:
        partial(target, server, BODY[:4000] + b"\0" * 999, 4000)
        assert fetch(server, target, UNKNOWN).sha256 == SHA
        assert server.ranges() == ["bytes=4000-"]


def test_what_was_not_flushed_does_not_stay_behind_the_end(target: Path) -> None:
    with Loopback(BODY) as server:
        partial(target, server, BODY[:4000] + b"\0" * 200_000, 4000)
        assert fetch(server, target, known()).sha256 == SHA
    assert target.read_bytes() == BODY


@pytest.mark.parametrize(
    ("data", "flushed", "notes"),
    [
        (BODY[:10], 4000, {}),
        (BODY[:10], "x", {}),
        (BODY[:10], None, {}),
        (BODY[:10], -1, {}),
        (BODY[:10], 10, {"validator": None}),
        (BODY[:10], 10, {"validator": ["x"]}),
        (BODY[:10], 10, {"validator": "a\r\nX: y"}),
        (BODY[:10], True, {}),
    ],
)
def test_damaged_notes_start_again(
    target: Path, data: bytes, flushed: object, notes: dict[str, object]
) -> None:
    with Loopback(BODY) as server:
        partial(target, server, data, flushed, **notes)
        assert fetch(server, target, UNKNOWN).sha256 == SHA
        assert server.ranges() in ([None], ["bytes=1-"])  # JSON's true is Python's 1


@pytest.mark.parametrize("text", ["", "[]", "{", "{}", "\xff", "[" * 100000])
def test_notes_that_are_not_notes(target: Path, text: str) -> None:
    with Loopback(BODY) as server:
        partial(target, server, BODY[:10], 10)
        target.with_name("model.pth.part.json").write_bytes(text.encode("latin-1"))
        assert fetch(server, target, UNKNOWN).sha256 == SHA
        assert server.ranges() == [None]


def test_a_whole_partial_needs_no_network(target: Path) -> None:
    with Loopback(BODY) as server:
        partial(target, server, BODY, len(BODY))
        assert fetch(server, target, known()).sha256 == SHA
        assert server.requests == []


def test_a_whole_partial_of_unknown_length(target: Path) -> None:
    refuses = loopback.status(
        "416 Range Not Satisfiable", f"Content-Range: bytes */{len(BODY)}", f"ETag: {ETAG}"
    )
    with Loopback(BODY, refuses) as server:
        partial(target, server, BODY, len(BODY))
        assert fetch(server, target, UNKNOWN).sha256 == SHA


def test_a_partial_that_fits_nothing(target: Path) -> None:
    refuses = loopback.status("416 Range Not Satisfiable", "Content-Range: bytes */5")
    with Loopback(BODY, refuses, loopback.whole) as server:
        partial(target, server, BODY[:99], 99)
        assert fetch(server, target, UNKNOWN).sha256 == SHA
        assert server.ranges() == ["bytes=99-", None]


def test_a_damaged_partial_is_mended_once(target: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Loopback(BODY) as server:
        partial(target, server, b"x" * 5000, 5000)
        assert fetch(server, target, known()).sha256 == SHA
        assert server.ranges() == ["bytes=5000-", None]
    assert "fetched again from the first byte" in caplog.text


def test_a_wrong_file_that_is_also_cut_is_not_fetched_for_ever(target: Path) -> None:
    wrong = b"x" * len(BODY)
    with Loopback(wrong, loopback.cut(100), loopback.whole, loopback.cut(9), loopback.whole) as s:
        with pytest.raises(ChecksumError):
            fetch(s, target, known())
        assert len(s.requests) == 4
    assert names(target.parent) == []


# Wrong hashes and lengths


@pytest.mark.parametrize(
    "checkpoint",
    [
        known(digests={"sha256": "0" * 64}),
        known(digests={"sha256": "0" * 64}, bytes=None),
        known(digests={"sha256_prefix": "00000000"}),
        known(digests={"md5": "0" * 32}),
        known(digests={"git_blob_sha1": "0" * 40, "md5": MD5}),
        known(digests={"git_blob_sha1": BLOB, "md5": "0" * 32}),
    ],
)
def test_a_wrong_hash_is_never_published(target: Path, checkpoint: Checkpoint) -> None:
    with Loopback(BODY) as server, pytest.raises(ChecksumError) as caught:
        fetch(server, target, checkpoint)
    assert any(f"got {one}" in str(caught.value) for one in (SHA, MD5, BLOB))
    assert "expected 0000" in str(caught.value)
    assert "what arrived was removed" in str(caught.value)
    assert names(target.parent) == []


def endless_trailer(connection: loopback.Connection) -> None:
    loopback.chunked(connection, last=b"0\r\n")
    while not connection.server.closing.wait(0.01):
        connection.sock.sendall(b"X: y\r\n")


def endless_chunk_head(connection: loopback.Connection) -> None:
    connection.head("200 OK", "Transfer-Encoding: chunked")
    while not connection.server.closing.wait(0.01):
        connection.sock.sendall(b"0")


def endless_welcome(connection: loopback.Connection) -> None:
    while not connection.server.closing.wait(0.01):
        connection.sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")


def headless(connection: loopback.Connection) -> None:
    connection.sock.sendall(b"HTTP/1.1 200 OK\r\nServer: x\r\n")


@pytest.mark.parametrize(
    ("behaviour", "checkpoint", "said"),
    [
        (loopback.announces(len(BODY) - 1), known(), "has 76799 bytes, published are 76800"),
        (loopback.announces(len(BODY) + 1), known(), "has 76801 bytes, published are 76800"),
        (loopback.announces(10**17), known(bytes=None), "are needed"),
        (loopback.announces(len(BODY) + 1), known(bytes=None), "cut after 76800 of 76801"),
        (loopback.announces(0), UNKNOWN, "empty"),
        (loopback.announces(None), UNKNOWN, "neither length nor hash"),
        (loopback.chunked, UNKNOWN, "neither length nor hash"),
        (loopback.endless, known(), "more than the 76800 bytes"),
        (loopback.chunked_cut, known(), "broke"),
        (loopback.garbage, known(), "HTTP"),
        (loopback.status("404 Not Found"), known(), "HTTP 404 Not Found"),
        (loopback.status("403 Forbidden"), known(), "HTTP 403"),
        (loopback.status("204 No Content"), known(), "HTTP 204"),
        (loopback.status("206 Partial Content", "Content-Range: bytes 5-9/10"), known(), "part"),
        (loopback.status("206 Partial Content"), known(), "part"),
        (loopback.status("416 Range Not Satisfiable", "Content-Range: bytes */0"), UNKNOWN, "part"),
        (loopback.status("500 Internal Server Error"), known(), "HTTP 500.*2 attempts"),
        (loopback.status("503 Service Unavailable"), known(), "HTTP 503.*2 attempts"),
        (loopback.status("302 Found"), known(), "redirects"),
        (loopback.redirects("/again"), known(), "redirects"),
        (endless_trailer, known(bytes=None), r"only \d+ bytes in"),
        (endless_chunk_head, known(), r"only \d+ bytes in"),
        (endless_welcome, known(), "did not answer in time"),
        (loopback.silent, known(), "did not answer in time"),
        (headless, known(bytes=None), r"cut after 0 of \? bytes"),
        (loopback.drips_head, known(), "did not answer in time"),
        (loopback.stalls(0), known(), r"only 0 bytes in 0.1 s"),
        (loopback.stalls(500), known(), r"only \d+ bytes in 0.1 s"),
        (loopback.drips(0.03), known(), r"only \d+ bytes in 0.1 s"),
    ],
)
def test_bad_servers(target: Path, behaviour: Behaviour, checkpoint: Checkpoint, said: str) -> None:
    begun = time.monotonic()
    twice = replace(QUICK, attempts=2)
    with Loopback(BODY, behaviour) as server:
        with pytest.raises((DownloadError, CacheError), match=said) as caught:
            fetch(server, target, checkpoint, patience=twice)
        if isinstance(caught.value, DownloadError):
            assert server.url() in str(caught.value)
            assert f"put it at {target}" in str(caught.value)
    assert time.monotonic() - begun < 4
    assert "model.pth" not in names(target.parent)


@pytest.mark.parametrize("first", [loopback.status("500 Oops"), loopback.silent, loopback.garbage])
def test_passing_troubles_pass(target: Path, first: Behaviour) -> None:
    with Loopback(BODY, first, loopback.whole) as server:
        assert fetch(server, target, known(), patience=QUICK).sha256 == SHA


def test_too_many_bytes_stop_at_once(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "LARGEST_BYTES", 100_000)
    seen: list[int] = []
    checkpoint = known(bytes=None)
    said = pytest.raises(DownloadError, match="more than the 100000 bytes")
    with Loopback(BODY, loopback.endless) as server, said:
        fetch(server, target, checkpoint, progress=lambda name, done, total: seen.append(done))
    assert max(seen) <= 100_000
    assert names(target.parent) == []


def test_nobody_listens(target: Path) -> None:
    with Loopback(BODY) as server:
        url = server.url()
    with pytest.raises(DownloadError, match="refused"):
        download.fetch(known(url=url), target, patience=QUICK)


# Addresses


@pytest.mark.parametrize(
    "location",
    [
        "ftp://127.0.0.1/x",
        "file:///etc/passwd",
        "data:text/plain,x",
        "http://example.org/x",
        "http://127.0.0.1.example.org/x",
        "http://user@127.0.0.1/x",
        "gopher://127.0.0.1",
        "//[",
        "http://127.0.0.1:99999/x",
    ],
)
def test_redirects_elsewhere_are_refused(target: Path, location: str) -> None:
    with Loopback(BODY, loopback.redirects(location)) as server:
        with pytest.raises(DownloadError):
            fetch(server, target, known())
        assert len(server.requests) == 1
    assert names(target.parent) == []


def test_redirects_within_the_rule_are_followed(target: Path) -> None:
    with Loopback(BODY) as there:
        with Loopback(b"", loopback.redirects(there.url("/real"))) as here:
            assert fetch(here, target, known()).sha256 == SHA
        assert [request.path for request in there.requests] == ["/real"]


@pytest.mark.parametrize(
    ("url", "before", "said"),
    [
        ("https://example.org/x", None, None),
        ("https://example.org/x", "http://localhost/", None),
        ("http://127.0.0.1:80/x", None, None),
        ("http://127.9.9.9/x", None, None),
        ("http://localhost:1/x", None, None),
        ("http://[::1]:1/x", None, None),
        ("http://127.0.0.1/x", "http://127.0.0.1/", None),
        ("http://127.0.0.1/x", "https://example.org/", "from https to http"),
        ("http://example.org/x", None, "only https"),
        ("http://0.0.0.0/x", None, "only https"),
        ("http://localhost.example.org/x", None, "only https"),
        ("ftp://example.org/x", None, "ftp:// is refused"),
        ("file:///x", None, "no host"),
        ("//example.org/x", None, "no scheme"),
        ("https://user:secret@example.org/x", None, "user name"),
        ("https://example.org:99999/x", None, "not a URL"),
        ("https:///x", None, "no host"),
        ("", None, "no host"),
    ],
)
def test_which_addresses_are_asked(url: str, before: str | None, said: str | None) -> None:
    problem = refusal(url, before)
    assert problem is None if said is None else said in (problem or "")


@pytest.mark.parametrize(
    ("status", "headers", "have", "expected"),
    [
        (200, {"content-length": "10"}, 0, Start(0, 10)),
        (200, {"content-length": "10"}, 5, Start(0, 10)),
        (200, {"content-length": "-1"}, 0, Start(0, None)),
        (200, {"content-length": "1e3"}, 0, Start(0, None)),
        (200, {"content-length": "9" * 19}, 0, Start(0, None)),
        (200, {"content-length": "٣"}, 0, Start(0, None)),
        (200, {}, 0, Start(0, None)),
        (206, {"content-range": "bytes 5-9/10"}, 5, Start(5, 10)),
        (206, {"content-range": "bytes 5-9/*"}, 5, Start(5, None)),
        (206, {"content-range": "bytes 4-9/10"}, 5, Start(-1, None)),
        (206, {"content-range": "bytes 0-9/10"}, 0, Start(-1, None)),
        (206, {"content-range": "items 5-9/10"}, 5, Start(-1, None)),
        (206, {}, 5, Start(-1, None)),
        (416, {"content-range": "bytes */5"}, 5, Start(5, 5)),
        (416, {"content-range": "bytes */4"}, 5, Start(-1, None)),
        (416, {"content-range": "bytes */0"}, 0, Start(-1, None)),
    ],
)
def test_where_a_body_belongs(
    status: int, headers: dict[str, str], have: int, expected: Start
) -> None:
    assert start(Reply("", status, headers), have) == expected


# Mirror and offline


def test_a_mirror_takes_the_place_of_the_host(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = known(url="https://example.invalid/a/b%3D.pth?x=1")
    with Loopback(BODY) as server:
        monkeypatch.setenv("FAD_ONNX_MIRROR", server.url("/lab/"))
        download.fetch(checkpoint, target, patience=QUICK)
        assert [request.path for request in server.requests] == ["/lab/a/b%3D.pth?x=1"]


@pytest.mark.parametrize(
    "mirror",
    ["ftp://x/", "http://example.org/", "lab", "https://h/?a", "https://h/#a", "https://u:p@h/"],
)
def test_mirrors_that_will_not_do(target: Path, mirror: str) -> None:
    with pytest.raises(OptionError, match="FAD_ONNX_MIRROR"):
        download.fetch(known(url="https://example.invalid/x"), target, mirror=mirror)


@pytest.mark.parametrize("mirror", ["https://u:secret@h/", "u:secret@h", "https://u:secret@[h/"])
def test_a_password_in_a_mirror_is_not_shown(target: Path, mirror: str) -> None:
    with pytest.raises(OptionError) as caught:
        download.fetch(known(url="https://example.invalid/x"), target, mirror=mirror)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("value", ["1", "true", "YES", " on "])
def test_offline_says_what_to_fetch_and_where_to_put_it(
    target: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("FAD_ONNX_OFFLINE", value)
    with Loopback(BODY) as server:
        with pytest.raises(DownloadError, match="offline") as caught:
            fetch(server, target, known())
        assert server.requests == []
        assert server.url() in str(caught.value)
        assert str(target) in str(caught.value)
        assert "--from" in str(caught.value)
        monkeypatch.delenv("FAD_ONNX_OFFLINE")
        assert fetch(server, target, known()).sha256 == SHA
        monkeypatch.setenv("FAD_ONNX_OFFLINE", value)
        assert fetch(server, target, known()).sha256 == SHA
        assert len(server.requests) == 1


@pytest.mark.parametrize(("value", "expected"), [("", False), ("0", False), ("No", False)])
def test_offline_can_be_off(monkeypatch: pytest.MonkeyPatch, value: str, expected: bool) -> None:
    monkeypatch.setenv("FAD_ONNX_OFFLINE", value)
    assert download.is_offline() is expected


@pytest.mark.parametrize("name", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_other_tools_variables_count_unless_ours_is_set(
    target: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for value, expected in (("1", True), ("TRUE", True), ("0", False), ("nonsense", False)):
        monkeypatch.setenv(name, value)
        assert download.is_offline() is expected
    monkeypatch.setenv(name, "1")
    with Loopback(BODY) as server:
        with pytest.raises(DownloadError, match=rf"\(offline, as {name} says\)"):
            fetch(server, target)
        monkeypatch.setenv("FAD_ONNX_OFFLINE", "0")
        assert fetch(server, target).sha256 == SHA


def test_offline_is_never_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAD_ONNX_OFFLINE", "maybe")
    with pytest.raises(OptionError, match="FAD_ONNX_OFFLINE"):
        download.is_offline()


# Files at hand


def test_a_damaged_file_in_the_cache_is_fetched_again(
    target: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Loopback(BODY) as server:
        for checkpoint in (known(), UNKNOWN):
            fetch(server, target, checkpoint)
            target.write_bytes(b"y" + BODY[1:])
            with pytest.raises(ChecksumError, match="left there"):
                fetch(server, target, checkpoint, offline=True)
            assert target.exists()
            assert fetch(server, target, checkpoint).sha256 == SHA
    assert "fetched again" in caplog.text


def test_torch_hub_s_copy_is_used_in_place(target: Path) -> None:
    hub = torch_hub_folder()
    hub.mkdir(parents=True)
    (hub / "model.pth").write_bytes(BODY)
    (hub / "model.pth").chmod(0o444)
    found = download.obtain(known(url="https://example.invalid/x"), target.parent)
    assert (found.path, found.checked) == (hub / "model.pth", "sha256")
    assert names(target.parent) == []


def test_a_wrong_copy_is_left_alone_and_not_used(
    target: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hub = torch_hub_folder()
    hub.mkdir(parents=True)
    for wrong in (BODY[:-1], b"y" + BODY[1:]):
        (hub / "model.pth").write_bytes(wrong)
        with Loopback(BODY) as server:
            checkpoint = known(url=server.url())
            assert download.obtain(checkpoint, target.parent).path == target
        assert (hub / "model.pth").read_bytes() == wrong
        assert "not used" in caplog.text
        target.unlink()


def test_where_torch_hub_keeps_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert torch_hub_folder() == tmp_path / "torch" / "hub" / "checkpoints"
    monkeypatch.delenv("TORCH_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert torch_hub_folder() == tmp_path / "xdg" / "torch" / "hub" / "checkpoints"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert torch_hub_folder() == Path.home() / ".cache" / "torch" / "hub" / "checkpoints"


@pytest.mark.parametrize(
    ("variable", "place"),
    [
        ("HOME", "{}/.cache/huggingface/hub"),
        ("XDG_CACHE_HOME", "{}/huggingface/hub"),
        ("HF_HOME", "{}/hub"),
        ("HF_HUB_CACHE", "{}"),
        ("HUGGINGFACE_HUB_CACHE", "{}"),
    ],
)
def test_the_hub_s_copy_is_used_in_place(
    target: Path, monkeypatch: pytest.MonkeyPatch, variable: str, place: str
) -> None:
    for name in ("XDG_CACHE_HOME", "HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, str(target.parent / "kept"))
    folder = Path(place.format(target.parent / "kept")) / "models--org--name"
    file = folder / "snapshots" / "abc" / "sub" / "model.pth"
    (folder / "blobs").mkdir(parents=True)
    (folder / "blobs" / "0").write_bytes(BODY)
    file.parent.mkdir(parents=True)
    file.symlink_to("../../../blobs/0")
    checkpoint = known(url="https://huggingface.co/org/name/resolve/def/sub/model.pth")
    found = download.obtain(checkpoint, target.parent, offline=True)
    assert (found.path, found.checked) == (file, "sha256")
    wrong = folder / "snapshots" / "def" / "sub" / "model.pth"
    wrong.parent.mkdir(parents=True)
    wrong.write_bytes(b"another revision")
    assert download.obtain(checkpoint, target.parent, offline=True).path == file
    with pytest.raises(DownloadError, match="offline"):
        download.obtain(replace(checkpoint, digests={}, bytes=None), target.parent, offline=True)


def test_the_folder_of_panns_inference_is_searched(
    target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "panns_data").mkdir()
    file = tmp_path / "panns_data" / "a=b.pth"
    file.write_bytes(BODY)
    checkpoint = known(file="a=b.pth", url="https://zenodo.org/records/1/files/a%3Db.pth")
    assert download.obtain(checkpoint, target.parent, offline=True).path == file
    # A file of which nothing is known is taken from no tool that may have named it so.
    with pytest.raises(DownloadError, match="offline"):
        download.obtain(replace(checkpoint, digests={}, bytes=None), target.parent, offline=True)
    file.write_bytes(b"y" + BODY[1:])
    with pytest.raises(DownloadError, match="offline"):
        download.obtain(checkpoint, target.parent, offline=True)


def test_names_are_found_with_their_escapes_and_without_folders(tmp_path: Path) -> None:
    (tmp_path / "Cnn14_mAP%3D0.4.pth").write_bytes(b"x")
    (tmp_path / "sub").mkdir()
    assert local_files("Cnn14_mAP=0.4.pth", [tmp_path]) == [tmp_path / "Cnn14_mAP%3D0.4.pth"]
    assert local_files("sub", [tmp_path]) == []
    assert local_files("../Cnn14_mAP%3D0.4.pth", [tmp_path / "sub"]) == []


def test_verify(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(BODY)
    assert verify(known(), path).checked == "sha256"
    with pytest.raises(CheckpointError, match="76800 bytes, published with 5"):
        verify(known(bytes=5), path)
    with pytest.raises(CheckpointError, match="no such file"):
        verify(known(), tmp_path / "absent")


# The disk


def test_room_is_checked_before_the_body(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage("/")._replace(free=filesystem.SPARE_BYTES + 50_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with Loopback(BODY) as server, pytest.raises(CacheError, match="0.1 MB are needed"):
        fetch(server, target, known())
    assert names(target.parent) == []


def test_a_disk_that_fills_up_is_no_network_error(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("fad_onnx.weights.download.partial.write_all", full)
    with Loopback(BODY) as server:
        with pytest.raises(CacheError, match="full"):
            fetch(server, target, known())
        assert len(server.requests) == 1


# Processes


def test_an_interrupt_keeps_what_arrived(target: Path) -> None:
    def interrupt(name: str, done: int, total: int | None) -> None:
        raise KeyboardInterrupt

    with Loopback(BODY, loopback.drips(0.001), loopback.whole) as server:
        with pytest.raises(KeyboardInterrupt):
            fetch(server, target, known(), progress=interrupt)
        assert fetch(server, target, known()).sha256 == SHA
        assert server.ranges()[1] is not None


def _fetch_once(url: str, target: str) -> str:
    return download.fetch(Checkpoint(url), Path(target), patience=QUICK).sha256


def slowly(connection: loopback.Connection) -> None:
    time.sleep(0.15)
    loopback.whole(connection)


def test_threads_that_ask_at_once_download_once(target: Path) -> None:
    both = threading.Barrier(2)

    def ask() -> str:
        both.wait()
        return _fetch_once(server.url(), str(target))

    with Loopback(BODY, slowly) as server, ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(ask) for _ in range(2)]
        assert [each.result() for each in waiting] == [SHA, SHA]
        assert len(server.requests) == 1


def test_two_processes_download_once(target: Path) -> None:
    with Loopback(BODY, slowly) as server:
        spawn = multiprocessing.get_context("spawn")
        with spawn.Pool(2) as pool:
            waiting = pool.starmap_async(_fetch_once, [(server.url(), str(target))] * 2)
            assert waiting.get(60) == [SHA, SHA]
        assert len(server.requests) == 1


KILLED = """
import sys
from pathlib import Path
from fad_onnx.weights import download
from fad_onnx.weights.download import partial
from tests.test_download import Checkpoint
partial.SYNC_BYTES = 1000
checkpoint, show = Checkpoint(sys.argv[1]), lambda *step: print(step, flush=True)
download.fetch(checkpoint, Path(sys.argv[2]), progress=show)
"""


@pytest.mark.skipif(os.name == "nt", reason="POSIX only")
def test_sigkill_keeps_what_was_flushed(target: Path) -> None:
    with Loopback(BODY, loopback.stalls(30_000), loopback.whole) as server:
        with subprocess.Popen(
            [sys.executable, "-c", KILLED, server.url(), str(target)], stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            while b"30000" not in (line := process.stdout.readline()):
                assert line, "the child ended before it was killed"
            process.send_signal(signal.SIGKILL)
        assert names(target.parent) == ["model.pth.part", "model.pth.part.json"]
        assert fetch(server, target, known()).sha256 == SHA
        resumed = server.ranges()[1]
        assert resumed is not None
        assert 29_000 <= int(resumed[6:-1]) <= 30_000


def test_errors_are_fad_errors_and_os_errors() -> None:
    assert issubclass(DownloadError, FadError)
    assert issubclass(ChecksumError, OSError)


def test_the_log_tells_of_retries(target: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "fad_onnx")
    with Loopback(BODY, loopback.cut(10), loopback.whole) as server:
        fetch(server, target, known())
    assert "cut after 10 of 76800 bytes, trying again" in caplog.text


def test_proxies_are_not_asked_for_loopback(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with Loopback(BODY) as server:
        assert fetch(server, target, known()).sha256 == SHA


def test_a_proxy_is_asked_for_https(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def proxy(connection: loopback.Connection) -> None:
        seen.append(connection.path)
        connection.head("403 Forbidden")

    with Loopback(BODY, proxy) as server:
        monkeypatch.setenv("https_proxy", server.url(""))
        with pytest.raises(DownloadError, match="403"):
            download.fetch(known(url="https://example.invalid/x"), target, patience=QUICK)
    assert seen[0] == "example.invalid:443"


def test_a_proxy_that_drips_its_reply_is_given_up(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = time.monotonic()
    with Loopback(BODY, loopback.drips_head) as server:
        monkeypatch.setenv("https_proxy", server.url(""))
        with pytest.raises(DownloadError, match="did not answer in time"):
            download.fetch(known(url="https://example.invalid/x"), target, patience=QUICK)
    assert time.monotonic() - begun < 15


def test_time_that_the_caller_takes_is_not_the_servers(target: Path) -> None:
    def pauses(connection: loopback.Connection) -> None:
        connection.start(connection.begin())
        connection.sock.sendall(BODY[:5000])
        time.sleep(0.4)
        connection.sock.sendall(BODY[5000:])

    with Loopback(BODY, pauses) as server:
        options = {"progress": lambda *_: time.sleep(0.6), "patience": QUICK}
        found = fetch(server, target, known(), **options)
        assert found.sha256 == SHA
        assert len(server.requests) == 1


PROXIES = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY")


@pytest.fixture
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("no_proxies")
@pytest.mark.parametrize("variable", PROXIES[:4])
@pytest.mark.parametrize("scheme", ["socks5", "socks5h", "socks4", "https", "HTTPS", "ftp"])
def test_an_unspoken_proxy_is_refused_before_a_byte_is_sent(
    target: Path, monkeypatch: pytest.MonkeyPatch, variable: str, scheme: str
) -> None:
    with Loopback(BODY) as server:
        place = server.url("").removeprefix("http://")
        monkeypatch.setenv(variable, f"{scheme}://me:secret@{place}")
        with pytest.raises(DownloadError) as caught:
            download.fetch(known(url="https://example.invalid/x"), target, patience=QUICK)
        assert not server.requests
    said = str(caught.value)
    assert f"{scheme}://***@{place} ({variable})" in said and "only http://" in said
    assert "secret" not in said and "me:" not in said


@pytest.mark.usefixtures("no_proxies")
@pytest.mark.parametrize(
    "value", ["http://", "http://u:p@h:port", "http:/x", "u:secret@:1", "://x"]
)
def test_a_malformed_proxy_is_refused(
    target: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("https_proxy", value)
    with pytest.raises(DownloadError, match=r"the proxy .*\(https_proxy\)") as caught:
        download.fetch(known(url="https://example.invalid/x"), target, patience=QUICK)
    assert "secret" not in str(caught.value)


@pytest.mark.usefixtures("no_proxies")
@pytest.mark.parametrize("variable", PROXIES[:4])
def test_a_spoken_proxy_is_named_in_errors_without_its_password(
    target: Path, monkeypatch: pytest.MonkeyPatch, variable: str, caplog: pytest.LogCaptureFixture
) -> None:
    for reply in (loopback.status("407 Proxy Authentication Required"), lambda _: None):
        with Loopback(BODY, reply) as server:
            place = server.url("").removeprefix("http://")
            monkeypatch.setenv(variable, f"http://me:secret@{place}")
            with pytest.raises(DownloadError) as caught:
                download.fetch(known(url="https://example.invalid/x"), target, patience=QUICK)
        assert f"through the proxy http://***@{place} ({variable})" in str(caught.value)
        assert "secret" not in str(caught.value) + caplog.text
    assert len(server.requests) == QUICK.attempts


@pytest.mark.usefixtures("no_proxies")
def test_no_proxy_is_respected(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("all_proxy", "socks5://127.0.0.1:9")
    for hosts in ("127.0.0.1", "example.org,127.0.0.1", "*"):
        monkeypatch.setenv("no_proxy", hosts)
        # Nobody listens there: the server itself was asked.
        with pytest.raises(DownloadError, match="refused") as caught:
            download.fetch(known(url="https://127.0.0.1:9/x"), target, patience=QUICK)
        assert "the proxy" not in str(caught.value)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1 and its key, in one file."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs the openssl command")
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    options = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=x"
    made = [*options.split(), "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(
        [openssl, *made, "-keyout", str(path), "-out", f"{path}.crt"],
        check=True,
        capture_output=True,
    )
    path.write_bytes(path.read_bytes() + Path(f"{path}.crt").read_bytes())
    return path


def test_https(target: Path, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", f"{certificate}.crt")
    behaviours = loopback.cut(5000), loopback.stalls(5000), loopback.whole
    with Loopback(BODY, *behaviours, certificate=certificate) as server:
        assert fetch(server, target, known(), patience=QUICK).sha256 == SHA
        assert server.ranges()[1] == "bytes=5000-"
        assert server.url().startswith("https:")


def test_an_unknown_certificate_is_refused_at_once(
    target: Path, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    with Loopback(BODY, certificate=certificate) as server:
        with pytest.raises(DownloadError, match=r"certificate is not valid.*set SSL_CERT_FILE"):
            fetch(server, target, known())
        for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
            monkeypatch.setenv(name, "/none/such")
            said = f"certificate is not valid.*those in {name}=/none/such, which"
            with pytest.raises(DownloadError, match=said):
                fetch(server, target, known())
            monkeypatch.delenv(name)
        assert server.requests == []


def test_no_way_from_https_to_http(
    target: Path, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", f"{certificate}.crt")
    with Loopback(BODY) as plain:
        behaviour = loopback.redirects(plain.url())
        said = pytest.raises(DownloadError, match="from https to http")
        with Loopback(BODY, behaviour, certificate=certificate) as server, said:
            fetch(server, target, known())
        assert plain.requests == []


PHRASES = [
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 206 Partial Content\r\n",
    b"HTTP/1.0 200\r\n",
    b"Content-Length: 76800\r\n",
    b"Content-Length: -5\r\n",
    b"Content-Length: 99999999999999999999\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Content-Range: bytes 0-9/10\r\n",
    b"Content-Encoding: gzip\r\n",
    b"Location: /x\r\n",
    b'ETag: "\r\n',
    b"\r\n",
    b"0\r\n\r\n",
    b"ffffffffffffffff\r\n",
    b"-1\r\n",
    b"\x00\xff" * 40,
    BODY[:3000],
    BODY,
]


def nonsense(seed: int) -> Behaviour:
    """A reply put together at random from pieces of replies."""
    chance = random.Random(seed)
    reply = b"".join(chance.choices(PHRASES, k=chance.randrange(1, 9)))
    if chance.random() < 0.7:
        reply = chance.choice(PHRASES[:3]) + reply

    def behave(connection: loopback.Connection) -> None:
        connection.sock.sendall(reply)

    return behave


def fuzz(folder: Path, seeds: range) -> None:
    patience = replace(QUICK, attempts=2, reply_seconds=1.0, stall_seconds=0.5)
    for seed in seeds:
        checkpoint = random.Random(-seed).choice([known(), known(bytes=None), UNKNOWN])
        target = folder / str(seed) / "model.pth"
        with Loopback(BODY, nonsense(seed)) as server:
            try:
                found = fetch(server, target, checkpoint, patience=patience)
            except (DownloadError, ChecksumError, CacheError):
                assert not target.exists()
            else:
                assert checkpoint is UNKNOWN or found.sha256 == SHA
                assert found.sha256 == hashlib.sha256(target.read_bytes()).hexdigest()


def test_nonsense(tmp_path: Path) -> None:
    fuzz(tmp_path, range(60))


@pytest.mark.slow
def test_much_nonsense(tmp_path: Path) -> None:
    fuzz(tmp_path, range(60, 3000))


def test_a_host_without_an_address_is_asked_for_twice(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def nobody(host: str, *_: object, **__: object) -> None:
        asked.append(host)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.delenv("https_proxy", raising=False)
    monkeypatch.delenv("HTTPS_PROXY", raising=False)
    monkeypatch.setattr(socket, "getaddrinfo", nobody)
    with pytest.raises(DownloadError, match=r"cannot be resolved .*\(2 attempts\)"):
        download.fetch(known(url="https://example.invalid/x"), target, patience=QUICK)
    assert asked == ["example.invalid"] * 2
