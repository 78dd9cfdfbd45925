"""VGGish against torchvggish: its front end, network, postprocessor, and the score."""

from functools import cache

import numpy as np
import onnxruntime
import pytest
import torch

from exporters import parity, scores, standalone, verify, vggish
from fad_onnx.metrics import moments
from fad_onnx.metrics.frechet import frechet_distance
from fad_onnx.networks import frontends, synthetic
from fad_onnx.networks.selection import select
from fad_onnx.networks.spec import ModelSpec
from fad_onnx.weights import prepare

pytestmark = pytest.mark.parity

MODEL = select("vggish")
PATCH, HOP = 15600, 15360
# Either side of one, two and three patches; one, two, three and five patches in a batch.
LENGTHS = (PATCH, PATCH + 1, PATCH + HOP - 1, PATCH + HOP, 47_003, PATCH + 4 * HOP, 93_557)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A function from seed and options to the run time's embedder and the original network."""

    @cache
    def build(seed, use_pca="false", use_activation="false"):
        one = select(f"vggish:use_pca={use_pca},use_activation={use_activation}")
        tensors = parity.checkpoint(one, seed)
        ours = parity.embedder(one, tensors, tmp_path_factory.mktemp("graph"))
        return ours, parity.original(one, tensors)

    return build


@pytest.mark.parametrize(("seed", "activation"), [(0, "false"), (1, "false"), (2, "true")])
def test_rows_are_the_originals(pair, seed, activation):
    comparisons = parity.compare(*pair(seed, "false", activation), LENGTHS, seed)
    assert [len(one.got) for one in comparisons] == [1, 1, 1, 2, 3, 5, 6]
    assert parity.pooled(comparisons).spread_error <= 1e-4
    assert all(one.spread_error <= 1e-4 for one in comparisons)
    negative = (parity.pooled(comparisons).got < 0).any()
    assert negative == (activation == "false")


@pytest.mark.parametrize(("seed", "activation"), [(0, "false"), (1, "true"), (2, "false")])
def test_bytes_are_the_originals(pair, seed, activation):
    embeddings = parity.pooled(parity.compare(*pair(seed, "true", activation), LENGTHS, seed))
    assert set(np.unique(embeddings.got)) <= set(np.arange(256.0))
    assert len(np.unique(embeddings.got)) > 50
    off = np.abs(embeddings.got - embeddings.expected)
    # A tie may fall on either side; a difference of two is no tie, many are no accident.
    assert off.max() <= 1 and (off > 0).mean() < 1e-3


def test_silence_and_full_scale(pair):
    ours, theirs = pair(0)
    clips = np.stack([np.zeros(PATCH), np.ones(PATCH), np.sign(np.sin(np.arange(PATCH) / 7))])
    for clip in clips.astype(np.float32):
        got, expected = ours.embed(clip, 16_000), theirs(clip[None])
        assert np.abs(got - expected).max() <= 1e-4 * np.abs(expected).max()


def test_filters_are_the_originals():
    from torchvggish.mel_features import spectrogram_to_mel_matrix

    expected = spectrogram_to_mel_matrix(64, 257, 16_000, 125, 7500)
    assert np.abs(vggish.mel_matrix() - expected).max() < 1e-14


def test_features_are_the_originals(pair):
    ours, _ = pair(0)
    assert verify._features_error(ours, {}) < 1e-6


def test_tensors_are_those_of_the_official_file():
    from torchvggish import torchvggish

    network = torchvggish.VGG(torchvggish.make_layers(), postprocess=False).state_dict()
    plain, pca = (parity.bound(graph.path) for graph in vggish.GRAPHS)
    assert {name: info.shape for name, info in plain.items()} == {
        name: tuple(tensor.shape) for name, tensor in network.items()
    }
    extra = {"pca_eigen_vectors": (128, 128), "pca_means": (128,)}
    assert {name: info.shape for name, info in pca.items() if name not in plain} == extra


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_score_is_the_originals(pair, seed):
    ours, theirs = pair(seed)
    reference = [synthetic.clip(10 + i, 62_000 + i) for i in range(6)]
    evaluation = [0.3 * synthetic.clip(20 + i, 62_000 + i) for i in range(6)]
    sets = [np.concatenate([theirs(clip) for clip in clips]) for clips in (reference, evaluation)]
    got = [
        moments.Moments.of(np.concatenate([ours.embed(clip.T, 16_000) for clip in clips]))
        for clips in (reference, evaluation)
    ]
    expected = scores.original_score(*sets)
    assert frechet_distance(*got) == pytest.approx(expected, rel=1e-3)


def test_a_standalone_model_says_the_same_and_is_taken_as_weights(tmp_path):
    """From the official container to a model with its weights inside, or beside it, and back."""
    tensors = synthetic.tensors(parity.bound(vggish.GRAPHS[0].path), 4)
    official = tmp_path / "vggish.pth"
    torch.save(
        {name: torch.from_numpy(array) for name, array in tensors.items()},
        official,
        _use_new_zipfile_serialization=False,
    )
    clip = synthetic.clip(3, PATCH)
    request = prepare.Request(ModelSpec("vggish", weights={"main": str(official)}), offline=True)
    expected = prepare.load(request).embed(clip.T, 16_000)
    for name, largest in (("inside.onnx", 2**31), ("beside.onnx", 0)):
        out = tmp_path / name
        files = standalone.write(MODEL, {"main": official}, out, largest)
        assert len(files) == (1 if largest else 2)
        session = onnxruntime.InferenceSession(out)
        (magnitude,) = frontends.apply(MODEL.preparation.frontend, clip[None])
        assert np.array_equal(session.run(["embedding"], {"magnitude": magnitude})[0], expected)
        facts = session.get_modelmeta().custom_metadata_map
        assert facts["model"] == "vggish" and '"hop_samples": 160' in facts["preparation"]
        again = prepare.Request(ModelSpec("vggish", weights={"main": str(out)}), offline=True)
        loaded = prepare.load(again)
        assert np.array_equal(loaded.embed(clip.T, 16_000), expected)
        assert loaded.tensors_sha256 == prepare.load(request).tensors_sha256
