"""Check whether the committed graphs are those that the exporters write."""

from __future__ import annotations

import hashlib

import onnx

from fad_onnx.networks import table

from .skeleton import Graph, export


def difference(graph: Graph) -> str | None:
    """Compare a committed graph, and its hash in the table, with a fresh export.

    Parameters
    ----------
    graph : Graph
        The graph.

    Returns
    -------
    str or None
        The first difference, None if there is none.
    """
    if not graph.path.is_file():
        return "is not committed"
    committed, fresh = graph.path.read_bytes(), export(graph)
    digest = hashlib.sha256(committed).hexdigest()
    if committed != fresh:
        return _first_difference(committed, fresh)
    said = next(iter(table.models().values())).network.hashes.get(graph.path.name, digest)
    if said != digest:
        return f"artifacts.json has sha256 {said!r}, the file {digest}"
    return None


def _first_difference(committed: bytes, fresh: bytes) -> str:
    old, new = (onnx.load_from_string(data) for data in (committed, fresh))
    for field in ("ir_version", "opset_import", "producer_name"):
        if getattr(old, field) != getattr(new, field):
            return f"{field}: committed {getattr(old, field)}, fresh {getattr(new, field)}"
    for field in ("input", "output", "initializer", "node"):
        pair = [list(getattr(model.graph, field)) for model in (old, new)]
        for before, after in zip(*pair, strict=False):
            if before != after:
                return f"{field} {before.name!r} against {after.name!r} of a fresh export"
        if len(pair[0]) != len(pair[1]):
            return f"{len(pair[0])} {field}s, a fresh export has {len(pair[1])}"
    return "other bytes than a fresh export, same contents"
