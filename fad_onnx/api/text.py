"""Captions: their embeddings, and the clip that each one describes."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..audio.sources import SUFFIXES
from ..cache.embeddings import CachedEmbeddings, EmbeddingCache
from ..errors import CaptionError, UncaptionedError
from ..files import captions as files
from ..metrics.registry import Arrays
from ..metrics.units import stem_of
from ..networks.text import TextEmbedder
from ..networks.tokenizer import Encoded
from ..pipeline.options import PathLike, RunOptions
from ..pipeline.run import Model, Run, check_single
from ..weights import prepare
from ..weights.prepare import Progress as FetchProgress

logger = logging.getLogger("fad_onnx")


def embed_text(
    captions: str | Iterable[str],
    model: Model,
    *,
    weights: PathLike | Mapping[str, PathLike] | None = None,
    folders: Sequence[PathLike] = (),
    provider: str = "auto",
    threads: int = 1,
    device: int = 0,
    memory_limit_mb: int | None = None,
    workers: int | None = None,
    offline: bool = False,
    download_progress: FetchProgress | None = None,
) -> NDArray[np.float32]:
    """Embed captions with the text tower of a model.

    Parameters
    ----------
    captions : str or iterable of str
        The captions. Captions that exceed the tower's length are cut; a warning counts them.
    model : str, ModelSpec or Embedder
        A model with a text tower, such as "clap".
    weights : path, or mapping of str to path, optional
        Files to use instead of the official ones: "main", "vocab" and "merges".
    folders, provider, ..., download_progress
        See `RunOptions`.

    Returns
    -------
    ndarray of float32, shape (captions, width)
        In the space of the model's audio embeddings.

    Raises
    ------
    OptionError
        If the model has no text tower.
    CaptionError
        If a caption is not text, or holds half of a surrogate pair.
    FadError
        As `load_model` does.

    Examples
    --------
    >>> import fad_onnx
    >>> fad_onnx.embed_text("rain on a roof", "clap").shape  # doctest: +SKIP
    (1, 512)
    """
    run = RunOptions.of(locals())
    check_single(model)
    (request,) = Run(model, run).requests
    tower = prepare.load_text(request, download_progress)
    encoded = tower.encode([captions] if isinstance(captions, str) else captions)
    if text := cut(encoded, tower):
        logger.warning("%s", text)
    return tower.embed(encoded, run.worker_count)


def cut(encoded: Sequence[Encoded], tower: TextEmbedder) -> str | None:
    """The warning about captions that are too long, or None."""
    count, most = sum(one.cut for one in encoded), tower.tokenizer.longest
    return f"{count} of {len(encoded)} captions were cut at {most} tokens" if count else None


@dataclass(frozen=True)
class Captions:
    """A file of captions by the names of clips."""

    path: str
    by_name: Mapping[str, str]

    @classmethod
    def read(cls, path: PathLike, caption_column: str = files.CAPTION) -> Captions:
        """See `fad_onnx.files.captions.read`."""
        return cls(os.fspath(path), files.read(path, caption_column))

    def of(self, names: Sequence[str], dataset: str, skip: bool) -> list[str | None]:
        """The caption of each clip; None for a clip without one, if such clips may be skipped.

        Parameters
        ----------
        names : sequence of str
            The clips' paths relative to their dataset. A caption may name one without its suffix,
            or with that of another audio format, if no other clip has the same path otherwise.
        dataset : str
            The name of the dataset in messages.
        skip : bool
            Whether clips without a caption, and captions without a clip, are skipped.

        Raises
        ------
        UncaptionedError
            For clips without a caption, or captions without a clip, unless they are skipped.
        CaptionError
            If two captions name the same clip, or no clip has a caption.
        """
        clips = _places(names)
        found: dict[int, str] = {}
        gone = []
        for name in self.by_name:
            place = next((clips[form] for form in _forms(name) if form in clips), None)
            if place is None:
                gone.append(name)
            elif place in found:
                problem = f"{found[place]!r} and {name!r} both name {names[place]}"
                raise CaptionError(self.path, f"{problem} of {dataset}")
            else:
                found[place] = name
        alone = [name for place, name in enumerate(names) if place not in found]
        if (alone or gone) and not skip:
            raise UncaptionedError(self.path, gone, dataset, alone)
        if not found:
            raise CaptionError(self.path, f"names no clip of {dataset}")
        return [self.by_name[found[i]] if i in found else None for i in range(len(names))]


class CaptionedClips:
    """The captions of a call, each embedded once by the text tower of one model.

    Parameters
    ----------
    captions : Captions
    tower : TextEmbedder
    workers : int
    progress : callable, optional
        As in `RunOptions`.
    cache : path, optional
        The folder of cached embeddings.
    """

    def __init__(
        self, captions: Captions, tower: TextEmbedder, workers: int = 1,
        progress: Callable[[str, int, int], None] | None = None, cache: Path | None = None,
    ) -> None:  # fmt: skip
        self._captions, self._tower, self._cache = captions, tower, cache
        self._workers, self._progress = workers, progress
        self._encoded: dict[str, Encoded] = {}
        self._embeddings: dict[str, NDArray[np.float32]] = {}

    def embed(self, texts: Iterable[str]) -> None:
        """Embed the captions that are not embedded yet."""
        new = [text for text in dict.fromkeys(texts) if text not in self._embeddings]
        encoded = self._tower.encode(new)

        def tell(done: int, steps: int) -> None:
            if self._progress:
                self._progress(f"captions of {self._captions.path}", done, steps)

        with EmbeddingCache(self._cache) if self._cache else nullcontext() as cache:
            held = self._found(cache, encoded)
            missing = [one for one in encoded if one.ids not in held]
            for one, embedding in zip(
                missing, self._tower.embed(missing, self._workers, tell), strict=True
            ):
                held[one.ids] = embedding
                if cache:
                    facts = CachedEmbeddings(embedding[None], 0.0, 0, 0.0, 0.0)
                    cache.put(_digest(one), self._tower.cache_key, embedding[None], facts)
        self._encoded |= dict(zip(new, encoded, strict=True))
        self._embeddings |= {text: held[one.ids] for text, one in zip(new, encoded, strict=True)}

    def _found(
        self, cache: EmbeddingCache | None, encoded: Sequence[Encoded]
    ) -> dict[tuple[int, ...], NDArray[np.float32]]:
        """The cached embeddings of earlier runs."""
        if cache is None:
            return {}
        kept = ((one.ids, cache.get(_digest(one), self._tower.cache_key)) for one in encoded)
        return {ids: found.embeddings[0] for ids, found in kept if found}

    def __call__(self, held: Arrays) -> tuple[Arrays, list[str]]:
        """The clips of a dataset that have a caption, with the caption's embedding, and remarks."""
        found = self._captions.of(held.names, held.where, held.partial)
        places = [place for place, caption in enumerate(found) if caption is not None]
        texts = [caption for caption in found if caption is not None]
        self.embed(texts)
        by_clip, total = held.by_clip("a score of captions"), len(self._captions.by_name)
        clips = [by_clip[place] for place in places]
        embeddings = np.stack([self._embeddings[text] for text in texts])
        remarks = [cut([self._encoded[text] for text in texts], self._tower)]
        if len(places) < max(len(found), total):
            remarks.append(f"{len(places)} pairs of {len(found)} clips and {total} captions")
        names = [held.names[i] for i in places]
        own = replace(held, clips=clips, names=names, captions=embeddings, texts=texts)
        return own, [f"{held.where}: {text}" for text in remarks if text]

    @property
    def made(self) -> dict[str, dict[str, Any]]:
        """How the embeddings of the captions were made, by their file."""
        facts = {
            "captions": len(self._captions.by_name),
            "output": self._tower.selection.describe()["output"],
            "tensors_sha256": self._tower.tensors_sha256,
            "weights": {name: dict(facts) for name, facts in self._tower.weights.items()},
            **self._tower.session.versions(),
        }
        return {self._captions.path: facts}


def _digest(encoded: Encoded) -> str:
    return hashlib.sha256(json.dumps(encoded.ids).encode()).hexdigest()


def _places(names: Sequence[str]) -> dict[str, int]:
    """Clips by their names, and by names without suffix if these are unique."""
    stems = [stem_of(name) for name in names]
    counts = Counter(stems)
    bare = {stem: place for place, stem in enumerate(stems) if counts[stem] == 1}
    return bare | {name: place for place, name in enumerate(names)}


def _forms(name: str) -> Iterable[str]:
    stem, suffix = os.path.splitext(name)
    forms = (name, stem) if suffix.lower() in SUFFIXES else (name,)
    composed = (unicodedata.normalize("NFC", one) for one in forms)  # as in `stem_of`
    return (*forms, *composed)
