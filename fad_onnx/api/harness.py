"""The metrics of a published harness, as its protocol defines them."""

from __future__ import annotations

from ..errors import OptionError
from ..metrics import registry
from ..networks import table
from ..networks.spec import NATIVE


def metrics_of(protocol: str, captions: bool = False) -> list[str]:
    """``METRIC:MODEL`` for every metric that the harness computes, in its own order.

    Those that compare clips with captions are among them if there are captions.

    A metric that the harness computes with whichever of its models the user names is computed with
    our default model, if the harness has it, or else with the harness' first.

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
