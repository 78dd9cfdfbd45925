"""Seeds for the fuzzers: a small valid file of every container, and hostile parts."""

from __future__ import annotations

import gzip
import io
import random
import struct

import numpy as np

from . import hdf5_writer, writers
from .writers import Call, Storage, Tensor, external, initializer, ordered, tensor

RNG = np.random.RandomState(23)


def checkpoint():
    """Everything that official checkpoints hold, in a kilobyte."""
    shared = Storage(RNG.randn(12).astype(np.float32), location="cuda:0")
    weights = ordered(
        **{"conv.weight": Tensor(shared, 0, (3, 4), (4, 1)), "view": Tensor(shared, 1, (4,), (3,))}
    )
    return {
        "epoch": 45, "lr": np.float64(1e-3), "array": RNG.randn(3), "name": "best",
        "state_dict": weights, "half": tensor(np.ones(3, np.float16)), "many": 2**70,
        "bf16": Tensor(Storage(np.ones(2, np.uint16), type_name="BFloat16"), 0, (2,), (1,)),
        "parameter": Call("torch._utils", "_rebuild_parameter", (tensor(np.ones(2)), True, None)),
        "optimizer": {"state": {0: {"step": tensor(np.int64(4))}}, "groups": [(0.9, None, True)]},
    }  # fmt: skip


def npz(save):
    out = io.BytesIO()
    save(out, mu=RNG.randn(4), sigma=RNG.randn(4, 4), meta=np.array('{"schema": 1}'))
    return out.getvalue()


def seeds():
    """Name -> bytes of a valid file."""
    arrays = {"a": RNG.randn(2, 3).astype(np.float32), "b": np.arange(4), "c": np.ones(2, bool)}
    beside = external(location="weights.bin", offset="64", length="24")
    keras = hdf5_writer.keras(
        [
            ("input", []),
            ("conv_3", [("conv_3/kernel:0", arrays["a"]), ("conv_3/bias:0", arrays["a"][0])]),
        ]
    )
    typed = (7, b"".join(writers.varint(n) for n in (1, -1, 2**40, 0)))
    return {
        "torch_zip": writers.torch_zip(checkpoint()),
        "torch_legacy": writers.torch_legacy(checkpoint()),
        "npz": npz(np.savez),
        "npz_deflated": npz(np.savez_compressed),
        "safetensors": writers.safetensors(arrays),
        "hdf5": keras,
        "hdf5_variable": hdf5_writer.keras([("a", [("a/w:0", arrays["a"])])], variable=True),
        "gzip": gzip.compress(keras, mtime=0),
        "onnx": writers.onnx_model(
            initializer("raw", arrays["a"]),
            initializer("typed", arrays["b"], typed),
            initializer("beside", arrays["a"], *beside),
        ),
    }


# Whatever calls, loads, recurses or announces, ready to be put into a pickle.
PARTS = [
    b"cos\nsystem\nX\x0e\0\0\0touch sentinel\x85R", b"(X\x0e\0\0\0touch sentinelios\nsystem\n",
    b"(cos\nsystem\nX\x0e\0\0\0touch sentinelo", b"\x8c\x02os\x8c\x06system\x93)R",
    b"cbuiltins\neval\nX\x01\0\0\x001\x85R", b"cos\nsystem\n)\x81", b"cos\nsystem\n)}\x92",
    b"\x82\x01", b"\x83\x01\0", b"\x84\x01\0\0\0", b"Pos.system\n", b"\x97", b"\x98",
    b"ctorch\nload\nX\x01\0\0\0x\x85R", b"cnumpy\nload\n", b"ccopyreg\n_reconstructor\n",
    b"cnumpy\ndtype\nX\x02\0\0\0O8K\x00K\x01\x87R", b"cnumpy\nndarray\n)R", b"c__main__\nx\n)b",
    b"ccollections\nOrderedDict\n)R", b"ctorch\nSize\n(K\x01t\x85R", b"}b", b"Nb", b"]b", b")b",
    b"(" * 500, b"]" * 500, b"\x85" * 500, b"}" * 500, b"h\x00", b"j\xff\xff\xff\xff",
    b"r\xff\xff\xff\xff", b"X\xff\xff\xff\xff", b"\x8d" + b"\xff" * 8, b"\x95" + b"\xff" * 8,
    b"\x8b\xff\xff\xff\xff", b"2" * 300, b"]q\x00h\x00a", b"t", b"e", b"u", b"s", b"a", b"Q", b".",
]  # fmt: skip
NUMBERS = [0, 1, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 2**62, 2**63 - 1, 2**63, 2**64 - 1]


def mutated(data: bytes, rng: random.Random, most: int = 4, kinds: int = 8) -> bytes:
    """One or more random damages: bits, bytes, numbers, cuts, repeats, hostile parts."""
    made = bytearray(data)
    for _ in range(rng.randint(1, most)):
        at = rng.randrange(len(made)) if made else 0
        match rng.randrange(kinds):
            case 0:
                made[at : at + 1] = bytes([(made[at] if made else 0) ^ 1 << rng.randrange(8)])
            case 1:
                made[at : at + 1] = bytes([rng.randrange(256)])
            case 2:
                width = rng.choice("BHIQ")
                number = struct.pack(
                    "<" + width, rng.choice(NUMBERS) % 256 ** struct.calcsize(width)
                )
                made[at : at + len(number)] = number
            case 3:
                del made[at:]
            case 4:
                del made[at : at + rng.randrange(64)]
            case 5:
                chunk = made[at : at + rng.randrange(200)]
                made[at:at] = chunk * rng.randint(1, 20)
            case 6:
                made[at:at] = rng.choice(PARTS)
            case 7:
                source = rng.randrange(len(made)) if made else 0
                chunk = made[source : source + rng.randrange(64)]
                made[at : at + len(chunk)] = chunk
    return bytes(made)


def mutated_pickle(rng: random.Random, container: str) -> bytes:
    """A container around a damaged pickle, with an intact directory and all storages."""
    pickler = writers.Pickler(legacy=container == "torch_legacy")
    # Half of them gently, or few would get past the first hundred opcodes.
    most, kinds = rng.choice([(2, 8), (1, 3)])
    body = pickler.dumps(checkpoint())[2:-1]
    damaged = writers.Code(mutated(body, rng, most, kinds))
    return writers.CONTAINERS[container]({"storages": checkpoint(), "damaged": damaged})
