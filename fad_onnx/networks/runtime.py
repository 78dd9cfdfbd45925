"""ONNX Runtime sessions: providers, threads, limits. The only module that imports onnxruntime.

"auto" is CUDA if it really loads, else the CPU. Every other provider runs only if it is named,
because some compute in half precision. A provider that is named and does not load is an error.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import MissingDependencyError, NoEffectError, OptionError, ProviderError
from .providers import CPU_LINE, GPU_LINE, PROVIDERS, Provider, named

Inputs = tuple[NDArray[np.float32] | NDArray[np.int64], ...]
# Concurrent runs on an accelerator: one computes while the next is copied there.
ACCELERATOR_RUNS = 2
# The option with the folder of the external tensors of a model in memory. Older releases of ONNX
# Runtime cannot open such models, and run whole graphs: the same numbers in more time.
PRUNING_SINCE = (1, 22)
TENSORS_FOLDER = "session.model_external_initializers_file_folder_path"
Prune = Callable[[Path, frozenset[str]], bytes | None]


@dataclass(frozen=True)
class Settings:
    """How networks run.

    `threads` is the number of threads within one run of one network. More than one makes a single
    run faster, but ONNX Runtime's CPU provider then divides a batch in a way that changes the last
    bits with the size of the batch. Several workers use all cores without that. `device` and
    `memory_limit_mb` are for accelerators: the index of the card, and the most memory of it that
    ONNX Runtime may use. NoEffectError if the named provider does not take them.
    """

    provider: str = "auto"
    threads: int = 1
    device: int = 0
    memory_limit_mb: int | None = None

    def __post_init__(self) -> None:
        takes = (PROVIDERS["cuda"] if self.provider == "auto" else named(self.provider)).takes
        for name, value, default in (
            ("device", self.device, 0),
            ("memory_limit_mb", self.memory_limit_mb, None),
        ):
            if value != default and name not in takes:
                raise NoEffectError(name, "with", [f"provider={self.provider}"])
        if self.threads < 1:
            raise OptionError("threads", f"{self.threads} is not a positive number")


def runtime() -> Any:
    """The onnxruntime module, or MissingDependencyError with both pip lines."""
    try:
        import onnxruntime
    except ImportError as error:
        interrupt = error.__cause__ or error.__context__
        if isinstance(interrupt, KeyboardInterrupt):
            raise interrupt from error  # during its start; nothing is missing
        raise MissingDependencyError(
            f"ONNX Runtime is not usable ({error})", CPU_LINE, GPU_LINE
        ) from error
    return onnxruntime


def _version() -> tuple[int, int]:
    """The release of ONNX Runtime, as (major, minor)."""
    major, minor = str(runtime().__version__).split(".")[:2]
    return int(major), int(minor)


def _provider_options(settings: Settings, provider: Provider) -> dict[str, str]:
    options: dict[str, str] = {}
    if "device" in provider.takes:
        options["device_id"] = str(settings.device)
    if provider.name == "CUDAExecutionProvider":
        # TF32 keeps 10 bits of the mantissa: scores would differ from the CPU's by 1e-3.
        options["use_tf32"] = "0"
        # The default tries all algorithms of cuDNN for every new shape, that is, for every new
        # length of a clip: mert-95m took 6.8 s for 16 clips of 16 lengths, and 0.9 s with this.
        options["cudnn_conv_algo_search"] = "HEURISTIC"
        # Do not grow the arena by powers of two, beyond the need of the batch.
        options["arena_extend_strategy"] = "kSameAsRequested"
        if settings.memory_limit_mb is not None:
            options["gpu_mem_limit"] = str(settings.memory_limit_mb << 20)
    return options


def _open(
    graph: Path, model: bytes | None, settings: Settings, provider: Provider, arena: bool
) -> Any:
    """A session on this provider alone (ONNX Runtime uses the CPU for unsupported nodes).

    `model` holds bytes to open instead of the file `graph`, whose folder holds the tensors.
    """
    ort = runtime()
    options = ort.SessionOptions()
    options.intra_op_num_threads = settings.threads
    options.inter_op_num_threads = 1
    # A memory pattern would keep the whole memory of a run for every shape and every thread.
    options.enable_mem_pattern = False
    options.enable_cpu_mem_arena = arena
    options.log_severity_level = 4  # a failure raises an error, so a log line would be a duplicate
    chosen: list[Any] | None = [(provider.name, _provider_options(settings, provider))]
    try:
        if provider.name not in ort.get_available_providers():
            devices = _plugin_devices(ort, provider)
            options.add_provider_for_devices(devices, {})
            chosen = None
        if model is not None:
            options.add_session_config_entry(TENSORS_FOLDER, os.fspath(graph.parent))
        session = ort.InferenceSession(model or os.fspath(graph), options, chosen)
    except _runtime_errors() as error:
        if isinstance(error, ProviderError):
            raise
        raise ProviderError(provider.name, _first_line(error), provider.remedy) from error
    if session.get_providers()[0] != provider.name:
        raise ProviderError(provider.name, "it did not load (driver or library)", provider.remedy)
    session.disable_fallback()
    return session


def _plugin_devices(ort: Any, provider: Provider) -> list[Any]:
    """The devices of a provider that comes as a plugin; ProviderError if there is none."""
    if provider.plugin is None or find_spec(provider.plugin) is None:
        built = ", ".join(ort.get_available_providers())
        reason = f"not in this build of ONNX Runtime {ort.__version__} ({built})"
        raise ProviderError(provider.name, reason, provider.remedy)
    if not hasattr(ort, "register_execution_provider_library"):
        raise ProviderError(
            provider.name, f"ONNX Runtime {ort.__version__} has no plugins", "use 1.23 or newer"
        )
    if provider.plugin not in _registered:
        library = import_module(provider.plugin).get_library_path()
        ort.register_execution_provider_library(provider.plugin, library)
        _registered.add(provider.plugin)
    devices = [device for device in ort.get_ep_devices() if device.ep_name == provider.name]
    if not devices:
        found = ", ".join(sorted({f"{d.device.vendor} {d.device.type.name}"
                                  for d in ort.get_ep_devices()}))  # fmt: skip
        raise ProviderError(
            provider.name, f"its plugin supports no device of this machine ({found})",
            provider.remedy,
        )  # fmt: skip
    return devices


# Plugin libraries that this process has registered; ONNX Runtime accepts each once.
_registered: set[str] = set()


def _runtime_errors() -> tuple[type[Exception], ...]:
    """The exceptions of ONNX Runtime, which have no common base but Exception."""
    state = runtime().capi.onnxruntime_pybind11_state
    kinds = [value for value in vars(state).values()
             if isinstance(value, type) and issubclass(value, Exception)]  # fmt: skip
    return (*kinds, RuntimeError, ValueError)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


@dataclass
class Session:
    """A loaded graph: inputs in, named outputs out; safe to run from many threads.

    Attributes
    ----------
    graph : path
        The model.
    settings : Settings
        How it runs.
    outputs : frozenset of str
        The outputs that it computes; a run that needs others adds them.
    prune : function or None
        Takes the graph and outputs, and returns a model with only these outputs (None if all of
        the graph is needed). Without it, every run computes all outputs, because builds of ONNX
        Runtime for inference ignore the option to run only the path to the fetched outputs.
    arena : bool
        Whether it keeps freed memory for the next run; see `Network`.

    Raises
    ------
    ProviderError
        When the provider does not load or fails in a run.
    """

    graph: Path
    settings: Settings
    outputs: frozenset[str] = frozenset()
    prune: Prune | None = field(default=None, repr=False)
    arena: bool = True
    provider: Provider = field(init=False)
    why_not_cuda: str | None = field(init=False, default=None)
    _session: Any = field(init=False, repr=False, default=None)
    _owner: int = field(init=False, repr=False, default=0)
    _lock: Any = field(init=False, repr=False, default_factory=threading.Lock)
    _turn: AbstractContextManager[Any] = field(init=False, repr=False, default=nullcontext())

    def __post_init__(self) -> None:
        self._load()

    def __reduce__(self) -> tuple[Any, ...]:
        # A session belongs to its process, so a copy opens its own.
        return Session, (self.graph, self.settings, self.outputs, self.prune, self.arena)

    def _load(self) -> None:
        if self.settings.provider == "auto":
            cuda = PROVIDERS["cuda"]
            if cuda.name in runtime().get_available_providers():
                try:
                    self._adopt(cuda)
                    return
                except ProviderError as error:
                    self.why_not_cuda = str(error)
            self._adopt(PROVIDERS["cpu"])
        else:
            self._adopt(named(self.settings.provider))

    def _adopt(self, provider: Provider) -> None:
        prunes = self.prune is not None and self.outputs and _version() >= PRUNING_SINCE
        model = self.prune(self.graph, self.outputs) if self.prune and prunes else None
        self._session = _open(self.graph, model, self.settings, provider, self.arena)
        self.provider, self._owner = provider, os.getpid()
        if provider.accelerator:
            self._turn = threading.BoundedSemaphore(ACCELERATOR_RUNS)
        self._input_names = [value.name for value in self._session.get_inputs()]

    def run(self, inputs: Inputs, outputs: Sequence[str]) -> list[NDArray[np.float32]]:
        """The named outputs for one batch, each (batch, width) or (batch, frames, width)."""
        session = self._opened(outputs)
        try:
            feed = dict(zip(self._input_names, inputs, strict=True))
            with self._turn:
                found: list[NDArray[np.float32]] = session.run(list(outputs), feed)
        except _runtime_errors() as error:
            raise ProviderError(
                self.provider.name, f"a run failed: {_first_line(error)}", "try --provider cpu"
            ) from error
        return found

    def _opened(self, outputs: Sequence[str]) -> Any:
        """The session of this process, reopened if it lacks outputs."""
        with self._lock:
            lacks = self.prune is not None and not self.outputs.issuperset(outputs)
            # A forked child has the session's memory but not its threads.
            if lacks or self._owner != os.getpid():
                self.outputs |= frozenset(outputs) if lacks else frozenset()
                self._load()
            return self._session

    def versions(self) -> dict[str, str]:
        """The name of the provider and the version of ONNX Runtime."""
        return {"provider": self.provider.name, "onnxruntime": runtime().__version__}
