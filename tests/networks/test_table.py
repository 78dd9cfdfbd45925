import ast
import json
from itertools import product
from pathlib import Path

import pytest

from fad_onnx.errors import ModelTableError, OptionError, UnknownModelError
from fad_onnx.networks import table
from fad_onnx.networks.selection import parts, selection_of

TABLE = table.PACKAGE.parent / "artifacts.json"


def text():
    return json.loads(TABLE.read_text("utf-8"))


def complete(data, section):
    return data[section]["vggish"]  # gives all keys itself, extends nothing


def test_the_table_is_valid_and_has_one_default():
    models = table.models()
    assert [model for model in models.values() if model.default] == [table.model()]
    assert all(model.name == name for name, model in models.items())


def test_every_graph_is_in_the_package_with_its_hash():
    from fad_onnx.weights.binding import graph_file

    used = {one.graph for model in table.models().values() for one in parts(model)}
    for model in table.models().values():
        assert all(graph_file(one).is_file() for one in parts(model))
        used |= {model.network.head} if model.network.head else set()
    assert used == set(text()["graphs"]), "a hash that nothing uses"


def test_files_that_differ_have_names_that_differ():
    """Downloads lie in one folder, and the hub names nearly all files alike."""
    files = [
        file for model in table.models().values() for file in model.network.checkpoints.values()
    ]
    sources = {(file.file, file.url or file.package) for file in files}
    assert len(sources) == len({name for name, _ in sources})


@pytest.mark.parametrize(
    ("section", "path", "required"),
    [
        ("models", (), ["summary", "network", "preparation"]),
        ("networks", (), ["graph", "outputs", "batch", "citation"]),
        ("networks", ("outputs", "embedding"), ["width"]),
        ("networks", ("checkpoints", "main"), ["file", "url", "licence"]),
        ("preparations", (), ["sample_rate_hz"]),
        ("preparations", ("frontend",), ["kind", "frame_samples", "hop_samples", "fft_samples"]),
        ("preparations", ("windows",), []),
    ],
)
def test_a_missing_or_unknown_key_is_named_with_its_place(section, path, required):
    def at(data):
        node = complete(data, section)
        for key in path:
            node = node[key]
        return node

    for key in required:
        data = text()
        del at(data)[key]
        with pytest.raises(ModelTableError, match=rf"{section}\.\S*{key}"):
            table.parse(json.dumps(data))
    data = text()
    at(data)["surprise"] = 1
    with pytest.raises(ModelTableError, match=rf"{section}\..*surprise: unknown key"):
        table.parse(json.dumps(data))


@pytest.mark.parametrize(
    ("section", "path", "value"),
    [
        ("preparations", "windows.tail", "wrap"),
        ("preparations", "windows.length_samples", "15600"),
        ("preparations", "windows.fill", "echo"),
        ("preparations", "frontend.spectrum", "phase"),
        ("preparations", "frontend.kind", "cepstrum"),
        ("preparations", "channels", "left"),
        ("preparations", "sample_rate_hz", 16000.5),
        ("models", "default", 1),
        ("models", "network", "nonsense"),
        ("models", "preparation", "nonsense"),
        ("networks", "batch", {"cpu": 1}),
        ("networks", "graph", "nonsense.onnx"),
        ("networks", "outputs", {}),
        ("networks", "extends", "nonsense"),
        ("networks", "checkpoints.main.digests", {"sha1": "0" * 40}),
        ("networks", "checkpoints.main.digests", {"md5": "0" * 31}),
    ],
)
def test_values_outside_the_vocabulary_are_errors(section, path, value):
    data = text()
    node = complete(data, section)
    *parents, key = path.split(".")
    for parent in parents:
        node = node[parent]
    node[key] = value
    with pytest.raises(ModelTableError, match=rf"{section}\.[^:]*:|{key}"):
        table.parse(json.dumps(data))


def test_other_schemas_and_other_files_are_errors():
    whole = text()
    for other in (
        "", "[]", '{"schema": 2}',
        json.dumps({**whole, "schema": 1}), json.dumps({**whole, "x": 1}),
        json.dumps({key: value for key, value in whole.items() if key != "graphs"}),
    ):  # fmt: skip
        with pytest.raises(ModelTableError):
            table.parse(other)


def test_an_entry_gives_only_what_differs():
    data = text()
    data["networks"]["child"] = {"extends": "vggish", "citation": "another"}
    data["models"]["child"] = {"extends": "vggish", "network": "child", "default": False}
    models = table.parse(json.dumps(data))
    parent, child = models["vggish"], models["child"]
    assert child.network.citation == "another" and child.network.outputs == parent.network.outputs
    assert child.options == parent.options and child.preparation == parent.preparation


def test_an_entry_that_extends_itself_is_an_error():
    data = text()
    data["networks"]["a"] = {"extends": "b"}
    data["networks"]["b"] = {"extends": "a"}
    with pytest.raises(ModelTableError, match="extends itself"):
        table.parse(json.dumps(data))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"sets": "preparation.windows.nonsense"}, "no field 'nonsense'"),
        ({"sets": "nonsense.long"}, "is not output.FIELD"),
        ({"values": ["center", "sideways"]}, "'sideways' is not one of"),
        ({"default": "sideways"}, "not among its values"),
        ({"when": {"sideways": {}}}, "not among its values"),
    ],
)
def test_an_option_must_lead_to_what_exists(change, problem):
    data = text()
    data["models"]["clap"]["options"]["crop"] |= change
    with pytest.raises(ModelTableError, match=f"options.*{problem}"):
        table.parse(json.dumps(data))


def test_an_unknown_model_lists_near_names():
    name = table.model().name
    with pytest.raises(UnknownModelError, match=f"did you mean {name}"):
        table.model(name + "x")


def test_options_are_checked():
    model = table.model()
    assert model.choose({"use_pca": True})["use_pca"] == "true"
    with pytest.raises(OptionError, match="no such option"):
        model.choose({"nonsense": "1"})
    with pytest.raises(OptionError, match="one of false, true"):
        model.choose({"use_pca": "maybe"})
    for wrong in ("-1", "1.5", "", "²", "x"):
        with pytest.raises(OptionError, match="a whole number"):
            table.model("clap").choose({"seed": wrong})


def test_every_combination_of_options_selects_something():
    for model in table.models().values():
        closed = {name: option.values for name, option in model.options.items() if option.values}
        for values in product(*closed.values()):
            one = selection_of(model, dict(zip(closed, values, strict=True)))
            assert one.graph in one.network.hashes


def test_the_constructor_of_the_original_resolves_to_models():
    for model in table.models().values():
        for alias in model.aliases:
            arguments = {k: v for k, v in alias.items() if k != "model_name"}
            assert table.resolve_alias(alias["model_name"], **arguments) is model
        assert table.resolve_alias(model.name).name
    with pytest.raises(OptionError, match="no model fits"):
        table.resolve_alias(table.model().name, sample_rate=12345)


def test_a_person_can_review_the_table():
    """At most half of the 1,415 lines that the first 17 models once took, and a short relative."""
    lines = TABLE.read_text("utf-8").splitlines()
    assert len(lines) / len(table.models()) < 1415 / 17 / 2
    assert max(map(len, lines)) < 300


def test_no_model_name_is_a_literal_in_run_time_code():
    aliases = (alias for model in table.models().values() for alias in model.aliases)
    names = set(table.models()) | {alias["model_name"] for alias in aliases}
    # What the originals' constructors choose is an interface, not a choice of ours.
    allowed = {("compat.py", "vggish"), ("clap_score.py", "clap")}
    found = {
        (path.name, node.value)
        for path in Path(table.PACKAGE).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant) and node.value in names
    }
    assert found <= allowed


def test_steps_of_tiles_are_embeddings_unless_a_head_makes_these():
    data = text()
    del data["networks"]["pann-16k"]["tiles"]["head"]
    with pytest.raises(ModelTableError, match=r"pann-16k\.tiles\.step_samples: without a head"):
        table.parse(json.dumps(data))
    data = text()
    data["networks"]["dac-44k"]["tiles"]["step_samples"] = 1024
    with pytest.raises(ModelTableError, match="must be an embedding of the output 'embedding'"):
        table.parse(json.dumps(data))
