"""What the shipped Envoy does with calls that fail, with pages, and with clients that ask for too much."""

from __future__ import annotations

import http.client
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import grpc
import pytest

from hostile.envoy import Envoy, find_envoy, running_envoy
from hostile.ports import free_port
from service.pb import translation_pb2 as pb
from tests.faults.http2 import Connection
from tests.faults.load import MODEL, TEXTS
from tests.faults.replicas import running_replicas, store_of
from tests.faults.scripted_replica import PATH, Script, flood, refuse, scripted_replica

pytestmark = pytest.mark.skipif(find_envoy() is None, reason="envoy is not installed")

PUSHBACK = "grpc-retry-pushback-ms"
LIMIT_S = 60.0
REQUEST = pb.StreamTranslateRequest(model=MODEL, text=TEXTS[0]).SerializeToString()
STEERING = (
    ("x-envoy-retry-on", "unavailable,5xx"),
    ("x-envoy-retry-grpc-on", "unavailable"),
    ("x-envoy-max-retries", "3"),
)


@pytest.fixture(scope="module")
def envoy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Envoy]:
    """In front of one real replica."""
    store = store_of(tmp_path_factory.mktemp("store"), MODEL)
    with (
        running_replicas(1, store) as [replica],
        running_envoy([replica.address], tmp_path_factory.mktemp("envoy")) as running,
    ):
        running.wait_until_healthy(replica.address)
        yield running


def how_a_call_ends(address: str, metadata: tuple[tuple[str, str], ...] = ()) -> grpc.Call:
    """The error that one call ends with, of a client that does not try again."""
    with (
        grpc.insecure_channel(address, options=(("grpc.enable_retries", 0),)) as channel,
        pytest.raises(grpc.RpcError) as raised,
    ):
        list(channel.unary_stream(PATH)(b"", timeout=LIMIT_S, metadata=metadata))
    assert isinstance(raised.value, grpc.Call)
    return raised.value


@pytest.mark.fault(58, 64)
@pytest.mark.parametrize(
    "script",
    [
        refuse(grpc.StatusCode.RESOURCE_EXHAUSTED, pushback_ms=70),
        refuse(grpc.StatusCode.UNAVAILABLE, pushback_ms=70),
        refuse(grpc.StatusCode.UNAVAILABLE),
        refuse(grpc.StatusCode.INTERNAL),
        refuse(grpc.StatusCode.UNAVAILABLE, num_messages=1),
    ],
    ids=["full", "stopping", "unavailable", "internal", "begun"],
)
def test_what_a_replica_answers_is_the_clients_and_is_not_tried_again(script: Script, tmp_path: Path) -> None:
    """A status of a replica, before or after the first message, reaches the client as it is, with its time to come
    back; the proxy asks no other replica, even where the client's headers want it to."""
    with ExitStack() as stack:
        replicas = [stack.enter_context(scripted_replica(script)) for _ in range(2)]
        addresses = [replica.address for replica in replicas]
        envoy = stack.enter_context(running_envoy(addresses, tmp_path))
        envoy.wait_until_healthy(*addresses)
        direct = how_a_call_ends(replicas[0].address)
        before = replicas[0].num_calls
        through = how_a_call_ends(envoy.address, STEERING)
        assert sum(replica.num_calls for replica in replicas) == before + 1
    assert (through.code(), through.details()) == (direct.code(), direct.details())
    assert dict(through.trailing_metadata()).get(PUSHBACK) == dict(direct.trailing_metadata()).get(PUSHBACK)


@pytest.mark.fault(59)
def test_where_no_replica_is_the_proxy_says_when_to_come_back(tmp_path: Path) -> None:
    """The proxy knows no healthy replica: UNAVAILABLE with a time to come back, and not as an answer of a replica."""
    with running_envoy([f"127.0.0.1:{free_port()}"], tmp_path) as envoy:
        end = how_a_call_ends(envoy.address)
    trailing = dict(end.trailing_metadata())
    assert end.code() is grpc.StatusCode.UNAVAILABLE
    assert int(trailing[PUSHBACK]) > 0
    assert "x-request-id" not in trailing


@pytest.mark.fault(30, 31)
def test_a_client_that_does_not_read_is_felt_by_the_replica(tmp_path: Path) -> None:
    """A client takes no byte of a stream of 64 MiB: the proxy holds little of it, and the replica's messages stay with
    the replica, which can end the call."""
    with (
        scripted_replica(flood) as replica,
        running_envoy([replica.address], tmp_path) as envoy,
    ):
        envoy.wait_until_healthy(replica.address)
        with Connection(envoy.address, window=0) as client:
            client.call("StreamTranslate", b"")
            num_taken = -1
            while num_taken != (num_taken := replica.num_taken) or not num_taken:
                time.sleep(2.0)
            assert num_taken < 1024
            assert envoy.hosts()[replica.address].num_active == 1


@pytest.mark.fault(34)
def test_a_connection_has_100_streams(envoy: Envoy) -> None:
    """The public side tells every client that its connection may have 100 streams; between proxy and replica there are
    as many as the replica lets in."""
    with Connection(envoy.address) as client:
        assert client.h2.remote_settings.max_concurrent_streams == 100


def test_a_page_streams_over_grpc_web_on_the_same_port(envoy: Envoy) -> None:
    with page_asks(envoy, "POST", {"content-type": "application/grpc-web+proto"}, framed(REQUEST)) as answer:
        assert answer.status == 200
        frames = list(unframed(answer.read()))
    messages = [pb.StreamTranslateResponse.FromString(content) for flag, content in frames if not flag & 0x80]
    assert messages[-1].HasField("completion")
    assert all(message.HasField("step") for message in messages[:-1])
    (trailers,) = [content.decode().lower().replace(" ", "") for flag, content in frames if flag & 0x80]
    assert "grpc-status:0" in trailers


@pytest.mark.parametrize(("origin", "allowed"), [("http://localhost:5173", True), ("https://elsewhere.example", False)])
def test_pages_of_this_machine_alone_may_call(envoy: Envoy, origin: str, allowed: bool) -> None:
    asking = {
        "origin": origin,
        "access-control-request-method": "POST",
        "access-control-request-headers": "content-type,x-grpc-web",
    }
    with page_asks(envoy, "OPTIONS", asking) as answer:
        assert (answer.getheader("access-control-allow-origin") == origin) is allowed
    sent = {"origin": origin, "content-type": "application/grpc-web+proto"}
    with page_asks(envoy, "POST", sent, framed(REQUEST)) as answer:
        assert (answer.getheader("access-control-allow-origin") == origin) is allowed
        assert ("grpc-status" in (answer.getheader("access-control-expose-headers") or "")) is allowed


@contextmanager
def page_asks(
    envoy: Envoy, method: str, headers: dict[str, str], body: bytes = b""
) -> Iterator[http.client.HTTPResponse]:
    """Over HTTP/1.1, as a browser does."""
    with closing(http.client.HTTPConnection(envoy.address, timeout=LIMIT_S)) as connection:
        connection.request(method, PATH, body, headers)
        with connection.getresponse() as answer:
            yield answer


def framed(message: bytes) -> bytes:
    return struct.pack(">BI", 0, len(message)) + message


def unframed(body: bytes) -> Iterator[tuple[int, bytes]]:
    """Each frame's flag and content."""
    while body:
        flag, length = struct.unpack(">BI", body[:5])
        yield flag, body[5 : 5 + length]
        body = body[5 + length :]
