"""The command line: what it prints, the one line of each failure, the exit status."""

import os
import re
import signal
import subprocess
import sys
import threading
import time

import grpc
import pytest


def assert_one_line(error, *parts):
    assert error.count("\n") == 1
    assert error.endswith("\n")
    assert "Traceback" not in error
    for part in parts:
        assert part in error


def test_translate_prints_the_translation_and_nothing_else(run, fake_service):
    assert run("translate", "two words", "--address", fake_service.address) == (0, "TWO WORDS\n", "")


def test_translate_passes_its_options_on(run, fake_service):
    options = ["--model", "shout", "--version", 3, "--max-length", 9, "--attention"]
    assert run("translate", "a", "--address", fake_service.address, *options)[0] == 0
    (request,) = fake_service.requests
    assert (request.model, request.version, request.options.max_length) == ("shout", 3, 9)
    assert request.include_attention


def test_steps_shows_each_step_with_its_log_probability_and_the_text_so_far(run, fake_service):
    _, output, _ = run("translate", "two words", "--address", fake_service.address, "--steps")
    lines = output.splitlines()
    assert lines[0].split() == ["0", "▁TWO", "-0.2500", "TWO"]
    assert lines[1].split() == ["1", "▁WORDS", "-0.2500", "TWO", "WORDS"]
    assert lines[3].split() == ["=>", "TWO", "WORDS"]
    assert "3 steps" in lines[4]
    assert "first token" in lines[4]


def test_steps_with_attention_shows_the_most_attended_source_piece_of_each_step(run, fake_service):
    _, output, _ = run("translate", "two words", "--address", fake_service.address, "--steps", "--attention")
    assert output.splitlines()[1].split() == ["1", "▁WORDS", "-0.2500", "▁words", "0.75", "TWO", "WORDS"]


def test_attention_alone_draws_it(run, fake_service):
    status, output, error = run("translate", "two words", "--address", fake_service.address, "--attention")
    assert (status, error) == (0, "")
    assert output.splitlines()[1:5] == [
        "                 two words </s>",
        "   ▁TWO          ███ ░░░░░ ░░░░",
        "   ▁WORDS        ░░░ █████ ░░░░",
        "   </s>          ░░░ ░░░░░ ████",
    ]
    assert output.splitlines()[5].strip() == "=> TWO WORDS"


@pytest.mark.fault(58)
def test_a_translation_that_goes_on_elsewhere_is_whole_and_told_of_beside_its_steps(run, fake_service):
    """A server is lost in mid-stream: the text is whole and stderr silent, but for a line where steps are shown."""
    fake_service.cuts["two words"] = [1, 1]
    addresses = f"{fake_service.address},{fake_service.address}"
    assert run("translate", "two words", "--address", addresses) == (0, "TWO WORDS\n", "")
    fake_service.cuts["two words"] = [1]
    status, output, error = run("translate", "two words", "--address", addresses, "--steps")
    assert (status, output.count("WORDS")) == (0, 4)
    assert error == "-- the server was lost after 1 tokens; continuing on another\n"


@pytest.mark.fault(58)
def test_a_translation_that_may_not_be_tried_again_ends_with_one_line(run, fake_service):
    """A server is lost in mid-stream, and the command is to try once: one line says so, with status 1."""
    fake_service.cuts["two words"] = [1]
    status, _, error = run("translate", "two words", "--address", fake_service.address, "--max-attempts", 1)
    assert status == 1
    assert_one_line(error, "Stream removed")


def test_a_model_without_attention_gives_one_line(run, fake_service):
    fake_service.failures["a"] = [(grpc.StatusCode.INVALID_ARGUMENT, "model 'shout' has no attention")]
    status, output, error = run("translate", "a", "--model", "shout", "--address", fake_service.address, "--attention")
    assert (status, output, error) == (1, "", "stepstream: model 'shout' has no attention\n")


def test_a_long_translation_is_one_line_where_the_output_is_no_terminal(run, fake_service):
    text = "word " * 200
    _, output, _ = run("translate", text, "--address", fake_service.address)
    assert output == text.upper().strip() + "\n"


def test_text_that_looks_like_markup_is_shown_as_it_is(run, fake_service):
    text = "[bold]a[/bold] :smile: [/]"
    _, output, _ = run("translate", text, "--address", fake_service.address)
    assert output == text.upper() + "\n"


def test_translate_without_a_model_needs_a_server_with_one_model(run, fake_service, add_model):
    add_model("shout", 2)
    assert run("translate", "a", "--address", fake_service.address)[0] == 0
    add_model("other", 1)
    status, output, error = run("translate", "a", "--address", fake_service.address)
    assert (status, output) == (1, "")
    assert_one_line(error, "--model", "shout", "other")
    fake_service.models.clear()
    status, _, error = run("translate", "a", "--address", fake_service.address)
    assert status == 1
    assert_one_line(error, "has no model")


def test_translate_writes_a_file(run, fake_service, tmp_path):
    source, target = tmp_path / "in", tmp_path / "out"
    source.write_text("one\n\ntwo\n")
    command = ["translate", "--file", source, "--output", target, "--address", fake_service.address]
    assert run(*command, "--concurrency", 2) == (0, "", "")
    assert target.read_text() == "ONE\n\nTWO\n"


def test_a_file_that_fails_gives_one_line_and_no_output_file(run, fake_service, tmp_path):
    fake_service.failures["two"] = [(grpc.StatusCode.INVALID_ARGUMENT, "the text is too long")]
    source, target = tmp_path / "in", tmp_path / "out"
    source.write_text("one\ntwo\n")
    status, _, error = run("translate", "--file", source, "--output", target, "--address", fake_service.address)
    assert status == 1
    assert_one_line(error, "line 2: the text is too long")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_a_file_that_does_not_exist_gives_one_line(run, fake_service, tmp_path):
    missing = tmp_path / "missing"
    command = ["translate", "--file", missing, "--output", tmp_path / "out", "--address", fake_service.address]
    status, _, error = run(*command)
    assert status == 1
    assert_one_line(error, str(missing), "No such file")


def test_a_seed_is_sent_as_given_and_none_unless_given(run, fake_service, tmp_path):
    (tmp_path / "in").write_text("one\n")
    file = ("--file", tmp_path / "in", "--output", tmp_path / "out")
    for what in (("one",), file):
        for seed in (None, 0, 2**64 - 1):
            chosen = () if seed is None else ("--seed", seed)
            assert run("translate", *what, *chosen, "--address", fake_service.address)[0] == 0
            options = fake_service.requests[-1].options
            assert (options.seed if options.HasField("seed") else None) == seed
    for seed in ("-1", 2**64, "x"):
        status, _, error = run("translate", "one", f"--seed={seed}", "--address", fake_service.address)
        assert status == 2
        assert "is not a number from 0 to 2^64 - 1" in error


def test_models_is_a_table_of_every_version(run, fake_service, add_model):
    add_model("a-rather-long-name-for-a-recurrent-model-of-two-languages", 12, family="recurrent")
    status, output, error = run("models", "--address", fake_service.address)
    assert (status, error) == (0, "")
    (row,) = [line for line in output.splitlines() if "recurrent-model" in line]
    name = "a-rather-long-name-for-a-recurrent-model-of-two-languages"
    assert re.split(r" {2,}", row.strip()) == [
        name,
        "12",
        "en -> de",
        "recurrent",
        "int8",
        "CPU",
        "256/128",
        "made up, soft",
    ]


def test_a_narrow_terminal_cuts_nothing_off_the_model_s_name(run, fake_service, add_model, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    name = "en-de-" + "very-" * 15 + "large"
    add_model(name, 12, family="recurrent")
    _, output, _ = run("models", "--address", fake_service.address)
    (row,) = [line for line in output.splitlines() if name in line]
    assert all(part in row for part in ("12", "en -> de", "recurrent ", " int8", "256/128"))


def test_models_with_a_name_shows_the_certificate(run, fake_service):
    status, output, _ = run("models", "shout", "--address", fake_service.address)
    assert status == 0
    assert '"source": "Hello."' in output
    assert "CPUExecutionProvider" in output


@pytest.mark.parametrize(
    "command",
    [
        ("translate", "a", "--model", "shout"),
        ("interactive", "shout", "a"),
        ("score", "a", "b", "--model", "shout"),
        ("models",),
        ("models", "shout"),
        ("demo",),
    ],
)
def test_an_unreachable_server_gives_one_line(run, stdin, command):
    status, output, error = run(*command, "--address", "127.0.0.1:1")
    assert status == 1
    assert "127.0.0.1:1" in output if command == ("demo",) else output == ""
    assert_one_line(error, "no server answers at 127.0.0.1:1")


@pytest.mark.parametrize(
    ("code", "details"),
    [
        (grpc.StatusCode.NOT_FOUND, "no model 'x'"),
        (grpc.StatusCode.INVALID_ARGUMENT, "the text is too long: 10001 characters, at most 10000"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "the queue is full"),
        (grpc.StatusCode.UNAVAILABLE, "the server is stopping"),
        (grpc.StatusCode.INTERNAL, "several\nlines"),
    ],
)
def test_each_failure_of_the_server_gives_one_line(run, fake_service, code, details):
    fake_service.failures["bad"] = [(code, details)] * 4
    status, output, error = run("translate", "bad", "--model", "shout", "--address", fake_service.address)
    assert (status, output) == (1, "")
    assert_one_line(error, " ".join(details.split()))


@pytest.mark.parametrize(
    "arguments",
    [
        ("translate",),
        ("translate", "a", "--file", "b", "--output", "c"),
        ("translate", "--file", "b"),
        ("translate", "a", "--output", "c"),
        ("translate", "--file", "b", "--output", "c", "--steps"),
        ("translate", "--file", "b", "--output", "c", "--attention-plot", "d.png"),
        ("translate", "a", "--attention-plot", "b.gif"),
        ("translate", "a", "--attention-plot", "png"),
        ("translate", "a", "--address", "nowhere"),
        ("translate", "a", "--address", "127.0.0.1:1,nowhere"),
        ("translate", "a", "--max-attempts", "0"),
        ("translate", "a", "--max-length", "0"),
        ("translate", "a", "--top-k", "5"),
        ("translate", "a", "--sample", "--top-k", "-1"),
        ("translate", "a", "--sample", "--temperature", "hot"),
        ("translate", "a", "--term", "b|"),
        ("translate", "a", "--candidates", "2"),
        ("translate", "--file", "b", "--output", "c", "--num-hypotheses", "2"),
        ("translate", "--file", "b", "--output", "c", "--alternatives"),
        ("interactive", "shout"),
        ("interactive", "shout", "a", "--min-p", "0.1"),
        ("interactive", "shout", "a", "--beam-size", "2"),
        ("score", "a"),
        ("translate", "--file", "b", "--output", "c", "--concurrency", "none"),
        ("models", "--version", "1"),
        ("demo", "--address", "a:1", "--model-store", "b"),
        ("sing",),
        (),
    ],
)
def test_arguments_that_make_no_sense_give_one_line_and_status_2(run, arguments):
    status, output, error = run(*arguments)
    assert (status, output) == (2, "")
    assert_one_line(error)


def test_client_commands_load_neither_onnxruntime_nor_matplotlib():
    script = "import sys, service.cli; print({'onnxruntime', 'matplotlib', 'numpy'} & sys.modules.keys())"
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert output == "set()\n"


@pytest.mark.parametrize("kind", ["text", "file"])
def test_ctrl_c_exits_with_130_and_says_nothing(fake_service, tmp_path, kind):
    fake_service.holds["one"] = threading.Event()
    (tmp_path / "in").write_text("one\n")
    what = ["one"] if kind == "text" else ["--file", str(tmp_path / "in"), "--output", str(tmp_path / "out")]
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "service.cli",
            "translate",
            *what,
            "--model",
            "shout",
            "--address",
            fake_service.address,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONWARNINGS": "error"},
    )
    with process:
        while not fake_service.requests:
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        output, error = process.communicate(timeout=10)
    assert (process.returncode, output, error) == (130, "", "")
    assert fake_service.cancelled.wait(5.0)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_the_demo_shows_a_model_of_each_family_step_by_step(run, fake_service, add_model):
    add_model("shout", 2)
    add_model("loud-rnn", 4, family="recurrent")
    status, output, error = run("demo", "--address", fake_service.address)
    assert (status, error) == (0, "")
    lines = output.splitlines()
    assert [line.split()[0] for line in lines if " version " in line] == ["shout", "loud-rnn"]
    place = lines.index("   Two dogs play in the snow.")
    assert lines[place + 1].split() == ["0", "▁TWO", "-0.2500", "TWO"]
    assert lines[place + 2].split() == ["1", "▁DOGS", "-0.2500", "TWO", "DOGS"]
    assert lines[place + 8].strip() == "=> TWO DOGS PLAY IN THE SNOW."
    assert {request.version for request in fake_service.requests} == {1, 4}


def test_the_demo_draws_the_attention_of_one_sentence_by_each_family(run, fake_service, add_model):
    add_model("loud-rnn", 4, family="recurrent")
    lines = run("demo", "--address", fake_service.address)[1].splitlines()
    drawn = [request for request in fake_service.requests if request.include_attention]
    assert [request.model for request in drawn] == ["shout", "loud-rnn"]
    head, _ = [line for line in lines if line.split() == [*drawn[0].text.split(), "</s>"]]
    first_row = lines[lines.index(head) + 1]
    assert first_row.split()[0] == f"▁{drawn[0].text.split()[0].upper()}"
    assert first_row.index("█") == head.index(drawn[0].text.split()[0])


def test_the_demo_prefers_models_from_english_to_german(run, fake_service, add_model):
    fake_service.models.clear()
    add_model("a", 1, source_language="de", target_language="en")
    add_model("b", 1, target_language="fr")
    add_model("c", 1)
    add_model("d", 1, family="recurrent", source_language="de", target_language="en")
    add_model("e", 1, family="recurrent", target_language="fr")
    assert run("demo", "--address", fake_service.address)[0] == 0
    assert [request.model for request in fake_service.requests] == ["c"] * 3 + ["e"] * 3


def test_the_demo_translates_a_sentence_of_its_kind_into_korean(run, fake_service, add_model):
    add_model("loud-rnn", 4, family="recurrent")
    add_model("from-german", 1, source_language="de", target_language="ko")
    add_model("korean", 2, target_language="ko")
    add_model("korean", 3, target_language="ko")
    output = run("demo", "--address", fake_service.address)[1]
    assert (fake_service.requests[-1].model, fake_service.requests[-1].version) == ("korean", 2)
    assert fake_service.requests[-1].text == "Failed to save the file “%s”."
    assert [request.model for request in fake_service.requests].count("korean") == 1
    assert "=> FAILED TO SAVE THE FILE “%S”." in output


def test_the_demo_names_the_family_that_is_missing(run, fake_service):
    status, _, error = run("demo", "--address", fake_service.address)
    assert status == 1
    assert_one_line(error, "no recurrent model")
    assert fake_service.requests == []
