"""Every command of the page of clients works as it stands, and prints what the page says."""

from __future__ import annotations

import platform

import pytest

from tests.clients.conftest import Served, require
from tests.clients.page import blocks_of

pytestmark = pytest.mark.clients


def follow(served: Served, section: str) -> None:
    blocks = blocks_of(section)
    assert any(block.printed for block in blocks)
    for block in blocks:
        output = served.run(block)
        assert block.missing_in(output) == [], output


def test_tritonclient_translates_and_streams(served: Served) -> None:
    follow(served, "tritonclient")


def test_perf_analyzer_makes_a_sweep_of_a_stream(served: Served) -> None:
    require("apt-get", "apt")
    if platform.machine() != "x86_64":
        pytest.skip("perf_analyzer is for x86-64")
    follow(served, "perf_analyzer")


def test_grpcurl_calls_both_faces(served: Served) -> None:
    follow(served, "grpcurl")


def test_buf_grpc_js_and_connect_call_from_node(served: Served) -> None:
    require("node", "nodejs")
    require("npm", "npm")
    follow(served, "Node")
