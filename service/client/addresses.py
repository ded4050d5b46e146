"""Where a client's servers are: one address, of a server or a proxy, those of several replicas, or a name for them."""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from dataclasses import dataclass

from service.client.errors import InvalidRequestError, ServerUnreachableError
from service.pb import translation_pb2 as pb

SERVICE = pb.DESCRIPTOR.services_by_name["TranslationService"].full_name
RECONNECT_MS = 1_000
"""After a replica is back it takes at most so long, and a fifth more, until it gets calls again."""
LOOK_UP_MS = 5_000
"""A name is looked up again where a connection is lost or has grown old, but not sooner after the last time."""
FAMILIES = ((socket.AF_INET, "ipv4"), (socket.AF_INET6, "ipv6"))


@dataclass(frozen=True)
class Target:
    """What a channel is made for: gRPC's name of it, the channel options that belong to it, and how errors call it."""

    name: str
    options: tuple[tuple[str, str | int], ...]
    shown: str


def target_of(addresses: str | Sequence[str]) -> Target:
    """The target for HOST:PORT, for several of them as a list or with commas between, or for dns:///HOST:PORT, all
    addresses that a name has.

    The calls to several replicas go to one after the other (gRPC's round_robin), only to those that are connected and
    whose health service says SERVING. The names in a list are looked up here, once; that of dns:/// is looked up again
    while the channel lives. Raises InvalidRequestError for no address or one without a port, ServerUnreachableError for
    a name in a list that nobody knows.
    """
    parts = addresses.split(",") if isinstance(addresses, str) else [*addresses]
    parts = [part.strip() for part in parts]
    if len(parts) == 1 and parts[0].startswith("dns:"):
        again = ("grpc.dns_min_time_between_resolutions_ms", LOOK_UP_MS)
        return Target(parts[0], (*_balanced(), again), parts[0])
    if len(parts) == 1 and parts[0]:
        return Target(parts[0], (), parts[0])
    hosts = [_host_and_port(part) for part in parts or [""]]
    authority = ("grpc.default_authority", hosts[0][0].strip("[]"))
    return Target(_resolved(hosts), (*_balanced(), authority), ",".join(parts))


def _balanced() -> tuple[tuple[str, str | int], ...]:
    """The options of a channel to several replicas."""
    config = {"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": SERVICE}}
    return ("grpc.service_config", json.dumps(config)), ("grpc.max_reconnect_backoff_ms", RECONNECT_MS)


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise InvalidRequestError(f"{address!r} is not HOST:PORT")
    return host, int(port)


def _resolved(hosts: Sequence[tuple[str, int]]) -> str:
    """The target with the addresses of all hosts, in the first family that every host has one in."""
    for family, scheme in FAMILIES:
        found = [_look_up(host.strip("[]"), port, family) for host, port in hosts]
        if all(found):
            places = dict.fromkeys(place for several in found for place in several)
            return f"{scheme}:{','.join(places)}"
    unknown = next(
        (host for host, port in hosts if not any(_look_up(host.strip("[]"), port, f) for f, _ in FAMILIES)), ""
    )
    if unknown:
        raise ServerUnreachableError(f"no address is known for {unknown}")
    raise InvalidRequestError("the addresses are of IPv4 and of IPv6; all must have one of the same")


def _look_up(host: str, port: int, family: socket.AddressFamily) -> list[str]:
    try:
        found = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)
    except OSError:
        return []
    return [f"[{place[0]}]:{port}" if family == socket.AF_INET6 else f"{place[0]}:{port}" for *_, place in found]
