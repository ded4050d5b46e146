"""Locust, fetched into .venv/locust by the commands of the page of load tests, puts load on a server."""

from __future__ import annotations

import json

import pytest

from tests.clients.conftest import Served
from tests.clients.page import LOAD_TESTING, Block, blocks_of

pytestmark = pytest.mark.clients

LEAST_TOKENS = 5
"""Of the shortest translation of the file's sentences."""


def test_the_locust_file_streams_from_a_server(served: Served) -> None:
    fetch, load = blocks_of("Locust", LOAD_TESTING)
    served.run(fetch)
    printed = served.run(Block(f"{load.commands.rstrip()} --json 2>/dev/null", ()))
    lines = {line["name"]: line for line in json.loads(printed)}
    assert lines.keys() == {"first token", "whole"}
    assert lines["whole"]["num_failures"] == 0
    assert lines["first token"]["num_requests"] >= lines["whole"]["num_requests"] > 0
    assert lines["whole"]["total_content_length"] >= LEAST_TOKENS * lines["whole"]["num_requests"]
