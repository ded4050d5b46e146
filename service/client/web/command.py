"""`stepstream web`: its arguments."""

from __future__ import annotations

import argparse
import re
from typing import Any
from urllib.parse import urlsplit

from service.client.channel import DEFAULT_ADDRESS
from service.client.credentials import credentials_from
from service.client.flags import addresses

METRICS_PORT = 8002
DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 8080


def add_web(subparsers: argparse._SubParsersAction[Any]) -> None:
    parser = subparsers.add_parser(
        "web",
        help="serve a page on which models translate side by side",
        description="Serve a page on which models translate side by side, and relay its calls to a server. "
        "Certificates and tokens for the server come from STEPSTREAM_CLIENT_* and stay here: whoever reaches the page "
        "uses them.",
    )
    add = parser.add_argument
    add(
        "--address",
        type=addresses,
        default=DEFAULT_ADDRESS,
        metavar="HOST:PORT",
        help=f"of the server, or of several replicas with commas between (default: {DEFAULT_ADDRESS})",
    )
    add(
        "--metrics-address",
        type=addresses,
        metavar="HOST:PORT",
        help=f"where the load is read, of one or several replicas (default: port {METRICS_PORT} of each --address)",
    )
    add("--host", default=DEFAULT_HOST, help=f"address of the page (default: {DEFAULT_HOST})")
    add("--port", type=_port, default=DEFAULT_PORT, help=f"of the page; 0 for any free one (default: {DEFAULT_PORT})")
    add(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a name that browsers may call the page's server by, where a proxy gives it one (repeatable)",
    )
    add(
        "--server-url",
        type=_origin,
        metavar="URL",
        help="of a proxy that speaks gRPC-Web, such as Envoy, for the page to call (default: this relay)",
    )
    parser.set_defaults(run=_web)


def _web(arguments: argparse.Namespace) -> int:
    from service.client.web.serving import WebOptions, serve_page

    options = WebOptions(
        address=arguments.address,
        metrics_addresses=(arguments.metrics_address or _metrics_addresses(arguments.address)).split(","),
        host=arguments.host,
        port=arguments.port,
        server_url=arguments.server_url or "",
        allowed_hosts=arguments.allow_host,
    )
    serve_page(options, credentials_from())
    return 0


def _metrics_addresses(addresses: str) -> str:
    return ",".join(f"{address.rpartition(':')[0]}:{METRICS_PORT}" for address in addresses.split(","))


def _port(value: str) -> int:
    if not value.isdecimal() or int(value) > 65535:
        raise argparse.ArgumentTypeError(f"{value!r} is not a port")
    return int(value)


def _origin(value: str) -> str:
    parts = urlsplit(value)
    if (
        parts.scheme not in ("http", "https")
        or not re.fullmatch(r"[\w.\-:\[\]]+", parts.netloc)
        or parts.path.strip("/")
    ):
        raise argparse.ArgumentTypeError(f"{value!r} is not http://HOST:PORT or https://HOST:PORT")
    return f"{parts.scheme}://{parts.netloc}"
