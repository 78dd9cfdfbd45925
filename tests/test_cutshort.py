"""All the audio of a file is read, or an error says how much of it; good files are no cut files."""

import os
import struct
import subprocess

import numpy as np
import pytest
import soundfile

from fad_onnx.audio import decoding, headers
from fad_onnx.errors import AudioError, TruncatedAudioError
from fad_onnx.networks import synthetic

from .conftest import write_clip

ID3V1, ID3V2 = b"TAG" + bytes(125), b"ID3\x04\0\0\0\0\x10\x00" + b"\1" * 2048
APE = b"APETAGEX" + struct.pack("<IIII", 2000, 532, 1, 0) + bytes(8) + b"x" * 500
LYRICS = b"LYRICSBEGIN" + b"la" * 500 + b"000519LYRICS200" + ID3V1
PICTURE = b"ID3\x04\0\0\0\4\0\0" + np.random.RandomState(0).bytes(65536)
TAGS = {"ID3v1": ID3V1, "ID3v2": ID3V2, "APE": APE, "Lyrics3": LYRICS, "zeros": bytes(9000)}
BETWEEN = {"nothing": b"", "picture": PICTURE, **TAGS}
KINDS = {
    "wav": ("WAV", "PCM_16"), "float.wav": ("WAV", "FLOAT"), "wavex": ("WAVEX", "PCM_24"),
    "rf64": ("RF64", "PCM_16"), "w64": ("W64", "PCM_16"), "aiff": ("AIFF", "PCM_16"),
    "au": ("AU", "PCM_16"), "caf": ("CAF", "PCM_16"), "mp3": ("MP3", "MPEG_LAYER_III"),
    "ogg": ("OGG", "VORBIS"), "opus": ("OGG", "OPUS"), "flac": ("FLAC", "PCM_16"),
}  # fmt: skip
RATE = 48000


def written(path, seconds=1.0, seed=1):
    """The bytes of a clip in the format of the suffix."""
    container, subtype = KINDS[path.name.split(".", 1)[1]]
    clip = synthetic.clip(seed, round(seconds * RATE))[0]
    soundfile.write(path, clip, RATE, subtype, format=container)
    return path.read_bytes()


def frames(path, data=None):
    if data is not None:
        path.write_bytes(data)
    with decoding.Decoder(path) as decoder:
        return sum(map(len, decoder))


def refused(path, data, read=None, whole=None):
    """Both numbers are right, in the error and in its text."""
    with pytest.raises(TruncatedAudioError) as caught:
        frames(path, data)
    error = caught.value
    assert error.read < error.whole
    assert f"{error.read} of {error.whole} {error.unit}; " in str(error)
    if whole:
        assert (error.read, error.whole) == (read, whole)


def with_number(data, at, number, size=4, order="little"):
    return data[:at] + number.to_bytes(size, order) + data[at + size :]


@pytest.mark.parametrize("name", ["x.mp3", "x.wav", "x.ogg", "x.flac"])
@pytest.mark.parametrize("between", BETWEEN)
def test_joined_mp3s_are_refused_by_any_name(between, name, tmp_path):
    first, second = written(tmp_path / "a.mp3"), written(tmp_path / "b.mp3", 0.7, 2)
    refused(tmp_path / name, first + BETWEEN[between] + second)
    refused(tmp_path / name, first + BETWEEN[between] + first + second)


def test_joined_mp3s_of_other_rates_and_channels_are_refused(tmp_path):
    first = written(tmp_path / "a.mp3")
    for rate, channels in ((16000, 1), (44100, 2), (RATE, 2)):
        other = write_clip(tmp_path / "b.mp3", 2, 0.7, rate, channels).read_bytes()
        refused(tmp_path / "x.mp3", first + ID3V1 + other)


def without_count(data):
    """The same MP3 without the first frame, which counts the others."""
    return data[next(at for at in range(100, 4000) if data[at : at + 2] == data[:2]) :]


@pytest.mark.parametrize("name", ["x.mp3", "x.wav"])
def test_a_variable_bit_rate_without_a_count_is_refused_where_a_part_is_read(name, tmp_path):
    clip = np.random.RandomState(1).uniform(-0.5, 0.5, 3 * RATE)
    clip[: len(clip) // 3] *= 0.001
    soundfile.write(tmp_path / "a.mp3", clip, RATE)
    refused(tmp_path / name, without_count((tmp_path / "a.mp3").read_bytes()))


@pytest.mark.parametrize("between", BETWEEN)
@pytest.mark.parametrize("kind", ["ogg", "opus"])
def test_chained_ogg_is_refused(kind, between, tmp_path):
    first, second = written(tmp_path / f"a.{kind}"), written(tmp_path / f"b.{kind}", 0.7, 2)
    junk = BETWEEN[between]
    for name in (f"x.{kind}", "x.wav", "x.mp3"):
        begin, whole = len(first + junk), len(first + junk + second)
        refused(tmp_path / name, first + junk + second, begin, whole)


@pytest.mark.parametrize("kind", ["ogg", "opus"])
def test_ogg_is_cut_where_a_page_is_and_not_where_it_lacks_the_last(kind, tmp_path):
    data, path = written(tmp_path / f"a.{kind}", 3.0), tmp_path / f"x.{kind}"
    last = data.rindex(b"OggS")
    assert 0 < frames(path, data[:last]) < 3 * RATE
    for size in (len(data) - 1, last + 30, last + 10, last // 2):
        refused(path, data[:size])
    # A copy that broke off where the size was known before.
    refused(path, data[: len(data) // 2] + bytes(len(data) - len(data) // 2))


def flac_that_counts(data, samples):
    return with_number(data, 18, int.from_bytes(data[18:26]) >> 36 << 36 | samples, 8, "big")


def test_flac_that_counts_too_few_or_too_many_is_refused(tmp_path):
    data = written(tmp_path / "a.flac")
    for name in ("x.flac", "x.wav"):
        for few in (100, 24000, RATE - 1):
            refused(tmp_path / name, flac_that_counts(data, few), few, RATE)
        refused(tmp_path / name, flac_that_counts(data, RATE + 1), RATE, RATE + 1)
    assert frames(tmp_path / "x.flac", flac_that_counts(data, 0)) == RATE


@pytest.mark.parametrize("between", BETWEEN)
def test_joined_flacs_are_refused(between, tmp_path):
    first, second = written(tmp_path / "a.flac"), written(tmp_path / "b.flac", 0.7, 2)
    junk = BETWEEN[between]
    refused(tmp_path / "x.flac", first + junk + second, RATE, RATE + round(0.7 * RATE))
    refused(tmp_path / "x.flac", first + junk + first, RATE, 2 * RATE)
    with pytest.raises(AudioError):
        frames(tmp_path / "x.flac", flac_that_counts(first, 0) + junk + second)


def test_frames_behind_a_gap_are_counted(tmp_path):
    data = written(tmp_path / "a.flac", 2.0)
    starts = [
        at
        for at in range(42, len(data))
        if data[at : at + 4] == data[data.index(b"\xff\xf8") :][:4]
    ]
    for unknown in (data, flac_that_counts(data, 0)):
        gap = unknown[: starts[4]] + unknown[starts[6] :]
        (tmp_path / "x.flac").write_bytes(gap)
        with open(tmp_path / "x.flac", "rb") as file:
            assert headers.flac(file).there == 2 * RATE - 2 * 4096


def test_what_looks_like_a_frame_in_a_picture_is_none(tmp_path):
    data, path = written(tmp_path / "a.flac"), tmp_path / "x.flac"
    at = next(at for at in range(42, len(data)) if data[at : at + 2] == b"\xff\xf8")
    for looks in (b"abcd" + data[at : at + 16], data[-20000:-9000], data, PICTURE):
        block = b"\2" + len(looks).to_bytes(3, "big") + looks
        for whole in (data, flac_that_counts(data, 0)):
            assert frames(path, whole[:42] + block + whole[42:]) == RATE
        refused(path, flac_that_counts(data[:42] + block + data[42:], 100), 100, RATE)
    mp3, empty_text = (
        written(tmp_path / "a.mp3"),
        b"COMM\0\0\0\x20\0\0\1eng\xff\xfe\0\0" + bytes(24),
    )
    tag = b"ID3\3\0\0" + bytes([0, 0, 40 * len(empty_text) >> 7, 40 * len(empty_text) & 127])
    assert frames(tmp_path / "x.mp3", tag + 40 * empty_text + mp3) == RATE
    refused(tmp_path / "x.mp3", tag + 40 * empty_text + mp3[:-4000])


# Where each kind has the size of its samples: text before it, how many bytes further, how wide.
SIZES = {
    "wav": (b"data", 4, 4, "little"), "float.wav": (b"data", 4, 4, "little"),
    "wavex": (b"data", 4, 4, "little"), "rf64": (b"ds64", 16, 8, "little"),
    "w64": (b"data", 16, 8, "little"), "aiff": (b"SSND", 4, 4, "big"),
    "au": (b".snd", 8, 4, "big"), "caf": (b"data", 4, 8, "big"),
}  # fmt: skip


def counting(data, kind, size):
    """The file with another size of its samples; `size` makes it from the right one."""
    text, further, width, order = SIZES[kind]
    at = data.index(text) + further
    return with_number(data, at, size(int.from_bytes(data[at : at + width], order)), width, order)


@pytest.mark.parametrize("kind", SIZES)
@pytest.mark.parametrize("name", ["x", "x.mp3", "x.wav"])
def test_sizes_that_are_too_small_are_refused(kind, name, tmp_path):
    data = written(tmp_path / f"a.{kind}")
    assert frames(tmp_path / name, data) == RATE
    for share in (2, 4):
        refused(tmp_path / name, counting(data, kind, lambda size, by=share: size // by // 12 * 12))


@pytest.mark.parametrize("kind", SIZES)
def test_a_size_of_nothing_is_refused_or_all_is_read(kind, tmp_path):
    path, data = tmp_path / "x.wav", written(tmp_path / f"a.{kind}")
    path.write_bytes(counting(data, kind, lambda _: 0))
    try:
        assert frames(path) == RATE
    except TruncatedAudioError as error:
        assert error.read == 0 and error.whole >= 2 * RATE
    except AudioError as error:
        assert kind == "caf" and "not readable as audio" in str(error)


@pytest.mark.parametrize("riff", [0, 8, 36, 0xFFFFFFFF, None])
def test_a_wav_that_its_recorder_did_not_close_is_read_whole_or_refused(riff, tmp_path):
    path, data = tmp_path / "x.wav", written(tmp_path / "a.wav")
    data = counting(data, "wav", lambda _: 0)
    if riff is not None:
        data = with_number(data, 4, riff)
    if riff == 8:  # the one that libsndfile knows
        assert frames(path, data) == RATE
    else:
        refused(path, data, 0, 2 * RATE)


@pytest.mark.parametrize("kind", SIZES)
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_cut_files_are_refused_by_any_name(kind, share, tmp_path):
    data = written(tmp_path / f"a.{kind}")
    for name in (f"x.{kind}", "x.wav", "x.mp3"):
        with pytest.raises(AudioError, match="cut short: [0-9]+ of [0-9]+ bytes|malformed"):
            frames(tmp_path / name, data[: round(share * len(data))])


@pytest.mark.parametrize("kind", ["wav", "aiff", "au"])
def test_a_tag_in_front_hides_nothing(kind, tmp_path):
    data, path = written(tmp_path / f"a.{kind}"), tmp_path / "x.wav"
    for tag in (ID3V2, PICTURE):
        assert frames(path, tag + data) == RATE
        refused(path, tag + data[:-30000])
        refused(path, tag + counting(data, kind, lambda size: size // 2 // 12 * 12))


def test_above_four_gigabytes_the_size_of_a_wav_wraps(tmp_path):
    path, data = tmp_path / "x.wav", written(tmp_path / "a.wav")
    wrapped, size = 48000, 2**32 + 48000
    with open(path, "wb") as file:
        file.write(counting(data, "wav", lambda _: wrapped))
        file.truncate(data.index(b"data") + 8 + size)  # a hole, which needs no room
    refused(path, None, wrapped, size)


def test_a_wav_that_was_cut_above_two_gigabytes_is_no_streamed_one(tmp_path):
    data = written(tmp_path / "a.wav")
    for size in (0x90000000, 0xC0000000):
        refused(
            tmp_path / "x.wav", counting(data, "wav", lambda _, size=size: size), 2 * RATE, size
        )


@pytest.mark.parametrize("kind", [kind for kind in SIZES if kind != "rf64"])
def test_joined_files_are_no_longer_clip_and_no_shorter(kind, tmp_path):
    data = written(tmp_path / f"a.{kind}")
    with pytest.raises(AudioError):
        frames(tmp_path / "x.wav", data + data)


@pytest.mark.parametrize("tag", TAGS)
@pytest.mark.parametrize("kind", KINDS)
def test_tags_and_zeros_behind_a_good_file_are_no_audio(kind, tag, tmp_path):
    data, path = written(tmp_path / f"a.{kind}"), tmp_path / f"x.{kind}"
    assert frames(path, data) == RATE
    samples = soundfile.read(path)[0]
    path.write_bytes(data + TAGS[tag])
    with decoding.Decoder(path) as decoder:
        np.testing.assert_array_equal(np.concatenate(list(decoder))[:, 0], samples.astype("f4"))
    if kind == "flac":
        assert frames(path, flac_that_counts(data, 0) + TAGS[tag]) == RATE
    if kind == "mp3":
        assert frames(path, PICTURE + data + TAGS[tag]) == RATE


CHUNKS = {
    "LIST": b"LIST" + struct.pack("<I", 26) + b"INFOISFT" + struct.pack("<I", 14) + bytes(14),
    "id3": b"id3 " + struct.pack("<I", 3000) + b"ID3" + b"\1" * 2997,
    "bext": b"bext" + struct.pack("<I", 602) + b"x" * 602,
    "cue": b"cue " + struct.pack("<I", 28) + b"\1" * 28,
    "unknown": b"abcd" + struct.pack("<I", 5000) + b"\7" * 5000,
    "cut": b"LIST" + struct.pack("<I", 5000) + b"\7" * 500,
}


@pytest.mark.parametrize("chunk", CHUNKS)
def test_chunks_behind_the_samples_are_no_audio(chunk, tmp_path):
    data, path = written(tmp_path / "a.wav"), tmp_path / "x.wav"
    for behind in (CHUNKS[chunk], CHUNKS["cue"] + CHUNKS[chunk], CHUNKS[chunk] + bytes(600)):
        assert frames(path, data + behind) == RATE
    for padding in (b"", b"\0"):
        odd = counting(data, "wav", lambda size: size - 1)[:-1]
        assert frames(path, odd + padding + CHUNKS[chunk]) == RATE - 1
    with pytest.raises(AudioError):
        frames(path, data + b"data" + struct.pack("<I", 5000) + b"\7" * 5000)


def tool(*command, output=None):
    result = subprocess.run(command, check=True, capture_output=True)
    if output:
        output.write_bytes(result.stdout)


FFMPEG = ("ffmpeg", "-v", "error", "-y", "-i")


def packets(path):
    """How many frames another program finds in the file."""
    command = (
        "ffprobe",
        "-v",
        "error",
        "-count_packets",
        "-show_entries",
        "stream=nb_read_packets",
    )
    return int(subprocess.check_output([*command, "-of", "csv=p=0", path]))


@pytest.fixture
def source(tmp_path):
    """Quiet, then loud: what is guessed from its beginning is wrong."""
    clip = np.random.RandomState(1).uniform(-0.5, 0.5, 3 * RATE)
    clip[:RATE] *= 0.001
    soundfile.write(tmp_path / "source.wav", clip, RATE)
    return tmp_path / "source.wav"


@pytest.mark.decoders("ffmpeg")
@pytest.mark.parametrize("suffix", ["wav", "mp3"])
@pytest.mark.parametrize("how", [("-b:a", "64k"), ("-b:a", "160k"), ("-q:a", "5")])
def test_mp3_in_wav_is_read_whole_or_refused(how, suffix, source, tmp_path):
    path = tmp_path / "x.wav"
    tool(*FFMPEG, source, "-c:a", "libmp3lame", *how, path)
    data, there = path.read_bytes(), 1152 * packets(path)
    named = tmp_path / f"y.{suffix}"
    if how[0] == "-q:a":
        refused(named, data)
        return
    assert abs(frames(named, data) - there) <= 1152
    # The size of the samples as a program leaves it that cannot go back, or that breaks off.
    at = data.index(b"data") + 4
    for size in (0, 0xFFFFFFFF):
        assert abs(frames(named, with_number(data, at, size)) - there) <= 1152
    with pytest.raises(TruncatedAudioError, match="cut short"):
        frames(named, data[: len(data) // 2])


@pytest.mark.decoders("ffmpeg")
@pytest.mark.parametrize("suffix", ["ogg", "opus", "flac", "mp3"])
def test_the_parts_of_a_segmenter_are_good_files(suffix, source, tmp_path):
    codec = {"ogg": "libvorbis", "opus": "libopus", "flac": "flac", "mp3": "libmp3lame"}[suffix]
    segments = ("-f", "segment", "-segment_time", "0.7", "-b:a", "128k")
    tool(*FFMPEG, source, "-c:a", codec, *segments, tmp_path / f"part%d.{suffix}")
    parts = sorted(tmp_path.glob("part*"))
    assert len(parts) >= 3
    assert sum(map(frames, parts)) >= 0.95 * 3 * RATE


@pytest.mark.decoders("ffmpeg")
@pytest.mark.parametrize("container", ["wav", "w64", "au", "aiff", "flac", "mp3", "ogg", "opus"])
def test_what_was_written_into_a_pipe_is_read_whole(container, source, tmp_path):
    path = tmp_path / f"x.{container}"
    tool(*FFMPEG, source, "-f", container, "-", output=path)
    assert 3 * RATE <= frames(path) <= 3 * RATE + 3 * 1152


@pytest.mark.decoders("lame", "ffmpeg")
@pytest.mark.parametrize("rate", [8000, 11025, 16000, 24000, 32000, 44100, 48000])
@pytest.mark.parametrize("how", [("-b", "32"), ("-V", "4"), ("--abr", "48"), ("-t", "-b", "40")])
def test_every_whole_mp3_is_read(how, rate, tmp_path):
    source = write_clip(tmp_path / "a.wav", 3, 1.5, rate)
    tool("lame", "--quiet", *how, "--resample", str(rate / 1000), source, tmp_path / "a.mp3")
    data, path = (tmp_path / "a.mp3").read_bytes(), tmp_path / "x.mp3"
    whole = frames(path, data)
    assert whole >= 1.5 * rate
    for tag in TAGS.values():
        assert frames(path, data + tag) == whole


@pytest.mark.decoders("lame")
@pytest.mark.parametrize("options", [(), ("-t",)])
def test_a_free_bit_rate_is_counted_too(options, tmp_path):
    source = write_clip(tmp_path / "a.wav", 3, 1.5, 44100, 2)
    tool("lame", "--quiet", "--freeformat", "-b", "400", *options, source, tmp_path / "a.mp3")
    data, path = (tmp_path / "a.mp3").read_bytes(), tmp_path / "x.mp3"
    whole = frames(path, data)
    assert 0 <= whole - 66150 < 3 * 1152
    assert frames(path, data + bytes(9000)) == whole
    if options:
        assert abs(frames(path, data + data) - 2 * whole) <= 1152
    else:
        refused(path, data + data)


@pytest.mark.decoders("ffmpeg")
@pytest.mark.parametrize("rate", [16000, 44100])
def test_layer_two_is_counted_too(rate, tmp_path):
    source = write_clip(tmp_path / "a.wav", 3, 1.5, rate)
    tool(*FFMPEG, source, "-c:a", "mp2", "-f", "mp2", tmp_path / "x.mp2")
    assert frames(tmp_path / "x.mp2") == 1152 * packets(tmp_path / "x.mp2")


@pytest.mark.decoders("flac")
def test_flac_frames_of_every_shape_are_counted(tmp_path):
    source = write_clip(tmp_path / "a.wav", 3, 1.5, 44100, 2)
    for options in (("-b", "192"), ("-b", "65535", "--lax"), ("-b", "4608"), ("-P", "9000", "-8")):
        tool("flac", "-s", "-f", *options, source, "-o", tmp_path / "x.flac")
        data = (tmp_path / "x.flac").read_bytes()
        assert frames(tmp_path / "x.flac") == 66150
        refused(tmp_path / "x.flac", flac_that_counts(data, 66149), 66149, 66150)


def test_samples_without_a_header_are_no_mp3(tmp_path):
    path, taken = tmp_path / "x.mp3", 0
    for seed in range(20):
        quiet = np.random.RandomState(seed).randn(30000) * np.linspace(0.5, 2000, 30000)
        path.write_bytes(quiet.astype("<i2").tobytes())
        with pytest.raises(AudioError) as caught:
            frames(path)
        taken += "no frames of MPEG audio" in str(caught.value)
    assert taken


@pytest.mark.parametrize("samples", [1, 100, 1152])
def test_the_shortest_mp3s_are_read(samples, tmp_path):
    path = tmp_path / "x.mp3"
    for rate in (8000, 22050, 48000):
        soundfile.write(path, synthetic.clip(1, samples)[0], rate)
        whole, data = frames(path), path.read_bytes()
        assert whole >= samples
        assert frames(path, data + ID3V1) == whole
        assert frames(path, without_count(data)) == frames(path, without_count(data) + ID3V1)


def test_a_file_that_vanishes_is_a_typed_error(tmp_path):
    path = write_clip(tmp_path / "x.wav", 1, 1)
    with decoding.Decoder(path) as decoder:
        os.unlink(path)
        with pytest.raises(AudioError, match="cannot be opened"):
            list(decoder)
