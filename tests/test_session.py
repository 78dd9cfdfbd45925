"""Providers: what is chosen, what is refused, and what the message says. No accelerator needed."""

import pickle
import sys
import types
from dataclasses import replace

import numpy as np
import pytest

from fad_onnx.errors import MissingDependencyError, OptionError, ProviderError
from fad_onnx.networks import providers, runtime, table
from fad_onnx.networks.selection import selection_of
from fad_onnx.networks.spec import ModelSpec
from fad_onnx.weights import binding, prepare

MODEL = next(one for one in table.models().values() if not one.network.checkpoints)
GRAPH = binding.graph_file(selection_of(MODEL))
OUTPUT = selection_of(MODEL).output.tensor


def network(**settings):
    return runtime.Session(GRAPH, runtime.Settings(**settings))


def test_auto_is_the_cpu_without_cuda():
    made = network()
    assert made.provider is providers.PROVIDERS["cpu"] and made.why_not_cuda is None
    assert made.versions()["provider"] == "CPUExecutionProvider"


def test_auto_says_why_a_cuda_that_is_there_did_not_load(monkeypatch):
    ort = runtime.runtime()
    names = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(ort, "get_available_providers", lambda: names)
    made = network()
    assert made.provider is providers.PROVIDERS["cpu"]
    assert "CUDAExecutionProvider" in made.why_not_cuda
    with pytest.raises(ProviderError, match=r"CUDA.*fad-onnx\[gpu\]"):
        network(provider="cuda")


@pytest.mark.parametrize("arena", [True, False])
def test_a_network_says_whether_its_session_keeps_memory(arena, monkeypatch):
    entry = dict(table.models())
    entry[MODEL.name] = replace(MODEL, network=replace(MODEL.network, arena=arena))
    monkeypatch.setattr(table, "models", lambda: entry)
    loaded = prepare.load(prepare.Request(ModelSpec(MODEL.name), settings=runtime.Settings("cpu")))
    copy = pickle.loads(pickle.dumps(loaded.session))
    for session in (loaded.session, copy):
        assert session._session.get_session_options().enable_cpu_mem_arena is arena


@pytest.mark.parametrize("name", sorted(set(providers.PROVIDERS) - {"cpu"}))
def test_a_named_provider_never_falls_back(name):
    if providers.PROVIDERS[name].name in runtime.runtime().get_available_providers():
        pytest.skip("this build has it")
    with pytest.raises(ProviderError, match="not in this build of ONNX Runtime") as caught:
        network(provider=name)
    assert providers.PROVIDERS[name].remedy in str(caught.value)


def test_unknown_providers_and_thread_counts_are_option_errors():
    with pytest.raises(OptionError, match="abacus.*installed plugin"):
        network(provider="abacus")
    with pytest.raises(OptionError, match="^threads: "):
        network(threads=0)


def test_no_onnxruntime_names_both_pip_lines(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingDependencyError, match=r"fad-onnx\[cpu\].*fad-onnx\[gpu\]"):
        network()


def test_cuda_gets_its_limits_and_no_tf32():
    settings = runtime.Settings("cuda", device=3, memory_limit_mb=2048)
    options = runtime._provider_options(settings, providers.PROVIDERS["cuda"])
    assert options["device_id"] == "3" and options["use_tf32"] == "0"
    assert options["cudnn_conv_algo_search"] == "HEURISTIC"
    assert options["gpu_mem_limit"] == str(2048 * 2**20)


@pytest.fixture
def plugin(monkeypatch):
    """A plugin package as those on the package index are made."""
    made = types.ModuleType("onnxruntime_ep_abacus")
    made.__spec__ = types.SimpleNamespace(name="onnxruntime_ep_abacus")
    made.get_ep_name = lambda: "AbacusExecutionProvider"
    made.get_library_path = lambda: "/opt/abacus.so"
    monkeypatch.setitem(sys.modules, "onnxruntime_ep_abacus", made)
    monkeypatch.setattr(runtime, "_registered", set())
    ort, registered = runtime.runtime(), []
    monkeypatch.setattr(
        ort, "register_execution_provider_library", lambda *a: registered.append(a), raising=False
    )
    monkeypatch.setattr(ort, "get_ep_devices", list, raising=False)
    return registered


def test_a_plugin_is_registered_once_and_must_have_a_device(plugin):
    for _ in range(2):
        with pytest.raises(ProviderError, match="supports no device of this machine"):
            network(provider="abacus")
    assert plugin == [("onnxruntime_ep_abacus", "/opt/abacus.so")]


def test_a_plugin_that_cannot_be_loaded_says_so(plugin, monkeypatch):
    def fail(*_):
        raise RuntimeError("abacus.so: cannot open shared object file\nmore")

    monkeypatch.setattr(runtime.runtime(), "register_execution_provider_library", fail)
    with pytest.raises(ProviderError, match="cannot open shared object file; pip install"):
        network(provider="abacus")


def test_a_failing_run_is_a_provider_error():
    with pytest.raises(ProviderError, match="a run failed"):
        network().run((np.zeros((1, 3, 3), np.float32),), (OUTPUT,))
