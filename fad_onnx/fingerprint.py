"""What makes two sets of embeddings comparable, as one hash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from .audio import RESAMPLER
from .manifest import Model


def fingerprint(
    model: Model, chosen: Mapping[str, str], tensors_sha256: str, sample_format: str
) -> str:
    """SHA-256 over the numbers of the row, its protocol integer, the options, the bound
    tensors and how audio is read.

    Versions, the graph's bytes, the provider and what is done with short clips are recorded
    beside it, not compared: they do not define what a row is.
    """
    defines = {
        **model.numbers(chosen),
        "tensors": tensors_sha256,
        "resampler": RESAMPLER,
        "sample_format": sample_format,
    }
    return hashlib.sha256(json.dumps(defines, sort_keys=True).encode()).hexdigest()
