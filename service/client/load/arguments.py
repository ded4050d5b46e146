"""`stepstream load`: its flags, and the scenario that they make, alone or on top of a file."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path
from typing import Any

from service.client.errors import LoadUnavailableError
from service.client.flags import add_search_flags, add_target_flags, decoding_options, natural, positive, version
from service.client.options import DecodingOptions
from service.client.terminal import make_console

KINDS = ("clients", "rate", "trace", "ramp")


def add_load(subparsers: argparse._SubParsersAction[Any]) -> None:
    parser = subparsers.add_parser(
        "load",
        help="put load on a server, and measure what it does with it",
        description="Put load on a server: a closed loop (--clients), or requests that wait for nobody: at random "
        "(--rate), as recorded (--trace), or faster and faster until the server no longer keeps up (--ramp). "
        "A TOML file may say it all, with a mix of models and options; flags win over it.",
    )
    parser.add_argument("scenario", nargs="?", type=Path, metavar="SCENARIO", help="a TOML file")
    add = parser.add_argument
    add("--address", metavar="HOST:PORT", help="of the server, or of several replicas with commas between")
    add("--model", metavar="NAME", help="may be left out where the server has one model only")
    add("--version", type=version, metavar="N", help="a number, or a label (default: the newest)")
    add("--sentences", type=Path, metavar="FILE", help="one a line (default: those of the model's certificate)")
    kinds = parser.add_argument_group("load").add_mutually_exclusive_group()
    kinds.add_argument("--clients", type=positive, metavar="N", help="each sends its next request after the last one")
    kinds.add_argument("--rate", type=float, metavar="R", help="R requests a second, Poisson arrivals")
    kinds.add_argument("--trace", type=Path, metavar="FILE", help="requests at these seconds, one number a line")
    kinds.add_argument("--ramp", type=float, metavar="R", help="from R requests a second to the knee and beyond")
    add("--duration-s", type=float, metavar="S", help="seconds that count; of a ramp, of each stage")
    add("--warm-up-s", type=float, metavar="S", help="seconds before those, which do not count")
    add("--speed", type=float, metavar="F", help="with --trace: play it F times as fast")
    add("--growth", type=float, metavar="F", help="with --ramp: each stage is F times as fast (default: 1.5)")
    add("--good-share", type=float, metavar="P", help="with --ramp: what must be answered well (default: 0.95)")
    add("--processes", type=positive, metavar="N", help="of the generator (default: 1)")
    add("--connections", type=positive, metavar="N", help="of each process (default: 8)")
    add("--timeout-s", type=float, metavar="S", help="of each request (default: 60)")
    add("--load-seed", type=natural, metavar="N", help="of arrivals and of the order of sentences (default: 0)")
    targets = parser.add_argument_group("targets", "a request is good if it is answered within each of them")
    targets.add_argument("--target-first-token-ms", type=float, metavar="MS")
    targets.add_argument("--target-gap-ms", type=float, metavar="MS", help="mean between two tokens of a request")
    targets.add_argument("--target-total-ms", type=float, metavar="MS")
    empty = parser.add_argument_group("empty steps", "in place of translations: what the transport carries")
    empty.add_argument("--empty-steps", type=positive, metavar="N", help="messages of each stream, without a model")
    empty.add_argument("--step-bytes", type=natural, metavar="M", help="of each message (default: 0)")
    empty.add_argument("--steps-per-second", type=float, metavar="R", help="of each stream (default: all it can)")
    checks = parser.add_argument_group("verification")
    checks.add_argument("--verify", action="store_true", help="hold every translation against its reference")
    checks.add_argument(
        "--model-store",
        type=Path,
        metavar="STORE",
        help="where --verify makes the references of greedy searches itself (default: the server, before the load)",
    )
    add("--json", type=Path, metavar="FILE", help="write the report as JSON")
    add("--html", type=Path, metavar="FILE", help="write the report as a page with plots")
    add_target_flags(parser)
    add_search_flags(parser)
    parser.set_defaults(run=_load, fail=parser.error)


def _load(arguments: argparse.Namespace) -> int:
    try:
        from service.client.load.run import run_load
    except ModuleNotFoundError as error:
        if error.name != "hdrh":
            raise
        raise LoadUnavailableError("a load test needs hdrhistogram: pip install 'stepstream[load]'") from None
    from service.client.load.scenario import make_scenario, read_scenario

    if arguments.model_store is not None and not arguments.verify:
        arguments.fail("--model-store needs --verify")
    tables = {} if arguments.scenario is None else read_scenario(arguments.scenario)
    return run_load(
        make_console(),
        make_scenario(with_flags(tables, arguments)),
        verify=arguments.verify,
        model_store=arguments.model_store,
        json_path=arguments.json,
        html_path=arguments.html,
    )


def with_flags(tables: dict[str, Any], arguments: argparse.Namespace) -> dict[str, Any]:
    """The tables of a scenario with what the flags say in their place; a usage error for a flag without its other."""
    whole = {"address": arguments.address, "processes": arguments.processes, "connections": arguments.connections}
    whole |= {"timeout_s": arguments.timeout_s, "seed": arguments.load_seed}
    targets = {name: getattr(arguments, f"target_{name}") for name in ("first_token_ms", "gap_ms", "total_ms")}
    merged = tables | _given(whole)
    merged["load"] = _load_table(tables.get("load", {}), arguments)
    merged["targets"] = tables.get("targets", {}) | _given(targets)
    if (job := _job(arguments)) is not None:
        merged["mix"] = [job]
    return merged


def _load_table(table: dict[str, Any], arguments: argparse.Namespace) -> dict[str, Any]:
    kind = next((kind for kind in KINDS if getattr(arguments, kind) is not None), None)
    if kind is not None:
        value = getattr(arguments, kind)
        names = {"clients": "closed", "rate": "poisson"}
        keys = {"trace": "file", "ramp": "start_rate"}
        table = {"kind": names.get(kind, kind), keys.get(kind, kind): value}
    kind_of_table = table.get("kind", "closed")
    seconds = {"stage_s" if kind_of_table == "ramp" else "duration_s": arguments.duration_s}
    others = {"warm_up_s": arguments.warm_up_s, "speed": arguments.speed, "growth": arguments.growth}
    return {"kind": kind_of_table} | table | _given(seconds | others | {"good_share": arguments.good_share})


def _job(arguments: argparse.Namespace) -> dict[str, Any] | None:
    """The one job of the flags, None where they say nothing of it."""
    options = decoding_options(arguments)
    job = _given({"model": arguments.model, "version": arguments.version, "sentences": arguments.sentences})
    if options != DecodingOptions():
        job["options"] = {field.name: getattr(options, field.name) for field in fields(options)}
    steps = _given({"step_bytes": arguments.step_bytes, "steps_per_second": arguments.steps_per_second})
    if arguments.empty_steps is None and steps:
        arguments.fail("--step-bytes and --steps-per-second need --empty-steps")
    if arguments.empty_steps is not None and job:
        arguments.fail("--empty-steps goes with no model, sentences or options")
    if arguments.empty_steps is not None:
        return {"empty_steps": {"num_steps": arguments.empty_steps} | steps}
    return job or None


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
