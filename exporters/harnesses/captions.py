"""Captions of the clips, and their embeddings by the torch module of a text tower.

The text towers equal transformers' classes, which laion_clap and msclap call
(tests/parity_transformers); these cannot be installed next to the harnesses.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import cosine_similarity

from fad_onnx.networks import tokenizer
from fad_onnx.networks.network import TextTower
from fad_onnx.networks.table import model as entry

from .. import gpt2, roberta
from ..parity import Tensors

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
SOUNDS = ("rain on a roof", "two dogs bark", "a slow waltz for strings", "an engine starts")
TOWERS: Mapping[str, tuple[Callable[..., Any], Callable[[], Any]]] = {
    "roberta": (tokenizer.Roberta, roberta.TextTower),
    "gpt2": (tokenizer.Gpt2, gpt2.TextTower),
}


def of(folder: Path) -> dict[str, str]:
    """A caption for each clip by its file name."""
    names = sorted(path.name for path in folder.glob("*.wav"))
    return {name: f"{SOUNDS[i % len(SOUNDS)]}, take {i}" for i, name in enumerate(names)}


def write(clips: Path, folder: Path) -> Path:
    """The captions of these clips as a file in the folder."""
    path = folder / "captions.jsonl"
    lines = (json.dumps({"file": name, "caption": text}) for name, text in of(clips).items())
    path.write_text("\n".join(lines), "utf-8")
    return path


def files(model: str, folder: Path) -> dict[str, Path]:
    """A vocabulary of single bytes, by the names of the model's files; {} without a text tower."""
    tower = entry(model).network.text
    if tower is None:
        return {}
    tokens = [*SPECIAL, *sorted(tokenizer.LETTERS.values()), "<|endoftext|>", "<mask>"]
    made = {"vocab": folder / "vocab.json", "merges": folder / "merges.txt"}
    made["vocab"].write_text(json.dumps({token: i for i, token in enumerate(tokens)}), "utf-8")
    made["merges"].write_text("#version: 0.2\n", "utf-8")
    return {name: path for name, path in made.items() if name in tower.checkpoints}


def embeddings(model: str, tensors: Tensors, folder: Path) -> NDArray[Any]:
    """The embeddings of the captions of a folder, in the order of its clips."""
    tower = entry(model).network.text
    assert isinstance(tower, TextTower)
    tokens, network = TOWERS[tower.tokenizer]
    with tempfile.TemporaryDirectory() as place:
        made, encode = network().eval(), tokens(files(model, Path(place))).encode
    own = {name: torch.from_numpy(np.array(tensors[name])) for name in made.state_dict()}
    made.load_state_dict(own)
    with torch.inference_mode():
        found = [made(torch.tensor([encode(text).ids])) for text in of(folder).values()]
    return np.concatenate([one.numpy() for one in found])


def audio_tensors(tensors: Tensors) -> Tensors:
    """The tensors without those of the text tower."""
    return {
        name: array
        for name, array in tensors.items()
        if not name.startswith(("text_", "caption_encoder."))
    }


def score(audio: NDArray[Any], text: NDArray[Any]) -> float:
    """The mean of torch's cosines, as in av-benchmark (evaluate.py 193), stable-audio-metrics
    (src/clap_score.py 113) and AudioCraft (metrics/clap_consistency.py 81).
    """
    cosines = cosine_similarity(torch.from_numpy(audio), torch.from_numpy(text), dim=-1, eps=1e-8)
    return float(cosines.mean())
