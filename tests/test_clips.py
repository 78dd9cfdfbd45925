"""Embeddings as slices of one array, which may be a file that is larger than the memory."""

import mmap

import numpy as np
import pytest

from fad_onnx.errors import CacheError
from fad_onnx.files import embeddings
from fad_onnx.metrics import clips as module
from fad_onnx.metrics.clips import ByClip, blocks, chosen_blocks, joined
from fad_onnx.pipeline import held

WIDTH = 8


def normal(count, seed=0):
    return np.random.RandomState(seed).standard_normal((count, WIDTH)).astype(np.float32)


def resident_file_bytes():
    """The bytes of mapped files in this process's memory."""
    with open("/proc/self/status") as file:
        (line,) = [one for one in file if one.startswith("RssFile")]
    return int(line.split()[1]) << 10


@pytest.mark.parametrize("count", [0, 1, 5, 6, 7, 23])
def test_chosen_embeddings_come_in_order_and_in_full_blocks(count, monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 6)
    whole, chosen = normal(count), np.random.RandomState(1).uniform(size=count) < 0.6
    found = list(chosen_blocks(whole, chosen))
    assert all(len(block) == 6 for block in found[:-1])
    np.testing.assert_array_equal(np.concatenate([whole[:0], *found]), whole[chosen])
    np.testing.assert_array_equal(np.concatenate([whole[:0], *blocks(whole)]), whole)


def test_joined_slices_of_one_array_are_that_array():
    whole = normal(10)
    assert joined(ByClip(whole, [0, 4, 10])) is whole
    np.testing.assert_array_equal(joined([whole[:4], whole[4:]]), whole)


def test_a_file_that_was_looked_at_does_not_stay_in_memory(tmp_path):
    part = np.zeros((100_000, WIDTH), np.float32)

    def fill(writer):
        for i in range(64):
            writer.add(f"{i}.wav", part)

    embeddings.write(tmp_path / "e.npz", fill)  # 205 MB
    before = resident_file_bytes()
    found, _ = embeddings.read(tmp_path / "e.npz")
    assert resident_file_bytes() - before < 80 << 20
    for each in (lambda: sum(map(np.sum, found.by_clip)), lambda: sum(
        map(np.sum, blocks(found.by_clip.embeddings))
    )):  # fmt: skip
        assert each() == 0
        assert resident_file_bytes() - before < 80 << 20


@pytest.mark.parametrize("spill_bytes", [1, 300, 1 << 20])
def test_held_embeddings_are_those_that_were_added(spill_bytes, monkeypatch):
    monkeypatch.setattr(held, "SPILL_BYTES", spill_bytes)
    monkeypatch.setattr(held, "PIECE_BYTES", 100)
    parts = [normal(count, count) for count in (3, 1, 0, 12, 7)]
    kept = held.Held(WIDTH)
    for part in parts:
        kept.add(part)
    found = kept.result()
    assert len(found) == len(parts)
    for own, part in zip(found, parts, strict=True):
        np.testing.assert_array_equal(own, part)
    base = joined(found)
    while getattr(base, "base", None) is not None:
        base = base.base
    assert isinstance(getattr(base, "obj", None), mmap.mmap) is (spill_bytes < 1 << 20)
    assert len(held.Held(WIDTH).result()) == 0


def test_a_full_disk_is_an_error_that_says_so(monkeypatch):
    monkeypatch.setattr(held, "SPILL_BYTES", 1)
    with open("/dev/full", "wb", buffering=0) as full:
        monkeypatch.setattr(held.Held, "_opened", lambda self: full)
        with pytest.raises(CacheError, match="is full"):
            held.Held(WIDTH).add(normal(3))
