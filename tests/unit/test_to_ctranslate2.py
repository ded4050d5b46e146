"""A converted Transformer translates as the model that it was made from."""

import importlib
import random

import pytest
import torch

from export.configuration import RecurrentConfiguration, TransformerConfiguration
from export.models.build import build_model
from export.models.control_tokens import BEGIN_ID, END_ID
from export.training.data import pad
from export.training.decode import greedy

ctranslate2 = pytest.importorskip("ctranslate2", reason="comes with the extra `dev`, which `make test` installs")
to_ctranslate2 = importlib.import_module("benchmarks.to_ctranslate2")

VOCABULARY_SIZE = 60
SMALL = TransformerConfiguration(
    family="transformer",
    hidden_size=32,
    num_heads=4,
    feed_forward_size=48,
    num_encoder_layers=2,
    num_decoder_layers=3,
    alignment_layer=1,
    alignment_heads=(3, 1),
)


@torch.no_grad()
def make_model():
    """Random weights, so large that targets differ, do not merely repeat a token, and end before the limit."""
    torch.manual_seed(6)
    model = build_model(SMALL, VOCABULARY_SIZE).eval()
    for name, parameter in model.named_parameters():
        if parameter.dim() == 1:
            parameter.normal_(float(name.endswith("norm.weight")), 0.3)
        elif name != "embedding.weight":
            parameter *= 4
    return model


def make_sources():
    rng = random.Random(2)
    return [[*rng.choices(range(4, VOCABULARY_SIZE), k=rng.randint(1, 12)), END_ID] for _ in range(20)]


def open_translator(folder, quantization="float32"):
    to_ctranslate2.convert(make_model(), folder, quantization)
    return ctranslate2.Translator(str(folder), intra_threads=1)


def test_greedy_translations_are_those_of_the_model(tmp_path):
    sources = make_sources()
    expected = greedy(make_model(), sources, max_length=12)
    assert len({tuple(ids) for ids in expected}) > 10
    assert min(map(len, expected)) < 12
    translator = open_translator(tmp_path / "model")
    hypotheses = to_ctranslate2.translate_ids(
        translator, sources, beam_size=1, min_decoding_length=0, max_decoding_length=12
    )
    assert hypotheses == [[ids] for ids in expected]


@torch.inference_mode()
def test_attention_is_the_mean_of_the_models_own_heads(tmp_path):
    model, source = make_model(), make_sources()[0]
    translator = open_translator(tmp_path / "model")
    tokens = [str(each) for each in source]
    (result,) = translator.translate_batch([tokens], beam_size=1, max_decoding_length=5, return_attention=True)
    source_ids, source_lengths = pad([source]), torch.tensor([len(source)])
    states = model.initial_states(source_ids, source_lengths, 5)
    previous = BEGIN_ID
    for position, (token, weights) in enumerate(zip(result.hypotheses[0], result.attention[0], strict=True)):
        output = model.step(torch.tensor([previous]), torch.tensor([position]), source_lengths, states)
        torch.testing.assert_close(output.attention[0], torch.tensor(weights), atol=1e-5, rtol=1e-5)
        states, previous = states | output.states, int(token)


def test_several_hypotheses_are_distinct_and_bounded(tmp_path):
    translator = open_translator(tmp_path / "model")
    hypotheses = to_ctranslate2.translate_ids(
        translator, make_sources(), beam_size=4, num_hypotheses=4, max_decoding_length=8
    )
    for found in hypotheses:
        assert len({tuple(ids) for ids in found}) == 4
        assert all(1 <= len(ids) <= 8 and END_ID not in ids for ids in found)


def test_quantizing_leaves_the_model_as_it_is(tmp_path):
    model = make_model()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    to_ctranslate2.convert(model, tmp_path / "model", "int8")
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    translator = ctranslate2.Translator(str(tmp_path / "model"), intra_threads=1)
    assert len(to_ctranslate2.translate_ids(translator, make_sources(), max_decoding_length=5)) == 20


def test_a_recurrent_model_is_refused_and_an_existing_folder_too(tmp_path):
    recurrent = build_model(RecurrentConfiguration(family="recurrent", hidden_size=8, encoder_hidden_size=4), 20)
    with pytest.raises(TypeError, match="CTranslate2 has no layers for Recurrent"):
        to_ctranslate2.convert(recurrent, tmp_path / "model")
    assert not (tmp_path / "model").exists()
    (tmp_path / "model").mkdir()
    with pytest.raises(FileExistsError):
        to_ctranslate2.convert(make_model(), tmp_path / "model")


def test_another_arrangement_is_refused_by_the_field_that_differs(tmp_path):
    model = build_model(SMALL.model_copy(update={"norm_position": "after"}), VOCABULARY_SIZE)
    with pytest.raises(TypeError, match="another norm_position"):
        to_ctranslate2.convert(model, tmp_path / "model")
    assert not (tmp_path / "model").exists()
