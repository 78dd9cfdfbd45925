"""What PyAV decodes: the samples of the program ffmpeg, from files and from bytes."""

import functools
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

import fad_onnx
from fad_onnx.audio import decoding, media, sources
from fad_onnx.audio.blobs import InMemory
from fad_onnx.errors import AudioError, NoAudioError
from fad_onnx.networks import synthetic

from .conftest import write_clip
from .kept import as_tar
from .kit import WEIGHTLESS
from .test_archives import bits

pytest.importorskip("av")
pytestmark = pytest.mark.decoders("ffmpeg")

# What ffmpeg is told, by the suffix of what it writes.
WRITTEN = {
    "x.m4a": ["-c:a", "aac"],
    "alac.m4a": ["-c:a", "alac"],
    "fast.m4a": ["-c:a", "aac", "-movflags", "+faststart"],
    "fragments.mp4": ["-c:a", "aac", "-movflags", "frag_keyframe+empty_moov"],
    "x.aac": ["-c:a", "aac"],
    "x.webm": ["-c:a", "libopus"],
    "vorbis.mkv": ["-c:a", "libvorbis"],
    "aac.mkv": ["-c:a", "aac"],
    "flac.mka": ["-c:a", "flac"],
    "mp3.mkv": ["-c:a", "libmp3lame"],
    "x.wma": ["-c:a", "wmav2"],
    "pcm.mov": ["-c:a", "pcm_s24le"],
    "u8.mkv": ["-c:a", "pcm_u8"],
}
LOSSLESS = ("alac", "flac", "pcm")


def ffmpeg(*arguments):
    command = ["ffmpeg", "-v", "error", "-y", *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True).stdout


@functools.cache
def encoded(name, rate, channels):
    with tempfile.TemporaryDirectory() as folder:
        source = write_clip(Path(folder) / "source.wav", 5, 1.3, rate, channels)
        ffmpeg("-i", source, *WRITTEN[name], Path(folder) / name)
        return (Path(folder) / name).read_bytes()


def written(folder, name, rate=44100, channels=2):
    (folder / name).write_bytes(encoded(name, rate, channels))
    return folder / name


def decoded(source, **options):
    with decoding.Decoder(source, **options) as decoder:
        return np.concatenate(list(decoder))


def of_ffmpeg(path, channels):
    raw = ffmpeg("-i", path, "-map", "0:a:0", "-f", "f32le", "-")
    return np.frombuffer(raw, "<f4").reshape(-1, channels)


@pytest.mark.parametrize(
    ("rate", "channels"),
    [(44100, 2), *(pytest.param(rate, 1, marks=pytest.mark.large) for rate in (22050, 48000))],
)
@pytest.mark.parametrize("name", WRITTEN)
def test_every_sample_is_that_of_ffmpeg(tmp_path, name, rate, channels, monkeypatch):
    if name == "x.webm" and rate == 22050:
        pytest.skip("ffmpeg 5.1 writes another delay into its header than into its packets")
    path = written(tmp_path, name, rate, channels)
    expected = of_ffmpeg(path, channels)
    got = decoded(path)
    assert got.shape == expected.shape and got.dtype == np.float32
    # Builds of ffmpeg for other processors round in other places; 24 bits are 1.2e-7.
    limit = 0 if name.startswith(LOSSLESS) else 1e-6
    np.testing.assert_allclose(got, expected, rtol=0, atol=limit)
    np.testing.assert_array_equal(decoded(InMemory(path.read_bytes(), "x")), got)
    monkeypatch.setattr(decoding, "BLOCK_SAMPLES", 1000)
    np.testing.assert_array_equal(decoded(path), got)
    with decoding.Decoder(path) as decoder:
        assert decoder.length() == len(got)


def test_what_an_encoder_adds_in_front_is_dropped(tmp_path):
    clip = synthetic.clip(5, 44100).T
    for name, limit in (("x.m4a", 0.05), ("alac.m4a", 1e-4)):
        soundfile.write(tmp_path / "source.wav", clip, 44100, "PCM_16")
        ffmpeg("-i", tmp_path / "source.wav", *WRITTEN[name], "-b:a", "320k", tmp_path / name)
        got = decoded(tmp_path / name)
        assert np.abs(got[:40000] - clip[:40000]).mean() < limit
        assert 44100 <= len(got) < 44100 + 1024


def test_of_a_video_the_first_audio_is_read(tmp_path):
    sound = write_clip(tmp_path / "sound.wav", 1, 1.5, 48000)
    for suffix in ("mp4", "mkv"):
        path = tmp_path / f"x.{suffix}"
        ffmpeg("-f", "lavfi", "-i", "testsrc=d=4:s=64x64", "-i", sound, "-c:v", "mpeg4",
               "-c:a", "aac", path)  # fmt: skip
        np.testing.assert_allclose(decoded(path), of_ffmpeg(path, 1), atol=1e-6)
        ffmpeg("-f", "lavfi", "-i", "testsrc=d=1:s=64x64", "-c:v", "mpeg4", path)
        with pytest.raises(AudioError, match=f"x.{suffix}: is M.* without audio"):
            decoding.Decoder(path)


@pytest.mark.parametrize("name", WRITTEN)
def test_a_container_that_is_cut_is_no_shorter_clip(name):
    data = encoded(name, 44100, 2)
    for share in (0.3, 0.6, 0.9):
        with pytest.raises(AudioError, match="cut short"):
            decoded(InMemory(data[: int(share * len(data))], "x"))


@pytest.mark.large
@pytest.mark.parametrize("name", WRITTEN)
def test_damage_gives_audio_or_an_audio_error(name):
    data = encoded(name, 22050, 1)
    random = np.random.RandomState(0)
    for _ in range(10):
        damaged = bytearray(data)
        for place in random.randint(0, len(data), 4):
            damaged[place] = random.randint(256)
        try:
            got = decoded(InMemory(bytes(damaged), "x"))
        except AudioError:
            continue
        assert np.isfinite(got).all()


def test_integers_are_rounded_to_and_scaled(tmp_path):
    path = written(tmp_path, "x.m4a")
    got, rounded = decoded(path), decoded(path, sample_format="int16")
    np.testing.assert_allclose(rounded, got, atol=2**-16)
    assert (rounded * 2**15 == np.rint(rounded * 2**15)).all()


def test_folders_lists_and_archives_hold_them(tmp_path):
    top = tmp_path / "set"
    for index, name in enumerate(("x.m4a", "x.webm", "x.wma", "aac.mkv", "x.aac")):
        written(tmp_path, name, 44100, 1 + index % 2)
        top.mkdir(exist_ok=True)
        (tmp_path / name).rename(top / name)
    listed = sources.find(top)
    assert [file.name for file in listed] == ["aac.mkv", "x.aac", "x.m4a", "x.webm", "x.wma"]
    assert bits(top) == bits(as_tar(top, tmp_path / "x.tar")) == bits(f"{top}/*", workers=3)


def test_a_wrong_suffix_does_not_matter(tmp_path):
    path = written(tmp_path, "x.m4a")
    expected = decoded(path)
    path.rename(tmp_path / "x.mp3")
    np.testing.assert_array_equal(decoded(tmp_path / "x.mp3"), expected)
    write_clip(tmp_path / "y.wav", 1, 1).rename(tmp_path / "y.m4a")
    assert len(decoded(tmp_path / "y.m4a")) == 16000


def test_no_playlist_makes_it_open_other_files(tmp_path):
    secret = write_clip(tmp_path / "secret.wav", 1, 1)
    for text in (
        f"#EXTM3U\n#EXTINF:1,\nfile://{secret}\n",
        f"ffconcat version 1.0\nfile {secret}\n",
    ):
        (tmp_path / "x.m4a").write_text(text)
        with pytest.raises(AudioError, match="not readable as audio"):
            decoding.Decoder(tmp_path / "x.m4a")


def test_without_pyav_it_is_named_and_counted(tmp_path, monkeypatch):
    path = written(tmp_path, "x.m4a")
    write_clip(tmp_path / "set" / "a.wav", 1, 1)
    path.rename(tmp_path / "set" / "x.m4a")
    monkeypatch.setattr(media, "is_installed", lambda: False)
    with pytest.raises(
        AudioError, match=r"is MP4 or M4A: to read it, pip install 'fad-onnx\[av\]'"
    ):
        decoding.Decoder(tmp_path / "set" / "x.m4a")
    made = fad_onnx.stats(tmp_path / "set", model=WEIGHTLESS)
    assert any("1 .m4a; pip install 'fad-onnx[av]' reads 1" in text for text in made.warnings)
    (tmp_path / "set" / "a.wav").unlink()
    with pytest.raises(NoAudioError, match=r"1 \.m4a; pip install"):
        sources.find(tmp_path / "set")
