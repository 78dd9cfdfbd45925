import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

import fad_onnx
from fad_onnx.api.dry_run import estimate
from fad_onnx.audio import decoding, media, resampling, sources
from fad_onnx.errors import AudioError, FadError, NoAudioError, OptionError, TruncatedAudioError
from fad_onnx.files import archives
from fad_onnx.networks import synthetic

from .conftest import write_clip


def conformed(path, rate, rule="mean", **kwargs):
    with decoding.Decoder(path, **kwargs) as decoder:
        resampler = resampling.Resampler(decoder.sample_rate_hz, rate, decoder.channels, rule)
        parts = [resampler.push(block, last) for block, last in decoding.with_last(decoder)]
    return np.concatenate(parts, axis=1)


def test_find_is_recursive_sorted_and_leaves_hidden_files_out(tmp_path):
    for name in ("b.wav", "a/z.flac", "a.wav", "a/b/c.OGG", ".hidden.wav", ".h/x.wav", "cover.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert [file.name for file in sources.find(tmp_path)] == [
        "a/b/c.OGG",
        "a/z.flac",
        "a.wav",
        "b.wav",
    ]


def test_find_follows_links_to_files_but_not_to_folders(tmp_path):
    inside, outside = tmp_path / "set", tmp_path / "other"
    write_clip(outside / "x.wav", 1, 0.1)
    inside.mkdir()
    (inside / "link.wav").symlink_to(outside / "x.wav")
    (inside / "loop").symlink_to(inside)
    (inside / "folder").symlink_to(outside)
    assert [file.name for file in sources.find(inside)] == ["link.wav"]


def test_find_names_what_is_missing(tmp_path):
    with pytest.raises(NoAudioError, match="no such file or folder"):
        sources.find(tmp_path / "nowhere")
    (tmp_path / "cover.png").touch()
    with pytest.raises(
        NoAudioError, match="no audio file in it, but 1 files of other suffixes .1 .png."
    ):
        sources.find(tmp_path)


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".opus", ".mp3"])
@pytest.mark.parametrize("channels", [1, 2])
def test_every_format_is_read(tmp_path, suffix, channels):
    path = write_clip(tmp_path / f"x{suffix}", 3, 1.5, 48000, channels)
    samples = conformed(path, 16000)
    assert samples.dtype == np.float32
    assert abs(samples.shape[1] - 24000) < 400
    expected = synthetic.clip(3, 72000, channels).mean(axis=0)[::3]
    assert np.corrcoef(samples[0, 2000:20000], expected[2000:20000])[0, 1] > 0.5


@pytest.mark.parametrize("source", [8000, 11025, 22050, 44100, 48000, 96000])
@pytest.mark.parametrize("frames", [1, 2, 999, 44100, 44101])
def test_blocks_give_the_bits_of_one_call_and_floor_the_length(
    source, frames, tmp_path, monkeypatch
):
    clip = synthetic.clip(4, frames)[0]
    path = tmp_path / "x.wav"
    soundfile.write(path, clip, source, subtype="FLOAT")
    monkeypatch.setattr(decoding, "BLOCK_SAMPLES", 1000)
    got = conformed(path, 16000)
    expected = soxr.resample(clip, source, 16000, "HQ")[: frames * 16000 // source]
    assert got.shape == (1, frames * 16000 // source)
    np.testing.assert_array_equal(got[0], expected)


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_channel_rules(channels, tmp_path):
    clip = synthetic.clip(5, 3000, channels)
    path = tmp_path / "x.wav"
    soundfile.write(path, clip.T, 48000, subtype="FLOAT")
    mean = clip.mean(axis=0)
    np.testing.assert_allclose(conformed(path, 48000)[0], mean, atol=1e-7)
    stereo = conformed(path, 48000, "stereo")
    np.testing.assert_allclose(stereo, clip if channels == 2 else [mean, mean], atol=1e-7)


@pytest.mark.parametrize("sample_format", ["int16", "int32", "float64"])
def test_sample_formats_are_scaled_to_one(sample_format, tmp_path):
    path = write_clip(tmp_path / "x.wav", 6, 0.2)
    expected = conformed(path, 16000)
    got = conformed(path, 16000, sample_format=sample_format)
    np.testing.assert_allclose(got, expected, atol=2**-15)
    with pytest.raises(OptionError, match="int8"):
        decoding.Decoder(path, "int8")


def test_unusable_files_are_typed_errors_with_path_and_reason(tmp_path):
    def write(name, samples, rate=16000):
        soundfile.write(tmp_path / name, samples, rate, subtype="FLOAT")

    clip = synthetic.clip(7, 100)[0]
    nan, infinite = clip.copy(), clip.copy()
    nan[41], infinite[0] = np.nan, -np.inf
    write("nan.wav", nan)
    write("inf.wav", infinite)
    write("empty.wav", clip[:0])
    write("slow.wav", clip, 1)
    (tmp_path / "text.wav").write_text("not audio")
    (tmp_path / "zero.wav").touch()
    (tmp_path / "folder.wav").mkdir()
    os.mkfifo(tmp_path / "fifo.wav")
    (tmp_path / "broken.wav").symlink_to(tmp_path / "nowhere")
    reasons = {
        "nan": "frame 41 is NaN", "inf": "frame 0 is NaN, infinite", "empty": "no samples",
        "slow": "sample rate 1 Hz", "text": "not readable as audio", "zero": "empty, 0 bytes",
        "folder": "not a regular file", "fifo": "not a regular file", "broken": "No such file",
    }  # fmt: skip
    for name, reason in reasons.items():
        with pytest.raises(AudioError, match=reason) as caught:
            conformed(tmp_path / f"{name}.wav", 16000)
        assert caught.value.path == str(tmp_path / f"{name}.wav")


CUT = {
    "wav": ("WAV", "PCM_16"), "float.wav": ("WAV", "FLOAT"), "wavex.wav": ("WAVEX", "PCM_24"),
    "adpcm.wav": ("WAV", "MS_ADPCM"), "rf64.wav": ("RF64", "PCM_16"),
    "aiff.wav": ("AIFF", "PCM_16"), "flac": ("FLAC", "PCM_16"), "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"), "mp3": ("MP3", "MPEG_LAYER_III"),
}  # fmt: skip


@pytest.mark.parametrize("kind", CUT)
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_file_cut_in_the_middle_is_no_shorter_clip(tmp_path, kind, share):
    container, subtype = CUT[kind]
    whole, cut = tmp_path / f"whole.{kind}", tmp_path / f"cut.{kind}"
    clip = synthetic.clip(8, 3 * 48000, 2)
    soundfile.write(whole, clip.T, 48000, subtype, format=container)
    # Encoders in blocks fill the last one.
    assert clip.shape[1] <= conformed(whole, 48000).shape[1] < clip.shape[1] + 4096
    data = whole.read_bytes()
    cut.write_bytes(data[: int(share * len(data))])
    with pytest.raises(AudioError, match="cut short|damaged|not readable"):
        conformed(cut, 48000)


def test_an_mp3_cut_behind_its_tag_is_cut_all_the_same(tmp_path):
    path = write_clip(tmp_path / "clip.mp3", 8, 2, 44100)
    picture = b"ID3\x04\0\0" + bytes([0, 0, 40, 5]) + bytes(40 * 128 + 5)
    data = picture + path.read_bytes()
    path.write_bytes(data)
    assert conformed(path, 44100).shape[1] == 88200
    path.write_bytes(data[:-4000])
    with pytest.raises(AudioError, match="cut short: [0-9]+ of 88200 frames"):
        conformed(path, 44100)


def test_a_wav_may_lack_no_more_than_what_some_writers_count_wrongly(tmp_path):
    path = write_clip(tmp_path / "clip.wav", 8, 1, 44100, 2)
    data = path.read_bytes()
    path.write_bytes(data[:-132])
    with pytest.raises(AudioError, match="cut short: 176268 of 176400 bytes"):
        conformed(path, 44100)
    path.write_bytes(data[:-2])
    assert conformed(path, 44100).shape[1] == 44099
    place = data.index(b"data") + 4
    for header in (8, 36, 44, 58, 80):
        more = (176400 + header).to_bytes(4, "little")
        path.write_bytes(data[:place] + more + data[place + 4 :])
        assert conformed(path, 44100).shape[1] == 44100


def mp3_without_count(path, seed, quiet=0):
    """An MP3 of variable bit rate whose first frame, which counts the others, is gone."""
    clip = np.random.RandomState(seed).uniform(-0.5, 0.5, (3 * 44100, 2))
    clip[:44100] *= quiet  # the length is estimated from the bit rate of the first frames
    soundfile.write(path, clip, 44100)
    data = path.read_bytes()
    second = next(at for at in range(200, 4000) if data[at : at + 2] == data[:2])
    path.write_bytes(data[second:])
    return clip


@pytest.mark.parametrize("tag", [b"", b"ID3\x04\0\0\0\0\1\x00" + bytes(128)])
def test_an_mp3_of_which_libsndfile_reads_a_part_is_refused(tmp_path, tag):
    path = write_clip(tmp_path / "joined.mp3", 8, 2, 44100)
    once = path.read_bytes()
    for behind in (b"TAG" + bytes(125), bytes(9000), b"APETAGEX" + bytes(9000), once[-600:]):
        path.write_bytes(once + behind)
        assert conformed(path, 44100).shape[1] == 88200
    tiny = tmp_path / "tiny.mp3"
    soundfile.write(tiny, synthetic.clip(1, 600)[0], 12000)
    whole = conformed(tiny, 12000).shape[1]
    for behind in (b"APETAGEX" + bytes(20000), b"LYRICSBEGIN" + bytes(9000), b"ID3" + bytes(9000)):
        tiny.write_bytes(tiny.read_bytes() + behind)
        assert conformed(tiny, 12000).shape[1] == whole
    path.write_bytes(once + tag + once)
    with pytest.raises(TruncatedAudioError, match="a part can be read: 88200 of 17.* convert"):
        conformed(path, 44100)
    clip = mp3_without_count(tmp_path / "variable.mp3", 1, 0.001)
    with soundfile.SoundFile(tmp_path / "variable.mp3") as file:
        assert file.frames < len(clip) / 2
    with pytest.raises(AudioError, match="only a part can be read"):
        conformed(tmp_path / "variable.mp3", 44100)


@pytest.mark.parametrize("size", [0x7FFFFFFF - 36, 0xFFFFFFFF])
def test_a_wav_written_into_a_pipe_knows_no_length(tmp_path, size):
    path = write_clip(tmp_path / "streamed.wav", 9, 1, 16000)
    data = bytearray(path.read_bytes())
    place = data.index(b"data") + 4
    data[place : place + 4] = size.to_bytes(4, "little")
    path.write_bytes(data)
    assert conformed(path, 16000).shape[1] == 16000


def test_an_mp3_that_counts_no_frames_is_read_to_its_end(tmp_path):
    path = tmp_path / "clip.mp3"
    clip = mp3_without_count(path, 0)
    with soundfile.SoundFile(path) as file:
        assert file.frames > len(clip) + 4000  # an estimate, far off
    assert conformed(path, 44100).shape[1] >= len(clip)


def test_odd_names_are_read_and_shown_as_one_line(tmp_path):
    for name in (b"a b.wav", b"new\nline.wav", b"stray\xff.wav", "ünï.wav".encode()):
        path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
        soundfile.write(os.fsencode(path), synthetic.clip(9, 500)[0], 16000, format="WAV")
        assert conformed(path, 16000).shape == (1, 500)
        error = AudioError(path, "x")
        assert "\n" not in str(error)
        str(error).encode()
        assert isinstance(error, FadError)


def touched(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_what_is_left_out_of_a_folder_is_counted_by_suffix(tmp_path, monkeypatch):
    monkeypatch.setattr(media, "is_installed", lambda: False)
    touched(tmp_path, "a.wav", ".hidden.m4a", ".git/x.m4a")
    assert sources.find(tmp_path).left_out == ""
    touched(tmp_path, "b.M4A", "c/d.m4a", "e.txt", "README", "f.mkv", "g.tar", "h.ape", "i.spx")
    files = sources.find(tmp_path)
    assert [file.name for file in files] == ["a.wav"]
    assert files.left_out == (
        "8 files of other suffixes (2 .m4a, 1 without, 1 .ape, 1 .mkv, 1 .spx, 2 others;"
        " pip install 'fad-onnx[av]' reads 3 of them)"
    )
    touched(tmp_path / "elsewhere", "x.wav")
    (tmp_path / "linked").symlink_to(tmp_path / "elsewhere")
    assert sources.find(tmp_path).left_out.endswith(
        f" and 1 links to folders, as {tmp_path}/linked"
    )


READ = [
    ("aif", "AIFF", "PCM_16"), ("aiff", "AIFF", "PCM_24"), ("aifc", "AIFF", "FLOAT"),
    ("au", "AU", "PCM_16"), ("snd", "AU", "ULAW"), ("caf", "CAF", "PCM_16"),
    ("w64", "W64", "PCM_16"), ("rf64", "RF64", "PCM_16"), ("bwf", "WAV", "PCM_16"),
    ("wave", "WAV", "PCM_16"), ("oga", "OGG", "VORBIS"), ("sph", "NIST", "PCM_16"),
    ("nist", "NIST", "ALAW"), ("avr", "AVR", "PCM_16"),
    ("ircam", "IRCAM", "PCM_16"), ("paf", "PAF", "PCM_16"), ("pvf", "PVF", "PCM_16"),
    ("wve", "WVE", "ALAW"), ("xi", "XI", "DPCM_16"), ("WAV", "WAVEX", "PCM_16"),
    ("Flac", "FLAC", "PCM_24"),
]  # fmt: skip


def test_folders_are_searched_for_every_format_that_libsndfile_reads(tmp_path):
    for suffix, container, subtype in READ:
        path = tmp_path / f"{suffix}.{suffix}"
        soundfile.write(path, synthetic.clip(1, 3000)[0], 8000, subtype, format=container)
    files = sources.find(tmp_path)
    assert len(files) == len(READ) and not files.left_out
    for file in files:
        with decoding.Decoder(file.path) as decoder:
            assert sum(map(len, decoder)) == 3000, file.name


def test_what_is_left_out_travels_with_results(tmp_path, monkeypatch):
    monkeypatch.setattr(media, "is_installed", lambda: False)
    for number in range(4):
        write_clip(tmp_path / "set" / f"{number}.wav", number, 1)
    write_clip(tmp_path / "more" / "a.wav", 9, 1)
    touched(tmp_path, "set/x.m4a", "more/captions.csv")
    said = "left out 1 files of other suffixes (1 .m4a; pip install 'fad-onnx[av]' reads 1 of them)"
    for part in (1, 2):
        output = tmp_path / f"{part}.npz"
        made = fad_onnx.stats(tmp_path / "set", output, "logmel", shard=f"{part}/2")
        assert any(said in text for text in made.warnings) == (part == 1)
    archives.merge([tmp_path / "1.npz", tmp_path / "2.npz"], tmp_path / "all.npz")
    score = fad_onnx.score(tmp_path / "all.npz", tmp_path / "set")
    assert len([text for text in score.warnings if said in text]) == 2
    made = fad_onnx.stats([tmp_path / "set", tmp_path / "more"], model="logmel")
    (text,) = (text for text in made.warnings if said in text)
    assert "(1 .csv)" in text
    assert estimate([tmp_path / "set"], "logmel")["left_out"] == said.removeprefix("left out ")
