"""The arguments of `stepstream translate-corpus`. What it needs beside a server's packages is loaded when it runs."""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from service.client.flags import add_search_flags, add_target_flags, decoding_options, positive
from service.client.options import DecodingOptions, Priority
from service.client.terminal import make_console, show_line
from service.corpora.errors import CorpusError
from service.corpora.formats.format import SUFFIXES, Fields

SHARD_LINES = 1_000
NEEDED = ("ray", "pyarrow", "pandas")


def add_translate_corpus(subparsers: argparse._SubParsersAction[Any]) -> None:
    parser = subparsers.add_parser(
        "translate-corpus",
        help="translate files of any size on all processors, or on a Ray cluster, without a server",
        description="Translate a file, or a folder of files, into a folder of shards. The same command goes on where "
        "it was stopped.",
    )
    parser.add_argument("source", type=Path, metavar="IN", help="a file, or a folder of files")
    parser.add_argument("output", type=Path, metavar="OUT", help="a folder, which is made")
    parser.add_argument(
        "--model-store", type=Path, default=Path("model_store"), metavar="STORE", help="of MODEL/VERSION/"
    )
    parser.add_argument("--model", metavar="NAME", help="may be left out where the store has one model only")
    parser.add_argument("--version", type=positive, default=0, metavar="N", help="(default: the newest)")
    parser.add_argument("--format", choices=tuple(SUFFIXES), help="(default: by the suffix of the files)")
    parser.add_argument(
        "--field", default=Fields.text, metavar="NAME", help="field or column of the text (default: text)"
    )
    parser.add_argument(
        "--output-field", default=Fields.translation, metavar="NAME", help="that is added (default: translation)"
    )
    parser.add_argument(
        "--shard-lines", type=positive, default=SHARD_LINES, metavar="N", help=f"of each shard (default: {SHARD_LINES})"
    )
    parser.add_argument(
        "--workers", type=positive, default=0, metavar="N", help="(default: as many as there is room for)"
    )
    parser.add_argument(
        "--cpus-per-worker",
        type=positive,
        default=1,
        metavar="N",
        help="engines that share a worker's model (default: 1)",
    )
    parser.add_argument("--ray-address", metavar="HOST:PORT", help="of a Ray cluster (default: this machine alone)")
    add_target_flags(parser)
    add_search_flags(parser)
    parser.set_defaults(run=_translate_corpus, fail=parser.error)


def _translate_corpus(arguments: argparse.Namespace) -> int:
    options = decoding_options(arguments)
    for problem in _problems(options, arguments):
        arguments.fail(problem)
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise CorpusError(f"translate-corpus needs {', '.join(missing)}: pip install 'stepstream[corpora]'")
    from service.corpora.cluster import Workers
    from service.corpora.command import Choice, Corpus, translate_corpus

    fields = Fields(arguments.field, arguments.output_field)
    corpus = Corpus(arguments.source, arguments.output, arguments.format, fields, arguments.shard_lines)
    choice = Choice(arguments.model_store, arguments.model, arguments.version, options)
    workers = Workers(arguments.workers, arguments.cpus_per_worker)
    try:
        translate_corpus(corpus, choice, workers, address=arguments.ray_address)
    except KeyboardInterrupt:
        show_line(make_console(stderr=True), "stepstream: stopped; the same command goes on")
        raise
    return 0


def _problems(options: DecodingOptions, arguments: argparse.Namespace) -> list[str]:
    problems = {
        "--num-hypotheses and --alternatives are for a text, not for a corpus": options.num_hypotheses > 1
        or options.return_alternatives,
        "--candidates is for a text, not for a corpus": options.num_candidates > 0,
        "--priority is for a server": options.priority is not Priority.NORMAL,
        "--sample needs --seed: a corpus is the same however often it is translated": options.sampling is not None
        and options.seed is None,
        "--field and --output-field are the same": arguments.field == arguments.output_field,
    }
    return [problem for problem, holds in problems.items() if holds]
