"""Graphs written operator by operator, where torch.export cannot follow: loops and branches.

``Ops`` turns method calls into nodes: ``ops.Add(x, 1.0)``. Numbers become initializers of the main
graph, whole numbers as int64 and others as float32, without duplicates. Values are numbered in
order, so the same calls give the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any

import numpy as np
import onnx_ir as ir
from onnx_ir.tape import Tape

FLOAT, INTEGER, BOOLEAN = ir.DataType.FLOAT, ir.DataType.INT64, ir.DataType.BOOL
_KINDS = {"f": np.float32, "i": np.int64, "b": np.bool_}


class Ops:
    """Nodes of one graph, in the order of the calls."""

    def __init__(self, parent: Ops | None = None) -> None:
        self._tape = Tape()
        self._constants: dict[Any, ir.Value] = parent._constants if parent else {}
        self._numbers: count[int] = parent._numbers if parent else count(1)

    def __getattr__(self, operator: str) -> Any:
        def node(*inputs: Any, **attributes: Any) -> ir.Value:
            return self.many(operator, 1, *inputs, **attributes)[0]

        return node

    def many(
        self, operator: str, outputs: int, *inputs: Any, **attributes: Any
    ) -> Sequence[ir.Value]:
        """Add a node with several outputs; None means an input that is left out."""
        values = [v if v is None or isinstance(v, ir.Value) else self.constant(v) for v in inputs]
        results = self._tape.op_multi_out(operator, values, attributes, num_outputs=outputs)
        for result in results:
            result.name = f"v{next(self._numbers)}"
        return results

    def constant(self, number: Any) -> ir.Value:
        """A number or a list of them as an initializer of the main graph."""
        array = np.asarray(number)
        array = array.astype(_KINDS[array.dtype.kind])
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            tensor = ir.tensor(array, name=f"k{len(self._constants)}")
            value = variable(str(tensor.name), tensor.dtype, tensor.shape.numpy())
            value.const_value = tensor
            self._constants[key] = value
        return self._constants[key]

    def body(self) -> Ops:
        """Operators for a graph inside this one, which may use the values of this one."""
        return Ops(self)

    def graph(self, inputs: Sequence[ir.Value], outputs: Sequence[ir.Value]) -> ir.Graph:
        """These nodes as the graph of a loop or branch."""
        # A body must not return a value unchanged, whether an input or one of the outer graph.
        here = set(self._tape.nodes)
        own = [y if y.producer() in here else self.Identity(y) for y in outputs]
        return ir.Graph(inputs, own, nodes=self._tape.nodes, name="body")

    def model(
        self, inputs: Sequence[ir.Value], outputs: Mapping[str, ir.Value], opset: int
    ) -> ir.Model:
        """These nodes and the constants as a model; the checkpoint's tensors are not in it."""
        for name, output in outputs.items():
            output.name = name
        graph = ir.Graph(
            inputs,
            list(outputs.values()),
            nodes=self._tape.nodes,
            initializers=list(self._constants.values()),
            opset_imports={"": opset},
            name="model",
        )
        return ir.Model(graph, ir_version=8)


def variable(name: str, dtype: ir.DataType, shape: Sequence[int | str | None]) -> ir.Value:
    """An input of a graph."""
    return ir.Value(name=name, type=ir.TensorType(dtype), shape=ir.Shape(shape))
