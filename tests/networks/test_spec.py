import copy
import pickle

import pytest

from fad_onnx.errors import OptionError
from fad_onnx.networks.selection import select
from fad_onnx.networks.spec import ModelSpec


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("vggish", ModelSpec("vggish")),
        ("m:layer=4,pooling=seconds", ModelSpec("m", {"layer": 4, "pooling": "seconds"})),
        ("pann-16k:output=logits", ModelSpec("pann-16k", output="logits")),
        ("a:protocol=fadtk,x=true", ModelSpec("a", {"x": True}, protocol="fadtk")),
        (" a : x = 1".replace(" a ", "a"), ModelSpec("a", {"x": "1"})),
    ],
)  # fmt: skip
def test_text_and_value_say_the_same(text, spec):
    assert ModelSpec.parse(text) == spec
    assert ModelSpec.parse(str(spec)) == spec
    assert hash(ModelSpec.parse(text)) == hash(spec)
    assert copy.deepcopy(spec) == pickle.loads(pickle.dumps(spec)) == spec


@pytest.mark.parametrize(
    "text", ["", ":", "a:", "a:x", "a:=1", "a:x=", "a:x=1,x=2", "a:x=1,", ":x=1"]
)
def test_other_forms_are_errors_that_show_the_form(text):
    with pytest.raises(OptionError, match="model"):
        ModelSpec.parse(text)


def test_a_label_leaves_out_defaults_and_follows_the_entry():
    assert select("vggish:use_pca=false").label == "vggish"
    assert select("vggish:use_activation=true,use_pca=true").label == (
        "vggish:use_pca=true,use_activation=true"
    )
    assert select(select("clap:seed=3,crop=random").label).label == "clap:crop=random,seed=3"


def test_unknown_outputs_and_protocols_name_those_that_are():
    with pytest.raises(OptionError, match="has the outputs embedding"):
        select("vggish:output=nonsense")
    with pytest.raises(OptionError, match="native"):
        select("vggish:protocol=nonsense")
    assert select("vggish:protocol=native,output=embedding").label == "vggish"
