"""Every search method gives the targets of a slow reference, all of them sharing steps with each other."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import pytest
import torch

from export.checkpoint import load_checkpoint
from export.models.contract import TranslationModel
from service.engine.request import Decoding, Hypothesis, Request, Sampling, StepResult, Term
from service.engine.runner import Runner
from service.model.noise import uniform
from service.model.onnx_model import OnnxModel
from service.model.slots import Slots
from service.model.text import open_texts
from tests.reference import decoding as reference
from tests.reference.options import Ids, Options

CHECKPOINTS = Path(__file__).parents[2] / "export" / "checkpoints"
MODELS = ("en-de-transformer", "en-de-general")
NUM_SENTENCES = int(os.environ.get("STEPSTREAM_REFERENCE_SENTENCES", "8"))
"""Of each model; the slow reference takes some seconds to translate one of them by every method."""
MAX_ROWS = 64
END = 3
MAX_LENGTH = 40
LOAD_LENGTH = 18
"""More than most of the sentences have."""
NUDGE = 1e-5
"""A draw that lies closer than this to where another token begins may fall on either: torch and onnxruntime round
differently."""

Search = Callable[[TranslationModel, Ids, Options], list[reference.Hypothesis]]


def sample(
    model: TranslationModel, source_ids: Ids, options: Options, nudge: float = 0.0
) -> list[reference.Hypothesis]:
    return reference.sample(
        model, source_ids, options, lambda seed, draw, place: uniform(seed, draw + 1, place) + nudge
    )


@dataclass(frozen=True)
class Method:
    """A search and its reference; options are those that both name alike."""

    search: Search
    options: dict[str, object] = field(default_factory=dict)
    decoding: dict[str, object] = field(default_factory=dict)
    reference: dict[str, object] = field(default_factory=dict)
    begins_with: int = 0
    """Tokens of the greedy target that are the prefix."""
    terms: bool = False
    seed: int | None = None
    max_length: int = MAX_LENGTH


SAMPLING = {"temperature": 0.8, "top_k": 20, "top_p": 0.9, "min_p": 0.02}
METHODS = {
    "greedy": Method(reference.greedy),
    "greedy with candidates": Method(reference.greedy, {"num_candidates": 5}),
    "beam 4, n-best": Method(reference.beam, {"beam_size": 4, "num_hypotheses": 4}),
    "beam 6, penalties, patience": Method(
        reference.beam,
        {"beam_size": 6, "num_hypotheses": 2, "length_penalty": 0.6, "coverage_penalty": 0.2, "patience": 2.0},
    ),
    "beam 3 without length penalty": Method(reference.beam, {"beam_size": 3, "length_penalty": 0.0}),
    "beam 4 behind a prefix": Method(reference.beam, {"beam_size": 4}, begins_with=3),
    "greedy behind a prefix": Method(reference.greedy, begins_with=4),
    "repetition penalty": Method(reference.greedy, {"repetition_penalty": 1.4}),
    "no bigram twice, long": Method(reference.greedy, {"no_repeat_ngram_size": 2, "min_length": 15}),
    "beam with every rule": Method(
        reference.beam,
        {"beam_size": 4, "repetition_penalty": 1.2, "no_repeat_ngram_size": 3, "min_length": 9},
        {"suppressed": frozenset({1, 5, 17})},
        {"suppress_tokens": (5, 17), "disable_unknown": True},
    ),
    "sampling": Method(sample, {"num_hypotheses": 2}, {"sampling": Sampling()}, {"seed": 11}, seed=11),
    "sampling, cut": Method(
        sample, {"num_hypotheses": 2}, {"sampling": Sampling(**SAMPLING)}, {"seed": 12, **SAMPLING}, seed=12
    ),
    "alternatives": Method(reference.alternatives, {"num_hypotheses": 4}, {"alternatives": True}, begins_with=2),
    "terms": Method(reference.constrained_beam, {"beam_size": 6}, terms=True),
    **{
        f"{name}, the end ignored": Method(
            search,
            options,
            {"min_length": LOAD_LENGTH} | decoding,
            {"ignore_end_of_sequence": True} | reference_options,
            seed=13,
            max_length=LOAD_LENGTH,
        )
        for name, search, options, decoding, reference_options in (
            ("greedy", reference.greedy, {}, {}, {}),
            ("beam 2", reference.beam, {"beam_size": 2, "num_hypotheses": 2}, {}, {}),
            ("sampling", sample, {}, {"sampling": Sampling(**SAMPLING)}, {"seed": 13, **SAMPLING}),
        )
    },
}
NEED_ATTENTION = ("beam 6, penalties, patience",)


@pytest.fixture(scope="module", params=MODELS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def model(name: str, fp32_store: Path) -> OnnxModel:
    return OnnxModel(fp32_store / name / "1", num_threads=1)


@pytest.fixture(scope="module")
def sources(model: OnnxModel, sentences: list[str]) -> list[Ids]:
    texts = open_texts(model.manifest, model.folder)
    short = [source for sentence in sentences if len(source := texts.read(sentence).ids) <= 14]
    return random.Random(7).sample(short, NUM_SENTENCES)


def run(model: OnnxModel, requests: Sequence[Request]) -> dict[int, list[StepResult]]:
    """The results of requests that join as soon as there are rows for them, in random order."""
    runner = Runner(Slots(model, MAX_ROWS), end_id=END)
    waiting = random.Random(3).sample(requests, len(requests))
    running: dict[int, Request] = {}
    results: dict[int, list[StepResult]] = {request.request_id: [] for request in requests}
    while waiting or running:
        joining = []
        num_rows = sum(one.decoding.num_rows for one in running.values())
        while waiting and num_rows + waiting[-1].decoding.num_rows <= MAX_ROWS:
            joining.append(waiting.pop())
            num_rows += joining[-1].decoding.num_rows
            running[joining[-1].request_id] = joining[-1]
        if joining:
            assert runner.join(joining) == []
        for request_id, result in runner.step():
            results[request_id].append(result)
            if result.is_last:
                del running[request_id]
    return results


def request_of(number: int, source: Ids, method: Method, greedy_target: Ids, term: Ids) -> Request:
    decoding = Decoding(
        method.max_length,
        prefix=greedy_target[: method.begins_with],
        terms=(Term(0, (term,)),) if method.terms else (),
        **method.options,  # type: ignore[arg-type]
        **method.decoding,
    )
    return Request(number, source, decoding, seed=method.seed)


def options_of(method: Method, greedy_target: Ids, term: Ids) -> Options:
    return Options(
        method.max_length,
        prefix=greedy_target[: method.begins_with],
        terms=((term,),) if method.terms else (),
        **method.options,  # type: ignore[arg-type]
        **method.reference,
    )


def expected(
    torch_model: TranslationModel, source: Ids, method: Method, found: list[Ids], options: Options
) -> list[reference.Hypothesis]:
    """The reference's hypotheses; where it draws so close to another token that either may fall, those of `found`, if a
    nudge of the draw leads to them."""
    wanted = method.search(torch_model, source, options)
    if method.search is sample and [one.ids for one in wanted] != found:
        for nudge in (NUDGE, -NUDGE):
            nudged = sample(torch_model, source, options, nudge)
            if [one.ids for one in nudged] == found:
                return nudged
    return wanted


def ids(hypothesis: Hypothesis) -> Ids:
    return tuple(token.token_id for token in hypothesis.tokens)


@pytest.fixture(scope="module")
def torch_model(name: str) -> TranslationModel:
    """The torch model, which remembers what it computed: the methods read many targets in common."""
    _, model = load_checkpoint(CHECKPOINTS / name)
    forward = model.forward

    @lru_cache(maxsize=200_000)
    def remembered(source: Ids, target: Ids) -> torch.Tensor:
        return forward(torch.tensor([source]), torch.tensor([len(source)]), torch.tensor([target]))[:, -1:].clone()

    def call(source_ids: torch.Tensor, source_lengths: torch.Tensor, target_ids: torch.Tensor) -> torch.Tensor:
        return remembered(tuple(source_ids[0].tolist()), tuple(target_ids[0].tolist()))

    model.forward = call  # type: ignore[method-assign]
    return model


def test_every_method_equals_the_reference_token_for_token_all_in_the_same_steps(
    name: str, model: OnnxModel, torch_model: TranslationModel, sources: list[Ids]
) -> None:
    greedy = [reference.greedy(torch_model, source, Options(MAX_LENGTH))[0].ids for source in sources]
    others = [*sources[1:], sources[0]]
    terms = [target[1:3] if END not in target[1:3] else (9,) for target in [*greedy[1:], greedy[0]]]
    assert len(others) == len(terms)
    numbered = list(enumerate((method, i) for method in METHODS for i in range(len(sources))))
    results = run(
        model,
        [request_of(n, sources[i], METHODS[method], greedy[i], terms[i]) for n, (method, i) in numbered],
    )
    differing: dict[str, list[int]] = {}
    for number, (method, i) in numbered:
        found = results[number][-1].hypotheses
        options = options_of(METHODS[method], greedy[i], terms[i])
        wanted = expected(torch_model, sources[i], METHODS[method], [ids(one) for one in found], options)
        if [ids(one) for one in found] != [one.ids for one in wanted]:
            differing.setdefault(method, []).append(i)
            continue
        for one, other in zip(found, wanted, strict=True):
            assert one.score == pytest.approx(other.score, abs=1e-3)
            assert one.finish_reason.value == other.finish_reason
            values = [token.log_probability for token in one.tokens]
            assert values == pytest.approx(other.log_probabilities, abs=1e-3)
    assert differing == {}
