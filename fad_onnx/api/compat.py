"""The class of frechet-audio-distance, for scripts written for it: a thin shell over the API.

Constructor, methods and defaults are the same. Where the original prints a message and returns -1,
or silently drops files, this class raises an error.
"""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import (
    KeywordError,
    NoAudioError,
    OptionError,
    StatisticsError,
    TooFewEmbeddingsError,
)
from ..files import outputs
from ..metrics.definitions.fad import few
from ..metrics.frechet import Gaussian, frechet_distance
from ..metrics.moments import Moments
from ..networks import machine, table
from ..networks.table import Model
from ..pipeline import datasets
from ..pipeline.options import PathLike, Progress, RunOptions
from ..pipeline.run import Run
from ..weights.prepare import Progress as FetchProgress
from .streaming import StreamingFAD

ORIGINAL = "gudgud96"  # the protocol of the package that this class comes from
logger = logging.getLogger("fad_onnx")


def refuse(unknown: Mapping[str, Any], made: type) -> None:
    """KeywordError for arguments that a class does not have."""
    for name in unknown:
        raise KeywordError(name, inspect.signature(made).parameters.keys() - {"unknown"})


def as_original(
    run: RunOptions, model: Model, ckpt_dir: PathLike | None, audio_load_worker: int
) -> RunOptions:
    """The options that follow from the original's arguments, with its protocol by default."""
    original = ORIGINAL if ORIGINAL in model.protocols else None
    workers = min(audio_load_worker, machine.cores()) if run.workers is None else run.workers
    folders = run.folders if ckpt_dir is None else [ckpt_dir]
    return replace(run, workers=workers, folders=folders, protocol=run.protocol or original)


class FrechetAudioDistance(StreamingFAD):
    """Frechet audio distance with the interface of frechet_audio_distance.FrechetAudioDistance.

    A copy shares the loaded model. A pickle loads it again when it is first needed, and drops
    `executor` and `progress`, which belong to one process.

    Parameters
    ----------
    ckpt_dir : path, optional
        A folder searched for official checkpoint files; without it, the cache is used.
    model_name : str
        "vggish", "pann", "clap" or "encodec", or any name in `fad_onnx.models()`.
    submodel_name : str, optional
        The variant of CLAP.
    sample_rate : int, optional
        The variant of PANN or Encodec, in Hz.
    channels : int, optional
        Accepted if the model can take it; otherwise an error.
    use_pca, use_activation : bool
        Options of VGGish.
    verbose : bool
        Accepted; nothing is printed, warnings are logged.
    audio_load_worker : int
        The number of threads.
    enable_fusion : bool
        The variant of CLAP with feature fusion.
    protocol : str, optional
        By default "gudgud96", the preparation of the original, and "native" for a model that the
        original does not have.
    options, weights, ..., download_progress
        See `RunOptions`.

    Raises
    ------
    OptionError, UnknownModelError
        For a combination that no model has.
    KeywordError
        For an argument that does not exist.

    Examples
    --------
    >>> import numpy as np
    >>> from fad_onnx import FrechetAudioDistance
    >>> metric = FrechetAudioDistance(model_name="logmel", provider="cpu")
    >>> noise = np.random.RandomState(0).uniform(-1, 1, (4, 32000))
    >>> metric.get_embeddings(list(noise), sr=16000).shape
    (8, 128)
    """

    def __init__(
        self,
        ckpt_dir: PathLike | None = None,
        model_name: str = "vggish",
        submodel_name: str | None = None,
        sample_rate: int | None = None,
        channels: int | None = None,
        use_pca: bool = False,
        use_activation: bool = False,
        verbose: bool = False,
        audio_load_worker: int = 8,
        enable_fusion: bool = False,
        protocol: str | None = None,
        *,
        options: Mapping[str, Any] | None = None,
        weights: PathLike | Mapping[str, PathLike] | None = None,
        folders: Sequence[PathLike] = (),
        provider: str = "auto",
        threads: int = 1,
        device: int = 0,
        memory_limit_mb: int | None = None,
        workers: int | None = None,
        short: str = "error",
        skip_errors: bool = False,
        sample_format: str = "float32",
        cache: bool = True,
        cache_dir: PathLike | None = None,
        offline: bool = False,
        executor: Executor | None = None,
        progress: bool | Progress | None = None,
        download_progress: FetchProgress | None = None,
        **unknown: Any,
    ) -> None:
        run = RunOptions.of(locals())
        refuse(unknown, type(self))
        self.model = table.resolve_alias(
            model_name,
            sample_rate=sample_rate,
            submodel_name=submodel_name,
            enable_fusion=enable_fusion,
        )
        needed = self.model.preparation.channel_count
        if channels is not None and (channels not in (1, 2) or channels < needed):
            raise OptionError("channels", f"{channels}; {self.model.name} needs {needed}")
        named = {"use_pca": use_pca, "use_activation": use_activation}
        chosen = {key: value for key, value in named.items() if value}
        self.model.choose({key: str(value) for key, value in chosen.items()})
        self.sample_rate, self.verbose = self.model.preparation.sample_rate_hz, verbose
        run = as_original(run, self.model, ckpt_dir, audio_load_worker)
        self._start(self.model.name, replace(run, options={**chosen, **(options or {})}))

    def get_embeddings(self, x: Iterable[ArrayLike], sr: int) -> NDArray[np.float32]:
        """Embed clips in memory.

        Parameters
        ----------
        x : iterable of arrays (frames,) or (frames, channels)
            Float in [-1, 1], int16 or int32.
        sr : int
            The sample rate of all clips, in Hz.

        Returns
        -------
        ndarray of float32, shape (n, width)
            The embeddings of all clips, in order.

        Raises
        ------
        NoAudioError
            If there is no clip.
        AudioError, TooShortError
            If a clip cannot be used.
        """
        x = list(x)
        if not x:
            raise NoAudioError("x", "a sequence of clips is needed, it is empty")
        return np.concatenate([self.embedder.embed(samples, sr) for samples in x])

    def calculate_embd_statistics(
        self, embd_lst: ArrayLike | Sequence[ArrayLike]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The mean and the covariance of embeddings.

        Parameters
        ----------
        embd_lst : array (n, width)

        Returns
        -------
        tuple of ndarray of float64
            The mean (width,) and the covariance (width, width), with ddof 1.

        Raises
        ------
        StatisticsError
            If the array is not one of embeddings.
        TooFewEmbeddingsError
            For fewer than two embeddings.
        """
        moments = Moments.of(np.asarray(embd_lst))
        return moments.mean, moments.covariance()

    def calculate_frechet_distance(
        self, mu1: ArrayLike, sigma1: ArrayLike, mu2: ArrayLike, sigma2: ArrayLike,
        eps: float = 1e-6,
    ) -> float:  # fmt: skip
        """The Frechet distance of two Gaussians.

        Parameters
        ----------
        mu1, mu2 : array (width,)
            The means.
        sigma1, sigma2 : array (width, width)
            The covariances.
        eps : float
            Accepted and ignored: no matrix square root is computed, so the diagonal needs no noise.

        Returns
        -------
        float

        Raises
        ------
        StatisticsError
            If the arrays are not means and covariances of the same width.
        """
        first = Gaussian.of_statistics(*_at_least(mu1, sigma1), "the first dataset")
        return frechet_distance(
            first, Gaussian.of_statistics(*_at_least(mu2, sigma2), "the second")
        )

    def score(
        self,
        background_dir: PathLike,
        eval_dir: PathLike,
        background_embds_path: PathLike | None = None,
        eval_embds_path: PathLike | None = None,
        dtype: str = "float32",
    ) -> float:
        """The FAD of one folder of clips to another.

        Parameters
        ----------
        background_dir, eval_dir : path
            The folders of the reference and of the evaluation.
        background_embds_path, eval_embds_path : path, optional
            An .npy file of embeddings, read if it exists, else written. It does not record which
            model made it, so choose a name that does.
        dtype : str
            The type to which PCM is decoded, such as "float32" or "int16".

        Returns
        -------
        float

        Raises
        ------
        OutputError
            Before any work, if a file cannot be written or is named for both folders.
        FadError
            Where the original returns -1.
        """
        stored = [path for path in (background_embds_path, eval_embds_path) if path is not None]
        outputs.check([path for path in stored if not os.path.exists(path)])
        background = self._embeddings(background_dir, background_embds_path, dtype)
        evaluation = self._embeddings(eval_dir, eval_embds_path, dtype)
        return frechet_distance(
            Moments.of(background, background_dir), Moments.of(evaluation, eval_dir)
        )

    def _embeddings(self, folder: PathLike, stored: PathLike | None, dtype: str) -> NDArray[Any]:
        if stored is not None and Path(stored).exists():
            return read_embeddings(Path(stored), self._width)
        files = datasets.list_files([folder])
        # The model is loaded once, not for each dataset.
        run = Run(self.embedder.decoding(dtype), self._run.of_files(), keep_embeddings=True)
        (made,) = run.embed(os.fspath(folder), files)
        for text in (*made.warnings, *few(made.path, made.moments)):
            logger.warning("%s", text)
        embeddings = np.concatenate(made.embeddings_by_file or ())
        if len(embeddings) < 2:
            raise TooFewEmbeddingsError(folder, len(embeddings), 2)
        if stored is not None:
            outputs.write(stored, lambda out: np.save(out, embeddings, allow_pickle=False))
        return embeddings


def _at_least(mu: ArrayLike, sigma: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    return np.atleast_1d(np.asarray(mu)), np.atleast_2d(np.asarray(sigma))


def read_embeddings(path: Path, dimension: int) -> NDArray[Any]:
    """The embeddings (n, dimension) of an .npy file; StatisticsError if it holds no such array."""
    try:
        with open(path, "rb") as file:
            embeddings: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise StatisticsError(
            path, f"not an .npy file of embeddings: {error} (`fad-onnx score` takes an .npz)"
        ) from error
    if embeddings.ndim == 1 and dimension == 1:
        return embeddings[:, None]  # embeddings of the original's PANN
    if embeddings.ndim != 2 or embeddings.shape[1] != dimension:
        problem = f"shape {embeddings.shape}, needed is (count, {dimension}): not of this model"
        raise StatisticsError(path, f"{problem}, or of another protocol; remove it to compute anew")
    return embeddings
