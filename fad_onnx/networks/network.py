"""A network: weightless graphs, the official checkpoints that fit them, and named outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

HEAD_FILE = "head.onnx"  # the head graph, beside model.onnx
# Kinds of digests that publishers give, strongest first, and how each is written.
DIGESTS = {
    "sha256": r"[0-9a-f]{64}",
    "sha256_prefix": r"[0-9a-f]{8,63}",  # torch.hub's file names
    "md5": r"[0-9a-f]{32}",  # Zenodo
    "git_blob_sha1": r"[0-9a-f]{40}",  # GitHub: SHA-1 of "blob SIZE\0" and the file
}


@dataclass(frozen=True)
class Output:
    """One named output of a network.

    Attributes
    ----------
    width : int
        Numbers in one embedding.
    tensor : str
        The name of the value in the graph.
    graph : str or None
        The graph file; None is the network's own.
    checkpoints : tuple of str
        The checkpoints whose tensors the graph takes; empty for a network without weights.
    samples_per_embedding : int or None
        At the network's rate, where a window gives an embedding every so often; None where it
        gives one.
    """

    width: int
    tensor: str = "embedding"
    graph: str | None = None
    checkpoints: tuple[str, ...] = ("main",)
    samples_per_embedding: int | None = None


@dataclass(frozen=True)
class Tiles:
    """How a long whole clip is computed in parts, to the bits of one pass.

    A step of the network's last layer covers `step_samples`, and equals that of the whole clip
    where `context_steps` on either side are in the tile. `tensor` gives the steps (batch, steps,
    width); those of all tiles together go through the graph `head`, which reads the same
    weights.
    """

    step_samples: int
    steps: int
    context_steps: int
    tensor: str
    head: str


@dataclass(frozen=True)
class Batch:
    """Windows of up to ten seconds in one run of the network."""

    cpu: int
    gpu: int


@dataclass(frozen=True)
class Network:
    """A network.

    Attributes
    ----------
    name : str
        Its name in the table.
    graph : str
        The file of the main graph.
    outputs : mapping of str to Output
        What one run can give.
    checkpoints : mapping of str to Checkpoint
        The official files.
    batch : Batch
        How many windows make a full batch.
    peak_bytes_per_sample : int
        Memory of one run at its peak, for each sample of a window (measured).
    citation : str
        What to cite.
    revision : int
        Raised when the same tensors and preparation would give other numbers than before.
    fourier_kernels : tuple of str
        Checkpoint tensors that hold the Fourier kernels (real, imaginary). The front end does
        not use them, so binding proves that they say what the front end does.
    tiles : Tiles or None
        How a long clip is computed in parts.
    hashes : mapping of str to str
        SHA-256 of every graph file in the table.
    """

    name: str
    graph: str
    outputs: Mapping[str, Output]
    batch: Batch
    peak_bytes_per_sample: int
    citation: str
    checkpoints: Mapping[str, Checkpoint] = field(default_factory=dict)
    revision: int = 1
    fourier_kernels: tuple[str, ...] = ()
    tiles: Tiles | None = None
    hashes: Mapping[str, str] = field(default_factory=dict)

    def graph_of(self, output: Output) -> str:
        """The graph file that computes an output."""
        return output.graph or self.graph


@dataclass(frozen=True)
class Checkpoint:
    """An official file of weights: where it is, how it is checked, how it is laid out.

    Attributes
    ----------
    file, url, licence : str
        Its name, where it is published, the licence of the weights.
    bytes : int or None
        Its size, where it is known.
    digests : mapping of str to str
        What its publisher says of its contents, by kind: one of `DIGESTS`.
    nesting : tuple of str
        Keys to the dictionary of tensors.
    """

    file: str
    url: str
    licence: str
    bytes: int | None = None
    digests: Mapping[str, str] = field(default_factory=dict)
    nesting: tuple[str, ...] = ()

    @property
    def sha256(self) -> str | None:
        """The whole SHA-256, where it is published."""
        return self.digests.get("sha256")
