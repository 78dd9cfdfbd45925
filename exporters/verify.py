"""Measure how far a model is from the original package, step by step, as a table or JSON."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from fad_onnx.networks import synthetic
from fad_onnx.networks import table as entries
from fad_onnx.networks.embedder import Embedder
from fad_onnx.networks.runtime import Session
from fad_onnx.networks.selection import Selection, variants
from fad_onnx.networks.table import Model
from fad_onnx.tools.known_answers import options_key
from fad_onnx.weights import checkpoints, prepare

from . import parity
from .parity import Embed, Tensors
from .scores import Clip, resampled, scores

# The largest error, relative to the spread of the embeddings or to the original's score.
LIMIT = 1e-4


@dataclass(frozen=True)
class Finding:
    """One selection of a model on one checkpoint.

    Errors are relative to the spread of the original's embeddings. ``score`` is this package's
    score of two datasets at the model's rate. ``original`` is the original's, or None if its matrix
    square root fails (for few or degenerate embeddings). Differences of scores are relative to
    ``original``, or else to this package's distance of the original's embeddings.
    ``resampled_difference`` is the difference for the datasets at their own rates, which the
    original resamples with resampy and this package with soxr.
    """

    model: str
    options: str
    weights: str
    clips: int
    rows: int
    features_error: float | None
    rows_error: float
    largest_difference: float
    score: float
    original: float | None
    score_difference: float
    resampled_difference: float

    def failures(self) -> list[str]:
        """The errors above the limit, each with its value."""
        errors = {"front end": self.features_error, "difference": self.score_difference}
        # Quantised embeddings differ by whole levels where a rounding error crosses half a level.
        if self.largest_difference != 1.0:
            errors["embeddings"] = self.rows_error
        name = f"{self.model} {self.options}".strip()
        return [
            f"{name}, {what}: {value:.1e}, the limit is {LIMIT:.0e}"
            for what, value in errors.items()
            if value is not None and not value <= LIMIT
        ]


def verify(
    model: Model,
    given: Mapping[str, Path],
    seeds: int,
    sets: tuple[Sequence[Clip], Sequence[Clip]],
) -> Iterator[Finding]:
    """Compare a model with the original.

    Parameters
    ----------
    model : Model
        The entry of the table.
    given : mapping of str to Path
        Checkpoints, in place of synthetic ones.
    seeds : int
        Synthetic checkpoints to make.
    sets : two sequences of Clip
        The reference and the evaluation.

    Yields
    ------
    Finding
        One for each selection and seed; with checkpoints given, for the selections that use them.
    """
    for selection in variants(model):
        if given and set(selection.output.checkpoints) != given.keys():
            continue
        for seed in range(1 if given or not selection.output.checkpoints else seeds):
            with tempfile.TemporaryDirectory() as folder:
                source, tensors, ours = _loaded(selection, given, seed, Path(folder))
                theirs = parity.original(selection, tensors)
                yield _finding(source, ours, theirs, tensors, sets)


def _loaded(
    selection: Selection, given: Mapping[str, Path], seed: int, folder: Path
) -> tuple[str, Tensors, Embedder]:
    """The source of the weights, the weights, and the run time's network with them."""
    infos = parity.bound(parity.graph_path(selection))
    if given:
        ready = prepare.prepare(selection, given)
        bound = checkpoints.open(ready.graph).tensors()
        tensors = {name: np.array(bound[name].read()) for name in infos}
        source = " + ".join(path.name for path in given.values())
    else:
        rate = selection.preparation.sample_rate_hz
        tensors = _with_filterbanks(synthetic.tensors(infos, seed), rate)
        source = f"synthetic, seed {seed}" if tensors else "none"
    return source, tensors, parity.embedder(selection, tensors, folder)


def _with_filterbanks(tensors: Tensors, rate_hz: int) -> Tensors:
    """The tensors with the mel filterbanks that every published checkpoint has.

    They are not learnt: torchlibrosa's LogmelFilterBank, 64 bands from 50 Hz to 14 kHz or half the
    rate (PANNs, pytorch/main.py; laion_clap's model_configs). Random ones would respond to
    frequencies at which resamplers differ most.
    """
    import librosa

    def filterbank(shape: tuple[int, ...]) -> NDArray[np.float32]:
        bins, bands = shape
        highest = min(14_000, rate_hz // 2)
        made: NDArray[np.float32] = librosa.filters.mel(
            sr=rate_hz, n_fft=2 * (bins - 1), n_mels=bands, fmin=50, fmax=highest
        )
        return np.ascontiguousarray(made.T)

    return {
        name: filterbank(tensor.shape) if name.endswith("logmel_extractor.melW") else tensor
        for name, tensor in tensors.items()
    }


def _finding(
    source: str,
    ours: Embedder,
    theirs: Embed,
    tensors: Tensors,
    sets: tuple[Sequence[Clip], Sequence[Clip]],
) -> Finding:
    model = ours.selection.model
    compared = parity.compare(ours, theirs, parity.clip_samples(model), seed=7)
    rows = parity.pooled(compared)
    heard = [[resampled(clip, ours.preparation) for clip in clips] for clips in sets]
    at_rate = scores(ours, theirs, heard)
    foreign = scores(ours, theirs, sets)
    return Finding(
        model=model.name,
        options=options_key(ours.selection),
        weights=source,
        clips=len(compared),
        rows=len(rows.got),
        features_error=_features_error(ours, tensors),
        rows_error=rows.spread_error,
        largest_difference=float(np.abs(rows.got - rows.expected).max()),
        score=at_rate.score,
        original=at_rate.original,
        score_difference=at_rate.difference,
        resampled_difference=foreign.difference,
    )


def _features_error(ours: Embedder, tensors: Tensors) -> float | None:
    """The error of the network's input features, if the family offers the original's."""
    named = parity.offered("FEATURES").get(ours.name)
    if named is None:
        return None
    value, original = named
    features, lengths = original(tensors), parity.clip_samples(ours.selection.model)
    silence = np.zeros((ours.preparation.channel_count, lengths[0]), np.float32)
    width = features(silence).shape[-1]
    # In one pass, because the features of a tile are not those of a clip.
    compared = parity.compare(
        replace(parity.up_to(value, width, ours), session=_with_output(ours.session, value)),
        features,
        lengths,
        seed=7,
    )
    return parity.pooled(compared).spread_error


def _with_output(session: Session, value: str) -> Session:
    """The same network with an intermediate value among its outputs."""
    proto = onnx.load(session.graph, load_external_data=False)
    proto.graph.output.append(onnx.ValueInfoProto(name=value))
    path = session.graph.with_name(f"until_{value}.onnx")
    path.write_bytes(proto.SerializeToString())
    return Session(path, session.settings)


def worst(findings: Sequence[Finding]) -> list[Finding]:
    """One finding for each model and its options: the largest errors over all checkpoints."""
    groups: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings:
        groups.setdefault((finding.model, finding.options), []).append(finding)
    return [_worst(group) for group in groups.values()]


def _worst(group: Sequence[Finding]) -> Finding:
    if len(group) == 1:
        return group[0]
    errors = ("rows_error", "largest_difference", "score_difference", "resampled_difference")
    worst = {name: max(getattr(finding, name) for finding in group) for name in errors}
    features = [f.features_error for f in group if f.features_error is not None]
    return replace(
        group[0],
        weights=f"{len(group)} synthetic",
        features_error=max(features, default=None),
        **worst,
    )


Column = tuple[str, Callable[[Finding], str]]
COLUMNS: tuple[Column, ...] = (
    ("model", lambda f: f.model if f.options == "default" else f"{f.model} {f.options}"),
    ("weights", lambda f: f.weights),
    ("rows", lambda f: str(f.rows)),
    ("front end", lambda f: "-" if f.features_error is None else f"{f.features_error:.1e}"),
    ("rows' error", lambda f: f"{f.rows_error:.1e}"),
    ("largest", lambda f: f"{f.largest_difference:.1e}"),
    ("score", lambda f: f"{f.score:.6g}"),
    ("original's", lambda f: "fails" if f.original is None else f"{f.original:.6g}"),
    ("difference", lambda f: f"{f.score_difference:.1e}"),
    ("with soxr for resampy", lambda f: f"{f.resampled_difference:.1e}"),
)


def cells(finding: Finding) -> dict[str, str]:
    """A finding as the table shows it, by column."""
    return {name: show(finding) for name, show in COLUMNS}


def table(findings: Sequence[Finding]) -> str:
    """The findings as a Markdown table."""
    lines = [[name for name, _ in COLUMNS], *(list(cells(f).values()) for f in findings)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    padded = ([cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
              for line in lines)  # fmt: skip
    return "\n".join(f"| {' | '.join(line)} |" for line in padded)


def merged(path: Path, findings: Sequence[Finding]) -> dict[str, Any]:
    """Merge findings into those of a file.

    Parameters
    ----------
    path : Path
        The file.
    findings : sequence of Finding
        They replace the file's findings of the same models.

    Returns
    -------
    dict
        What to write: see `as_json`.
    """
    models = list(entries.models())
    found = {finding.model for finding in findings}
    kept = [Finding(**row) for row in json.loads(path.read_text("utf-8"))["findings"]]
    every = [finding for finding in kept if finding.model not in found] + list(findings)
    return as_json(sorted(every, key=lambda finding: models.index(finding.model)))


def as_json(findings: Sequence[Finding]) -> dict[str, Any]:
    """The table of the worst errors over all checkpoints, and every finding in full."""
    return {
        "columns": [name for name, _ in COLUMNS],
        "rows": [cells(finding) for finding in worst(findings)],
        "findings": [asdict(finding) for finding in findings],
    }
