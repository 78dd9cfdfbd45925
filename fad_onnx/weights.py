"""Checkpoint + weightless graph -> an ordinary ONNX model in the cache, ready to run.

The graph's initializers carry the checkpoint's own tensor names and fixed places in a file
`weights.bin`, so binding is: check every name, shape and type, write each tensor at its place,
publish the folder by one rename. Later starts parse no checkpoint.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import checkpoints, download, manifest, store, synthetic
from .checkpoints import LazyTensor
from .checkpoints.onnx_file import initializers
from .checkpoints.onnx_tensors import TensorInfo
from .download.verified import verify
from .embedder import HEAD_FILE, Embedder
from .errors import CheckpointError, ChecksumError, ManifestError
from .frontends import fourier_kernels
from .manifest import Checkpoint, Model, Tiles, Variant
from .session import Network, Settings

GRAPHS = Path(__file__).resolve().parent / "graphs"
WEIGHTS_FILE = "weights.bin"
Progress = download.Progress


@dataclass(frozen=True)
class Request:
    """A model as the user asked for it: hashable, and small enough to send to any worker."""

    name: str
    options: tuple[tuple[str, str], ...] = ()
    weights: tuple[tuple[str, str], ...] = ()  # checkpoint name -> path, in place of the official
    folders: tuple[str, ...] = ()  # where official files may lie already
    settings: Settings = field(default_factory=Settings)
    sample_format: str = "float32"
    offline: bool = False


@dataclass(frozen=True)
class Source:
    """A checkpoint on disk: its hash, and against what that was checked."""

    path: Path
    sha256: str
    checked: str
    ours: bool = False  # a download in the cache, which may go once it is converted


@dataclass(frozen=True)
class Ready:
    """A model that ONNX Runtime can open."""

    graph: Path
    tensors_sha256: str
    weights: Mapping[str, Mapping[str, Any]]


def load(request: Request, progress: Progress | None = None) -> Embedder:
    """The loaded model for a request."""
    model = manifest.model(request.name)
    chosen = model.choose(dict(request.options))
    variant = model.variant(chosen)
    given = {name: Path(path) for name, path in request.weights}
    for name in given.keys() - model.checkpoints.keys():
        known = ", ".join(model.checkpoints) or "none"
        raise CheckpointError(given[name], f"{model.name} has no checkpoint {name!r} ({known})")
    folders = [Path(folder) for folder in request.folders]
    ready = prepare(model, variant, given, folders, offline=request.offline, progress=progress)
    network = Network(ready.graph, variant.output, request.settings)
    return Embedder(
        model, chosen, network, ready.weights, ready.tensors_sha256, request.sample_format
    )


def graph_file(model: Model, variant: Variant) -> Path:
    """The graph of a variant in the package, after its hash was compared with the row's."""
    path = GRAPHS / variant.graph
    if not path.is_file():
        raise ManifestError(f"models.{model.name}", f"graph {variant.graph} is not in the package")
    return _checked(path, variant.sha256)


def _checked(path: Path, sha256: str) -> Path:
    got = hashlib.sha256(path.read_bytes()).hexdigest()
    if got != sha256:
        raise ChecksumError(path, sha256, got, "reinstall fad-onnx")
    return path


def prepare(
    model: Model,
    variant: Variant,
    given: Mapping[str, Path],
    folders: Sequence[Path] = (),
    *,
    offline: bool = False,
    keep: bool = False,
    progress: Progress | None = None,
) -> Ready:
    """The published model for these checkpoints, made now if it is not in the cache.

    given: checkpoint name -> file to use in place of the official one; it is never modified.
    keep: leave a download in the cache after it was converted. Raises CheckpointError,
    ChecksumError, DownloadError, CacheError.
    """
    graph = graph_file(model, variant)
    ready = _published_already(model, variant, given)
    if ready is not None:
        return ready
    # One process fetches and converts; others that wait find the work done.
    with store.locked(model.name):
        ready = _published_already(model, variant, given)
        if ready is not None:
            return ready
        sources = {
            name: _locate(model, name, given.get(name), folders, offline, progress)
            for name in variant.checkpoints
        }
        home = _home(model, variant, {name: source.sha256 for name, source in sources.items()})
        size = max(info.offset + info.length for info in _external(graph).values())
        store.publish_folder(
            home, lambda folder: _bind(model, graph, sources, folder), needed_bytes=size
        )
        if not keep:
            _discard(model, variant, sources)
        ready = _published(home)
    assert ready is not None
    return ready


def _published_already(model: Model, variant: Variant, given: Mapping[str, Path]) -> Ready | None:
    if not variant.checkpoints:
        return Ready(graph_file(model, variant), hashlib.sha256(b"").hexdigest(), {})
    hashes = {
        name: _known_sha256(model.checkpoints[name], given.get(name))
        for name in variant.checkpoints
    }
    known = {name: value for name, value in hashes.items() if value}
    return _published(_home(model, variant, known)) if len(known) == len(hashes) else None


def _home(model: Model, variant: Variant, hashes: Mapping[str, str]) -> Path:
    head = model.tiles.head_sha256 if model.tiles else ""
    key = json.dumps([variant.sha256, head, sorted(hashes.items())])
    return _models() / f"{model.name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"


def _models() -> Path:
    return store.root() / "models"


def _downloads() -> Path:
    return store.root() / "checkpoints"


def _published(home: Path) -> Ready | None:
    meta = store.read_json(home / "meta.json")
    if not meta:
        return None
    return Ready(home / "model.onnx", meta["tensors_sha256"], meta["weights"])


def _known_sha256(row: Checkpoint, given: Path | None) -> str | None:
    """The hash of what will be used, as far as it is known without the file being fetched."""
    if given is not None:
        return store.file_sha256(_existing(given))
    if row.sha256:
        return row.sha256
    return store.read_json(_downloads() / f"{row.file}.json").get("sha256")


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise CheckpointError(path, "no such file")
    return path


def _locate(
    model: Model,
    name: str,
    given: Path | None,
    folders: Sequence[Path],
    offline: bool,
    progress: Progress | None,
) -> Source:
    """The checkpoint on disk: given, converted before, lying about, or downloaded now."""
    row = model.checkpoints[name]
    if given is not None:
        return Source(_existing(given), store.file_sha256(given), "given by the user")
    if not row.url:
        raise CheckpointError(
            row.file, f"nobody publishes weights for {model.name}; give your own with --weights"
        )
    known = _known_sha256(row, None)
    for meta_file in sorted(_models().glob("*/meta.json")):
        kept = store.read_json(meta_file).get("weights", {}).get(name)
        if known and kept and kept["sha256"] == known:
            return Source(meta_file.parent / "model.onnx", known, kept["checked"])
    fetched = download.obtain(row, _downloads(), folders, offline=offline, progress=progress)
    return Source(
        fetched.path, fetched.sha256, fetched.checked, fetched.path.parent == _downloads()
    )


def _discard(model: Model, variant: Variant, sources: Mapping[str, Source]) -> None:
    """Remove converted downloads, unless another graph of the row takes more of them."""
    kept = _external(graph_file(model, variant)).keys()
    for name, source in sources.items():
        if not source.ours:
            continue
        with ExitStack() as stack:
            held = {key for key, _ in _open_all(model, {name: source}, stack)}
        others = (graph_file(model, other) for other in model.variants if name in other.checkpoints)
        if all(_external(graph).keys() & held <= kept for graph in others):
            source.path.unlink(missing_ok=True)


def _bind(model: Model, graph: Path, sources: Mapping[str, Source], folder: Path) -> None:
    """Write model.onnx, weights.bin and meta.json into an empty folder."""
    wanted = _external(graph)
    with ExitStack() as stack:
        tensors = dict(_open_all(model, sources, stack))
        _check_names(wanted, tensors, sources)
        _check_kernels(model, tensors)
        hashes = write_tensors(
            graph,
            wanted,
            lambda name: _fitted(name, *tensors[name], wanted[name]),
            folder,
            model.tiles,
        )
    meta = {
        "model": model.name,
        "graph": graph.name,
        "tensors_sha256": hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest(),
        "weights": {
            name: {"file": source.path.name, "sha256": source.sha256, "checked": source.checked}
            for name, source in sources.items()
        },
    }
    (folder / "meta.json").write_text(json.dumps(meta, indent=2), "utf-8")


def write_tensors(
    graph: Path,
    wanted: Mapping[str, TensorInfo],
    read: Callable[[str], NDArray[Any]],
    folder: Path,
    tiles: Tiles | None = None,
) -> dict[str, tuple[str, tuple[int, ...], str]]:
    """Make `folder` a runnable model: the graph, each tensor at its place beside it, and the
    head graph of a model that has one.

    Returns type, shape and SHA-256 of every tensor.
    """
    hashes = {}
    with open(folder / WEIGHTS_FILE, "wb") as out:
        for name, info in sorted(wanted.items(), key=lambda item: item[1].offset):
            array = np.ascontiguousarray(read(name), info.dtype)
            out.seek(info.offset)
            out.write(array.data)
            digest = hashlib.sha256(array.data).hexdigest()
            hashes[name] = (str(array.dtype), array.shape, digest)
    shutil.copyfile(graph, folder / "model.onnx")
    if tiles is not None:
        shutil.copyfile(_checked(GRAPHS / tiles.head, tiles.head_sha256), folder / HEAD_FILE)
    return hashes


def _open_all(
    model: Model, sources: Mapping[str, Source], stack: ExitStack
) -> Iterator[tuple[str, tuple[Path, LazyTensor]]]:
    """Every tensor of every checkpoint, by name, without the prefix of a parallel wrapper."""
    for name, source in sources.items():
        checkpoint = stack.enter_context(checkpoints.open(source.path))
        nesting = model.checkpoints[name].nesting
        tensors = checkpoint.tensors(nesting) or checkpoint.tensors()
        # torch.nn.DataParallel writes every name behind "module.".
        for key, tensor in tensors.items():
            yield key.removeprefix("module."), (source.path, tensor)


def _check_names(
    wanted: Mapping[str, TensorInfo],
    tensors: Mapping[str, object],
    sources: Mapping[str, Source],
) -> None:
    missing = sorted(wanted.keys() - tensors.keys())
    if missing:
        raise CheckpointError(
            " + ".join(str(source.path) for source in sources.values()),
            f"{len(missing)} of the {len(wanted)} tensors of the graph are not in it, first"
            f" {missing[0]!r} {wanted[missing[0]].shape}; is it of this architecture?",
        )


def publish_synthetic(model: Model, variant: Variant, seed: int, folder: Path) -> Path:
    """The graph of a variant with weights from a seed, in `folder`; where it can be opened."""
    graph = graph_file(model, variant)
    wanted = _external(graph)
    write_tensors(graph, wanted, synthetic.tensors(wanted, seed).__getitem__, folder, model.tiles)
    return folder / "model.onnx"


def _external(graph: Path) -> dict[str, TensorInfo]:
    return {name: info for name, info in initializers(graph).items() if info.external}


def _fitted(name: str, path: Path, tensor: LazyTensor, info: TensorInfo) -> NDArray[Any]:
    """The tensor as the graph wants it; torch's load_state_dict casts between floats too."""
    if _squeezed(tensor.shape) != _squeezed(info.shape):
        raise CheckpointError(path, f"{name}: shape {tensor.shape}, the graph needs {info.shape}")
    if (tensor.dtype.kind == "f") != (info.dtype.kind == "f"):
        raise CheckpointError(path, f"{name}: {tensor.dtype}, the graph needs {info.dtype}")
    array = tensor.read().astype(info.dtype, copy=False).reshape(info.shape)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise CheckpointError(path, f"{name}: holds NaN or infinity")
    return array


def _squeezed(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(size for size in shape if size != 1)


def _check_kernels(model: Model, tensors: Mapping[str, tuple[Path, LazyTensor]]) -> None:
    """A checkpoint that carries Fourier kernels must carry those of the row's front end."""
    names = model.frontend.kernels
    if not names or not all(name in tensors for name in names):
        return
    for name, expected in zip(names, fourier_kernels(model.frontend), strict=True):
        path, tensor = tensors[name]
        # torchlibrosa makes them in complex128 by repeated powers and stores float32.
        if tensor.shape != expected.shape or np.abs(tensor.read() - expected).max() > 1e-4:
            raise CheckpointError(
                path,
                f"{name}: not the Fourier transform with the Hann window of {model.name};"
                " this front end cannot honour other kernels",
            )


def pull(
    model: Model,
    options: Mapping[str, str],
    given: Mapping[str, str],
    *,
    offline: bool = False,
    keep: bool = False,
    progress: Progress | None = None,
) -> Iterator[str]:
    """Fetch, verify and convert; yields a line for everything that is kept, and for what not.

    given: checkpoint name -> official file at hand; ChecksumError if it is not the official one.
    """
    variant = model.variant(model.choose(options))
    if not variant.checkpoints:
        yield f"{model.name}: needs no weights"
        return
    folder = _downloads()
    for name, path in given.items():
        if name not in variant.checkpoints:
            raise CheckpointError(path, f"{model.name} uses no checkpoint {name!r} here")
        verify(model.checkpoints[name], _existing(Path(path)))
    ready = prepare(
        model, variant, {name: Path(path) for name, path in given.items()},
        offline=offline, keep=keep, progress=progress,
    )  # fmt: skip
    size = sum(file.stat().st_size for file in ready.graph.parent.iterdir()) / 1e6
    for name, facts in ready.weights.items():
        yield f"{model.name}: {name} {facts['file']} sha256 {facts['sha256']} ({facts['checked']})"
    yield f"{model.name}: kept {ready.graph.parent} ({size:.0f} MB)"
    for name in variant.checkpoints:
        file = folder / model.checkpoints[name].file
        if file.is_file():
            yield f"{model.name}: kept {file} ({file.stat().st_size / 1e6:.0f} MB)"


def state(model: Model, given: bool = False) -> str:
    """ "none needed", "ready" (converted, or given by the user) or "to download"."""
    variant = model.variant(model.choose())
    if not variant.checkpoints:
        return "none needed"
    return "ready" if given or ready(model, variant) else "to download"


def ready(model: Model, variant: Variant) -> Ready | None:
    """The variant with its official weights, if they are converted; never fetches."""
    return _published_already(model, variant, {})
