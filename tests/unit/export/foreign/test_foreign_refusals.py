"""What does not fit is refused by name, and nothing is written."""

import json

import onnx
import pytest
from onnx import TensorProto, helper

from export.cli import main
from export.errors import ForeignError
from export.foreign.publish import import_onnx
from service.model.bundle import Bundle
from service.model.errors import GraphError
from service.model.onnx_model import OnnxModel
from tests.unit.export.foreign.pairs import TOKENS, with_a_mask, with_lengths


@pytest.fixture
def mapping(tmp_path):
    return with_a_mask().write(tmp_path / "theirs")


def refuse(mapping, match):
    store = mapping.parent / "store"
    with pytest.raises(ForeignError, match=match):
        import_onnx(mapping, model_store=store)
    assert not store.exists()


def change(mapping, old, new):
    text = mapping.read_text()
    assert old in text
    mapping.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ('source_ids = "src"', 'source_ids = "source"', "encoder.source_ids: there is no input 'source'"),
        ('last_token = "told"', 'last_token = "tokens"', "decoder.last_token: there is no input 'tokens'"),
        ('log_probabilities = "log_p"', 'log_probabilities = "p_log"', "decoder scores: there is no output 'p_log'"),
        ('from_encoder = "start"', 'from_encoder = "end"', "states.from_encoder: there is no output 'end'"),
        ('becomes = "h2"', 'becomes = "h3"', "states.becomes: there is no output 'h3'"),
        ('attention = "p"', 'attention = "h2"', r"decoder.attention: h2 is \[1, 8\]"),
        ('source_ids = "src"', 'source_ids = "keep"', "encoder.source_ids: keep is bool, not int64 or int32"),
        ('last_token = "told"', 'last_token = "mem"', "decoder.last_token: mem is float32, not int64 or int32"),
        ('log_probabilities = "log_p"', 'log_probabilities = "p"', "p has 5 tokens, the vocabulary .* has 13"),
        ('source_mask = { input = "keep" }\nlog', "log", "decoder.onnx: its input keep has no role"),
        ('from_encoder = "memory"', 'from_encoder = "start"', "states.input: mem has 3 axes, not 2"),
        ('becomes = "h2"', 'becomes = "p"', "p has 3 axes, h has 2"),
        ('begin = "<s>"', 'begin = "<bos>"', "target.begin: .*tokens.json has no token '<bos>'"),
        ('begin = "<s>"', "begin = 13", "target.begin: .*tokens.json has 13 tokens, and no token 13"),
        ('last_token = "told"', 'first_token = "told"', "decoder.first_token: Extra inputs"),
        ('last_token = "told"', 'last_token = "told"\nprefix = "told"', "either last_token or prefix"),
        ("max_source_length = 16", "max_source_length = 3", "examples: 'abc' has 4 tokens"),
        ('file = "decoder.onnx"', 'file = "other.onnx"', "other.onnx cannot be read: No such file"),
        ('vocabulary = "tokens.json"', 'vocabulary = "spm.model"', "spm.model cannot be read: No such file"),
        ('name = "with-a-mask"', 'name = "With A Mask"', "name: String should match"),
    ],
)  # fmt: skip
def test_a_mapping_that_does_not_fit_is_refused(mapping, old, new, match):
    change(mapping, old, new)
    refuse(mapping, match)


def test_a_vocabulary_of_another_size_is_refused(mapping):
    (mapping.parent / "tokens.json").write_text(json.dumps([*TOKENS, "z"]))
    refuse(mapping, r"fails on a source of 5 tokens 'z' \(token 13\)")
    change(
        mapping,
        '[source]\ntokenizer = "characters"\nvocabulary = "tokens.json"',
        '[source]\ntokenizer = "characters"\nvocabulary = "right.json"',
    )
    (mapping.parent / "right.json").write_text(json.dumps(TOKENS))
    refuse(mapping, "log_p has 13 tokens, the vocabulary .*tokens.json has 14")


@pytest.mark.parametrize("name", ["encoder.onnx", "decoder.onnx", "tokens.json"])
def test_truncated_files_are_refused(mapping, name):
    path = mapping.parent / name
    whole = path.read_bytes()
    for size in (0, 1, len(whole) // 3, len(whole) - 1):
        path.write_bytes(whole[:size])
        refuse(mapping, f"{name}")


def test_operators_of_others_are_refused(mapping):
    path = mapping.parent / "decoder.onnx"
    model = onnx.load(path)
    model.graph.node.append(helper.make_node("Custom", ["told"], ["x"], domain="com.example"))
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    onnx.save(model, path)
    refuse(mapping, "decoder.onnx: the operator Custom is of the domain 'com.example'")


def test_functions_of_a_graph_are_put_into_it(mapping):
    """Exporters write them in a domain of their own."""
    path = mapping.parent / "decoder.onnx"
    model = onnx.load(path)
    tanh = next(node for node in model.graph.node if node.op_type == "Tanh")
    squashing = helper.make_node("Tanh", ["x"], ["y"])
    model.functions.append(
        helper.make_function("pkg.torch", "squash", ["x"], ["y"], [squashing], [helper.make_opsetid("", 17)])
    )
    tanh.op_type, tanh.domain = "squash", "pkg.torch"
    model.opset_import.append(helper.make_opsetid("pkg.torch", 1))
    onnx.save(model, path)
    OnnxModel(import_onnx(mapping, model_store=mapping.parent / "store"))


@pytest.mark.parametrize(
    ("location", "match"),
    [
        ("../elsewhere.bin", "the data of emb lies in '../elsewhere.bin', outside of the graph's folder"),
        ("/etc/hostname", "outside of the graph's folder"),
        ("link.bin", "outside of the graph's folder"),
        ("missing.bin", "missing.bin with the data of emb: No such file"),
        ("short.bin", "short.bin is cut short: emb is not all there"),
    ],
)
def test_external_data_that_leaves_the_folder_is_refused(mapping, location, match):
    folder = mapping.parent
    (folder.parent / "elsewhere.bin").write_bytes(bytes(10_000))
    (folder / "link.bin").symlink_to(folder.parent / "elsewhere.bin")
    (folder / "short.bin").write_bytes(bytes(10))
    model = onnx.load(folder / "encoder.onnx")
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", "416")):
        tensor.external_data.add(key=key, value=value)
    (folder / "encoder.onnx").write_bytes(model.SerializeToString())
    refuse(mapping, match)


def test_lengths_that_are_fixed_are_refused(mapping):
    path = mapping.parent / "encoder.onnx"
    model = onnx.load(path)
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 32
    onnx.save(model, path)
    refuse(mapping, "encoder.source_ids: src has its length fixed to 32")


def test_a_refusal_is_one_line_of_the_command(mapping, capsys):
    change(mapping, 'becomes = "h2"', 'becomes = "h3"')
    assert main(["import", "onnx", str(mapping), "--model-store", str(mapping.parent / "store")]) == 1
    assert capsys.readouterr().err.startswith(
        "stepstream-export import: decoder.onnx: states.becomes: there is no output"
    )


def test_a_version_whose_graphs_are_others_is_not_loaded(mapping, tmp_path):
    folder = import_onnx(mapping, model_store=tmp_path / "store")
    other = import_onnx(with_lengths().write(tmp_path / "other"), model_store=tmp_path / "store")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["encoder.onnx"] = json.loads((other / "manifest.json").read_text())["files"]["encoder.onnx"]
    (folder / "encoder.onnx").write_bytes((other / "encoder.onnx").read_bytes())
    (folder / "manifest.json").write_text(json.dumps(manifest))
    Bundle(folder).close()
    with pytest.raises(GraphError, match=r"encoder.onnx inputs: keep is None, the manifest says bool"):
        OnnxModel(folder)
