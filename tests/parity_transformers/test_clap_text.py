"""CLAP against transformers: the text tower, its tokenizer, and the files of ClapModel."""

import random
from functools import cache

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import fad_onnx
from exporters import parity, roberta
from fad_onnx.networks import synthetic
from fad_onnx.networks.network import SlaneyFilters
from fad_onnx.networks.runtime import Session, Settings
from fad_onnx.networks.selection import select, text_tower
from fad_onnx.networks.spec import ModelSpec
from fad_onnx.networks.tokenizer import Roberta
from fad_onnx.tools.known_answers import spread_error
from fad_onnx.weights import prepare
from fad_onnx.weights.binding import publish_synthetic
from fad_onnx.weights.computed import constant
from tests.networks.test_tokenizer import write

pytestmark = pytest.mark.parity
slow = pytest.mark.slow
LIMIT = 1e-4
TOWER = text_tower(select("clap").model)
GRAPH = parity.graph_path(TOWER)


@pytest.fixture(scope="module")
def tower(tmp_path_factory):
    """A function from a seed to our tower and the original's."""

    @cache
    def build(seed):
        folder = tmp_path_factory.mktemp("tower")
        session = Session(publish_synthetic(TOWER, seed, folder), Settings("cpu"))
        theirs = roberta.original(synthetic.tensors(parity.bound(GRAPH), seed))
        return lambda ids: session.run((ids,), ("embedding",))[0], theirs

    return build


@pytest.mark.parametrize(
    ("seed", "lengths"),
    [
        (0, (2, 3, 10, 77)),
        *(pytest.param(seed, range(2, 78), marks=slow) for seed in (0, 1, 2)),
    ],
)
def test_embeddings_are_the_originals(tower, seed, lengths):
    """Padded and masked there, of true length here; a batch is the same as its captions alone."""
    ours, theirs = tower(seed)
    for length in lengths:
        batch = np.stack([parity.ids(7 * seed + one, length) for one in range(3)])
        found = ours(batch)
        for ids, own in zip(batch, found, strict=True):
            np.testing.assert_array_equal(ours(ids[None])[0], own)
        expected = np.stack([theirs(ids) for ids in batch])
        assert np.linalg.norm(found, axis=1) == pytest.approx(1, abs=1e-6)
        if length > 2:
            assert spread_error(found, expected) < LIMIT
        else:
            np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_caption_that_spells_out_the_padding_has_its_places(tower):
    ours, theirs = tower(0)
    ids = parity.ids(3, 12)
    ids[[4, 5, 9]] = roberta.PAD
    np.testing.assert_allclose(ours(ids[None])[0], theirs(ids), atol=1e-5)


def test_the_graph_binds_all_that_the_original_uses():
    from transformers import RobertaConfig, RobertaModel

    with torch.device("meta"):
        config = RobertaConfig(vocab_size=50_265, max_position_embeddings=514, type_vocab_size=1)
        branch = RobertaModel(config).state_dict()
        projection = roberta.projection().state_dict()
    expected = {f"text_branch.{name}": tuple(one.shape) for name, one in branch.items()}
    expected |= {f"text_projection.{name}": tuple(one.shape) for name, one in projection.items()}
    assert {name: info.shape for name, info in parity.bound(GRAPH).items()} == expected


CAPTIONS = [
    "A dog barks while it's raining, and we'll hear 1980s synth-pop at 120bpm.",
    "The crowd isn't clapping; they're whistling \"Für Elise\" … naïve café ½ ² Ⅷ.",
    "日本語の歌 😀 👩\u200d👩\u200d👧 rock'n'roll 'Tis I'd she's we've I'm Don'T 'S",
]
PIECES = [
    *" ".join(CAPTIONS).split(" "),
    "<mask>",
    "<pad>",
    "<s>",
    "</s>",
    "<unk>",
    "\t",
    "\n",
    " ",
    "  ",
    "\u2003",
    "\xa0",
    "\x00",
    "\x1c",
    "\x85",
    "\u180e",
    "\ufeff",
    "\u0301",
    "'",
]


def strings(count):
    """Captions that no one wrote."""
    drawn = random.Random(0)
    letters = "".join(map(chr, [*range(0x300), *range(0x2000, 0x2070), *range(0x3040, 0x3100)]))
    for number in range(count):
        made = [
            " ".join(drawn.choices(PIECES, k=drawn.randrange(1, 60))),
            "".join(drawn.choices(letters, k=drawn.randrange(60))),
            "".join(drawn.choices(PIECES, k=drawn.randrange(20))),
        ]
        yield made[number % 3]


@pytest.mark.parametrize("count", [1_000, pytest.param(30_000, marks=slow)])
def test_tokens_are_those_of_roberta_tokenizer(tmp_path, count):
    """laion_clap asks RobertaTokenizer; the library `tokenizers` takes U+001C before <mask> for
    no space, and agrees in all else.
    """
    from tokenizers import ByteLevelBPETokenizer
    from transformers import RobertaTokenizer, RobertaTokenizerFast

    trained = ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trained.train_from_iterator(CAPTIONS * 3, 600, 2, special_tokens=special)
    trained.save_model(str(tmp_path))
    files = {"vocab": tmp_path / "vocab.json", "merges": tmp_path / "merges.txt"}
    names = {"vocab_file": str(files["vocab"]), "merges_file": str(files["merges"])}
    ours, slowly = Roberta(files), RobertaTokenizer(**names)
    library = RobertaTokenizerFast(**names)
    cuts = 0
    for text in strings(count):
        encoded, every = ours.encode(text), slowly(text)["input_ids"]
        expected = slowly(text, truncation=True, max_length=77)["input_ids"]
        assert list(encoded.ids) == expected, repr(text)
        assert encoded.cut == (len(every) > 77), repr(text)
        cuts += encoded.cut
        if "\x1c" not in text:
            found = library(text, truncation=True, max_length=77)["input_ids"]
            assert list(encoded.ids) == found, repr(text)
    assert cuts > count / 50


def clap_model(width, depths, fusion, seed):
    """transformers' ClapModel with random weights."""
    from transformers import ClapConfig, ClapModel

    audio = {"patch_embeds_hidden_size": width, "depths": list(depths), "enable_fusion": fusion,
             "hidden_size": 8 * width}  # fmt: skip
    torch.manual_seed(seed)
    text = {"layer_norm_eps": 1e-5}  # LAION's; transformers' default is 1e-12
    model = ClapModel(ClapConfig(audio_config=audio, text_config=text)).eval()
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if name.startswith("text_") and tensor.ndim == 2:
                tensor.mul_(2)  # as they are made, every caption has nearly the same embedding
            elif "relative_position_bias_table" in name or name.endswith("bias"):
                tensor.normal_(0, 0.02 if name.startswith("text_") else 0.1)
        for name, tensor in model.named_buffers():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 1.5)
    return model


@pytest.mark.parametrize(
    ("name", "width", "depths", "suffix", "seed"),
    [
        ("clap", 96, (2, 2, 6, 2), "safetensors", 0),
        *(
            pytest.param(name, width, depths, suffix, seed, marks=slow)
            for name, width, depths, suffix in (
                ("clap", 96, (2, 2, 6, 2), "safetensors"),
                ("clap", 96, (2, 2, 6, 2), "bin"),
                ("clap-music-audioset", 128, (2, 2, 12, 2), "safetensors"),
                ("clap-630k-audioset-fusion", 96, (2, 2, 6, 2), "safetensors"),
            )
            for seed in ((1, 2) if suffix == "safetensors" else (0,))
        ),
    ],
)
def test_files_of_clap_model_are_weights(tmp_path, monkeypatch, name, width, depths, suffix, seed):
    monkeypatch.setenv("FAD_ONNX_HOME", str(tmp_path / "home"))
    fusion = name.endswith("fusion")
    model = clap_model(width, depths, fusion, seed)
    model.save_pretrained(tmp_path, safe_serialization=suffix == "safetensors")
    (file,) = tmp_path.glob(f"*.{suffix}")
    loaded = fad_onnx.load_model(name, weights=file, provider="cpu")
    lengths = (48_000, 131_071, 239_999, 479_999, 480_000)
    clips = [synthetic.clip(seed + n, n)[0] for n in lengths]
    found = np.concatenate([loaded.embed(clip, 48_000) for clip in clips])
    expected = np.concatenate([audio_embedding(model, clip, fusion) for clip in clips])
    assert spread_error(found, expected) < LIMIT
    captions = [parity.ids(seed + one, 5 + one) for one in range(4)]
    texts = np.concatenate([text_embedding(model, ids) for ids in captions])
    found = np.concatenate([of_file(name, file, tmp_path)(ids) for ids in captions])
    assert spread_error(found, texts) < LIMIT


def audio_embedding(model, clip, fusion):
    from transformers import ClapFeatureExtractor

    extractor = ClapFeatureExtractor(
        truncation="fusion" if fusion else "rand_trunc", frequency_min=50
    )
    features = extractor(clip, sampling_rate=48_000, return_tensors="pt")["input_features"]
    with torch.inference_mode():
        found = model.get_audio_features(features, is_longer=torch.zeros(1, 1, dtype=torch.bool))
        return torch.nn.functional.normalize(found, dim=-1).numpy()


def text_embedding(model, ids):
    with torch.inference_mode():
        found = model.get_text_features(torch.tensor(ids)[None])
        return torch.nn.functional.normalize(found, dim=-1).numpy()


def of_file(name, file, folder):
    """The text tower of a file, with a vocabulary that plays no part."""
    files = {"main": str(file), **{key: str(path) for key, path in write(folder).items()}}
    request = prepare.Request(ModelSpec(name, weights=files), settings=Settings("cpu"))
    loaded = prepare.load_text(request)
    return lambda ids: loaded.run(ids[None])


def test_computed_filters_are_those_of_the_feature_extractor():
    from transformers import ClapFeatureExtractor

    extractor = ClapFeatureExtractor(frequency_min=50)
    found = constant(SlaneyFilters(48_000, 50, 14_000), (513, 64))
    np.testing.assert_allclose(found, extractor.mel_filters_slaney, atol=1e-8)
