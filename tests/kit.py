"""What many tests need: the models by kind, and models with something changed."""

import math
from dataclasses import replace

from fad_onnx.networks import table
from fad_onnx.weights.binding import external

HUGE_BYTES = 1 << 29
WEIGHTLESS = next(one.name for one in table.models().values() if not one.network.checkpoints)


def with_network(model, **changes):
    """A loaded model, or a selection, whose network differs in these fields."""
    if hasattr(model, "selection"):
        return replace(model, selection=with_network(model.selection, **changes))
    network = replace(model.model.network, **changes)
    return replace(model, model=replace(model.model, network=network))


def with_preparation(model, **changes):
    """A loaded model whose preparation differs in these fields."""
    made = replace(model.selection.preparation, **changes)
    return replace(model, selection=replace(model.selection, preparation=made))


def is_huge(graph):
    """Whether the tensors of a checkpoint that this graph file takes make its tests slow."""
    infos = external(graph).values() if graph.is_file() else ()
    return sum(math.prod(info.shape) * info.dtype.itemsize for info in infos) > HUGE_BYTES
