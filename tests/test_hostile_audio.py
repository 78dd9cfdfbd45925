"""Damaged and hostile audio ends in embeddings or in a typed error, in bounded time and memory.

The slow tier (`pytest -m slow`) runs over 10,000 inputs; the default one a sample of them.
"""

import io
import os
import resource
import struct
import time

import numpy as np
import pytest
import soundfile

from fad_onnx.audio.sources import AudioFile
from fad_onnx.errors import FadError
from fad_onnx.networks import synthetic
from fad_onnx.networks.spec import ModelSpec
from fad_onnx.pipeline.batching import Engine
from fad_onnx.pipeline.clip_windows import Policy
from fad_onnx.weights import prepare

from .kit import WEIGHTLESS

KINDS = {
    "wav": ("WAV", "PCM_16"), "float.wav": ("WAV", "FLOAT"), "rf64.wav": ("RF64", "PCM_24"),
    "flac": ("FLAC", "PCM_16"), "ogg": ("OGG", "VORBIS"), "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
}  # fmt: skip
LIMIT_SECONDS, LIMIT_BYTES = 10, 400 << 20


@pytest.fixture(scope="module")
def model():
    return prepare.load(prepare.Request(ModelSpec(WEIGHTLESS)))


@pytest.fixture(scope="module")
def corpus():
    """The bytes of a stereo clip of 1.2 s in every format."""
    made = {}
    for kind, (container, subtype) in KINDS.items():
        rate = 48000 if kind == "opus" else 44100
        out = io.BytesIO()
        soundfile.write(
            out, synthetic.clip(1, int(1.2 * rate), 2).T, rate, subtype, format=container
        )
        made[kind] = out.getvalue()
    return made


def outcome(model, path):
    """Rows, or the class of the error; anything but a FadError, or too long, fails the test."""
    start = time.monotonic()
    try:
        (result,) = Engine([model], Policy(short="pad")).embed([AudioFile(os.fspath(path), "x")])
        assert np.isfinite(result.embeddings[0]).all() and result.embeddings[0].shape[1] == 128
        found = "embeddings"
    except FadError as error:
        assert "\n" not in str(error) and len(str(error)) < 1000
        found = type(error).__name__
    assert time.monotonic() - start < LIMIT_SECONDS
    return found


def mutate(random, data):
    """One of: bits flipped, cut, bytes overwritten in the header, a part doubled or removed."""
    data = bytearray(data)
    how = random.randint(5)
    where = random.randint(len(data))
    if how == 0:
        for _ in range(random.randint(1, 40)):
            data[random.randint(len(data))] ^= 1 << random.randint(8)
    elif how == 1:
        del data[where:]
    elif how == 2:
        for _ in range(random.randint(1, 8)):
            data[random.randint(min(200, len(data)))] = random.randint(256)
    elif how == 3:
        data[where:where] = data[: random.randint(1, 2000)]
    else:
        del data[where : where + random.randint(1, 2000)]
    return bytes(data)


def fuzz(model, corpus, folder, count, seed):
    random = np.random.RandomState(seed)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcomes = {}
    for index in range(count):
        kind = list(corpus)[index % len(corpus)]
        path = folder / f"x.{kind}"
        path.write_bytes(mutate(random, corpus[kind]))
        found = outcome(model, path)
        outcomes[found] = outcomes.get(found, 0) + 1
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10
    assert grown < LIMIT_BYTES
    assert sum(outcomes.values()) == count
    return outcomes


def test_a_sample_of_damaged_files(model, corpus, tmp_path):
    outcomes = fuzz(model, corpus, tmp_path, 280, seed=0)
    assert outcomes["embeddings"] > 20 and outcomes["AudioError"] > 20


@pytest.mark.slow
def test_ten_thousand_damaged_files(model, corpus, tmp_path):
    outcomes = fuzz(model, corpus, tmp_path, 10_500, seed=1)
    print(outcomes)
    assert set(outcomes) <= {"embeddings", "AudioError", "TooShortError"}


def wav(channels=1, rate=16000, frames=20000, claimed=None, bits=16):
    """A WAV file that says what it is told to say."""
    data = np.zeros((frames, max(channels, 1) % 64), np.int16).tobytes()
    width = channels * bits // 8
    size = len(data) if claimed is None else claimed
    head = struct.pack(
        "<HHIIHH", 1, channels & 0xFFFF, rate, rate * width & 0xFFFFFFFF, width & 0xFFFF, bits
    )
    body = b"WAVEfmt " + struct.pack("<I", 16) + head + b"data" + struct.pack("<I", size) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.mark.parametrize(
    "lie",
    [
        {"claimed": 2**31}, {"claimed": 2**32 - 1}, {"channels": 0}, {"channels": 1024},
        {"channels": 1025}, {"channels": 65535}, {"rate": 1}, {"rate": 10_000_000}, {"rate": 0},
        {"rate": 2**31}, {"bits": 0}, {"bits": 255}, {"claimed": 0}, {"frames": 0},
    ],
)  # fmt: skip
def test_headers_that_lie(lie, model, tmp_path):
    path = tmp_path / "x.wav"
    path.write_bytes(wav(**lie))
    found = outcome(model, path)
    assert found in ("embeddings", "AudioError", "TooShortError")
    if lie.get("rate", 1000) not in range(1000, 1_000_001) or lie.get("channels") == 0:
        assert found == "AudioError"


@pytest.mark.parametrize(
    ("signal", "expected"),
    [
        (np.zeros(20000), "embeddings"),
        (np.ones(20000), "embeddings"),
        (np.full(20000, 1e-40), "embeddings"),
        (np.tile([1.0, -1.0], 10000), "embeddings"),
        (np.full(20000, 32768.0), "embeddings"),
        (np.full(20000, 3e38), "AudioError"),
        (np.full(20000, np.nan), "AudioError"),
        (np.r_[np.zeros(19999), np.inf], "AudioError"),
    ],
)
def test_extreme_signals(signal, expected, model, tmp_path):
    path = tmp_path / "x.wav"
    soundfile.write(path, signal.astype(np.float32), 16000, subtype="FLOAT")
    assert outcome(model, path) == expected


def test_many_channels_are_averaged(model, tmp_path):
    path = tmp_path / "x.wav"
    clip = synthetic.clip(1, 16000, 64)
    soundfile.write(path, clip.T, 16000, subtype="FLOAT")
    assert outcome(model, path) == "embeddings"
