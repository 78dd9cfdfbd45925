"""A network: its graphs, the official checkpoints that fit them, and its named outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

HEAD_FILE = "head.onnx"  # the head graph, in the folder of model.onnx
# Kinds of digests that publishers give, strongest first, with their patterns.
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
    then : str or None
        Another value in the graph, whose numbers follow in each embedding.
    graph : str or None
        The graph file; None is the network's own.
    checkpoints : tuple of str
        The checkpoints that hold the tensors of the graph; empty for a network without weights.
    samples_per_embedding : int or None
        Samples between two embeddings of a window, at the network's rate; None if a window gives
        the same number of embeddings whatever its length.
    remainder : {"embedding", "none"}
        If there are steps: whether the samples after a window's last full step give an embedding.
    per_window : int
        How many embeddings a window gives, if there are no steps.
    overlap_samples : int
        If there are steps: an embedding covers one step and this many samples more, all of them
        within the window.
    """

    width: int
    tensor: str = "embedding"
    then: str | None = None
    graph: str | None = None
    checkpoints: tuple[str, ...] = ("main",)
    samples_per_embedding: int | None = None
    remainder: Literal["embedding", "none"] = "embedding"
    per_window: int = 1
    overlap_samples: int = 0

    @property
    def values(self) -> tuple[str, ...]:
        """The values in the graph that make an embedding, in order."""
        return (self.tensor, self.then) if self.then else (self.tensor,)

    def count(self, samples: int) -> int:
        """The number of embeddings of a window of `samples` samples."""
        if self.samples_per_embedding is None:
            return self.per_window
        last = self.samples_per_embedding - 1 if self.remainder == "embedding" else 0
        return (samples - self.overlap_samples + last) // self.samples_per_embedding


@dataclass(frozen=True)
class TextTower(Output):
    """The part of a network that embeds captions into the space of its audio.

    Attributes
    ----------
    tokenizer : {"roberta", "gpt2"}
        How a caption becomes the graph's input: see `fad_onnx.networks.tokenizer`.
    """

    checkpoints: tuple[str, ...] = ("main", "vocab", "merges")
    tokenizer: Literal["roberta", "gpt2"] = "roberta"


@dataclass(frozen=True)
class Tiles:
    """How a long clip is computed in parts, with the same bits as in one pass.

    A step of the network's last layer covers `step_samples`. It is the same as in one pass if
    `context_steps` on both sides of it are part of the tile. `tensor` holds the steps (batch,
    steps, width); the steps of all tiles together go through the graph `head`, which shares the
    weights. Without a head, the steps are the embeddings.
    """

    step_samples: int
    steps: int
    context_steps: int
    tensor: str
    head: str | None = None


@dataclass(frozen=True)
class Batch:
    """The number of windows in one run of the network, for windows of up to ten seconds."""

    cpu: int
    gpu: int


@dataclass(frozen=True)
class Network:
    """A graph with its checkpoints and its named outputs.

    Attributes
    ----------
    name : str
        Its name in the table.
    graph : str
        The file of the main graph.
    outputs : mapping of str to Output
        The outputs that one run can compute.
    checkpoints : mapping of str to Checkpoint
        The official files.
    batch : Batch
        The number of windows in a full batch.
    peak_bytes_per_sample : int
        Peak memory of a run per sample of a window (measured).
    citation : str
        The publication to cite.
    revision : int
        Incremented when the same tensors and preparation give different embeddings than before.
    fourier_kernels : tuple of str
        Checkpoint tensors that hold the Fourier kernels (real, imaginary). The front end does
        not use them, so binding checks that they match the front end.
    tiles : Tiles or None
        How a long clip is computed in parts, if it is.
    text : TextTower or None
        The part that embeds captions, if any. It is not an output, because it takes no audio.
    hashes : mapping of str to str
        SHA-256 of every graph file in the table.
    places : mapping of str to path
        The paths of the user's graph files; those of the package are in its own folder.
    family : str
        The heading under which its models are listed.
    arena : bool
        Whether ONNX Runtime on the CPU keeps the memory that a run frees for the next run. That is
        faster, but a long clip leaves pieces that fit nothing else: without the arena, such a clip
        takes a fifth less memory.
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
    text: TextTower | None = None
    hashes: Mapping[str, str] = field(default_factory=dict)
    places: Mapping[str, Path] = field(default_factory=dict)
    family: str = "other"
    arena: bool = True

    @property
    def head(self) -> str | None:
        """The file of the graph that computes the outputs from the steps of all tiles."""
        return self.tiles.head if self.tiles else None

    def graph_of(self, output: Output) -> str:
        """The graph file that computes an output."""
        return output.graph or self.graph


@dataclass(frozen=True)
class SwinMask:
    """-100 between tokens of a shifted window that were not neighbours before, 0 between others.

    Windows have 8 x 8 tokens and are shifted by 4 (Liu et al. 2021, arXiv:2103.14030). Their number
    follows from the shape of the tensor, (windows, 64, 64).
    """

    kind: ClassVar[str] = "swin_mask"


@dataclass(frozen=True)
class SlaneyFilters:
    """librosa.filters.mel with its defaults; bins and bands follow from the shape of the tensor."""

    kind: ClassVar[str] = "slaney_filters"
    sample_rate_hz: int
    lowest_hz: float
    highest_hz: float


@dataclass(frozen=True)
class Checkpoint:
    """An official file of weights: its source, its digests and its layout.

    Attributes
    ----------
    file, url, licence : str
        Its name, its address, and the licence of the weights.
    bytes : int or None
        Its size, if known.
    digests : mapping of str to str
        The published digests, by kind (the keys of `DIGESTS`).
    nesting : tuple of str
        The keys that lead to the dictionary of tensors. Files without them are read too: those that
        hold the tensors at their top, or in a single dictionary there.
    prefix : str
        A prefix of tensor names in files that hold more than the network; it is removed if present.
    aliases : mapping of str to tuple of str
        Other names, for files of other releases: a regular expression that fits a whole name of
        the graph, to the names in the file that make the tensor, as `re.Match.expand` takes them.
        Several tensors are joined along axis 0. An alias applies if the graph's name is absent.
    computed : mapping of str to SwinMask or SlaneyFilters
        Constants that files of other releases leave out: a regular expression that fits a whole
        name of the graph, to the way in which they are computed if the file lacks them.
    package, member : str or None
        The Python distribution that ships the file, as pip takes it, and the file's place in it.
    holds : {"tensors", "text"}
        Whether the file holds tensors, or is kept whole, such as a vocabulary.
    """

    file: str
    url: str
    licence: str
    bytes: int | None = None
    digests: Mapping[str, str] = field(default_factory=dict)
    nesting: tuple[str, ...] = ()
    prefix: str = ""
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    computed: Mapping[str, SwinMask | SlaneyFilters] = field(default_factory=dict)
    package: str | None = None
    member: str | None = None
    holds: Literal["tensors", "text"] = "tensors"

    @property
    def sha256(self) -> str | None:
        """The full SHA-256, if published."""
        return self.digests.get("sha256")
