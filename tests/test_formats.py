"""AIFF, CAF, W64 and AU that ffmpeg writes: the samples that ffmpeg reads of them."""

import subprocess

import numpy as np
import pytest

from fad_onnx.audio import decoding, sources
from fad_onnx.audio.blobs import InMemory
from fad_onnx.errors import AudioError

from .conftest import write_clip

pytestmark = pytest.mark.decoders("ffmpeg")

WRITTEN = {
    "aiff": ["pcm_s8", "pcm_s16be", "pcm_s24be", "pcm_s32be"],
    "aif": ["pcm_f32be", "pcm_f64be", "pcm_mulaw", "pcm_alaw", "pcm_s16le"],
    "caf": ["pcm_s8", "pcm_s16be", "pcm_s16le", "pcm_s24be", "pcm_s24le", "pcm_s32le", "pcm_f32le",
            "pcm_f64be", "pcm_mulaw", "pcm_alaw"],
    "w64": ["pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_mulaw"],
    "au": ["pcm_s8", "pcm_s16be", "pcm_s24be", "pcm_s32be", "pcm_f32be", "pcm_f64be", "pcm_mulaw",
           "pcm_alaw"],
}  # fmt: skip
KINDS = [
    pytest.param(suffix, codec, marks=pytest.mark.large if number > 2 else ())
    for suffix, codecs in WRITTEN.items()
    for number, codec in enumerate(codecs)
]


def ffmpeg(*arguments):
    command = ["ffmpeg", "-v", "error", "-y", *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True).stdout


def decoded(source):
    with decoding.Decoder(source) as decoder:
        return np.concatenate(list(decoder))


@pytest.mark.parametrize(("suffix", "codec"), KINDS)
def test_samples_are_those_of_ffmpeg(tmp_path, suffix, codec):
    path = tmp_path / "set" / f"x.{suffix}"
    source = write_clip(tmp_path / "source.wav", 3, 1.1, 22050, 2)
    path.parent.mkdir()
    ffmpeg("-i", source, "-c:a", codec, path)
    expected = np.frombuffer(ffmpeg("-i", path, "-f", "f32le", "-"), "<f4").reshape(-1, 2)
    (file,) = sources.find(path.parent)
    got = decoded(file.blob())
    np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(decoded(InMemory(path.read_bytes(), "x")), got)
    # W64 is filled to eight bytes, which count as samples.
    assert 24255 <= len(got) < 24255 + 8


def test_floats_in_w64_which_libsndfile_reads_as_integers_are_refused(tmp_path):
    source = write_clip(tmp_path / "source.wav", 3, 1.1, 22050, 2)
    ffmpeg("-i", source, "-c:a", "pcm_f32le", tmp_path / "x.w64")
    with pytest.raises(AudioError, match="W64 of this encoding would be read wrongly"):
        decoding.Decoder(tmp_path / "x.w64")
