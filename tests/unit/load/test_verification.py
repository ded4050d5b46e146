"""`stepstream load --verify` against a fake server that alters what it streams once there is load."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest


@pytest.mark.parametrize("kind", ["text", "token"])
def test_a_server_that_alters_some_translations_under_load_is_caught(
    fake_service: Any, run: Callable[..., tuple[int, str, str]], tmp_path: Path, kind: str
) -> None:
    (tmp_path / "sentences").write_text("one\ntwo words\nthree words here\n")
    shout, calls = fake_service._shout, count(1)

    def altered(*arguments: Any) -> Any:
        messages = shout(*arguments)
        if (number := next(calls)) > 3 and number % 7 == 0:
            if kind == "text":
                messages[-1].completion.text = messages[-1].completion.text[:-1]
            else:
                messages[0].step.token_id += 1
        return messages

    fake_service._shout = altered
    status, output, _ = run(
        *("load", "--address", fake_service.address, "--clients", 2, "--duration-s", 1, "--warm-up-s", 0, "--verify"),
        *("--sentences", tmp_path / "sentences", "--json", tmp_path / "report.json"),
    )
    assert status == 1
    report = json.loads((tmp_path / "report.json").read_text())
    num_streams = len(fake_service.requests)
    assert report["num_different"] == num_streams // 7 > 0
    assert f"{num_streams // 7} of {num_streams - 3:,} translations differ" in output
    assert ("the text is '" if kind == "text" else "the tokens are [11") in output
