"""Every score is its paper's equation, every span sees what it should, every choice weighs or picks."""

import math
import re
from pathlib import Path
from types import SimpleNamespace

import onnx
import onnx.shape_inference
import pytest
import torch

import export.models.attention.scores
from export.bundle import export_graphs
from export.configuration import AttentionConfiguration, RecurrentConfiguration, load_configuration
from export.errors import ConfigurationError
from export.models.attention import KEYS, MEMORY, NOISE, Attention
from export.models.attention.scores import SCORES
from export.models.build import build_model
from export.models.recurrent import Recurrent
from export.parity import check_parity
from service.model.noise import gumbel_noise

SIZE = 6
LENGTHS = torch.tensor([9, 1, 4, 7])
SPANS = ("global", "local_m", "local_p")
CHOICES = ("soft", "hard")


def make(*, seed=0, **options):
    torch.manual_seed(seed)
    return Attention(AttentionConfiguration(**{"window": 2, **options}), SIZE, SIZE).eval()


@pytest.fixture
def memory():
    return torch.randn(4, 9, SIZE, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def query():
    return torch.randn(4, SIZE, generator=torch.Generator().manual_seed(2))


def attend(attention, query, memory, *, position=0, noise=None, lengths=LENGTHS):
    states = attention.encode(memory) | ({} if noise is None else {NOISE: noise})
    with torch.inference_mode():
        return attention(query, torch.full_like(lengths, position), lengths, states)


def softmax(scores):
    exponents = [math.exp(score - max(scores)) for score in scores]
    return [exponent / sum(exponents) for exponent in exponents]


PAPER = {
    "dot": lambda a, h, s, i: h @ s,
    "scaled_dot": lambda a, h, s, i: h @ s / math.sqrt(SIZE),
    "general": lambda a, h, s, i: h @ a.key.weight @ s,
    "concat": lambda a, h, s, i: (
        a.vector @ torch.tanh(torch.cat([a.query.weight, a.key.weight], 1) @ torch.cat([h, s]))
    ),
    "additive": lambda a, h, s, i: a.vector @ torch.tanh(a.query.weight @ h + a.key.weight @ s),
    "location": lambda a, h, s, i: (a.location.weight @ h)[i],
}


def test_every_registered_score_has_its_equation_here():
    assert PAPER.keys() == SCORES.keys()


@pytest.mark.parametrize("score", PAPER)
def test_a_score_is_its_papers_equation_and_the_context_the_weighted_sum(score, query, memory):
    attention = make(score=score)
    context, weights = attend(attention, query, memory)
    for row, length in enumerate(LENGTHS.tolist()):
        scores = [PAPER[score](attention.score, query[row], memory[row, i], i).item() for i in range(length)]
        expected = [*softmax(scores), *[0.0] * (9 - length)]
        torch.testing.assert_close(weights[row], torch.tensor(expected))
        torch.testing.assert_close(context[row], sum(w * s for w, s in zip(weights[row], memory[row], strict=True)))


@pytest.mark.parametrize("position", [0, 3, 8, 30])
def test_local_m_weighs_the_window_around_its_own_position(position, query, memory):
    _, everywhere = attend(make(score="dot"), query, memory)
    _, weights = attend(make(score="dot", span="local_m"), query, memory, position=position)
    for row, length in enumerate(LENGTHS.tolist()):
        centre = min(position, length - 1)
        inside = torch.tensor([abs(s - centre) <= 2 and s < length for s in range(9)])
        expected = torch.where(inside, everywhere[row], 0.0)
        torch.testing.assert_close(weights[row], expected / expected.sum())
        assert (weights[row] > 0).tolist() == inside.tolist()


def test_local_p_predicts_a_centre_and_weighs_by_a_gaussian(query, memory):
    attention = make(score="general", span="local_p")
    _, weights = attend(attention, query, memory)
    span = attention.span
    for row, length in enumerate(LENGTHS.tolist()):
        logit = span.outer.weight[0] @ torch.tanh(span.inner.weight @ query[row])
        centre = (length - 1) / (1 + math.exp(-logit.item()))
        expected = [0.0] * 9
        for s in range(length):
            if abs(s - round(centre)) <= 2:
                score = PAPER["general"](attention.score, query[row], memory[row, s], s).item()
                expected[s] = math.exp(score) * math.exp(-((s - centre) ** 2) / (2 * (2 / 2) ** 2))
        torch.testing.assert_close(weights[row], torch.tensor(expected) / sum(expected))


def test_a_window_wider_than_the_source_is_the_global_span(query, memory):
    context, weights = attend(make(score="concat"), query, memory)
    for position in (0, 5, 20):
        local = attend(make(score="concat", span="local_m", window=40), query, memory, position=position)
        torch.testing.assert_close(local, (context, weights))


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("span", SPANS)
@pytest.mark.parametrize("score", SCORES)
def test_every_combination_attends_within_the_sentence_and_trains(score, span, choice, query, memory):
    attention = make(score=score, span=span, choice=choice)
    for position in (0, 6, 50):
        context, weights = attend(attention, query, memory, position=position)
        garbage = torch.where((torch.arange(9) >= LENGTHS[:, None])[:, :, None], 1e4, memory)
        other_context, other_weights = attend(attention, query, garbage, position=position)
        torch.testing.assert_close(weights.sum(-1), torch.ones(4))
        assert not weights[torch.arange(9) >= LENGTHS[:, None]].any()
        assert choice == "soft" or sorted(weights.unique().tolist()) == [0.0, 1.0]
        assert torch.equal(weights, other_weights)
        assert torch.equal(context, other_context)
    attention.train()
    states = attention.encode(memory.clone().requires_grad_())
    context, _ = attention(query, torch.full_like(LENGTHS, 3), LENGTHS, states)
    context.square().sum().backward()
    assert all(parameter.grad.any() for parameter in attention.parameters())


def test_hard_attention_takes_the_best_position_or_draws_with_the_given_noise(query, memory):
    _, soft = attend(make(score="dot"), query, memory)
    hard = make(score="dot", choice="hard")
    _, best = attend(hard, query, memory)
    assert best.argmax(-1).tolist() == soft.argmax(-1).tolist()
    draws = torch.zeros_like(soft)
    for seed in range(4000):
        noise = torch.stack([torch.from_numpy(gumbel_noise(seed, row, 9)) for row in range(4)])
        draws += attend(hard, query, memory, noise=noise)[1]
    torch.testing.assert_close(draws / 4000, soft, atol=0.04, rtol=0)


def test_training_draws_hard_attention_and_passes_the_gradient_of_the_soft_one(query, memory):
    attention = make(score="dot", choice="hard").train()
    states = attention.encode(memory)
    drawn = torch.stack([attention(query, LENGTHS, LENGTHS, states)[1] for _ in range(20)])
    assert drawn.detach().sum(-1).allclose(torch.ones(20, 4))
    assert not all(torch.equal(drawn[0], other) for other in drawn[1:])
    scores = torch.tensor([[0.5, -1.0, 2.0]], requires_grad=True)
    noise = torch.tensor([[0.1, 0.9, -0.3]])
    one_hot = attention.choice(scores, noise)
    (one_hot * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    soft = scores.detach().clone().requires_grad_()
    ((soft + noise).softmax(-1) * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert one_hot.tolist() == [[0.0, 0.0, 1.0]]
    torch.testing.assert_close(scores.grad, soft.grad)


def test_states_are_what_the_score_and_the_choice_need():
    assert [spec.name for spec in make(score="dot").state_specs] == [MEMORY]
    assert [spec.name for spec in make(score="general", choice="hard").state_specs] == [MEMORY, KEYS, NOISE]


def make_model(attention, **options):
    config = {"family": "recurrent", "hidden_size": 6, "encoder_hidden_size": 3, "dropout": 0.0}
    return Recurrent(RecurrentConfiguration(**config | options, attention=attention), 20).eval()


def test_additive_attention_reads_the_state_before_the_update_and_feeds_the_context():
    additive, concat = (make_model(AttentionConfiguration(score=score)) for score in ("additive", "concat"))
    assert "input_feed" not in {spec.name for spec in additive.state_specs}
    assert "input_feed" in {spec.name for spec in concat.state_specs}
    source, lengths = torch.tensor([[5, 6, 7]]), torch.tensor([3])
    for model, same in ((additive, True), (concat, False)):
        states = model.encode(source, lengths)
        position = torch.zeros(1, dtype=torch.int64)
        rows = [model.step(torch.tensor([token]), position, lengths, states).attention for token in (4, 9)]
        assert torch.equal(*rows) == same, "only a state after the update knows the previous token"


def test_without_attention_the_source_speaks_through_its_last_states_alone():
    model = make_model("none")
    assert {spec.kind for spec in model.state_specs} == {"carried"}
    source, lengths = torch.tensor([[5, 6, 7, 8], [5, 6, 0, 0]]), torch.tensor([4, 2])
    padded = model.encode(source, lengths)
    alone = model.encode(source[1:, :2], lengths[1:])
    for name, state in alone.items():
        torch.testing.assert_close(padded[name][1:], state)


def test_dot_needs_states_of_equal_size_and_a_score_must_be_registered():
    for score in ("dot", "scaled_dot"):
        with pytest.raises(ConfigurationError, match="hidden_size is 6, twice encoder_hidden_size is 8"):
            make_model(AttentionConfiguration(score=score), encoder_hidden_size=4)
    with pytest.raises(ConfigurationError, match="no score 'cosine'; there are dot, general, concat"):
        make_model(AttentionConfiguration(score="cosine"))


def test_only_location_limits_the_source():
    assert make_model(AttentionConfiguration(score="location", num_locations=30)).longest_source == 30
    assert make_model(AttentionConfiguration()).longest_source is None


ARCHITECTURE = Path(__file__).parents[3] / "ARCHITECTURE.md"


@pytest.fixture
def documented_score():
    """The new score that ARCHITECTURE.md shows, registered for one test."""
    example = re.search(r"```python\n(class .*?)```", ARCHITECTURE.read_text(encoding="utf-8"), re.DOTALL)
    names = vars(export.models.attention.scores) | {"F": torch.nn.functional}
    before = set(SCORES)
    exec(compile(example[1], "ARCHITECTURE.md", "exec"), names)
    added = (set(SCORES) - before).pop()
    yield added
    del SCORES[added]


def test_a_new_score_is_a_class_and_a_line(documented_score, load_graphs, make_checkpoint, query, memory):
    _, weights = attend(make(score=documented_score, span="local_m"), query, memory)
    torch.testing.assert_close(weights.sum(-1), torch.ones(4))
    checkpoint = make_checkpoint("general")
    path = checkpoint / "configuration.toml"
    path.write_text(path.read_text().replace('score = "general"', f'score = "{documented_score}"'))
    config = load_configuration(path)
    torch.manual_seed(0)
    model = build_model(config.model, 40).eval()
    tiny = SimpleNamespace(kind="new", checkpoint=checkpoint, config=config, model=model)
    loaded = load_graphs(tiny, export_graphs(model))
    assert loaded.manifest.attention == f"{documented_score}, global, soft"
    check_parity(model, loaded)


def source_readers(graph, name):
    """Operators that take a value of the source, of what is gathered from it reshaped only the gathering."""
    readers = set()
    for node in graph.node:
        if name in node.input:
            again = node.op_type == "Reshape" and node.input[0] == name
            readers |= source_readers(graph, node.output[0]) if again else {node.op_type}
    return readers


def sizes_chosen_among(graph):
    """The last axis of what each softmax or argmax of the attention reads: a number, or an axis's name."""
    values = {value.name: value for value in (*graph.value_info, *graph.input, *graph.output)}
    chosen = [node.input[0] for node in graph.node if node.op_type in ("Softmax", "ArgMax")]
    axes = [values[name].type.tensor_type.shape.dim[-1] for name in chosen]
    return [axis.dim_param or axis.dim_value for axis in axes]


@pytest.mark.parametrize(
    ("kind", "readers", "size"),
    [
        ("local_m", {"Gather"}, 2 * 3 + 1),
        ("local_p", {"Gather"}, 2 * 3 + 1),
        ("hard_local", {"Gather"}, 2 * 3 + 1),
        ("general", {"MatMul"}, "source_length"),
    ],
)
def test_a_local_step_reads_and_scores_nothing_of_the_source_but_its_window(kind, readers, size, make_tiny):
    graph = onnx.shape_inference.infer_shapes(make_tiny(kind).graphs.decoder_step).graph
    for name in (MEMORY, KEYS):
        assert source_readers(graph, name) - {"Shape"} == readers, name
    assert sizes_chosen_among(graph) == [size]
