"""Whatever the bytes: arrays or a CheckpointError; nothing runs, memory and time bounded.

The default tier takes a few hundred inputs, `pytest -m slow tests/checkpoints` over 31,000.
"""

import json
import os
import random
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fad_onnx.errors import CheckpointError
from fad_onnx.weights import checkpoints
from fad_onnx.weights.checkpoints import npz, onnx_file, stand_ins, torch_legacy
from fad_onnx.weights.checkpoints.mapped import ALLOWANCE_BYTES

from . import corpus, writers

SECONDS = 5.0


def examples(count):
    """The same inputs every time, without a deadline per input: a busy machine is no bug."""
    return settings(
        max_examples=count,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


def read_everything(path):
    """Use every reader on the file; how many arrays came out."""
    count = 0
    for reader in (read_checkpoint, npz.read, npz.names, onnx_file.initializers):
        try:
            count += len(reader(path))
        except CheckpointError as error:
            assert str(error).startswith(str(path))
            assert str(error).isprintable()
            assert len(str(error)) < 1000
    return count


def read_checkpoint(path):
    checkpoint = checkpoints.open(path)
    found = [
        tensor
        for nesting in writers.nestings(checkpoint)
        for tensor in checkpoint.tensors(nesting).values()
    ]
    return [array for tensor in found if (array := attempt(tensor)) is not None]


def attempt(tensor):
    try:
        array = tensor.read()
    except CheckpointError:
        return None
    assert array.dtype == tensor.dtype
    assert array.shape == tensor.shape
    assert array.dtype.kind in "biufcSU"
    if array.nbytes < 2**20:
        array.tobytes()  # every byte is there
    return array


@pytest.fixture
def survives(tmp_path, watch, monkeypatch):
    """Bytes -> arrays read; fails if anything ran, took long or took much memory."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "checkpoint"
    (tmp_path / "weights.bin").write_bytes(bytes(range(100)))
    for data in corpus.seeds().values():  # so that codecs and the like are imported
        path.write_bytes(data)
        assert read_everything(path) > 0

    def survives(data):
        path.write_bytes(data)
        started = time.process_time()
        tracemalloc.start()
        try:
            with watch:
                count = read_everything(path)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert time.process_time() - started < SECONDS
        assert peak < len(data) + ALLOWANCE_BYTES
        return count

    yield survives
    assert sorted(os.listdir(tmp_path)) == ["checkpoint", "weights.bin"]


def fuzz(survives, seed, data, inputs):
    rng = random.Random(seed)
    return sum(survives(corpus.mutated(data, rng)) > 0 for _ in range(inputs))


@pytest.mark.parametrize("container", corpus.seeds())
def test_damaged_files(survives, container):
    fuzz(survives, container, corpus.seeds()[container], 50)


@pytest.mark.parametrize("container", writers.CONTAINERS)
def test_damaged_pickles(survives, container):
    rng = random.Random(container)
    read = sum(survives(corpus.mutated_pickle(rng, container)) > 0 for _ in range(60))
    assert read > 0  # the damage is small enough to get anywhere


@pytest.mark.slow
@pytest.mark.parametrize("container", corpus.seeds())
def test_many_damaged_files(survives, container):
    read = fuzz(survives, "more" + container, corpus.seeds()[container], 2000)
    assert read > (0 if container == "gzip" else 20)  # whose checksum finds nearly all damage


@pytest.mark.slow
@pytest.mark.parametrize("container", writers.CONTAINERS)
def test_many_damaged_pickles(survives, container):
    rng = random.Random("more" + container)
    read = sum(survives(corpus.mutated_pickle(rng, container)) > 0 for _ in range(4000))
    assert read > 100


@pytest.mark.slow
@pytest.mark.parametrize("container", corpus.seeds())
def test_every_bit_flipped(survives, container):
    data = corpus.seeds()[container]
    for bit in range(0, 8 * len(data), 7):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        survives(bytes(flipped))


# Built, rather than damaged

SMALL = st.integers(0, 300)
TEXTS = st.sampled_from(["", "x", "storage", "cpu", "0", "latin1", "f4", "<", "é", "O"])
GLOBALS = st.sampled_from(
    [name.rpartition(".")[::2] for name in sorted(stand_ins.ALLOWED)]
    + [("os", "system"), ("builtins", "eval"), ("", "")]
)
OPERANDS = st.one_of(
    st.just(b"N"),
    st.just(b"("),
    st.sampled_from([bytes([code]) for code in range(256)]),
    st.sampled_from(corpus.PARTS),
    SMALL.map(writers.Pickler().body),
    TEXTS.map(writers.Pickler().body),
    GLOBALS.map(lambda name: writers.line(*name)),
    st.sampled_from([b")", b"}", b"]", b"t", b"u", b"e", b"s", b"a", b"R", b"b", b"\x85", b"\x86"]),
    SMALL.map(lambda n: b"q" + bytes([n % 4])),
    SMALL.map(lambda n: b"h" + bytes([n % 4])),
)
PROGRAMS = st.lists(OPERANDS, max_size=40).map(b"".join)


def programs_survive(survives, program):
    for container in writers.CONTAINERS.values():
        survives(container({"good": writers.tensor(np.ones(2)), "bad": writers.Code(program)}))


@examples(40)
@given(PROGRAMS)
def test_programs(survives, program):
    programs_survive(survives, program)


@pytest.mark.slow
@examples(2000)
@given(PROGRAMS)
def test_many_programs(survives, program):
    programs_survive(survives, program)


NUMBERS = st.one_of(st.integers(-2, 9), st.sampled_from(corpus.NUMBERS))
SHAPES = st.lists(NUMBERS, max_size=4).map(tuple)
KINDS = st.sampled_from([*writers.STORAGES.values(), "Untyped"])


@examples(60)
@given(NUMBERS, SHAPES, SHAPES, NUMBERS, KINDS, st.sampled_from([*writers.CONTAINERS]))
def test_tensors_of_any_geometry(survives, offset, shape, stride, count, kind, container):
    class Lying(np.ndarray):
        def __len__(self):
            return count

    storage = writers.Storage(np.zeros(40, np.uint8), type_name=kind)
    storage.elements = storage.elements.view(Lying)
    value = {"x": writers.Tensor(storage, offset, shape, stride)}
    try:
        data = writers.CONTAINERS[container](value)
    except (ValueError, OverflowError, TypeError):  # what len() and struct refuse to say
        return
    survives(data)


JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.floats() | st.sampled_from(["F32", "U8", "x"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["dtype", "shape", "data_offsets", "x"]), inner, max_size=4
        )
    ),
    max_leaves=20,
)
ENTRIES = st.fixed_dictionaries(
    {"dtype": st.sampled_from(["F32", "U8", "BF16", "F8_E5M2", "?"]), "shape": SHAPES,
     "data_offsets": st.tuples(NUMBERS, NUMBERS)}
)  # fmt: skip


@examples(60)
@given(st.dictionaries(st.text(max_size=3), ENTRIES | JSON, max_size=3), st.binary(max_size=40))
@pytest.mark.large
def test_safetensors_headers(survives, header, data):
    text = json.dumps(header).encode()
    survives(len(text).to_bytes(8, "little") + text + data)


FIELDS = st.recursive(
    st.binary(max_size=8) | NUMBERS.map(lambda n: n % 2**64),
    lambda inner: st.lists(st.tuples(st.integers(1, 16), inner), max_size=6).map(
        lambda fields: writers.message(*fields)
    ),
    max_leaves=15,
)


@examples(60)
@given(st.lists(st.tuples(st.sampled_from([1, 2, 5, 8, 9, 13, 14]), FIELDS), max_size=6))
def test_onnx_messages(survives, fields):
    tensor = writers.message(*fields)
    survives(writers.onnx_model(tensor, tensor + b""))
    survives(writers.message((1, 8), *fields, (7, tensor)))


@examples(60)
@given(
    st.sampled_from(["<f4", "<f8", "|b1", "<U3", "|S2", "|O", "V4", "<f4'", ">i8"]),
    SHAPES,
    st.booleans(),
    st.binary(max_size=40),
)
def test_npy_headers(survives, descr, shape, fortran, data):
    text = f"{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}\n".encode()
    member = b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text + data
    survives(writers.zipped([("x.npy", member)]))


@examples(100)
@given(
    st.sampled_from([b"", b"PK\3\4", b"\x80\x02", torch_legacy.OPENINGS[0], b"\x08\x08"]),
    st.binary(max_size=200),
)
def test_noise(survives, start, noise):
    survives(start + noise)
