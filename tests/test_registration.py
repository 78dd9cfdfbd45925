"""Models of the user: registered from a mapping or a file, checked, and known to workers."""

import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fad_onnx
from fad_onnx.cli import main
from fad_onnx.errors import ChecksumError, ModelTableError, UnknownModelError
from fad_onnx.networks import registration, table

from .conftest import write_clip

EXAMPLE = Path(__file__).parents[1] / "docs" / "example"
ENTRY = json.loads((EXAMPLE / "bands.json").read_text("utf-8"))

pytestmark = pytest.mark.usefixtures("own_models")


@pytest.fixture
def folder(tmp_path):
    return Path(shutil.copytree(EXAMPLE, tmp_path / "own"))


def clip(seed=0):
    return np.random.RandomState(seed).standard_normal(40_000).astype(np.float32) * 0.1


def expected(samples):
    """The example's arithmetic in NumPy."""
    kernels = np.array(
        [
            np.hanning(64) * np.cos(2 * np.pi * turn * np.arange(64))
            for turn in (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.48)
        ]
    )
    windows = samples[: len(samples) // 16_000 * 16_000].reshape(-1, 16_000)
    frames = np.lib.stride_tricks.sliding_window_view(windows, 64, axis=1)[:, ::32]
    return np.log(np.abs(frames @ kernels.T).mean(axis=1) + 1e-3)


def test_a_registered_model_is_one_like_the_others(folder):
    assert fad_onnx.register(ENTRY, folder) == ("bands",)
    assert fad_onnx.models()["bands"].outputs == {"embedding": 8}
    model = fad_onnx.load_model("bands")
    found = model.embed(clip(), 16_000)
    np.testing.assert_allclose(found, expected(clip()), atol=1e-5)
    assert model.weights["graph"]["file"] == "bands.onnx"
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.embed(clip(), 16_000), found)


def test_another_process_registers_what_a_pickle_needs(folder, tmp_path):
    fad_onnx.register(folder / "bands.json")
    (tmp_path / "model").write_bytes(pickle.dumps(fad_onnx.load_model("bands")))
    code = (
        f"import pickle; m = pickle.load(open({str(tmp_path / 'model')!r}, 'rb'));"
        " import fad_onnx; print(m.label, 'bands' in fad_onnx.models())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["bands", "True"]


def test_the_command_line_takes_a_file(folder, clips, capsys):
    file = str(folder / "bands.json")
    assert main(["score", str(clips), str(clips), "-m", "bands", "--models", file, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)["results"][0]
    assert result["model"] == "bands" and abs(result["fad"]) < 1e-6
    assert main(["models", "--models", file]) == 0
    assert "\n\nother\n  bands " in capsys.readouterr().out
    assert main(["verify", "bands", "--models", file]) == 0


def test_the_same_entry_twice_is_one_and_another_of_its_name_is_refused(folder):
    fad_onnx.register(ENTRY, folder)
    assert fad_onnx.register(ENTRY, folder) == ("bands",)
    with pytest.raises(ModelTableError, match=r"networks\.bands: is there already"):
        fad_onnx.register({**ENTRY, "summary": "another"}, folder)
    with pytest.raises(ModelTableError, match=r"models\.vggish: is there already"):
        fad_onnx.register({**ENTRY, "name": "vggish", "network": "logmel",
                           "preparation": "vggish"})  # fmt: skip


def test_the_fingerprint_covers_the_graph(folder):
    fad_onnx.register(ENTRY, folder)
    first = fad_onnx.load_model("bands").fingerprint
    data = (folder / "bands.onnx").read_bytes()
    place = data.index(np.float32(1e-3).tobytes())
    changed = data[:place] + np.float32(2e-3).tobytes() + data[place + 4 :]
    (folder / "bands.onnx").write_bytes(changed)
    with pytest.raises(ChecksumError, match="register it again"):
        fad_onnx.load_model("bands")
    fad_onnx.register({**ENTRY, "name": "bands2"}, folder)
    assert fad_onnx.load_model("bands2").fingerprint != first


def test_an_entry_may_extend_one_of_the_table(folder):
    document = {"models": {"logmel-2": {"extends": "logmel", "summary": "another summary"}}}
    assert fad_onnx.register(document) == ("logmel-2",)
    samples = clip()
    np.testing.assert_array_equal(
        fad_onnx.load_model("logmel-2").embed(samples, 16_000),
        fad_onnx.load_model("logmel").embed(samples, 16_000),
    )


def test_what_extends_a_model_takes_neither_its_names_nor_its_published_answers():
    default = table.model()
    assert default.aliases and default.published
    document = {"name": "fine-tuned", "extends": default.name, "summary": "fine-tuned"}
    assert fad_onnx.register(document) == ("fine-tuned",)
    made = table.model("fine-tuned")
    assert not made.default and not made.aliases and not made.published
    assert made.options == default.options and made.network == default.network
    assert table.model() is default


def test_a_width_that_the_graph_does_not_give_is_named(folder):
    output = {"embedding": {"width": 9, "checkpoints": []}}
    fad_onnx.register({**ENTRY, "network": {**ENTRY["network"], "outputs": output}}, folder)
    with pytest.raises(ModelTableError, match=r"outputs\.embedding\.width: 9, .* gives 8"):
        fad_onnx.load_model("bands").embed(clip(), 16_000)


def _prepared(**changes):
    return {"preparation": {**ENTRY["preparation"], **changes}}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"network": {**ENTRY["network"], "graph": "none.onnx"}}, "none.onnx.*cannot be read"),
        ({"graphs": {"bands.onnx": "0" * 64}}, "sha256 expected 0000"),
        ({"network": {**ENTRY["network"], "sauce": 1}}, r"networks\.bands\.sauce: unknown key"),
        ({"preparation": "nothing"}, r"models\.bands\.preparation: 'nothing' does not exist"),
        ({"default": True}, "exactly one model must be the default"),
        ({"name": "my:bands"}, "models.my:bands: a name has letters"),
        ({"name": ".."}, r"models\.\.\.: a name has letters"),
        (_prepared(sample_rate_hz=-1), r"preparations\.bands\.sample_rate_hz: -1 is not positive"),
        (
            _prepared(windows={"cover": "windows", "length_samples": 9, "hop_samples": 0}),
            "0 is not",
        ),
        (_prepared(windows={"cover": "windows", "length_samples": 9}), "hop_samples: missing"),
        (_prepared(windows={"cover": "crop"}), "length_samples: missing"),
        (_prepared(windows={"fill": "zeros"}), "length_samples: missing"),
    ],
)
def test_what_is_wrong_is_named_and_changes_nothing(change, problem, folder):
    before = set(table.models()), registration.registered()
    with pytest.raises(ModelTableError, match=problem):
        fad_onnx.register({**ENTRY, **change}, folder)
    assert (set(table.models()), registration.registered()) == before


def test_an_output_that_the_graph_lacks_is_named(folder):
    output = {"embedding": {"width": 8, "tensor": "soup", "checkpoints": []}}
    fad_onnx.register({**ENTRY, "network": {**ENTRY["network"], "outputs": output}}, folder)
    with pytest.raises(ModelTableError, match=r"bands\.onnx has no output 'soup', but embedding"):
        fad_onnx.load_model("bands")


def test_a_tensor_of_tiles_that_the_graph_lacks_is_named(folder):
    tiles = {"step_samples": 256, "steps": 9, "context_steps": 1, "tensor": "soup"}
    steps = {"embedding": {"width": 8, "checkpoints": [], "samples_per_embedding": 256}}
    network = {**ENTRY["network"], "tiles": tiles, "outputs": steps}
    fad_onnx.register({**ENTRY, "network": network}, folder)
    with pytest.raises(ModelTableError, match=r"networks\.bands\.tiles: .* no output 'soup'"):
        fad_onnx.load_model("bands")


def test_what_is_no_entry_is_refused(tmp_path):
    for document, problem in (([], "needs an object"), ({"modles": {}}, "modles: is not one of"),
                              ({"name": {1}}, "is not JSON")):  # fmt: skip
        with pytest.raises(ModelTableError, match=problem):
            fad_onnx.register(document if isinstance(document, dict) else {"networks": document})
    (tmp_path / "x.json").write_text("[]")
    with pytest.raises(ModelTableError, match="needs an object"):
        fad_onnx.register(tmp_path / "x.json")
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(ModelTableError, match="is not JSON"):
        fad_onnx.register(tmp_path / "x.json")


def test_statistics_of_a_model_that_is_not_registered_name_it(folder, tmp_path):
    write_clip(tmp_path / "a" / "1.wav", 1, 12.0)
    fad_onnx.register(ENTRY, folder)
    fad_onnx.stats(tmp_path / "a", tmp_path / "a.npz", "bands")
    assert float(fad_onnx.score(tmp_path / "a.npz", tmp_path / "a")) == pytest.approx(0, abs=1e-9)
    del table.models()["bands"]
    with pytest.raises(UnknownModelError, match="unknown model 'bands'"):
        fad_onnx.score(tmp_path / "a.npz", tmp_path / "a")
    with pytest.raises(UnknownModelError, match="unknown model 'bands'"):
        fad_onnx.evaluate(tmp_path / "a", tmp_path / "a.npz")
    assert float(fad_onnx.score(tmp_path / "a.npz", tmp_path / "a.npz")) == 0
