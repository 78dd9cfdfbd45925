"""The text side of Microsoft's CLAP of 2023 against msclap 1.3.4 and transformers' GPT-2."""

import json
from importlib.util import find_spec

import numpy as np
import pytest

torch = pytest.importorskip("torch")
if find_spec("msclap") is None:
    pytest.skip("pip install --no-deps msclap==1.3.4", allow_module_level=True)

from exporters import gpt2, msclap, parity
from fad_onnx.networks import synthetic
from fad_onnx.networks.runtime import Session, Settings
from fad_onnx.networks.selection import select, text_tower
from fad_onnx.networks.tokenizer import LETTERS, Gpt2, read_merges
from fad_onnx.tools.known_answers import spread_error
from fad_onnx.weights.binding import publish_synthetic
from tests.parity_transformers import test_clap_text as clap_text

pytestmark = pytest.mark.parity
LIMIT = 1e-5
TOWER = text_tower(select("msclap-2023").model)
GRAPH = parity.graph_path(TOWER)


def numbers(seed, length):
    return np.random.RandomState(seed).randint(0, gpt2.WORDS, size=length)


@pytest.mark.parametrize(
    ("seed", "lengths"),
    [
        (0, (2, 3, 17, 77, 78)),
        *(
            pytest.param(seed, (2, 5, 40, 76, 77, 78, 150, 1024), marks=pytest.mark.slow)
            for seed in (0, 1, 2)
        ),
    ],
)
def test_embeddings_are_the_originals(seed, lengths, tmp_path):
    """Padded to 77 and masked there, of true length here; a batch is as its captions alone."""
    session = Session(publish_synthetic(TOWER, seed, tmp_path), Settings("cpu"))
    theirs = gpt2.original(synthetic.tensors(parity.bound(GRAPH), seed))
    got, expected = [], []
    for length in lengths:
        batch = np.stack([numbers(10 * seed + one, length) for one in range(2)])
        batch[1, length // 2] = gpt2.PAD  # which shifts the state that counts
        found = session.run((batch,), ("embedding",))[0]
        for ids, own in zip(batch, found, strict=True):
            np.testing.assert_array_equal(session.run((ids[None],), ("embedding",))[0][0], own)
        got.append(found)
        expected.append(np.stack([theirs(ids) for ids in batch]))
    assert spread_error(np.concatenate(got), np.concatenate(expected)) < LIMIT


@pytest.fixture
def tokenizers(tmp_path):
    """Ours and the original's, for merges of a few captions; the latter as msclap sets it up."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import GPT2TokenizerFast

    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator([one + "!! wow!!" for one in clap_text.CAPTIONS] * 3, 600, 2)
    trained.save_model(str(tmp_path))
    merges = read_merges(tmp_path / "merges.txt")
    tokens = [*LETTERS.values(), *(first + second for first, second in merges), Gpt2.END]
    (tmp_path / "vocab.json").write_text(json.dumps({t: i for i, t in enumerate(tokens)}), "utf-8")
    theirs = GPT2TokenizerFast(str(tmp_path / "vocab.json"), str(tmp_path / "merges.txt"))
    theirs.add_special_tokens({"pad_token": "!"})  # CLAPWrapper.load_clap
    return Gpt2({"merges": tmp_path / "merges.txt"}), theirs


@pytest.mark.parametrize("count", [1_000, pytest.param(30_000, marks=pytest.mark.slow)])
def test_tokens_are_those_of_the_original(tokenizers, monkeypatch, count):
    """As CLAPWrapper.preprocess_text asks for them, which pads to 77 and cuts nothing."""
    ours, theirs = tokenizers
    special = ("!", "a!", "!!b", "<|endoftext|>", "<|endoftext|")
    monkeypatch.setattr(clap_text, "PIECES", [*clap_text.PIECES, *special])
    for caption in (*clap_text.CAPTIONS, "", "!", *clap_text.strings(count)):
        made = theirs.encode_plus(
            f"{caption} {Gpt2.END}", add_special_tokens=True, max_length=77, padding="max_length"
        )
        expected = made["input_ids"][: sum(made["attention_mask"])]
        assert list(ours.encode(caption).ids) == expected, caption


def test_the_graph_binds_all_that_the_original_uses():
    msclap.package()
    from transformers import GPT2Config, GPT2Model

    with torch.device("meta"):
        base, projection = GPT2Model(GPT2Config()).state_dict(), msclap.Projection().state_dict()
    expected = {f"caption_encoder.base.{name}": tuple(one.shape) for name, one in base.items()}
    expected |= {
        f"caption_encoder.projection.{name}": tuple(one.shape) for name, one in projection.items()
    }
    assert {name: info.shape for name, info in parity.bound(GRAPH).items()} == expected
