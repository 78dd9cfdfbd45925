"""The class of frechet-audio-distance for the CLAP score, for scripts written for it.

Constructor, methods and defaults are the same. Where the original prints a message and returns -1,
this class raises an error. It pairs clips with captions by name, where the original relies on the
order of the folder.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..audio.sources import AudioFile
from ..errors import NoAudioError
from ..files import outputs
from ..metrics.definitions.clap_score import cosines
from ..networks import table
from ..networks.embedder import Embedder
from ..networks.text import TextEmbedder
from ..pipeline import datasets
from ..pipeline.options import PathLike, Progress, RunOptions
from ..pipeline.run import Run
from ..weights import prepare
from ..weights.prepare import Progress as FetchProgress
from .compat import as_original, read_embeddings, refuse
from .text import Captions, cut

logger = logging.getLogger("fad_onnx")


class CLAPScore:
    """CLAP score with the interface of frechet_audio_distance.CLAPScore.

    Parameters
    ----------
    ckpt_dir : path, optional
        A folder searched for official checkpoint files; without it, the cache is used.
    submodel_name : str
        "630k-audioset", "630k", "music_audioset", "music_speech" or "music_speech_audioset".
    verbose : bool
        Accepted; nothing is printed, warnings are logged.
    audio_load_worker : int
        Threads.
    enable_fusion : bool
        Use the checkpoint with feature fusion; only the first two have one.
    protocol : str, optional
        By default "gudgud96", the preparation of the original.
    options, weights, ..., download_progress
        See `RunOptions`.

    Raises
    ------
    OptionError
        For a combination that no model has.
    KeywordError
        For an argument that does not exist.

    Examples
    --------
    >>> from fad_onnx import CLAPScore
    >>> metric = CLAPScore(provider="cpu")  # loads nothing yet
    >>> metric.model.name, metric.sample_rate
    ('clap', 48000)
    """

    def __init__(
        self,
        ckpt_dir: PathLike | None = None,
        submodel_name: str = "630k-audioset",
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
            "clap", submodel_name=submodel_name, enable_fusion=enable_fusion
        )
        self.submodel_name, self.verbose = submodel_name, verbose
        self.sample_rate = self.model.preparation.sample_rate_hz
        self._run = as_original(run, self.model, ckpt_dir, audio_load_worker)

    @cached_property
    def embedder(self) -> Embedder:
        """The model of audio; loaded when it is first needed."""
        return Run(self.model.name, self._run).for_samples()

    @cached_property
    def tower(self) -> TextEmbedder:
        """The model of text; loaded when it is first needed."""
        (request,) = Run(self.model.name, self._run).requests
        return prepare.load_text(request, self._run.download_progress)

    def __getstate__(self) -> dict[str, Any]:
        loaded = ("embedder", "tower")
        return {name: value for name, value in vars(self).items() if name not in loaded}

    def get_text_embeddings(self, text_data: Iterable[str]) -> NDArray[np.float32]:
        """Embed captions.

        Parameters
        ----------
        text_data : iterable of str
            The captions. Captions beyond the tower's length are cut, with a warning.

        Returns
        -------
        ndarray of float32, shape (captions, 512)

        Raises
        ------
        CaptionError
            If a caption is not text.
        """
        encoded = self.tower.encode(text_data)
        if said := cut(encoded, self.tower):
            logger.warning("%s", said)
        return self.tower.embed(encoded, self._run.worker_count)

    def get_audio_embeddings(self, x: Iterable[ArrayLike], sr: int) -> NDArray[np.float32]:
        """Embed clips in memory.

        Parameters
        ----------
        x : iterable of arrays (frames,) or (frames, channels)
            Float in [-1, 1], int16 or int32.
        sr : int
            The sample rate of all clips, in Hz.

        Returns
        -------
        ndarray of float32, shape (clips, 512)

        Raises
        ------
        NoAudioError
            If there is no clip.
        AudioError, TooShortError
            If a clip cannot be used.
        """
        clips = list(x)
        if not clips:
            raise NoAudioError("x", "a sequence of clips is needed, it is empty")
        return np.concatenate([self.embedder.embed(samples, sr) for samples in clips])

    def calculate_clap_score(
        self, text_embds: ArrayLike, audio_embds: ArrayLike, batch_size: int = 10
    ) -> tuple[float, float]:
        """Mean and population standard deviation of the cosine similarities of pairs.

        Parameters
        ----------
        text_embds, audio_embds : array (pairs, width)
            Embedding i of one array belongs to embedding i of the other.
        batch_size : int
            Accepted and ignored.

        Returns
        -------
        tuple of float
            The mean and the standard deviation, between -1 and 1.

        Raises
        ------
        StatisticsError
            For arrays of different shapes.

        Examples
        --------
        >>> from fad_onnx import CLAPScore
        >>> CLAPScore(provider="cpu").calculate_clap_score([[1, 0], [0, 2]], [[3, 0], [0, 4]])
        (1.0, 0.0)
        """
        found = cosines(audio_embds, text_embds)
        return float(found.mean()), float(found.std())

    def score(
        self,
        text_path: PathLike,
        audio_dir: PathLike,
        text_column: str = "caption",
        text_embds_path: PathLike | None = None,
        audio_embds_path: PathLike | None = None,
        batch_size: int = 10,
        dtype: str = "float32",
    ) -> tuple[float, float]:
        """Mean and standard deviation of the cosine similarities of clips and their captions.

        Parameters
        ----------
        text_path : path
            A .csv, .tsv or .jsonl of captions, with a column `file`: a clip's path relative to
            `audio_dir`, with or without suffix.
        audio_dir : path
            A folder of clips.
        text_column : str
            The column of the captions.
        text_embds_path, audio_embds_path : path, optional
            An .npy file of embeddings in the order of the clips by name; read if it exists, else
            written. It records neither the model nor the clips, so choose a name that does.
        batch_size : int
            Accepted and ignored.
        dtype : str
            The type to which PCM is decoded, such as "float32" or "int16".

        Returns
        -------
        tuple of float
            The mean and the population standard deviation.

        Raises
        ------
        UncaptionedError
            For clips without a caption, and captions without a clip.
        CaptionError
            For a file of captions that cannot be read.
        FadError
            Where the original returns -1.
        """
        stored = [path for path in (text_embds_path, audio_embds_path) if path is not None]
        new = [path for path in stored if not os.path.exists(path)]
        outputs.check(new, [text_path])
        text, audio = self._read(text_embds_path), self._read(audio_embds_path)
        if text is None or audio is None:
            captions = Captions.read(text_path, text_column)
            files = self._captioned(captions, audio_dir)
            if audio is None:
                files, audio = self._embedded(audio_dir, files, dtype)
            if text is None:
                text = self.get_text_embeddings(self._texts(captions, audio_dir, files))
        for path, embeddings in ((text_embds_path, text), (audio_embds_path, audio)):
            if path in new:
                outputs.write(path, partial(_save, embeddings))
        return self.calculate_clap_score(text, audio, batch_size)

    def _read(self, path: PathLike | None) -> NDArray[Any] | None:
        if path is None or not os.path.exists(path):
            return None
        return read_embeddings(Path(path), self.model.output().width)

    def _captioned(self, captions: Captions, folder: PathLike) -> list[AudioFile]:
        """The clips that have a caption; UncaptionedError unless all have one."""
        files = datasets.list_files([folder])
        names = [file.name for file in files]
        found = captions.of(names, os.fspath(folder), self._run.skip_errors)
        return [file for file, one in zip(files, found, strict=True) if one is not None]

    def _embedded(
        self, folder: PathLike, files: Sequence[AudioFile], dtype: str
    ) -> tuple[list[AudioFile], NDArray[np.float32]]:
        """The clips that could be used, and an embedding of each."""
        run = Run(self.embedder.decoding(dtype), self._run.of_files(), keep_embeddings=True)
        (made,) = run.embed(os.fspath(folder), files)
        for text in made.warnings:
            logger.warning("%s", text)
        used = {one.name for one in made.files}
        embeddings = [own.mean(axis=0) for own in made.embeddings_by_file or ()]
        return [file for file in files if file.name in used], np.stack(embeddings)

    def _texts(self, captions: Captions, folder: PathLike, files: Sequence[AudioFile]) -> list[str]:
        """The caption of each of these clips, which all have one."""
        found = captions.of([file.name for file in files], os.fspath(folder), skip=True)
        return [one for one in found if one is not None]


def _save(embeddings: NDArray[Any], out: Any) -> None:
    np.save(out, embeddings, allow_pickle=False)
