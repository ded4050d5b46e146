"""What a browser does to the rows of a real engine, through the page's relay."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from service.client.credentials import Credentials
from service.client.web.frames import message_frame
from service.client.web.relay import CONTENT_TYPE
from service.client.web.serving import PageServer, WebOptions
from service.pb import translation_pb2 as pb
from tests.reference.paced_server import MODEL, PacedServer, paced_server

PATH = "/stepstream.v1.TranslationService/StreamTranslate"
MAX_STEPS_AFTER = 3
"""One is under way when the browser goes; the news takes another one or two."""


@pytest.mark.parametrize("num_messages", [0, 2])
async def test_the_row_is_free_at_once_when_the_browser_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_messages: int
) -> None:
    async with paced_server(tmp_path, monkeypatch) as server, relayed(server.address) as port:
        server.step_s = 0.25
        request = pb.StreamTranslateRequest(
            model=MODEL, text="Two dogs play.", options=pb.DecodingOptions(max_length=100, min_length=99)
        )
        body = message_frame(request.SerializeToString())
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        lines = [f"POST {PATH} HTTP/1.1", f"host: 127.0.0.1:{port}", f"content-type: {CONTENT_TYPE}"]
        writer.write("\r\n".join([*lines, f"content-length: {len(body)}", "", ""]).encode() + body)
        await server.until(lambda: server.admission._num_rows == 1)
        await reader.readuntil(b"\r\n\r\n")
        for _ in range(num_messages):
            await read_chunk(reader)
        num_steps = steps(server)
        writer.transport.abort()
        await server.until_idle()
        assert steps(server) - num_steps <= MAX_STEPS_AFTER


@asynccontextmanager
async def relayed(address: str) -> AsyncIterator[int]:
    """The port of a page's server on this event loop."""
    page = PageServer(WebOptions(address, (), "127.0.0.1", 0), Credentials())
    serving = asyncio.create_task(page.serve())
    try:
        yield page.port
    finally:
        page.stop()
        await serving


async def read_chunk(reader: asyncio.StreamReader) -> bytes:
    length = int(await reader.readline(), 16)
    return (await reader.readexactly(length + 2))[:-2]


def steps(server: PacedServer) -> int:
    """That the engine has made."""
    labels = {"model": MODEL, "version": "1"}
    return int(server.server._telemetry.metrics.registry.get_sample_value("stepstream_step_rows_count", labels) or 0)
