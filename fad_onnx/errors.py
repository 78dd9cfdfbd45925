"""Every error that fad_onnx raises on purpose: a FadError that is also a builtin.

Each class builds its own message, so that a raise site reads as a sentence and every
message carries what the user needs: the path, the number and the remedy.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from os import PathLike, fspath
from typing import Any

Path = str | PathLike[str]


def shown(path: Path) -> str:
    """The path as one printable line: control characters and stray bytes are escaped."""
    text = fspath(path)
    if not text:
        return "''"
    if text.isprintable():
        return text
    return text.encode("utf-8", "backslashreplace").decode().encode("unicode_escape").decode()


def printable(text: str) -> str:
    """The text as one line, its control characters and stray bytes escaped, all else as it is."""
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
    """Base of all errors of this package."""

    def __init__(self, message: str = "") -> None:
        # It may name what a file or a server says of itself: no line breaks, no escape sequences.
        super().__init__(printable(message))

    def __reduce__(self) -> tuple[Any, ...]:
        # The constructors of the leaves take facts, not a message: without this an error
        # raised in a worker process could not be unpickled in the parent.
        return _revive, (type(self), str(self.args[0]) if self.args else "", self.__dict__)

    def __str__(self) -> str:
        # OSError's own __str__ would print errno pairs.
        return str(self.args[0]) if self.args else ""


class UnknownModelError(FadError, ValueError):
    """No row of the model table has this name."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        known = sorted(known)
        near = get_close_matches(name, known, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known)}"
        super().__init__(f"unknown model {name!r}: {hint}")


class ManifestError(FadError, ValueError):
    """The model table is not what the code expects."""

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(f"artifacts.json, {where}: {problem}")


class OptionError(FadError, ValueError):
    """An option or argument that does not exist, or has a value it cannot have."""

    def __init__(self, option: str, problem: str) -> None:
        super().__init__(f"{option}: {problem}")


class KeywordError(FadError, TypeError):
    """A keyword argument that no function of the package takes."""

    def __init__(self, given: str, known: Iterable[str]) -> None:
        known = sorted(known)
        near = get_close_matches(given, known, n=1, cutoff=0.6)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
        super().__init__(f"unknown keyword argument {given!r}: {hint}")


class AudioError(FadError, OSError):
    """A file that cannot be read as audio, or whose samples are unusable."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path, self.reason = fspath(path), reason
        super().__init__(f"{shown(path)}: {reason}")


class OtherFileError(AudioError):
    """A worker elsewhere finds another file under the path than the one that was meant."""

    def __init__(self, path: Path, meant: str, found: str) -> None:
        super().__init__(
            path,
            f"another file than the one that was meant: {meant} here, {found} where the worker"
            " is; give all workers the same folder under the same path",
        )


class TruncatedAudioError(AudioError):
    """A file of which a part is missing, or in which more audio lies than can be read."""

    def __init__(
        self, path: Path, problem: str, read: int, whole: int, unit: str, remedy: str
    ) -> None:
        self.read, self.whole, self.unit = read, whole, unit
        super().__init__(path, f"{problem}: {read} of {whole} {unit}; {remedy}")


class NoAudioError(FadError, FileNotFoundError):
    """A set with no audio file in it, or none left after skipping."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path, self.reason = fspath(path), reason
        super().__init__(f"{shown(path)}: {reason}")


class TooShortError(FadError, ValueError):
    """A clip shorter than the model's minimum; seconds had and needed."""

    def __init__(self, path: Path, had: int, needed: int, rate: int) -> None:
        """The samples that there are and that are needed, at the model's rate in Hz."""
        self.path = fspath(path)
        self.had_seconds, self.needed_seconds = had / rate, needed / rate
        had_text, needed_text = f"{had / rate:.4g} s", f"{needed / rate:.4g} s"
        if had_text == needed_text:
            had_text, needed_text = f"{had} samples", f"{needed} (at {rate} Hz)"
        self.reason = f"{had_text} is shorter than the model's {needed_text}"
        super().__init__(
            f"{shown(path)}: {self.reason}; leave such clips out with --short skip"
            ' or fill them with silence with --short pad (in Python: short="pad")'
        )


class TooLongError(FadError, ValueError):
    """A clip whose arithmetic would need more memory than there is."""

    def __init__(self, path: Path, seconds: float, needed_gb: float, available_gb: float) -> None:
        self.path, self.seconds = fspath(path), seconds
        self.reason = (
            f"{seconds:.0f} s would need about {needed_gb:.1f} GB at once,"
            f" {available_gb:.1f} GB are available"
        )
        super().__init__(
            f"{shown(path)}: {self.reason}; cut the file into shorter clips,"
            " or leave it out with --skip-errors"
        )


class TooFewRowsError(FadError, ValueError):
    """Fewer embeddings than the statistic needs."""

    def __init__(self, where: Path, rows: int, needed: int, what: str = "a covariance") -> None:
        self.rows, self.needed = rows, needed
        super().__init__(f"{shown(where)}: {rows} rows, {what} needs at least {needed}; add audio")


class IncompatibleStatisticsError(FadError, ValueError):
    """Two sets of statistics that do not come from the same model, option and protocol."""

    def __init__(self, first: Path, second: Path, difference: str) -> None:
        super().__init__(
            f"{shown(first)} and {shown(second)} do not mix: {difference};"
            " compute both with the same model, options and weights"
        )


class TwoFilesError(FadError, ValueError):
    """Two audio files of one name in what is kept by name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"two audio files are called {name!r}; embed the folders one by one")


class StatisticsError(FadError, ValueError):
    """A statistics or embeddings file that cannot be read, or lacks what is asked of it."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path, self.reason = fspath(path), reason
        super().__init__(f"{shown(path)}: {reason}")


class NoBandwidthError(StatisticsError):
    """A reference whose embeddings are mostly equal, which leaves KAD without a bandwidth."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            path, "KAD needs a bandwidth, the median distance of two reference embeddings, and over"
            " half of them are equal (silent or constant clips?); give a reference that varies",
        )  # fmt: skip


class ChecksumError(FadError, OSError):
    """A file whose hash is not the published one."""

    def __init__(
        self, path: Path, expected: str, got: str, done: str, kind: str = "sha256"
    ) -> None:
        super().__init__(f"{shown(path)}: {kind} expected {expected}, got {got}; {done}")


class DownloadError(FadError, OSError):
    """A file that could not be fetched."""

    def __init__(self, url: str, reason: str, remedy: str) -> None:
        self.url, self.reason = url, reason
        super().__init__(f"{url}: {reason}; {remedy}")


class CheckpointError(FadError, ValueError):
    """A checkpoint that is truncated, hostile, or not of the model's architecture."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path, self.reason = fspath(path), reason
        super().__init__(f"{shown(path)}: {reason}")


class DamagedModelError(CheckpointError):
    """A converted model in the cache whose files are not what was written."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(path, f"the converted model is damaged: {reason}")
        self.reason = reason


class CacheError(FadError, OSError):
    """The cache cannot be read or written."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(
            f"{shown(path)}: {reason}; choose another place with FAD_ONNX_HOME"
            " (for embeddings alone with --cache-dir, or keep none with --no-cache)"
        )


class OutputError(FadError, OSError):
    """A result file that cannot be written."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{shown(path)}: cannot be written: {reason}")


class MissingDependencyError(FadError, ImportError):
    """An optional package that is needed now; with the pip lines."""

    def __init__(self, what: str, *pip_lines: str) -> None:
        super().__init__(f"{what}: {' or '.join(pip_lines)}")


class ExecutorError(FadError, RuntimeError):
    """The workers of an executor are gone."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"the workers are gone ({reason}); run again: what is finished is in their cache"
        )


class NoThreadError(FadError, RuntimeError):
    """The system starts no more threads."""

    def __init__(self) -> None:
        super().__init__(
            "the system starts no more threads: allow more (ulimit -u, or the limit of the"
            " container), or use fewer with --workers"
        )


class ProviderError(FadError, RuntimeError):
    """An execution provider that does not load, or fails while it runs."""

    def __init__(self, provider: str, reason: str, remedy: str) -> None:
        super().__init__(f"provider {provider}: {reason}; {remedy}")
