"""Rows do not depend on how the work was cut: batches, workers, threads, neighbours."""

import os
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest
import soundfile

from fad_onnx import score
from fad_onnx.audio import decoding, resampling, sources
from fad_onnx.errors import AudioError, NoAudioError, OptionError, TooLongError, TooShortError
from fad_onnx.networks import memory
from fad_onnx.networks.embedder import Embedder
from fad_onnx.networks.group import Group
from fad_onnx.networks.network import Batch
from fad_onnx.networks.preparation import Windows
from fad_onnx.networks.runtime import Settings
from fad_onnx.networks.spec import ModelSpec
from fad_onnx.pipeline import datasets
from fad_onnx.pipeline.batching import Engine
from fad_onnx.pipeline.clip_windows import Policy
from fad_onnx.pipeline.executors import CHUNK_FILES, Job
from fad_onnx.weights import prepare

from .conftest import write_clip
from .kit import WEIGHTLESS, with_network, with_preparation


def load():
    return prepare.load(prepare.Request(ModelSpec(WEIGHTLESS), settings=Settings("cpu")))


def embeddings(folder, model, workers=1, **policy):
    results = Engine([model], Policy(**policy), workers).embed(sources.find(folder))
    return [result.embeddings[0] if result.embeddings else result.skipped for result in results]


@pytest.mark.parametrize("seconds", [0.975, 1.0, 80.0])
def test_a_file_with_reflected_margins_streams(tmp_path, seconds):
    """80 s are three blocks of the decoder."""
    write_clip(tmp_path / "clip.wav", 0, seconds, 16_000)
    samples, rate = soundfile.read(tmp_path / "clip.wav", dtype="float32")
    windows = Windows("windows", 15_600, 15_600, margins="reflect")
    model = with_preparation(load(), windows=windows)
    (got,) = embeddings(tmp_path, model)
    padded = np.pad(samples, 7_800, mode="reflect") if len(samples) > 15_600 else samples
    plain = with_preparation(load(), windows=Windows("windows", 15_600, 15_600))
    np.testing.assert_array_equal(got, plain.embed(padded, rate))


def test_order_and_bits_do_not_depend_on_workers_or_batches(clips):
    expected = embeddings(clips, load())
    assert [len(r) for r in expected] == sorted(len(r) for r in expected)
    for workers in (2, 3):
        for got, want in zip(embeddings(clips, load(), workers), expected, strict=True):
            np.testing.assert_array_equal(got, want)
    for batch in (1, 2, 7):
        model = with_network(load(), batch=Batch(batch, 1))
        for got, want in zip(embeddings(clips, model, 2), expected, strict=True):
            np.testing.assert_array_equal(got, want)


def test_a_clip_beyond_the_memory_is_refused_before_it_is_read(clips, monkeypatch):
    model = with_network(with_preparation(load(), windows=Windows()), peak_bytes_per_sample=1 << 20)
    longest = sources.find(clips)[-1]
    monkeypatch.setattr(memory, "available_bytes", lambda: 10**9)
    monkeypatch.setattr(resampling.Resampler, "push", lambda *args: pytest.fail("was read"))
    with pytest.raises(TooLongError, match=r"GB.* 1\.0 GB") as caught:
        list(Engine([model], Policy()).embed([longest]))
    assert longest.path in str(caught.value)


def test_a_clip_in_memory_beyond_the_memory_is_refused(monkeypatch):
    model = with_network(with_preparation(load(), windows=Windows()), peak_bytes_per_sample=1 << 20)
    monkeypatch.setattr(memory, "available_bytes", lambda: 10**9)
    monkeypatch.setattr(resampling.Resampler, "push", lambda *args: pytest.fail("was worked on"))
    with pytest.raises(
        TooLongError, match=r"samples: 2 s of audio would need about 33\.6 GB.* 1\.0 GB"
    ):
        model.embed(np.zeros(88200, np.float32), 44100)


def test_a_rule_for_short_clips_that_does_not_exist_is_an_error():
    for bad in ("foo", "", 1):
        with pytest.raises(OptionError, match="is not one of error, skip, pad"):
            load().embed(np.zeros(100), 16000, short=bad)
    assert len(load().embed(np.zeros(100), 16000, short="pad")) == 1


def test_a_clip_alone_has_the_rows_it_has_in_a_set(clips):
    model = load()
    for file, want in zip(sources.find(clips), embeddings(clips, model), strict=True):
        with decoding.Decoder(file.path) as decoder:
            samples, rate = np.concatenate(list(decoder)), decoder.sample_rate_hz
        np.testing.assert_array_equal(model.embed(samples, rate), want)


def test_several_models_share_one_pass(clips, monkeypatch):
    opened = []
    original = decoding.Decoder.__init__

    def counting(self, *args, **kwargs):
        opened.append(args)
        original(self, *args, **kwargs)

    monkeypatch.setattr(decoding.Decoder, "__init__", counting)
    one, other = load(), with_preparation(load(), sample_rate_hz=8000)
    results = list(Engine([one, other], Policy(), 2).embed(sources.find(clips)[5:]))
    assert len(opened) == 5
    for result in results:
        for model, got in zip((one, other), result.embeddings, strict=True):
            np.testing.assert_array_equal(got, embeddings(clips / result.file.name, model)[0])
        assert result.embeddings[0].shape != result.embeddings[1].shape


def test_what_is_in_flight_is_bounded(clips, monkeypatch):
    from fad_onnx.pipeline import batching as engines

    for index in range(40):
        (clips / f"more{index:02}.wav").symlink_to(clips / "00.wav")
    model, loaded, running = load(), [], []
    monkeypatch.setattr(engines, "WAITING_FILES", 5)
    original_load, original_run = engines.load, Group.run

    def counting(file, *more):
        loaded.append(file)
        return original_load(file, *more)

    monkeypatch.setattr(engines, "load", counting)
    wide = with_network(model, batch=Batch(10_000, 1))
    results = Engine([wide], Policy(), 1).embed(sources.find(clips))
    next(results)
    assert len(loaded) <= 5 + 3
    assert len(list(results)) == 49

    narrow = with_network(model, batch=Batch(1, 1))
    busy = Engine([narrow], Policy(), 1)

    def slow(self, windows):
        running.append(len(busy._running))
        time.sleep(0.005)
        return original_run(self, windows)

    monkeypatch.setattr(Group, "run", slow)
    assert len(list(busy.embed(sources.find(clips)))) == 50
    assert 1 <= max(running) <= 2


def test_the_first_bad_file_in_order_is_the_error(clips):
    (clips / "03b.wav").write_text("broken")
    (clips / "07b.wav").write_text("broken")
    for workers in (1, 3):
        with pytest.raises(AudioError, match=r"03b\.wav: not readable"):
            embeddings(clips, load(), workers)
    found = embeddings(clips, load(), 2, skip_errors=True)
    assert [isinstance(r, str) for r in found].count(True) == 2
    assert "not readable" in found[4]


def test_short_clips_by_the_rule_chosen(clips):
    write_clip(clips / "00a.wav", 1, 0.5)
    with pytest.raises(TooShortError, match=r"00a\.wav: 0\.5 s"):
        embeddings(clips, load())
    assert "shorter" in embeddings(clips, load(), short="skip")[1]
    assert embeddings(clips, load(), short="pad")[1].shape == (1, load().width)


def test_a_file_that_changes_while_it_is_read_is_an_error(clips, monkeypatch):
    victim = clips / "00.wav"
    original = resampling.Resampler.push

    def push(self, block, last=False):
        victim.write_bytes(victim.read_bytes() + b"x")
        return original(self, block, last)

    monkeypatch.setattr(resampling.Resampler, "push", push)
    with pytest.raises(AudioError, match="changed while it was read"):
        embeddings(victim, load())


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    folder = tmp_path_factory.mktemp("many")
    for index in range(2 * CHUNK_FILES + 5):
        write_clip(folder / f"{index:03}.wav", index, 1 + index % 3)
    return folder


def moments(folder, executor=None, workers=1):
    request = prepare.Request(ModelSpec(WEIGHTLESS), settings=Settings("cpu"))
    model = prepare.load(request)
    job = Job((request,), (model.fingerprint,), Policy(), workers)
    ((made,),) = datasets.embed_sets([("x", sources.find(folder))], job, [model], executor)
    return made.moments


def test_executors_give_the_bits_of_serial(many):
    expected = moments(many)
    found = [moments(many, workers=2)]
    with ThreadPoolExecutor(2) as threads:
        found.append(moments(many, threads))
    with ProcessPoolExecutor(2) as processes:
        found.append(moments(many, processes))
    for got in found:
        assert got.count == expected.count
        np.testing.assert_array_equal(got.mean, expected.mean)
        np.testing.assert_array_equal(got.dense_scatter(), expected.dense_scatter())


@pytest.mark.parametrize("threads", ["1", "2"])
def test_a_score_does_not_depend_on_the_threads_of_blas(many, clips, threads, request):
    command = [
        sys.executable,
        "-m",
        "fad_onnx",
        "score",
        many,
        clips,
        "-m",
        WEIGHTLESS,
        "--no-cache",
    ]
    found = subprocess.run(
        [*command, "--workers", threads], capture_output=True, text=True, check=True,
        env={**os.environ, "OPENBLAS_NUM_THREADS": threads, "OMP_NUM_THREADS": threads},
    ).stdout  # fmt: skip
    assert float(found) == float(score(many, clips, WEIGHTLESS, cache=False))


def test_a_set_without_rows_is_an_error(tmp_path):
    (tmp_path / "x.wav").write_text("broken")
    request = prepare.Request(ModelSpec(WEIGHTLESS))
    model = prepare.load(request)
    job = Job((request,), (model.fingerprint,), Policy(skip_errors=True))
    with pytest.raises(NoAudioError, match="none of 1 files could be used.*x.wav"):
        datasets.embed_sets([("x", sources.find(tmp_path))], job, [model])


def test_samples_of_any_kind(clips):
    model = load()
    with decoding.Decoder(clips / "03.wav") as decoder:
        samples, rate = np.concatenate(list(decoder)), decoder.sample_rate_hz
    expected = model.embed(samples, rate)
    np.testing.assert_array_equal(model.embed(samples.tolist(), rate), expected)
    integers = np.round(samples * 2**15).clip(-(2**15), 2**15 - 1).astype(np.int16)
    np.testing.assert_allclose(model.embed(integers, rate), expected, atol=1e-3)
    for bad, reason in (
        (np.zeros((2, 2, 2)), "shape"), ([], "shape"), ([np.nan] * 20000, "frame 0 is NaN"),
        (np.zeros((2, 20000)), "transpose"), ([[0.0], [0.0, 0.0]], "not an array of numbers"),
        (np.zeros(20000, np.uint8), "uint8"), (np.zeros(20000, complex), "complex"),
    ):  # fmt: skip
        with pytest.raises(AudioError, match=reason):
            Embedder.embed(model, bad, 16000)


def test_rows_that_are_not_finite_are_an_error(clips, monkeypatch):
    original = Group.run

    def run(self, windows):
        found = enumerate(original(self, windows))
        return [(embeddings * (np.nan if i == 3 else 1),) for i, (embeddings,) in found]

    monkeypatch.setattr(Group, "run", run)
    with pytest.raises(AudioError, match=r"\.wav: its embedding is not finite"):
        embeddings(clips, load())
    assert "not finite" in "".join(
        r for r in embeddings(clips, load(), skip_errors=True) if isinstance(r, str)
    )
