"""Clips in columns: what goes in comes out, and a clip takes few bytes."""

import tracemalloc

import pytest

from fad_onnx.audio.remote import Whole
from fad_onnx.audio.sources import AudioFile, AudioFiles
from fad_onnx.audio.sources.listing import Unusable

FILES = [
    AudioFile("folder/a.wav", "a.wav"),
    AudioFile("folder/b/é\udcff.wav", "b/é\udcff.wav"),  # bytes that are not UTF-8
    AudioFile("folder/\ud800.wav", "\ud800.wav"),  # half a pair
    AudioFile("a.wav", "a.wav"),
    AudioFile("./x//a.wav", "x/a.wav"),
    AudioFile("shard.tar", "a.wav", part=Unusable("damaged")),
    AudioFile("shard.tar", "", part=Unusable("cut")),
    AudioFile("shard.tar", "shard.tar"),
    AudioFile("s3://bucket/a.wav", "a.wav", part=Whole()),
]


def test_what_goes_in_comes_out():
    held = AudioFiles(FILES)
    assert len(held) == len(FILES)
    assert [*held] == FILES
    assert [*held.names] == [file.name for file in FILES]
    assert held[-1] == FILES[-1]
    for part in (slice(2, 5), slice(None, None, -2), slice(9, 3)):
        assert held[part] == tuple(FILES[part])
        assert held.names[part] == tuple(file.name for file in FILES[part])
    for index in (len(FILES), -len(FILES) - 1):
        with pytest.raises(IndexError):
            held[index]


def test_a_clip_takes_few_bytes():
    held = AudioFiles()
    tracemalloc.start()
    for index in range(20_000):
        name = f"some/folder/of/clips/clip-{index:06}.wav"
        held.append(AudioFile(f"/data/{name}", name))
    taken = tracemalloc.get_traced_memory()[0] / len(held)
    tracemalloc.stop()
    assert taken < len(name) + 30
