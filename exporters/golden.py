"""Golden answers: embeddings by the original networks, for tests without torch.

``fad_onnx/networks/golden/MODEL.npz`` holds

* ``seed``: the seed of `fad_onnx.networks.synthetic.tensors` for every graph of the model;
* ``clips``: int64 (k, 2), seed and samples of `fad_onnx.networks.synthetic.clip` with the
  model's channels, at its rate;
* ``OPTIONS/i``: float32 (m, width), embeddings of clip i with these options, written as
  ``use_activation=false,use_pca=true`` or ``default``. If there are more than `most` = MOST_NUMBERS
  / width, every s-th is kept, from the first on, with s = ceil(m / most).

``fad_onnx/networks/golden/GRAPH.npz`` of a text tower holds ``seed``, captions as numbers,
``ids/i`` int64 (length,), and ``embeddings`` float32 (captions, width).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fad_onnx.networks import synthetic
from fad_onnx.networks.selection import Selection, variants
from fad_onnx.networks.table import Model
from fad_onnx.tools.known_answers import options_key

from . import parity
from .parity import Embed, Tensors
from .skeleton import GRAPHS_FOLDER

FOLDER = GRAPHS_FOLDER.parent / "golden"
SEED = 0
MOST_NUMBERS = 4096  # that are kept of one clip
LONGEST_SECONDS, MOST_CLIPS = 3, 4
LENGTHS = (2, 3, 17, 77)  # captions, in tokens
NUDGE = (
    1e-4  # In the level of a clip; far above the rounding of float32 on its way to an embedding.
)


def write(model: Model) -> Path:
    """Compute and write the golden file of a model; the same bytes with the same number of threads.

    Parameters
    ----------
    model : Model
        The entry of the table.

    Returns
    -------
    Path
        The file.
    """
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{model.name}.npz"
    made: dict[str, Tensors] = {}
    originals = {options_key(one): _original(one, made) for one in variants(model)}
    clips = _clips(model, list(originals.values()))
    arrays: dict[str, Any] = {
        f"{key}/{index}": _thinned(
            embed(synthetic.clip(seed, samples, model.preparation.channel_count))
        )
        for key, embed in originals.items()
        for index, (seed, samples) in enumerate(clips)
    }
    np.savez(path, seed=np.int64(SEED), clips=np.array(clips, np.int64), **arrays)
    return path


def write_text(graph: str) -> Path:
    """The same for the text tower of this graph.

    Parameters
    ----------
    graph : str
        The name of the graph.

    Returns
    -------
    Path
        The file.
    """
    path = FOLDER / f"{graph}.npz"
    infos = parity.bound(GRAPHS_FOLDER / f"{graph}.onnx")
    original = parity.offered("TEXTS")[graph](synthetic.tensors(infos, SEED))
    captions = [parity.ids(seed, length) for seed, length in enumerate(LENGTHS)]
    embeddings = np.stack([original(ids) for ids in captions])
    arrays: dict[str, Any] = {f"ids/{i}": ids for i, ids in enumerate(captions)}
    np.savez(path, seed=np.int64(SEED), embeddings=embeddings, **arrays)
    return path


def _original(selection: Selection, made: dict[str, Tensors]) -> Embed:
    """The original, run once for each clip; outputs of one graph share tensors of up to 6 GB."""
    if selection.graph not in made:
        made[selection.graph] = parity.checkpoint(selection, SEED)
    embed, known = parity.original(selection, made[selection.graph]), dict[bytes, Any]()

    def remembering(clip: NDArray[np.float32]) -> NDArray[np.float32]:
        if (key := clip.tobytes()) not in known:
            known[key] = embed(clip)
        found: NDArray[np.float32] = known[key]
        return found

    return remembering


def _clips(model: Model, originals: Sequence[Embed]) -> list[tuple[int, int]]:
    """Seed and samples of MOST_CLIPS clips; short ones if the family has any."""
    lengths = parity.clip_samples(model)
    longest, channels = (
        LONGEST_SECONDS * model.preparation.sample_rate_hz,
        model.preparation.channel_count,
    )
    short = [n for n in lengths if n <= longest] or lengths[:1]
    # For networks that take long, the family names a single length.
    count = MOST_CLIPS if len(short) > 1 else 1
    chosen: list[tuple[int, int]] = []
    for index in np.linspace(0, len(short) - 1, count).round().astype(int):
        samples, seed = short[index], chosen[-1][0] + 1 if chosen else 0
        while not all(_settled(o, synthetic.clip(seed, samples, channels)) for o in originals):
            seed += 1
        chosen.append((seed, samples))
    return chosen


def _settled(embed: Embed, clip: NDArray[np.float32]) -> bool:
    """Whether no number is a tie between two integers, which processors may break differently."""
    found = embed(clip)
    if (found != np.rint(found)).any():
        return True
    nearly = (embed(clip * np.float32(1 + change)) for change in (-NUDGE, NUDGE))
    return all(np.array_equal(found, nudged) for nudged in nearly)


def _thinned(embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
    most = max(2, MOST_NUMBERS // embeddings.shape[1])
    return embeddings[:: -(-len(embeddings) // most)].astype(np.float32)
