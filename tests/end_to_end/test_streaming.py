"""Messages leave when their step is made: a slow model behind a real socket."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import grpc
import numpy as np
import pytest
import sentencepiece

from service.admission.admission import Admission
from service.calls import Calls
from service.engine.engine import Engine
from service.engine.pool import EnginePool
from service.engine.runner import Runner
from service.engine.scheduler import Limits
from service.interceptors import StatusInterceptor
from service.metrics import Metrics
from service.model.candidates import Candidates
from service.model.manifest import Manifest
from service.model.slots import Encoded
from service.model.text import Texts
from service.model.vocabulary import Vocabulary
from service.pb import translation_pb2 as pb
from service.pb.translation_pb2_grpc import TranslationServiceStub, add_TranslationServiceServicer_to_server
from service.registry import LoadedModel, Registry
from service.security.access import Access
from service.servicer import TranslationServicer
from service.settings import Settings
from service.translator import Translator
from service.unread import UnreadAnswers
from service.validation import Limits as RequestLimits

STEP_S = 0.15


class SlowRows:
    """Copies each source, one token in STEP_S seconds."""

    target_size = 20

    def __init__(self) -> None:
        self.sources: list[list[int]] = []
        self.made_at: list[float] = []

    @property
    def num_rows(self) -> int:
        return len(self.sources)

    def encode(self, sources: Sequence[Sequence[int]]) -> Encoded:
        width = max(map(len, sources))
        ids = np.array([[*source, *[0] * (width - len(source))] for source in sources], np.float32)
        return Encoded(np.array([len(source) for source in sources]), width, {"source": ids})

    def join(self, encoded: Encoded, seeds: Sequence[int | None]) -> None:
        for length, ids in zip(encoded.lengths, encoded.states["source"], strict=True):
            self.sources.append(ids[:length].astype(int).tolist())

    def leave(self, row: int) -> int:
        last = len(self.sources) - 1
        self.sources[row] = self.sources[last]
        self.sources.pop()
        return last

    def step(self) -> Candidates:
        time.sleep(STEP_S)
        self.made_at.append(time.monotonic())
        ids = np.array([[source.pop(0)] for source in self.sources], np.int64)
        logits = np.zeros((len(ids), 20), np.float32)
        return Candidates(ids, np.full(ids.shape, -0.25, np.float32), logits, np.ones((len(ids), 64), np.float32))

    def copy(self, sources: Sequence[int], targets: Sequence[int]) -> None:
        assert not sources

    def fork(self, rows: Sequence[int]) -> None:
        assert not rows

    def choose(self, token_ids: Sequence[int]) -> None:
        assert len(token_ids) == len(self.sources)


@pytest.fixture
def vocabulary(tmp_path: Path) -> Vocabulary:
    path = tmp_path / "tiny.model"
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["one two three four five six"] * 20),
        model_prefix=str(path.with_suffix("")),
        vocab_size=20,
        model_type="char",
        pad_id=0,
        unk_id=1,
        bos_id=2,
        eos_id=3,
        minloglevel=2,
    )
    return Vocabulary(path, sentencepiece.SentencePieceProcessor(model_file=str(path)).get_piece_size())


@pytest.fixture
def rows() -> SlowRows:
    return SlowRows()


@pytest.fixture
async def slow_server(rows: SlowRows, vocabulary: Vocabulary) -> AsyncIterator[str]:
    record = {"sha256": "0" * 64, "size": 1}
    manifest = Manifest.model_validate(
        {
            "format": 1,
            "name": "slow",
            "version": 1,
            "family": "transformer",
            "attention": "made up",
            "precision": "fp32",
            "source_language": "en",
            "target_language": "de",
            "max_source_length": 64,
            "max_target_length": 64,
            "length_multiple": 16,
            "num_candidates": 1,
            "vocabulary": {
                "source": "v",
                "target": "v",
                "source_size": 20,
                "target_size": 20,
                "begin_id": 2,
                "end_id": 3,
            },
            "encoder": "e",
            "decoder_step": "d",
            "certificate": "c",
            "states": (),
            "files": dict.fromkeys("vedc", record),
        }
    )
    metrics = Metrics()
    limits = Limits(max_slots=8, max_encode_tokens=512, length_multiple=16)
    engine = Engine(
        "slow", Runner(rows, end_id=3), limits, metrics.engine("slow", 1, num_slots=8), on_failure=lambda _: None
    )
    pool = EnginePool([engine])
    pool.start()
    registry = Registry()
    translator = Translator(manifest, Texts(manifest, vocabulary, vocabulary), pool, max_text_bytes=100, max_slots=8)
    admission = Admission(Settings().admission_limits, [engine.row_limit])
    registry.add(LoadedModel(manifest, "{}", "none", pool, translator, admission))
    request_limits = RequestLimits(max_texts=8, max_text_bytes=100)
    calls = Calls([metrics, registry])
    interceptor = StatusInterceptor(calls, limits=request_limits, access=Access(), unread=UnreadAnswers(calls.has))
    server = grpc.aio.server(interceptors=(interceptor,))
    add_TranslationServiceServicer_to_server(TranslationServicer(registry, max_running=8), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(0)
    await pool.stop()


async def arrivals(address: str, text: str) -> list[float]:
    async with grpc.aio.insecure_channel(address) as channel:
        call = TranslationServiceStub(channel).StreamTranslate(pb.StreamTranslateRequest(model="slow", text=text))
        return [time.monotonic() async for _ in call]


async def test_each_message_arrives_before_the_next_step_is_made(slow_server: str, rows: SlowRows) -> None:
    arrived = await arrivals(slow_server, "one two")
    assert len(arrived) == len(rows.made_at) > 5
    for received_at, next_made_at in zip(arrived, rows.made_at[1:], strict=False):
        assert received_at < next_made_at


async def test_a_stream_that_joins_late_gets_its_first_token_while_the_other_runs(
    slow_server: str, rows: SlowRows
) -> None:
    first = asyncio.create_task(arrivals(slow_server, "one two three"))
    await asyncio.sleep(2.5 * STEP_S)
    late = await arrivals(slow_server, "six")
    early = await first
    assert late[0] < early[-1]
    assert len(rows.made_at) < len(early) + len(late)


async def test_a_client_that_goes_away_frees_its_slot(slow_server: str, rows: SlowRows) -> None:
    async with grpc.aio.insecure_channel(slow_server) as channel:
        call = TranslationServiceStub(channel).StreamTranslate(
            pb.StreamTranslateRequest(model="slow", text="one two three four five six")
        )
        await call.read()
        call.cancel()
    made = len(rows.made_at)
    await asyncio.sleep(4 * STEP_S)
    assert rows.num_rows == 0
    assert len(rows.made_at) <= made + 2


async def test_a_deadline_in_the_middle_of_a_stream_frees_its_slot(slow_server: str, rows: SlowRows) -> None:
    async with grpc.aio.insecure_channel(slow_server) as channel:
        request = pb.StreamTranslateRequest(model="slow", text="one two three four five six")
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            async for _ in TranslationServiceStub(channel).StreamTranslate(request, timeout=3 * STEP_S):
                pass
    assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await asyncio.sleep(3 * STEP_S)
    assert rows.num_rows == 0
