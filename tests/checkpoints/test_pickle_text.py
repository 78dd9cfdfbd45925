"""Pickles of protocol 0 and of Python 2, which write values as lines of text."""

import pickle
import struct

import numpy as np
import pytest

from fad_onnx.errors import CheckpointError
from fad_onnx.weights import checkpoints
from fad_onnx.weights.checkpoints.pickle_machine import HUGE_INT

from .writers import CONTAINERS, Code, Pickler, nestings, tensor, torch_legacy

VALUES = [
    0, 1, -1, 255, 2**31 - 1, -(2**31), 2**31, 2**62, -(2**63), 2**200, True, False, None, 0.0,
    -1.5, 1e-300, float("inf"), "", "plain", "quotes ' and \"", "line\nfeed",
    "\u00e9\u4e2d\U0001f600",
    [], [1, [2, 3]], (), (1,), (1, 2, 3, 4), {}, {"a": 1, "b": {"c": [None]}},
]  # fmt: skip


@pytest.fixture(params=CONTAINERS)
def described(request, write):
    """What the reader makes of opcodes that stand among tensors."""

    def described(code):
        tree = {"good": tensor(np.arange(3.0)), "value": Code(code)}
        found = checkpoints.open(write(CONTAINERS[request.param](tree))).tree
        assert found["good"].read().tolist() == [0, 1, 2]
        return found["value"]

    return described


def body(value, protocol):
    """A pickle without PROTO, FRAME and STOP."""
    whole = pickle.dumps(value, protocol)[:-1]
    return whole[2:] if protocol >= 2 else whole


@pytest.mark.parametrize("value", VALUES, ids=repr)
@pytest.mark.parametrize("protocol", range(4))
def test_values_of_every_old_protocol(described, value, protocol):
    found = described(body(value, protocol))
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        (b"I42\n", 42), (b"I-7\n", -7), (b"I01\n", True), (b"I00\n", False),
        (b"I139637976727552\n", 139637976727552), (b"L5L\n", 5), (b"L-12345678901234567890L\n",
        -12345678901234567890), (b"S'text'\n", "text"), (b'S"it\'s"\n', "it's"),
        (b"S'\\x00\\xff'\n", b"\x00\xff"), (b"S'a\\nb'\n", "a\nb"), (b"U\x02\xc3\xa9", b"\xc3\xa9"),
        (b"Vplain\n", "plain"), (b"V\\u4e2d\n", "\u4e2d"), (b"F0.5\n", 0.5),
        (b"(lp0\nI1\naI2\na", [1, 2]), (b"(dp1\nS'k'\nI3\ns", {"k": 3}), (b"(I1\nI2\nl", [1, 2]),
        (b"(S'a'\nI1\nd", {"a": 1}), (b"I1\np9\n0g9\n", 1),
    ],
)  # fmt: skip
def test_what_python_2_writes(described, written, value):
    found = described(written)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "written",
    [
        b"Ix\n", b"I\n", b"I--1\n", b"I1_0\n", b"L1LL\n", b"Fx\n", b"F\n", b"S'open\n", b"S\n",
        b"S'\n", b"S'\\x'\n", b"V\\u12\n", b"p-1\n", b"g77\n", b"px\n", b"(I1\nd",
        b"I" + b"1" * 700 + b"\n", b"I1", b"S'" + b"x" * 70000 + b"'\n", b"d", b"l",
    ],
)  # fmt: skip
def test_damaged_lines_are_errors(described, written):
    with pytest.raises(CheckpointError):
        described(written)


def test_a_number_beyond_any_use_costs_nothing(described):
    assert described(b"L" + b"9" * 5000 + b"L\n") is HUGE_INT


@pytest.mark.parametrize("protocol", [0, 1])
def test_the_legacy_container_of_the_first_protocols(write, protocol):
    """Its opening is text in these protocols, as is every long."""
    array = np.arange(6, dtype=np.float32)
    tree = Pickler(legacy=True).dumps({"x": tensor(array)})
    head = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}]
    data = b"".join(pickle.dumps(part, protocol) for part in head)
    data += tree + pickle.dumps(["0"], protocol) + struct.pack("<q", 6) + array.tobytes()
    found = checkpoints.open(write(data))
    assert found.container == "torch_legacy"
    assert found.tensors()["x"].read().tolist() == array.tolist()


def test_the_state_of_an_optimiser_of_python_2(write):
    """Its keys are addresses, which Python 2 wrote as INT."""
    state = Code(b"}(I94204\nI1\nI139637976727552\nI2\nu")
    tree = {"state": {"weight": tensor(np.ones(4))}, "optimizer": {"state": state}}
    found = checkpoints.open(write(torch_legacy(tree)))
    assert nestings(found) == (("state",),)
    assert found.tree["optimizer"]["state"] == {94204: 1}  # larger keys cannot be asked for
