"""A loaded model: windows or samples in, rows of embeddings out."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import audio, frontends
from .errors import AudioError, OptionError
from .fingerprint import fingerprint
from .manifest import Model, Windows
from .memory import check_fits
from .session import Network
from .windows import Cutter, Window, checked_short

if TYPE_CHECKING:
    from .weights import Request

Rows = NDArray[np.float32]
HEAD_FILE = "head.onnx"  # beside model.onnx, for the models that have one


@dataclass(frozen=True)
class Embedder:
    """A row of the table, the user's options, and the network that runs it.

    Safe to use from many threads; the rows of a clip do not depend on what else is in a batch.
    A copy is the same object; a pickle holds what was asked for, and loads it again.
    """

    model: Model
    chosen: Mapping[str, str]
    network: Network
    weights: Mapping[str, Mapping[str, Any]]  # checkpoint name -> file, sha256, what was checked
    tensors_sha256: str
    sample_format: str = "float32"
    short: str = "error"  # what `embed` does with a short clip
    request: Request | None = field(default=None, repr=False, compare=False)

    def __copy__(self) -> Embedder:
        return self

    def __deepcopy__(self, memo: object) -> Embedder:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        from .weights import load_again

        if self.request is None:
            return Embedder, tuple(getattr(self, own.name) for own in fields(self))
        return load_again, (self.request, self.fingerprint, self.sample_format, self.short)

    def __repr__(self) -> str:
        chosen = "".join(f" {key}={value}" for key, value in self.chosen.items())
        return f"<Embedder {self.model.name}{chosen}, weights {self.tensors_sha256[:12]}>"

    @cached_property
    def rules(self) -> Windows:
        """The row's window rules with the user's options."""
        return self.model.window_rules(self.chosen)

    @cached_property
    def seed(self) -> int:
        """The seed of what the options leave to chance."""
        return int(self.chosen.get("seed", 0))

    @cached_property
    def fingerprint(self) -> str:
        """What two sets must share so that their statistics may be compared."""
        return fingerprint(self.model, self.chosen, self.tensors_sha256, self.sample_format)

    @property
    def batch_windows(self) -> int:
        """Windows of up to ten seconds in one run of the network."""
        return self.model.batch_windows["gpu" if self.network.provider.accelerator else "cpu"]

    def cutter(self, short: str, path: str = "samples") -> Cutter:
        """What turns the samples of one clip into windows."""
        return Cutter(self.model, self.rules, short, self.seed, path)

    def batches(self, windows: Sequence[Window]) -> Iterator[Sequence[Window]]:
        """Windows in order, of one shape and at most `batch_windows` together."""
        for _, alike in groupby(windows, lambda window: window.samples.shape):
            same = list(alike)
            for start in range(0, len(same), self.batch_windows):
                yield same[start : start + self.batch_windows]

    def run(self, windows: Sequence[Window]) -> list[Rows]:
        """The rows (n, dim) of each of these windows of equal shape; of tiles, their steps."""
        # A view of a single window, which may be an hour long.
        single = len(windows) == 1
        stack = windows[0].samples[None] if single else np.stack([w.samples for w in windows])
        tiles = self.model.tiles if windows[0].steps is not None else None
        inputs = frontends.apply(self.model.frontend, stack)
        output = self.network.run(inputs, tiles.output if tiles else None)
        return [
            self._trim(np.atleast_2d(rows), window)
            for rows, window in zip(output, windows, strict=True)
        ]

    def _trim(self, rows: Rows, window: Window) -> Rows:
        if window.steps is not None:
            rows = rows[window.steps]
        elif self.model.samples_per_row is not None:
            rows = rows[: -(-window.valid_samples // self.model.samples_per_row)]
        return rows.copy()

    def join(self, parts: Sequence[Rows], tiled: bool) -> Rows:
        """The rows of a clip from those of its windows, or from the steps of its tiles."""
        joined = np.concatenate(parts)
        return self.head.run((joined[None],)) if tiled else joined

    @cached_property
    def head(self) -> Network:
        """What makes rows of the steps of all tiles of a clip."""
        assert self.model.tiles
        graph = self.network.graph.with_name(HEAD_FILE)
        return Network(graph, self.model.tiles.head_output, self.network.settings)

    def embed(self, samples: ArrayLike, sample_rate: int, *, short: str | None = None) -> Rows:
        """Rows float32 (n, dim) of one clip.

        samples: (frames,) or (frames, channels), float in [-1, 1] or int16 / int32.
        sample_rate: in Hz. short: "error" or "pad"; by default what the model was loaded with.
        Raises AudioError for unusable samples, TooShortError for a clip below the model's
        minimum, and TooLongError for one that the memory cannot take.
        """
        short = checked_short("short", self.short if short is None else short)
        block = as_frames(samples)
        sample_rate = _rate(sample_rate)
        check_fits(self.model, self.rules, "samples", len(block), sample_rate)
        conform = audio.Conform(
            sample_rate, self.model.sample_rate_hz, block.shape[1], self.model.channel_rule
        )
        windows = self.cutter(short).push(conform.push(block, last=True), last=True)
        parts = [rows for batch in self.batches(windows) for rows in self.run(batch)]
        return self.join(parts, windows[0].steps is not None)


def _rate(given: Any) -> int:
    """A rate in Hz, also where arithmetic has made a float of it; OptionError for what is none."""
    given = given.item() if isinstance(given, np.ndarray) and given.ndim == 0 else given
    number = isinstance(given, int | float | np.number)
    if not number or not audio.LOWEST_RATE_HZ <= given <= audio.HIGHEST_RATE_HZ or given % 1:
        raise OptionError("sample_rate", f"{given!r} is no rate of audio in Hz")
    return int(given)


def as_frames(samples: ArrayLike) -> NDArray[np.float32]:
    """Samples of any kind as finite float32 (frames, channels) in [-1, 1]."""
    try:
        array: NDArray[Any] = np.asarray(samples)
    except ValueError as error:
        raise AudioError("samples", f"no array of numbers: {error}") from error
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2 or not array.size:
        raise AudioError(
            "samples", f"shape {array.shape}; needed is (frames,) or (frames, channels)"
        )
    if array.shape[1] > array.shape[0] and array.shape[1] > 1024:
        raise AudioError("samples", f"shape {array.shape} has more channels than frames; transpose")
    if array.dtype.kind in "iu":
        if array.dtype.name not in audio.FULL_SCALE:
            raise AudioError("samples", f"{array.dtype} samples; use float32, int16 or int32")
        array = array / audio.FULL_SCALE[array.dtype.name]
    elif array.dtype.kind != "f":
        raise AudioError("samples", f"{array.dtype} samples; use float32, int16 or int32")
    if audio.check_usable("samples", array) > audio.LOUD:
        warnings.warn(
            f"samples beyond {audio.LOUD:g}: floats are taken as they are, and full scale is 1;"
            " divide what was int16 by 32768",
            stacklevel=3,
        )
    return array.astype(np.float32)
