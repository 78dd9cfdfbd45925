"""Gigabytes are described in kilobytes: only what is asked for is read."""

import random
import time
import tracemalloc

import numpy as np
import pytest

from fad_onnx.weights import checkpoints

from . import writers
from .writers import Call, Code, Pickler, line

SMALL, LARGE = 1000, 700_000_000  # float32 elements


class Announced(np.ndarray):
    """Elements that are not there: their number counts, the test writes a hole."""

    def __len__(self):
        return LARGE


def test_a_file_of_3_gb(tmp_path):
    """A model of 4 kB beside 2.8 GB of optimizer state, as a sparse file."""
    model = writers.tensor(np.arange(SMALL, dtype=np.float32))
    announced = writers.Storage(np.zeros(1, np.float32).view(Announced))
    state = writers.Tensor(announced, 0, (LARGE,), (1,))
    value = {"optimizer": {"state": {0: {"exp_avg": state}}}, "model": {"w": model}}
    head = writers.torch_legacy(value)
    tail = SMALL.to_bytes(8, "little") + model.storage.elements.tobytes()
    head = head[: -len(tail) - 4]  # without the one element that is there
    path = tmp_path / "large.pth"
    with open(path, "wb") as file:
        file.write(head)
        try:
            file.seek(4 * LARGE, 1)
            file.write(tail)
        except OSError:
            pytest.skip("no sparse files of 3 GB here")
    tracemalloc.start()
    try:
        checkpoint = checkpoints.open(path)
        read = checkpoint.tensors(("model",))["w"].read()
        large = checkpoint.tree["optimizer"]["state"][0]["exp_avg"]
        assert large.shape == (LARGE,)
        assert large.read()[-1] == 0
        assert tracemalloc.get_traced_memory()[1] < 2**18
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(read, np.arange(SMALL))


@pytest.mark.parametrize("container", writers.CONTAINERS)
def test_megabytes_of_sampler_state_stay_in_the_file(tmp_path, container):
    """NumPy arrays inside the pickle, as CNN14 at 16 kHz has 34 MB of."""
    state = np.random.RandomState(1).randint(0, 2**31, 500_000)
    path = tmp_path / "state.pth"
    path.write_bytes(writers.CONTAINERS[container]({"x": writers.tensor(np.ones(3)), "s": state}))
    tracemalloc.start()
    try:
        checkpoint = checkpoints.open(path)
        assert checkpoint.tensors()["x"].read().sum() == 3
        assert tracemalloc.get_traced_memory()[1] < 2**18
        read = checkpoint.tensors()["s"].read()
        assert tracemalloc.get_traced_memory()[1] < state.nbytes + 2**23
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(read, state)


@pytest.mark.slow
def test_twenty_thousand_tensors_and_a_million_numbers(tmp_path):
    """Within the allowance, and in seconds."""
    weights = {f"layer.{n}.weight": Code(TENSOR) for n in range(20_000)}
    numbers = random.Random(1).choices(range(2**31), k=1_000_000)
    made = writers.tensor(np.ones(2, np.float32))
    path = tmp_path / "many.pth"
    path.write_bytes(writers.torch_zip({"one": made, "model": weights, "numbers": numbers}))
    started = time.process_time()
    checkpoint = checkpoints.open(path)
    assert len(checkpoint.tensors(["model"])) == 20_000
    assert checkpoint.tree["numbers"] == numbers
    assert time.process_time() - started < 30


IDENTITY = ("storage", Code(line("torch", "FloatStorage")), "0", "cpu", 2)
TENSOR = (
    line("torch._utils", "_rebuild_tensor_v2")
    + b"("
    + Pickler().body(IDENTITY)
    + b"Q"
    + b"".join(map(Pickler().body, (0, (2,), (1,), False, Call("collections", "OrderedDict"))))
    + b"tR"
)
