"""Every way to decode, over the network: what streams, what is returned, and that no neighbour changes it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from service.client.client import AsyncClient
from service.client.errors import InvalidRequestError
from service.client.options import DecodingOptions, Sampling
from service.client.types import Completion, StepEvent, TentativeEvent

MODELS = ("en-de-transformer", "en-de-general")
SOURCE = "Two young men are playing football on the beach."
METHODS = {
    "greedy": DecodingOptions(),
    "beam": DecodingOptions(beam_size=4, num_hypotheses=4),
    "beam with penalties": DecodingOptions(
        beam_size=5, length_penalty=0.6, coverage_penalty=0.2, patience=2.0, no_repeat_ngram_size=3
    ),
    "sampling": DecodingOptions(sampling=Sampling(temperature=1.2, top_p=0.95), num_hypotheses=3, seed=5),
    "pure sampling": DecodingOptions(sampling=Sampling(), seed=6),
    "alternatives": DecodingOptions(target_prefix="Zwei", return_alternatives=True, num_hypotheses=3),
    "penalised": DecodingOptions(repetition_penalty=1.3, min_length=12, disable_unknown=True),
    "candidates": DecodingOptions(num_candidates=12),
    "terms": DecodingOptions(beam_size=6, terms=(("Menschen", "Leute"),)),
}


@pytest.fixture
async def client(shipped_server: str) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(shipped_server) as client:
        yield client


@dataclass(frozen=True)
class Stream:
    """Everything of a stream but its times."""

    steps: tuple[StepEvent, ...]
    tentative: tuple[TentativeEvent, ...]
    completion: tuple[object, ...]

    @property
    def text(self) -> str:
        return "".join(step.text_delta for step in self.steps)


async def stream(client: AsyncClient, text: str, model: str, options: DecodingOptions) -> Stream:
    steps: list[StepEvent] = []
    tentative: list[TentativeEvent] = []
    async for event in client.stream(text, model=model, options=options, include_attention=True):
        if isinstance(event, StepEvent):
            steps.append(event)
        elif isinstance(event, TentativeEvent):
            tentative.append(event)
        else:
            completion = event
    return Stream(tuple(steps), tuple(tentative), (completion.text, completion.hypotheses, completion.finish_reason))


@pytest.mark.parametrize("model", MODELS)
async def test_no_neighbour_changes_what_any_method_gives(
    client: AsyncClient, model: str, sentences: list[str]
) -> None:
    texts = random.Random(8).sample(sentences, 4)
    cases = [(text, options) for text in texts for options in METHODS.values()]
    alone = [await stream(client, text, model, options) for text, options in cases]
    places = asyncio.Semaphore(24)

    async def among_others(text: str, options: DecodingOptions) -> Stream:
        async with places:
            return await stream(client, text, model, options)

    shuffled = random.Random(9).sample(range(len(cases)), len(cases))
    together = dict(zip(shuffled, await asyncio.gather(*(among_others(*cases[i]) for i in shuffled)), strict=True))
    for i, (text, options) in enumerate(cases):
        assert alone[i] == together[i], (text, options)


@pytest.mark.parametrize("model", MODELS)
async def test_streamed_beam_search_never_takes_back_what_it_settled(
    client: AsyncClient, model: str, sentences: list[str]
) -> None:
    num_early = 0
    for text in random.Random(1).sample(sentences, 12):
        settled = ""
        shown: list[str] = []
        events = client.stream(text, model=model, options=DecodingOptions(beam_size=4))
        async for event in events:
            if isinstance(event, StepEvent):
                del shown[:1]
                settled += event.text_delta
                num_early += event.piece != "</s>" and bool(shown)
            elif isinstance(event, TentativeEvent):
                shown = [*shown[: event.num_kept], *event.pieces]
                assert event.text == "" or shown
            else:
                assert event.text == settled
                assert shown == []
    assert num_early > 0


@pytest.mark.parametrize("model", MODELS)
async def test_n_best_translations_come_best_first_with_their_scores(client: AsyncClient, model: str) -> None:
    options = DecodingOptions(beam_size=4, num_hypotheses=4)
    [translation] = await client.translate([SOURCE], model=model, options=options)
    scores = [one.score for one in translation.hypotheses]
    assert len(scores) == 4
    assert scores == sorted(scores, reverse=True)
    assert len({one.text for one in translation.hypotheses}) == 4
    assert translation.text == translation.hypotheses[0].text
    [greedy] = await client.translate([SOURCE], model=model)
    assert translation.hypotheses[0].log_probability >= greedy.log_probability - 1e-4


async def test_a_stream_that_was_cut_off_goes_on_from_the_tokens_it_gave(
    client: AsyncClient, sentences: list[str]
) -> None:
    for text in sentences[:6]:
        whole = await stream(client, text, MODELS[0], METHODS["greedy"])
        for length in (1, len(whole.steps) // 2):
            given = tuple(step.token_id for step in whole.steps[:length])
            resumed = await stream(client, text, MODELS[0], DecodingOptions(target_prefix_ids=given))
            assert resumed.steps[length:] == whole.steps[length:]
            assert resumed.text == whole.text


@pytest.mark.parametrize("model", MODELS)
async def test_a_score_is_the_sum_of_what_the_stream_reported(client: AsyncClient, model: str) -> None:
    made = await stream(client, SOURCE, model, METHODS["greedy"])
    first, other = await client.score([(SOURCE, made.text), (SOURCE, "Ein Hund.")], model=model)
    assert [token.log_probability for token in first.tokens] == [step.log_probability for step in made.steps]
    assert first.log_probability > other.log_probability
    assert first.tokens[-1].piece == "</s>"


async def test_a_term_is_held_and_its_place_in_the_source_is_told(client: AsyncClient) -> None:
    options = DecodingOptions(beam_size=8, terms=(("Jungs", "Burschen"),))
    made = await stream(client, SOURCE, MODELS[0], options)
    assert any(word in made.text for word in ("Jungs", "Burschen"))
    [match] = made.completion[1][0].term_matches  # type: ignore[index]
    pieces = [step.piece for step in made.steps][match.target_start : match.target_end]
    assert "".join(pieces).strip("▁") == match.phrase
    source = made.steps[0].source_pieces[match.source_start : match.source_end]
    assert source
    assert {"▁young", "▁men", "▁Two"}.intersection(source)


async def test_a_word_that_must_stay_untranslated_stays(client: AsyncClient) -> None:
    options = DecodingOptions(beam_size=8, untranslated=("beach",))
    made = await stream(client, SOURCE, MODELS[0], options)
    assert "beach" in made.text
    [match] = made.completion[1][0].term_matches  # type: ignore[index]
    assert (match.term, match.phrase) == (0, "beach")
    assert any("beach" in piece for piece in made.steps[0].source_pieces[match.source_start : match.source_end])


async def test_an_edit_goes_on_from_the_callers_beginning(client: AsyncClient) -> None:
    prefixes = ["Zwei junge Männer", "Zwei Männer", "Am Strand"]
    plain = await stream(client, SOURCE, MODELS[0], METHODS["greedy"])
    expected = [plain.text]
    for prefix in prefixes:
        options = DecodingOptions(target_prefix=prefix)
        expected.append((await stream(client, SOURCE, MODELS[0], options)).text)
    found: list[str] = []
    kept: list[int] = []
    async with client.interactive(SOURCE, model=MODELS[0]) as translation:
        waiting = iter(prefixes)
        last_edit = -1
        async for edit, event in translation:
            if isinstance(event, StepEvent) and edit != last_edit:
                kept.append(event.index)
                last_edit = edit
            if isinstance(event, Completion):
                found.append(event.text)
                prefix = next(waiting, None)
                translation.close() if prefix is None else translation.edit(prefix)
    assert found == expected
    assert kept == [0, 3, 1, 0]


async def test_an_edit_in_the_middle_of_a_stream_leaves_the_rest_of_it_out(client: AsyncClient) -> None:
    async with client.interactive(SOURCE, model=MODELS[1]) as translation:
        async for edit, event in translation:
            if isinstance(event, StepEvent) and edit == 0 and event.index == 2:
                assert translation.edit("Am Strand") == 1
                translation.close()
            if isinstance(event, Completion):
                completed = edit, event.text
    expected = await stream(client, SOURCE, MODELS[1], DecodingOptions(target_prefix="Am Strand"))
    assert completed == (1, expected.text)


@pytest.mark.parametrize(
    ("options", "edit", "message"),
    [
        (DecodingOptions(beam_size=2), None, "has one hypothesis"),
        (DecodingOptions(max_length=4), "Zwei junge Männer spielen am Strand", "prefix has"),
    ],
)
async def test_what_an_interactive_translation_cannot_do_is_said(
    client: AsyncClient, options: DecodingOptions, edit: str | None, message: str
) -> None:
    async def translate() -> None:
        async with client.interactive(SOURCE, model=MODELS[0], options=options) as translation:
            async for _, event in translation:
                if isinstance(event, Completion) and edit is not None:
                    translation.edit(edit)

    with pytest.raises(InvalidRequestError, match=message):
        await translate()


async def test_placeholders_are_kept_by_every_search(client: AsyncClient) -> None:
    text = "Could not copy “%s” to {0}: %FILENAME"
    for options in (DecodingOptions(), DecodingOptions(beam_size=4, num_hypotheses=3), METHODS["pure sampling"]):
        [translation] = await client.translate([text], model="en-ko-transformer", options=options)
        for hypothesis in translation.hypotheses:
            assert all(hypothesis.text.count(one) == 1 for one in ("%s", "{0}", "%FILENAME")), hypothesis.text
    prefix = DecodingOptions(target_prefix="“%s”")
    [translation] = await client.translate([text], model="en-ko-transformer", options=prefix)
    assert translation.text.startswith("“%s”")
    assert translation.text.count("%s") == 1
