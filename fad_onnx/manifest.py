"""The table of models: artifacts.json read into frozen rows that validate themselves.

A model is data. Every rule that changes a number (rate, channels, front end, windows, what
happens to short and long clips) is a named value of its row, with a closed vocabulary.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

from .errors import ManifestError, OptionError, UnknownModelError

SCHEMA = 1
PACKAGE = Path(__file__).resolve().parent

VOCABULARY = {
    ("Frontend", "kind"): ("samples", "stft"),
    ("Frontend", "padding"): ("none", "reflect"),
    ("Frontend", "spectrum"): ("magnitude", "power"),
    ("Frontend", "precision"): ("float32", "float64"),
    ("Windows", "cover"): ("whole", "windows", "crop"),
    ("Windows", "tail"): ("drop", "pad"),
    ("Windows", "short"): ("error", "repeat"),
    ("Windows", "long"): ("all", "center", "random"),
    ("Model", "channel_rule"): ("mean", "stereo"),
}
# What publishers give to tell their files by, and how it is written.
DIGESTS = {
    "sha256": r"[0-9a-f]{64}",
    "sha256_prefix": r"[0-9a-f]{8,63}",  # torch.hub's file names
    "md5": r"[0-9a-f]{32}",  # Zenodo
    "git_blob_sha1": r"[0-9a-f]{40}",  # GitHub: SHA-1 of "blob SIZE\0" and the file
}


@dataclass(frozen=True)
class Frontend:
    """What NumPy does to a window before the graph; see fad_onnx.frontends."""

    kind: str
    frame_samples: int | None
    hop_samples: int | None
    fft_samples: int | None
    padding: str | None
    spectrum: str | None
    precision: str | None
    # Checkpoint tensors that hold the Fourier kernels (real, imaginary). The front end does
    # not use them, so binding.py proves that they say what the front end does.
    kernels: tuple[str, ...]


@dataclass(frozen=True)
class Windows:
    """How a clip is cut into windows of samples at the model's rate; see fad_onnx.windows."""

    cover: str
    length_samples: int | None
    hop_samples: int | None
    tail: str | None
    short: str
    long: str


@dataclass(frozen=True)
class Tiles:
    """How a long whole clip is computed in pieces, to the bits of one pass.

    A step of the network's last layer stands for step_samples, and is the whole clip's where
    context_steps on either side are in the tile. `output` gives the steps (batch, steps, width);
    those of all tiles together go through the head graph, which reads the same weights file.
    """

    step_samples: int
    steps: int
    context_steps: int
    output: str
    head: str
    head_sha256: str
    head_output: str


@dataclass(frozen=True)
class Option:
    """A choice of the user's: selects a variant or, with `sets`, replaces a window rule."""

    default: str
    values: tuple[str, ...]  # empty: any integer
    sets: str | None
    help: str


@dataclass(frozen=True)
class Variant:
    """One graph and output, for one combination of options."""

    when: Mapping[str, str]
    graph: str
    sha256: str
    output: str
    checkpoints: tuple[str, ...]


@dataclass(frozen=True)
class Checkpoint:
    """An official file of weights: where it is, how it is checked, how it is laid out."""

    file: str
    url: str
    bytes: int | None
    digests: Mapping[str, str]  # of a kind in DIGESTS -> hexadecimal; empty: none is published
    container: str
    nesting: tuple[str, ...]
    licence: str

    @property
    def sha256(self) -> str | None:
        """The published SHA-256, where there is one."""
        return self.digests.get("sha256")


@dataclass(frozen=True)
class Published:
    """What others published of the official weights: mean and deviation of all numbers of the
    rows of a sine, within a relative tolerance.
    """

    source: str
    when: Mapping[str, str]
    sine_hz: float
    seconds: float
    mean: float
    deviation: float
    tolerance: float


@dataclass(frozen=True)
class Model:
    """One row of the table."""

    name: str
    summary: str
    note: str | None
    protocol: int
    default: bool
    aliases: tuple[Mapping[str, Any], ...]
    sample_rate_hz: int
    channels: int
    channel_rule: str
    minimum_samples: int
    dimension: int
    samples_per_row: int | None
    frontend: Frontend
    windows: Windows
    tiles: Tiles | None
    batch_windows: Mapping[str, int]
    peak_bytes_per_sample: int
    options: Mapping[str, Option]
    variants: tuple[Variant, ...]
    checkpoints: Mapping[str, Checkpoint]
    published: tuple[Published, ...]
    citation: str

    def choose(self, options: Mapping[str, str] | None = None) -> dict[str, str]:
        """All options with the user's values filled in; OptionError for what does not exist."""
        chosen = {name: option.default for name, option in self.options.items()}
        for name, value in (options or {}).items():
            if name not in self.options:
                known = ", ".join(self.options) or "none"
                raise OptionError(f"--option {name}", f"{self.name} has no such option ({known})")
            option, value = self.options[name], str(value).lower()
            if option.values and value not in option.values:
                raise OptionError(f"--option {name}={value}", f"one of {', '.join(option.values)}")
            if not option.values and not (value.isdecimal() and len(value) < 20):
                raise OptionError(f"--option {name}={value[:40]}", "a whole number below 10^19")
            chosen[name] = value
        return chosen

    def variant(self, chosen: Mapping[str, str]) -> Variant:
        """The graph and output for these options, as returned by `choose`."""
        for variant in self.variants:
            if all(chosen[name] == value for name, value in variant.when.items()):
                return variant
        raise ManifestError(f"models.{self.name}.variants", f"none fits the options {chosen}")

    def window_rules(self, chosen: Mapping[str, str]) -> Windows:
        """The row's windows with the rules that the options replace."""
        rules = asdict(self.windows)
        for name, option in self.options.items():
            if option.sets:
                rules[option.sets] = chosen[name]
        return Windows(**rules)

    def numbers(self, chosen: Mapping[str, str]) -> dict[str, Any]:
        """Everything in the row that defines a row of embeddings, as plain values."""
        return {
            "protocol": self.protocol,
            "sample_rate_hz": self.sample_rate_hz,
            "channels": self.channels,
            "channel_rule": self.channel_rule,
            "minimum_samples": self.minimum_samples,
            "dimension": self.dimension,
            "samples_per_row": self.samples_per_row,
            "frontend": asdict(self.frontend),
            "windows": asdict(self.window_rules(chosen)),
            "options": dict(chosen),
        }


T = TypeVar("T")
ROWS = (Frontend, Windows, Tiles, Option, Variant, Checkpoint, Published)


def _row(cls: type[T], data: object, where: str, **extra: Any) -> T:
    """A dataclass from a JSON object: no key missing, none unknown, types and words checked."""
    if not isinstance(data, dict):
        raise ManifestError(where, f"an object is needed, found {type(data).__name__}")
    wanted = {field.name for field in fields(cls)} - set(extra)  # type: ignore[arg-type]
    for keys, problem in ((wanted - set(data), "missing"), (set(data) - wanted, "unknown key")):
        if keys:
            raise ManifestError(", ".join(f"{where}.{key}" for key in sorted(keys)), problem)
    hints = get_type_hints(cls)
    values = {key: _value(hints[key], data[key], f"{where}.{key}") for key in wanted}
    for key, value in values.items():
        words = VOCABULARY.get((cls.__name__, key))
        if words and value is not None and value not in words:
            raise ManifestError(f"{where}.{key}", f"{value!r} is not one of {', '.join(words)}")
    return cls(**extra, **values)


def _value(hint: Any, value: object, where: str) -> Any:
    """One JSON value against one annotation."""
    if value is not None and Tiles in get_args(hint):
        hint = Tiles
    if isinstance(hint, type) and hint in ROWS:
        return _row(hint, value, where)
    origin, arguments = getattr(hint, "__origin__", None), get_args(hint)
    if origin is tuple and isinstance(value, list):
        return tuple(_value(arguments[0], v, f"{where}[{i}]") for i, v in enumerate(value))
    if origin is not None and issubclass(origin, Mapping) and isinstance(value, dict):
        return {key: _value(arguments[1], v, f"{where}.{key}") for key, v in value.items()}
    plain = arguments if origin is None and arguments else (hint,)
    if hint is Any or any(type(value) is kind for kind in plain):
        return value
    raise ManifestError(where, f"{value!r} is not {getattr(hint, '__name__', hint)}")


def _check(model: Model) -> Model:
    """What only shows when fields are seen together."""
    where = f"models.{model.name}"
    for variant in model.variants:
        for name, value in variant.when.items():
            if name not in model.options or value not in model.options[name].values:
                raise ManifestError(f"{where}.variants", f"{name}={value} is no option's value")
        for name in variant.checkpoints:
            if name not in model.checkpoints:
                raise ManifestError(f"{where}.variants", f"no checkpoint named {name!r}")
    for name, option in model.options.items():
        if option.sets and option.sets not in {field.name for field in fields(Windows)}:
            raise ManifestError(f"{where}.options.{name}.sets", f"{option.sets!r} is no rule")
    for name, checkpoint in model.checkpoints.items():
        for kind, digest in checkpoint.digests.items():
            if not re.fullmatch(DIGESTS.get(kind, "$."), digest):
                place = f"{where}.checkpoints.{name}.digests.{kind}"
                raise ManifestError(place, f"{digest!r} is no digest of {', '.join(DIGESTS)}")
    if set(model.batch_windows) != {"cpu", "gpu"}:
        raise ManifestError(f"{where}.batch_windows", "needs cpu and gpu, nothing else")
    return model


def parse(text: str) -> dict[str, Model]:
    """The rows of a table given as JSON text, in its order."""
    try:
        table = json.loads(text)
    except ValueError as error:
        raise ManifestError("the file", f"not JSON: {error}") from error
    if not isinstance(table, dict) or set(table) != {"schema", "models"}:
        raise ManifestError("the top level", "needs schema and models, nothing else")
    if table["schema"] != SCHEMA:
        raise ManifestError("schema", f"{table['schema']!r}, this release reads {SCHEMA}")
    rows = {
        name: _check(_row(Model, row, f"models.{name}", name=name))
        for name, row in table["models"].items()
    }
    if sum(row.default for row in rows.values()) != 1:
        raise ManifestError("models", "exactly one row must be the default")
    return rows


@cache
def models() -> dict[str, Model]:
    """All rows of the installed table, or of the checkout's when run from a source tree."""
    places = (PACKAGE / "artifacts.json", PACKAGE.parent / "artifacts.json")
    for place in places:
        if place.is_file():
            return parse(place.read_text("utf-8"))
    raise ManifestError("the file", f"not found at {' or '.join(map(str, places))}")


def model(name: str | None = None) -> Model:
    """The row of this name, or the default row."""
    rows = models()
    if name is None:
        return next(row for row in rows.values() if row.default)
    if name not in rows:
        raise UnknownModelError(name, rows)
    return rows[name]


def resolve(name: str, **arguments: Any) -> Model:
    """The row that the original's constructor arguments mean; None stands for "not given".

    A name that no alias has is a row's own. Of several rows that fit what was given the first
    in the table is meant: its order follows the original's defaults.
    """
    given = {key: value for key, value in arguments.items() if value is not None}
    named = [
        (row, alias)
        for row in models().values()
        for alias in row.aliases
        if alias.get("model_name") == name
    ]
    if not named:
        row = model(name)
        if given.get("sample_rate", row.sample_rate_hz) != row.sample_rate_hz:
            raise OptionError("sample_rate", f"{name} works at {row.sample_rate_hz} Hz")
        return row
    for row, alias in named:
        if all(alias.get(key, value) == value for key, value in given.items()):
            return row
    choices = "; ".join(
        ", ".join(f"{k}={v!r}" for k, v in alias.items() if k != "model_name") for _, alias in named
    )
    raise OptionError(f"model_name={name!r}", f"no model fits {given}; there are: {choices}")
