"""A server on a CUDA device translates as one on the CPU does."""

from __future__ import annotations

from pathlib import Path

import onnxruntime
import pytest

from service.client.client import Client
from service.client.options import DecodingOptions
from service.client.server_process import SERVE_COMMAND, running_server
from service.client.types import StepEvent

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(
        "CUDAExecutionProvider" not in onnxruntime.get_available_providers(),
        reason="this onnxruntime has no CUDAExecutionProvider",
    ),
]
MODELS = ("en-de-transformer", "en-de-general", "en-de-hard", "en-de-local-p")


def stream(client: Client, model: str, text: str, options: DecodingOptions) -> tuple[list[int], list[float], str]:
    """Token ids, log-probabilities, and the whole text."""
    *events, done = client.stream(text, model=model, options=options)
    steps = [event for event in events if isinstance(event, StepEvent)]
    return [step.token_id for step in steps], [step.log_probability for step in steps], done.text


def test_a_stream_is_the_same(fp32_store: Path, fp32_server: str, sentences: list[str]) -> None:
    command = (*SERVE_COMMAND, "--model-store", str(fp32_store), "--execution-providers", "cuda,cpu")
    with running_server(command) as address, Client(address) as cuda, Client(fp32_server) as cpu:
        for model in MODELS:
            for options in (DecodingOptions(), DecodingOptions(beam_size=4)):
                for text in sentences[:10]:
                    token_ids, log_probabilities, whole = stream(cuda, model, text, options)
                    expected_ids, expected, expected_whole = stream(cpu, model, text, options)
                    assert (token_ids, whole) == (expected_ids, expected_whole)
                    assert log_probabilities == pytest.approx(expected, abs=1e-3)
