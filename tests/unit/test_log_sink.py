"""The sink of the log: lines are written in order, a reader that stalls costs lines and no time."""

from __future__ import annotations

import os
import threading
from contextlib import suppress

from service.observability.log_sink import LogSink

LINE = "x" * 99 + "\n"


def read_all(descriptor: int) -> bytes:
    data = b""
    while part := os.read(descriptor, 65536):
        data += part
    return data


def test_lines_of_many_threads_are_written_whole() -> None:
    reader, writer = os.pipe()
    sink = LogSink(writer)

    def log(thread: int) -> None:
        for number in range(200):
            sink.write(f"{thread} {number} " + "y" * 200 + "\n")

    threads = [threading.Thread(target=log, args=(number,)) for number in range(8)]
    received: list[bytes] = []
    reading = threading.Thread(target=lambda: received.append(read_all(reader)))
    for thread in (*threads, reading):
        thread.start()
    for thread in threads:
        thread.join()
    assert sink.close(timeout_s=30)
    os.close(writer)
    reading.join()
    os.close(reader)
    lines = received[0].decode().splitlines()
    assert len(lines) == 1600
    for thread_number in range(8):
        own = [line.split()[1] for line in lines if line.startswith(f"{thread_number} ")]
        assert own == [str(number) for number in range(200)]
    assert sink.num_dropped == 0


def fill(writer: int) -> int:
    """How many bytes a pipe takes that nobody reads."""
    num_bytes = 0
    os.set_blocking(writer, False)
    with suppress(BlockingIOError):
        while True:
            num_bytes += os.write(writer, b"f" * 4096)
    os.set_blocking(writer, True)
    return num_bytes


def test_a_reader_that_stalls_costs_the_lines_that_the_queue_cannot_hold_and_gets_the_others_later() -> None:
    reader, writer = os.pipe()
    num_filled = fill(writer)
    sink = LogSink(writer, max_lines=50)
    for _ in range(5000):
        sink.write(LINE)
    assert not sink.close(timeout_s=0.2)
    num_kept = 5000 - sink.num_dropped
    assert num_kept in (50, 51)
    received = b""
    while len(received) < num_filled + num_kept * len(LINE):
        received += os.read(reader, 65536)
    assert received[num_filled:] == LINE.encode() * num_kept
    assert sink.close(timeout_s=30)
    os.close(writer)
    os.close(reader)


def test_lines_that_cannot_be_written_are_counted() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    sink = LogSink(full)
    for _ in range(10):
        sink.write(LINE)
    assert sink.close(timeout_s=30)
    os.close(full)
    assert sink.num_dropped == 10


def test_letters_that_are_no_unicode_are_written_as_escapes() -> None:
    reader, writer = os.pipe()
    sink = LogSink(writer)
    sink.write("\udcff\n")
    assert sink.close(timeout_s=30)
    os.close(writer)
    assert read_all(reader) == b"\\udcff\n"
    os.close(reader)
