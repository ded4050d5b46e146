"""The number of series does not grow with what clients send."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest

from service.metrics import Metrics
from service.pb import translation_pb2 as pb
from service.pb.translation_pb2_grpc import TranslationServiceStub
from tests.faults.commands import MODEL, SENTENCE
from tests.faults.watched import ask, copy_model, total, wait_until, watched_server


def hammer(channel: grpc.Channel, number: int) -> None:
    """Calls with a model, a method, a service, a request id and a user agent that nobody has named before."""
    stub = TranslationServiceStub(channel)
    stub.Translate(pb.TranslateRequest(model=MODEL, texts=[SENTENCE]))
    calls = [
        lambda: stub.Translate(pb.TranslateRequest(model=f"model-{number}", texts=["x"])),
        lambda: stub.Translate(pb.TranslateRequest(model=MODEL, version=number + 2, texts=["x"])),
        lambda: list(stub.StreamTranslate(pb.StreamTranslateRequest(model=f"model-{number}", text="x"))),
        lambda: stub.GetModel(pb.GetModelRequest(model=f"model-{number}"), metadata=(("x-request-id", f"r{number}"),)),
        lambda: channel.unary_unary(f"/stepstream.v1.TranslationService/Method{number}")(b""),
        lambda: channel.unary_unary(f"/service{number}/Translate")(b""),
    ]
    for call in calls:
        with pytest.raises(grpc.RpcError):
            call()


@pytest.mark.fault(66, 67)
def test_names_that_clients_make_up_open_no_series(tmp_path: Path) -> None:
    """Hundreds of unknown models, versions, methods, services and request ids: the same series as after the first, and
    no text among them."""
    with watched_server(copy_model(tmp_path)) as server, grpc.insecure_channel(server.address) as channel:
        hammer(channel, 0)
        wait_until(lambda: total(server.metrics(), "stepstream_streams_closed_total") >= 5)
        before = server.metrics()
        for number in range(1, 100):
            hammer(channel, number)
        wait_until(lambda: total(server.metrics(), "stepstream_streams_closed_total") >= 500)
        after = server.metrics()
        assert SENTENCE not in ask(server.port, "/metrics")[1]
    assert after.keys() == before.keys()
    assert total(after, "stepstream_requests_total", code="NOT_FOUND") >= 400


def test_a_version_that_is_unloaded_takes_its_series_with_it_and_leaves_the_others() -> None:
    """Hundreds of versions come and go: only what is loaded has series."""
    metrics = Metrics()

    def series() -> list[tuple[str, str]]:
        return [
            (sample.labels["model"], sample.labels["version"])
            for family in metrics.registry.collect()
            for sample in family.samples
            if "model" in sample.labels
        ]

    metrics.engine("stays", 1, num_slots=4).step_made(num_rows=2, seconds=0.01)
    before = series()
    for version in range(1, 300):
        metrics.engine("comes", version, num_slots=4).step_made(num_rows=2, seconds=0.01)
        metrics.engine("comes", version, num_slots=4)
        assert ("comes", str(version)) in series()
        metrics.forget("comes", version)
        metrics.forget("comes", version)
    assert series() == before
    assert set(before) == {("stays", "1")}
