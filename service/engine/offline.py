"""Translations by the engine's own searches, without a server, a queue or a clock: `python -m service.engine.offline`.

Reads one JSON object from stdin: folder, that of a version; scratch, a folder on the disk for its large tables, or
null; num_threads (0: one for each core); at_once: how many requests share every step; and requests, each with
source_ids, and max_length, beam_size and prefix of its search. Writes one JSON array: the token ids of each best
target.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from service.engine.decoding.make import beam_search_of
from service.engine.request import Decoding, Request
from service.engine.runner import Runner
from service.errors import ServiceError
from service.heap import return_large_blocks
from service.model.errors import ModelError
from service.model.manifest import Manifest
from service.model.onnx_model import OnnxModel
from service.model.rules import model_rules
from service.model.slots import Slots


def search_together(model: OnnxModel, requests: Sequence[tuple[Sequence[int], Decoding]]) -> list[tuple[int, ...]]:
    """The best target of each source, as its decoding searches for it, all in the same steps. Raises ServiceError for a
    request that fails, and what fails for all."""
    manifest = model.manifest
    slots = Slots(model, sum(decoding.num_rows for _, decoding in requests))
    runner = Runner(
        slots,
        end_id=manifest.vocabulary.end_id,
        empty_source=manifest.empty_source,
        rules_for=partial(model_rules, manifest),
        beam_search=beam_search_of(manifest),
    )
    failures = runner.join(
        [Request(number, tuple(source), decoding) for number, (source, decoding) in enumerate(requests)]
    )
    for _, failure in failures:
        raise failure
    targets: dict[int, tuple[int, ...]] = {}
    while len(targets) < len(requests):
        for number, result in runner.step():
            if isinstance(result, ServiceError):
                raise result
            if result.is_last:
                targets[number] = tuple(token.token_id for token in result.hypotheses[0].tokens)
    return [targets[number] for number in range(len(requests))]


def decoding_by(manifest: Manifest, *, max_length: int, beam_size: int, prefix: Sequence[int]) -> Decoding:
    """As a request without any other option is searched for."""
    return Decoding(
        max_length=max_length,
        beam_size=beam_size,
        prefix=tuple(prefix),
        length_penalty=manifest.search.length_penalty,
        length_norm=manifest.search.length_norm,
        beam_end=manifest.search.beam_end,
        forced_end=manifest.search.forced_end,
    )


def _main() -> int:
    asked: dict[str, Any] = json.load(sys.stdin)
    return_large_blocks()
    try:
        scratch = None if asked["scratch"] is None else Path(asked["scratch"])
        model = OnnxModel(Path(asked["folder"]), num_threads=asked["num_threads"], scratch=scratch)
        requests = [
            (
                one["source_ids"],
                decoding_by(
                    model.manifest,
                    max_length=one["max_length"],
                    beam_size=one["beam_size"],
                    prefix=one["prefix"],
                ),
            )
            for one in asked["requests"]
        ]
        targets, at_once = list[tuple[int, ...]](), asked["at_once"]
        for start in range(0, len(requests), at_once):
            targets += search_together(model, requests[start : start + at_once])
        json.dump(targets, sys.stdout)
    except (ModelError, ServiceError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(_main())
