"""OpenL3 against openl3 0.4.2 in TensorFlow, Keras's own layers, and files that h5py writes."""

import gzip

import h5py
import numpy as np
import pytest
import soxr

torch = pytest.importorskip("torch")

from exporters import openl3, parity
from exporters.harnesses.stable_audio_metrics import resampy_0_2
from fad_onnx.errors import CheckpointError
from fad_onnx.networks import synthetic
from fad_onnx.networks.selection import select
from fad_onnx.networks.spec import ModelSpec
from fad_onnx.tools.known_answers import spread_error
from fad_onnx.weights import checkpoints, prepare
from tests.parity.openl3_tensorflow import ANSWERS, CASES, clip, place

pytestmark = pytest.mark.parity
MODEL = "openl3-music"
LIMIT = 1e-5


def loaded(label, seed, folder):
    folder.mkdir()
    one = select(label)
    return parity.embedder(one, parity.checkpoint(one, seed), folder)


def test_embeddings_are_those_of_openl3_in_tensorflow(tmp_path):
    got, expected = [], []
    for index, (seed, _, hop) in enumerate(CASES):
        ours = loaded(f"{MODEL}:hop={hop}", seed, tmp_path / str(index))
        got.append(ours.embed(clip(index).T, 48_000))
        expected.append(np.load(ANSWERS)[str(index)])
        assert got[-1].shape == expected[-1].shape
    assert spread_error(np.concatenate(got), np.concatenate(expected)) < LIMIT
    assert spread_error(got[-1], expected[-1]) < 1e-4  # the tone's two embeddings are alike


def test_the_oracle_answers_as_openl3_in_tensorflow():
    answers = [(case, np.load(ANSWERS)[str(i)]) for i, case in enumerate(CASES)]
    for index, ((seed, _, hop), expected) in enumerate(answers[:3]):
        assert hop == 0.5
        theirs = parity.original(select(MODEL), parity.checkpoint(select(MODEL), seed))
        got = theirs(clip(index))
        np.testing.assert_allclose(got, expected, atol=LIMIT * np.abs(expected).max())


def compared(seed, lengths, folder):
    one = select(MODEL)
    tensors = parity.checkpoint(one, seed)
    ours, theirs = loaded(MODEL, seed, folder), parity.original(one, tensors)
    return parity.pooled(parity.compare(ours, theirs, lengths, seed))


def test_embeddings_are_those_of_keras(tmp_path):
    assert compared(0, (2, 24_000, 24_001, 60_011), tmp_path / "a").spread_error < LIMIT


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_many_lengths(seed, tmp_path):
    lengths = (*openl3.CLIP_SAMPLES[MODEL], 481, 47_999, 72_001, 250_007)
    assert compared(seed, lengths, tmp_path / "a").spread_error < LIMIT


def test_quiet_loud_and_silent_windows(tmp_path):
    """The decibels are relative to the loudest of a window, and end at -80."""
    ours = loaded(MODEL, 1, tmp_path / "a")
    theirs = parity.original(select(MODEL), parity.checkpoint(select(MODEL), 1))
    heard = np.concatenate([np.zeros((1, 60_000), np.float32), synthetic.clip(3, 40_000)], axis=1)
    for gain in (1e-4, 1.0, 7.0):
        sound = heard * np.float32(gain)
        assert spread_error(ours.embed(sound.T, 48_000), theirs(sound)) < LIMIT


def test_embeddings_do_not_depend_on_the_batch(tmp_path):
    ours = loaded(MODEL, 0, tmp_path / "a")
    batch = np.random.RandomState(0).random_sample((7, openl3.FRAMES, openl3.BINS)) ** 4
    batch = batch.astype(np.float32) * np.logspace(-3, 2, 7, dtype=np.float32)[:, None, None]
    run = ours.session.run
    alone = np.concatenate([run((one[None],), ("embedding",))[0] for one in batch])
    for size in (2, 3, 7):
        np.testing.assert_array_equal(run((batch[:size],), ("embedding",))[0], alone[:size])


@pytest.mark.parametrize(("rate", "channels"), [(32_000, 2), (44_100, 1), (48_000, 2)])
def test_stable_audio_metrics_resamples_twice(rate, channels):
    """src/openl3_fd.py 117 to 139, and openl3's core.py 71, with resampy 0.2.2's filter."""
    clip = synthetic.clip(3, 2 * rate + 17, channels).T
    levelled = clip * (10 ** (-1 / 20) / np.abs(clip).max())  # pyloudnorm's normalize.peak
    middle = soxr.resample(levelled.astype(np.float32), rate, 44_100)
    expected = [resampy_0_2(one, 44_100, 48_000) for one in middle.T]
    preparation = select(f"{MODEL}:protocol=stable-audio-metrics").preparation
    got = preparation.resample(rate, channels).push(clip, last=True)
    np.testing.assert_allclose(got, expected if channels == 2 else expected * 2, atol=2e-6)


def keras_file(path, tensors, counter=1, text=list, **dataset):
    """Weights as tf_keras 2.21 saves them: hdf5_format.py, save_weights_to_hdf5_group.

    text: what makes an attribute of names. Of a list, h5py 3 makes variable-length text, and h5py 2
    made fixed-length text, as of `np.bytes_`.
    """
    order = sorted(tensors, key=place)
    positions = sorted({int(name.partition(".")[0]) for name in order})
    names = [
        f"{'conv2d' if i % 2 else 'batch_normalization'}_{i // 2 + counter}" for i in positions
    ]
    with h5py.File(path, "w", libver=dataset.pop("libver", None)) as file:
        layers = ("input_1", *names, "activation_1")
        file.attrs["layer_names"] = text([name.encode() for name in layers])
        file.attrs["backend"], file.attrs["keras_version"] = b"tensorflow", "2.21.0"
        for name in ("input_1", "activation_1"):
            file.create_group(name).attrs["weight_names"] = []
        for position, name in enumerate(names):
            group = file.create_group(name)
            own = [key for key in order if key.startswith(f"{position}.")]
            weights = [f"{name}/{key.partition('.')[2]}:0" for key in own]
            group.attrs["weight_names"] = text([weight.encode() for weight in weights])
            for key, weight in zip(own, weights, strict=True):
                array = tensors[key]
                group.create_dataset(weight, array.shape, array.dtype, **dataset)[()] = array
    return path


@pytest.mark.parametrize("text", [list, np.bytes_])
def test_a_file_of_h5py_gives_the_same_model(text, tmp_path):
    tensors = parity.checkpoint(select(MODEL), 0)
    path = keras_file(tmp_path / "weights.h5", tensors, 11, text)
    if text is list:
        path = tmp_path / "weights.h5.gz"
        path.write_bytes(gzip.compress((tmp_path / "weights.h5").read_bytes(), 1))
    spec = ModelSpec(MODEL, weights={"main": str(path)})
    ours = prepare.load(prepare.Request(spec))
    clip = synthetic.clip(2, 33_333).T
    expected = loaded(MODEL, 0, tmp_path / "a").embed(clip, 48_000)
    np.testing.assert_array_equal(ours.embed(clip, 48_000), expected)


SMALL = {"0.gamma": np.arange(4, dtype="f4"), "0.beta": np.ones(4, "f4"),
         "1.kernel": np.random.RandomState(0).randn(3, 3, 2, 5).astype("f4")}  # fmt: skip


def test_a_file_whose_layer_was_removed_and_names_written_again(tmp_path):
    """As the authors' tests/migration/remove_layers.py does it."""
    path = keras_file(tmp_path / "w.h5", SMALL, text=np.bytes_)
    with h5py.File(path, "a") as file:
        kept = [name for name in file.attrs["layer_names"] if b"batch" not in name]
        file.attrs["layer_names"] = kept
        del file["batch_normalization_1"]
    (kernel,) = checkpoints.open(path).tensors().values()
    np.testing.assert_array_equal(kernel.read(), SMALL["1.kernel"])


def test_many_layers(tmp_path):
    """Groups of several levels, and names beyond one block of a header."""
    many = {f"{i}.kernel": np.full((2, i % 3), i, "f4") for i in range(700)}
    found = checkpoints.open(keras_file(tmp_path / "w.h5", many)).tensors()
    assert len(found) == 700
    for i in range(700):
        np.testing.assert_array_equal(found[f"{i}.0"].read(), many[f"{i}.kernel"])


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"libver": "latest"}, "superblock of version"),
        ({"chunks": True}, "chunked"),
        ({"compression": "gzip"}, "compressed or filtered"),
        ({"dtype": ">f4"}, "not little-endian"),
        ({"dtype": "i4"}, "integers, not floats"),
        ({"external": [("beside.bin", 0, h5py.h5f.UNLIMITED)]}, "data in other files"),
    ],
)
def test_what_else_h5py_can_write_is_named(options, problem, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dtype = options.pop("dtype", "f4")
    tensors = {name: array.astype(dtype) for name, array in SMALL.items()}
    path = keras_file(tmp_path / "w.h5", tensors, **options)
    with pytest.raises(CheckpointError, match=problem):
        checkpoints.open(path)
