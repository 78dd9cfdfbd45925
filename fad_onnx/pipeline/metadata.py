"""The metadata of a dataset: how it was made, and what it holds."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Self

from . import provenance

VERSION = 2
Plain = str | int | float | bool | None
# The types of values in a file, by key; None is allowed everywhere.
KINDS: Mapping[str, Any] = {
    **dict.fromkeys(("model", "label", "output", "fingerprint", "tensors_sha256"), str),
    **dict.fromkeys(("name", "licence", "note", "left_out"), str),
    **dict.fromkeys(("options", "protocol", "weights", "shard"), dict),
    **dict.fromkeys(("largest_file", "loudest_file"), dict),
    **dict.fromkeys(("files", "embeddings", "lowest_source_hz"), int),
    **dict.fromkeys(("files_skipped", "files_padded", "files_below_rate"), int),
    **dict.fromkeys(("files_loud", "files_silent"), int),
    "seconds": int | float,
    "file_seconds": list,
}
NESTED: Mapping[str, Mapping[str, Any]] = {
    "protocol": {
        "protocol": str | None,
        "dimension": int | None,
        "sample_rate_hz": int | None,
        **dict.fromkeys(("network", "output", "preparation"), dict | None),
        **dict.fromkeys(provenance.RECORDED, str | list | None),
    },
    "protocol.output": {"width": int | None},
    "protocol.preparation": {"sample_rate_hz": int | None, "sample_format": str | None},
    "shard": {"part": int, "of": int, "list_sha256": str},
    "largest_file": {"name": str, "embeddings": int},
    "loudest_file": {"name": str, "peak": int | float},
}


@dataclass(frozen=True)
class Shard:
    """Which part of a list of clips a dataset is: part 1 of 1 is all of it."""

    part: int
    of: int
    list_sha256: str


@dataclass(frozen=True)
class Largest:
    """The clip with the most embeddings."""

    name: str
    embeddings: int


@dataclass(frozen=True)
class Loudest:
    """The clip with the highest peak; full scale is 1."""

    name: str
    peak: float


NAMED = {"shard": Shard, "largest_file": Largest, "loudest_file": Loudest}


@dataclass(frozen=True)
class Metadata:
    """The metadata of a dataset, as `stats` and `embed` write it; empty for foreign statistics.

    Parameters
    ----------
    model, label, output : str or None
        The name of the model, with the options that differ from their defaults, and the output.
    options : mapping
        These options.
    fingerprint, tensors_sha256 : str or None
        The hash of everything that defines the embeddings, and the hash of the weights alone.
    protocol : mapping
        The network, the output, the preparation, and what computed them (`provenance.RECORDED`);
        values on which merged parts differ are lists.
    weights : mapping
        The file, SHA-256 and check of each checkpoint.
    note : str or None
        A note that is shown with every score.
    files, embeddings : int or None
        The number of clips that gave embeddings, and the number of embeddings.
    seconds : float or None
        The total length of the clips.
    files_skipped, files_padded, files_below_rate, files_silent, files_loud : int
        How many clips were skipped, were padded, have a rate below the model's, are silent, and
        have samples far beyond full scale.
    lowest_source_hz : int or None
        The lowest rate of a clip.
    largest_file, loudest_file : Largest, Loudest or None
        The clip with the most embeddings, and the one with the highest peak.
    left_out : str
        The files of the dataset that are not audio.
    name, licence : str or None
        What the dataset was published as.
    shard : Shard or None
        Which part of a dataset it is.
    file_seconds : sequence of float, or None
        The length of each clip of an embeddings file.
    others : mapping
        Keys that another release has written.

    Examples
    --------
    >>> Metadata.from_json({"model": "vggish", "embeddings": 9}).embeddings
    9
    """

    model: str | None = None
    label: str | None = None
    output: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    fingerprint: str | None = None
    tensors_sha256: str | None = None
    protocol: Mapping[str, Any] = field(default_factory=dict)
    weights: Mapping[str, Any] = field(default_factory=dict)
    note: str | None = None
    files: int | None = None
    embeddings: int | None = None
    seconds: float | None = None
    files_skipped: int = 0
    files_padded: int = 0
    files_below_rate: int = 0
    files_silent: int = 0
    files_loud: int = 0
    lowest_source_hz: int | None = None
    largest_file: Largest | None = None
    loudest_file: Loudest | None = None
    left_out: str = ""
    name: str | None = None
    licence: str | None = None
    shard: Shard | None = None
    file_seconds: Sequence[float | None] | None = None
    others: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read what `to_json` of this or an earlier release wrote.

        Parameters
        ----------
        data : mapping
            The JSON object.

        Returns
        -------
        Metadata

        Raises
        ------
        ValueError
            If a value has the wrong type; the message names its key.
        """
        held = _current(data)
        if wrong := _wrong(held):
            raise ValueError(f"metadata: {wrong} has the wrong type")
        values = {key: held.pop(key) for key in KINDS if held.get(key) is not None}
        for key, kind in NAMED.items():
            if key in values:
                values[key] = kind(**{one.name: values[key][one.name] for one in fields(kind)})
        if "file_seconds" in values:
            values["file_seconds"] = _compact(values["file_seconds"])
        held.pop("version", None)
        others = {key: value for key, value in held.items() if key not in KINDS}
        return cls(**values, others=others)

    def to_json(self) -> dict[str, Any]:
        """The JSON object, with the version of its layout and without defaults.

        Returns
        -------
        dict
        """
        found: dict[str, Any] = {"version": VERSION}
        for one in fields(self):
            value = getattr(self, one.name)
            if one.name != "others" and value not in (None, {}, ""):
                found[one.name] = value if one.name not in NAMED else dict(vars(value))
        if self.file_seconds is not None:
            found["file_seconds"] = list(self.file_seconds)
        return {**self.others, **found}

    @property
    def provenance(self) -> dict[str, Any]:
        """How the embeddings were made; {} if that is unknown."""
        own = {"fingerprint": self.fingerprint, "weights": self.weights}
        return {**self.protocol, **{key: value for key, value in own.items() if value}}

    @property
    def harness(self) -> str | None:
        """The name of the protocol that the preparation follows."""
        return self.protocol.get("protocol")

    @property
    def width(self) -> int:
        """Numbers in an embedding; 0 if that is not recorded."""
        output = self.protocol.get("output")
        found = output.get("width") if isinstance(output, dict) else None
        return found or self.protocol.get("dimension") or 0

    @property
    def sample_rate_hz(self) -> int | None:
        """The rate of the network."""
        made = self.protocol.get("preparation")
        found = made.get("sample_rate_hz") if isinstance(made, dict) else None
        return found or self.protocol.get("sample_rate_hz")


def _compact(seconds: Sequence[float | None]) -> Sequence[float | None]:
    """The same numbers in less memory: there may be millions."""
    known = [one for one in seconds if one is not None]
    return array("d", known) if len(known) == len(seconds) else tuple(seconds)


def _current(data: Mapping[str, Any]) -> dict[str, Any]:
    """Rename keys of version 1, which called embeddings rows."""
    held = dict(data)
    if "rows" in held and "embeddings" not in held:
        held["embeddings"] = held.pop("rows")
    largest = held.get("largest_file")
    if isinstance(largest, dict) and "rows" in largest:
        held["largest_file"] = {"name": largest.get("name"), "embeddings": largest["rows"]}
    return held


def _wrong(held: Mapping[str, Any]) -> str | None:
    """The first key whose value has the wrong type."""
    wrong = [key for key, kind in KINDS.items() if not _is(held.get(key), kind | None)]
    for outer, kinds in NESTED.items():
        inner: Any = held
        for key in outer.split("."):
            inner = inner.get(key) if isinstance(inner, dict) else None
        if isinstance(inner, dict):
            wrong += [f"{outer}.{key}" for key, kind in kinds.items()
                      if not _is(inner.get(key), kind)]  # fmt: skip
            several = (value for value in inner.values() if isinstance(value, list))
            wrong += [outer for value in several if not all(_is(one, Plain) for one in value)]
    seconds = held.get("file_seconds")
    if isinstance(seconds, list) and not all(_is(one, int | float | None) for one in seconds):
        wrong.append("file_seconds")
    return wrong[0] if wrong else None


def _is(value: object, kind: Any) -> bool:
    """Whether a value has the type; numbers must be finite, not negative and below 2^63."""
    if isinstance(value, int | float):
        return isinstance(value, kind) and type(value) is not bool and 0 <= value < 2**63
    return isinstance(value, kind)
