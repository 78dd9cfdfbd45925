"""Every error that fad_onnx raises on purpose: a FadError that is also a builtin exception.

Each class builds its own message from its arguments, so that every message names the file, the
number and the remedy.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from os import PathLike, fspath
from typing import Any

Path = str | PathLike[str]


def shown(path: Path) -> str:
    """The path as one printable line, with control characters and undecodable bytes escaped."""
    text = fspath(path)
    if not text:
        return "''"
    if text.isprintable():
        return text
    return text.encode("utf-8", "backslashreplace").decode().encode("unicode_escape").decode()


def printable(text: str) -> str:
    """The text as one line, with control characters and undecodable bytes escaped."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )


def _revive(cls: type[FadError], message: str, state: dict[str, Any]) -> FadError:
    error = cls.__new__(cls, message)
    error.args = (message,)
    error.__dict__.update(state)
    return error


class FadError(Exception):
    """The base class of all errors of this package; each is also a builtin exception.

    Parameters
    ----------
    message : str
        What is wrong, the number, and the remedy, in one line.

    Examples
    --------
    >>> import fad_onnx
    >>> try:
    ...     fad_onnx.load_model("vgish")
    ... except fad_onnx.FadError as error:
    ...     print(error, isinstance(error, ValueError))
    unknown model 'vgish': did you mean vggish? True
    """

    def __init__(self, message: str = "") -> None:
        # The message may quote a file or a server: keep out line breaks and escape sequences.
        super().__init__(printable(message))

    def __reduce__(self) -> tuple[Any, ...]:
        # The constructors of subclasses do not take a message, so that by default an error raised
        # in a worker process could not be unpickled in the parent.
        return _revive, (type(self), str(self.args[0]) if self.args else "", self.__dict__)

    def __str__(self) -> str:
        # OSError.__str__ would print the error number as well.
        return str(self.args[0]) if self.args else ""


class UnknownModelError(FadError, ValueError):
    """No model has this name."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        known = sorted(known)
        near = get_close_matches(name, known, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known)}"
        super().__init__(f"unknown model {name!r}: {hint}")


class ModelTableError(FadError, ValueError):
    """The table of models, or an entry that was registered, is not valid."""

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(f"table of models, {where}: {problem}")


class OptionError(FadError, ValueError):
    """An option or argument that does not exist, or has an invalid value.

    `option` is the name of the parameter, or several with commas; the command line shows its flag.
    """

    def __init__(self, option: str, problem: str) -> None:
        self.option, self.problem = option, problem
        super().__init__(f"{option}: {problem}")


class NoEffectError(OptionError):
    """An option that would be ignored: it needs another one, or another one rules it out.

    `relation` is "with" or "without", and `others` are parameters, or texts ``NAME=VALUE``; the
    command line shows their flags.
    """

    def __init__(self, option: str, relation: str, others: Sequence[str]) -> None:
        self.relation, self.others = relation, tuple(others)
        super().__init__(option, f"has no effect {relation} {' or '.join(others)}")


class KeywordError(FadError, TypeError):
    """An unknown keyword argument."""

    def __init__(self, given: str, known: Iterable[str]) -> None:
        known = sorted(known)
        near = get_close_matches(given, known, n=1, cutoff=0.6)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
        super().__init__(f"unknown keyword argument {given!r}: {hint}")


class AudioError(FadError, OSError):
    """A file that cannot be read as audio, or has unusable samples."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path, self.reason = fspath(path), reason
        super().__init__(f"{shown(path)}: {reason}")


class FileMismatchError(AudioError):
    """A worker on another machine finds a different file under the same path."""

    def __init__(self, path: Path, meant: str, found: str) -> None:
        super().__init__(
            path,
            f"the worker finds a different file here: {found} instead of {meant};"
            " mount the same folder under the same path on every worker",
        )


class TruncatedAudioError(AudioError):
    """A file that is cut short, or that holds more audio than can be read."""

    def __init__(
        self, path: Path, problem: str, read: int, whole: int, unit: str, remedy: str
    ) -> None:
        self.read, self.whole, self.unit = read, whole, unit
        super().__init__(path, f"{problem}: {read} of {whole} {unit}; {remedy}")


class NoAudioError(FadError, FileNotFoundError):
    """A dataset without audio files, or with none left after unusable ones were skipped."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path, self.reason = fspath(path), reason
        super().__init__(f"{shown(path)}: {reason}")


class SourceError(FadError, ValueError):
    """A list, archive or pattern from which the clips of a dataset cannot be listed."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path, self.reason = fspath(path), reason
        super().__init__(f"{shown(path)}: {reason}")


class TooShortError(FadError, ValueError):
    """A clip that is shorter than the model needs.

    Attributes
    ----------
    had_seconds, needed_seconds
        The length of the clip and the shortest length that the model takes.
    """

    def __init__(self, path: Path, had: int, needed: int, rate: int) -> None:
        """Take both lengths in samples, and the model's sample rate in Hz."""
        self.path = fspath(path)
        self.had_seconds, self.needed_seconds = had / rate, needed / rate
        had_text, needed_text = f"{had / rate:.4g} s", f"{needed / rate:.4g} s"
        if had_text == needed_text:
            had_text, needed_text = f"{had} samples", f"{needed} (at {rate} Hz)"
        self.reason = f"{had_text} is shorter than the {needed_text} that the model needs"
        super().__init__(
            f"{shown(path)}: {self.reason}; skip such clips with --short skip,"
            ' or pad them with silence with --short pad (in Python: short="pad")'
        )


class TooLongError(FadError, ValueError):
    """A clip that would need more memory than is available."""

    def __init__(self, path: Path, seconds: float, needed_gb: float, available_gb: float) -> None:
        self.path, self.seconds = fspath(path), seconds
        self.reason = (
            f"{seconds:.0f} s of audio would need about {needed_gb:.1f} GB of memory,"
            f" {available_gb:.1f} GB are available"
        )
        super().__init__(
            f"{shown(path)}: {self.reason}; split the file into shorter clips,"
            " or skip it with --skip-errors"
        )


class TooFewEmbeddingsError(FadError, ValueError):
    """Too few embeddings for a statistic."""

    def __init__(self, where: Path, count: int, needed: int, what: str = "a covariance") -> None:
        self.count, self.needed = count, needed
        noun = "embedding" if count == 1 else "embeddings"
        super().__init__(
            f"{shown(where)}: {count} {noun}, {what} needs at least {needed}; add audio"
        )


class IncompatibleStatisticsError(FadError, ValueError):
    """Two datasets that were not made with the same model, options and protocol."""

    def __init__(self, first: Path, second: Path, difference: str) -> None:
        super().__init__(
            f"{shown(first)} and {shown(second)} do not mix: {difference};"
            " compute both with the same model, options and weights"
        )


class DuplicateNameError(FadError, ValueError):
    """Two clips have the same name, but embeddings are stored by name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"two audio files are called {name!r}; embed each folder separately")


class StatisticsError(FadError, ValueError):
    """Statistics or embeddings that cannot be read, are invalid, or lack what was requested."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path, self.reason = fspath(path), reason
        super().__init__(f"{shown(path)}: {reason}")


class UnpairedError(FadError, ValueError):
    """Clips without a partner of the same name, for a metric that compares pairs."""

    def __init__(
        self, first: Path, alone: Sequence[str], second: Path, gone: Sequence[str]
    ) -> None:
        """Take the names that only the first dataset has, and those that only the second has."""
        self.alone, self.gone = tuple(alone), tuple(gone)
        sides = ((first, self.alone), (second, self.gone))
        said = [
            f"{len(names)} of {shown(path)} ({', '.join(map(shown, names[:10]))}"
            f"{', ...' if len(names) > 10 else ''})"
            for path, names in sides
            if names
        ]
        super().__init__(
            f"clips without one partner of the same name: {' and '.join(said)}; give both datasets"
            " the same clips under the same relative paths, suffix aside"
        )


class CaptionError(FadError, ValueError):
    """A caption that cannot be embedded, or a file of captions that cannot be read."""

    def __init__(self, where: Path, problem: str) -> None:
        self.where, self.problem = fspath(where), problem
        super().__init__(f"{shown(where)}: {problem}")


class UncaptionedError(FadError, ValueError):
    """Clips without a caption, or captions without a clip."""

    def __init__(
        self, captions: Path, gone: Sequence[str], dataset: Path, alone: Sequence[str]
    ) -> None:
        """Take the captions without a clip, and the clips without a caption."""
        self.alone, self.gone = tuple(alone), tuple(gone)
        said = [
            f"{len(names)} {text} ({_first(names)})"
            for names, text in (
                (self.alone, f"clips of {shown(dataset)} have no caption in {shown(captions)}"),
                (self.gone, f"captions of {shown(captions)} have no clip in {shown(dataset)}"),
            )
            if names
        ]
        super().__init__(
            f"{'; '.join(said)}; name clips by their path relative to the dataset, or go on without"
            " them with --skip-errors (in Python: skip_errors=True)"
        )


def _first(names: Sequence[str]) -> str:
    """The first ten."""
    return ", ".join(map(shown, names[:10])) + (", ..." if len(names) > 10 else "")


class NoBandwidthError(StatisticsError):
    """A dataset with mostly equal embeddings, for which KAD has no bandwidth."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            path, "KAD takes the median distance between these embeddings as its bandwidth, and"
            " more than half of them are equal (silent or constant clips?); use more varied clips",
        )  # fmt: skip


class ChecksumError(FadError, OSError):
    """A file whose hash differs from the published one."""

    def __init__(
        self, path: Path, expected: str, got: str, done: str, kind: str = "sha256"
    ) -> None:
        super().__init__(f"{shown(path)}: {kind} expected {expected}, got {got}; {done}")


class DownloadError(FadError, OSError):
    """A file that could not be downloaded."""

    def __init__(self, url: str, reason: str, remedy: str) -> None:
        self.url, self.reason = url, reason
        super().__init__(f"{url}: {reason}; {remedy}")


class CheckpointError(FadError, ValueError):
    """A checkpoint that is truncated, hostile, or of another architecture."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path, self.reason = fspath(path), reason
        super().__init__(f"{shown(path)}: {reason}")


class DamagedModelError(CheckpointError):
    """A converted model in the cache whose files have changed since they were written."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(path, f"the converted model is damaged: {reason}")
        self.reason = reason


class CacheError(FadError, OSError):
    """The cache cannot be read or written."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(
            f"{shown(path)}: {reason}; set FAD_ONNX_HOME to another folder"
            " (--cache-dir moves only cached embeddings, --no-cache turns them off)"
        )


class OutputError(FadError, OSError):
    """A result file that cannot be written."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{shown(path)}: cannot be written: {reason}")


class MissingDependencyError(FadError, ImportError):
    """A missing optional package; the message ends with the pip commands that install it."""

    def __init__(self, what: str, *pip_lines: str) -> None:
        super().__init__(f"{what}: {' or '.join(pip_lines)}")


class ExecutorError(FadError, RuntimeError):
    """The workers of an executor have died."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"the workers have died ({reason}); run again: finished embeddings are cached"
        )


class WorkerError(FadError, RuntimeError):
    """A worker of an executor that lacks something its caller has, such as the weights."""

    def __init__(self, worker: str, model: str, reason: str) -> None:
        super().__init__(
            f"{worker} cannot load {model}: {reason}; give all workers one FAD_ONNX_HOME, or run"
            f" fad-onnx pull {model} there"
        )


class ThreadLimitError(FadError, RuntimeError):
    """The system refuses to start another thread."""

    def __init__(self) -> None:
        super().__init__(
            "the system refuses to start more threads: raise the limit (ulimit -u, or that of the"
            " container), or use fewer with --workers"
        )


class ProviderError(FadError, RuntimeError):
    """An execution provider that does not load, or fails during a run."""

    def __init__(self, provider: str, reason: str, remedy: str) -> None:
        super().__init__(f"provider {provider}: {reason}; {remedy}")
