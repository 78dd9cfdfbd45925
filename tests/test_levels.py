"""Floats that are no audio in [-1, 1], and floats that are read as integers."""

import numpy as np
import pytest
import soundfile

import fad_onnx
from fad_onnx.api import making
from fad_onnx.audio import decoding
from fad_onnx.audio.arrays import as_frames
from fad_onnx.files import archives
from fad_onnx.networks import synthetic
from fad_onnx.pipeline import clip_windows

from .conftest import write_clip


@pytest.fixture
def folder(tmp_path):
    """Three clips of which two are int16 numbers written as floats."""
    write_clip(tmp_path / "set" / "a.wav", 1, 1.5)
    for name, scale in (("b.wav", 1000), ("c.wav", 32768)):
        clip = synthetic.clip(2, 24000)[0]
        clip *= scale / np.abs(clip).max()
        soundfile.write(tmp_path / "set" / name, clip, 16000, subtype="FLOAT")
    return tmp_path / "set"


def loud(warnings):
    (said,) = [text for text in warnings if "samples beyond 8" in text]
    return said


SAID = "2 of 3 files have samples beyond 8, up to 32768 in c.wav"


def test_samples_far_beyond_full_scale_are_one_warning(folder, tmp_path, monkeypatch):
    clean = tmp_path / "clean"
    for number in range(3):
        write_clip(clean / f"{number}.wav", number, 1.5)
    fad_onnx.stats(clean, model="logmel")
    said = loud(fad_onnx.stats(folder, model="logmel").warnings)
    assert SAID in said and "32768" in said
    monkeypatch.setattr(
        clip_windows, "Decoder", None
    )  # from here on embeddings come from the cache
    assert SAID in loud(fad_onnx.stats(folder, model="logmel").warnings)
    for part in (1, 2):
        fad_onnx.stats(folder, model="logmel", shard=f"{part}/2", output=tmp_path / f"{part}.npz")
    merged = archives.merge([tmp_path / "1.npz", tmp_path / "2.npz"], tmp_path / "all.npz")
    assert SAID in loud(merged.warnings)
    making.embed(folder, "logmel", output=tmp_path / "rows.npz")
    for reference in ("all.npz", "rows.npz"):
        score = fad_onnx.score(tmp_path / reference, clean, model="logmel")
        assert SAID in loud(score.warnings)


def test_a_few_percent_beyond_full_scale_are_none(tmp_path):
    clip = synthetic.clip(2, 24000)[0]
    clip *= 7.9 / np.abs(clip).max()
    soundfile.write(tmp_path / "a.wav", clip, 16000, subtype="FLOAT")
    made = fad_onnx.stats(tmp_path, model="logmel")
    assert not [text for text in made.warnings if "samples beyond 8" in text]


def test_arrays_far_beyond_full_scale_are_a_warning():
    clip = synthetic.clip(1, 100)[0]
    with pytest.warns(UserWarning, match="divide what was int16 by 32768"):
        as_frames(clip * 32768)
    as_frames((clip * 32768).astype(np.int16))


FLOATS = [
    ("WAV", "FLOAT"), ("WAV", "DOUBLE"), ("W64", "FLOAT"), ("RF64", "DOUBLE"), ("AIFF", "FLOAT"),
    ("CAF", "DOUBLE"), ("AU", "FLOAT"), ("AU", "DOUBLE"), ("OGG", "VORBIS"), ("OGG", "OPUS"),
    ("MP3", "MPEG_LAYER_III"),
]  # fmt: skip


@pytest.mark.parametrize(("container", "subtype"), FLOATS)
@pytest.mark.parametrize(("sample_format", "step"), [("int16", 2.0**-15), ("int32", 2.0**-31)])
def test_floats_read_as_integers_are_rounded_and_clipped(
    container, subtype, sample_format, step, tmp_path
):
    path = tmp_path / "clip.x"
    clip = synthetic.clip(3, 48000, 2).T
    soundfile.write(path, clip * 1.2 / np.abs(clip).max(), 48000, subtype, format=container)
    floats = soundfile.read(path, always_2d=True)[0]
    assert floats.max() > 1 and floats.min() < -1
    with decoding.Decoder(path, sample_format) as decoder:
        integers = np.concatenate(list(decoder))
    wanted = np.clip(floats, -1, 1 - step)
    np.testing.assert_allclose(integers, wanted, atol=max(step / 2, 2**-24) * 1.01)
    assert (integers * 2**15 % 1 == 0).all() or sample_format == "int32"


@pytest.mark.parametrize("dtype", ["int16", "int32"])
def test_the_score_of_float_files_does_not_depend_on_dtype(dtype, tmp_path):
    for index, name in enumerate(("one", "other")):
        (tmp_path / name).mkdir()
        for number in range(4):
            clip = synthetic.clip(10 * index + number, 24000)[0]
            path = tmp_path / name / f"{number}.wav"
            soundfile.write(path, clip, 16000, subtype=("FLOAT", "DOUBLE")[number % 2])
    metric = fad_onnx.FrechetAudioDistance(model_name="logmel")
    wanted = metric.score(tmp_path / "one", tmp_path / "other")
    got = metric.score(tmp_path / "one", tmp_path / "other", dtype=dtype)
    assert got == pytest.approx(wanted, rel=1e-3)
