"""The metrics of a published harness, as its protocol defines them."""

from __future__ import annotations

from ..errors import OptionError
from ..metrics import registry
from ..networks import table
from ..networks.spec import NATIVE


def metrics_of(protocol: str, captions: bool = False) -> list[str]:
    """``METRIC:MODEL`` for every metric that the harness computes, in its own order.

    Metrics of clips and captions are included if there are captions.

    If users of the harness choose the model of a metric, our default model is used, or the first
    model of the harness if it lacks our default.

    Raises
    ------
    OptionError
        For a protocol that does not exist, or defines no metric.

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
    default = table.model().name
    usual = default if default in found.models else next(iter(found.models))
    return [
        f"{name}:{model}"
        for name, definition in found.metrics.items()
        if captions or not registry.metric(name).needs.captions
        for model in definition.models or (usual,)
    ]
