"""A metric that is updated clip by clip, such as within a training loop."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

from numpy.typing import ArrayLike

from ..errors import IncompatibleStatisticsError
from ..metrics.frechet import Gaussian, frechet_distance
from ..metrics.moments import Moments, MomentsAccumulator
from ..networks.embedder import Embedder
from ..pipeline.options import PathLike, RunOptions
from ..pipeline.run import Model, Run, check_single
from ..weights.prepare import Progress as FetchProgress


class StreamingFAD:
    """The Frechet audio distance of clips in memory, updated one by one.

    A copy shares the loaded model; a pickle loads it again when it is first needed.

    Parameters
    ----------
    model : str, ModelSpec or Embedder, optional
        A name with options, as in "vggish:use_pca=true", or a loaded model.
    options : mapping of str to value, optional
        Options of the model, as in ``{"use_pca": True}``.
    protocol : str, optional
        A published harness whose preparation is used, such as "gudgud96".
    weights : path, or mapping of str to path, optional
        Checkpoints in place of the official ones.
    folders : sequence of paths
        Folders to search for official checkpoints before a download.
    provider : str
        Execution provider, such as "auto", "cpu" or "cuda".
    threads : int
        Threads within one run of the network.
    device : int
        Index of the GPU.
    memory_limit_mb : int, optional
        Limit of the GPU memory that ONNX Runtime uses, in MB.
    short : {"error", "pad"}
        What to do with a clip below the model's minimum length.
    offline : bool
        Use no network.
    download_progress : callable, optional
        Called with the name of a file, the bytes so far, and the total bytes or None.

    Raises
    ------
    OptionError
        If an option does not exist, or has a value that it cannot have.
    UnknownModelError
        If there is no such model.

    Examples
    --------
    >>> import numpy as np
    >>> from fad_onnx import StreamingFAD
    >>> fad, noise = StreamingFAD("logmel", provider="cpu"), np.random.RandomState(0)
    >>> for level in (1.0, 0.9):
    ...     fad.update(level * noise.uniform(-1, 1, 32000), sample_rate=16000, real=True)
    ...     fad.update(level * noise.uniform(-0.5, 0.5, 32000), sample_rate=16000, real=False)
    >>> fad.compute() > 0
    True
    """

    def __init__(
        self,
        model: Model | None = None,
        *,
        options: Mapping[str, Any] | None = None,
        protocol: str | None = None,
        weights: PathLike | Mapping[str, PathLike] | None = None,
        folders: Sequence[PathLike] = (),
        provider: str = "auto",
        threads: int = 1,
        device: int = 0,
        memory_limit_mb: int | None = None,
        short: str = "error",
        offline: bool = False,
        download_progress: FetchProgress | None = None,
    ) -> None:
        check_single(model)
        self._start(model, RunOptions.of(locals()))

    def _start(self, model: Model | None, run: RunOptions) -> None:
        self._asked, self._run = model, run
        self._width = Run(model, run).selections[0].width
        self._embedder: Embedder | None = None
        self._fingerprint: str | None = None  # in a copy, that of the original
        self._sides: dict[bool, MomentsAccumulator] = {}
        self.reset()

    @property
    def embedder(self) -> Embedder:
        """The model, loaded when it is first needed.

        Raises
        ------
        IncompatibleStatisticsError
            In a copy, if this process loads other weights than the original had.
        """
        if self._embedder is None:
            loaded = Run(self._asked, self._run).for_samples()
            if self._fingerprint not in (None, loaded.fingerprint):
                raise IncompatibleStatisticsError(
                    f"{loaded.name} of this process", "that of the copied metric",
                    "weights or version differ",
                )  # fmt: skip
            self._embedder = loaded
        return self._embedder

    def __getstate__(self) -> dict[str, Any]:
        known = self._embedder.fingerprint if self._embedder else self._fingerprint
        travels = replace(self._run, executor=None, progress=None, download_progress=None)
        return {**self.__dict__, "_embedder": None, "_fingerprint": known, "_run": travels}

    def __copy__(self) -> Self:
        return self.__deepcopy__({})

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # The model is shared; the added clips are not.
        copied = type(self).__new__(type(self))
        copied.__dict__.update(self.__dict__, _sides=copy.deepcopy(self._sides, memo))
        return copied

    def update(self, samples: ArrayLike, sample_rate: int, *, real: bool) -> None:
        """Add one clip to a side.

        Parameters
        ----------
        samples : array (frames,) or (frames, channels)
            Float in [-1, 1], int16 or int32; anything with `__array__`.
        sample_rate : int
            In Hz.
        real : bool
            Whether the clip belongs to the reference, or to the evaluation.

        Raises
        ------
        AudioError
            If the samples cannot be used.
        TooShortError
            If the clip is below the model's minimum length.
        TooLongError
            If the clip needs more memory than is available.
        """
        embeddings = self.embedder.embed(samples, sample_rate)
        self._sides[real].add(Moments.of(embeddings, "samples"))

    def update_many(
        self,
        clips: Iterable[tuple[ArrayLike, int]],
        *,
        real: bool,
        workers: int | None = None,
    ) -> None:
        """Add clips to a side, on several threads and in batches across clips.

        Parameters
        ----------
        clips : iterable of (samples, sample_rate)
            As `update` takes them.
        real : bool
            Whether the clips belong to the reference, or to the evaluation.
        workers : int, optional
            The number of threads, by default the number of cores.

        Raises
        ------
        AudioError, TooShortError, TooLongError
            If a clip cannot be used; the clips before it are not all added.
        """
        for embeddings in self.embedder.embed_many(clips, workers=workers):
            self._sides[real].add(Moments.of(embeddings, "samples"))

    def compute(self) -> float:
        """The FAD of the evaluation to the reference so far.

        Returns
        -------
        float

        Raises
        ------
        TooFewEmbeddingsError
            If a side has fewer than two embeddings.
        """
        reference, evaluation = self._sides[True].result(), self._sides[False].result()
        return frechet_distance(Gaussian.of(reference, "real"), Gaussian.of(evaluation, "not real"))

    def reset(self, *, real: bool | None = None) -> None:
        """Remove the clips that were added.

        Parameters
        ----------
        real : bool, optional
            Reset only this side, so that the reference can be kept from epoch to epoch.
        """
        for side in (True, False) if real is None else (real,):
            self._sides[side] = MomentsAccumulator(self._width)

    def state(self) -> dict[str, Any]:
        """The clips so far, to send to another process; see `merge_state`.

        Returns
        -------
        dict
            `real` and `fake`, both `Moments`, with the `model` and the `fingerprint` of their
            embeddings.
        """
        return {
            "model": self.embedder.name,
            "fingerprint": self.embedder.fingerprint,
            "real": self._sides[True].result(),
            "fake": self._sides[False].result(),
        }

    def merge_state(self, others: Iterable[StreamingFAD | Mapping[str, Any]]) -> Self:
        """Add the clips that other metrics of the same model have collected.

        Parameters
        ----------
        others : iterable of StreamingFAD or mapping
            Metrics, or what their `state` returned.

        Returns
        -------
        StreamingFAD
            This metric.

        Raises
        ------
        IncompatibleStatisticsError
            If one of them has another model; then nothing is added.
        """
        states = [one.state() if isinstance(one, StreamingFAD) else one for one in others]
        for state in states:
            if state["fingerprint"] != self.embedder.fingerprint:
                raise IncompatibleStatisticsError(
                    self.embedder.name, state["model"], "made by other models or weights"
                )
        for state in states:
            self._sides[True].add(state["real"])
            self._sides[False].add(state["fake"])
        return self
