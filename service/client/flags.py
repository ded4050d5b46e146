"""The options of a search as flags of a command. A flag that is not given leaves its option at the default."""

from __future__ import annotations

import argparse
import re
from dataclasses import fields
from typing import Any

from service.client.options import DecodingOptions, Priority, Sampling

SAMPLING_FLAGS = "--temperature, --top-k, --top-p and --min-p"


def add_target_flags(parser: argparse.ArgumentParser) -> None:
    """What any search takes: limits of the target, its beginning, tokens it does not get, and how they are drawn."""
    add = _adder(parser.add_argument_group("target"))
    add("--max-length", "max_length", type=positive, metavar="N", help="most tokens to make")
    add("--min-length", "min_length", type=natural, metavar="N", help="fewest tokens before the end of the sentence")
    ignore_help = "make exactly --max-length tokens, for load tests: the sentence never ends"
    add("--ignore-end-of-sequence", "ignore_end_of_sequence", action="store_true", help=ignore_help)
    add("--source-language", "source_language", metavar="CODE", help="of a model with several, such as eng_Latn")
    add("--target-language", "target_language", metavar="CODE", help="to translate to, such as deu_Latn")
    add("--prefix", "target_prefix", metavar="TEXT", help="the beginning of the translation")
    add("--repetition-penalty", "repetition_penalty", type=float, metavar="P", help="above 1: repeats tokens less")
    add("--no-repeat-ngram-size", "no_repeat_ngram_size", type=natural, metavar="N", help="no N tokens come twice")
    add("--suppress-token", "suppress_tokens", action="append", metavar="PIECE", help="never make it (repeatable)")
    add("--disable-unknown", "disable_unknown", action="store_true", help="never make the unknown token")
    priority_help = "low, normal or high: who goes first while the server is full (default: normal)"
    add("--priority", "priority", type=priority, metavar="P", help=priority_help)
    group = parser.add_argument_group("sampling")
    group.add_argument("--sample", action="store_true", help="draw each token instead of taking the likeliest one")
    add = _adder(group)
    add("--temperature", "temperature", type=float, metavar="T", help="below 1 sharpens, above 1 flattens")
    add("--top-k", "top_k", type=natural, metavar="K", help="draw from the K likeliest tokens")
    add("--top-p", "top_p", type=float, metavar="P", help="draw from the likeliest tokens that together have P")
    add("--min-p", "min_p", type=float, metavar="P", help="draw from the tokens that have P of the likeliest one's")
    add("--seed", "seed", type=seed, metavar="N", help="draw the same again, and draw hard attention's positions too")


def add_search_flags(parser: argparse.ArgumentParser) -> None:
    """What gives several translations, or needs beam search."""
    add = _adder(parser.add_argument_group("search"))
    add("--beam-size", "beam_size", type=positive, metavar="N", help="hypotheses to keep (default: 1, greedy search)")
    add("--num-hypotheses", "num_hypotheses", type=positive, metavar="N", help="translations to list (default: 1)")
    add(
        "--length-penalty",
        "length_penalty",
        type=float,
        metavar="A",
        help="0 favours short ones (default: the model's, mostly 1)",
    )
    add("--coverage-penalty", "coverage_penalty", type=float, metavar="B", help="above 0: leaves out less of the text")
    add("--patience", "patience", type=float, metavar="F", help="end when F times the beam has ended (default: 1)")
    add("--term", "terms", type=term, action="append", metavar="A|B", help="the translation says A or B (repeatable)")
    add("--keep", "untranslated", action="append", metavar="WORD", help="stays as it is in the text (repeatable)")
    alternatives_help = "as many translations as --num-hypotheses that differ in the first token after --prefix"
    add("--alternatives", "return_alternatives", action="store_true", help=alternatives_help)
    probability_help = "leave out alternatives whose first token is less probable"
    add("--min-alternative-prob", "min_alternative_expansion_prob", type=float, metavar="P", help=probability_help)
    add("--candidates", "num_candidates", type=positive, metavar="N", help="with --steps: likeliest tokens to show")


def decoding_options(arguments: argparse.Namespace) -> DecodingOptions:
    """The options that the flags ask for; a usage error for a flag that means nothing without another."""
    sampling = _given(arguments, Sampling)
    if sampling and not arguments.sample:
        arguments.fail(f"{SAMPLING_FLAGS} need --sample")
    options = _given(arguments, DecodingOptions)
    return DecodingOptions(**options, sampling=Sampling(**sampling) if arguments.sample else None)


def addresses(value: str) -> str:
    """HOST:PORT, or several of them with commas between."""
    if not all(re.fullmatch(r".+:\d{1,5}", part) for part in value.split(",")):
        raise argparse.ArgumentTypeError(f"{value!r} is not HOST:PORT")
    return value


def positive(value: str) -> int:
    """A whole number from 1, of at most 64 bits."""
    if not value.isdecimal() or not 1 <= int(value) < 2**63:
        raise argparse.ArgumentTypeError(f"{value!r} is not a number from 1")
    return int(value)


def version(value: str) -> int | str:
    """A whole number from 1, or a label."""
    if re.fullmatch(r"[a-z][a-z0-9_-]{0,31}", value):
        return value
    return positive(value)


def natural(value: str) -> int:
    """A whole number from 0, of at most 64 bits."""
    if not value.isdecimal() or int(value) >= 2**63:
        raise argparse.ArgumentTypeError(f"{value!r} is not a number from 0")
    return int(value)


def seed(value: str) -> int:
    """A whole number of 64 bits."""
    if not value.isdecimal() or int(value) >= 2**64:
        raise argparse.ArgumentTypeError(f"{value!r} is not a number from 0 to 2^64 - 1")
    return int(value)


def priority(value: str) -> Priority:
    """The name of a priority."""
    try:
        return Priority(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{value!r} is not {' or '.join(Priority)}") from None


def term(value: str) -> tuple[str, ...]:
    """The phrases between bars."""
    phrases = tuple(phrase.strip() for phrase in value.split("|"))
    if not all(phrases):
        raise argparse.ArgumentTypeError(f"{value!r} has an empty phrase")
    return phrases


def _adder(group: argparse._ArgumentGroup) -> Any:
    def add(flag: str, field: str, **properties: Any) -> None:
        group.add_argument(flag, dest=field, default=argparse.SUPPRESS, **properties)

    return add


def _given(arguments: argparse.Namespace, kind: type[DecodingOptions | Sampling]) -> dict[str, Any]:
    values = {field.name: vars(arguments)[field.name] for field in fields(kind) if field.name in arguments}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
