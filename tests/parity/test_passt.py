"""PaSST's graphs against hear21passt's own network, front end and windows."""

import itertools
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
import soundfile
import torch

from exporters import parity, passt
from exporters.harnesses import fadtk
from exporters.verify import _with_output
from fad_onnx.errors import TooShortError
from fad_onnx.networks import synthetic
from fad_onnx.networks.selection import select
from fad_onnx.networks.spec import ModelSpec
from fad_onnx.networks.windows import Windower
from fad_onnx.weights import prepare
from fad_onnx.weights.binding import external

pytestmark = pytest.mark.parity

MODELS = tuple(passt.MODELS)
LIMIT = 1e-4
SHORT = (4801, 4802, 7999, 8000, 8001, 14_401, 43_853, 92_813)


@lru_cache(maxsize=1)  # Each is 0.3 GB.
def checkpoint(name: str, seed: int):
    return parity.checkpoint(select(name), seed)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A function from model and seed to the run time's embedder and the original model."""
    folder, kept = tmp_path_factory.mktemp("graph"), {}

    def build(name: str, seed: int):
        if (name, seed) not in kept:
            kept.clear()
            tensors = checkpoint(name, seed)
            ours = parity.embedder(select(name), tensors, folder)
            kept[name, seed] = ours, passt.original_model(passt.MODELS[name], tensors)
        return kept[name, seed]

    yield build
    kept.clear()
    checkpoint.cache_clear()


def errors(pair, name, seed, lengths):
    """The errors of logits and embeddings of synthetic clips, one run of the original for both."""
    ours, theirs = pair(name, seed)
    clips = [synthetic.clip(seed + n, n) for n in lengths]
    with torch.inference_mode():
        expected = np.concatenate([theirs.get_scene_embeddings(torch.from_numpy(clip)).numpy()
                                   for clip in clips])  # fmt: skip
    found = []
    for output, wanted in zip(("logits", "embedding"), np.split(expected, [527], axis=1),
                              strict=True):  # fmt: skip
        one = replace(ours, selection=select(f"{name}:output={output}"))
        got = np.concatenate([one.embed(clip.T, 32_000) for clip in clips])
        found.append(parity.spread_error(got, wanted))
    return found


def test_short_clips(pair):
    assert max(errors(pair, "passt", 1, SHORT)) < LIMIT


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("name", MODELS)
def test_clips_up_to_a_window(pair, name, seed):
    length = select(name).preparation.windows.length_samples
    lengths = (*SHORT, 319_681, length - 1, length) if seed == 1 else SHORT
    assert max(errors(pair, name, seed, lengths)) < LIMIT


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "lengths"),
    [("passt", (320_001, 400_000, 864_000)), ("passt-20s", (640_001,)), ("passt-30s", (960_001,))],
)
def test_clips_longer_than_a_window(pair, name, lengths):
    assert max(errors(pair, name, 1, lengths)) < LIMIT


class Recorder(torch.nn.Module):
    """In place of the front end: it keeps the windows that it is given."""

    sr = 32_000

    def __init__(self):
        super().__init__()
        self.windows = []

    def forward(self, samples):
        self.windows.append(samples[0].numpy())
        return torch.zeros(1, 1, 1)

    def network(self, bands):
        return torch.zeros(1, 527), torch.zeros(1, 768)


SECONDS = (0.2, 4.9, 9.99, 10.0, 12.5, 19.999, 20.0, 22.5, 27.0, 30.0, 35.5, 61.0)


@pytest.mark.parametrize("seconds", SECONDS)
@pytest.mark.parametrize("name", MODELS)
def test_windows_are_the_originals(name, seconds):
    """Every sample of every window, and a sample more; in blocks as they are decoded."""
    _, _, milliseconds, hop = passt.ARCHITECTURES[passt.MODELS[name]]
    for samples in (round(seconds * 32_000), round(seconds * 32_000) + 1):
        clip, recorder = synthetic.clip(1, samples), Recorder()
        theirs = passt.original_wrapper(recorder, recorder.network, milliseconds, hop)
        theirs.get_scene_embeddings(torch.from_numpy(clip))
        windower = Windower(select(name).preparation, None, "error")
        blocks = [clip[:, i : i + 100_003] for i in range(0, samples, 100_003)]
        ours = [window for block in blocks[:-1] for window in windower.push(block)]
        ours += windower.push(blocks[-1], last=True)
        assert len(ours) == len(recorder.windows)
        for window, wanted in zip(ours, recorder.windows, strict=True):
            np.testing.assert_array_equal(window.samples[0], wanted)


def test_either_side_of_the_shortest_clip(pair):
    ours, theirs = pair("passt", 1)
    assert ours.preparation.minimum_samples == 4801
    with pytest.raises(TooShortError):
        ours.embed(synthetic.clip(1, 4800).T, 32_000)
    with pytest.raises(RuntimeError, match="size"):  # A patch of 16 frames does not fit into 15.
        theirs.get_scene_embeddings(torch.from_numpy(synthetic.clip(1, 4800)))


def test_the_bands_are_the_originals(pair):
    ours, theirs = pair("passt", 1)
    clip = synthetic.clip(3, 60_001)
    clip[:, 20_000:40_000] = 0  # Silence, and what is too quiet for half of the bands.
    clip[:, 40_000:] *= 1e-3
    with torch.inference_mode():
        expected = theirs.mel(torch.from_numpy(clip))[0].T.numpy()
    tensor, _ = passt.FEATURES["passt"]
    cut = replace(parity.up_to(tensor, 128, ours), session=_with_output(ours.session, tensor))
    got = cut.embed(clip.T, 32_000)
    assert expected.shape == (188, 128)
    assert parity.spread_error(got, expected) < 1e-5


def powers(batch: int, frames: int):
    """Spectra over eight decades that differ by clip, by frame and by bin."""
    random = np.random.RandomState(frames + batch)
    level = random.uniform(-4, 2, (batch, 1, 1))
    shape = random.uniform(-2, 2, (batch, frames, 1)) + random.uniform(-2, 2, (batch, 1, 513))
    return (10 ** (level + shape)).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "lengths"),
    [
        ("passt", (16, 17, 25, 26, 35, 36, 45, 46, 66, 105)),
        pytest.param("passt", (995, 996, 1004, 1005), marks=pytest.mark.slow),
        pytest.param("passt-20s", (16, 25, 26, 1006, 2005, 2006, 2015), marks=pytest.mark.slow),
        pytest.param("passt-30s", (16, 25, 26, 3005, 3006, 3015), marks=pytest.mark.slow),
    ],
)
def test_every_number_of_columns_and_batch(pair, name, lengths):
    """The export saw 2 clips of 57 frames; a size it took for a constant fails here."""
    ours, theirs = pair(name, 1)
    banks, _ = passt.mel_banks(128, 1024, 32_000.0, 0.0, 15_000.0)
    got, expected = [], []
    for frames, batch in zip(lengths, itertools.cycle((1, 2, 1, 3, 1, 2, 5))):
        power = powers(batch, frames)
        got.append(ours.session.run((power,), ("logits", "embedding")))
        bands = torch.log(banks @ torch.from_numpy(power[..., :512]).transpose(1, 2) + 1e-5)
        with torch.inference_mode():
            made = theirs.net(((bands + 4.5) / 5.0).unsqueeze(1))
        expected.append([one.numpy() for one in made])
    for ours_, theirs_ in zip(zip(*got, strict=True), zip(*expected, strict=True), strict=True):
        assert parity.spread_error(np.concatenate(ours_), np.concatenate(theirs_)) < LIMIT


def test_embeddings_do_not_depend_on_the_batch(pair):
    """Bit for bit, in any place of the batch."""
    ours, _ = pair("passt", 1)
    power = powers(5, 57)
    for output in ("embedding", "logits"):
        alone = np.concatenate([ours.session.run((one[None],), (output,))[0] for one in power])
        for batch in (2, 3, 5):
            (got,) = ours.session.run((power[:batch],), (output,))
            np.testing.assert_array_equal(got, alone[:batch])


@pytest.mark.parametrize("name", MODELS)
def test_the_graph_binds_what_the_original_computes_with(name):
    """All of the original's tensors but the head of distillation, which it does not read."""
    net = passt.original_model(passt.MODELS[name], {}).net
    used = {key: tuple(value.shape) for key, value in net.state_dict().items()
            if not key.startswith("head_dist")}  # fmt: skip
    bound = external(parity.graph_path(select(name)))
    assert {key: info.shape for key, info in bound.items()} == used


def test_a_checkpoint_as_the_authors_saved_it(tmp_path):
    torch.manual_seed(7)
    theirs = passt.original_model(99, {})
    with torch.no_grad():
        theirs.net.head[1].weight.normal_(0, 0.1)  # The constructor makes it zero.
    file = tmp_path / "passt.pt"
    torch.save(theirs.net.state_dict(), file)
    ours = prepare.load(prepare.Request(ModelSpec("passt", weights={"main": str(file)})))
    clips = [synthetic.clip(n, n) for n in (5000, 17_777, 40_001)]
    with torch.inference_mode():
        expected = [theirs.get_scene_embeddings(torch.from_numpy(clip)).numpy() for clip in clips]
    got = np.concatenate([ours.embed(clip.T, 32_000) for clip in clips])
    assert parity.spread_error(got, np.concatenate(expected)[:, 527:]) < LIMIT


@pytest.mark.parametrize(
    ("seconds", "samples"), [(10, 43_853), pytest.param(20, 200_000, marks=pytest.mark.slow),
                             pytest.param(30, 1_000_000, marks=pytest.mark.slow)]
)  # fmt: skip
def test_kadtk(seconds, samples, tmp_path):
    """Its PaSSTModel on its own 16-bit file: logits and embedding, windows of 10 s, float16."""
    name = "passt" if seconds == 10 else f"passt-{seconds}s"
    clip, path = synthetic.clip(seconds, samples), tmp_path / "clip.wav"
    soundfile.write(path, clip[0], 32_000, "PCM_16")
    tensors = checkpoint(name, 0)
    with fadtk._environment():
        from kadtk import model_loader

        model = fadtk.passt_loader(f"base-{seconds}s", passt.MODELS[name], model_loader, tensors)
        expected = model.get_embedding(model.load_wav(path))
    ours = parity.embedder(select(f"{name}:protocol=kadtk"), tensors, tmp_path)
    found = ours.embed_file(path, short="pad")
    assert found.shape == expected.shape == (1, 1295)
    # A step of float16.
    np.testing.assert_allclose(found, expected, rtol=1.01 * 2**-10, atol=1e-5)
