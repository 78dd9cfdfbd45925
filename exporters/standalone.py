"""A model with its weights inside, for other run times."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import onnx

from fad_onnx.networks.schema import canonical
from fad_onnx.networks.selection import Selection
from fad_onnx.weights import prepare
from fad_onnx.weights.checkpoints.onnx_file import initializers

from .skeleton import WEIGHTS_FILE

# A protobuf message ends at 2 GiB; everything except weights stays far below the margin.
LARGEST_BYTES = 2**31 - 2**26


def write(
    selection: Selection,
    given: Mapping[str, Path],
    out: Path,
    largest_bytes: int = LARGEST_BYTES,
) -> tuple[Path, ...]:
    """Write an ONNX model with its weights.

    The tensors keep the checkpoint's names, so the run time takes the file as ``--weights``. The
    model's metadata describe the preparation of the samples. The run time's own code binds the
    checkpoints and keeps the converted model in its cache.

    Parameters
    ----------
    selection : Selection
        The model with its output and preparation.
    given : mapping of str to Path
        The checkpoints, by their names in the entry.
    out : Path
        The file to write.
    largest_bytes : int
        Larger weights go to a second file next to the model.

    Returns
    -------
    tuple of Path
        The files written.

    Raises
    ------
    CheckpointError
        If a checkpoint does not fit.
    """
    ready = prepare.prepare(selection, given)
    size = sum(info.length for info in initializers(ready.graph).values())
    proto = onnx.load(ready.graph, load_external_data=size <= largest_bytes)
    proto.graph.name = out.stem
    facts = {
        "model": selection.label,
        "preparation": canonical(selection.preparation),
        "weights": {name: dict(entry) for name, entry in ready.weights.items()},
        "citation": selection.network.citation,
    }
    onnx.helper.set_model_props(proto, {key: _text(value) for key, value in facts.items()})
    files = [out]
    if size > largest_bytes:
        # Constants stay inside, because ONNX Runtime needs the shapes among them at once.
        files.append(out.with_name(out.name + ".data"))
        shutil.copyfile(ready.graph.with_name(WEIGHTS_FILE), files[1])
        _relocate(proto, files[1].name)
    onnx.save_model(proto, out)
    return tuple(files)


def _relocate(proto: onnx.ModelProto, location: str) -> None:
    for tensor in proto.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
