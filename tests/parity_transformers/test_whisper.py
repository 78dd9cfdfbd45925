"""Whisper against transformers: front end, encoder, decoder, published files, protocols."""

from dataclasses import replace

import numpy as np
import pytest
import soundfile

torch = pytest.importorskip("torch")

from exporters import parity, whisper
from exporters.verify import _with_output
from fad_onnx.networks import synthetic
from fad_onnx.networks.embedder import Embedder
from fad_onnx.networks.runtime import Session, Settings
from fad_onnx.networks.selection import select
from fad_onnx.networks.spec import ModelSpec
from fad_onnx.tools.known_answers import spread_error
from fad_onnx.weights import prepare
from fad_onnx.weights.binding import publish_synthetic

pytestmark = pytest.mark.parity
slow = pytest.mark.slow
NAMES = [
    pytest.param(f"whisper-{size}", marks=[] if size in ("tiny", "base") else [slow])
    for size in whisper.SIZES
]
SEEDS = [0, pytest.param(1, marks=slow), pytest.param(2, marks=slow)]
OUTPUTS = ["encoder", "decoder"]
STATE = whisper.SAMPLES_PER_STATE
# Every window is 30 s long, so a length decides alone which states are kept. A window of the sizes
# above small takes up to a minute.
SHORT = (5_000,)
LENGTHS = {
    "whisper-tiny": (1, STATE, STATE + 1, 5_000, 480_000, 500_003),
    "whisper-base": (STATE + 1, 500_003),
    "whisper-small": (STATE + 1, 500_003),
}


def networks(name, seed, folder):
    """Our two outputs; their session shares one graph."""
    session = Session(publish_synthetic(select(name), seed, folder), Settings("cpu"))
    return {one: Embedder(select(f"{name}:output={one}"), session, {}, "") for one in OUTPUTS}


def originals(name, seed):
    """The original's two outputs, on the tensors of that seed."""
    tensors = parity.checkpoint(select(name), seed)
    return {one: parity.original(select(f"{name}:output={one}"), tensors) for one in OUTPUTS}


def loaded(name, seed, folder):
    return networks(name, seed, folder), originals(name, seed)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return loaded("whisper-tiny", 0, tmp_path_factory.mktemp("tiny"))


def test_the_mel_filters_are_the_originals():
    from transformers import WhisperFeatureExtractor

    expected = WhisperFeatureExtractor().mel_filters.astype(np.float32)
    np.testing.assert_array_equal(whisper.filterbank(), expected)


@pytest.mark.parametrize("samples", [1, 200, 8_000, 479_999, 480_000, 480_001, 700_000])
@pytest.mark.parametrize("level", [1.0, 1e-4])
def test_what_the_network_is_fed(tiny, samples, level):
    ours = tiny[0]["encoder"]
    value, original = whisper.FEATURES["whisper-tiny"]
    clip = synthetic.clip(samples, samples) * np.float32(level)
    expected = original()(clip)
    cut = parity.up_to(value, expected.shape[-1], ours)
    fed = replace(cut, session=_with_output(ours.session, value))
    # The values span 2, the 8 decades of the front end; in silence they are all alike.
    np.testing.assert_allclose(fed.embed(clip.T, 16_000), expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", SEEDS)
def test_both_outputs_are_the_originals(name, seed, tmp_path):
    clips = [synthetic.clip(10 * seed + i, n) for i, n in enumerate(LENGTHS.get(name, SHORT))]
    ours = networks(name, seed, tmp_path)
    got = {one: [ours[one].embed(clip.T, 16_000) for clip in clips] for one in OUTPUTS}
    del ours  # The large size takes 6 GB, and the original as much.
    theirs = originals(name, seed)
    for output in OUTPUTS:
        expected = [theirs[output](clip) for clip in clips]
        assert [len(one) for one in got[output]] == [len(one) for one in expected]
        assert spread_error(np.concatenate(got[output]), np.concatenate(expected)) < 3e-5


@pytest.mark.parametrize("output", OUTPUTS)
def test_a_batch_gives_what_its_clips_give_alone(tiny, output):
    ours, theirs = tiny[0][output], tiny[1][output]
    clips = [synthetic.clip(i, 1_000 + 40_000 * i) * np.float32(0.25**i) for i in range(3)]
    windows = [ours.windower("error").push(clip, last=True)[0] for clip in clips]
    alone = [ours.run([window])[0] for window in windows]
    for batch in (2, 3):
        for got, expected in zip(ours.run(windows[:batch]), alone[:batch], strict=True):
            np.testing.assert_array_equal(got, expected)
    for got, clip in zip(alone, clips, strict=True):
        assert spread_error(got, theirs(clip)) < 3e-5


@slow
@pytest.mark.parametrize("name", NAMES[:2])
def test_the_difference_is_rounding(name, tmp_path):
    """In float64 the original is about as far from its own float32 as from ours."""
    ours, theirs = loaded(name, 3, tmp_path)
    clip = synthetic.clip(8, 30_000)
    network = whisper.original_network(
        whisper.SIZES[name.removeprefix("whisper-")], parity.checkpoint(select(name), 3)
    ).double()
    bands = torch.from_numpy(whisper.original_features()(clip).T[None]).double()
    with torch.inference_mode():
        exact = network.encoder(bands)[0][0].numpy().astype(np.float32)[: -(-30_000 // STATE)]
    ours_off = spread_error(ours["encoder"].embed(clip.T, 16_000), exact)
    assert ours_off < max(3 * spread_error(theirs["encoder"](clip), exact), 1e-5)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The tensors of a published file, with the names that the hub's files have."""
    from safetensors.torch import save_file
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    one = select("whisper-tiny")
    network = whisper.original_network(whisper.SIZES["tiny"], parity.checkpoint(one, 4))
    with torch.device("meta"):
        names = set(WhisperForConditionalGeneration(WhisperConfig(
            d_model=384, encoder_layers=4, decoder_layers=4, vocab_size=whisper.VOCABULARY
        )).state_dict())  # fmt: skip
    state = {f"model.{key}": value.contiguous() for key, value in network.state_dict().items()}
    assert names - state.keys() == {"proj_out.weight"}
    folder = tmp_path_factory.mktemp("published")
    save_file(state, folder / "model.safetensors")
    tied = {"proj_out.weight": state["model.decoder.embed_tokens.weight"]}
    torch.save(state | tied, folder / "pytorch_model.bin")
    torch.save(network.state_dict(), folder / "bare.pt")
    authors = {authors_name(key): value for key, value in network.state_dict().items()}
    torch.save({"dims": {"n_mels": 80}, "model_state_dict": authors}, folder / "tiny.pt")
    return folder


# openai-whisper 20240930, whisper/model.py: AudioEncoder, TextDecoder, ResidualAttentionBlock.
AUTHORS = {
    "embed_positions.weight": "positional_embedding", "embed_tokens": "token_embedding",
    "encoder.layer_norm": "encoder.ln_post", "decoder.layer_norm": "decoder.ln",
    "layers": "blocks", "encoder_attn_layer_norm": "cross_attn_ln",
    "self_attn_layer_norm": "attn_ln", "final_layer_norm": "mlp_ln", "encoder_attn": "cross_attn",
    "self_attn": "attn", "q_proj": "query", "k_proj": "key", "v_proj": "value", "out_proj": "out",
    "fc1": "mlp.0", "fc2": "mlp.2",
}  # fmt: skip


def authors_name(key):
    """The name of a tensor in the files of openai-whisper."""
    for ours, theirs in AUTHORS.items():
        key = key.replace(ours, theirs)
    return key


FILES = ["model.safetensors", "pytorch_model.bin", "bare.pt", "tiny.pt"]


def from_file(file, label):
    spec = ModelSpec.parse(label)
    made = ModelSpec(spec.name, spec.options, spec.output, spec.protocol, {"main": str(file)})
    return prepare.load(prepare.Request(made, settings=Settings("cpu")))


def test_every_container_of_the_same_tensors_is_the_same_model(published, tmp_path, monkeypatch):
    monkeypatch.setenv("FAD_ONNX_HOME", str(tmp_path))
    found = {from_file(published / file, "whisper-tiny").tensors_sha256 for file in FILES}
    assert len(found) == 1


@pytest.mark.parametrize("protocol", ["fadtk", "kadtk"])
def test_the_protocols_take_two_vectors_of_the_decoder(protocol, published, tmp_path, monkeypatch):
    monkeypatch.setenv("FAD_ONNX_HOME", str(tmp_path / "cache"))
    model = from_file(published / FILES[0], f"whisper-tiny:protocol={protocol}")
    theirs = parity.original(model.selection, parity.checkpoint(model.selection, 4))
    clip = synthetic.clip(9, 40_000)[0] * np.float32(0.8)
    soundfile.write(tmp_path / "clip.wav", clip, 16_000, subtype="PCM_16")
    pcm, rate = soundfile.read(tmp_path / "clip.wav", dtype="int16")
    # fadtk 1.1.0, model_loader.py: load_wav, then get_embedding, which rounds to float16.
    expected = theirs((pcm / 32768.0).astype(np.float32)[None]).astype(np.float16)
    got = model.embed(soundfile.read(tmp_path / "clip.wav", dtype="float32")[0], rate)
    assert got.shape == (2, 384)
    steps = np.spacing(np.abs(expected)).astype(np.float32)
    assert (np.abs(got - expected.astype(np.float32)) <= steps).all()
    assert (got == expected.astype(np.float32)).mean() > 0.98
