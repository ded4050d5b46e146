"""Promise 12 for a few seconds, as `make fuzz` does for as long as one likes; and servers that break it."""

from pathlib import Path

import pytest
from hypothesis import Phase

from hostile.fuzz import live
from hostile.fuzz.__main__ import fuzz
from hostile.fuzz.inputs import join, split
from hostile.methods import METHODS
from hostile.requests import fit_together, parameters_of
from hostile.verdicts import told_internals
from service.inference.requests import translate_request
from service.pb import inference_pb2
from service.pb import translation_pb2 as pb

pytestmark = pytest.mark.usefixtures("short")


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "PHASES", (Phase.generate,))


@pytest.mark.fault(1, 2, 3, 8, 9, 10, 12, 13, 14, 18)
def test_random_and_damaged_requests_get_a_status_that_tells_nothing(
    tiny_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is sent, the status is a permitted one and quotes nothing; no call hangs, no state is left."""
    monkeypatch.setattr(live, "EXAMPLES", 40)
    checks, figures = fuzz(tiny_store, tmp_path, seed=1, seconds=3.0)
    assert len(checks) == 4
    assert [check for check in checks if not check.holds] == []
    assert "executions a second" in figures


def test_the_fuzzers_notice_a_check_that_raises_an_error_of_its_own(
    tiny_store: Path, tmp_path: Path, broken: Path
) -> None:
    checks, _ = fuzz(tiny_store, tmp_path, seed=1, seconds=6.0, broken_by=[broken / "validator_raises.py"])
    parsing, calls, *_ = checks
    assert not parsing.holds
    assert "INTERNAL" in parsing.found
    assert not calls.holds
    assert "INTERNAL" in calls.found


def test_the_fuzzers_notice_what_the_refusal_of_one_request_of_a_stream_tells(
    tiny_store: Path, tmp_path: Path, broken: Path
) -> None:
    checks, _ = fuzz(tiny_store, tmp_path, seed=1, seconds=6.0, broken_by=[broken / "stream_refusals_tell.py"])
    parsing, calls, *_ = checks
    assert not parsing.holds
    assert "tells a class" in parsing.found
    assert not calls.holds
    assert "tells a class" in calls.found


def test_the_fuzzer_notices_streams_that_stay_open(tiny_store: Path, tmp_path: Path, broken: Path) -> None:
    checks, _ = fuzz(tiny_store, tmp_path, seed=1, seconds=1.0, broken_by=[broken / "streams_stay_open.py"])
    assert [check for check in checks if not check.holds] == [checks[2]]
    assert "opened" in checks[2].found


def test_the_fuzzer_notices_slots_that_leak(tiny_store: Path, tmp_path: Path, broken: Path) -> None:
    checks, _ = fuzz(tiny_store, tmp_path, seed=1, seconds=1.0, broken_by=[broken / "slots_leak.py"])
    assert not checks[2].holds
    assert " 0 slots promised" not in checks[2].found


def test_requests_for_inference_whose_parts_fit_together_are_read_and_mean_what_they_were_made_of() -> None:
    options = pb.DecodingOptions(
        beam_size=4, seed=2**64 - 1, disable_unknown=True, length_penalty=0.5, suppress_tokens=["a", "b"]
    )
    options.terms.add(phrases=["Hund", "Tier"])
    options.sampling.temperature = 1.5
    for is_raw in (False, True):
        request = inference_pb2.ModelInferRequest()
        fit_together(request, ["one", ""], list(parameters_of(options)), is_raw=is_raw)
        translate, parameters = translate_request(request)
        assert list(translate.texts) == ["one", ""]
        assert parameters.options == options


def test_both_protocols_are_attacked() -> None:
    assert {method.path.split("/")[1] for method in METHODS} == {
        "stepstream.v1.TranslationService",
        "inference.GRPCInferenceService",
    }


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.path)
def test_an_input_stands_for_the_messages_it_was_made_of(method) -> None:
    requests = (b"one", b"", b"three") if method.requests_stream else (b"one",)
    assert split(join(method, requests)) == (method, requests)


@pytest.mark.parametrize(
    ("details", "what"),
    [
        ("Traceback (most recent call last)", "a traceback"),
        ("no such file: /usr/lib/model", "a path"),
        ("Unexpected <class 'DecodeError'>", "a class"),
        ("in service.engine.runner", "a module"),
        ("no piece 'ba zqxv'", "what the client wrote"),
        ("no such model is loaded; ListModels tells which there are", None),
        ("max_length is 300; it must be from 1 to 256, or 0 for 256", None),
    ],
)
def test_details_that_tell_of_the_inside_are_noticed(details: str, what: str | None) -> None:
    assert told_internals(details) == what
