"""What runs in a process of its own gives its result, its error, or word of its end."""

import os
import signal

import numpy as np
import pytest

from export.errors import PublishError, TokensDifferError
from export.recording import record, recorded
from export.separately import separately


def describe(*words, end):
    return os.getpid(), " ".join(words) + end


def fail():
    raise TokensDifferError("2 of 3 are those of the original")


def be_killed():
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_result_comes_from_another_process():
    process, text = separately(describe, "a", "b", end=".")
    assert process != os.getpid()
    assert text == "a b."


def test_an_error_is_the_one_that_was_raised_there():
    with pytest.raises(TokensDifferError, match=r"^2 of 3 are those of the original$"):
        separately(fail)


def test_a_process_that_is_killed_is_an_error_of_publishing():
    with pytest.raises(PublishError, match="the process of be_killed was killed"):
        separately(be_killed)


def test_outputs_are_read_as_they_were_recorded(tmp_path):
    groups = [
        {"logits": np.float32([[1.5, -np.inf]]), "new_keys": np.zeros((2, 0, 3), np.float32)},
        {"logits": np.float32([[np.nan, 0.0]])},
    ]
    record(tmp_path / "outputs", iter(groups))
    for found, wanted in zip(recorded(tmp_path / "outputs"), groups, strict=True):
        assert found.keys() == wanted.keys()
        for name, array in wanted.items():
            np.testing.assert_array_equal(found[name], array)
