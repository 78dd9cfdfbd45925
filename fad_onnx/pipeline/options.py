"""The keyword arguments that the functions of the package share."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, fields, replace
from numbers import Integral
from types import NoneType
from typing import Any

from ..errors import NoEffectError, OptionError
from ..networks import machine
from ..networks.runtime import Settings
from ..weights import prepare
from .progress import Bars, Downloads

logger = logging.getLogger("fad_onnx")

PathLike = str | os.PathLike[str]
Progress = Callable[[str, int, int], None]


# The types of each value, with a description for errors.
KINDS: Mapping[str, tuple[tuple[type, ...], str]] = {
    "options": ((Mapping, NoneType), "a mapping, as {'use_pca': True}"),
    "protocol": ((str, NoneType), "a name, as 'gudgud96'"),
    "weights": ((str, os.PathLike, Mapping, NoneType), "a path or a mapping of names to paths"),
    "folders": ((list, tuple), "a list of folders"),
    "provider": ((str,), "a name, as 'cuda'"),
    "threads": ((Integral,), "a whole number"),
    "device": ((Integral,), "the index of the card; for a GPU give provider='cuda'"),
    "memory_limit_mb": ((Integral, NoneType), "a whole number"),
    "workers": ((Integral, NoneType), "a whole number"),
    "executor": ((Executor, NoneType), "a concurrent.futures.Executor"),
}


@dataclass(frozen=True)
class RunOptions:
    """The keyword arguments that the functions of the package share.

    Parameters
    ----------
    options : mapping of str to value, optional
        Options of the model, as in ``{"use_pca": True}``, for calls with one model.
    protocol : str, optional
        The published harness whose preparation is used, such as "gudgud96"; a protocol in the name
        of a model comes first.
    weights : path, or mapping of str to path, optional
        Checkpoints in place of the official ones: a path for the main checkpoint, or
        ``{"MODEL:NAME": path}``; "MODEL:" may be left out for one model, ":NAME" for the main
        checkpoint.
    folders : sequence of paths
        Folders to search for official checkpoints before a download.
    provider : str
        Execution provider, such as "auto", "cpu" or "cuda".
    threads : int
        Threads within one run of a network.
    device : int
        Index of the GPU.
    memory_limit_mb : int, optional
        Limit of the GPU memory that ONNX Runtime uses, in MB.
    workers : int, optional
        Threads that decode, resample and run networks at the same time; by default one for each
        core that this process may use, and one in a worker of an executor.
    short : {"error", "skip", "pad"}
        What to do with a clip below the model's minimum length.
    skip_errors : bool
        Skip unusable files, and list them.
    sample_format : str
        The type to which PCM is decoded: "float32", "float64", "int16" or "int32".
    cache : bool
        Whether to read and store cached embeddings.
    cache_dir : path, optional
        Where to cache embeddings.
    offline : bool
        Use no network, as with the environment variable FAD_ONNX_OFFLINE.
    executor : concurrent.futures.Executor, optional
        An executor that computes instead of the worker threads.
    progress : bool or callable, optional
        True draws bars. A function is called with the name of a dataset or step, the newly
        finished count, and the total.
    download_progress : callable, optional
        Called with the name of a file, the bytes so far, and the total bytes or None.
    key : str, optional
        Which statistics to read from a file of another tool that holds several.

    Raises
    ------
    OptionError
        If a value is of the wrong type.

    Examples
    --------
    >>> RunOptions(workers=2, provider="cpu").worker_count
    2
    """

    options: Mapping[str, Any] | None = None
    protocol: str | None = None
    weights: PathLike | Mapping[str, PathLike] | None = None
    folders: Sequence[PathLike] = ()
    provider: str = "auto"
    threads: int = 1
    device: int = 0
    memory_limit_mb: int | None = None
    workers: int | None = None
    short: str = "error"
    skip_errors: bool = False
    sample_format: str = "float32"
    cache: bool = True
    cache_dir: PathLike | None = None
    offline: bool = False
    executor: Executor | None = None
    progress: bool | Progress | None = None
    download_progress: prepare.Progress | None = None
    key: str | None = None

    def __post_init__(self) -> None:
        for name, (kinds, wanted) in KINDS.items():
            if not isinstance(getattr(self, name), kinds):
                raise OptionError(name, f"{getattr(self, name)!r} is not {wanted}")
        if self.workers is not None and self.workers < 1:
            raise OptionError("workers", f"{self.workers} is not a positive number")
        if self.cache_dir is not None and not self.cache:
            raise NoEffectError("cache_dir", "with", ["cache=False"])
        for name, value in self._settled().items():
            object.__setattr__(self, name, value)

    def _settled(self) -> dict[str, Any]:
        """Absolute paths, which are valid in workers and copies; bars for True."""
        given: Mapping[str, PathLike] = {}
        if isinstance(self.weights, Mapping):
            given = self.weights
        elif self.weights is not None:
            given = {"main": self.weights}
        found: dict[str, Any] = {
            "weights": {name: os.path.abspath(path) for name, path in given.items()},
            "folders": tuple(os.path.abspath(folder) for folder in self.folders),
            "cache_dir": self.cache_dir and os.path.abspath(self.cache_dir),
        }
        if self.progress is True:
            found["download_progress"] = self.download_progress or Downloads().update
        if isinstance(self.progress, bool):
            found["progress"] = Bars().update if self.progress else None
        return found

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> RunOptions:
        """Take the shared keywords from the arguments of a call.

        Parameters
        ----------
        given : mapping of str to value
            The arguments by name, as `locals()` returns them.

        Returns
        -------
        RunOptions
        """
        return cls(**{one.name: given[one.name] for one in fields(cls) if one.name in given})

    def of_files(self) -> RunOptions:
        """The options that concern files; those that a loaded model fixes have their defaults.

        Returns
        -------
        RunOptions
        """
        held = {name: getattr(NO_OPTIONS, name) for name in OF_A_MODEL}
        return replace(self, **held)

    @property
    def tell(self) -> Progress | None:
        """The function to call with progress."""
        return None if isinstance(self.progress, bool) else self.progress

    @property
    def checkpoints(self) -> Mapping[str, str]:
        """The checkpoints that are given in place of the official ones, by name."""
        assert isinstance(self.weights, Mapping)
        return {name: os.fspath(path) for name, path in self.weights.items()}

    @property
    def settings(self) -> Settings:
        """How to run a network."""
        return Settings(self.provider, self.threads, self.device, self.memory_limit_mb)

    @property
    def worker_count(self) -> int:
        """How many workers there are."""
        # In a worker of an executor, one thread per chunk: the executor manages its cores.
        return self.workers or (1 if self.executor is not None else machine.cores())


NO_OPTIONS = RunOptions()
# The options that are fixed when a model is loaded.
OF_A_MODEL = (
    "options", "protocol", "weights", "folders", "provider", "threads", "device",
    "memory_limit_mb", "sample_format", "offline",
)  # fmt: skip
