"""The flags of the command line for parameters of the library."""

from __future__ import annotations

from ..errors import FadError, OptionError
from ..metrics import registry

FLAGS = {
    "address": "--dask",
    "captions": "--captions",
    "clips": "--clips",
    "compare": "--compare",
    "device": "--device",
    "evaluations": "EVAL",
    "memory_limit_mb": "--gpu-memory-mb",
    "metric": "--metric",
    "metrics": "--metric",
    "model": "--model",
    "options": "--option",
    "per_file": "--per-file",
    "protocol": "--protocol",
    "provider": "--provider",
    "reference": "--reference",
    "seconds": "--seconds",
    "shard": "--shard",
    "short": "--short",
    "weights": "--weights",
    "workers": "--workers",
}


def in_flags(error: FadError) -> str:
    """The message of an error, with flags for the names of parameters."""
    if not isinstance(error, OptionError):
        return str(error)
    options = registry.options(registry.metrics().values())
    flags = FLAGS | {keyword: option.flag for keyword, option in options.items()}
    named = ", ".join(flags.get(name, name) for name in error.option.split(", "))
    return f"{named}: {error.problem}"
