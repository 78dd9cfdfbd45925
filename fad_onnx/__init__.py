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
    from .api.clap_score import CLAPScore
    from .api.comparison import Difference
    from .api.compat import FrechetAudioDistance
    from .api.evaluated import Evaluation, Result
    from .api.evaluation import evaluate
    from .api.functions import compare, score
    from .api.making import embed, load_model, stats
    from .api.measure import FileScore, Wanted
    from .api.models import ModelInfo, models, pull, register, verify
    from .api.results import Score, Scores
    from .api.streaming import StreamingFAD
    from .api.text import embed_text
    from .api.watching import StreamingEvaluation
    from .errors import FadError
    from .files.archives import merge
    from .metrics.fad_infinity import Infinity
    from .metrics.frechet import Gaussian, frechet_distance
    from .metrics.intervals import Interval
    from .metrics.moments import Moments
    from .metrics.registry import Measured
    from .metrics.values import Blame, Cell, Curve, Value
    from .networks.embedder import Embedder
    from .networks.spec import ModelSpec
    from .pipeline.datasets import Dataset, EmbeddedDataset
    from .pipeline.metadata import Metadata
    from .pipeline.options import RunOptions
    from .tools.known_answers import Check

# ONNX Runtime 1.29 and later writes a device id and reports to its maker from the moment it is
# imported; it reads this variable then, and no call afterwards can stop it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__all__ = [
    "Blame",
    "CLAPScore",
    "Cell",
    "Check",
    "Curve",
    "Dataset",
    "Difference",
    "EmbeddedDataset",
    "Embedder",
    "Evaluation",
    "FadError",
    "FileScore",
    "FrechetAudioDistance",
    "Gaussian",
    "Infinity",
    "Interval",
    "Measured",
    "Metadata",
    "ModelInfo",
    "ModelSpec",
    "Moments",
    "Result",
    "RunOptions",
    "Score",
    "Scores",
    "StreamingEvaluation",
    "StreamingFAD",
    "Value",
    "Wanted",
    "compare",
    "embed",
    "embed_text",
    "evaluate",
    "frechet_distance",
    "load_model",
    "merge",
    "models",
    "pull",
    "register",
    "score",
    "stats",
    "verify",
]

_HOMES = {
    "Blame": "metrics.values",
    "CLAPScore": "api.clap_score",
    "Cell": "metrics.values",
    "Check": "tools.known_answers",
    "Curve": "metrics.values",
    "Dataset": "pipeline.datasets",
    "Difference": "api.comparison",
    "EmbeddedDataset": "pipeline.datasets",
    "Embedder": "networks.embedder",
    "Evaluation": "api.evaluated",
    "FadError": "errors",
    "FileScore": "api.measure",
    "FrechetAudioDistance": "api.compat",
    "Gaussian": "metrics.frechet",
    "Infinity": "metrics.fad_infinity",
    "Interval": "metrics.intervals",
    "Measured": "metrics.registry",
    "Metadata": "pipeline.metadata",
    "ModelInfo": "api.models",
    "ModelSpec": "networks.spec",
    "Moments": "metrics.moments",
    "Result": "api.evaluated",
    "RunOptions": "pipeline.options",
    "Score": "api.results",
    "Scores": "api.results",
    "StreamingEvaluation": "api.watching",
    "StreamingFAD": "api.streaming",
    "Value": "metrics.values",
    "Wanted": "api.measure",
    "compare": "api.functions",
    "embed": "api.making",
    "embed_text": "api.text",
    "evaluate": "api.evaluation",
    "frechet_distance": "metrics.frechet",
    "load_model": "api.making",
    "merge": "files.archives",
    "models": "api.models",
    "pull": "api.models",
    "register": "api.models",
    "score": "api.functions",
    "stats": "api.making",
    "verify": "api.models",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
