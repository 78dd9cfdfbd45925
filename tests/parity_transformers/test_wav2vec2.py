"""wav2vec 2.0, HuBERT, WavLM and MERT against transformers.

Small networks of every form show every layer and boundary; the published sizes follow.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
import transformers

from exporters import parity, skeleton, wav2vec2, wav2vec2_front, wav2vec2_layers
from exporters.wav2vec2_layers import FARTHEST, bucket_of_distance
from exporters.wav2vec2_nodes import BUCKETS, Form
from fad_onnx.errors import TooShortError
from fad_onnx.networks import synthetic, table
from fad_onnx.networks.frontends import normalised
from fad_onnx.networks.runtime import Session, Settings
from fad_onnx.networks.selection import select
from fad_onnx.networks.spec import ModelSpec
from fad_onnx.networks.windows import Windower
from fad_onnx.tools.known_answers import spread_error
from fad_onnx.weights import prepare
from fad_onnx.weights.binding import external

pytestmark = pytest.mark.parity

SMALL = Form(width=128, layers=3, inner=256)
FORMS = {
    "wav2vec2": ("Wav2Vec2", SMALL),
    "hubert": ("Hubert", SMALL),
    "mert-large": ("Hubert", replace(SMALL, norm_first=True)),
    "hubert-large": (
        "Hubert", replace(SMALL, norm_first=True, group_norm=False, convolution_bias=True),
    ),
    "wavlm": ("WavLM", replace(SMALL, relative=True)),
    "wavlm-large": ("WavLM", replace(SMALL, relative=True, norm_first=True, group_norm=False)),
}  # fmt: skip
# One frame and two; one block of the convolutions and two (64 frames); one block of queries and
# two (512 frames).
SHORT = (400, 401, 719, 720, 1_039, 20_879, 20_880, 20_881)
LONG = (163_919, 164_239, 164_240, 260_001)
every_form = pytest.mark.parametrize("name", FORMS)
MODELS = [model for model in table.models().values() if model.name in wav2vec2.ORIGINALS]


class Pair:
    """A network by ONNX Runtime and by transformers, on the same random tensors."""

    def __init__(self, name, seed, folder):
        family, self.form = FORMS[name]
        graph = wav2vec2.graph("small", self.form)
        path = folder / "model.onnx"
        path.write_bytes(skeleton.export(graph))
        self.tensors = synthetic.tensors(external(path), seed)
        with open(folder / "weights.bin", "wb") as file:
            for key, info in sorted(external(path).items(), key=lambda item: item[1].offset):
                file.write(bytes(info.offset - file.tell()))
                file.write(np.ascontiguousarray(self.tensors[key]).data)
        self.outputs = list(graph.output_names)
        self.session = Session(path, Settings("cpu"))
        self.module = wav2vec2.network(self.form, family, self.tensors)

    def ours(self, samples):
        """Every layer of a batch (batch, 1, n): (layers, batch, frames, width)."""
        return np.stack(self.session.run((samples,), self.outputs))

    def theirs(self, samples, precision=torch.float32):
        """The same of one clip (1, n), without the state before the first layer."""
        given = torch.from_numpy(samples).to(precision)
        with torch.inference_mode():
            states = self.module.to(precision)(given, output_hidden_states=True).hidden_states
        return torch.stack(states)[1:, 0].numpy()


def check(pair, lengths, seed):
    for samples in lengths:
        clip = synthetic.clip(seed + samples, samples)
        got, expected = pair.ours(clip[None])[:, 0], pair.theirs(clip)
        for layer, (one, other) in enumerate(zip(got, expected, strict=True), 1):
            assert spread_error(one, other) < 1e-4, (samples, layer)


@every_form
def test_every_layer_is_that_of_transformers(name, tmp_path):
    check(Pair(name, 0, tmp_path), (*SHORT, LONG[2]), 0)


@pytest.mark.slow
@every_form
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_layer_of_long_clips_is_that_of_transformers(name, seed, tmp_path):
    check(Pair(name, seed, tmp_path), (*SHORT, *LONG), seed)


@every_form
@pytest.mark.parametrize(("scores", "least"), [(1, 1), (1, 7), (2_000, 7), (1, 32)])
def test_blocks_of_any_size_give_the_same(name, scores, least, tmp_path, monkeypatch):
    """As a long clip has them: of 32 queries from 8,192 frames on."""
    monkeypatch.setattr(wav2vec2_layers, "SCORES", scores)
    monkeypatch.setattr(wav2vec2_layers, "LEAST_QUERIES", least)
    monkeypatch.setattr(wav2vec2_front, "FRONT_FRAMES", least)
    check(Pair(name, 3, tmp_path), (400, 720, 16_000, 31_111), 3)


@every_form
def test_a_difference_is_no_larger_than_the_rounding_of_torch(name, tmp_path):
    """In float64 the original shows whose rounding a difference is."""
    pair, clip = Pair(name, 4, tmp_path), synthetic.clip(4, 50_003)
    got, float32 = pair.ours(clip[None])[:, 0], pair.theirs(clip)
    float64 = pair.theirs(clip, torch.float64)
    for layer in range(pair.form.layers):
        rounding = spread_error(float32[layer], float64[layer])
        assert spread_error(got[layer], float64[layer]) < 2 * rounding < 1e-4


@pytest.mark.parametrize("samples", [400, 5_001, 170_003])
def test_bits_do_not_depend_on_the_batch(samples, tmp_path):
    pair = Pair("wavlm", 5, tmp_path)
    clips = np.stack([synthetic.clip(seed, samples) * np.float32(0.5**seed) for seed in range(5)])
    together = pair.ours(clips)
    for index in range(5):
        np.testing.assert_array_equal(pair.ours(clips[index : index + 1])[:, 0], together[:, index])


def test_a_clip_on_a_large_offset_keeps_its_digits(tmp_path):
    """The statistics of the norm over the clip are those of float64."""
    pair = Pair("wav2vec2", 6, tmp_path)
    clip = synthetic.clip(6, 30_000) * np.float32(0.01) + np.float32(0.5)
    got, float32 = pair.ours(clip[None])[:, 0], pair.theirs(clip)
    float64 = pair.theirs(clip, torch.float64)
    for layer in range(pair.form.layers):
        ours = spread_error(got[layer], float64[layer])
        assert ours < 2 * spread_error(float32[layer], float64[layer])


def test_buckets_are_those_of_transformers():
    settings = transformers.WavLMConfig(hidden_size=64, num_attention_heads=1, num_hidden_layers=1)
    attention = transformers.WavLMModel(settings).encoder.layers[0].attention
    ahead = torch.arange(-3 * FARTHEST, 3 * FARTHEST)
    expected = attention._relative_positions_bucket(ahead)
    near = bucket_of_distance()
    distance = np.minimum(np.abs(ahead.numpy()), len(near) - 1)
    got = np.array(near)[distance] + (ahead.numpy() > 0) * (BUCKETS // 2)
    np.testing.assert_array_equal(got, expected.numpy())
    assert near[-1] > near[-2]


def test_normalisation_is_that_of_the_feature_extractor():
    extract = transformers.Wav2Vec2FeatureExtractor(do_normalize=True)
    tones = synthetic.clip(7, 48_000)
    silent, step = np.zeros_like(tones), np.sign(tones) * np.float32(1e-3)
    for clip in (tones, 0.01 * tones + 0.5, silent, step, tones[:, :400]):
        clip = clip.astype(np.float32)
        (expected,) = extract(clip[0], sampling_rate=16_000).input_values
        (got,) = normalised(clip[None])[0]
        # Theirs is of float32, in which the mean of a clip on an offset of 0.5 is off by 1e-7.
        scale = max(1.0, 1 / float(np.sqrt(clip.var() + 1e-7)))
        np.testing.assert_allclose(got, expected, atol=1e-6 * scale, rtol=1e-6)
    assert not normalised(silent[None]).any()


@pytest.mark.parametrize("name", ["wavlm-base-plus", "mert-95m"])
def test_the_minimum_is_the_shortest_clip_that_the_original_takes(name):
    model = table.model(name)
    theirs = parity.original(select(name), parity.checkpoint(select(name), 6))
    assert len(theirs(synthetic.clip(1, model.preparation.minimum_samples))) == 1
    with pytest.raises((RuntimeError, ValueError)):
        theirs(synthetic.clip(1, model.preparation.minimum_samples - 1))
    short = synthetic.clip(1, model.preparation.minimum_samples - 1)
    with pytest.raises(TooShortError):
        Windower(model.preparation, None, "error").push(short, last=True)


def test_all_networks_of_the_family_have_one_minimum():
    assert {model.preparation.minimum_samples for model in MODELS} == {wav2vec2.SHORTEST}


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_embeddings_are_the_originals(model, seed, tmp_path):
    selection = select(model.name)
    tensors = parity.checkpoint(selection, seed)
    ours = parity.embedder(selection, tensors, tmp_path)
    theirs = parity.original(selection, tensors)
    for pair in parity.compare(ours, theirs, parity.clip_samples(model), seed):
        assert pair.spread_error < 1e-4, pair.samples


@pytest.mark.slow
def test_embeddings_of_ten_minutes_are_the_originals(tmp_path):
    """Half an hour on one core, and 15 GB, because torch holds the convolutions of the clip."""
    selection = select("wav2vec2-base")
    tensors = parity.checkpoint(selection, 10)
    clip = synthetic.clip(10, 600 * 16_000)
    got = parity.embedder(selection, tensors, tmp_path).embed(clip[0], 16_000)
    assert got.shape == (29_999, 768)
    published = wav2vec2.PUBLISHED[selection.model.name]
    theirs = wav2vec2.network(published.form, published.family, tensors)
    theirs.config._attn_implementation = "sdpa"  # the matrix of all scores would take 43 GB
    with torch.inference_mode():
        expected = theirs(torch.from_numpy(normalised(clip))).last_hidden_state[0].numpy()
    assert spread_error(got, expected) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("names", ["old", "new"])
def test_a_fine_tuned_checkpoint_is_read_from_the_file_that_transformers_writes(names, tmp_path):
    """With a prefix and a head; with the names of weight norm before torch 2.1, and since."""
    torch.manual_seed(8)
    tuned = transformers.Wav2Vec2ForCTC(transformers.Wav2Vec2Config()).eval()
    tuned.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    if names == "old":
        file, state = tmp_path / "pytorch_model.bin", tuned.state_dict()
        for new, old in (("original0", "weight_g"), ("original1", "weight_v")):
            key = f"wav2vec2.encoder.pos_conv_embed.conv.parametrizations.weight.{new}"
            state[key.replace(f"parametrizations.weight.{new}", old)] = state.pop(key)
        torch.save(state, file)
    given = ModelSpec("wav2vec2-base-960h", {"layer": "3"}, weights={"main": str(file)})
    ours = prepare.load(prepare.Request(given, settings=Settings("cpu")))
    clip = synthetic.clip(8, 20_000)
    samples = torch.from_numpy(normalised(clip))
    with torch.inference_mode():
        expected = tuned.wav2vec2(samples, output_hidden_states=True).hidden_states[3][0]
    assert spread_error(ours.embed(clip[0], 16_000), expected.numpy()) < 1e-4


def test_kadtk_averages_over_seconds_and_keeps_half_precision(tmp_path):
    """kadtk 1.1.0, model_loader.py, postprocess_resoultion, on what fadtk keeps of every frame."""
    selection = select("hubert-base:layer=1,protocol=kadtk")
    tensors = parity.checkpoint(selection, 9)
    ours = parity.embedder(selection, tensors, tmp_path)
    every = parity.original(selection, tensors)
    clip = np.round(synthetic.clip(9, 40_321) * 32_768).astype(np.float32) / 32_768
    frames = torch.from_numpy(every(clip))
    size = int(len(frames) / (clip.shape[1] / 16_000))
    expected = frames.unfold(0, size, size).mean(-1).numpy()
    got = ours.embed(clip[0], 16_000)
    assert got.shape == (2, 768) and size == 49
    np.testing.assert_array_equal(got, got.astype(np.float16))
    np.testing.assert_allclose(got, expected, rtol=2**-10, atol=1e-4)
