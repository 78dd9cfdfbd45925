"""A loaded model, which turns windows or samples into embeddings."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..audio.arrays import as_frames, checked_rate
from .group import Group
from .memory import check_fits
from .network import HEAD_FILE
from .preparation import Preparation
from .runtime import Session
from .selection import Selection
from .windows import Window, Windower, checked_short

if TYPE_CHECKING:
    from ..weights.prepare import Request

Embeddings = NDArray[np.float32]


@dataclass(frozen=True)
class Embedder:
    """A loaded model, as `load_model` returns it.

    Safe to use from many threads. The embeddings of a clip do not depend on the other clips in a
    batch. A copy is the same object; a pickle holds only the request, from which it loads the model
    again.

    Parameters
    ----------
    selection : Selection
        The model with all options resolved.
    session : Session
        The session of ONNX Runtime that runs the network.
    weights : mapping of str to mapping
        For each checkpoint its file, its SHA-256 and how it was checked.
    tensors_sha256 : str
        The hash of all weights of the network.
    short : {"error", "pad"}
        What `embed` does with a clip below the model's minimum length.
    request : Request, optional
        What was asked for, from which a pickle loads the model again.

    Examples
    --------
    >>> import fad_onnx
    >>> model = fad_onnx.load_model("logmel", provider="cpu")
    >>> model.name, model.width, model.preparation.sample_rate_hz
    ('logmel', 128, 16000)
    """

    selection: Selection
    session: Session
    weights: Mapping[str, Mapping[str, Any]]
    tensors_sha256: str
    short: str = "error"
    request: Request | None = field(default=None, repr=False, compare=False)

    def __copy__(self) -> Embedder:
        return self

    def __deepcopy__(self, memo: object) -> Embedder:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        from ..weights.prepare import load_again

        if self.request is None:
            return Embedder, tuple(getattr(self, own.name) for own in fields(self))
        form = self.preparation.sample_format
        return load_again, (self.request, self.fingerprint, form, self.short)

    def __repr__(self) -> str:
        return f"<Embedder {self.selection.label}, weights {self.tensors_sha256[:12]}>"

    @property
    def name(self) -> str:
        """The name of the model."""
        return self.selection.model.name

    @property
    def label(self) -> str:
        """The name of the model with all non-default options."""
        return self.selection.label

    @property
    def width(self) -> int:
        """The dimension of an embedding."""
        return self.selection.width

    @property
    def preparation(self) -> Preparation:
        """The preparation of the model."""
        return self.selection.preparation

    @cached_property
    def fingerprint(self) -> str:
        """A hash of everything that two datasets must share to be comparable."""
        return self.selection.fingerprint(self.tensors_sha256)

    def decoding(self, sample_format: str) -> Embedder:
        """The same model and session, with PCM decoded to another type.

        Parameters
        ----------
        sample_format : str
            The type, such as "float32" or "int16".

        Returns
        -------
        Embedder

        Raises
        ------
        OptionError
            If there is no such type.
        """
        return replace(self, selection=self.selection.decoding(sample_format))

    @property
    def batch_windows(self) -> int:
        """Windows of up to ten seconds in one run of the network."""
        batch = self.selection.network.batch
        return batch.gpu if self.session.provider.accelerator else batch.cpu

    def windower(self, short: str, path: str = "samples") -> Windower:
        """A new Windower for the samples of one clip.

        Parameters
        ----------
        short : {"error", "skip", "pad"}
            What to do with a clip below the model's minimum length.
        path : str
            What error messages call the clip.

        Returns
        -------
        Windower
        """
        return Windower(self.preparation, self.selection.network.tiles, short, path)

    def batches(self, windows: Sequence[Window]) -> Iterator[Sequence[Window]]:
        """Split windows into batches of consecutive windows of the same shape.

        Parameters
        ----------
        windows : sequence of Window

        Yields
        ------
        sequence of Window
            At most `batch_windows` of them.
        """
        for _, alike in groupby(windows, lambda window: window.samples.shape):
            same = list(alike)
            for start in range(0, len(same), self.batch_windows):
                yield same[start : start + self.batch_windows]

    def run(self, windows: Sequence[Window]) -> list[Embeddings]:
        """Run the network on one batch.

        Parameters
        ----------
        windows : sequence of Window
            Windows of the same shape.

        Returns
        -------
        list of ndarray of float32, shape (n, width)
            The embeddings of each window, or the steps of a tile.
        """
        return [embeddings for (embeddings,) in Group((self,)).run(windows)]

    @cached_property
    def head(self) -> Session:
        """The graph that computes the outputs from the steps of all tiles of a clip."""
        return Session(self.session.graph.with_name(HEAD_FILE), self.session.settings)

    def embed_many(
        self,
        clips: Iterable[tuple[ArrayLike, int]],
        *,
        workers: int | None = None,
        short: str | None = None,
        cache: bool = False,
    ) -> Iterator[Embeddings]:
        """Embed clips in memory, on several threads and in batches across clips.

        Parameters
        ----------
        clips : iterable of (samples, sample_rate)
            What `embed` takes; the clips are read as they are needed, some 100 ahead.
        workers : int, optional
            The number of threads, by default the number of cores.
        short : {"error", "pad"}, optional
            What to do with a clip below the minimum; by default what the model was loaded with.
        cache : bool
            Whether to look for embeddings in the cache, by the content of the samples, and to
            keep new ones there.

        Yields
        ------
        ndarray of float32, shape (n, width)
            The embeddings of each clip, in the order of the clips; the same numbers as `embed`.

        Raises
        ------
        AudioError, TooShortError, TooLongError
            For a clip that cannot be used, as soon as it is read; the message gives its index,
            as in "clip 3".

        Examples
        --------
        >>> import numpy as np
        >>> import fad_onnx
        >>> model = fad_onnx.load_model("logmel", provider="cpu")
        >>> noise = np.random.RandomState(0).uniform(-1, 1, (3, 32000))
        >>> [found.shape for found in model.embed_many((clip, 16000) for clip in noise)]
        [(2, 128), (2, 128), (2, 128)]
        """
        from ..pipeline.samples import embed_many  # the pipeline runs models, and imports them

        return embed_many(self, clips, workers, self.short if short is None else short, cache)

    def embed_file(
        self, path: str | os.PathLike[str] | bytes, *, short: str | None = None, cache: bool = False
    ) -> Embeddings:
        """Embed one audio file, decoded block by block.

        Parameters
        ----------
        path : path or bytes
            The file, or its content.
        short, cache
            As in `embed_many`.

        Returns
        -------
        ndarray of float32, shape (n, width)
            Its embeddings, the same numbers as `fad_onnx.embed` gives.

        Raises
        ------
        AudioError, TooShortError, TooLongError
            If the file cannot be used.

        Examples
        --------
        >>> import tempfile, numpy, soundfile, fad_onnx
        >>> model = fad_onnx.load_model("logmel", provider="cpu")
        >>> with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        ...     soundfile.write(file.name, numpy.full(32000, 0.1), 16000)
        ...     model.embed_file(file.name).shape
        (2, 128)
        """
        from ..pipeline.samples import embed_file

        return embed_file(self, path, self.short if short is None else short, cache)

    def embed(
        self, samples: ArrayLike, sample_rate: int, *, short: str | None = None
    ) -> Embeddings:
        """Embed one clip in memory.

        Parameters
        ----------
        samples : array (frames,) or (frames, channels)
            Float in [-1, 1], int16 or int32; anything with `__array__`.
        sample_rate : int
            In Hz.
        short : {"error", "pad"}, optional
            What to do with a clip below the model's minimum length; by default what the model was
            loaded with.

        Returns
        -------
        ndarray of float32, shape (n, width)

        Raises
        ------
        AudioError
            If the samples cannot be used.
        TooShortError
            If the clip is below the model's minimum length.
        TooLongError
            If the clip needs more memory than is available.
        OptionError
            If the sample rate or `short` is not valid.

        Examples
        --------
        >>> import fad_onnx
        >>> model = fad_onnx.load_model("logmel", provider="cpu")
        >>> model.embed([0.1] * 32000, sample_rate=16000).shape
        (2, 128)
        """
        short = checked_short("short", self.short if short is None else short)
        block = as_frames(samples)
        sample_rate = checked_rate(sample_rate)
        check_fits(self.selection, "samples", len(block), sample_rate)
        resampler = self.preparation.resample(sample_rate, block.shape[1])
        windows = self.windower(short).push(resampler.push(block, last=True), last=True)
        group = Group((self,))
        parts = [embeddings for batch in self.batches(windows) for embeddings in group.run(batch)]
        valid = [window.valid_samples for window in windows]
        tiled = windows[0].steps is not None
        (joined,) = group.join(parts, valid, len(block) / sample_rate, tiled)
        return joined
