"""A stream that is cut off goes on, on another server, as if it had never been."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator

import grpc
import pytest

from service.pb import translation_pb2 as pb
from service.pb.translation_pb2_grpc import TranslationServiceStub
from tests.faults.replicas import running_replicas, store_of

MODELS = ("en-de-transformer", "en-de-general", "en-de-hard", "en-de-local-p", "en-de-none", "en-ko-transformer")
SENTENCES = (
    "A man in an orange hat staring at something.",
    "Two young, white males are outside near many bushes — 한국어 ✓ naïve.",
)
TEXTS = {"en-ko-transformer": ("Could not open %s: %d files are missing.", "Save the document as {name}?")}
OPTIONS = {
    "greedy": pb.DecodingOptions(),
    "candidates": pb.DecodingOptions(num_candidates=3),
    "seed": pb.DecodingOptions(seed=5),
    "sampling": pb.DecodingOptions(sampling=pb.Sampling(), seed=7),
    "sampling, top_k 50": pb.DecodingOptions(sampling=pb.Sampling(top_k=50, temperature=1.5), seed=8),
    "sampling, top_p and rules": pb.DecodingOptions(
        sampling=pb.Sampling(top_p=0.9, min_p=0.01), seed=9, no_repeat_ngram_size=1, min_length=12
    ),
    "repetition penalty": pb.DecodingOptions(repetition_penalty=1.7, length_penalty=0.7),
    "min_length": pb.DecodingOptions(min_length=30, no_repeat_ngram_size=2),
    "max_length": pb.DecodingOptions(max_length=6, disable_unknown=True),
    "prefix": pb.DecodingOptions(target_prefix="Ein alter", num_candidates=2, length_penalty=0.3),
    "coverage": pb.DecodingOptions(coverage_penalty=0.2),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_replicas(1, store_of(tmp_path_factory.mktemp("store"), *MODELS)) as (replica,):
        yield replica.address


async def read(stub: TranslationServiceStub, request: pb.StreamTranslateRequest) -> list[pb.StreamTranslateResponse]:
    """The messages of a stream without its timings, which no two runs share."""
    messages = [message async for message in stub.StreamTranslate(request, timeout=120)]
    messages[-1].completion.ClearField("timings")
    return messages


def resumed(request: pb.StreamTranslateRequest, held: list[pb.StreamTranslateResponse]) -> pb.StreamTranslateRequest:
    again = pb.StreamTranslateRequest()
    again.CopyFrom(request)
    again.version = held[0].version
    for message in held:
        again.resume.token_ids.append(message.step.token_id)
        again.resume.log_probabilities.append(message.step.log_probability)
    return again


@pytest.mark.fault(58)
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", OPTIONS)
async def test_a_stream_cut_off_after_any_token_goes_on_to_the_same_bytes(server: str, model: str, name: str) -> None:
    """A stream cut off after any of its tokens: every message that follows, the completion's sums and scores too, is
    byte for byte the unbroken one's."""
    options = OPTIONS[name]
    has_attention = model != "en-de-none"
    if options.coverage_penalty and not has_attention:
        options = pb.DecodingOptions(repetition_penalty=0.8)
    async with grpc.aio.insecure_channel(server) as channel:
        stub = TranslationServiceStub(channel)
        for text in TEXTS.get(model, SENTENCES):
            request = pb.StreamTranslateRequest(
                model=model, text=text, options=options, include_attention=has_attention
            )
            whole = await read(stub, request)
            assert whole[0].version == 1
            assert not any(message.version for message in whole[1:])
            cuts = range(1, len(whole))
            rests = await asyncio.gather(*(read(stub, resumed(request, whole[:cut])) for cut in cuts))
            for cut, rest in zip(cuts, rests, strict=True):
                wanted = pb.StreamTranslateResponse(version=whole[0].version)
                if has_attention:
                    wanted.source.CopyFrom(whole[0].source)
                wanted.MergeFrom(whole[cut])
                assert [one.SerializeToString(deterministic=True) for one in rest] == [
                    one.SerializeToString(deterministic=True) for one in (wanted, *whole[cut + 1 :])
                ], f"cut after {cut} of {len(whole)} tokens of {text!r}"


@pytest.mark.fault(8, 9)
@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"options": pb.DecodingOptions(beam_size=4)}, "repeated from its beginning"),
        ({"options": pb.DecodingOptions(sampling=pb.Sampling(), num_hypotheses=2, seed=1)}, "one hypothesis"),
        ({"options": pb.DecodingOptions(sampling=pb.Sampling())}, "needs the seed"),
        ({"options": pb.DecodingOptions(max_length=2)}, "fewer than 2"),
        ({"options": pb.DecodingOptions(target_prefix="Eine Frau")}, "does not begin with the target's prefix"),
        ({"version": 0}, "needs the version"),
        ({"resume": pb.Resumption(token_ids=[9, 8], log_probabilities=[-1])}, "one log-probability for each token"),
        ({"resume": pb.Resumption(token_ids=[9, -1], log_probabilities=[-1, -1])}, "no target goes on after"),
        ({"resume": pb.Resumption(token_ids=[9, 10**6], log_probabilities=[-1, -1])}, "no target goes on after"),
        ({"resume": pb.Resumption(token_ids=[9], log_probabilities=[math.nan])}, "no step"),
        ({"resume": pb.Resumption(token_ids=[9], log_probabilities=[-math.inf])}, "no step"),
        ({"resume": pb.Resumption(token_ids=[9], log_probabilities=[0.5])}, "no step"),
        ({"resume": pb.Resumption(token_ids=[9], log_probabilities=[-3e38])}, "no step"),
    ],
)
async def test_what_no_stream_can_have_left_is_refused(server: str, changes: dict[str, object], problem: str) -> None:
    """Tokens that no stream of this request can have brought are INVALID_ARGUMENT, with the reason."""
    held = pb.Resumption(token_ids=[9, 8], log_probabilities=[-0.5, -0.25])
    fields = {"model": "en-de-transformer", "version": 1, "text": SENTENCES[0], "resume": held, **changes}
    async with grpc.aio.insecure_channel(server) as channel:
        with pytest.raises(grpc.aio.AioRpcError, match=problem) as raised:
            await read(TranslationServiceStub(channel), pb.StreamTranslateRequest(**fields))
    assert raised.value.code() == grpc.StatusCode.INVALID_ARGUMENT
