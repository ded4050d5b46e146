"""Which attention is reported, how well it aligns words, and how the best is found and stored."""

import json
import random
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from export.alignment.attention import AttentionRows
from export.alignment.choose import read_record
from export.alignment.fast_align import align, align_both_ways
from export.alignment.measure import Choice, error_rate, rank
from export.alignment.toml_lines import with_keys
from export.alignment.words import Sentence, split
from export.bundle import export_graphs
from export.checkpoint import load_checkpoint
from export.cli import main
from export.configuration import TransformerConfiguration, load_configuration
from export.errors import CheckpointError, ConfigurationError
from export.invariance import check_invariance
from export.model_card import _attention
from export.models.build import build_model
from export.trace import make_rows, random_sources, trace_onnx


def make_config(**changes):
    sizes = {"hidden_size": 32, "num_heads": 4, "num_encoder_layers": 1, "num_decoder_layers": 2, "alignment_layer": 1}
    return TransformerConfiguration(family="transformer", **(sizes | changes))


def permuted_pairs(num_pairs):
    """Each source word has one translation, in any place; `zu` translates nothing."""
    rng = random.Random(1)
    sources, targets, links = [], [], []
    for _ in range(num_pairs):
        source = rng.sample([f"s{i}" for i in range(30)], rng.randint(3, 6))
        order = rng.sample(range(len(source)), len(source))
        target = [source[i].replace("s", "t") for i in order]
        target.insert(rng.randint(0, len(target)), "zu")
        sources.append(source)
        targets.append(target)
        links.append({(source.index(word.replace("t", "s")), i) for i, word in enumerate(target) if word != "zu"})
    return sources, targets, links


def test_the_aligner_finds_a_dictionary_whose_words_are_permuted():
    sources, targets, links = permuted_pairs(400)
    assert error_rate(align(sources, targets), links, links) < 0.02
    assert error_rate(align(sources, targets, num_iterations=0), links, links) > 0.5


def test_links_of_both_directions_are_sure_and_those_of_either_possible():
    sources, targets, _ = permuted_pairs(20)
    forward = align(sources, targets)
    backward = [{(source, target) for target, source in found} for found in align(targets, sources)]
    assert forward != backward
    both = [(one & other, one | other) for one, other in zip(forward, backward, strict=True)]
    assert align_both_ways(sources, targets) == both


def test_a_sentence_without_words_on_one_side_has_no_links():
    assert align([["a"], [], ["a"]], [["b"], ["b"], []]) == [{(0, 0)}, set(), set()]


@pytest.mark.parametrize(
    ("pieces", "words", "places"),
    [
        (["▁Zwei", "▁Hun", "de", "."], ["zwei", "hunde", "."], [0, 1, 1, 2]),
        (["▁T", "-", "Shirt", ",", "▁(", "12", ")"], ["t", "-", "shirt", ",", "(", "12", ")"], list(range(7))),
        (["▁셀에", "▁", "줄", "바꿈"], ["셀에", "줄바꿈"], [0, 1, 1, 1]),
        (["▁%s", "▁file", "s"], ["%s", "files"], [0, 1, 1]),
        ([], [], []),
    ],
)
def test_pieces_are_parts_of_words(pieces, words, places):
    assert split(pieces) == (words, places)


@pytest.mark.parametrize(
    ("found", "sure", "possible", "expected"),
    [
        ({(0, 0), (1, 1)}, {(0, 0), (1, 1)}, {(0, 0), (1, 1)}, 0.0),
        ({(0, 0), (1, 1), (2, 0)}, {(0, 0)}, {(0, 0), (1, 1)}, 0.25),
        ({(0, 0), (1, 1)}, {(0, 0)}, {(0, 0), (1, 1)}, 0.0),
        ({(0, 0)}, {(0, 0), (1, 1), (2, 2)}, {(0, 0), (1, 1), (2, 2)}, 0.5),
        ({(5, 5)}, {(0, 0)}, {(0, 0)}, 1.0),
        (set(), set(), {(0, 0)}, 1.0),
    ],
)
def test_the_alignment_error_rate_is_that_of_och_and_ney(found, sure, possible, expected):
    assert error_rate([found], [sure], [possible]) == expected


@pytest.fixture
def planted(monkeypatch):
    """A Transformer with three heads a layer; head 2 of layer 1 looks at the place of the word that is produced."""
    model = build_model(make_config(hidden_size=30, num_heads=3), 40).eval()

    def weights(source_ids, source_lengths, target_ids):
        torch.manual_seed(0)
        made = torch.rand(2, len(source_ids), 3, target_ids.shape[1], source_ids.shape[1])
        made[1, :, 2] = 9 * torch.eye(target_ids.shape[1], source_ids.shape[1])
        return made

    monkeypatch.setattr(model, "cross_attention_weights", weights)
    return model


def test_the_head_that_aligns_is_chosen_and_fewer_heads_win_a_tie(planted):
    sentences = [Sentence(list(range(5, 5 + size)), ["w"] * size, list(range(size))) for size in (6, 3, 5)]
    diagonal = [{(i, i) for i in range(len(sentence.piece_ids))} for sentence in sentences]
    choices = rank(AttentionRows(planted, sentences, sentences), diagonal, diagonal)
    assert choices[0] == Choice(1, (2,), 0.0)
    assert [choice.error_rate for choice in choices] == sorted(choice.error_rate for choice in choices)
    assert sorted((choice.layer, len(choice.heads)) for choice in choices) == sorted(
        [*[(0, 1), (1, 1)] * 3] + [(layer, size) for layer in (0, 1) for size in (2, 3)]
    )


def test_words_are_linked_by_the_step_that_produces_them_and_not_to_the_end(planted, monkeypatch):
    """Two source words of two pieces and one, three target pieces of two words; the fourth step produces the end."""
    source = Sentence([5, 6, 7], ["ab", "c"], [0, 0, 1])
    target = Sentence([8, 9, 10], ["x", "yz"], [0, 1, 1])
    weights = torch.zeros(2, 1, 3, 4, 4)
    weights[0, 0, 0, range(4), (1, 3, 2, 0)] = 1.0
    asked = []
    monkeypatch.setattr(planted, "cross_attention_weights", lambda *ids: asked.append(ids) or weights)
    assert AttentionRows(planted, [source], [target]).links(0, (0,)) == [{(0, 0), (1, 1)}]
    assert [ids.tolist() for ids in asked[0]] == [[[5, 6, 7, 3]], [4], [[2, 8, 9, 10]]]


@torch.inference_mode()
@pytest.mark.parametrize("heads", [(), (3,), (0, 1, 3)])
def test_a_step_returns_the_mean_of_the_chosen_heads_of_the_chosen_layer(heads):
    torch.manual_seed(0)
    model = build_model(make_config(alignment_heads=heads), 40).eval()
    source_ids, lengths = torch.randint(4, 40, (3, 9)), torch.tensor([9, 1, 4])
    target_ids = torch.randint(4, 40, (3, 5))
    weights = model.cross_attention_weights(source_ids, lengths, target_ids)
    assert weights.shape == (2, 3, 4, 5, 9)
    expected = weights[1][:, list(heads or range(4))].mean(1)
    assert not torch.allclose(expected, weights[0][:, list(heads or range(4))].mean(1), atol=1e-3)
    states = model.initial_states(source_ids, lengths, 5)
    for position in range(5):
        output = model.step(target_ids[:, position], torch.full((3,), position), lengths, states)
        states = states | output.states
        torch.testing.assert_close(output.attention, expected[:, position])


@torch.no_grad()
@pytest.mark.parametrize("heads", [(), (5,), (0, 2, 3, 5, 6, 7)])
def test_the_graph_returns_these_heads_for_rows_of_any_age_and_in_any_company(heads, make_tiny, load_graphs):
    torch.manual_seed(0)
    config = make_config(hidden_size=64, num_heads=8, num_decoder_layers=1, alignment_layer=0, alignment_heads=heads)
    model = build_model(config, 40).eval()
    tiny = make_tiny("transformer")
    tiny = replace(
        tiny, config=tiny.config.model_copy(update={"model": config}), model=model, graphs=export_graphs(model)
    )
    graphs = load_graphs(tiny, tiny.graphs)
    rows = make_rows(random_sources(4, 9, 40, seed=1), 16, 8, 40, seed=2)
    made = np.stack([outputs["attention"] for _, outputs in trace_onnx(graphs, rows)], 1)
    for row, length in enumerate(rows.source_lengths.tolist()):
        tokens = torch.from_numpy(rows.token_ids[row:, row])[None]
        source = torch.from_numpy(rows.source_ids[row : row + 1, :length])
        weights = model.cross_attention_weights(source, torch.tensor([length]), tokens)[0, 0, list(heads or range(8))]
        np.testing.assert_allclose(made[row, row:, :length], weights.mean(0).numpy(), atol=1e-5)
        assert not made[row, :, length:].any()
    check_invariance(graphs, random_sources(24, 40, 40, seed=5))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"alignment_layer": 2}, "alignment_layer must be below num_decoder_layers"),
        ({"alignment_heads": (0, 4)}, "alignment_heads must be below num_heads"),
        ({"alignment_heads": (1, 1)}, "must not name a head twice"),
        ({"alignment_heads": (-1,)}, "greater than or equal to 0"),
    ],
)
def test_heads_and_layers_that_are_not_there_are_refused(changes, message):
    with pytest.raises(ValidationError, match=message):
        make_config(**changes)


@pytest.mark.parametrize(
    ("heads", "words"),
    [((), "mean of heads 0, 1, 2, 3"), ((3,), "head 3"), ((0, 2), "mean of heads 0, 2")],
)
def test_a_model_says_what_it_reports(heads, words):
    model = build_model(make_config(alignment_heads=heads), 40)
    assert model.attention_description == f"multi-head, layer 1, {words} (counted from 0)"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("[model]\na = 1 # one\nb = [ ]\n\n[c]\na = 3\n", "[model]\na = 2 # one\nb = [0, 3]\n\n[c]\na = 3\n"),
        ("[c]\na = 3\n\n[model]\nx = 1", "[c]\na = 3\n\n[model]\nx = 1\na = 2\nb = [0, 3]\n"),
        ("[model]\r\nb=[1]\r\n\r\n[c]\r\n", "[model]\r\nb= [0, 3]\r\na = 2\r\n\r\n[c]\r\n"),
    ],
)
def test_two_keys_change_and_every_other_byte_stays(before, after):
    assert with_keys(before, "model", {"a": 2, "b": [0, 3]}) == after


@pytest.mark.parametrize("content", ["model = {a = 1}\n", "[model]\nb = [\n1,\n]\n", "model.a = 1\n", "[c]\na = 1\n"])
def test_a_table_that_is_not_written_line_by_line_is_refused(content):
    with pytest.raises(ConfigurationError, match=r"^\[model\] is not written line by line: set a, b there by hand$"):
        with_keys(content, "model", {"a": 2, "b": [0, 3]})


def test_the_command_prints_every_choice_and_writes_the_best(make_checkpoint, copy_corpus, capsys):
    checkpoint = make_checkpoint("transformer")
    before = (checkpoint / "configuration.toml").read_text()
    assert main(["choose-alignment", str(checkpoint), "--corpus", str(copy_corpus)]) == 0
    assert (checkpoint / "configuration.toml").read_text() == before
    assert main(["choose-alignment", str(checkpoint), "--corpus", str(copy_corpus), "--split", "val", "--write"]) == 0
    rows = re.findall(r"^ +(0\.\d{4}) +(\d)  ([\d, ]+)$", capsys.readouterr().out, re.MULTILINE)
    table, again = rows[:6], rows[6:]
    assert table == again == sorted(table)
    layer, heads = int(table[0][1]), [int(head) for head in table[0][2].split(", ")]
    after = (checkpoint / "configuration.toml").read_text()
    assert after == before.replace("alignment_layer = 1", f"alignment_layer = {layer}").replace(
        "dropout = 0.0\n", f"dropout = 0.0\nalignment_heads = {heads}\n"
    )
    config, model = load_checkpoint(checkpoint)
    assert (config.model.alignment_layer, list(config.model.alignment_heads)) == (layer, heads)
    record = json.loads((checkpoint / "alignment.json").read_text())
    assert (record["split"], record["layer"], record["heads"]) == ("val", layer, heads)
    assert f"{record['aer']:.4f}" == table[0][0]
    known = read_record(checkpoint, config)
    card = _attention(SimpleNamespace(attention=model.attention_description), known)
    assert f"layer {layer}, " in card
    assert f"On `val` {record['aer']:.3f}: alignment error rate of words (Och and Ney 2003)" in card


def test_a_record_of_other_heads_or_weights_is_none(make_checkpoint, copy_corpus):
    checkpoint = make_checkpoint("transformer")
    path = checkpoint / "configuration.toml"
    assert read_record(checkpoint, load_configuration(path)) is None
    main(["choose-alignment", str(checkpoint), "--corpus", str(copy_corpus), "--write"])
    config = load_configuration(path)
    assert read_record(checkpoint, config) is not None
    other = config.model.model_copy(update={"alignment_layer": 1 - config.model.alignment_layer})
    assert read_record(checkpoint, config.model_copy(update={"model": other})) is None
    weights = checkpoint / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    assert read_record(checkpoint, config) is None
    (checkpoint / "alignment.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"alignment\.json is not what choose-alignment writes"):
        read_record(checkpoint, config)


def test_a_recurrent_model_has_one_figure_and_nothing_to_choose(make_checkpoint, copy_corpus, capsys):
    checkpoint = make_checkpoint("gru")
    before = (checkpoint / "configuration.toml").read_bytes()
    assert main(["choose-alignment", str(checkpoint), "--corpus", str(copy_corpus), "--write"]) == 0
    assert re.search(r"^ +0\.\d{4}  the decoder's only attention$", capsys.readouterr().out, re.MULTILINE)
    assert (checkpoint / "configuration.toml").read_bytes() == before
    record = read_record(checkpoint, load_configuration(checkpoint / "configuration.toml"))
    assert (record.layer, record.heads, record.split) == (None, (), "val")
    assert 0 < record.aer < 1


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        ("none", [], r"has no attention$"),
        ("gru", ["--split", "no-such-split"], r"no-such-split\.en exists$"),
        ("nothing", [], r"configuration\.toml cannot be read: "),
        ("no weights", [], r"is no checkpoint: weights\.safetensors is missing$"),
    ],
)
def test_what_cannot_be_measured_is_one_clear_line(
    kind, arguments, message, make_checkpoint, copy_corpus, tmp_path, capsys
):
    checkpoint = tmp_path if kind == "nothing" else make_checkpoint("gru" if kind == "no weights" else kind)
    if kind == "no weights":
        (checkpoint / "weights.safetensors").unlink()
    assert main(["choose-alignment", str(checkpoint), "--corpus", str(copy_corpus), *arguments]) == 1
    error = capsys.readouterr().err.strip()
    assert re.search(message, error)
    assert "\n" not in error


def test_a_sentence_that_is_longer_than_the_model_takes_is_refused(make_checkpoint, copy_corpus, tmp_path, capsys):
    for split_name in ("train", "val"):
        for language in ("en", "de"):
            text = (copy_corpus / f"{split_name}.{language}").read_text()
            long = "ba " * 600 + "\n" if (split_name, language) == ("val", "de") else "ba\n"
            (tmp_path / f"{split_name}.{language}").write_text(text + long)
    assert main(["choose-alignment", str(make_checkpoint("gru")), "--corpus", str(tmp_path)]) == 1
    assert re.search(r"val has a sentence of \d+ pieces, the model takes at most 511$", capsys.readouterr().err.strip())
