"""Promise 18: sizes, numbers, times and files that a peer may take are bounded."""

from __future__ import annotations

import gzip
import queue
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from h2.errors import ErrorCodes
from h2.events import DataReceived, StreamReset
from h2.settings import SettingCodes

from service.client.client import Client
from service.client.server_process import ServerProcess, server_process
from service.pb import translation_pb2 as pb
from service.pb.translation_pb2_grpc import TranslationServiceStub
from tests.balance import balance_of, read_metrics, require_balance
from tests.faults import attacks
from tests.faults.commands import MODEL, NUM_TOKENS, SENTENCE, command, long_request, short_request, until
from tests.faults.http2 import Connection, grpc_message
from tests.faults.process import cpu_seconds, num_files, resident_mib
from tests.faults.victim import Victim

OK, CANCELLED, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, UNIMPLEMENTED = "0", "1", "4", "8", "12"
LIMIT_S = 60.0


@pytest.fixture(scope="module")
def brisk_server(small_store: Path) -> Iterator[ServerProcess]:
    """Every limit of time is one second."""
    constants = ("HANDSHAKE_MS", "IDLE_MS", "PING_EVERY_MS", "PING_ANSWER_MS")
    alterations = tuple(f"service.transport:{name}=1000" for name in constants)
    with server_process(command(small_store, "--max-write-stall-s", "1", alterations=alterations)) as server:
        yield server


@pytest.mark.fault(3)
def test_fields_that_nobody_knows_are_passed_over(abused_server: ServerProcess) -> None:
    """A field of a newer protocol: the translation is the same as without it."""
    unknown = b"\xc2\x3e\x05field"  # field 1000, five bytes
    with grpc.insecure_channel(abused_server.address) as channel:
        request = pb.TranslateRequest(model=MODEL, texts=[SENTENCE])
        stub = TranslationServiceStub(channel)
        newer = pb.TranslateRequest.FromString(request.SerializeToString() + unknown)
        assert newer.SerializeToString().endswith(unknown)
        assert stub.Translate(newer, timeout=LIMIT_S) == stub.Translate(request, timeout=LIMIT_S)


@pytest.mark.fault(18)
@pytest.mark.parametrize(
    "path",
    [
        "/stepstream.v1.TranslationService/Nothing",
        "/stepstream.v2.TranslationService/Translate",
        "/t/../../etc",
        "/",
        "//",
        "/stepstream.v1.TranslationService/Translate/",
        "/stepstream.v1.TranslationService/../TranslationService/Translate",
    ],
)
def test_what_is_no_method_is_unimplemented(abused_server: ServerProcess, path: str) -> None:
    """A path that names no method: UNIMPLEMENTED."""
    with Connection(abused_server.address) as peer:
        assert peer.status(peer.call("", short_request().SerializeToString(), path=path)) == UNIMPLEMENTED


@pytest.mark.fault(19)
def test_metadata_is_taken_up_to_a_size(abused_server: ServerProcess, victim: Victim) -> None:
    """7 KB of metadata pass; 20 KB, in one field or in thousands: RESOURCE_EXHAUSTED, and the connection goes on."""
    message = short_request().SerializeToString()
    with Connection(abused_server.address) as peer:
        for headers, status in (
            ([("x-big", "y" * 7_000)], OK),
            ([("x-big", "y" * 20_000)], RESOURCE_EXHAUSTED),
            ([("x-big", "y" * 200_000)], RESOURCE_EXHAUSTED),
            ([(f"x-{number}", "y") for number in range(2_000)], RESOURCE_EXHAUSTED),
            ([("x-big", "y" * 7_000)], OK),
        ):
            assert peer.status(peer.call("StreamTranslate", message, headers)) == status


@pytest.mark.fault(6)
def test_a_message_that_is_too_long_is_refused_without_being_kept(abused_server: ServerProcess, victim: Victim) -> None:
    """Texts of 10 MB: RESOURCE_EXHAUSTED, and the memory of the server stays."""
    request = pb.TranslateRequest(model=MODEL, texts=["x" * 10 * 10**6])
    with grpc.insecure_channel(abused_server.address) as channel:
        stub = TranslationServiceStub(channel)

        def refused(number: int) -> None:
            for _ in range(number):
                with pytest.raises(grpc.RpcError) as raised:
                    stub.Translate(request, timeout=LIMIT_S)
                assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED

        refused(10)
        before_mib = resident_mib(abused_server.pid)
        refused(30)
        assert resident_mib(abused_server.pid) < before_mib + 100, "of 300 MB that were sent"


@pytest.mark.fault(20)
def test_a_message_that_grows_when_it_is_unpacked_is_refused(abused_server: ServerProcess, victim: Victim) -> None:
    """50 MB packed into 50 kB: RESOURCE_EXHAUSTED, and the memory of the server stays."""
    bomb = gzip.compress(bytes(50 * 10**6))
    with Connection(abused_server.address) as peer:

        def refused(number: int) -> None:
            for _ in range(number):
                stream_id = peer.call("Translate", None, [("grpc-encoding", "gzip")])
                content = grpc_message(bomb, compressed=True)
                for start in range(0, len(content), 2**14):
                    peer.h2.send_data(stream_id, content[start : start + 2**14])
                peer.h2.end_stream(stream_id)
                peer.flush()
                assert peer.status(stream_id) == RESOURCE_EXHAUSTED

        refused(3)
        before_mib = resident_mib(abused_server.pid)
        refused(10)
        assert resident_mib(abused_server.pid) < before_mib + 32


@pytest.mark.fault(28)
def test_who_never_says_hello_is_sent_away(brisk_server: ServerProcess) -> None:
    """Half of a preface and then nothing: the connection is closed when the time for the handshake is over."""
    assert attacks.half_preface(brisk_server.address, timeout_s=LIMIT_S) is not None


@pytest.mark.fault(29)
def test_who_asks_nothing_is_sent_away(brisk_server: ServerProcess) -> None:
    """A connection without a call: GOAWAY, and it is closed when the time to be idle is over."""
    with Connection(brisk_server.address) as peer:
        while not peer.is_closed:
            assert peer.read(LIMIT_S) or peer.is_closed, "the connection is still open"
        assert peer.farewell is not None
        assert b"idle" in (peer.farewell.additional_data or b"")


@pytest.mark.fault(30)
def test_who_reads_nothing_holds_no_row(abused_server: ServerProcess, victim: Victim) -> None:
    """A window of zero: the translation is made and its row is free for others while the stream still waits."""
    with Connection(abused_server.address, window=0) as peer:
        peer.call("StreamTranslate", long_request().SerializeToString())
        until(lambda: num_open(abused_server) >= 2)
        victim.wait_for(3)
        until(lambda: is_holding_nothing_but_open_streams(abused_server))


def num_open(server: ServerProcess) -> int:
    balance = balance_of(read_metrics(server))
    return balance.opened - balance.closed


def is_holding_nothing_but_open_streams(server: ServerProcess) -> bool:
    """Between two translations of the victim no row is taken."""
    balance = balance_of(read_metrics(server))
    return balance.slots == 0 and balance.opened > balance.closed


@pytest.mark.fault(30)
def test_who_reads_nothing_loses_the_call(brisk_server: ServerProcess) -> None:
    """A window of zero: the call is over for the server after its longest stall; who ever reads, learns
    DEADLINE_EXCEEDED."""
    with Connection(brisk_server.address, window=0) as peer:
        stream_id = peer.call("StreamTranslate", long_request().SerializeToString())
        until(lambda: num_open(brisk_server) == 1)

        def is_over() -> bool:
            peer.read(0.05)  # it lives, and answers pings
            return balance_of(read_metrics(brisk_server)).is_even

        until(is_over)
        assert 'streams_closed_total{reason="deadline_exceeded"} ' in read_metrics(brisk_server)
        peer.h2.increment_flow_control_window(2**20, stream_id)
        peer.flush()
        assert peer.status(stream_id) == DEADLINE_EXCEEDED


@pytest.fixture(scope="module")
def forgetful_server(small_store: Path) -> Iterator[ServerProcess]:
    """An answer may be unread for two seconds."""
    alterations = ("service.unread:MAX_UNREAD_S=2",)
    with server_process(command(small_store, "--max-write-stall-s", "1", alterations=alterations)) as server:
        yield server


def is_closed(peer: Connection) -> bool:
    peer.read(0.05)
    return peer.is_closed


@pytest.mark.fault(30)
@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("Translate", pb.TranslateRequest(model=MODEL, texts=[SENTENCE])),
        ("ListModels", pb.ListModelsRequest()),
        ("StreamTranslate", pb.StreamTranslateRequest(model=MODEL, text=SENTENCE)),
    ],
)
def test_who_takes_no_answer_loses_the_connection(forgetful_server: ServerProcess, method: str, message: Any) -> None:
    """A window of zero and no deadline: all is over for the server at once, and gRPC holds the answers no longer than
    they may be unread. Who has another connection notices nothing, nor does a call that is under way on this one."""
    with (
        Connection(forgetful_server.address, window=0) as peer,
        Connection(forgetful_server.address, window=0) as busy,
        Connection(forgetful_server.address) as other,
    ):
        answers = [peer.call(method, message.SerializeToString()) for _ in range(3)]
        busy_answer = busy.call(method, message.SerializeToString())
        under_way = busy.call("TranslateInteractive")
        until(lambda: is_closed(peer))
        assert [peer.status(each) for each in answers] == [None] * 3
        assert other.status(other.call(method, message.SerializeToString())) == OK
        assert not is_closed(busy)
        assert busy.status(busy_answer, timeout_s=0.1) is None
        busy.reset(under_way)
        until(lambda: is_closed(busy))
    until(lambda: balance_of(read_metrics(forgetful_server)).is_even)


@pytest.mark.fault(31)
def test_an_answer_that_is_taken_late_is_whole(forgetful_server: ServerProcess) -> None:
    """OK, within the time that it may be unread; the connection lives on."""
    with Connection(forgetful_server.address, window=0) as peer:
        stream_id = peer.call("Translate", pb.TranslateRequest(model=MODEL, texts=[SENTENCE]).SerializeToString())
        until(lambda: balance_of(read_metrics(forgetful_server)).is_even)
        time.sleep(1.0)
        peer.h2.increment_flow_control_window(2**20, stream_id)
        peer.flush()
        assert peer.status(stream_id) == OK
        time.sleep(2.5)
        assert not is_closed(peer)


@pytest.mark.fault(31)
def test_who_reads_slowly_gets_everything(brisk_server: ServerProcess) -> None:
    """A window of 100 bytes, opened again and again: every token arrives, long after the row was given back."""
    with Connection(brisk_server.address, window=100) as peer:
        stream_id = peer.call("StreamTranslate", long_request().SerializeToString())
        until(lambda: is_holding_nothing_but_open_streams(brisk_server))
        while peer.status(stream_id, timeout_s=0.01) is None:
            peer.h2.increment_flow_control_window(100, stream_id)
            peer.flush()
        assert peer.status(stream_id) == OK
        content = b"".join(bytes(each.data or b"") for each in peer.events if isinstance(each, DataReceived))
        assert num_messages(content) == NUM_TOKENS


def num_messages(content: bytes) -> int:
    """Of a stream that is complete."""
    number = place = 0
    while place < len(content):
        place += 5 + int.from_bytes(content[place + 1 : place + 5])
        number += 1
    assert place == len(content)
    return number


@pytest.mark.fault(32)
def test_a_frozen_client_is_forgotten(brisk_server: ServerProcess) -> None:
    """A client that is stopped in the middle of a call: its connection is closed once a ping is not answered."""
    code = (
        "import asyncio, sys\n"
        "from service.client.client import AsyncClient\n"
        "async def main():\n"
        f"    async with AsyncClient({brisk_server.address!r}) as client:\n"
        f"        async with client.interactive({SENTENCE!r}, model={MODEL!r}) as translation:\n"
        "            print('begun', flush=True)\n"
        "            await asyncio.sleep(1000)\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == "begun\n"
        until(lambda: num_open(brisk_server) == 1)
        client.send_signal(signal.SIGSTOP)
        require_balance(lambda: read_metrics(brisk_server), timeout_s=LIMIT_S)
        client.kill()


@pytest.mark.fault(34)
def test_streams_beyond_the_most_of_a_connection_wait_in_the_client(small_store: Path) -> None:
    """Beyond the most streams of a connection a gRPC client waits until its deadline, and the server does not know; a
    peer that goes on all the same gets REFUSED_STREAM."""
    with (
        server_process(command(small_store, "--max-concurrent-streams", "4")) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        stub = TranslationServiceStub(channel)
        held = [Held(stub) for _ in range(4)]
        with pytest.raises(grpc.RpcError) as raised:
            stub.Translate(pb.TranslateRequest(model=MODEL, texts=[SENTENCE]), timeout=2)
        assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert balance_of(read_metrics(server)).opened == 4
        held.pop().end()
        assert stub.Translate(pb.TranslateRequest(model=MODEL, texts=[SENTENCE]), timeout=LIMIT_S).translations
        for one in held:
            one.end()
        with Connection(server.address) as peer:
            peer.h2.remote_settings[SettingCodes.MAX_CONCURRENT_STREAMS] = 100
            peer.h2.remote_settings.acknowledge()
            streams = [peer.call("TranslateInteractive") for _ in range(5)]
            reset = peer.read_until(StreamReset)
            assert isinstance(reset, StreamReset)
            assert (reset.stream_id, reset.error_code) == (streams[-1], ErrorCodes.REFUSED_STREAM)


class Held:
    """An interactive call that stays open until it is ended."""

    def __init__(self, stub: TranslationServiceStub) -> None:
        self._requests: queue.SimpleQueue[pb.TranslateInteractiveRequest | None] = queue.SimpleQueue()
        self._requests.put(pb.TranslateInteractiveRequest(start=short_request()))
        self._call = stub.TranslateInteractive(iter(self._requests.get, None))
        next(self._call)

    def end(self) -> None:
        self._requests.put(None)
        list(self._call)


@pytest.mark.fault(35)
def test_a_server_without_a_free_file_waits_for_one(small_store: Path) -> None:
    """No file descriptor left: no crash, no busy loop, the connections that there are go on, and new ones are taken
    once files are free again."""
    most = 64
    with server_process(command(small_store, alterations=(f"num_files={most}",))) as server:
        with Victim(server.address) as victim:
            peers: list[Connection] = []
            try:
                peers = [Connection(server.address, acknowledge=False) for _ in range(2 * most)]
                until(lambda: num_files(server.pid) >= most - 2)
                victim.wait_for(2)
            finally:
                for peer in peers:
                    peer.close()
        peers = [Connection(server.address, acknowledge=False) for _ in range(2 * most)]
        until(lambda: num_files(server.pid) >= most - 2)
        before_s, watched_s = cpu_seconds(server.pid), 3.0
        time.sleep(watched_s)
        used_s = cpu_seconds(server.pid) - before_s
        for peer in peers:
            peer.close()
        assert used_s < watched_s / 2
        with Client(server.address, connect_timeout_s=LIMIT_S) as client:
            assert client.translate([SENTENCE], model=MODEL, timeout_s=LIMIT_S)
