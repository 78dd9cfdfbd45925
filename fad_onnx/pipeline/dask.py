"""A running Dask scheduler as an executor: chunks of files go to its workers.

The workers need fad-onnx, the audio under the same paths, and the weights (in a shared
FAD_ONNX_HOME, or downloaded by each worker). If a worker dies, Dask gives its chunks to another
one, and the bits of the result stay the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager

from ..errors import ExecutorError, MissingDependencyError, OptionError
from ..networks.machine import starting_threads

CONNECT_SECONDS = 30
# How often a chunk that failed is tried again: a disk or a server may answer the next time.
RETRIES = 5


@contextmanager
def dask_executor(address: str) -> Iterator[Executor]:
    """An executor over the workers of the scheduler at this address, as tcp://host:8786.

    Raises MissingDependencyError without Dask, OptionError if nobody answers there, and
    ExecutorError if a chunk of work ends every worker that takes it.
    """
    try:
        from distributed import Client, KilledWorker
    except ImportError as error:
        raise MissingDependencyError(
            "--dask needs Dask's scheduler", "pip install 'fad-onnx[dask]'"
        ) from error
    try:
        with starting_threads():
            client = Client(address, timeout=CONNECT_SECONDS)  # type: ignore[no-untyped-call]
    except (OSError, ValueError, TimeoutError) as error:
        raise OptionError("address", f"no scheduler answers at {address}: {error}") from error
    with client:
        try:
            yield client.get_executor(pure=False, retries=RETRIES)  # type: ignore[no-untyped-call]
        except KilledWorker as error:
            raise ExecutorError(
                f"{error.allowed_failures + 1} on the same clips, perhaps out of memory"
            ) from error
