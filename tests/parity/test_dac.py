"""DAC against descript-audio-codec, descript-audiotools and the code of fadtk."""

import sys
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import scipy.signal
import soundfile

torch = pytest.importorskip("torch")

from exporters import dac, parity
from exporters.mocks import stand_ins
from fad_onnx.audio.loudness import loudness, normalised
from fad_onnx.networks import synthetic
from fad_onnx.networks.group import grouped
from fad_onnx.networks.runtime import Settings
from fad_onnx.networks.selection import select
from fad_onnx.networks.spec import ModelSpec
from fad_onnx.tools.known_answers import spread_error
from fad_onnx.weights import prepare

pytestmark = pytest.mark.parity
slow = pytest.mark.slow
RATE = 44_100
ONE = select("dac-44k")
STEP, TILES = dac.HOP_SAMPLES, ONE.network.tiles


def alone(package, path, name):
    """One file of a package that cannot be imported as a whole here."""
    found = find_spec(package)
    assert found is not None and found.origin is not None
    spec = spec_from_file_location(name, Path(found.origin).parent / path)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def tensors():
    return parity.checkpoint(ONE, 0)


@pytest.fixture(scope="module")
def ours(tensors, tmp_path_factory):
    return parity.embedder(ONE, tensors, tmp_path_factory.mktemp("dac"))


@pytest.fixture(scope="module")
def theirs(tensors):
    return parity.original(ONE, tensors)


@pytest.mark.parametrize("samples", [512, 513, 1_023, 1_024, 1_025, 5_119, 5_120, 44_100])
def test_embeddings_are_the_packages(samples, ours, theirs):
    clip = synthetic.clip(samples, samples)
    got, expected = ours.embed(clip.T, RATE), theirs(clip)
    assert len(got) == samples // STEP
    assert spread_error(got, expected) < 2e-5


@slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_embeddings_of_other_checkpoints(seed, tmp_path):
    tensors = parity.checkpoint(ONE, seed)
    ours, theirs = parity.embedder(ONE, tensors, tmp_path), parity.original(ONE, tensors)
    compared = parity.compare(ours, theirs, (512, 4_001, 30_011, 100_003), seed)
    assert parity.pooled(compared).spread_error < 2e-5


@slow
@pytest.mark.parametrize("extra", [-1, 0, 1, 511, 512])
def test_a_long_clip_in_tiles(extra, ours, theirs):
    samples = 2 * TILES.steps * STEP + extra
    clip = synthetic.clip(4, samples)
    assert (len(ours.windower("error").push(clip, last=True)) > 1) == (extra > 0)
    got, expected = ours.embed(clip.T, RATE), theirs(clip)
    assert len(got) == samples // STEP
    assert spread_error(got, expected) < 2e-5


def test_a_batch_gives_what_its_clips_give_alone(ours):
    clips = [synthetic.clip(i, 9_001) * np.float32(0.25**i) for i in range(3)]
    windows = [ours.windower("error").push(clip, last=True)[0] for clip in clips]
    alone = [ours.run([window])[0] for window in windows]
    for batch in (2, 3):
        for got, expected in zip(ours.run(windows[:batch]), alone[:batch], strict=True):
            np.testing.assert_array_equal(got, expected)


@pytest.fixture
def meter(monkeypatch):
    """core/loudness.py of descript-audiotools, with scipy's filter in float32 for torchaudio's."""

    def lfilter(data, a, b, clamp):
        assert not clamp
        made = scipy.signal.lfilter(b.numpy(), a.numpy(), data.numpy())
        assert made.dtype == np.float32
        return torch.from_numpy(made)

    torchaudio = ModuleType("torchaudio")
    torchaudio.functional = SimpleNamespace(lfilter=lfilter)
    monkeypatch.setitem(sys.modules, "torchaudio", torchaudio)
    return alone("audiotools", "core/loudness.py", "audiotools_loudness")


def a_signal(loudness_module):
    """What fadtk uses of AudioSignal, around the package's own measurement."""

    class Signal(loudness_module.LoudnessMixin):
        device = "cpu"

        def __init__(self, audio_data, sample_rate):
            if isinstance(audio_data, Path):
                audio_data = soundfile.read(audio_data, dtype="float32", always_2d=True)[0].T
            data = torch.as_tensor(audio_data)
            self.audio_data, self.sample_rate = data.reshape(1, -1, data.shape[-1]), sample_rate

        signal_length = property(lambda self: self.audio_data.shape[-1])
        signal_duration = property(lambda self: self.signal_length / self.sample_rate)
        batch_size = property(lambda self: self.audio_data.shape[0])

        def to(self, device):
            return self

        def zero_pad(self, before, after):
            self.audio_data = torch.nn.functional.pad(self.audio_data, (before, after))

        def zero_pad_to(self, length):
            self.zero_pad(0, max(length - self.signal_length, 0))

        def truncate_samples(self, length):
            self.audio_data = self.audio_data[..., :length]

        def normalize(self, db):  # core/effects.py:200
            gain = torch.exp((torch.tensor([float(db)]) - self.loudness()) * (np.log(10) / 20))
            self.audio_data = self.audio_data * gain[:, None, None]

        def ensure_max_of_audio(self):  # core/effects.py:181
            peak = self.audio_data.abs().max(dim=-1, keepdims=True)[0]
            self.audio_data = self.audio_data * torch.where(peak > 1, 1 / peak, 1.0)

        def collect_windows(self, window, hop):  # core/dsp.py:70
            size, step = int(window * self.sample_rate), int(hop * self.sample_rate)
            self.zero_pad(step, step)
            self.audio_data = self.audio_data[0].unfold(-1, size, step).transpose(0, 1)
            return self

    return Signal


@pytest.mark.parametrize("samples", [100, 5_000, 17_640, 17_641, 22_049, 22_051, 98_765, 600_000])
def test_loudness_is_that_of_audiotools(samples, meter):
    clip = synthetic.clip(samples, samples)
    clip[:, : samples // 3] *= np.float32(0.02)
    theirs = a_signal(meter)(clip, RATE)
    assert loudness(clip.T, RATE) == pytest.approx(float(theirs.loudness()), abs=2e-5)
    theirs.normalize(-16)
    theirs.ensure_max_of_audio()
    got = normalised(clip.T, RATE, -16.0)
    np.testing.assert_allclose(got.T, theirs.audio_data[0].numpy(), rtol=1e-5, atol=1e-7)


@pytest.fixture(scope="module")
def published(tensors, tmp_path_factory):
    """The tensors as the published file has them, and with the names that newer versions write."""
    folder = tmp_path_factory.mktemp("published")
    old = {key: torch.from_numpy(array) for key, array in tensors.items()}
    torch.save({"state_dict": old, "metadata": {"kwargs": {}}}, folder / "old.pth")
    parts = {"weight_g": "original0", "weight_v": "original1"}
    new = {}
    for key, tensor in old.items():
        stem, _, last = key.rpartition(".")
        new[f"{stem}.parametrizations.weight.{parts[last]}" if last in parts else key] = tensor
    torch.save(new, folder / "new.pth")
    return folder


def from_file(file, protocol):
    spec = ModelSpec("dac-44k", protocol=protocol, weights={"main": str(file)})
    return prepare.load(prepare.Request(spec, settings=Settings("cpu")))


def test_both_names_of_weight_norm_are_the_same_model(published, tmp_path, monkeypatch):
    monkeypatch.setenv("FAD_ONNX_HOME", str(tmp_path))
    found = {from_file(published / name, None).tensors_sha256 for name in ("old.pth", "new.pth")}
    assert len(found) == 1


def harness(package, signal, tensors, monkeypatch):
    """The class of a harness, from its own file, with our tensors for its download."""
    with stand_ins("hypy_utils"):
        loader = alone(package, "model_loader.py", f"{package}_model_loader")
    audiotools = ModuleType("audiotools")
    audiotools.AudioSignal = signal
    monkeypatch.setitem(sys.modules, "audiotools", audiotools)
    model = loader.DACModel()
    model.model = SimpleNamespace(encoder=dac.original_network(tensors))
    return model


@pytest.mark.parametrize(
    "samples", [3_000, pytest.param(220_500, marks=slow), pytest.param(220_501, marks=slow)]
)
def test_fadtk_and_kadtk(samples, meter, tensors, published, tmp_path, monkeypatch):
    monkeypatch.setenv("FAD_ONNX_HOME", str(tmp_path / "cache"))
    clip = synthetic.clip(samples, samples)[0] * np.float32(0.2)
    soundfile.write(tmp_path / "clip.wav", clip, RATE, subtype="PCM_16")
    signal = a_signal(meter)
    model = harness("fadtk", signal, tensors, monkeypatch)
    with torch.inference_mode():
        every = model._get_embedding(signal(tmp_path / "clip.wav", RATE))
    assert len(every) == 430 * (1 + 2 * -(-samples // 220_500))
    # kadtk 1.1.0, model_loader.py, postprocess_resoultion: its windows are these.
    stride = int(len(every) / (220_500 / RATE))
    fifths = every.unfold(0, stride, stride).mean(-1)
    (group,) = grouped([from_file(published / "old.pth", name) for name in ("fadtk", "kadtk")])
    read = soundfile.read(tmp_path / "clip.wav", dtype="float32", always_2d=True)[0]
    heard = group.first.preparation.resample(RATE, 1).push(read, last=True)
    windows = group.first.windower("error").push(heard, last=True)
    parts = [part for window in windows for part in group.run([window])]
    found = group.join(parts, [220_500] * len(windows), samples / RATE, False)
    for got, expected in zip(found, (every, fifths), strict=True):
        # get_embedding rounds to float16: a number on the edge may fall to either side. Steps of
        # numbers near 0 are finer than the rounding of float32 in the network.
        rounded = expected.numpy().astype(np.float16)
        assert got.shape == rounded.shape
        off = np.abs(got - rounded.astype(np.float32))
        step = np.spacing(np.abs(rounded)).astype(np.float32)
        assert (off <= step + 5e-5 * float(expected.std())).all() and (off == 0).mean() > 0.95
