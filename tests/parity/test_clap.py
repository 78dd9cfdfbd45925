"""HTS-AT's graphs against laion_clap 1.1.7: synthetic checkpoints, inputs export never saw."""

from functools import cache

import librosa
import numpy as np
import onnxruntime
import pytest
import torch

from exporters import clap, fusion, htsat, laion, parity, swin
from exporters.mocks import stand_ins
from fad_onnx.networks import synthetic
from fad_onnx.networks.selection import select

pytestmark = pytest.mark.parity

TINY, BASE, FUSED = "clap", "clap-music-audioset", "clap-630k-audioset-fusion"
LIMIT = 1e-4
OUTPUTS = ("embedding",)


@cache
def checkpoint(name: str, seed: int):
    """Every tensor that the graph binds, masks and indices included, none as it is made."""
    return parity.checkpoint(select(name), seed)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A function from model and seed to the run time's embedder and the original network."""

    @cache
    def build(name: str, seed: int = 0):
        selection, tensors = select(name), checkpoint(name, seed)
        folder = tmp_path_factory.mktemp("graph")
        return (
            parity.embedder(selection, tensors, folder),
            parity.original(selection, tensors),
        )

    return build


def error(ours, theirs, lengths, seed: int) -> float:
    """The largest difference of a clip's embedding, over the spread of the originals."""
    compared = parity.compare(ours, theirs, lengths, seed)
    expected = np.concatenate([one.expected for one in compared]).astype(np.float64)
    spread = np.sqrt(((expected - expected.mean(axis=0)) ** 2).sum(axis=1).mean())
    return max(float(np.linalg.norm(one.got - one.expected)) for one in compared) / spread


def powers(frames: int, batch: int, seed: int = 0):
    """Powers (batch, frames, 513) of noise, each clip at a level of its own."""
    random = np.random.RandomState(seed)
    noise = random.random_sample((batch, frames, htsat.BINS)) ** 4
    return (noise * 10 ** random.uniform(-3, 2, (batch, 1, 1))).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "seed", "lengths"),
    [
        (TINY, 0, clap.LENGTHS),
        (TINY, 1, (48_000, 131_071, 480_000)),
        (TINY, 2, (97_003, 333_333, 479_001)),
        (BASE, 0, (1, 48_001, 240_001, 480_000, 605_371)),
        (BASE, 1, (131_071, 479_999)),
        (BASE, 2, (97_003, 333_333)),
        (FUSED, 0, clap.FUSED_LENGTHS),
        (FUSED, 1, (48_000, 333_333, 480_480, 555_555)),
        (FUSED, 2, (97_003, 480_000, 777_777, 1_440_031)),
    ],
)
def test_rows_are_the_originals(pair, name, seed, lengths):
    assert error(*pair(name, seed), lengths, 100 * seed) < LIMIT


@pytest.mark.parametrize("name", [TINY, FUSED])
def test_no_draw_of_the_originals_changes_a_clip_of_ten_seconds(pair, name):
    """The sound alone decides: what the other comparisons hand over was not chosen for them."""
    _, theirs = pair(name)
    clip = synthetic.clip(3, 480_000)
    np.testing.assert_array_equal(theirs(clip), theirs(clip))


@pytest.mark.parametrize(("name", "frames"), [(TINY, 1001), (FUSED, 1001), (FUSED, 1002)])
def test_rows_do_not_depend_on_the_batch(pair, name, frames):
    ours, _ = pair(name)
    batch = powers(frames, 7)
    alone = np.concatenate([ours.session.run((clip[None],), OUTPUTS)[0] for clip in batch])
    assert parity.spread_error(alone[:-1], alone[1:]) > 0.1
    for size in (2, 3, 5, 7):
        np.testing.assert_array_equal(ours.session.run((batch[:size],), OUTPUTS)[0], alone[:size])


@pytest.mark.parametrize(
    ("name", "architecture", "unused"),
    [
        (TINY, "HTSAT-tiny", ()),
        (BASE, "HTSAT-base", ()),
        (FUSED, "HTSAT-tiny", ("logmel_extractor.",)),
    ],
)
def test_the_graph_binds_all_that_the_tower_uses(name, architecture, unused):
    """The rest are the Fourier kernels, the classifier and counters that no inference reads."""
    module = laion.module(architecture, {}, fusion=name == FUSED)
    unused = (*unused, "spectrogram_extractor.", "tscam_conv.", "head.")
    tensors = {
        name: (tuple(tensor.shape), np.dtype(str(tensor.dtype).removeprefix("torch.")))
        for name, tensor in module.model.state_dict().items()
        if name.startswith(("audio_branch.", "audio_projection."))
        and not name.removeprefix("audio_branch.").startswith(unused)
        and not name.endswith("num_batches_tracked")
    }
    infos = checkpoint(name, 0)
    assert {name: (array.shape, array.dtype) for name, array in infos.items()} == tensors


@pytest.mark.parametrize("name", [TINY, BASE, FUSED])
def test_onnx_runtime_fuses_what_it_can(pair, tmp_path, name):
    ours, _ = pair(name)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    onnxruntime.InferenceSession(str(ours.session.graph), options)
    import onnx

    nodes = onnx.load(tmp_path / "optimised.onnx", load_external_data=False).graph.node
    kinds = [node.op_type for node in nodes]
    blocks = kinds.count("Softmax")
    assert kinds.count("BiasGelu") == blocks
    assert kinds.count("FusedMatMul") == blocks
    assert not {"Erf", "Split", "Expand", "ScatterND"} & set(kinds)
    # bn0; those of the fusion are folded into the convolutions before them.
    assert kinds.count("BatchNormalization") == 1


def test_taps_are_torchs_bicubic():
    bands = torch.rand(2, htsat.FRAMES, 64)
    expected = torch.nn.functional.interpolate(
        bands[:, None], (1024, 64), mode="bicubic", align_corners=True
    )[:, 0]
    torch.testing.assert_close(htsat.Picture().stretched(bands), expected, atol=2e-6, rtol=0)


@pytest.mark.parametrize("side", [8, 16, 64])
@pytest.mark.parametrize("shift", [0, 4])
def test_window_order(side, shift):
    """As the original does it: roll the picture, cut it into squares."""
    with stand_ins():
        import laion_clap  # noqa: F401, which puts its folder on the path
    from clap_module.htsat import window_partition

    places = torch.arange(side**2).reshape(1, side, side, 1)
    windows = window_partition(torch.roll(places, (-shift, -shift), (1, 2)), swin.WINDOW)
    np.testing.assert_array_equal(swin.window_order(side, shift), windows.flatten().numpy())


def test_shrinking_is_torchs_antialiased_interpolation():
    for frames in (1001, 1002, 1003, 1500, 2001, 2002, 2003, 7007, 60_001):
        bands = torch.rand(frames, 8)
        points, weights = fusion.shrinking(frames)
        got = (weights[:, None] @ bands[points])[:, 0]
        expected = clap._resize((1001, 8))(bands[None])[0]
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)


def test_stretches_start_in_the_middle_of_the_originals_ranges():
    for frames in [*range(1001, 1050), 60_001]:
        ranges = np.array_split(range(frames - 1000), 3)
        expected = [int(some[(len(some) - 1) // 2]) if len(some) else 0 for some in ranges]
        assert fusion.middles(torch.tensor(frames)).tolist() == expected


def test_filterbank_is_htks():
    exact = librosa.filters.mel(
        sr=48_000, n_fft=1024, n_mels=64, fmin=50, fmax=14_000, htk=True, norm=None
    )
    np.testing.assert_allclose(fusion.filterbank().numpy(), exact.T, atol=1e-5)
