"""A child process that stands in for the server: small scripts with the line that a ready server prints."""

import os
import sys
import time

import pytest

from service.client.errors import ServerProcessError, ServerUnreachableError
from service.client.server_process import running_server

READY = "print('stepstream: serving on 127.0.0.1:4242', flush=True)\n"
SERVE = "import signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit({status}))\n"
WAIT = "time.sleep(30)\n"


def make_command(script):
    return [sys.executable, "-c", script]


def notice_that_it_is_gone():
    time.sleep(0.5)
    raise ServerUnreachableError("gone")


def test_the_block_gets_the_address_and_the_server_is_stopped_after_it(tmp_path):
    pid_file = tmp_path / "pid"
    script = f"import os, pathlib\npathlib.Path({str(pid_file)!r}).write_text(str(os.getpid()))\n"
    with running_server(make_command(script + SERVE.format(status=0) + "print('hello')\n" + READY + WAIT)) as address:
        assert address == "127.0.0.1:4242"
        os.kill(int(pid_file.read_text()), 0)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)


def test_a_talkative_server_never_waits_for_its_output_to_be_read():
    talk = "print(('x' * 99 + '\\n') * 10_000, flush=True)\n"
    with running_server(make_command(SERVE.format(status=0) + READY + talk + WAIT), stop_timeout_s=5) as address:
        time.sleep(0.1)
    assert address == "127.0.0.1:4242"


def test_a_server_that_dies_at_the_start_shows_its_last_words(capsys):
    script = "import sys\nprint('no model store', file=sys.stderr)\nsys.exit(3)\n"
    with (
        pytest.raises(ServerProcessError, match="exited with status 3 before it was ready"),
        running_server(make_command(script)),
    ):
        pytest.fail("the block ran")
    assert "no model store" in capsys.readouterr().err


def test_a_server_that_is_never_ready_is_given_up():
    with (
        pytest.raises(ServerProcessError, match="not ready after"),
        running_server(make_command("import time\n" + WAIT), start_timeout_s=0.5),
    ):
        pytest.fail("the block ran")


def test_a_server_that_exits_with_an_error_when_stopped_is_an_error(capsys):
    script = SERVE.format(status=4) + "print('lost a request', file=sys.stderr)\n" + READY + WAIT
    with (
        pytest.raises(ServerProcessError, match="exited with status 4 when asked to stop"),
        running_server(make_command(script)),
    ):
        pass
    assert "lost a request" in capsys.readouterr().err


def test_a_server_that_does_not_stop_is_killed():
    script = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + READY + WAIT
    with (
        pytest.raises(ServerProcessError, match="did not stop"),
        running_server(make_command(script), stop_timeout_s=0.3),
    ):
        pass


def test_a_server_that_dies_during_the_block_shows_its_last_words_and_the_block_s_error_stays(capsys):
    script = "import sys\n" + READY + "print('out of memory', file=sys.stderr)\n"
    with pytest.raises(ServerUnreachableError, match="gone"), running_server(make_command(script)):
        notice_that_it_is_gone()
    assert "out of memory" in capsys.readouterr().err


def test_a_command_that_does_not_exist_is_an_error():
    with pytest.raises(ServerProcessError, match="cannot be started"), running_server(["/nonexistent/server"]):
        pytest.fail("the block ran")
