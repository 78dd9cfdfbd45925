"""The execution providers of ONNX Runtime: their names, and how to install them.

Tested on hardware: cpu, cuda (NVIDIA H100 and H200), and openvino on a CPU. Never tried: tensorrt,
coreml, directml, rocm, migraphx, qnn.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec

from ..errors import OptionError


@dataclass(frozen=True)
class Provider:
    """An execution provider: its name in ONNX Runtime, how to install it, whether it is an
    accelerator, the Python package of its plugin, if it has one, and which of the settings for
    cards it takes.
    """

    name: str
    remedy: str
    accelerator: bool = True
    plugin: str | None = None
    takes: frozenset[str] = frozenset()


CPU_LINE = "pip install 'fad-onnx[cpu]'"
GPU_LINE = "pip install 'fad-onnx[gpu]'"
PROVIDERS = {
    "cpu": Provider("CPUExecutionProvider", CPU_LINE, accelerator=False),
    "cuda": Provider(
        "CUDAExecutionProvider", GPU_LINE, takes=frozenset({"device", "memory_limit_mb"})
    ),
    "tensorrt": Provider(
        "TensorrtExecutionProvider", GPU_LINE + " and TensorRT", takes=frozenset({"device"})
    ),
    "coreml": Provider("CoreMLExecutionProvider", "pip install onnxruntime, on macOS"),
    "directml": Provider("DmlExecutionProvider", "pip install onnxruntime-directml, on Windows"),
    "openvino": Provider(
        "OpenVINOExecutionProvider",
        "pip install onnxruntime-openvino in place of onnxruntime, or, for Intel hardware,"
        " pip install onnxruntime-ep-openvino as well",
        accelerator=False,
        plugin="onnxruntime_ep_openvino",
    ),
    "rocm": Provider("ROCMExecutionProvider", "pip install onnxruntime-rocm"),
    "migraphx": Provider("MIGraphXExecutionProvider", "pip install onnxruntime-migraphx"),
    "qnn": Provider("QNNExecutionProvider", "pip install onnxruntime-qnn"),
}


def named(name: str) -> Provider:
    """The provider of this name: one that ONNX Runtime is built with, or an installed plugin.

    A plugin is a package onnxruntime_ep_NAME (such as onnxruntime-ep-openvino), which gives the
    path of its library and the name of its provider. OptionError if the name is neither.
    """
    if name in PROVIDERS:
        return PROVIDERS[name]
    module = f"onnxruntime_ep_{name.replace('-', '_')}"
    if not name.replace("-", "_").isidentifier() or find_spec(module) is None:
        known = ", ".join(PROVIDERS)
        raise OptionError("provider", f"{name!r} is not auto, {known}, or an installed plugin")
    return Provider(import_module(module).get_ep_name(), f"pip install {module.replace('_', '-')}",
                    plugin=module)  # fmt: skip
