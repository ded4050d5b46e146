"""The command `stepstream`: serve models, translate, show what a server has.

It parses arguments and turns failures into one line on stderr and an exit status: 1 for a failure, 2 for arguments
that make no sense, 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import Any, NoReturn

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from service.client import commands
from service.client.client import DEFAULT_ADDRESS
from service.client.demo import run_demo
from service.client.errors import StepstreamError
from service.client.terminal import make_console
from service.settings import FILE_VARIABLE, Settings

FAILED, USAGE, INTERRUPTED = 1, 2, 130


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(USAGE, f"{self.prog}: {message}\n")


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit status."""
    options = _make_parser().parse_args(arguments)
    try:
        status: int = options.run(options)
    except StepstreamError as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except KeyboardInterrupt:
        return INTERRUPTED
    return status


def _fail(message: str, *, status: int = FAILED) -> int:
    print(f"stepstream: {' '.join(message.split())}", file=sys.stderr)
    return status


def _make_parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="stepstream", description="Streaming neural translation, one decoder step at a time.")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_serve(subparsers)
    _add_translate(subparsers)
    _add_models(subparsers)
    _add_demo(subparsers)
    return parser


def _add_serve(subparsers: argparse._SubParsersAction[_Parser]) -> None:
    parser = subparsers.add_parser(
        "serve",
        help="serve every model of a store",
        description="Serve every model of a store over gRPC. A flag wins over the environment variable "
        f"STEPSTREAM_NAME, which wins over the TOML file that {FILE_VARIABLE} names.",
    )
    for name, field in Settings.model_fields.items():
        default = ",".join(field.default) if isinstance(field.default, tuple) else field.default
        help_text = f"{field.description} (default: {default})".replace("%", "%%")
        if field.annotation is bool:
            parser.add_argument(
                _flag(name), action=argparse.BooleanOptionalAction, default=argparse.SUPPRESS, help=help_text
            )
        else:
            metavar = name.rpartition("_")[2].upper()
            parser.add_argument(_flag(name), metavar=metavar, default=argparse.SUPPRESS, help=help_text)
    parser.set_defaults(run=_serve)


def _serve(options: argparse.Namespace) -> int:
    flags = {name: value for name, value in vars(options).items() if name in Settings.model_fields}
    try:
        settings = Settings(**flags)
    except ValidationError as error:
        return _fail("; ".join(_describe(part, flags) for part in error.errors()), status=USAGE)
    except (OSError, ValueError) as error:
        return _fail(str(error), status=USAGE)
    from service.model.errors import ModelError
    from service.server import run

    try:
        return run(settings)
    except ModelError as error:
        return _fail(str(error))


def _describe(error: ErrorDetails, flags: dict[str, Any]) -> str:
    message = error["msg"].removeprefix("Value error, ")
    if not error["loc"]:
        return message
    name = str(error["loc"][0])
    return f"{_flag(name) if name in flags else f'setting {name}'}: {message}"


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _add_translate(subparsers: argparse._SubParsersAction[_Parser]) -> None:
    parser = subparsers.add_parser("translate", help="translate a text, or a file line by line")
    parser.add_argument("text", nargs="?", metavar="TEXT", help="one sentence")
    parser.add_argument("--file", type=Path, metavar="IN", help="a UTF-8 file, one sentence on each line")
    parser.add_argument("--output", type=Path, metavar="OUT", help="where the translations of --file go")
    parser.add_argument(
        "--concurrency", type=_positive, default=16, metavar="N", help="requests in flight (default: 16)"
    )
    parser.add_argument("--model", metavar="NAME", help="may be left out where the server has one model only")
    _add_version(parser)
    parser.add_argument("--max-length", type=_positive, default=0, metavar="N", help="most tokens to make")
    parser.add_argument(
        "--seed", type=_seed, metavar="N", help="draw what the model can draw, such as hard attention's positions"
    )
    parser.add_argument("--steps", action="store_true", help="a line for each step, with its log-probability")
    parser.add_argument(
        "--attention",
        action="store_true",
        help="draw what each step attends to; with --steps, name its most attended piece",
    )
    parser.add_argument(
        "--attention-plot",
        type=_plot_path,
        metavar="PICTURE",
        help=f"save the attention between words as a picture ({', '.join(commands.PLOT_SUFFIXES)})",
    )
    _add_address(parser)
    parser.set_defaults(run=_translate, fail=parser.error)


def _translate(options: argparse.Namespace) -> int:
    if (options.text is None) == (options.file is None):
        options.fail("give either a text or --file")
    if (options.file is None) != (options.output is None):
        options.fail("--file and --output go together")
    if options.file is not None and (options.steps or options.attention or options.attention_plot):
        options.fail("--steps, --attention and --attention-plot are for a text, not for a file")
    chosen = {
        "model": options.model,
        "version": options.version,
        "max_length": options.max_length,
        "seed": options.seed,
    }
    if options.file is not None:
        commands.translate_file_command(
            options.address, options.file, options.output, concurrency=options.concurrency, **chosen
        )
    else:
        commands.translate_text_command(
            make_console(),
            options.address,
            options.text,
            steps=options.steps,
            attention=options.attention,
            attention_plot=options.attention_plot,
            **chosen,
        )
    return 0


def _add_models(subparsers: argparse._SubParsersAction[_Parser]) -> None:
    parser = subparsers.add_parser("models", help="list a server's models, or show one with its certificate")
    parser.add_argument("model", nargs="?", metavar="NAME", help="show this one in full")
    _add_version(parser)
    _add_address(parser)
    parser.set_defaults(run=_models, fail=parser.error)


def _models(options: argparse.Namespace) -> int:
    if options.model is None and options.version:
        options.fail("--version needs the NAME of a model")
    commands.models_command(make_console(), options.address, model=options.model, version=options.version)
    return 0


def _add_demo(subparsers: argparse._SubParsersAction[_Parser]) -> None:
    parser = subparsers.add_parser("demo", help="watch a model of each family translate, step by step")
    server = parser.add_mutually_exclusive_group()
    _add_address(server, default=None, default_help="start one and stop it at the end")
    server.add_argument("--model-store", type=Path, metavar="STORE", help="of the server to start")
    parser.set_defaults(run=_demo)


def _demo(options: argparse.Namespace) -> int:
    run_demo(make_console(), address=options.address, model_store=options.model_store)
    return 0


def _add_version(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--version", type=_positive, default=0, metavar="N", help="default: the newest")


def _add_address(
    parser: argparse._ActionsContainer, *, default: str | None = DEFAULT_ADDRESS, default_help: str = DEFAULT_ADDRESS
) -> None:
    parser.add_argument(
        "--address",
        type=_address,
        default=default,
        metavar="HOST:PORT",
        help=f"of the server (default: {default_help})",
    )


def _address(value: str) -> str:
    if not re.fullmatch(r".+:\d{1,5}", value):
        raise argparse.ArgumentTypeError(f"{value!r} is not HOST:PORT")
    return value


def _plot_path(value: str) -> Path:
    path = Path(value)
    if path.suffix.lower() not in commands.PLOT_SUFFIXES:
        raise argparse.ArgumentTypeError(f"{value!r} does not end in {', '.join(commands.PLOT_SUFFIXES)}")
    return path


def _seed(value: str) -> int:
    if not value.isdecimal() or int(value) >= 2**64:
        raise argparse.ArgumentTypeError(f"{value!r} is not a number from 0 to 2^64 - 1")
    return int(value)


def _positive(value: str) -> int:
    if not value.isdecimal() or int(value) < 1:
        raise argparse.ArgumentTypeError(f"{value!r} is not a number from 1")
    return int(value)


if __name__ == "__main__":
    raise SystemExit(main())
