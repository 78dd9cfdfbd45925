"""Hostile pickles, in both containers: nothing runs, the error names the global."""

import contextlib
import os
import pickle
import struct
import time
import tracemalloc

import numpy as np
import pytest

from fad_onnx.errors import CheckpointError
from fad_onnx.weights import checkpoints
from fad_onnx.weights.checkpoints import mapped

from .writers import CONTAINERS, Call, Code, Pickler, line, tensor, zipped


@pytest.fixture(params=CONTAINERS)
def attack(request, write, watch):
    """Opcodes -> the error they end in, or what they describe; watched."""

    checkpoints.open(write(CONTAINERS[request.param]({"x": np.ones(2)}), "warm"))

    def attack(value):
        path = write(CONTAINERS[request.param]({"good": tensor(np.ones(2)), "bad": value}))
        with watch:
            try:
                tree = checkpoints.open(path).tree
                return tree.get("bad", tree) if isinstance(tree, dict) else tree
            except CheckpointError as error:
                return error

    return attack


def stack_global(module, name):
    return Pickler().body(module) + Pickler().body(name) + b"\x93"


def reached(module, name, how):
    """A pickle that calls module.name("touch sentinel") by one of the ways there are."""
    argument = Pickler().body("touch sentinel")
    found = line(module, name)
    return {
        "REDUCE": found + argument + b"\x85R",
        "STACK_GLOBAL": stack_global(module, name) + argument + b"\x85R",
        "NEWOBJ": found + argument + b"\x85\x81",
        "NEWOBJ_EX": found + argument + b"\x85}\x92",
        "OBJ": b"(" + found + argument + b"o",
        "INST": b"(" + argument + b"i" + found[1:],
        "BUILD": found + argument + b"b",
        "GLOBAL": found,
    }[how]


WAYS = ["REDUCE", "STACK_GLOBAL", "NEWOBJ", "NEWOBJ_EX", "OBJ", "INST", "BUILD", "GLOBAL"]
GLOBALS = [
    ("os", "system"), ("posix", "system"), ("nt", "system"), ("subprocess", "Popen"),
    ("builtins", "eval"), ("__builtin__", "exec"), ("builtins", "getattr"),
    ("builtins", "__import__"), ("torch", "load"), ("torch.hub", "load"),
    ("torch.serialization", "load"), ("numpy", "load"), ("numpy.testing", "runstring"),
    ("numpy.core.multiarray", "fromfile"), ("numpy", "ndarray.tofile"), ("torch._utils", "eval"),
    ("torch._utils", "_rebuild_tensor_v2.__globals__"), ("collections", "OrderedDict.__init__"),
    ("torch", "Size.__class__.__base__"), ("_codecs", "decode"), ("pickle", "loads"),
    ("functools", "partial"), ("operator", "attrgetter"), ("fad_onnx.errors", "FadError"),
    ("torch.jit", "load"), ("runpy", "run_path"), ("shutil", "rmtree"), ("", ""), ("\\n", "x"),
]  # fmt: skip


@pytest.mark.parametrize("how", WAYS)
def test_globals_outside_the_list(attack, how, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in GLOBALS:
        error = attack(Code(reached(*name, how)))
        assert isinstance(error, CheckpointError)
        assert ascii(".".join(name))[1:-1] in str(error)
        assert "nothing was run" in str(error)
    assert not os.path.exists("sentinel")


def test_python_would_have_run_it(tmp_path, monkeypatch):
    """The attack is real: Python's own unpickler falls for it."""
    monkeypatch.chdir(tmp_path)
    pickle.loads(b"\x80\x02" + reached("os", "system", "REDUCE") + b".")
    assert os.path.exists("sentinel")


KNOWN = [
    ("torch", "FloatStorage"), ("torch", "float32"), ("numpy", "ndarray"),
    ("torch.storage", "UntypedStorage"), ("torch._utils", "_rebuild_tensor_v2"),
    ("torch._utils", "_rebuild_parameter"), ("numpy._core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"), ("numpy.core.numeric", "_frombuffer"),
    ("collections", "OrderedDict"), ("_codecs", "encode"), ("builtins", "bytes"),
]  # fmt: skip


@pytest.mark.parametrize("how", WAYS[:-1])
def test_known_globals_given_nonsense(attack, how):
    for name in KNOWN:
        assert isinstance(attack(Code(reached(*name, how))), CheckpointError)


@pytest.mark.parametrize("before", [b"", b"N(", b"}", b"ctorch\nSize\n)"])
def test_any_opcode_on_any_stack(attack, before):
    """Every opcode on stacks that it does not expect: described, or a CheckpointError."""
    for code in range(256):
        attack(Code(before + bytes([code]) + b"\0" * 9))


def test_refused_opcodes(attack):
    for code in b"ioP\x82\x83\x84\x92\x97\x98":
        assert isinstance(attack(Code(b"(NN" + bytes([code]) + b"0\n0\n")), CheckpointError)


@pytest.mark.parametrize(
    "pid",
    [
        None, "0", (), ("storage",), ("module", "x", "y", "z", 1), ("storage", 1, "0", "cpu", 2),
        ("storage", Code(line("torch", "FloatStorage")), 0, "cpu", 2),
        ("storage", Code(line("torch", "FloatStorage")), "0", "cpu", -1),
        ("storage", Code(line("torch", "FloatStorage")), "0", "cpu", 2**62),
        ("storage", Code(line("torch", "FloatStorage")), "../../x", "cpu", 1),
        ("storage", Code(line("torch", "FloatStorage")), "0", "cpu", 4, ("1", 3, 9)),
        ("storage", Code(line("torch", "float32")), "0", "cpu", 4),
    ],
)  # fmt: skip
def test_persistent_ids_that_are_no_storage(attack, pid):
    assert isinstance(attack(Code(Pickler().body(pid) + b"Q")), CheckpointError)


def array_state(shape=(2,), dtype="f8", order="<", payload=b"\0" * 16, version=1):
    kind = Call("numpy", "dtype", (dtype, False, True), None, (3, order, None, None, None, -1))
    made = Call("numpy.core.multiarray", "_reconstruct", (Code(line("numpy", "ndarray")), (0,), ""))
    made.state = (
        version,
        shape,
        kind,
        False,
        Code(b"B" + struct.pack("<I", len(payload)) + payload),
    )
    return made


def test_array_states(attack):
    assert attack(array_state()).read().tolist() == [0, 0]
    for lie in (
        array_state(shape=(3,)), array_state(shape=(1,)), array_state(shape=(2**40, 2**40)),
        array_state(shape=(-2,)), array_state(shape=(2, None)), array_state(order="x"),
        array_state(shape=[]), array_state(shape=(1,) * 40), array_state(dtype="f4"),
    ):  # fmt: skip
        assert isinstance(attack(lie), CheckpointError)


@pytest.mark.parametrize("dtype", ["O", "O8", "V8", "M8", "U2", "f16", "|O", "(2,)f8", "f8,O", ""])
def test_arrays_of_objects_are_never_made(attack, dtype):
    with pytest.raises(CheckpointError, match="plain numbers"):
        attack(array_state(dtype=dtype)).read()


def test_an_array_without_its_state(attack):
    made = Call("numpy.core.multiarray", "_reconstruct", (Code(line("numpy", "ndarray")), (0,), ""))
    with pytest.raises(CheckpointError, match="never given"):
        attack(made).read()


def latin1(text):
    return Call("_codecs", "encode", (text, "latin1"))


def test_bytes_as_text(attack):
    for text in ("\u0100" + "x" * 15, "\u0100" + "x" * 99999):
        made = array_state((len(text) // 8,))
        made.state = (*made.state[:4], latin1(text))
        error = attack(made)
        if not isinstance(error, CheckpointError):
            with pytest.raises(CheckpointError, match="damaged|length"):
                error.read()
    assert isinstance(attack(Call("_codecs", "encode", ("x", "rot13"))), CheckpointError)


@pytest.mark.parametrize("opener", [b"]", b"}", b")"])
def test_deep_nesting(attack, opener):
    closer = {b"]": b"a", b"}": b"s", b")": b"\x85"}[opener]
    key = b"X\x01\0\0\0k" if opener == b"}" else b""
    deep = (opener + key) * 20_000 + b"N" + closer * 20_000
    if opener == b")":
        deep = b"N" + b"\x85" * 20_000
    error = attack(Code(deep))
    assert "nested more than" in str(error)


def test_a_list_in_itself(attack):
    assert "contains itself" in str(attack(Code(b"]q\x00h\x00a")))


def test_shared_parts_are_not_multiplied(attack):
    """A tree of 2^30 leaves in 200 bytes: as a key, as a value, as an argument."""
    laughs = b"]q\x00" + b"h\x00h\x00\x86q\x00" * 30
    for code in (laughs, b"}" + laughs + b"Ns", line("torch", "Size") + laughs + b"R"):
        started = time.process_time()
        attack(Code(b"(" + code + b"t"))
        assert time.process_time() - started < 1


def test_keys_that_collide_are_not_kept(attack):
    clash = 2**61 - 1
    keys = b"".join(Pickler().body(n * clash) + b"N" for n in range(1, 20_000))
    started = time.process_time()
    assert attack(Code(b"}(" + keys + b"u")) == {}
    assert time.process_time() - started < 2


BOMBS = {
    "huge string": b"X\xff\xff\xff\x7f",
    "huge string 8": b"\x8d" + b"\xff" * 8,
    "huge bytes": b"\x8e\0\0\0\0\0\0\0\x10",
    "huge bytearray": b"\x96\0\0\0\0\0\0\0\x10",
    "huge frame": b"\x95" + b"\xff" * 8 + b"N",
    "huge long": b"\x8b\xff\xff\xff\x7f",
    "memo far out": b"Nr\xff\xff\xff\xff",
    "recall": b"j\xff\xff\xff\xff",
    "dictionaries": b"}" * 50_000,
    "marks": b"(" * 50_000,
    "memos": b"N" + b"\x94" * 50_000,
    "many keys": b"}("
    + b"".join(b"J" + n.to_bytes(4, "little") + b"N" for n in range(30_000))
    + b"u",
    "duplicates": b"N" + b"2" * 500_000,
    "long tuple again and again": b"(" + b"N" * 30_000 + b"tq\x00" + b"h\x00" * 30_000,
    "long shape again and again": b"("
    + b"K\x01" * 30_000
    + b"tq\x00"
    + (line("torch", "Size") + b"h\x00\x85R") * 300,
    "long list made ordered again and again": b"]q\x00("
    + b"K\x01N\x86" * 3_000
    + b"e"
    + (line("collections", "OrderedDict") + b"h\x00\x85R") * 3000,
    "wide text": (b"X\x00\xff\x00\x00" + b"a" * (0xFF00 - 4) + "\U0001f600".encode()) * 200,
    "long text encoded again and again": b"X\x00\xff\x00\x00"
    + b"a" * 0xFF00
    + b"q\x000"
    + (line("_codecs", "encode") + b"h\x00X\6\0\0\0latin1\x86R") * 2_000,
}


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("bomb", BOMBS)
def test_memory_and_time_stay_bounded(bomb, container, write, monkeypatch):
    allowance = 2 * 2**20  # the same arithmetic as with all of it, sooner
    monkeypatch.setattr(mapped, "ALLOWANCE_BYTES", allowance)
    path = write(CONTAINERS[container]({"bad": Code(BOMBS[bomb])}))
    started = time.process_time()
    tracemalloc.start()
    try:
        with contextlib.suppress(CheckpointError):
            checkpoints.open(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < path.stat().st_size + allowance + 2**18
    assert time.process_time() - started < 10


def test_pickle_of_the_future(attack):
    assert "protocol 9" in str(attack(Code(b"\x80\x09N")))


def test_a_number_beyond_any_use(attack):
    assert attack(Code(b"\x8b" + struct.pack("<I", 10_000) + b"\x7f" * 10_000)).what == "integer"
    assert attack(Code(b"\x8a\xff" + b"\x7f" * 255)) > 2**2000


def test_a_string_does_not_run_into_the_next_member(write):
    """The zip holds enough bytes, the pickle does not."""
    pickle_end = b"\x80\x02X\x20\0\0\0abc"
    path = write(zipped([("a/data.pkl", pickle_end), ("a/data/0", bytes(64))]))
    with pytest.raises(CheckpointError, match="announces 32 bytes where 3 are left"):
        checkpoints.open(path)
