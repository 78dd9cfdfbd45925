"""The flags of the command line for parameters of the library."""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import FadError, NoEffectError, OptionError
from ..metrics import registry

FLAGS = {
    "address": "--dask",
    "audio": "--audio",
    "cache=False": "--no-cache",
    "cache_dir": "--cache-dir",
    "captions": "--captions",
    "clips": "--clips",
    "compare": "--compare",
    "device": "--device",
    "evaluations": "EVAL",
    "key": "--key",
    "memory_limit_mb": "--gpu-memory-mb",
    "metric": "--metric",
    "metrics": "--metric",
    "model": "--model",
    "offline": "--offline",
    "only": "--only",
    "options": "--option",
    "per_file": "--per-file",
    "protocol": "--protocol",
    "provider": "--provider",
    "published": "--published",
    "reference": "--reference",
    "seconds": "--seconds",
    "shard": "--shard",
    "short": "--short",
    "statistics": "--statistics",
    "weights": "--weights",
    "workers": "--workers",
}


def in_flags(error: FadError) -> str:
    """The message of an error, with flags for the names of parameters."""
    if not isinstance(error, OptionError):
        return str(error)
    options = registry.options(registry.metrics().values())
    flags = FLAGS | {switch: f"--{switch}" for switch in registry.switches()}
    flags |= {keyword: option.flag for keyword, option in options.items()}
    named = ", ".join(flags.get(name, name) for name in error.option.split(", "))
    if isinstance(error, NoEffectError):
        others = " or ".join(_with_value(other, flags) for other in error.others)
        return f"{named}: has no effect {error.relation} {others}"
    return f"{named}: {error.problem}"


def _with_value(text: str, flags: Mapping[str, str]) -> str:
    """The flag of a parameter, or of ``PARAMETER=VALUE``; any other text as it is."""
    name, _, value = text.partition("=")
    if text in flags or name not in flags:
        return flags.get(text, text)
    return f"{flags[name]} {value}"
