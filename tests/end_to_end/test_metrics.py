"""What a real server counts, against what its clients saw."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import grpc
import pytest

from service.pb import translation_pb2 as pb
from service.pb.translation_pb2_grpc import TranslationServiceStub
from tests.faults.commands import MODEL, SENTENCE
from tests.faults.watched import Series, WatchedServer, copy_model, total, wait_until, watched_server

NUM_RUNNING = 100
NUM_SOURCE_TOKENS = 16
OF_MODEL = {"model": MODEL, "version": "1"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[WatchedServer]:
    with watched_server(copy_model(tmp_path), "--max-slots", "2", "--num-workers", "1") as server:
        yield server


@pytest.fixture
def stub(server: WatchedServer) -> Iterator[TranslationServiceStub]:
    with grpc.insecure_channel(server.address) as channel:
        yield TranslationServiceStub(channel)


def long_request(num_tokens: int = 100) -> pb.StreamTranslateRequest:
    options = pb.DecodingOptions(min_length=num_tokens - 1, max_length=num_tokens)
    return pb.StreamTranslateRequest(model=MODEL, text=SENTENCE, options=options)


def closed(metrics: Mapping[Series, float]) -> dict[str, float]:
    return {
        dict(labels)["reason"]: value
        for (name, labels), value in metrics.items()
        if name == "stepstream_streams_closed_total"
    }


def is_idle(metrics: Mapping[Series, float]) -> bool:
    """Whatever was opened is closed, no sequence has a slot or the promise of one, and no request waits."""
    return (
        total(metrics, "stepstream_streams_opened_total") == total(metrics, "stepstream_streams_closed_total")
        and total(metrics, "stepstream_slots_in_use") == total(metrics, "stepstream_queue_depth") == 0
        and total(metrics, "stepstream_queue_tokens") == total(metrics, "stepstream_slots_promised") == 0
    )


def is_full(metrics: Mapping[Series, float]) -> bool:
    """All slots are in use, and requests wait with all of their tokens."""
    num_waiting = total(metrics, "stepstream_queue_depth", **OF_MODEL)
    return (
        total(metrics, "stepstream_slots", **OF_MODEL) == total(metrics, "stepstream_slots_in_use", **OF_MODEL) == 2
        and num_waiting > 0
        and total(metrics, "stepstream_slots_promised", **OF_MODEL) == 2 + num_waiting
        and total(metrics, "stepstream_queue_tokens", **OF_MODEL) == num_waiting * NUM_SOURCE_TOKENS
    )


def test_every_way_that_a_call_ends_is_counted_once_and_leaves_nothing_behind(
    server: WatchedServer, stub: TranslationServiceStub
) -> None:
    *_, last = stub.StreamTranslate(long_request(10))
    assert (last.completion.num_target_tokens, last.completion.num_source_tokens) == (10, NUM_SOURCE_TOKENS)
    stub.Translate(pb.TranslateRequest(model=MODEL, texts=[SENTENCE] * 3))
    with pytest.raises(grpc.RpcError):
        stub.Translate(pb.TranslateRequest(model="unknown", texts=["x"]))
    with pytest.raises(grpc.RpcError):
        stub.Translate(pb.TranslateRequest(model=MODEL))
    running = [stub.StreamTranslate(long_request()) for _ in range(NUM_RUNNING)]
    wait_until(lambda: is_full(server.metrics()))
    for call in running:
        call.cancel()
    with suppress(grpc.RpcError):
        list(stub.StreamTranslate(long_request(), timeout=0.001))
    wait_until(lambda: is_idle(server.metrics()))
    by_reason = closed(server.metrics())
    assert (by_reason["not_found"], by_reason["invalid_argument"]) == (1, 1)
    assert by_reason["ok"] >= 2
    assert by_reason["cancelled"] >= 1
    assert sum(by_reason.values()) <= 5 + NUM_RUNNING


def test_tokens_steps_and_the_gaps_between_tokens_are_those_of_the_streams(
    server: WatchedServer, stub: TranslationServiceStub
) -> None:
    completions = []
    for num_tokens in (20, 30):
        *_, last = stub.StreamTranslate(long_request(num_tokens))
        completions.append(last.completion)
    wait_until(lambda: closed(server.metrics()).get("ok") == 2)
    metrics = server.metrics()
    assert total(metrics, "stepstream_target_tokens_total", **OF_MODEL) == 50
    num_source_tokens = sum(completion.num_source_tokens for completion in completions)
    assert total(metrics, "stepstream_source_tokens_total", **OF_MODEL) == num_source_tokens
    assert total(metrics, "stepstream_step_rows_sum", **OF_MODEL) == 50
    assert total(metrics, "stepstream_step_duration_seconds_count", **OF_MODEL) == 50
    assert total(metrics, "stepstream_encode_duration_seconds_count", **OF_MODEL) == 2
    assert total(metrics, "stepstream_time_between_tokens_seconds_count", **OF_MODEL) == 19 + 29
    assert total(metrics, "stepstream_time_to_first_token_seconds_count", **OF_MODEL) == 2
    assert total(metrics, "stepstream_queue_duration_seconds_count", **OF_MODEL) == 2
    first_s = sum(completion.timings.first_token_ms for completion in completions) / 1000
    counted_s = total(metrics, "stepstream_time_to_first_token_seconds_sum", **OF_MODEL)
    assert first_s <= counted_s < first_s + 10
    gaps_s = total(metrics, "stepstream_time_between_tokens_seconds_sum", **OF_MODEL)
    last_s = sum(completion.timings.total_ms for completion in completions) / 1000
    assert gaps_s == pytest.approx(last_s - first_s, rel=0.5)


def test_the_process_the_build_and_the_loads_are_told(server: WatchedServer, stub: TranslationServiceStub) -> None:
    metrics = server.metrics()
    ((_, build),) = [series for series in metrics if series[0] == "stepstream_build_info"]
    assert dict(build).keys() == {"version", "onnxruntime", "grpcio", "python"}
    assert all(dict(build).values())
    assert total(metrics, "stepstream_model_loads_total", outcome="loaded") == 1
    assert total(metrics, "stepstream_model_loads_total", outcome="file") == 0
    assert total(metrics, "process_resident_memory_bytes") > 2**20
    assert total(metrics, "process_open_fds") > 3


def test_names_are_those_of_the_field_with_units_and_prefix(server: WatchedServer) -> None:
    """Base units, one prefix, and labels out of a fixed set."""
    others = ("process_", "python_")
    known = {"method", "code", "reason", "model", "version", "outcome", "le", "onnxruntime", "grpcio", "python"}
    for name, labels in server.metrics():
        if not name.startswith(others):
            assert name.startswith("stepstream_")
            assert not name.endswith(("_ms", "_milliseconds", "_kb"))
            assert {key for key, _ in labels} <= known
