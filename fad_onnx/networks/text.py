"""A loaded text tower: captions in, embeddings out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .runtime import Session
from .selection import Selection
from .tokenizer import Encoded, Tokenizer, check_caption

# Tokens in one run of the network; more gain nothing.
BATCH_TOKENS = 256


@dataclass(frozen=True)
class TextEmbedder:
    """The text tower of a model with the session that runs it; safe to use from many threads.

    An embedding does not depend on the other captions of a call.
    """

    selection: Selection
    session: Session
    weights: Mapping[str, Mapping[str, Any]]  # checkpoint name -> file, sha256, what was checked
    tensors_sha256: str
    tokenizer: Tokenizer

    @property
    def cache_key(self) -> str:
        """Everything, besides the numbers of a caption, that determines its embedding."""
        made = self.selection.fingerprint(self.tensors_sha256), self.selection.graph_sha256
        threads = str(self.session.settings.threads)
        return "/".join(["text", *made, *self.session.versions().values(), threads])

    def encode(self, captions: Iterable[str]) -> list[Encoded]:
        """The numbers of each caption; CaptionError for a caption that is not text."""
        every = list(captions)
        for place, caption in enumerate(every, 1):
            check_caption(caption, f"caption {place}")
        return [self.tokenizer.encode(caption) for caption in every]

    def embed(
        self,
        encoded: Sequence[Encoded],
        workers: int = 1,
        progress: Callable[[int, int], object] | None = None,
    ) -> NDArray[np.float32]:
        """Embeddings (captions, width); `progress` is called with the newly finished count and the
        total.
        """
        unique = list(dict.fromkeys(one.ids for one in encoded))
        batches = list(_batches(unique))
        embeddings = np.empty((len(unique), self.selection.width), np.float32)
        with ThreadPoolExecutor(workers) as pool:
            stacks = [np.array([unique[place] for place in batch], np.int64) for batch in batches]
            for batch, found in zip(batches, pool.map(self.run, stacks), strict=True):
                embeddings[batch] = found
                if progress:
                    progress(len(batch), len(unique))
        places = {ids: place for place, ids in enumerate(unique)}
        return embeddings[[places[one.ids] for one in encoded]]

    def run(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Embeddings (batch, width) of captions of one length: ids (batch, length)."""
        return self.session.run((ids,), (self.selection.output.tensor,))[0]


def _batches(captions: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    """Indices of captions of equal length, about BATCH_TOKENS per batch, so without padding."""
    alike: dict[int, list[int]] = {}
    for place, ids in enumerate(captions):
        alike.setdefault(len(ids), []).append(place)
    for length, places in sorted(alike.items()):
        size = max(1, BATCH_TOKENS // length)
        yield from (places[start : start + size] for start in range(0, len(places), size))
