"""`stepstream manage`: the versions that a server serves, over its admin port."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from typing import Any

import grpc
from rich.console import Console
from rich.table import Table
from rich.text import Text

from service.client.channel import CONNECT_TIMEOUT_S, channel_options
from service.client.errors import named_errors
from service.client.flags import natural, positive
from service.client.terminal import make_console, show_line
from service.pb import management_pb2 as pb
from service.pb.management_pb2_grpc import ModelManagementServiceStub

DEFAULT_ADDRESS = "127.0.0.1:8003"
LOAD_TIMEOUT_S = 600.0
TIMEOUT_S = 10.0
Command = Callable[[Console, ModelManagementServiceStub, argparse.Namespace], None]


def add_manage(subparsers: argparse._SubParsersAction[Any]) -> None:
    parser = subparsers.add_parser("manage", help="list, load, unload and label the versions that a server serves")
    commands = parser.add_subparsers(required=True, metavar="ACTION")
    listing = _add(commands, "list", _list, "every version that the server has tried to serve")
    listing.add_argument("model", nargs="?", default="", metavar="NAME", help="of this model alone")
    load = _add(commands, "load", _load, "try a version out and serve it")
    load.add_argument("model", metavar="NAME")
    load.add_argument("--version", type=positive, default=0, metavar="N", help="default: the newest in the store")
    unload = _add(commands, "unload", _unload, "serve a version no longer; what runs ends with it")
    unload.add_argument("model", metavar="NAME")
    unload.add_argument("--version", type=positive, required=True, metavar="N")
    label = _add(commands, "label", _label, "give a label to a version that serves")
    label.add_argument("model", metavar="NAME")
    label.add_argument("label", metavar="LABEL", help="such as stable or canary")
    label.add_argument("--version", type=natural, required=True, metavar="N", help="0: none has it any more")


def _add(
    commands: argparse._SubParsersAction[Any], name: str, command: Command, help_text: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=help_text)
    parser.add_argument(
        "--address",
        type=_address,
        default=DEFAULT_ADDRESS,
        metavar="HOST:PORT",
        help=f"the server's admin port (default: {DEFAULT_ADDRESS})",
    )
    parser.set_defaults(run=lambda arguments: _run(command, arguments))
    return parser


def _run(command: Command, arguments: argparse.Namespace) -> int:
    with (
        named_errors(arguments.address),
        grpc.insecure_channel(arguments.address, options=channel_options(CONNECT_TIMEOUT_S)) as channel,
    ):
        command(make_console(), ModelManagementServiceStub(channel), arguments)
    return 0


def _list(console: Console, server: ModelManagementServiceStub, arguments: argparse.Namespace) -> None:
    response = server.ListVersions(pb.ListVersionsRequest(model=arguments.model), timeout=TIMEOUT_S)
    table = Table("model", "version", "state", "refused for", "labels", box=None)
    for one in response.versions:
        cells = one.model, str(one.version), _state(one), _reason(one), ", ".join(one.labels)
        table.add_row(*map(Text, cells))
    console.print(table)


def _load(console: Console, server: ModelManagementServiceStub, arguments: argparse.Namespace) -> None:
    request = pb.LoadModelRequest(model=arguments.model, version=arguments.version)
    _show(console, server.LoadModel(request, timeout=LOAD_TIMEOUT_S).version)


def _unload(console: Console, server: ModelManagementServiceStub, arguments: argparse.Namespace) -> None:
    request = pb.UnloadModelRequest(model=arguments.model, version=arguments.version)
    _show(console, server.UnloadModel(request, timeout=TIMEOUT_S).version)


def _label(console: Console, server: ModelManagementServiceStub, arguments: argparse.Namespace) -> None:
    request = pb.SetLabelRequest(model=arguments.model, label=arguments.label, version=arguments.version)
    for label, version in sorted(server.SetLabel(request, timeout=TIMEOUT_S).labels.items()):
        show_line(console, f"{label}: version {version}")


def _show(console: Console, version: pb.Version) -> None:
    show_line(console, f"{version.model} version {version.version}: {_state(version)}")


def _state(version: pb.Version) -> str:
    return pb.VersionState.Name(version.state).removeprefix("VERSION_STATE_").lower()


def _reason(version: pb.Version) -> str:
    if not version.failure_reason:
        return ""
    return pb.FailureReason.Name(version.failure_reason).removeprefix("FAILURE_REASON_").lower()


def _address(value: str) -> str:
    if not re.fullmatch(r".+:\d{1,5}", value):
        raise argparse.ArgumentTypeError(f"{value!r} is not HOST:PORT")
    return value
