"""Turn a torch module into the bytes of a weightless ONNX graph: the steps that all models share.

The graph names every tensor of the official checkpoint as an initializer outside the file, in
``weights.bin``, at an offset that is fixed here. To make a model, the run time copies the graph and
writes each tensor at its offset, without editing protobuf. Three things make that safe:

* while constants are folded, the tensors of the checkpoint are graph *inputs*, so that none of
  them, however small, can be folded, merged with an equal one, or dropped;
* a batch or time axis that the module fixes is an error of ``torch.export``, never a fallback;
* the bytes depend on the module and the versions of torch and onnxscript alone: no paths, no
  stack traces, no shapes guessed for intermediate values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir
import onnxscript.optimizer
import torch
from onnx_ir.passes import common as passes

GRAPHS_FOLDER = Path(__file__).parents[1] / "fad_onnx" / "networks" / "graphs"
WEIGHTS_FILE = "weights.bin"
OPSET = 18  # torchlib's, so that nothing is converted; ONNX Runtime >= 1.14 reads it
IR_VERSION = 8  # the version that belongs to opset 18
# Tensors of a page or more start on a page, so that they can be mapped; the rest on a cache line.
PAGE_BYTES, LINE_BYTES = 4096, 64


@dataclass(frozen=True)
class Graph:
    """One weightless graph: what to export, with which example, under which names.

    ``module`` builds the network; the names in its ``state_dict`` are the checkpoint's. Constants
    that no checkpoint holds are buffers with ``persistent=False`` and are stored in the graph.
    ``example`` gives inputs with a size of at least two on every axis that varies (torch.export
    treats a size of one as a constant). ``dynamic`` has one mapping per input from axis to name, or
    to a ``torch.export.Dim`` if a bound is needed; equal names mean equal sizes. ``write``, if
    given, writes the nodes itself from the checkpoint's tensors by name and the opset; the module
    then only lists the tensors.
    """

    name: str
    module: Callable[[], torch.nn.Module]
    example: Callable[[], tuple[torch.Tensor, ...]]
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    dynamic: tuple[Mapping[int, Any], ...]
    write: Callable[[Mapping[str, ir.Value], int], ir.Model] | None = None

    @property
    def path(self) -> Path:
        """The path at which the graph is committed."""
        return GRAPHS_FOLDER / f"{self.name}.onnx"


def export(graph: Graph) -> bytes:
    """The graph as serialised ONNX, without weights; the same bytes at every call."""
    module = graph.module().eval()
    if graph.write is not None:
        model, bound = _written(graph.write, module)
    else:
        model = _translate(module, graph)
        bound = _withdraw(model, list(module.state_dict()))
        _simplify(model)
    _restore(model, bound)
    return _serialise(model, graph)


def _written(
    write: Callable[[Mapping[str, ir.Value], int], ir.Model], module: torch.nn.Module
) -> tuple[ir.Model, list[ir.Value]]:
    """A graph written node by node, with the checkpoint's tensors among its inputs."""
    bound = [
        ir.Value(
            name=name,
            type=ir.TensorType(ir.tensor(tensor.detach().numpy()).dtype),
            shape=ir.Shape(tensor.shape),
        )
        for name, tensor in module.state_dict().items()
    ]
    model = write({str(value.name): value for value in bound}, OPSET)
    model.graph.inputs.extend(bound)
    return model, bound


def _translate(module: torch.nn.Module, graph: Graph) -> ir.Model:
    """torch.export, then ONNX operators, with no optimisation at all."""
    program = torch.export.export(
        module, graph.example(), dynamic_shapes=_dynamic_shapes(graph.dynamic), strict=False
    )
    exported = torch.onnx.export(
        program,
        dynamo=True,
        optimize=False,
        verbose=False,
        opset_version=OPSET,
        input_names=list(graph.input_names),
        output_names=list(graph.output_names),
    )
    if exported is None:
        raise RuntimeError(f"{graph.name}: torch.onnx.export returned nothing")
    return exported.model


def _dynamic_shapes(dynamic: Sequence[Mapping[int, Any]]) -> tuple[dict[int, Any], ...]:
    names = {dim for axes in dynamic for dim in axes.values() if isinstance(dim, str)}
    dims = {name: torch.export.Dim(name) for name in sorted(names)}
    return tuple({axis: dims.get(dim, dim) for axis, dim in axes.items()} for axes in dynamic)


def _withdraw(model: ir.Model, names: Sequence[str]) -> list[ir.Value]:
    """Turn the checkpoint's tensors, in its order, from initializers into graph inputs."""
    bound = []
    for name in names:
        if name not in model.graph.initializers:
            continue
        value = model.graph.initializers.pop(name)
        value.const_value = None
        bound.append(value)
    model.graph.inputs.extend(bound)
    return bound


def _simplify(model: ir.Model) -> None:
    """Fold constants and drop unused nodes; input_size_limit spares large constants."""
    onnxscript.optimizer.inline(model)
    onnxscript.optimizer.fold_constants(model, input_size_limit=64, output_size_limit=4096)
    for simplify in (
        passes.IdentityEliminationPass(),
        passes.RemoveUnusedNodesPass(),
        passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        passes.DeduplicateInitializersPass(),
        passes.RemoveUnusedNodesPass(),
        passes.RemoveUnusedOpsetsPass(),
        passes.ClearMetadataAndDocStringPass(),
        passes.NameFixPass(),
    ):
        simplify(model)


def _restore(model: ir.Model, bound: Sequence[ir.Value]) -> None:
    """Make the withdrawn tensors initializers again: external, each at its final offset."""
    del model.graph.inputs[len(model.graph.inputs) - len(bound) :]
    constants = list(model.graph.initializers.values())
    model.graph.initializers.clear()
    end = 0
    for value in bound:
        if not value.uses():
            continue
        tensor, end = _external(value, end)
        value.const_value = tensor
        model.graph.initializers.add(value)
    for value in constants:
        model.graph.initializers.add(value)


def _external(value: ir.Value, end: int) -> tuple[ir.ExternalTensor, int]:
    """A tensor after byte ``end`` of the weights file, and its own end."""
    if value.name is None or value.dtype is None or value.shape is None:
        raise ValueError(f"{value.name}: a tensor of the checkpoint needs a type and a shape")
    length = int(value.dtype.itemsize * math.prod(value.shape.numpy()))
    unit = PAGE_BYTES if length >= PAGE_BYTES else LINE_BYTES
    offset = -(-end // unit) * unit
    tensor = ir.ExternalTensor(
        WEIGHTS_FILE, offset, length, value.dtype, shape=value.shape, name=value.name
    )
    return tensor, offset + length


def _serialise(model: ir.Model, graph: Graph) -> bytes:
    """Protobuf bytes with every trace of the exporting run removed."""
    proto = ir.serde.serialize_model(model)
    proto.producer_name, proto.producer_version = "fad-onnx", ""
    proto.ir_version = IR_VERSION
    proto.graph.name = graph.name
    # Shapes of intermediate values come from the example; the run time infers its own.
    for repeated in (proto.graph.value_info, proto.metadata_props, proto.graph.metadata_props):
        del repeated[:]
    for described in (*proto.graph.input, *proto.graph.output, *proto.graph.initializer):
        described.ClearField("doc_string")
        described.ClearField("metadata_props")
    _name_axes(proto, graph)
    return bytes(proto.SerializeToString(deterministic=True))


def _name_axes(proto: onnx.ModelProto, graph: Graph) -> None:
    """Give the varying axes their names; what is computed from them stays unnamed."""
    renamed: dict[str, str] = {}
    for value, axes in zip(proto.graph.input, graph.dynamic, strict=True):
        for axis, name in axes.items():
            dim = value.type.tensor_type.shape.dim[axis]
            if not dim.dim_param:
                raise ValueError(f"{graph.name}: axis {axis} of {value.name} became a constant")
            renamed[dim.dim_param] = name if isinstance(name, str) else name.__name__
    for value in (*proto.graph.input, *proto.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in renamed:
                dim.dim_param = renamed[dim.dim_param]
            elif dim.dim_param:
                dim.Clear()
