import ast
import json
from pathlib import Path

import pytest

from fad_onnx import manifest
from fad_onnx.errors import ManifestError, OptionError, UnknownModelError

ROOT = Path(manifest.__file__).resolve().parent
TABLE = manifest.PACKAGE.parent / "artifacts.json"


def table():
    return json.loads(TABLE.read_text())


def row_of(data):
    return data["models"][next(iter(data["models"]))]


def test_the_table_is_valid_and_has_one_default():
    rows = manifest.models()
    assert [row for row in rows.values() if row.default] == [manifest.model()]
    assert all(row.name == name for name, row in rows.items())


def test_every_graph_is_in_the_package_with_its_hash():
    from fad_onnx.binding import graph_file

    for row in manifest.models().values():
        for variant in row.variants:
            assert graph_file(row, variant).is_file()


def nested(data):
    """Every object of a row, with its path."""
    yield "", data
    for key, value in data.items():
        if isinstance(value, dict):
            for path, inner in nested(value):
                yield f".{key}{path}", inner


@pytest.mark.parametrize("part", ["frontend", "windows", "checkpoints.main", ""])
def test_a_missing_or_unknown_key_is_named_with_its_row(part):
    def at(data):
        node = row_of(data)
        for key in filter(None, part.split(".")):
            node = node[key]
        return node

    for key in at(table()):
        data = table()
        del at(data)[key]
        with pytest.raises(ManifestError, match=rf"models\.\S*{key}: missing"):
            manifest.parse(json.dumps(data))
    data = table()
    at(data)["surprise"] = 1
    with pytest.raises(ManifestError, match=r"models\..*surprise: unknown key"):
        manifest.parse(json.dumps(data))


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        ("windows", "tail", "wrap"),
        ("windows", "length_samples", "15600"),
        ("frontend", "spectrum", "phase"),
        ("", "channel_rule", "left"),
        ("", "sample_rate_hz", 16000.5),
        ("", "default", 1),
        ("", "batch_windows", {"cpu": 1}),
    ],
)
def test_values_outside_the_vocabulary_are_errors(part, key, value):
    data = table()
    node = row_of(data)[part] if part else row_of(data)
    node[key] = value
    with pytest.raises(ManifestError, match=key):
        manifest.parse(json.dumps(data))


@pytest.mark.parametrize(
    "digests",
    [{"sha512": "0" * 128}, {"sha256": "0" * 63}, {"md5": "A" * 32}, {"sha256_prefix": ""}],
)
def test_digests_are_of_a_known_kind(digests):
    data = table()
    row_of(data)["checkpoints"]["main"]["digests"] = digests
    with pytest.raises(ManifestError, match=rf"main\.digests\.{next(iter(digests))}"):
        manifest.parse(json.dumps(data))


def test_other_schemas_and_other_files_are_errors():
    for text in ("", "[]", '{"schema": 2, "models": {}}', '{"schema": 1, "models": {}}'):
        with pytest.raises(ManifestError):
            manifest.parse(text)


def test_an_unknown_model_lists_near_names():
    name = manifest.model().name
    with pytest.raises(UnknownModelError, match=f"did you mean {name}"):
        manifest.model(name + "x")


def test_options_are_checked():
    row = manifest.model()
    assert row.choose({"use_pca": True})["use_pca"] == "true"
    with pytest.raises(OptionError, match="no such option"):
        row.choose({"nonsense": "1"})
    with pytest.raises(OptionError, match="one of false, true"):
        row.choose({"use_pca": "maybe"})


def test_every_combination_of_options_has_a_variant():
    from itertools import product

    for row in manifest.models().values():
        selecting = {name: option.values for name, option in row.options.items() if option.values}
        for values in product(*selecting.values()):
            chosen = row.choose(dict(zip(selecting, values, strict=True)))
            assert row.variant(chosen).output


def test_the_constructor_of_the_original_resolves_to_rows():
    for row in manifest.models().values():
        for alias in row.aliases:
            arguments = {k: v for k, v in alias.items() if k != "model_name"}
            assert manifest.resolve(alias["model_name"], **arguments) is row
        assert manifest.resolve(row.name).name
    name = manifest.model().name
    with pytest.raises(OptionError, match="no model fits"):
        manifest.resolve(name, sample_rate=12345)


def test_no_model_name_is_a_literal_in_run_time_code():
    names = set(manifest.models()) | {
        alias["model_name"] for row in manifest.models().values() for alias in row.aliases
    }
    # The signature of the original's constructor is an interface, not a choice of ours.
    allowed = {("compat.py", "vggish")}
    found = {
        (path.name, node.value)
        for path in ROOT.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant) and node.value in names
    }
    assert found <= allowed
