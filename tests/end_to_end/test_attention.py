"""Every attention of the shipped store, side by side on one server, compared by changing a model's name."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path

import pytest

from service.client.client import AsyncClient, Client
from service.client.errors import InvalidRequestError
from service.client.options import DecodingOptions
from service.client.types import Completion, StepEvent
from service.model.manifest import Manifest
from service.model.store import list_versions

Manifests = dict[str, Manifest]
SENTENCE = "A man in a blue shirt is standing on a ladder and cleaning the window of a tall house."
RECURRENT = {
    "en-de-none": None,
    "en-de-dot": "dot, global, soft",
    "en-de-general": "general, global, soft",
    "en-de-concat": "concat, global, soft",
    "en-de-additive": "additive, global, soft",
    "en-de-scaled-dot": "scaled_dot, global, soft",
    "en-de-location": "location, global, soft",
    "en-de-local-m": "general, local_m 8, soft",
    "en-de-local-p": "general, local_p 5, soft",
    "en-de-hard": "general, global, hard",
}
SHORT = DecodingOptions(max_length=8)
TRANSFORMERS = ("de-en-transformer", "en-de-transformer", "en-ko-transformer")


def stream(client: Client, model: str, text: str = SENTENCE, seed: int | None = None) -> tuple[list[StepEvent], str]:
    """The steps, with attention where the model has any, and the text."""
    attention = RECURRENT.get(model, "multi-head") is not None
    *steps, done = client.stream(text, model=model, options=DecodingOptions(seed=seed), include_attention=attention)
    assert isinstance(done, Completion)
    return [step for step in steps if isinstance(step, StepEvent)], done.text


def window_of(manifest: Manifest) -> tuple[str, int] | None:
    """A local span's name and half width D, from the attention's description."""
    span = (manifest.attention or "").split(", ")[1:2]
    name, _, size = span[0].partition(" ") if span else ("", "", "")
    return (name, int(size)) if name.startswith("local") else None


def test_the_shipped_store_holds_every_attention(shipped_server: str) -> None:
    with Client(shipped_server) as client:
        models = {model.name: model for model in client.list_models()}
    assert models.keys() == {*RECURRENT, *TRANSFORMERS}
    assert {name: models[name].attention for name in RECURRENT} == RECURRENT
    for name in TRANSFORMERS:
        assert (models[name].attention or "").startswith("multi-head, layer ")
    assert {model.family for model in models.values()} == {"recurrent", "transformer"}


def test_bundles_are_small(shipped_store: Path) -> None:
    sizes = {
        stored.name: sum(p.stat().st_size for p in stored.folder.iterdir()) for stored in list_versions(shipped_store)
    }
    assert all(size <= 6_000_000 for name, size in sizes.items() if name in RECURRENT), sizes
    assert all(size <= 12_000_000 for size in sizes.values()), sizes


@pytest.mark.parametrize("model", [*RECURRENT, "en-de-transformer"])
def test_the_same_sentence_streams_with_attention_of_the_models_kind(
    shipped_server: str, manifests: Manifests, model: str
) -> None:
    manifest = manifests[model]
    with Client(shipped_server) as client:
        steps, text = stream(client, model)
    assert text.startswith("Ein Mann")
    for position, step in enumerate(steps):
        if manifest.attention is None:
            assert step.attention == ()
            continue
        length = len(step.source_pieces)
        assert len(step.attention) == length
        assert math.isclose(sum(step.attention), 1.0, abs_tol=1e-5)
        if "hard" in manifest.attention:
            assert sorted(step.attention) == [0.0] * (length - 1) + [1.0]
        if (window := window_of(manifest)) is not None:
            name, size = window
            inside = [place for place, weight in enumerate(step.attention) if weight > 0]
            assert inside == list(range(inside[0], inside[-1] + 1))
            assert len(inside) <= 2 * size + 1 < length
            if name == "local_m":
                centre = min(position, length - 1)
                assert inside == [s for s in range(length) if abs(s - centre) <= size]


def test_attention_is_refused_where_there_is_none(shipped_server: str) -> None:
    with Client(shipped_server) as client:
        with pytest.raises(InvalidRequestError, match="this model has no attention"):
            list(client.stream(SENTENCE, model="en-de-none", include_attention=True))
        assert client.translate([SENTENCE], model="en-de-none")[0].text


async def test_the_same_seed_draws_the_same_translation_alone_or_in_a_crowd(
    shipped_server: str, sentences: list[str]
) -> None:
    texts = sentences[:40]

    async def draw(client: AsyncClient, text: str, seed: int | None) -> tuple[object, ...]:
        events = client.stream(text, model="en-de-hard", options=DecodingOptions(seed=seed), include_attention=True)
        steps = [event async for event in events if isinstance(event, StepEvent)]
        return tuple((step.token_id, step.log_probability, step.attention) for step in steps)

    async with AsyncClient(shipped_server) as client:
        alone = [await draw(client, text, seed) for seed, text in enumerate(texts)]
        crowd = [draw(client, text, seed if seed % 3 else None) for text in texts[::4] for seed in range(100, 106)]
        together, *_ = await asyncio.gather(
            asyncio.gather(*(draw(client, text, seed) for seed, text in enumerate(texts))), asyncio.gather(*crowd)
        )
        others = [await draw(client, text, 1000 + seed) for seed, text in enumerate(texts)]
        likeliest = [await draw(client, text, None) for text in texts]
    assert alone == together
    assert sum(one != other for one, other in zip(alone, others, strict=True)) > len(texts) // 2
    assert sum(one != other for one, other in zip(alone, likeliest, strict=True)) > len(texts) // 2


def test_a_model_that_draws_nothing_ignores_the_seed(shipped_server: str) -> None:
    with Client(shipped_server) as client:
        for model in ("en-de-general", "en-de-transformer"):
            assert stream(client, model, seed=3) == stream(client, model)
        with pytest.raises(InvalidRequestError):
            stream(client, "en-de-hard", seed=-1)


@pytest.mark.parametrize("model", [*RECURRENT, *TRANSFORMERS])
def test_a_source_may_have_one_token_or_the_most_but_not_more(
    shipped_server: str, manifests: Manifests, model: str
) -> None:
    longest = manifests[model].max_source_length
    with Client(shipped_server) as client:
        short = client.translate([".", "", "a"], model=model, options=SHORT)
        assert [one.num_source_tokens for one in short][1] == 1
        words = client.translate(["a " * (longest - 1)], model=model, options=SHORT)[0]
        assert words.num_source_tokens == longest
        with pytest.raises(InvalidRequestError, match=f"{longest + 1} tokens; this model takes at most {longest}"):
            client.translate(["a " * longest], model=model, options=SHORT)


def test_location_takes_no_longer_source_than_it_was_trained_on(manifests: Manifests) -> None:
    assert manifests["en-de-location"].max_source_length == 100
    assert manifests["en-de-general"].max_source_length == 256


def test_the_engine_names_no_family_and_no_attention() -> None:
    service = Path(__file__).parents[2] / "service"
    text = "".join(path.read_text() for path in (*service.glob("engine/*.py"), service / "model" / "slots.py")).lower()
    for name in ("transformer", "recurrent", "lstm", "gru", "multi-head", "local", "hard", "additive", "location"):
        assert name not in text, name
