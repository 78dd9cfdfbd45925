"""Statistics on disk: STATS.npz, and the statistics files of other tools.

STATS.npz holds `mu` (dim,) and `sigma` (dim, dim; ddof 1), both float64 under the names that
pytorch-fid reads, `count`, `metadata` (a JSON object as one string) and, if there are few
embeddings, `factor` (see fad_onnx.metrics.moments), so that merging loses no precision. Nothing is
pickled. Files of other tools hold `mu` and `sigma` (pytorch-fid), `mu_ref` and `sigma_ref`
(stable-audio-metrics), or `NAME.mu` and `NAME.cov` for each of several models (fadtk). They record
neither how they were made nor the number of embeddings, so they can be scored but not merged.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..errors import CheckpointError, StatisticsError, TooFewEmbeddingsError
from ..metrics.frechet import Gaussian
from ..metrics.moments import Moments, gram
from ..metrics.validation import real_array
from ..weights.checkpoints import npz
from . import outputs

PathLike = str | os.PathLike[str]
Arrays = Mapping[str, NDArray[Any]]

OWN = ("mu", "sigma", "count", "metadata")
# pytorch-fid, and stable-audio-metrics (src/openl3_fd.py)
PAIRS = (("mu", "sigma"), ("mu_ref", "sigma_ref"))
LARGEST_METADATA = 1_000_000
DEEPEST_METADATA = 20


@dataclass(frozen=True)
class Stored:
    """The contents of a statistics file.

    `moments` is a Gaussian for statistics of other tools, which have no count.
    """

    moments: Moments | Gaussian
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def foreign(self) -> bool:
        """Whether another tool wrote the file."""
        return isinstance(self.moments, Gaussian)


def save(path: PathLike, moments: Moments, metadata: Mapping[str, Any]) -> None:
    """Write a statistics file, whole or not at all.

    With fewer than two embeddings there is no covariance: `sigma` is NaN, and the file can only be
    merged. Raises TooFewEmbeddingsError if there are none (allowed in a part of a dataset), and
    OutputError if the file cannot be written.
    """
    if moments.count < 1 and not metadata.get("shard"):
        raise TooFewEmbeddingsError(path, 0, 1, "a statistics file")
    arrays: dict[str, NDArray[Any]] = {
        "mu": moments.mean,
        "sigma": _sigma(moments),
        "count": np.array(moments.count, np.int64),
        "metadata": np.array(json.dumps(dict(metadata), sort_keys=True)),
    }
    if moments.factor is not None:
        arrays["factor"] = moments.factor

    def into(out: BinaryIO) -> None:
        np.savez(out, **arrays)  # type: ignore[arg-type]

    outputs.write(path, into)


def load(path: PathLike, key: str | None = None) -> Stored:
    """Read a statistics file; `key` is the NAME to read from a file with several.

    Raises StatisticsError for anything else; the message lists what the file holds.
    """
    held = names(path)
    if all(name in held for name in OWN):
        own = OWN + (("factor",) if "factor" in held else ())
        return _own(_read(path, own), path)
    mean, covariance = _foreign_names(held, key, path)
    arrays = _read(path, (mean, covariance))
    return Stored(Gaussian.of_statistics(arrays[mean], arrays[covariance], path))


def _sigma(moments: Moments) -> NDArray[np.float64]:
    if moments.count < 2:
        return np.full((moments.dim, moments.dim), np.nan)
    return moments.covariance()


def _foreign_names(held: tuple[str, ...], key: str | None, path: PathLike) -> tuple[str, str]:
    for mean, covariance in PAIRS:
        if mean in held and covariance in held and f"{key}.mu" not in held:
            return mean, covariance  # no key needed; it may be meant for the other dataset
    keys = sorted(name[:-3] for name in held if name.endswith(".mu") and f"{name[:-3]}.cov" in held)
    if key is None and len(keys) == 1:
        key = keys[0]
    if key in keys:
        return f"{key}.mu", f"{key}.cov"
    if not keys:
        known = ", ".join(sorted(held)[:8]) or "nothing"
        needed = "expected mu and sigma, mu_ref and sigma_ref, or NAME.mu and NAME.cov"
        raise StatisticsError(path, f"not a statistics file: it holds {known}; {needed}")
    asked = "several statistics" if key is None else f"no statistics called {key!r}"
    raise StatisticsError(path, f"{asked}; choose with --key: {', '.join(keys)}")


def _own(arrays: Arrays, path: PathLike) -> Stored:
    metadata = _metadata(arrays["metadata"], path)
    count = _count(arrays["count"], path, 0 if metadata.get("shard") else 1)
    if "factor" not in arrays:
        moments = Moments.of_statistics(arrays["mu"], arrays["sigma"], count, path)
        return Stored(moments, metadata)
    parts = {"count": arrays["count"], "mean": arrays["mu"], "factor": arrays["factor"]}
    moments = Moments.from_arrays(parts, path)
    if count >= 2:
        _check_factor(moments, arrays["sigma"], path)
    return Stored(moments, metadata)


def _check_factor(moments: Moments, covariance: NDArray[Any], path: PathLike) -> None:
    """StatisticsError unless `sigma`, which other tools read, agrees with `factor`, read here."""
    assert moments.factor is not None
    sigma = real_array(covariance, 2, "sigma", path)
    scatter = gram(moments.factor)
    tolerance = 1e-9 * float(np.abs(scatter).max())
    if sigma.shape != scatter.shape or not bool(
        np.all(np.abs(sigma * (moments.count - 1) - scatter) <= tolerance)
    ):
        raise StatisticsError(path, "sigma and factor do not agree")


def _count(array: NDArray[Any], path: PathLike, least: int) -> int:
    if array.shape != () or array.dtype.kind not in "iu" or not least <= int(array) < 2**53:
        raise StatisticsError(path, f"count must be a single integer of at least {least}")
    return int(array)


def _metadata(array: NDArray[Any], path: PathLike) -> dict[str, Any]:
    if array.shape != () or array.dtype.kind != "U" or array.dtype.itemsize > 4 * LARGEST_METADATA:
        raise StatisticsError(
            path, "metadata must be a single string of up to 1,000,000 characters"
        )
    return metadata_of(array, path)


def metadata_of(array: NDArray[Any], path: PathLike) -> dict[str, Any]:
    """The JSON object in an array of one string; StatisticsError for anything else."""
    if array.shape != () or array.dtype.kind != "U":
        raise StatisticsError(path, "metadata must be a single string")
    try:
        values = json.loads(str(array))
    except (ValueError, RecursionError) as error:
        raise StatisticsError(path, f"metadata is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise StatisticsError(path, "metadata is not a JSON object")
    if _deeper(values, DEEPEST_METADATA):
        raise StatisticsError(path, f"metadata is nested more than {DEEPEST_METADATA} levels deep")
    return values


def _deeper(value: object, limit: int) -> bool:
    level = [value]
    for _ in range(limit):
        level = [
            inner
            for one in level
            if isinstance(one, dict | list)
            for inner in (one.values() if isinstance(one, dict) else one)
        ]
    return bool(level)


def names(path: PathLike) -> tuple[str, ...]:
    """The names of the arrays in an .npz file; StatisticsError if it cannot be read."""
    if os.fspath(path).endswith(npz.SUFFIX):
        raise StatisticsError(
            path, "a single array (.npy), which does not say what it contains: save the mu and"
            " sigma of statistics with numpy.savez, or recreate the file with `stats` or `embed`",
        )  # fmt: skip
    if "://" in os.fspath(path):
        raise StatisticsError(path, "statistics and embeddings are read from local files: fetch it")
    try:
        return tuple(npz.names(path))
    except CheckpointError as error:
        raise StatisticsError(path, error.reason) from error


def _read(path: PathLike, names: tuple[str, ...]) -> Arrays:
    try:
        return npz.read(path, names)
    except CheckpointError as error:
        raise StatisticsError(path, error.reason) from error
