"""What is decoded is what the file holds: against one reading, and against other decoders.

The default tier takes a sample; `pytest -m slow` the whole grid.
"""

import json
import subprocess

import numpy as np
import pytest
import soundfile

import fad_onnx
from fad_onnx.api.dry_run import estimate
from fad_onnx.audio import decoding, misread, sources
from fad_onnx.errors import AudioError
from fad_onnx.networks import synthetic
from fad_onnx.networks.group import grouped
from fad_onnx.pipeline import clip_windows

BLOCKS = (1, 7, 1000, 4096, decoding.BLOCK_SAMPLES)


def run(*command):
    done = subprocess.run([str(part) for part in command], check=True, capture_output=True)
    return done.stdout


def decoded(path, block=decoding.BLOCK_SAMPLES, sample_format="float32"):
    """All frames of a file, read in blocks of so many samples."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoding, "BLOCK_SAMPLES", block)
        with decoding.Decoder(path, sample_format) as decoder:
            return np.concatenate(list(decoder))


def by_ffmpeg(path):
    probed = run("ffprobe", "-v", "error", "-show_streams", "-of", "json", path)
    channels = json.loads(probed)["streams"][0]["channels"]
    raw = run("ffmpeg", "-v", "error", "-i", path, "-f", "f32le", "-")
    return np.frombuffer(raw, "<f4").reshape(-1, channels)


def by_way_of_wav(path, *command):
    """What a program makes of a file; the command ends in the name of a WAV to write."""
    made = path.with_name("decoded.wav")
    run(*command, made)
    return soundfile.read(made, dtype="float32", always_2d=True)[0]


def by_opusdec(path):
    return by_way_of_wav(path, "opusdec", "--quiet", "--float", "--rate", "48000", path)


def by_flac(path):
    return by_way_of_wav(path, "flac", "-s", "-d", "-f", path, "-o")


def by_lame(path):
    return by_way_of_wav(path, "lame", "--quiet", "--decode", path)


def check_blocks(path, blocks=BLOCKS):
    """Any blocks give the bits of one reading, which are returned."""
    whole = soundfile.read(path, dtype="float32", always_2d=True)[0]
    for block in blocks:
        np.testing.assert_array_equal(decoded(path, block), whole, f"{path} by {block}")
    return whole


def check_same(ours, theirs, tolerance):
    """Another decoder gives these frames; some put channels into another order."""
    assert len(ours) == len(theirs)
    if ours.shape[1] > 2:
        ours, theirs = ours.mean(axis=1), theirs.mean(axis=1)
    np.testing.assert_allclose(ours, theirs, atol=tolerance, rtol=0)


def wav(path, rate, seconds, channels=1, seed=1):
    """A clip for an encoder of another program."""
    clip = synthetic.clip(seed, round(rate * seconds), channels)
    soundfile.write(path, clip.T, rate)
    return path


def kinds(container):
    """The subtypes of a container that libsndfile writes and that Decoder reads."""
    for subtype in soundfile.available_subtypes(container):
        refused = container in misread.CONTAINERS or (container, subtype) in misread.SUBTYPES
        unread = refused or subtype.startswith("DWVW")
        if soundfile.check_format(container, subtype) and not unread:
            yield subtype


def rate_of(subtype):
    if subtype == "OPUS":
        return 48000
    return 16000 if subtype.startswith(("MPEG", "G72", "NMS", "GSM")) else 44100


CONTAINERS = sorted(set(soundfile.available_formats()) - {"RAW"})


def check_container(container, channels, frames, tmp_path):
    if container == "SD2" and frames * channels < 12:
        return  # without a header, libsndfile takes no less for a file
    for subtype in kinds(container):
        path = tmp_path / f"{subtype}.x"
        clip = synthetic.clip(1, frames, channels).T
        try:
            soundfile.write(path, clip, rate_of(subtype), subtype, format=container)
        except soundfile.LibsndfileError:
            continue  # not with so many channels
        check_blocks(path, (1, 7 * channels, frames // 2 * channels, decoding.BLOCK_SAMPLES))


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("channels", [1, 2])
def test_blocks_of_any_size_give_the_bits_of_one_reading(container, channels, tmp_path):
    check_container(container, channels, 307, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("channels", [1, 2, 3, 6, 8])
@pytest.mark.parametrize("frames", [1, 2, 5003, 44_101])
def test_blocks_of_any_size_in_every_container(container, channels, frames, tmp_path):
    check_container(container, channels, frames, tmp_path)


LENGTHS = [blocks * 4096 + step for blocks in (1, 3) for step in (-1, 0, 1)]


@pytest.mark.parametrize(
    ("container", "subtype"),
    [
        ("WAV", "PCM_16"), ("WAV", "FLOAT"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"),
        ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III"), ("AIFF", "PCM_24"), ("CAF", "ALAC_16"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("frames", LENGTHS)
def test_lengths_either_side_of_a_block(container, subtype, frames, tmp_path):
    path = tmp_path / "clip.x"
    rate = 48000 if subtype == "OPUS" else 44100
    soundfile.write(path, synthetic.clip(2, frames)[0], rate, subtype, format=container)
    whole = check_blocks(path, (4096, 4095, 4097, decoding.BLOCK_SAMPLES))
    assert len(whole) == frames


MP3 = {
    "variable": ["-V", "9"], "good": ["-V", "2"], "constant": ["-b", "64"],
    "average": ["--abr", "56"], "not counted": ["-t", "-b", "64"],
}  # fmt: skip


def check_mp3(tmp_path, how, rate, channels, seconds):
    source, path = wav(tmp_path / "source.wav", rate, seconds, channels), tmp_path / "clip.mp3"
    run("lame", "--quiet", *MP3[how], "--resample", rate / 1000, source, path)
    ours = check_blocks(path, (1152 * channels, 5000, 20_000))
    if how != "not counted":
        assert len(ours) == round(rate * seconds)
    if rate != 24000:
        check_same(ours, by_ffmpeg(path), 1e-5)
    elif how != "not counted":  # ffmpeg up to 5.1 decodes this rate wrongly; lame writes 16 bits
        check_same(ours, by_lame(path), 2**-15 + 1e-5)


@pytest.mark.decoders("lame", "ffmpeg")
@pytest.mark.parametrize("how", MP3)
@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (22050, 2), (24000, 1), (44100, 2)])
def test_mp3_is_what_other_decoders_make_of_it(how, rate, channels, tmp_path):
    check_mp3(tmp_path, how, rate, channels, 1.3)


@pytest.mark.decoders("lame")
@pytest.mark.parametrize("how", [["-t", "-V", "9"], ["-t", "-b", "128"], ["-V", "0"]])
def test_the_length_of_an_mp3_is_no_guess(how, tmp_path):
    source, path = tmp_path / "source.wav", tmp_path / "clip.mp3"
    clip = synthetic.clip(1, 6 * 44100)[0]
    clip[: 3 * 44100] *= 0.001  # the bit rate of the first frames is not that of all
    soundfile.write(source, clip, 44100)
    run("lame", "--quiet", *how, source, path)
    with decoding.Decoder(path) as decoder:
        length, rate = decoder.length(), decoder.sample_rate_hz
    assert length / rate == pytest.approx(6, abs=0.1)
    assert estimate([path], "logmel")["seconds"] == pytest.approx(length / rate, abs=1e-3)


@pytest.mark.slow
@pytest.mark.decoders("lame", "ffmpeg")
@pytest.mark.parametrize("how", MP3)
@pytest.mark.parametrize("rate", [8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("seconds", [0.05, 4.3, 25.01])
def test_every_mp3_is_what_other_decoders_make_of_it(how, rate, channels, seconds, tmp_path):
    check_mp3(tmp_path, how, rate, channels, seconds)


@pytest.mark.decoders("opusenc", "opusdec", "ffmpeg")
@pytest.mark.parametrize(("channels", "bitrate"), [(1, 24), (2, 128), (6, 256)])
def test_opus_is_what_opusdec_makes_of_it_also_copied_out_of_webm(channels, bitrate, tmp_path):
    source = wav(tmp_path / "source.wav", 48000, 1.2, channels)
    path, webm, copied = (tmp_path / name for name in ("clip.opus", "clip.webm", "copied.opus"))
    run("opusenc", "--quiet", "--bitrate", bitrate, source, path)
    run("ffmpeg", "-v", "error", "-i", path, "-c", "copy", webm)
    run("ffmpeg", "-v", "error", "-i", webm, "-c", "copy", copied)
    for one in (path, copied):
        ours = check_blocks(one, (700, 48000 * channels, decoding.BLOCK_SAMPLES))
        check_same(ours, by_opusdec(one), 1e-6)


@pytest.mark.decoders("ffmpeg")
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_vorbis_is_what_ffmpeg_makes_of_it_also_copied_out_of_webm(channels, tmp_path):
    source, path = wav(tmp_path / "source.wav", 44100, 3.3, channels), tmp_path / "clip.ogg"
    run("ffmpeg", "-v", "error", "-i", source, "-c:a", "libvorbis", path)
    webm, copied, cut = (tmp_path / name for name in ("clip.webm", "copied.ogg", "cut.ogg"))
    run("ffmpeg", "-v", "error", "-i", path, "-c", "copy", webm)
    run("ffmpeg", "-v", "error", "-i", webm, "-c", "copy", copied)
    run("ffmpeg", "-v", "error", "-ss", 0.3, "-i", webm, "-c", "copy", cut)
    for one in (path, copied, cut):
        ours, theirs = check_blocks(one, (700, 44100)), by_ffmpeg(one)
        # ffmpeg keeps what overlaps before the first frame, and the padding behind the last.
        first = len(theirs) - len(ours) if one == cut else 0
        assert 0 <= first <= 2048
        check_same(ours, theirs[first : first + len(ours)], 1e-6)


STREAMED = {
    "pipe": "ffmpeg -v error -i {source} -f flac -",
    "24 bits": "ffmpeg -v error -i {source} -c:a flac -sample_fmt s32 -f flac -",
}


@pytest.mark.decoders("ffmpeg", "flac")
@pytest.mark.parametrize("how", STREAMED)
@pytest.mark.parametrize("channels", [1, 2])
def test_a_flac_that_does_not_know_its_length_is_read(how, channels, tmp_path):
    source, path = wav(tmp_path / "source.wav", 44100, 1.1, channels), tmp_path / "clip.flac"
    path.write_bytes(run(*STREAMED[how].format(source=source).split()))
    with decoding.Decoder(path) as decoder:
        assert decoder.frames_promised is None and decoder.length() == round(1.1 * 44100)
    for block in (700, 4096, decoding.BLOCK_SAMPLES):
        np.testing.assert_array_equal(decoded(path, block), by_ffmpeg(path))
    np.testing.assert_array_equal(decoded(path), by_flac(path))


@pytest.mark.decoders("ffmpeg")
def test_segments_of_flac_are_read(tmp_path):
    source = wav(tmp_path / "source.wav", 44100, 2.5, 2)
    run("ffmpeg", "-v", "error", "-i", source, "-f", "segment", "-segment_time", 1,
        tmp_path / "%d.flac")  # fmt: skip
    parts = sorted(tmp_path.glob("?.flac"))
    assert len(parts) == 3
    # The last counts the frames of all.
    whole = np.concatenate([decoded(part, 4096) for part in parts])
    np.testing.assert_array_equal(whole, decoded(source))


@pytest.mark.decoders("flac")
@pytest.mark.parametrize("damage", [b"\0" * 8, b"\xff" * 8, b"\0\0\0\1\2\3\4\5"])
def test_a_flac_with_a_wrong_seek_table_is_read(damage, tmp_path):
    source, path = wav(tmp_path / "source.wav", 44100, 3, 2), tmp_path / "source.flac"
    run("flac", "-s", "-S", "0.5s", source)
    data = bytearray(path.read_bytes())
    assert data[42] & 0x7F == 3  # behind STREAMINFO comes the table, by points of 18 bytes
    for point in range(46, 46 + int.from_bytes(data[43:46], "big"), 18):
        data[point + 8 : point + 16] = damage
    path.write_bytes(data)
    for block in (700, 4096, decoding.BLOCK_SAMPLES):
        np.testing.assert_array_equal(decoded(path, block), decoded(source))


def test_what_a_header_does_not_say_is_no_reason_to_refuse(tmp_path):
    path = tmp_path / "clip.flac"
    soundfile.write(path, synthetic.clip(1, 50_000)[0], 16000)
    whole = decoded(path)
    data = bytearray(path.read_bytes())
    data[21] &= 0xF0  # STREAMINFO: the 36 bits of the count of samples
    data[22:26] = bytes(4)
    path.write_bytes(data)
    with decoding.Decoder(path) as decoder:
        assert decoder.frames_promised is None and decoder.length() == 50_000
    np.testing.assert_array_equal(decoded(path, 1000), whole)
    for model in ("logmel", "encodec-48k"):
        assert estimate([path], model)["seconds"] == 50_000 / 16000
    path.write_bytes(data[:-2000])
    with pytest.raises(AudioError):
        decoded(path)


REFUSED = [*((container, "PCM_16") for container in misread.CONTAINERS), *misread.SUBTYPES]


@pytest.mark.parametrize(("container", "subtype"), sorted(REFUSED))
def test_what_libsndfile_reads_wrongly_is_refused(container, subtype, tmp_path):
    path = tmp_path / "clip.x"
    soundfile.write(path, synthetic.clip(1, 1003)[0], 16000, subtype, format=container)
    with pytest.raises(AudioError, match=f"{container} {subtype} would be read wrongly: convert"):
        decoded(path)


@pytest.mark.decoders("ffmpeg")
def test_of_a_w64_of_floats_that_libsndfile_takes_for_integers_none_are_read(tmp_path):
    source = wav(tmp_path / "source.wav", 16000, 0.5, 6)
    floats, integers = tmp_path / "floats.w64", tmp_path / "integers.w64"
    run("ffmpeg", "-v", "error", "-i", source, "-c:a", "pcm_f32le", floats)
    run("ffmpeg", "-v", "error", "-i", source, integers)
    wrong = soundfile.read(floats, dtype="float32")[0]
    assert np.abs(wrong - by_ffmpeg(floats)).max() > 0.1
    with pytest.raises(AudioError, match="would be read wrongly: convert it to wav"):
        decoded(floats)
    np.testing.assert_array_equal(decoded(integers, 700), by_ffmpeg(integers))


# What ffmpeg writes: suffix, options, and how far two right decoders may be apart.
MADE = {
    **{codec: (".wav", f"-c:a {codec}", 0) for codec in (
        "pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_f64le", "pcm_alaw",
        "pcm_mulaw", "adpcm_ms",
    )},
    # The rounding of its steps is not fixed, and adds up.
    "adpcm_ima": (".wav", "-c:a adpcm_ima_wav", 0.005),
    "mp3 in wav": (".wav", "-c:a libmp3lame -b:a 96k", 1e-5),
    "mp3": (".mp3", "-q:a 4", 1e-5), "mp3, tag at the end": (".mp3", "-write_id3v1 1", 1e-5),
    "mp2": (".mp2", "", 2**-14),  # which ffmpeg decodes to 16 bits
    "rf64": (".wav", "-rf64 always", 0), "w64": (".w64", "", 0),
    "caf": (".caf", "-c:a pcm_s24le", 0), "caf, a law": (".caf", "-c:a pcm_alaw", 0),
    "aiff": (".aiff", "-c:a pcm_s24be", 0), "aifc": (".aifc", "-f aiff -c:a pcm_f32be", 0),
    "aifc, sowt": (".aifc", "-f aiff -c:a pcm_s16le", 0), "au": (".au", "-c:a pcm_f64be", 0),
    "flac": (".flac", "-sample_fmt s16", 0), "flac, 24 bits": (".flac", "-sample_fmt s32", 0),
}  # fmt: skip


def check_made(kind, rate, channels, frames, tmp_path):
    suffix, options, tolerance = MADE[kind]
    source, path = tmp_path / "source.wav", tmp_path / f"clip{suffix}"
    clip = synthetic.clip(4, frames, channels).T
    soundfile.write(source, clip, rate, "PCM_24")
    run("ffmpeg", "-v", "error", "-i", source, *options.split(), path)
    for block in (1000 * channels, decoding.BLOCK_SAMPLES):
        check_same(decoded(path, block), by_ffmpeg(path), tolerance)


QUICK = ("pcm_s24le", "mp3", "flac")
KINDS = [pytest.param(kind, marks=[] if kind in QUICK else [pytest.mark.large]) for kind in MADE]


@pytest.mark.decoders("ffmpeg")
@pytest.mark.parametrize("kind", KINDS)
def test_what_ffmpeg_writes_is_what_ffmpeg_reads(kind, tmp_path):
    check_made(kind, 44100, 2, 5003, tmp_path)


@pytest.mark.slow
@pytest.mark.decoders("ffmpeg")
@pytest.mark.parametrize("kind", MADE)
@pytest.mark.parametrize("rate", [16000, 32000, 44100, 48000])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("frames", [1, 2, 999, 1000, 1001, 100_003, 600_000])
def test_all_that_ffmpeg_writes_is_what_ffmpeg_reads(kind, rate, channels, frames, tmp_path):
    check_made(kind, rate, channels, frames, tmp_path)


SHORT = {
    "mp3": "lame --quiet {source} {path}", "opus": "opusenc --quiet {source} {path}",
    "flac": "flac -s -o {path} {source}",
}  # fmt: skip


@pytest.mark.decoders("lame", "opusenc", "opusdec", "flac", "ffmpeg")
@pytest.mark.parametrize("suffix", SHORT)
@pytest.mark.parametrize("frames", [1, 2, 1151, 1153])
def test_a_few_frames_are_read_as_other_decoders_read_them(suffix, frames, tmp_path):
    source, path = tmp_path / "source.wav", tmp_path / f"clip.{suffix}"
    soundfile.write(source, synthetic.clip(5, frames)[0], 48000)
    run(*SHORT[suffix].format(source=source, path=path).split())
    ours = decoded(path, 1)
    assert len(ours) == frames
    np.testing.assert_array_equal(decoded(path), ours)
    check_same(ours, by_opusdec(path) if suffix == "opus" else by_ffmpeg(path), 1e-5)


def test_a_file_that_grows_while_it_is_read_is_refused(tmp_path):
    path = tmp_path / "clip.wav"
    soundfile.write(path, synthetic.clip(1, 40_000)[0], 16000)
    embedder = fad_onnx.load_model("logmel")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoding, "BLOCK_SAMPLES", 1000)
        pieces = clip_windows.load(
            sources.AudioFile(str(path), "x"), grouped([embedder]), clip_windows.Policy(), None
        )
        next(pieces)
        with open(path, "ab") as file:
            file.write(bytes(4000))
        with pytest.raises(AudioError, match="changed while it was read|only a part"):
            list(pieces)
