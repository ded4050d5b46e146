"""Foreign pairs are served as they are: the same texts as a plain loop over the original, alone and in a crowd."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import pytest
import torch

from export.cli import main
from export.errors import ForeignError
from export.foreign import originals
from export.foreign.publish import import_onnx
from service.client.client import Client
from service.client.server_process import SERVE_COMMAND, running_server
from service.client.types import StepEvent
from service.engine.request import Decoding, Request
from service.engine.runner import Runner
from service.model.certificate import read_certificate, replay
from service.model.greedy import translate_greedily
from service.model.onnx_model import OnnxModel
from service.model.slots import Slots
from service.model.text import open_texts
from tests.unit.export.foreign.pairs import END, EXAMPLES, MAX_LENGTH, PAIRS, TOKENS

ALL = sorted(PAIRS)
GRAPHS = ("encoder.onnx", "decoder.onnx")


def translate(model, texts, **options):
    vocabulary = open_texts(model.manifest, model.folder)
    sources = [vocabulary.read(text) for text in texts]
    targets = translate_greedily(model, [source.ids for source in sources], **options)
    return [vocabulary.write(target.token_ids, source) for target, source in zip(targets, sources, strict=True)]


def search(model, texts, decoding, *, max_rows, late=0):
    """The best hypothesis of each text; each joins so many steps after the one before it."""
    runner, results = Runner(Slots(model, max_rows), end_id=END), {}
    vocabulary = open_texts(model.manifest, model.folder)
    requests = [Request(i, vocabulary.read(text).ids, decoding) for i, text in enumerate(texts)]
    steps = 0
    while requests or runner.num_rows:
        if requests and steps % (late + 1) == 0 and runner.num_rows + decoding.beam_size <= max_rows:
            assert runner.join([requests.pop(0)]) == []
        for i, result in runner.step():
            assert not isinstance(result, Exception), result
            if result.is_last:
                results[i] = result.hypotheses[0]
        steps += 1
    return [([token.token_id for token in results[i].tokens], results[i].score) for i in range(len(texts))]


@pytest.mark.parametrize("name", ALL)
def test_texts_are_those_of_the_original_alone_and_in_a_crowd(name, import_pair):
    pair, folder = import_pair(name)
    wanted = [pair.translate(text) for text in EXAMPLES]
    model = OnnxModel(folder, num_threads=1)
    assert len(set(wanted)) > len(wanted) // 2
    assert [translate(model, [text], max_rows=1)[0] for text in EXAMPLES] == wanted
    assert translate(model, EXAMPLES, max_rows=4) == wanted


@pytest.mark.parametrize("name", ALL)
def test_what_rows_may_share_is_found_out_and_said(name, import_pair, tmp_path):
    _, folder = import_pair(name)
    model = OnnxModel(folder, num_threads=1)
    assert model.manifest.foreign.sharing == PAIRS[name][1]
    assert PAIRS[name][1] in (folder / "README.md").read_text()
    assert model.manifest.family == "foreign"
    certificate = read_certificate(folder / "certificate.json")
    assert certificate.agreement.num_identical == certificate.agreement.num_sentences == 20
    assert certificate.parity.outputs["log_probabilities"].absolute < 1e-4
    replay(model, certificate)


@pytest.mark.parametrize("name", ALL)
def test_beam_search_is_the_same_alone_and_in_a_crowd(name, import_pair):
    _, folder = import_pair(name)
    model, decoding = OnnxModel(folder, num_threads=1), Decoding(max_length=MAX_LENGTH, beam_size=3)
    alone = [search(model, [text], decoding, max_rows=3)[0] for text in EXAMPLES]
    crowd = search(model, EXAMPLES, decoding, max_rows=12, late=1)
    assert [ids for ids, _ in crowd] == [ids for ids, _ in alone]
    np.testing.assert_allclose([score for _, score in crowd], [score for _, score in alone], atol=1e-4)


def test_a_decoder_that_reads_the_prefix_goes_on_from_an_edited_one(import_pair):
    _, folder = import_pair("prefix-last")
    model = OnnxModel(folder, num_threads=1)
    slots, source = Slots(model, 1), [TOKENS.index("c"), END]
    slots.join(slots.encode([source]))
    before = [np.array(slots.step().logits[0])]
    for token_id in (6, 7, 8):
        slots.choose([token_id])
        before.append(np.array(slots.step().logits[0]))
    slots.rewind(0, [6], slots.carried(0))
    np.testing.assert_array_equal(slots.step().logits[0], before[1])


def test_graphs_are_kept_byte_for_byte(import_pair, tmp_path):
    pair, folder = import_pair("with-a-mask")
    pair.write(tmp_path)
    for name in ("encoder", "decoder"):
        kept = folder / ("decoder_step.onnx" if name == "decoder" else "encoder.onnx")
        assert kept.read_bytes() == (tmp_path / f"{name}.onnx").read_bytes()


def test_attention_of_the_graph_is_reported(import_pair):
    _, folder = import_pair("with-a-mask")
    model = OnnxModel(folder, num_threads=1)
    slots = Slots(model, 2)
    slots.join(slots.encode([[5, 6, END], [7, END]]))
    attention = slots.step().attention
    assert attention is not None
    np.testing.assert_allclose(attention.sum(axis=1), 1.0, rtol=1e-5)
    assert (attention[1, 2:] == 0).all()


def test_nothing_is_shared_where_the_mapping_says_so(import_pair, tmp_path):
    pair, _ = import_pair("with-a-mask")
    mapping = pair.write(tmp_path)
    mapping.write_text("share = false\n" + mapping.read_text())
    model = OnnxModel(import_onnx(mapping, model_store=tmp_path / "store"), num_threads=1)
    assert model.manifest.foreign.sharing == "encoder: one row a run; steps: one row a run"
    decoding = Decoding(max_length=MAX_LENGTH, beam_size=2)
    alone = [search(model, [text], decoding, max_rows=2)[0] for text in EXAMPLES]
    assert search(model, EXAMPLES, decoding, max_rows=8, late=1) == alone, "not one bit"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_exporter_of_torch_makes_pairs_that_are_taken(tmp_path, import_pair):
    """Names, axes and constants as torch.onnx.export gives them, with its data in a file beside the graph."""
    pair, _ = import_pair("with-a-mask")
    mapping = pair.write(tmp_path)

    class Encoder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = torch.nn.Embedding(len(TOKENS), 8)

        def forward(self, src, keep):
            memory = torch.tanh(self.embedding(src))
            inside = keep.unsqueeze(-1)
            return memory, (memory * inside).sum(1) / inside.sum(1)

    torch.manual_seed(0)
    axes = {name: {0: "batch", 1: "length"} for name in ("src", "keep", "memory")} | {"start": {0: "batch"}}
    torch.onnx.export(
        Encoder().eval(),
        (torch.full((2, 3), 5), torch.ones(2, 3, dtype=torch.bool)),
        tmp_path / "encoder.onnx",
        input_names=["src", "keep"],
        output_names=["memory", "start"],
        dynamic_axes=axes,
        dynamo=False,
        opset_version=17,
    )
    exported = onnx.load(tmp_path / "encoder.onnx")
    onnx.save(exported, tmp_path / "encoder.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    folder = import_onnx(mapping, model_store=tmp_path / "store")
    model = OnnxModel(folder, num_threads=1)
    assert model.manifest.foreign.sharing == "encoder: any rows together; steps: any rows together"
    assert not (folder / "weights.bin").exists()


@pytest.mark.parametrize("name", ["with-a-mask", "prefix-last"])
def test_weights_that_one_file_cannot_hold_lie_beside_both_graphs(name, tmp_path, monkeypatch):
    pair = PAIRS[name][0]()
    mapping = pair.write(tmp_path)
    weights = []
    for file in GRAPHS:
        graph = onnx.load(tmp_path / file)
        weights += [one.raw_data for one in graph.graph.initializer]
        onnx.save(graph, tmp_path / file, save_as_external_data=True, location=f"{file}_data", size_threshold=0)
    monkeypatch.setattr(originals, "MAX_FILE_BYTES", max((tmp_path / file).stat().st_size for file in GRAPHS) + 10)
    monkeypatch.setattr(originals, "SMALLEST_STREAMED", 1)
    folder = import_onnx(mapping, model_store=tmp_path / "store")
    content = (folder / "weights.bin").read_bytes()
    assert all(weight in content for weight in weights)
    model = OnnxModel(folder, num_threads=1)
    assert model.manifest.weights == "weights.bin"
    assert model.manifest.foreign.sharing == PAIRS[name][1]
    assert translate(model, EXAMPLES, max_rows=4) == [pair.translate(text) for text in EXAMPLES]
    monkeypatch.setattr(originals, "SMALLEST_STREAMED", 2**30)
    with pytest.raises(ForeignError, match="with its data it has more than the 2 GB that one ONNX file can hold"):
        import_onnx(mapping, model_store=tmp_path / "store", name="again")


def test_a_crowd_streams_over_a_real_server(import_pair, tmp_path):
    wanted = {}
    for name in ("unmasked-encoder", "prefix-last", "batch-of-one"):
        pair, folder = import_pair(name)
        shutil.copytree(folder.parent, tmp_path / "store" / name)
        wanted[name] = [pair.translate(text) for text in EXAMPLES]
    with (
        running_server((*SERVE_COMMAND, "--model-store", str(tmp_path / "store"))) as address,
        Client(address) as client,
    ):
        for name, texts in wanted.items():
            assert [one.text for one in client.translate(EXAMPLES, model=name)] == texts
            with ThreadPoolExecutor(len(EXAMPLES)) as threads:
                streams = threads.map(lambda text, name=name: list(client.stream(text, model=name)), EXAMPLES)
            for events, text in zip(streams, texts, strict=True):
                assert "".join(event.text_delta for event in events if isinstance(event, StepEvent)) == text
            model = client.get_model(name)
            assert model.family == "foreign"
            assert json.loads(model.certificate_json)["sharing"] == PAIRS[name][1]


def test_the_command_says_what_was_published(tmp_path, capsys):
    pair = PAIRS["batch-of-one"][0]()
    arguments = [
        "import",
        "onnx",
        str(pair.write(tmp_path)),
        "--model-store",
        str(tmp_path / "store"),
        "--name",
        "other",
    ]
    assert main(arguments) == 0
    assert "other/1: published" in (out := capsys.readouterr().out)
    assert PAIRS["batch-of-one"][1] in out


def test_ended_hypotheses_stay_where_the_mapping_says_so(tmp_path):
    pair = PAIRS["with-a-mask"][0]()
    mapping = pair.write(tmp_path)
    mapping.write_text('ended_hypotheses = "stay"\n' + mapping.read_text())
    manifest = OnnxModel(import_onnx(mapping, model_store=tmp_path / "store")).manifest
    assert manifest.foreign.ended_hypotheses == "stay"
