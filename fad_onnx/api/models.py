"""List models, add your own, fetch their weights, and verify what they compute."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ..networks import registration, table
from ..networks.runtime import Settings
from ..networks.selection import selection_of
from ..networks.spec import ModelSpec
from ..pipeline.options import PathLike
from ..pipeline.progress import Downloads
from ..weights import prepare
from ..weights.prepare import Progress

if TYPE_CHECKING:
    from ..tools.known_answers import Check


@dataclass(frozen=True)
class ModelInfo:
    """The description of a model.

    Parameters
    ----------
    name : str
        The name that `score` accepts.
    summary : str
        A short description.
    note : str or None
        What to know before you use it.
    default : bool
        Whether it is used if no model is named.
    sample_rate_hz : int
        The sample rate of the network's input.
    outputs : mapping of str to int
        The outputs, and how many numbers an embedding of each has.
    options : mapping of str to tuple of str
        The values of each option; an empty tuple if any whole number is valid.
    weights : str
        "none needed", "ready" or "to download" at the time of the call.
    citation : str
        The publication to cite.
    text : int or None
        How many numbers the embedding of a caption has; None without a text tower.

    Examples
    --------
    >>> import fad_onnx
    >>> fad_onnx.models()["vggish"].options["use_pca"]
    ('false', 'true')
    """

    name: str
    summary: str
    note: str | None
    default: bool
    sample_rate_hz: int
    outputs: Mapping[str, int]
    options: Mapping[str, tuple[str, ...]]
    weights: str
    citation: str
    text: int | None = None


def models() -> Mapping[str, ModelInfo]:
    """Every model, by name.

    Returns
    -------
    mapping of str to ModelInfo

    Examples
    --------
    >>> import fad_onnx
    >>> fad_onnx.models()["vggish"].sample_rate_hz
    16000
    """
    return MappingProxyType({name: _info(one) for name, one in table.models().items()})


def _info(model: table.Model) -> ModelInfo:
    return ModelInfo(
        model.name,
        model.summary,
        model.note,
        model.default,
        model.preparation.sample_rate_hz,
        {name: output.width for name, output in model.network.outputs.items()},
        {name: tuple(option.values) for name, option in model.options.items()},
        prepare.state(selection_of(model)),
        model.network.citation,
        model.network.text.width if model.network.text else None,
    )


def register(entry: Mapping[str, Any] | PathLike, folder: PathLike = ".") -> tuple[str, ...]:
    """Add a model of your own to this process, and to its workers.

    Parameters
    ----------
    entry : mapping or path
        A model that contains its network and its preparation, not only their names; or a
        document with the sections "networks", "preparations" and "models" of
        artifacts.json; or a JSON file that holds one of these. The sections are documented in
        `fad_onnx.networks.network.Network`, `fad_onnx.networks.preparation.Preparation` and
        `fad_onnx.networks.model.Model`. An entry may extend one of artifacts.json.
    folder : path
        The folder of the ONNX files of a mapping; paths in a JSON file are relative to it.

    Returns
    -------
    tuple of str
        The names of the models, which `score` then accepts.

    Raises
    ------
    ModelTableError
        If a key is missing, unknown or has a wrong value; if a name is taken; if an ONNX file is
        missing, is not one, lacks an output, or has another SHA-256 than `graphs` says.

    Notes
    -----
    The graph takes float32 (batch, channels, samples), or (batch, frames, bins) after a spectrum,
    and gives float32 (batch, width) or (batch, frames, width). Its batch and time axes must be
    dynamic. It holds its weights, or takes them from checkpoints as the graphs of the package do.

    Examples
    --------
    >>> import fad_onnx
    >>> fad_onnx.register({"models": {}})
    ()
    """
    if isinstance(entry, Mapping):
        return registration.register(entry, Path(folder))
    return registration.read(Path(entry))


def pull(
    model: str | ModelSpec,
    source: PathLike | Mapping[str, PathLike] | None = None,
    *,
    options: Mapping[str, Any] | None = None,
    offline: bool = False,
    keep: bool = False,
    progress: bool | Progress | None = None,
) -> tuple[str, ...]:
    """Fetch the weights of a model, check them, and convert them for ONNX Runtime.

    Parameters
    ----------
    model : str or ModelSpec
        A name with options, as in "vggish:use_pca=true".
    source : path, or mapping of str to path, optional
        Official checkpoints to use instead of a download: a path for the main one, or a
        mapping of their names to paths.
    options : mapping of str to value, optional
        Options of the model, as in ``{"use_pca": True}``.
    offline : bool
        Use no network.
    keep : bool
        Keep a download in the cache after its conversion.
    progress : bool or callable, optional
        True draws a bar. A function is called with the name of a file, the bytes so far, and
        the total bytes or None.

    Returns
    -------
    tuple of str
        One sentence for each file that is kept.

    Raises
    ------
    DownloadError, ChecksumError, CheckpointError, CacheError
        If the weights cannot be downloaded, are not the official ones, or cannot be stored.

    Examples
    --------
    >>> import fad_onnx
    >>> fad_onnx.pull("logmel")
    ('logmel: needs no weights',)
    """
    spec = ModelSpec.parse(model) if isinstance(model, str) else model
    spec = replace(spec, options={**spec.options, **(options or {})})
    given = source if isinstance(source, Mapping) else {"main": source}
    files = {name: os.fspath(path) for name, path in given.items() if path is not None}
    fetched = Downloads().update if progress is True else progress or None
    return tuple(prepare.pull(spec, files, offline=offline, keep=keep, progress=fetched))


def verify(
    model: str | ModelSpec | Sequence[str | ModelSpec] | None = None, *, provider: str = "auto"
) -> tuple[Check, ...]:
    """Compare what the networks compute on this machine with answers of the original networks.

    Parameters
    ----------
    model : str, ModelSpec or a sequence of these, optional
        By default every model.
    provider : str
        Execution provider, such as "auto", "cpu" or "cuda".

    Returns
    -------
    tuple of Check
        Each with `model`, `what`, `source`, `error` (relative to the spread of the embeddings)
        and `passed` (None if nothing could be checked).

    Raises
    ------
    UnknownModelError
        If there is no such model.
    ProviderError
        If the provider does not load.

    Examples
    --------
    >>> import fad_onnx
    >>> any(check.passed is False for check in fad_onnx.verify("logmel", provider="cpu"))
    False
    """
    from ..tools import known_answers, published_scores

    given = [model] if isinstance(model, str | ModelSpec) else model or list(table.models())
    specs = [ModelSpec.parse(one) if isinstance(one, str) else one for one in given]
    models = [table.model(spec.name) for spec in specs]
    settings, texts = Settings(provider), set[str]()
    return tuple(
        check
        for model in models
        for checks in (
            known_answers.every(model, settings, texts),
            published_scores.of_synthetic_clips(model, settings),
        )
        for check in checks
    )
