"""The commands of `stepstream` that call a server: their arguments, and which command each combination of them runs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from service.client import commands
from service.client.channel import DEFAULT_ADDRESS
from service.client.demo import run_demo
from service.client.editing import interactive_command
from service.client.flags import add_search_flags, add_target_flags, addresses, decoding_options, positive, version
from service.client.retry import RETRY, RetryPolicy
from service.client.terminal import make_console


def add_translate(subparsers: argparse._SubParsersAction[Any]) -> None:
    parser = subparsers.add_parser("translate", help="translate a text, or a file line by line")
    parser.add_argument("text", nargs="?", metavar="TEXT", help="one sentence")
    parser.add_argument("--file", type=Path, metavar="IN", help="a UTF-8 file, one sentence on each line")
    parser.add_argument("--output", type=Path, metavar="OUT", help="where the translations of --file go")
    parser.add_argument(
        "--concurrency", type=positive, default=16, metavar="N", help="requests in flight (default: 16)"
    )
    _add_model(parser)
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
    parser.add_argument(
        "--max-attempts",
        type=positive,
        default=RETRY.max_attempts,
        metavar="N",
        help=f"tries of a call before a lost or busy server is an error (default: {RETRY.max_attempts})",
    )
    add_target_flags(parser)
    add_search_flags(parser)
    parser.set_defaults(run=_translate, fail=parser.error)


def _translate(arguments: argparse.Namespace) -> int:
    options = decoding_options(arguments)
    if (arguments.text is None) == (arguments.file is None):
        arguments.fail("give either a text or --file")
    if (arguments.file is None) != (arguments.output is None):
        arguments.fail("--file and --output go together")
    if arguments.file is not None and (arguments.steps or arguments.attention or arguments.attention_plot):
        arguments.fail("--steps, --attention and --attention-plot are for a text, not for a file")
    if arguments.file is not None and (options.num_hypotheses > 1 or options.return_alternatives):
        arguments.fail("--num-hypotheses and --alternatives are for a text, not for a file")
    if options.num_candidates and not arguments.steps:
        arguments.fail("--candidates needs --steps")
    retry = RetryPolicy(max_attempts=arguments.max_attempts)
    chosen = {"model": arguments.model, "version": arguments.version, "options": options, "retry": retry}
    if arguments.file is not None:
        commands.translate_file_command(
            arguments.address, arguments.file, arguments.output, concurrency=arguments.concurrency, **chosen
        )
    else:
        commands.translate_text_command(
            make_console(),
            arguments.address,
            arguments.text,
            steps=arguments.steps,
            attention=arguments.attention,
            attention_plot=arguments.attention_plot,
            **chosen,
        )
    return 0


def add_interactive(subparsers: argparse._SubParsersAction[Any]) -> None:
    parser = subparsers.add_parser(
        "interactive",
        help="translate a text again and again as its translation is edited",
        description="Translate a text, then read beginnings of the translation from stdin, one on each line, and "
        "complete each.",
    )
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("text", metavar="TEXT", help="one sentence")
    _add_version(parser)
    _add_address(parser)
    add_target_flags(parser)
    parser.set_defaults(run=_interactive, fail=parser.error)


def _interactive(arguments: argparse.Namespace) -> int:
    interactive_command(
        make_console(),
        arguments.address,
        arguments.text,
        sys.stdin,
        model=arguments.model,
        version=arguments.version,
        options=decoding_options(arguments),
    )
    return 0


def add_score(subparsers: argparse._SubParsersAction[Any]) -> None:
    parser = subparsers.add_parser("score", help="show how probable a given translation is, token by token")
    parser.add_argument("source", metavar="SOURCE", help="one sentence")
    parser.add_argument("target", metavar="TRANSLATION", help="of the sentence")
    _add_model(parser)
    _add_address(parser)
    parser.set_defaults(run=_score)


def _score(arguments: argparse.Namespace) -> int:
    commands.score_command(
        make_console(),
        arguments.address,
        arguments.source,
        arguments.target,
        model=arguments.model,
        version=arguments.version,
    )
    return 0


def add_models(subparsers: argparse._SubParsersAction[Any]) -> None:
    parser = subparsers.add_parser("models", help="list a server's models, or show one with its certificate")
    parser.add_argument("model", nargs="?", metavar="NAME", help="show this one in full")
    _add_version(parser)
    _add_address(parser)
    parser.set_defaults(run=_models, fail=parser.error)


def _models(arguments: argparse.Namespace) -> int:
    if arguments.model is None and arguments.version:
        arguments.fail("--version needs the NAME of a model")
    commands.models_command(make_console(), arguments.address, model=arguments.model, version=arguments.version)
    return 0


def add_demo(subparsers: argparse._SubParsersAction[Any]) -> None:
    parser = subparsers.add_parser("demo", help="watch a model of each family translate, step by step")
    server = parser.add_mutually_exclusive_group()
    _add_address(server, default=None, default_help="start one and stop it at the end")
    server.add_argument("--model-store", type=Path, metavar="STORE", help="of the server to start")
    parser.set_defaults(run=_demo)


def _demo(arguments: argparse.Namespace) -> int:
    run_demo(make_console(), address=arguments.address, model_store=arguments.model_store)
    return 0


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", metavar="NAME", help="may be left out where the server has one model only")
    _add_version(parser)


def _add_version(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--version", type=version, default=0, metavar="N", help="a number, or a label (default: the newest)"
    )


def _add_address(
    parser: argparse._ActionsContainer, *, default: str | None = DEFAULT_ADDRESS, default_help: str = DEFAULT_ADDRESS
) -> None:
    parser.add_argument(
        "--address",
        type=addresses,
        default=default,
        metavar="HOST:PORT",
        help=f"of the server, or of several replicas with commas between (default: {default_help})",
    )


def _plot_path(value: str) -> Path:
    path = Path(value)
    if path.suffix.lower() not in commands.PLOT_SUFFIXES:
        raise argparse.ArgumentTypeError(f"{value!r} does not end in {', '.join(commands.PLOT_SUFFIXES)}")
    return path
