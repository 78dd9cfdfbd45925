"""Fingerprints of version 1, so that older statistics can still be compared.

Version 1 hashed every field that the table had at the time, nulls and defaults included. It is
frozen: newer fields and options are not part of it.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from .preparation import Frontend, Stft, Windows
from .selection import Selection

RESAMPLER = "soxr HQ, floor(frames * target / source) samples"


def fingerprint(selection: Selection, tensors_sha256: str) -> str:
    """The version 1 fingerprint of a selection.

    Parameters
    ----------
    selection : Selection
        The selection.
    tensors_sha256 : str
        The hash of the bound tensors.

    Returns
    -------
    str
        SHA-256 in hexadecimal.
    """
    made = selection.preparation
    defines = {
        "protocol": selection.network.revision,
        "sample_rate_hz": made.sample_rate_hz,
        "channels": made.channel_count,
        "channel_rule": made.channels,
        "minimum_samples": made.minimum_samples,
        "dimension": selection.width,
        "samples_per_row": selection.output.samples_per_embedding,
        "frontend": _frontend(made.frontend, selection.network.fourier_kernels),
        "windows": _windows(made.windows),
        "options": dict(selection.options),
        "tensors": tensors_sha256,
        "resampler": RESAMPLER if made.resampler == "soxr_hq" else made.resampler,
        "sample_format": made.sample_format,
    }
    return hashlib.sha256(json.dumps(defines, sort_keys=True).encode()).hexdigest()


def _frontend(frontend: Frontend, kernels: tuple[str, ...]) -> dict[str, Any]:
    names = ("frame_samples", "hop_samples", "fft_samples", "padding", "spectrum", "precision")
    known = isinstance(frontend, Stft)
    fields = {name: getattr(frontend, name) if known else None for name in names}
    return {"kind": frontend.kind, **fields, "kernels": list(kernels)}


def _windows(rules: Windows) -> dict[str, Any]:
    return {
        "cover": rules.cover,
        "length_samples": rules.length_samples,
        "hop_samples": rules.hop_samples,
        "tail": rules.tail if rules.cover == "windows" else None,
        "short": "error" if rules.fill == "none" else rules.fill,
        "long": rules.long,
    }
