"""Published scores, to compare with if you have the official weights.

published_scores.json holds two kinds with their sources: scores of 24 synthetic clips, which can be
reproduced bit for bit, and fadtk's own table, which needs its clips and its statistics.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from ..api.evaluation import evaluate
from ..api.functions import compare
from ..api.measure import Wanted
from ..api.text import embed_text
from ..errors import DownloadError, OptionError
from ..networks.runtime import Settings
from ..networks.selection import select
from ..networks.spec import ModelSpec
from ..networks.table import PACKAGE, Model
from ..weights import prepare
from .known_answers import Check

TABLE = PACKAGE / "tools" / "published_scores.json"
SOURCE = "synthetic_clips"
CLIPS, RATE_HZ, SECONDS = 12, 32_000, 10
# The folder, the beginning of its clips' names, and its seed.
SETS = {"reference": ("ref", 2), "evaluation": ("gen", 1)}


@cache
def table() -> dict[str, Any]:
    """The published numbers."""
    held: dict[str, Any] = json.loads(TABLE.read_text("utf-8"))
    return held


def write_clips(folder: Path) -> dict[str, str]:
    """Write the two sets of synthetic clips.

    The recipe, with the order of its draws, is that of musegauge b3bee00, tests/golden.

    Parameters
    ----------
    folder : Path
        An existing folder; each set becomes a folder below it.

    Returns
    -------
    dict of str to str
        The digest of each set: SHA-256 of the name and the bytes of each file in order.
    """
    digests = {}
    for side, (prefix, seed) in SETS.items():
        (folder / side).mkdir()
        random, digest = np.random.default_rng(seed), hashlib.sha256()
        for index in range(CLIPS):
            path = folder / side / f"{prefix}_{index:03}.wav"
            soundfile.write(path, _clip(random), RATE_HZ, subtype="PCM_16")
            digest.update(path.name.encode() + path.read_bytes())
        digests[side] = digest.hexdigest()
    return digests


def _clip(random: np.random.Generator) -> NDArray[np.float32]:
    """Two to four tones and smoothed noise, at half of full scale."""
    time = np.arange(SECONDS * RATE_HZ) / RATE_HZ
    sound = np.zeros(len(time))
    for _ in range(random.integers(2, 5)):
        hertz, level = random.uniform(110, 1760), random.uniform(0.2, 1)
        sound += level * np.sin(2 * np.pi * hertz * time + random.uniform(0, 2 * np.pi))
    width = random.integers(4, 32)
    noise = np.convolve(random.normal(size=len(time)), np.ones(width) / width, "same")
    sound += random.uniform(0.05, 0.3) * noise
    return np.asarray(0.5 * sound / np.abs(sound).max(), np.float32)


def of_synthetic_clips(model: Model, settings: Settings) -> Iterator[Check]:
    """Compare the scores of the synthetic clips with the published ones.

    Nothing is downloaded: without converted official weights, the Check says so.
    """
    held = table()[SOURCE]
    truths = [truth for truth in held["scores"] if truth["model"] == model.name]
    captions = held["cosines"] if held["cosines"]["model"] == model.name else None
    if not truths and captions is None:
        return
    if prepare.ready(select(model.name)) is None:
        what = f"published scores not checked: run `fad-onnx pull {model.name}` first"
        yield Check(model.name, what, held["source"], None, None)
        return
    with tempfile.TemporaryDirectory(prefix="fad-onnx-verify-") as place:
        folder = Path(place)
        if write_clips(folder) != held["digests"]:
            what = "the synthetic clips differ from the published ones (NumPy or libsndfile)"
            yield Check(model.name, what, held["source"], None, None)
            return
        for truth in truths:
            yield _scored(truth, folder, settings, held["source"])
        if captions is not None:
            yield _cosines(captions, folder, settings, held["source"])


def _scored(truth: Mapping[str, Any], folder: Path, settings: Settings, source: str) -> Check:
    asked = f"{truth['metric']}:{truth['model']}:protocol={truth['protocol']}"
    found = evaluate(
        folder / "evaluation", folder / "reference", asked, provider=settings.provider,
        cache=False, offline=True,
    )  # fmt: skip
    (value,) = found.to_dict().values()
    error = abs((value or 0.0) / truth["value"] - 1)
    what = f"{asked} of synthetic clips, {value:.6g} against {truth['value']:.6g}"
    return Check(truth["model"], what, source, error, error <= truth["tolerance"])


def _cosines(truth: Mapping[str, Any], folder: Path, settings: Settings, source: str) -> Check:
    """Compare cosines with captions.

    The published clips were rounded to 16 bits once more, which changes a cosine by about 1e-5.
    """
    model, paths = truth["model"], sorted((folder / "evaluation").iterdir())
    captions = [truth["caption"].format(path.stem) for path in paths]
    try:
        texts = embed_text(captions, model, provider=settings.provider, offline=True)
    except DownloadError as error:
        return Check(model, f"cosines not checked: {error}", source, None, None)
    loaded = prepare.load(prepare.Request(ModelSpec(model), settings=settings, offline=True))
    clips = [loaded.embed(*soundfile.read(path, dtype="float32"))[0] for path in paths]
    largest = float(np.abs(np.sum(texts * clips, axis=1) - truth["values"]).max())
    what = f"cosines of {len(clips)} synthetic clips and their captions, largest difference"
    return Check(model, what, source, largest, largest <= truth["tolerance"])


def of_harness(
    name: str, model: str, audio: Path, statistics: Path, settings: Settings
) -> Iterator[Check]:
    """Compare scores of a harness' own clips with its published table.

    Parameters
    ----------
    name : str
        The harness and its protocol: "fadtk".
    model : str
        A model of its table.
    audio, statistics : Path
        Its clips, and its statistics of the reference.
    settings : Settings
        The settings of ONNX Runtime.

    Yields
    ------
    Check
        The check of all clips, and that of the single clip that differs most.

    Raises
    ------
    OptionError
        For a harness or a model without a table, or other clips than the published ones.
    """
    if name not in table() or name == SOURCE:
        raise OptionError("published", f"{name!r} is none; known: fadtk")
    held = table()[name]
    if model not in held["models"]:
        known = ", ".join(held["models"])
        raise OptionError("published", f"{name} has no scores of {model}, but of {known}")
    own = held["models"][model]
    published = dict(own["scores"])
    (score,) = compare(
        statistics, [audio], ModelSpec(model, protocol=name), Wanted(per_file=True),
        key=own["key"], provider=settings.provider,
    )  # fmt: skip
    whole, clips = published.pop("all"), {Path(one.name).stem: one.fad for one in score.files}
    if clips.keys() != published.keys():
        raise OptionError(
            "audio", f"{len(clips)} clips, which are not the {len(published)} of {name}"
        )
    errors = {clip: abs(value / published[clip] - 1) for clip, value in clips.items()}
    worst = max(errors, key=errors.__getitem__)
    for what, error, tolerance in (
        (f"FAD of all clips, {float(score):.6g} against {whole:.6g}",
         abs(float(score) / whole - 1), held["tolerance"]),
        (f"FAD of the clip that differs most, {worst}", errors[worst], held["clip_tolerance"]),
    ):  # fmt: skip
        yield Check(model, what, held["source"], error, error <= tolerance)
