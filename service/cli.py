"""The command `stepstream`: serve models, call a server that does, or translate a corpus without one.

It parses arguments and turns failures into one line on stderr and an exit status: 1 for a failure, 2 for arguments
that make no sense, 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any, NoReturn

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # gRPC's own lines, one for each bad handshake, are not JSON

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from service.client.arguments import add_demo, add_interactive, add_models, add_score, add_translate
from service.client.errors import StepstreamError
from service.client.load.arguments import add_load
from service.client.management import add_manage
from service.client.web.command import add_web
from service.corpora.arguments import add_translate_corpus
from service.corpora.errors import CorpusError
from service.security.token_command import add_token
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
    except (StepstreamError, CorpusError) as error:
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
    for add_command in (
        add_translate,
        add_interactive,
        add_score,
        add_models,
        add_web,
        add_manage,
        add_demo,
        add_load,
        add_translate_corpus,
        add_token,
    ):
        add_command(subparsers)
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
    from service.security.security import ConfigurationError
    from service.supervisor import run

    try:
        return run(settings)
    except ConfigurationError as error:
        return _fail(str(error), status=USAGE)
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


if __name__ == "__main__":
    raise SystemExit(main())
