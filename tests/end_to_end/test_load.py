"""`stepstream load` as a user runs it: against a real server, and against one that alters what it streams."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from service.client.load.references import ALONE, OFFLINE
from service.model.offline import translate_offline

LIMIT_S = 120
MIX = """
[load]
kind = "trace"
file = "arrivals.txt"
[targets]
total_ms = 60000
[[mix]]
weight = 2
model = "en-de-transformer"
sentences = "captions.txt"
[[mix]]
model = "en-de-general"
options = { beam_size = 3 }
[[mix]]
model = "en-ko-transformer"
options = { sampling = { top_p = 0.9 }, max_length = 12 }
[[mix]]
model = "en-de-general"
options = { ignore_end_of_sequence = true, max_length = 21 }
"""


def load(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, "-m", "service.cli", "load", *map(str, arguments))
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)


@pytest.fixture
def sentences_file(tmp_path: Path, sentences: list[str]) -> Path:
    path = tmp_path / "captions.txt"
    path.write_text("\n".join([*sentences[:12], "", sentences[0]]))
    return path


def test_every_translation_of_a_mixed_load_is_verified_while_it_runs(
    shipped_server: str, shipped_store: Path, tmp_path: Path, sentences_file: Path
) -> None:
    (tmp_path / "arrivals.txt").write_text("\n".join(str(number / 40) for number in range(60)))
    (tmp_path / "mix.toml").write_text(MIX)
    made = load(
        *(tmp_path / "mix.toml", "--address", shipped_server, "--verify", "--model-store", shipped_store),
        *("--processes", 2, "--json", tmp_path / "report.json", "--html", tmp_path / "report.html"),
    )
    assert (made.returncode, made.stderr) == (0, "")
    assert "0 of 60 translations differ from the reference" in made.stdout
    report = json.loads((tmp_path / "report.json").read_text())
    assert [one["source"] for one in report["verification"]] == [OFFLINE, ALONE, ALONE, ALONE]
    assert [one["num_references"] for one in report["verification"]] == [12, 8, 8, 8]
    (stage,) = report["stages"]
    assert (stage["sent"], stage["ok"], stage["good"], stage["verified"], stage["different"]) == (60, 60, 60, 60, 0)
    assert sum(stage["by_job"].values()) == 60
    assert sum(second["tokens"] for second in stage["seconds"]) == stage["gap_ms"]["count"] + 60
    for key in ("first_token_ms", "total_ms", "lateness_ms"):
        assert stage[key]["count"] == 60
    page = (tmp_path / "report.html").read_text()
    assert_is_whole(page)
    assert "0 of 60 translations differ" in page


def assert_is_whole(page: str) -> None:
    """Every element that is opened is closed, and nothing is fetched from anywhere."""
    opened: list[str] = []

    class Elements(HTMLParser):
        def handle_starttag(self, tag: str, attributes: Any) -> None:
            if tag != "meta":
                opened.append(tag)

        def handle_startendtag(self, tag: str, attributes: Any) -> None: ...

        def handle_endtag(self, tag: str) -> None:
            assert opened.pop() == tag

    Elements().feed(page)
    assert opened == []
    assert not re.search(r"\b(src|href)=|url\(|@import|<script", page)


def test_a_fixed_length_is_what_every_request_decodes(shipped_server: str, tmp_path: Path) -> None:
    made = load(
        *("--address", shipped_server, "--model", "en-de-transformer", "--ignore-end-of-sequence", "--max-length", 33),
        *("--clients", 3, "--duration-s", 1, "--warm-up-s", 0, "--json", tmp_path / "report.json"),
    )
    assert made.returncode == 0, made.stderr
    (stage,) = json.loads((tmp_path / "report.json").read_text())["stages"]
    assert stage["ok"] == stage["sent"] > 0
    assert stage["gap_ms"]["count"] == 32 * stage["ok"]


def test_a_ramp_reports_each_of_its_stages(shipped_server: str, tmp_path: Path) -> None:
    made = load(
        *("--address", shipped_server, "--model", "en-de-transformer", "--ramp", 4, "--growth", 1e6),
        *("--duration-s", 1, "--warm-up-s", 0.5, "--html", tmp_path / "report.html"),
        *("--target-total-ms", 60_000),
    )
    assert made.returncode == 0, made.stderr
    assert "knee: 4 requests a second" in made.stdout
    assert_is_whole((tmp_path / "report.html").read_text())


def test_the_translations_without_a_server_are_those_of_the_certificate(shipped_store: Path) -> None:
    certificate = json.loads((shipped_store / "en-de-general" / "1" / "certificate.json").read_text())
    texts = [golden["text"] for golden in certificate["golden"]]
    version, made = translate_offline(shipped_store, "en-de-general", 0, [*texts, "word " * 2000])
    assert version == 1
    assert [one and one[0] for one in made] == [*(golden["target_ids"] for golden in certificate["golden"]), None]


def test_a_store_that_has_not_what_the_server_has_is_one_line(shipped_server: str, tmp_path: Path) -> None:
    made = load(
        *("--address", shipped_server, "--model", "en-de-dot", "--clients", 1, "--verify", "--model-store", tmp_path)
    )
    assert made.returncode == 1
    assert made.stderr == f"stepstream: the references cannot be made from {tmp_path}: {tmp_path} has no en-de-dot\n"


def test_without_a_server_it_is_one_line() -> None:
    made = load("--address", "127.0.0.1:1", "--model", "m", "--empty-steps", 1)
    assert made.returncode == 2, "--model goes with no empty steps"
    made = load("--address", "127.0.0.1:1", "--empty-steps", 1)
    assert (made.returncode, made.stderr) == (1, "stepstream: no server answers at 127.0.0.1:1\n")
