"""Files and calls of public reports that were answered wrongly or badly; see RELIABILITY.md."""

import subprocess

import numpy as np
import pytest
import soundfile

import fad_onnx
from fad_onnx.audio import decoding, media, sources
from fad_onnx.errors import AudioError, StatisticsError, TooShortError
from fad_onnx.files import archives
from fad_onnx.networks import synthetic
from fad_onnx.pipeline import clip_windows

from .conftest import write_clip

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:c6f9\nsize 72862\n"
NO_AUDIO = {
    "pointer": (POINTER, "Git LFS pointer"),
    "page": (b"\n<!DOCTYPE html><html>404", "web page"),
    "telephone": (b"\0\0\0\x1cftypM4A \0\0\0\0", "MP4 or M4A.*ffmpeg"),
    "browser": (b"\x1aE\xdf\xa3\x9f", "WebM.*ffmpeg"),
    "stream": (b"\xff\xf1\x50\x80" + bytes(range(256)) * 8, "AAC.*ffmpeg"),
    "mac": (b"\0\x05\x16\x07\0\2\0\0Mac OS X", "AppleDouble"),
    "archive": (b"PK\x03\x04", "zip archive"),
    "ogg": (b"OggS\0\2" + bytes(20) + b"\1\x33" + b"\x7fFLAC\1", "FLAC in Ogg.*ffmpeg"),
}


@pytest.mark.parametrize("suffix", [".wav", ".mp3", ".flac", ".ogg"])
@pytest.mark.parametrize("kind", NO_AUDIO)
def test_what_came_in_place_of_audio_is_named(kind, suffix, tmp_path, monkeypatch):
    monkeypatch.setattr(media, "is_installed", lambda: False)
    content, reason = NO_AUDIO[kind]
    path = tmp_path / f"x{suffix}"
    path.write_bytes(content + bytes(2000))
    with pytest.raises(AudioError, match=reason), decoding.Decoder(path) as decoder:
        list(decoder)


@pytest.mark.decoders("ffmpeg")
def test_aac_under_the_name_of_an_mp3_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(media, "is_installed", lambda: False)
    source, path = write_clip(tmp_path / "x.wav", 2, 4, 44100), tmp_path / "x.mp3"
    command = ["ffmpeg", "-v", "error", "-i", source, "-c:a", "aac", "-f", "adts", path]
    subprocess.run(command, check=True)
    with pytest.raises(AudioError, match="is AAC.*ffmpeg"), decoding.Decoder(path) as decoder:
        list(decoder)


def test_what_is_nothing_known_keeps_the_words_of_the_decoder(tmp_path):
    (tmp_path / "x.wav").write_bytes(b"8BPS" + bytes(2000))
    with pytest.raises(AudioError, match=r"not readable as audio: Format not recognised$"):
        decoding.Decoder(tmp_path / "x.wav")


def test_paths_may_be_numpys_strings(clips):
    score = fad_onnx.score(np.str_(clips), np.array([str(clips)])[0], "logmel")
    assert float(score) == 0
    assert [*sources.find(np.str_(clips))] == [*sources.find(clips)]


@pytest.mark.parametrize("saved", [np.zeros((5, 128)), {"mu": 1}])
def test_an_array_alone_is_no_reference(saved, clips, tmp_path):
    np.save(tmp_path / "reference.npy", saved, allow_pickle=True)
    with pytest.raises(StatisticsError, match="single array.*numpy.savez"):
        fad_onnx.score(tmp_path / "reference.npy", clips, "logmel")


def test_a_clip_one_sample_short_is_told_in_samples(tmp_path):
    path = write_clip(tmp_path / "x.wav", 1, 15599 / 16000)
    with pytest.raises(TooShortError, match=r"0.9749 s is shorter than the 0.975 s that"):
        fad_onnx.embed(path, "logmel")
    told = TooShortError("x.wav", 9919, 9920, 32000)
    assert told.reason == "9919 samples is shorter than the 9920 (at 32000 Hz) that the model needs"
    assert (told.had_seconds, told.needed_seconds) == (9919 / 32000, 0.31)


@pytest.fixture
def silent(tmp_path):
    """Four clips: sound, digital silence, dither alone, and channels that cancel each other."""
    clip, dither = synthetic.clip(3, 48000)[0], np.random.RandomState(0).randint(-1, 2, 48000)
    kinds = {"sound": clip, "zeros": 0 * clip, "dither": dither / 2**15,
             "cancels": np.stack([clip, -clip], axis=1)}  # fmt: skip
    folder = tmp_path / "silent"
    folder.mkdir()
    for name, samples in kinds.items():
        soundfile.write(folder / f"{name}.wav", samples, 44100, subtype="PCM_16")
    return folder


def silence(warnings):
    return [text for text in warnings if "are silent" in text]


def test_silent_clips_and_channels_that_cancel_are_counted(silent, clips, monkeypatch):
    said = ["3 of 4 files are silent, or their channels cancel where they are mixed"]
    made = fad_onnx.stats(silent, model="logmel")
    assert [text.partition(": ")[2] for text in silence(made.warnings)] == said
    monkeypatch.setattr(
        clip_windows, "Decoder", None
    )  # from here on embeddings come from the cache
    again = fad_onnx.stats(silent, model="logmel")
    assert silence(again.warnings) == silence(made.warnings)
    monkeypatch.undo()
    assert not silence(fad_onnx.stats(clips, model="logmel").warnings)


def test_silent_clips_are_counted_in_what_was_stored(silent, clips, tmp_path_factory):
    folder = tmp_path_factory.mktemp("parts")
    for part in (1, 2):
        fad_onnx.stats(silent, folder / f"{part}.npz", "logmel", shard=f"{part}/2")
    merged = archives.merge([folder / "1.npz", folder / "2.npz"], folder / "all.npz")
    assert "3 of 4 files" in silence(merged.warnings)[0]
    score = fad_onnx.score(folder / "all.npz", clips, "logmel")
    assert "3 of 4 files" in silence(score.warnings)[0]


@pytest.mark.parametrize("size", [1_000_000_000, 2_000_000_000, 4_000_000_000])
def test_a_size_of_whole_billions_means_until_the_end(size, tmp_path):
    path = write_clip(tmp_path / "x.wav", 5, 1.5)
    expected = soundfile.read(path, dtype="float32", always_2d=True)[0]
    content = bytearray(path.read_bytes())
    content[4:8] = (size + 36).to_bytes(4, "little")
    content[40:44] = size.to_bytes(4, "little")
    path.write_bytes(content)
    with decoding.Decoder(path) as decoder:
        np.testing.assert_array_equal(np.concatenate(list(decoder)), expected)
    content[40:44] = (size + 2).to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(AudioError, match=f"cut short: 48000 of {size + 2} bytes"):
        decoding.Decoder(path)


@pytest.mark.decoders("ffmpeg")
@pytest.mark.parametrize("start", ["0.1", "1.3", "2.9"])
def test_vorbis_that_was_cut_without_decoding_is_refused(start, tmp_path):
    whole, cut = write_clip(tmp_path / "x.ogg", 6, 4, 44100), tmp_path / "cut.ogg"
    command = ["ffmpeg", "-v", "error", "-ss", start, "-i", whole, "-c", "copy", cut]
    subprocess.run(command, check=True)
    with pytest.raises(AudioError, match="begins before its time 0.*ffmpeg -i FILE"):
        decoding.Decoder(cut)


@pytest.mark.decoders("ffmpeg")
def test_vorbis_that_was_cut_at_its_end_is_read(tmp_path):
    whole, cut = write_clip(tmp_path / "x.ogg", 6, 4, 44100), tmp_path / "cut.ogg"
    command = ["ffmpeg", "-v", "error", "-i", whole, "-t", "2", "-c", "copy", cut]
    subprocess.run(command, check=True)
    expected = soundfile.read(whole, dtype="float32", always_2d=True)[0]
    with decoding.Decoder(cut) as decoder:
        found = np.concatenate(list(decoder))
    assert 88200 <= len(found) < 100000
    np.testing.assert_array_equal(found, expected[: len(found)])


@pytest.mark.decoders("ffmpeg")
def test_a_flac_that_was_cut_without_decoding_is_refused_with_both_remedies(tmp_path):
    whole, cut = write_clip(tmp_path / "x.flac", 6, 4, 44100), tmp_path / "cut.flac"
    command = ["ffmpeg", "-v", "error", "-i", whole, "-t", "2", "-c", "copy", cut]
    subprocess.run(command, check=True)
    with decoding.Decoder(cut) as decoder, pytest.raises(AudioError) as caught:
        list(decoder)
    assert " of 176400 frames; copy it again, or if it was cut on purpose" in str(caught.value)
    assert "convert it: ffmpeg -i FILE out.wav" in str(caught.value)
