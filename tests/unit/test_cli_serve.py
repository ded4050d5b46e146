"""`stepstream serve`: every setting has a flag, and what is wrong is said in one line."""

import sys
import types

import pytest

from service.model.errors import BundleError
from service.settings import Settings


@pytest.fixture
def fake_server_module(monkeypatch):
    """Stands in for what serves; `settings` collects what it was run with, `error` is raised if set."""
    module = types.ModuleType("service.supervisor")
    module.settings = []
    module.error = None

    def run(settings):
        module.settings.append(settings)
        if module.error is not None:
            raise module.error
        return 0

    module.run = run
    monkeypatch.setitem(sys.modules, "service.supervisor", module)
    return module


def test_serve_has_a_flag_for_every_setting_with_its_description_and_default(run):
    status, output, _ = run("serve", "--help")
    assert status == 0
    words = " ".join(output.split())
    for name, field in Settings.model_fields.items():
        assert f"--{name.replace('_', '-')}" in words
        assert " ".join(field.description.split()[:3]) in words
    assert "(default: 8001)" in words


def test_serve_passes_flags_over_the_environment_over_the_file(run, fake_server_module, monkeypatch, tmp_path):
    (tmp_path / "settings.toml").write_text("port = 1\nmax_slots = 2\nmax_texts = 3\n")
    monkeypatch.setenv("STEPSTREAM_SETTINGS_FILE", str(tmp_path / "settings.toml"))
    monkeypatch.setenv("STEPSTREAM_PORT", "11")
    monkeypatch.setenv("STEPSTREAM_MAX_SLOTS", "12")
    flags = ["--port", "0", "--no-verify-certificates", "--execution-providers", "cuda:device_id=1,cpu"]
    assert run("serve", *flags) == (0, "", "")
    (settings,) = fake_server_module.settings
    assert (settings.port, settings.max_slots, settings.max_texts) == (0, 12, 3)
    assert settings.verify_certificates is False
    assert settings.execution_providers == ("cuda:device_id=1", "cpu")


def test_serve_names_the_flag_or_the_setting_that_is_wrong(run, fake_server_module, monkeypatch):
    assert "--port" in run("serve", "--port", "x")[2]
    monkeypatch.setenv("STEPSTREAM_MAX_SLOTS", "0")
    assert "max_slots" in run("serve")[2]
    monkeypatch.setenv("STEPSTREAM_SETTINGS_FILE", "/nonexistent.toml")
    status, _, error = run("serve")
    assert status == 2
    assert error == "stepstream: STEPSTREAM_SETTINGS_FILE: /nonexistent.toml does not exist\n"


def test_a_model_that_cannot_be_served_gives_one_line(run, fake_server_module):
    fake_server_module.error = BundleError("en-de/1: encoder.onnx is damaged")
    assert run("serve") == (1, "", "stepstream: en-de/1: encoder.onnx is damaged\n")


@pytest.mark.parametrize(
    "flags",
    [
        ("--port", "70000"),
        ("--execution-providers", "abacus"),
        ("--grace-s", "-1", "--num-threads", "many"),
        ("--sing",),
    ],
)
def test_flags_that_make_no_sense_give_one_line_and_status_2_and_no_server(run, fake_server_module, flags):
    status, output, error = run("serve", *flags)
    assert (status, output) == (2, "")
    assert error.count("\n") == 1
    assert fake_server_module.settings == []
