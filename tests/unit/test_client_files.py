"""Files translated line by line against a scripted service on a real socket."""

import asyncio
import threading
from contextlib import aclosing

import grpc
import pytest

from service.client import files
from service.client.client import AsyncClient
from service.client.errors import InvalidRequestError, OverloadedError
from service.client.files import WINDOW_FACTOR, translate_file, translate_lines

LIMIT_S = 5.0


@pytest.fixture
async def client(fake_service):
    async with AsyncClient(fake_service.address) as client:
        yield client


async def wait_until(condition):
    async with asyncio.timeout(LIMIT_S):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def make_lines(lines, read=None):
    for line in lines:
        if read is not None:
            read.append(line)
        yield line


async def test_translations_are_written_in_the_order_of_the_lines_however_they_finish(client, fake_service, tmp_path):
    fake_service.holds["line 0"] = threading.Event()
    source, target = tmp_path / "in", tmp_path / "out"
    source.write_text("".join(f"line {number}\n" for number in range(40)))
    task = asyncio.create_task(translate_file(client, source, target, model="shout", concurrency=4))
    await wait_until(lambda: len(fake_service.requests) >= 10)
    fake_service.holds["line 0"].set()
    assert await task == 40
    assert target.read_text() == "".join(f"LINE {number}\n" for number in range(40))


@pytest.mark.parametrize("concurrency", [1, 5])
async def test_as_many_requests_are_in_flight_as_asked_for_and_no_more(client, fake_service, concurrency):
    fake_service.pause_s = 0.02
    lines = make_lines(f"line {number}" for number in range(60))
    async with aclosing(translate_lines(client, lines, model="shout", concurrency=concurrency)) as translations:
        assert len([line async for line in translations]) == 60
    assert fake_service.max_in_flight == concurrency


async def test_one_slow_line_holds_back_no_more_lines_than_the_window(client, fake_service):
    fake_service.holds["line 0"] = threading.Event()
    read = []
    lines = make_lines((f"line {number}" for number in range(1000)), read)
    async with aclosing(translate_lines(client, lines, model="shout", concurrency=2)) as translations:
        first = asyncio.create_task(anext(translations))
        await wait_until(lambda: len(fake_service.requests) == 2 * WINDOW_FACTOR)
        await asyncio.sleep(0.1)
        assert len(read) == len(fake_service.requests) == 2 * WINDOW_FACTOR
        fake_service.holds["line 0"].set()
        assert await first == "LINE 0"


async def test_empty_lines_stay_empty_and_cost_no_request(client, fake_service, tmp_path):
    source, target = tmp_path / "in", tmp_path / "out"
    source.write_bytes(b"\xef\xbb\xbfone\r\n\n  \t\ntwo\rhalves\nlast")
    assert await translate_file(client, source, target, model="shout", concurrency=1) == 5
    assert target.read_bytes() == b"ONE\n\n\nTWO HALVES\nLAST\n"
    assert [list(request.texts) for request in fake_service.requests] == [["one"], ["two\rhalves"], ["last"]]


async def test_an_empty_file_makes_an_empty_file(client, tmp_path):
    source, target = tmp_path / "in", tmp_path / "out"
    source.touch()
    assert await translate_file(client, source, target, model="shout") == 0
    assert target.read_bytes() == b""


async def test_a_failure_names_the_line_and_leaves_the_target_as_it_was(client, fake_service, tmp_path):
    fake_service.failures["three"] = [(grpc.StatusCode.INVALID_ARGUMENT, "the text is too long")]
    source, target = tmp_path / "in", tmp_path / "out"
    source.write_text("one\n\nthree\nfour\n")
    target.write_text("before")
    with pytest.raises(InvalidRequestError, match="line 3: the text is too long"):
        await translate_file(client, source, target, model="shout")
    assert target.read_text() == "before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]


async def test_a_failure_cancels_the_requests_of_later_lines(client, fake_service, tmp_path):
    fake_service.failures["bad"] = [(grpc.StatusCode.INVALID_ARGUMENT, "the text is too long")]
    fake_service.holds["slow"] = threading.Event()
    source = tmp_path / "in"
    source.write_text("bad\nslow\n")
    fake_service.holds["bad"] = threading.Event()
    task = asyncio.create_task(translate_file(client, source, tmp_path / "out", model="shout"))
    await wait_until(lambda: len(fake_service.requests) == 2)
    fake_service.holds["bad"].set()
    with pytest.raises(InvalidRequestError):
        await asyncio.wait_for(task, LIMIT_S)
    assert await asyncio.to_thread(fake_service.cancelled.wait, LIMIT_S)
    assert not fake_service.holds["slow"].is_set()


async def test_a_line_that_is_not_utf_8_is_named(client, tmp_path):
    source, target = tmp_path / "in", tmp_path / "out"
    source.write_bytes(b"one\ntw\xff\n")
    with pytest.raises(InvalidRequestError, match="line 2 is not UTF-8"):
        await translate_file(client, source, target, model="shout")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


async def test_cancelling_removes_the_temporary_file_and_cancels_the_requests(client, fake_service, tmp_path):
    fake_service.holds["one"] = threading.Event()
    source, target = tmp_path / "in", tmp_path / "out"
    source.write_text("one\ntwo\n")
    task = asyncio.create_task(translate_file(client, source, target, model="shout"))
    await wait_until(lambda: len(fake_service.requests) == 2)
    assert len(list(tmp_path.iterdir())) == 2
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
    assert await asyncio.to_thread(fake_service.cancelled.wait, LIMIT_S)


async def test_a_line_that_finds_the_queue_full_is_sent_again(client, fake_service, monkeypatch):
    monkeypatch.setattr(files, "RETRY_PAUSES_S", (0.01, 0.01))
    fake_service.failures["two"] = [(grpc.StatusCode.RESOURCE_EXHAUSTED, "the queue is full")] * 2
    translations = [line async for line in translate_lines(client, make_lines(["one", "two"]), model="shout")]
    assert translations == ["ONE", "TWO"]
    fake_service.failures["two"] = [(grpc.StatusCode.RESOURCE_EXHAUSTED, "the queue is full")] * 3
    with pytest.raises(OverloadedError):
        [line async for line in translate_lines(client, make_lines(["two"]), model="shout")]


async def test_every_byte_of_the_source_is_reported_as_lines_are_written(client, tmp_path):
    source, target = tmp_path / "in", tmp_path / "out"
    source.write_text("one\n\nlänger\n")
    sizes = []
    await translate_file(client, source, target, model="shout", on_line=sizes.append)
    assert sizes == [4, 1, 8]
