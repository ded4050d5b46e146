"""`stepstream interactive`: beginnings of the translation are read line by line, and each is completed."""

import os
import signal
import subprocess
import sys

import grpc
import pytest

from service.pb import translation_pb2 as pb


@pytest.fixture
def start(fake_service):
    """Starts the command in a process of its own, with a pipe as stdin: start(text) -> the process."""
    processes = []

    def start(text):
        command = [sys.executable, "-m", "service.cli", "interactive", "shout", text, "--address", fake_service.address]
        environment = os.environ | {"PYTHONWARNINGS": "error"}
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environment)
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def test_the_translation_is_printed_and_one_after_each_line(run, fake_service, stdin):
    stdin("ONE", "ONE ZWEI", "EINS", "")
    status, output, error = run("interactive", "shout", "one two", "--address", fake_service.address)
    assert (status, error) == (0, "")
    assert output.splitlines() == ["ONE TWO", "ONE TWO", "ONE ZWEI", "EINS TWO", "ONE TWO"]
    assert fake_service.edits == ["ONE", "ONE ZWEI", "EINS", ""]
    assert fake_service.interactive_closed.is_set()


def test_a_line_is_sent_as_it_is_without_its_end(run, fake_service, stdin):
    stdin(" ÄPFEL \r", "\tB")
    assert run("interactive", "shout", "one", "--address", fake_service.address)[0] == 0
    assert fake_service.edits == [" ÄPFEL ", "\tB"]


def test_the_options_are_sent_with_the_text(run, fake_service, stdin):
    flags = ["--version", 3, "--max-length", 9, "--prefix", "EINS", "--sample", "--top-k", 5, "--seed", 0]
    status, output, _ = run("interactive", "shout", "one two", "--address", fake_service.address, *flags)
    assert (status, output) == (0, "EINS TWO\n")
    (request,) = fake_service.requests
    assert (request.model, request.version, request.text) == ("shout", 3, "one two")
    assert request.options == pb.DecodingOptions(
        max_length=9, target_prefix="EINS", sampling=pb.Sampling(top_k=5), seed=0
    )


def test_a_refused_edit_gives_one_line_and_keeps_what_was_printed(run, fake_service, stdin):
    stdin("EINS", "ZWEI")
    fake_service.failures["EINS"] = [(grpc.StatusCode.INVALID_ARGUMENT, "the prefix is too long")]
    status, output, error = run("interactive", "shout", "one", "--address", fake_service.address)
    assert (status, output, error) == (1, "ONE\n", "stepstream: the prefix is too long\n")


def test_a_line_that_is_not_utf_8_gives_one_line(run, fake_service, stdin):
    with open(sys.stdin.name, "wb") as file:  # noqa: PTH123
        file.write(b"\xff\n")
    status, output, error = run("interactive", "shout", "one", "--address", fake_service.address)
    assert (status, output, error) == (1, "ONE\n", "stepstream: the text is not valid Unicode\n")


def test_each_translation_is_printed_before_the_next_line_is_there(start):
    process = start("one two")
    assert process.stdout.readline() == "ONE TWO\n"
    for edit in ("EINS", "ZWEI"):
        process.stdin.write(f"{edit}\n")
        process.stdin.flush()
        assert process.stdout.readline() == f"{edit} TWO\n"
    assert process.communicate() == ("", "")
    assert process.returncode == 0


def test_ctrl_c_while_a_line_is_awaited_exits_with_130_and_says_nothing(start, fake_service):
    process = start("one two")
    assert process.stdout.readline() == "ONE TWO\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 130
    assert (process.stdout.read(), process.stderr.read()) == ("", "")
    assert fake_service.interactive_ended.wait(5.0)
