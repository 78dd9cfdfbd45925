"""Frechet Audio Distance with ONNX Runtime: light, exact, no PyTorch at run time.

    import fad_onnx
    print(float(fad_onnx.score("reference/", "generated/")))

Names are resolved on first use, so that importing this package imports nothing else.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._version import __version__ as __version__

if TYPE_CHECKING:
    from .api.compat import FrechetAudioDistance
    from .api.functions import Score, compare, embed, load_model, score, stats
    from .api.measure import Wanted
    from .errors import FadError
    from .metrics.frechet import frechet_distance
    from .metrics.moments import Moments
    from .networks.embedder import Embedder

# ONNX Runtime 1.29 and later writes a device id and reports to its maker from the moment it is
# imported; it reads this variable then, and no call afterwards can stop it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__all__ = [
    "Embedder",
    "FadError",
    "FrechetAudioDistance",
    "Moments",
    "Score",
    "Wanted",
    "compare",
    "embed",
    "frechet_distance",
    "load_model",
    "score",
    "stats",
]

_HOMES = {
    "Embedder": "networks.embedder",
    "FadError": "errors",
    "FrechetAudioDistance": "api.compat",
    "Moments": "metrics.moments",
    "Wanted": "api.measure",
    "frechet_distance": "metrics.frechet",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOMES.get(name, 'api.functions')}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
