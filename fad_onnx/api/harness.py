"""The metrics of a published harness, as its protocol defines them."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import OptionError
from ..metrics import registry
from ..networks import table
from ..networks.protocols import Protocol
from ..networks.spec import NATIVE, ModelSpec


def metrics_of(
    protocol: str, captions: bool = False, models: Sequence[str] | None = None
) -> list[str]:
    """``METRIC:MODEL`` for every metric that the harness computes, in its own order.

    Metrics of clips and captions are included if there are captions.

    If users of the harness choose the model of a metric, our default model is used, or the first
    model of the harness if it lacks our default. With `models`, the metrics that the harness
    computes with each of these.

    Raises
    ------
    OptionError
        For a protocol that does not exist, or defines no metric, and for a model with which the
        harness computes none.

    Examples
    --------
    >>> metrics_of("gudgud96")
    ['fad:vggish']
    """
    if protocol == NATIVE:
        raise OptionError("metrics", f"name at least one; the protocol {NATIVE} has none")
    found = table.protocol(protocol)
    if not found.metrics:
        raise OptionError("metrics", f"name at least one; {protocol} defines preparations alone")
    if models is not None:
        return _with_models(found, captions, models)
    default = table.model().name
    usual = default if default in found.models else next(iter(found.models))
    return [
        f"{name}:{model}"
        for name, definition in found.metrics.items()
        if captions or not registry.metric(name).needs.captions
        for model in definition.models or (usual,)
    ]


def _with_models(found: Protocol, captions: bool, models: Sequence[str]) -> list[str]:
    """The metrics that the harness computes with these models."""
    names = {text: table.model(ModelSpec.parse(text).name).name for text in models}
    used = {
        metric: definition.models or tuple(found.models)
        for metric, definition in found.metrics.items()
        if captions or not registry.metric(metric).needs.captions
    }
    for text, name in names.items():
        if not any(name in theirs for theirs in used.values()):
            own = "; ".join(f"{metric}: {', '.join(theirs)}" for metric, theirs in used.items())
            problem = f"{found.name} computes no metric with {text}; its metrics and models: {own}"
            raise OptionError("model, protocol", problem)
    return [
        f"{metric}:{text}"
        for metric, theirs in used.items()
        for text, name in names.items()
        if name in theirs
    ]
