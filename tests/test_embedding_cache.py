from __future__ import annotations

import errno
import hashlib
import logging
import multiprocessing
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fad_onnx.cache.embeddings import (
    CachedEmbeddings,
    EmbeddingCache,
    hashes,
    keyed,
    segments,
    shared,
)
from fad_onnx.cache.embeddings.keyed import Keyed
from fad_onnx.errors import AudioError, CacheError

POSIX = pytest.mark.skipif(os.name == "nt", reason="POSIX only")


@dataclass(frozen=True)
class Facts:
    seconds: float = 1.5
    source_hz: int = 44100
    peak: float = 0.5
    mixed_peak: float = 0.25


def sha(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def embeddings_of(number: int, count: int = 10, dim: int = 8) -> np.ndarray[Any, Any]:
    return np.random.RandomState(number).randn(count, dim).astype(np.float32)


def facts_of(number: int) -> Facts:
    return Facts(number / 7, 8000 + number, number / 4, number / 8)


def put(cache: EmbeddingCache, number: int, fingerprint: str = "f") -> bool:
    return cache.put(sha(number), fingerprint, embeddings_of(number), facts_of(number))


def same(found: CachedEmbeddings | None, number: int) -> bool:
    """None of the values is there, or all of them, to the bit."""
    if found is None:
        return False
    facts = facts_of(number)
    assert found.embeddings.tobytes() == embeddings_of(number).tobytes()
    assert found.embeddings.dtype == np.float32
    assert (found.seconds, found.source_hz) == (facts.seconds, facts.source_hz)
    assert (found.peak, found.mixed_peak) == (facts.peak, facts.mixed_peak)
    return True


def held(folder: Path, numbers: range, fingerprint: str = "f") -> list[int]:
    """Which of the values a fresh process would find."""
    with EmbeddingCache(folder) as cache:
        return [n for n in numbers if same(cache.get(sha(n), fingerprint), n)]


def files(folder: Path, suffix: str = ".seg") -> list[Path]:
    return sorted(folder.rglob(f"*{suffix}"))


# Keeping and finding


def test_what_is_put_is_found_by_this_and_by_later_instances(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path)
    assert cache.get(sha(1), "f") is None
    assert all(put(cache, n) for n in range(200))
    assert all(same(cache.get(sha(n), "f"), n) for n in range(200))
    assert held(tmp_path, range(201)) == list(range(200))


def test_the_size_is_that_of_rows_and_remembered_hashes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashes, "SETTLED_SECONDS", -10.0)
    file = tmp_path / "a.wav"
    file.write_bytes(b"x" * 100)
    with EmbeddingCache(tmp_path / "cache") as cache:
        put(cache, 1)
        first = cache.info()
        cache.content_sha256(file)
    with EmbeddingCache(tmp_path / "cache") as cache:
        both = cache.info()
    on_disk = [path.stat().st_size for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert both.bytes == sum(on_disk) > first.bytes and both.segments == first.segments + 1


def test_nothing_is_written_before_the_first_value(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "yet"
    with EmbeddingCache(folder) as cache:
        assert cache.get(sha(1), "f") is None
        assert cache.info().values == 0
        assert cache.clear().bytes == 0
    assert not folder.exists()


@pytest.mark.parametrize(
    ("content", "fingerprint"), [(sha(1), "g"), (sha(2), "f"), (sha(1) + " ", "f"), ("", "")]
)
def test_another_model_or_content_is_never_found(
    tmp_path: Path, content: str, fingerprint: str
) -> None:
    cache = EmbeddingCache(tmp_path)
    put(cache, 1)
    assert cache.get(content, fingerprint) is None


def test_content_and_fingerprint_do_not_run_together(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path)
    cache.put("ab", "c", embeddings_of(1), Facts())
    assert cache.get("a", "bc") is None
    assert cache.get("ab", "c") is not None


@pytest.mark.parametrize("shape", [(0, 128), (1, 1), (3, 2048), (750, 128)])
def test_any_shape(tmp_path: Path, shape: tuple[int, int]) -> None:
    embeddings = embeddings_of(3, *shape)
    with EmbeddingCache(tmp_path) as cache:
        assert cache.put("x", "f", embeddings, Facts())
    found = EmbeddingCache(tmp_path).get("x", "f")
    assert found is not None
    assert found.embeddings.shape == shape
    assert found.embeddings.tobytes() == embeddings.tobytes()


def test_values_that_are_not_numbers_come_back_to_the_bit(tmp_path: Path) -> None:
    embeddings = np.array([[np.nan, np.inf, -0.0, 1e-45]], np.float32)
    with EmbeddingCache(tmp_path) as cache:
        cache.put("x", "f", embeddings, Facts())
        found = cache.get("x", "f")
    assert found is not None
    assert found.embeddings.tobytes() == embeddings.tobytes()


@pytest.mark.parametrize("embeddings", [np.zeros(3, np.float32), np.zeros((3, 2))])
def test_only_float32_matrices_are_taken(tmp_path: Path, embeddings: np.ndarray[Any, Any]) -> None:
    with pytest.raises(TypeError, match="float32"):
        EmbeddingCache(tmp_path).put("x", "f", embeddings, Facts())


def test_views_are_kept_as_they_look(tmp_path: Path) -> None:
    embeddings = embeddings_of(1).T[::2]
    cache = EmbeddingCache(tmp_path)
    cache.put("x", "f", embeddings, Facts())
    found = cache.get("x", "f")
    assert found is not None
    np.testing.assert_array_equal(found.embeddings, embeddings)


def test_a_value_is_written_once(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path)
    put(cache, 1)
    before = cache.info()
    assert put(cache, 1)
    assert cache.info() == before
    assert before.values == 1


def test_what_another_process_adds_is_found_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyed, "REFRESH_SECONDS", 0.0)
    one, two = EmbeddingCache(tmp_path), EmbeddingCache(tmp_path)
    for n in range(0, 300, 2):
        assert one.get(sha(n), "f") is None
        assert two.get(sha(n + 1), "f") is None
        put(one, n)
        put(two, n + 1)
    # A cache looks again after a hundred times what looking took: longer on a busy machine.
    until = time.monotonic() + 30
    for cache in (one, two):
        while not all(same(cache.get(sha(n), "f"), n) for n in range(300)):
            assert time.monotonic() < until
            time.sleep(0.05)
    assert len(files(tmp_path)) == 2


def test_a_segment_is_gone_on_with(tmp_path: Path) -> None:
    for n in range(5):
        with EmbeddingCache(tmp_path) as cache:
            put(cache, n)
    assert len(files(tmp_path)) == 1
    assert held(tmp_path, range(6)) == list(range(5))


def test_what_an_adopted_segment_holds_is_learned(tmp_path: Path) -> None:
    late, other = EmbeddingCache(tmp_path), EmbeddingCache(tmp_path)
    assert late.get(sha(1), "f") is None
    put(other, 1)
    other.close()
    put(late, 2)
    assert len(files(tmp_path)) == 1
    assert same(late.get(sha(1), "f"), 1)


def test_a_refresh_learns_nothing_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyed, "LARGEST_SEGMENT_BYTES", 5000)
    cache = EmbeddingCache(tmp_path)
    for n in range(50):
        put(cache, n)
        cache._values.refresh()
    assert len(cache._values._places) == 50


def test_an_interrupt_between_writing_and_noting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = EmbeddingCache(tmp_path)
    put(cache, 1)
    honest = segments.write_all

    def interrupted(descriptor: int, data: bytes) -> None:
        honest(descriptor, data)
        raise KeyboardInterrupt

    monkeypatch.setattr(segments, "write_all", interrupted)
    with pytest.raises(KeyboardInterrupt):
        put(cache, 2)
    monkeypatch.setattr(segments, "write_all", honest)
    for n in range(3, 6):
        put(cache, n)
        assert same(cache.get(sha(n), "f"), n)
    cache.close()
    assert held(tmp_path, range(6)) == [1, 3, 4, 5]


def test_many_values_and_few_open_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyed, "OPEN_FILES", 3)
    monkeypatch.setattr(keyed, "LARGEST_SEGMENT_BYTES", 4000)
    cache = EmbeddingCache(tmp_path)
    for n in range(100):
        put(cache, n)
    assert len(files(tmp_path)) > 8
    order = random.Random(0).sample(range(100), 100)
    assert all(same(cache.get(sha(n), "f"), n) for n in order)
    assert len(cache._values._files) <= 3


def test_late_values_are_sorted_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fad_onnx.cache.embeddings.places.LATE_VALUES", 10)
    cache = EmbeddingCache(tmp_path)
    for n in range(100):
        put(cache, n)
        assert all(same(cache.get(sha(k), "f"), k) for k in (0, n // 2, n))
    assert len(cache._values._places._sorted[0]) > 50


def test_keys_with_the_same_prefix_stay_apart(tmp_path: Path) -> None:
    store = Keyed(tmp_path, 10**6)
    one, two = b"p" * 8 + b"1" * 24, b"p" * 8 + b"2" * 24
    store.put(one, b"one")
    assert store.get(two) is None
    assert store.put(two, b"two")
    assert store.get(one) == b"one"
    assert store.get(two) == b"two"


# Threads, forks, processes


def test_eight_threads(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path)

    def work(seed: int) -> int:
        chance, good = random.Random(seed), 0
        for _ in range(200):
            n = chance.randrange(150)
            if same(cache.get(sha(n), "f"), n):
                good += 1
            else:
                put(cache, n)
        return good

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(work, range(8))) >= 8 * 200 - 8 * 150
    assert cache.info().values == 150
    assert held(tmp_path, range(151)) == list(range(150))


def _write(folder: str, numbers: range) -> int:
    with EmbeddingCache(folder) as cache:
        return sum(put(cache, n) for n in numbers)


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_processes_at_once_do_not_harm_each_other(tmp_path: Path, method: str) -> None:
    ranges = [range(60), range(30, 90), range(30, 90)]
    context = multiprocessing.get_context(method)
    with context.Pool(3) as pool:
        pool.starmap(_write, [(str(tmp_path), numbers) for numbers in ranges])
    assert held(tmp_path, range(100)) == list(range(90))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_writes_its_own_segment(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path)
    put(cache, 0)
    stop = threading.Event()

    def hammer() -> None:
        while not stop.is_set():
            cache.get(sha(0), "f")

    # A thread that holds the lock most of the time: the child must not inherit it held.
    thread = threading.Thread(target=hammer)
    thread.start()
    children = []
    for child in range(1, 4):
        pid = os.fork()
        if pid == 0:
            try:
                ok = same(cache.get(sha(0), "f"), 0) and put(cache, child)
            finally:
                os._exit(0 if ok else 1)
        children.append(pid)
        put(cache, 10 + child)
    stop.set()
    thread.join()
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0, 0, 0]
    put(cache, 20)
    cache.close()
    assert held(tmp_path, range(30)) == [0, 1, 2, 3, 11, 12, 13, 20]


def test_it_travels_to_other_processes(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path, 10**8)
    put(cache, 1)
    copy = pickle.loads(pickle.dumps(cache))
    assert copy.max_bytes == 10**8
    assert same(copy.get(sha(1), "f"), 1)


# Kills, torn writes and damage


def copied(source: Path, target: Path) -> Path:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    return target


@pytest.mark.parametrize("indexed", [True, False])
def test_a_segment_cut_at_any_byte(tmp_path: Path, indexed: bool) -> None:
    with EmbeddingCache(tmp_path / "whole") as cache:
        ends = []
        for n in range(4):
            put(cache, n)
            ends.append(files(tmp_path)[0].stat().st_size)
    steps = [*range(ends[2] - 3, ends[3] + 1, 7), *range(0, ends[0] + 9, 11)]
    for cut in steps:
        folder = copied(tmp_path / "whole", tmp_path / "cut")
        [segment], [index] = files(folder), files(folder, ".idx")
        os.truncate(segment, cut)
        if not indexed:
            index.unlink()
        expected = [n for n in range(4) if ends[n] <= cut]
        assert held(folder, range(4)) == expected
        with EmbeddingCache(folder) as cache:
            for n in range(8):
                put(cache, n)
        assert held(folder, range(8)) == list(range(8))


def test_an_index_cut_at_any_byte(tmp_path: Path) -> None:
    with EmbeddingCache(tmp_path / "whole") as cache:
        for n in range(5):
            put(cache, n)
    for cut in range(5 * 16 + 1):
        folder = copied(tmp_path / "whole", tmp_path / "cut")
        os.truncate(files(folder, ".idx")[0], cut)
        assert held(folder, range(5)) == list(range(5))
        with EmbeddingCache(folder) as cache:
            put(cache, 5)
        assert held(folder, range(6)) == list(range(6))
        assert len(files(folder)) == 1


@pytest.mark.parametrize("suffix", [".seg", ".idx"])
def test_damage_anywhere_is_a_miss_and_mends(
    tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    with EmbeddingCache(tmp_path / "whole") as cache:
        for n in range(6):
            put(cache, n)
    chance = random.Random(5)
    lost = 0
    for _ in range(80):
        folder = copied(tmp_path / "whole", tmp_path / "damaged")
        [path] = files(folder, suffix)
        data = bytearray(path.read_bytes())
        for _ in range(chance.randrange(1, 4)):
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        path.write_bytes(data)
        good = held(folder, range(6))  # asserts that what is found is right
        lost += 6 - len(good)
        with EmbeddingCache(folder) as cache:
            for n in range(6):
                if not same(cache.get(sha(n), "f"), n):
                    assert put(cache, n)
            assert all(same(cache.get(sha(n), "f"), n) for n in range(6))
        assert held(folder, range(6)) == list(range(6))
    assert lost > 30
    assert "is damaged and is made anew" in caplog.text


def test_one_warning_a_segment(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with EmbeddingCache(tmp_path) as cache:
        for n in range(9):
            put(cache, n)
    [path] = files(tmp_path)
    data = bytearray(path.read_bytes())
    data[100::50] = b"\xff" * len(data[100::50])
    path.write_bytes(data)
    assert held(tmp_path, range(9)) == []
    assert sum(record.levelno == logging.WARNING for record in caplog.records) == 1


@pytest.mark.parametrize("data", [b"", b"x", b"fad-onnx seg 2\n\0" + b"x" * 99, b"\0" * 500])
def test_files_of_another_kind_are_left_alone(tmp_path: Path, data: bytes) -> None:
    other = tmp_path / "rows" / f"{segments._host()}-0.seg"
    other.parent.mkdir()
    other.write_bytes(data)
    with EmbeddingCache(tmp_path) as cache:
        put(cache, 1)
    assert held(tmp_path, range(2)) == [1]
    assert other.read_bytes() == data


WRITER = """
import sys
from tests.test_embedding_cache import EmbeddingCache, put
with EmbeddingCache(sys.argv[1]) as cache:
    for number in range(int(sys.argv[2]), 10**9):
        put(cache, number)
        print(number, flush=True)
"""


def kill_a_writer(folder: Path, first: int, after_seconds: float) -> int:
    """The last number whose value the writer says is kept, when it was killed."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder), str(first)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        said = [process.stdout.readline()]
        time.sleep(after_seconds)
        process.send_signal(signal.SIGKILL)
        said += [line for line in process.stdout.readlines() if line.endswith(b"\n")]
    return int(said[-1])


def kill_and_go_on(folder: Path, kills: int, chance: random.Random) -> None:
    first = 0
    for _ in range(kills):
        last = kill_a_writer(folder, first, chance.uniform(0, 0.05))
        found = held(folder, range(last + 3))
        # Nothing that was said to be kept is lost: better than the seconds that are allowed.
        assert found[: last + 1] == list(range(last + 1))
        first = last + 1
    with EmbeddingCache(folder) as cache:
        put(cache, 10**6)
        assert same(cache.get(sha(10**6), "f"), 10**6)


@POSIX
def test_sigkill_loses_nothing_that_was_put(tmp_path: Path) -> None:
    kill_and_go_on(tmp_path, 2, random.Random(1))


@POSIX
@pytest.mark.slow
def test_sigkill_at_twenty_random_moments(tmp_path: Path) -> None:
    kill_and_go_on(tmp_path, 20, random.Random(2))


# Bounds


def used(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_the_folder_stays_within_its_bound(tmp_path: Path) -> None:
    bound = 1 << 20
    with EmbeddingCache(tmp_path, bound) as cache:
        for n in range(2600):
            put(cache, n)
            if n % 100 == 0:
                assert used(tmp_path) <= bound
        assert used(tmp_path) > bound * 0.7
        assert same(cache.get(sha(2599), "f"), 2599)
        assert cache.get(sha(0), "f") is None
    found = held(tmp_path, range(2600))
    assert found == list(range(found[0], 2600))


def test_the_least_recently_used_segment_goes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyed, "LARGEST_SEGMENT_BYTES", 5000)
    with EmbeddingCache(tmp_path) as cache:
        for n in range(40):
            put(cache, n)
    for age, path in enumerate(files(tmp_path)):
        os.utime(path, (time.time() - 10**6 + age,) * 2)
    with EmbeddingCache(tmp_path) as cache:
        assert same(cache.get(sha(0), "f"), 0)
        first = cache._values._places
        [(number, _)] = first.find(segments.prefix(_record_key(0)))
        kept = cache._values._segments[number].path
        freed = cache.prune(5500)
        assert freed.segments == len(cache._values._segments) - 1
        assert files(tmp_path) == [kept]
        assert same(cache.get(sha(0), "f"), 0)
        assert not files(tmp_path / "none", ".idx")
        assert len(files(tmp_path, ".idx")) == 1


def _record_key(number: int) -> bytes:
    from fad_onnx.cache import embeddings

    return embeddings._key(sha(number), "f")


def test_info_prune_and_clear(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path)
    for n in range(10):
        put(cache, n)
    info = cache.info()
    assert (info.values, info.segments, info.folder) == (10, 1, tmp_path)
    assert info.bytes == used(tmp_path)
    assert cache.prune(10**9).segments == 0
    assert cache.prune(0).in_use == 1, "what is being written stays"
    assert cache.info().values == 10
    freed = cache.clear()
    assert (freed.bytes, freed.segments, freed.in_use) == (info.bytes, 1, 0)
    assert cache.info().values == 0
    assert files(tmp_path) == files(tmp_path, ".idx") == []
    assert cache.get(sha(1), "f") is None
    assert put(cache, 1)
    assert same(cache.get(sha(1), "f"), 1)


@POSIX
def test_clear_spares_what_another_instance_writes(tmp_path: Path) -> None:
    one, two = EmbeddingCache(tmp_path), EmbeddingCache(tmp_path)
    put(one, 1)
    put(two, 2)
    assert two.clear().in_use == 1
    put(one, 3)
    one.close()
    assert held(tmp_path, range(5)) == [1, 3]


@POSIX
def test_a_segment_removed_under_its_writer(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path)
    put(cache, 1)
    shutil.rmtree(tmp_path / "rows")
    assert put(cache, 2)
    cache.close()
    assert held(tmp_path, range(5)) == [2]


def test_a_segment_pruned_by_another_process_is_a_quiet_miss(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with EmbeddingCache(tmp_path) as cache:
        put(cache, 1)
    reader = EmbeddingCache(tmp_path)
    assert reader.get(sha(2), "f") is None
    assert EmbeddingCache(tmp_path).clear().segments == 1
    assert reader.get(sha(1), "f") is None
    assert caplog.records == []


def test_rows_larger_than_a_segment_are_not_kept(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path, 1 << 20)
    assert not cache.put("x", "f", np.zeros((300, 128), np.float32), Facts())
    assert put(cache, 1)


# Disks that refuse


@pytest.fixture
def read_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with one value on a file system that takes no more writes."""
    with EmbeddingCache(tmp_path) as cache:
        put(cache, 1)
    honest = os.open

    def refuse(path: Any, flags: int, *rest: Any, **more: Any) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and str(tmp_path) in str(path):
            raise OSError(errno.EROFS, "Read-only file system", str(path))
        return honest(path, flags, *rest, **more)

    def no_utime(path: Any, *rest: Any) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr(os, "utime", no_utime)
    return tmp_path


def test_a_read_only_cache_is_read(read_only: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = EmbeddingCache(read_only)
    assert same(cache.get(sha(1), "f"), 1)
    assert not put(cache, 2)
    assert not put(cache, 3)
    assert same(cache.get(sha(1), "f"), 1)
    [record] = [r for r in caplog.records if r.levelno >= logging.WARNING]
    assert "read-only" in record.getMessage()
    assert str(read_only) in record.getMessage()


def test_a_full_disk_keeps_what_was_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cache = EmbeddingCache(tmp_path)
    put(cache, 1)
    honest = segments.write_all

    def half(descriptor: int, data: bytes) -> None:
        honest(descriptor, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(segments, "write_all", half)
    assert not put(cache, 2)
    assert not put(cache, 3)
    assert same(cache.get(sha(1), "f"), 1)
    monkeypatch.undo()
    assert "full" in caplog.text
    assert len([r for r in caplog.records if r.levelno >= logging.WARNING]) == 1
    assert held(tmp_path, range(4)) == [1]
    with EmbeddingCache(tmp_path) as cache:
        put(cache, 4)
    assert held(tmp_path, range(5)) == [1, 4]
    assert len(files(tmp_path)) == 1, "the half record was taken back"


def test_a_folder_that_cannot_be_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "scandir", refuse)
    cache = EmbeddingCache(tmp_path)
    assert cache.get(sha(1), "f") is None
    assert not put(cache, 1)
    assert "permission denied" in caplog.text
    with pytest.raises(CacheError):
        cache.info()


def test_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x")
    with pytest.raises(CacheError, match="is not a folder"):
        EmbeddingCache(tmp_path / "x")


def test_a_process_shares_one_instance_a_folder(tmp_path: Path) -> None:
    one = shared(tmp_path / "a")
    assert shared(tmp_path / "a") is one
    assert shared(tmp_path / "b") is not one
    put(one, 1)
    one.close()
    assert same(shared(tmp_path / "a").get(sha(1), "f"), 1)


def test_an_instance_goes_on_after_close(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path)
    put(cache, 1)
    cache.close()
    cache.close()
    assert same(cache.get(sha(1), "f"), 1)
    assert put(cache, 2)


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")
def test_no_file_stays_open(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for n in range(20):
        with EmbeddingCache(tmp_path) as cache:
            put(cache, n)
            cache.get(sha(0), "f")
            cache.info()
    assert len(os.listdir("/proc/self/fd")) == before


# Hashes of files


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock an hour ahead: every file has settled."""
    honest = time.time
    monkeypatch.setattr(hashes.time, "time", lambda: honest() + 3600)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files whose content was hashed."""
    seen: list[str] = []
    honest = hashes._hash

    def note(path: Any, part: Any = None) -> Any:
        seen.append(Path(path).name)
        return honest(path, part)

    monkeypatch.setattr(hashes, "_hash", note)
    return seen


def content_hash(folder: Path, path: Path) -> str:
    with EmbeddingCache(folder) as cache:
        return cache.content_sha256(path)


@pytest.mark.usefixtures("later")
def test_a_file_is_hashed_once(tmp_path: Path, reads: list[str]) -> None:
    path = tmp_path / "clip.wav"
    path.write_bytes(b"sound" * 1000)
    expected = hashlib.sha256(b"sound" * 1000).hexdigest()
    assert [content_hash(tmp_path / "c", path) for _ in range(3)] == [expected] * 3
    assert reads == ["clip.wav"]


@pytest.mark.usefixtures("later")
@pytest.mark.parametrize("keep_dates", [False, True])
def test_a_changed_file_is_hashed_again(tmp_path: Path, reads: list[str], keep_dates: bool) -> None:
    path = tmp_path / "clip.wav"
    for content in (b"one", b"two"):
        path.write_bytes(content)
        if keep_dates:
            os.utime(path, ns=(10**18, 10**18))
        time.sleep(0.02)
        assert content_hash(tmp_path / "c", path) == hashlib.sha256(content).hexdigest()
    assert len(reads) == 2


@pytest.mark.usefixtures("later")
def test_a_file_replaced_by_rename_is_hashed_again(tmp_path: Path) -> None:
    path, other = tmp_path / "clip.wav", tmp_path / "other.wav"
    for content in (b"one", b"two"):
        other.write_bytes(content)
        os.utime(other, ns=(10**18, 10**18))
        os.replace(other, path)
        assert content_hash(tmp_path / "c", path) == hashlib.sha256(content).hexdigest()


def test_a_fresh_file_is_not_trusted_to_stay(tmp_path: Path, reads: list[str]) -> None:
    path = tmp_path / "clip.wav"
    path.write_bytes(b"one")
    for _ in range(2):
        content_hash(tmp_path / "c", path)
    assert len(reads) == 2


@pytest.mark.usefixtures("later")
def test_a_file_that_changes_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "clip.wav"
    path.write_bytes(b"one")
    honest, calls = os.fstat, [0]

    def moved(descriptor: int) -> Any:
        calls[0] += 1
        if calls[0] == 1:
            path.write_bytes(b"three")
        return honest(descriptor)

    monkeypatch.setattr(hashes.os, "fstat", moved)
    content_hash(tmp_path / "c", path)
    monkeypatch.undo()
    assert content_hash(tmp_path / "c", path) == hashlib.sha256(b"three").hexdigest()


@pytest.mark.usefixtures("later")
def test_hashes_without_a_cache(read_only: Path, reads: list[str]) -> None:
    path = Path(__file__)
    expected = hashlib.sha256(path.read_bytes()).hexdigest()
    assert EmbeddingCache(read_only).content_sha256(path) == expected


def test_a_missing_clip_is_an_audio_error(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="no such file"):
        EmbeddingCache(tmp_path / "c").content_sha256(tmp_path / "absent.wav")
    with pytest.raises(AudioError):
        EmbeddingCache(tmp_path / "c").content_sha256(tmp_path)


@POSIX
@pytest.mark.usefixtures("later")
def test_names_of_any_bytes(tmp_path: Path) -> None:
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff\n.wav")
    Path(path).write_bytes(b"x")
    with EmbeddingCache(tmp_path / "c") as cache:
        expected = hashlib.sha256(b"x").hexdigest()
        assert cache.content_sha256(path) == cache.content_sha256(path) == expected


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")
def test_a_thread_that_outlives_its_run_opens_nothing(tmp_path: Path) -> None:
    """What a pool still does after an error ended the run that the cache belonged to."""
    audio = tmp_path / "clip.wav"
    audio.write_bytes(b"sound")
    with EmbeddingCache(tmp_path / "cache") as cache:
        assert put(cache, 1)
    before = len(os.listdir("/proc/self/fd"))
    with EmbeddingCache(tmp_path / "cache") as cache:
        assert same(cache.get(sha(1), "f"), 1)
    with ThreadPoolExecutor(2) as pool:
        assert (
            pool.submit(cache.content_sha256, audio).result()
            == hashlib.sha256(b"sound").hexdigest()
        )
        assert pool.submit(cache.get, sha(1), "f").result() is None
        assert pool.submit(put, cache, 2).result() is False
    assert len(os.listdir("/proc/self/fd")) == before
