"""CDPAM: its official weights come with its authors' own package, so its truths are real."""

import csv
import os
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import fad_onnx
from exporters import cdpam, parity
from fad_onnx.cli import main
from fad_onnx.networks import synthetic
from fad_onnx.networks.preparation import Windows
from fad_onnx.networks.selection import select
from fad_onnx.networks.spec import ModelSpec
from fad_onnx.tools import published_scores
from fad_onnx.tools.known_answers import spread_error
from fad_onnx.weights.binding import external

pytestmark = pytest.mark.parity
NAMES = ["cdpam-acoustic", "cdpam-content"]
CHECKPOINT = "CDPAM_trained/scratchJNDdefault_best_model.pth"


def folder(package):
    """Where a package of the parity environment keeps its files."""
    found = find_spec(package)
    assert found is not None and found.origin is not None
    return Path(found.origin).parent


@pytest.fixture(scope="module")
def official():
    return folder("cdpam") / CHECKPOINT


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_embeddings_are_the_packages(name, seed, tmp_path):
    one = select(name)
    tensors = synthetic.tensors(external(parity.graph_path(one)), seed)
    ours, theirs = parity.embedder(one, tensors, tmp_path), parity.original(one, tensors)
    compared = parity.compare(ours, theirs, (1, 2, 15, 16, 17, 481, 6_000, 22_051), seed)
    assert max(pair.spread_error for pair in compared) < 1e-5


@pytest.mark.parametrize("name", NAMES)
def test_embeddings_of_the_official_weights(name, official, tmp_path):
    one = select(name)
    state = torch.load(official, "cpu", weights_only=False)["state"]
    tensors = {key: state[key].numpy() for key in external(parity.graph_path(one))}
    ours, theirs = parity.embedder(one, tensors, tmp_path), parity.original(one, tensors)
    clips = [synthetic.clip(seed, 30_000) * np.float32(0.4**seed) for seed in range(3)]
    got, expected = (np.concatenate([embed(clip) for clip in clips])
                     for embed in (lambda clip: ours.embed(clip.T, 22_050), theirs))  # fmt: skip
    assert spread_error(got, expected) < 1e-5
    np.testing.assert_allclose(np.linalg.norm(got, axis=1), 1, rtol=1e-6)


PUBLISHED = dict(
    zip(NAMES, ("FAD_cdpam_acoustic_fma_pop", "FAD_cdpam_content_fma_pop"), strict=True)
)


@pytest.fixture(scope="module")
def specs(official):
    given = {"main": str(official)}
    return {name: ModelSpec(name, protocol="fadtk", weights=given) for name in NAMES}


@pytest.fixture(scope="module")
def embedded(specs, tmp_path_factory):
    """A cache with the embeddings of fadtk's clips: both outputs of one run of the network."""
    cache, clips = tmp_path_factory.mktemp("cache"), folder("fadtk") / "test" / "samples"
    fad_onnx.compare(clips, [clips], list(specs.values()), cache_dir=cache)
    return cache


@pytest.mark.parametrize("name", NAMES)
def test_the_published_scores_of_fadtk(name, specs, embedded):
    """fadtk 1.1.0 ships 23 clips, statistics of FMA-Pop, and its own scores of each clip."""
    home = folder("fadtk")
    (score,) = fad_onnx.compare(
        home / "stats" / "fma_pop.npz", [home / "test" / "samples"], specs[name],
        fad_onnx.Wanted(per_file=True), key=name, cache_dir=embedded,
    )  # fmt: skip
    with open(home / "test" / "samples_FAD_scores.csv", newline="") as file:
        published = {Path(line["song_id"]).name: float(line[PUBLISHED[name]])
                     for line in csv.DictReader(file)}  # fmt: skip
    assert float(score) == pytest.approx(published.pop("all"), rel=1e-3)
    ours = {Path(one.name).stem: one.fad for one in score.files}
    assert ours.keys() == published.keys() and len(ours) == 23
    for clip, value in published.items():
        assert ours[clip] == pytest.approx(value, rel=5e-3), clip


@pytest.mark.parametrize("name", NAMES)
def test_verify_compares_with_the_table_of_fadtk(name, embedded, capsys, monkeypatch):
    """The official weights are found in the package `cdpam`."""
    cached = partial(published_scores.compare, cache_dir=embedded)
    monkeypatch.setattr(published_scores, "compare", cached)
    home = folder("fadtk")
    clips, statistics = home / "test" / "samples", home / "stats" / "fma_pop.npz"
    asked = ["--published", "fadtk", "--audio", str(clips), "--statistics", str(statistics)]
    assert main(["verify", name, *asked]) == 0
    assert capsys.readouterr().out.count("pass") == 2


SAMPLES = "CDPAM_SAMPLES"  # the folder sample_audio of github.com/pranaymanocha/PerceptualAudio


@pytest.mark.skipif(SAMPLES not in os.environ, reason=f"{SAMPLES} names no folder of sample_audio")
def test_the_distance_that_the_authors_publish(official, tmp_path):
    """cdpam/README.md of the repository: ref.wav and 2.wav are 0.1696 apart.

    The authors hear a clip as one window. The head that makes a distance of two embeddings is
    their own (models.py, lossnet_dfl).
    """
    state = torch.load(official, "cpu", weights_only=False)["state"]
    one = select("cdpam-acoustic")
    one = replace(one, preparation=replace(one.preparation, windows=Windows()))
    tensors = {key: state[key].numpy() for key in external(parity.graph_path(one))}
    ours = parity.embedder(one, tensors, tmp_path)
    pair = [ours.embed_file(Path(os.environ[SAMPLES]) / name) for name in ("ref.wav", "2.wav")]
    head = cdpam.original_models().lossnet_dfl(512).eval()
    head.load_state_dict({key.removeprefix("model_dist."): value for key, value in state.items()
                          if key.startswith("model_dist.")})  # fmt: skip
    with torch.inference_mode():
        distance = float(head(*map(torch.from_numpy, pair)))
    assert distance == pytest.approx(0.1696, abs=5e-5)
