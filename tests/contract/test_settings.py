"""The settings are documented, come from flags, environment and file in that order, and refuse nonsense in words."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from service.settings import FILE_VARIABLE, Settings, parse_providers


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.upper().startswith("STEPSTREAM_")]:
        monkeypatch.delenv(name)


def settings_file(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = folder / "settings.toml"
    path.write_text(text)
    monkeypatch.setenv(FILE_VARIABLE, str(path))
    return path


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_has_a_description_and_a_default(name: str) -> None:
    field = Settings.model_fields[name]
    assert field.description
    assert not field.is_required()


def test_the_defaults_are_valid_and_listen_on_this_machine_alone() -> None:
    settings = Settings.model_validate(Settings().model_dump())
    assert settings == Settings()
    assert settings.host == "127.0.0.1"


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("host", "0.0.0.0", "0.0.0.0"),
        ("port", "9001", 9001),
        ("metrics_port", "0", 0),
        ("model_store", "/srv/models", Path("/srv/models")),
        ("execution_providers", "cuda:device_id=1,cpu", ("cuda:device_id=1", "cpu")),
        ("grace_s", "2.5", 2.5),
        ("verify_certificates", "false", False),
    ],
)
def test_a_setting_comes_from_its_environment_variable(
    name: str, text: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"STEPSTREAM_{name.upper()}", text)
    assert getattr(Settings(), name) == value


def test_settings_come_from_a_toml_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings_file(tmp_path, 'port = 9001\nexecution_providers = ["cuda", "cpu"]\nmodel_store = "m"\n', monkeypatch)
    settings = Settings()
    assert (settings.port, settings.execution_providers, settings.model_store) == (9001, ("cuda", "cpu"), Path("m"))


def test_a_file_may_give_execution_providers_as_one_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings_file(tmp_path, 'execution_providers = "cuda,cpu"\n', monkeypatch)
    assert Settings().execution_providers == ("cuda", "cpu")


def test_flags_win_over_the_environment_and_the_environment_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings_file(tmp_path, "port = 1\nmax_slots = 1\nmax_texts = 1\n", monkeypatch)
    monkeypatch.setenv("STEPSTREAM_PORT", "2")
    monkeypatch.setenv("STEPSTREAM_MAX_SLOTS", "2")
    settings = Settings(port=3)
    assert (settings.port, settings.max_slots, settings.max_texts) == (3, 2, 1)


def test_a_settings_file_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FILE_VARIABLE, "/nowhere/settings.toml")
    with pytest.raises(FileNotFoundError, match=r"STEPSTREAM_SETTINGS_FILE: /nowhere/settings\.toml does not exist"):
        Settings()


def test_a_word_in_the_file_that_is_no_setting_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings_file(tmp_path, "prot = 9001\n", monkeypatch)
    with pytest.raises(ValidationError, match="prot"):
        Settings()


@pytest.mark.parametrize("providers", ["tpu", "cpu,tpu", ""])
def test_an_unknown_execution_provider_is_refused_with_the_known_ones(
    providers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEPSTREAM_EXECUTION_PROVIDERS", providers)
    with pytest.raises(ValidationError, match=r"unknown execution provider '(tpu)?'; known are cpu, cuda"):
        Settings()


def test_an_option_without_a_value_is_refused() -> None:
    with pytest.raises(ValidationError, match="an option of cuda has no value: 'device_id'"):
        Settings(execution_providers=("cuda:device_id",))


def test_providers_keep_their_order_and_their_options() -> None:
    assert parse_providers(("cuda:device_id=1; arena_extend_strategy=kSameAsRequested", " cpu")) == [
        ("CUDAExecutionProvider", {"device_id": "1", "arena_extend_strategy": "kSameAsRequested"}),
        ("CPUExecutionProvider", {}),
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", "65536"),
        ("port", "-1"),
        ("max_slots", "0"),
        ("num_threads", "0"),
        ("num_workers", "-1"),
        ("engine_niceness", "-1"),
        ("engine_niceness", "20"),
        ("grace_s", "0"),
        ("port", "x"),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"STEPSTREAM_{name.upper()}", value)
    with pytest.raises(ValidationError, match=name):
        Settings()


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().port = 1  # type: ignore[misc]


def test_the_deployment_page_lists_every_setting_with_its_default() -> None:
    page = (Path(__file__).parents[2] / "deploy" / "README.md").read_text(encoding="utf-8")
    for row in settings_table():
        assert row in page.splitlines()


def settings_table() -> list[str]:
    """The rows of the page's table, as the fields of Settings have them."""
    rows = []
    for name, field in Settings.model_fields.items():
        default = ",".join(field.default) if isinstance(field.default, tuple) else str(field.default)
        rows.append(
            f"| `--{name.replace('_', '-')}` | `STEPSTREAM_{name.upper()}` | `{default}` | {field.description} |"
        )
    return rows


def test_a_heavy_model_has_an_engine_for_each_core_and_a_light_one_has_one(monkeypatch):
    for cores, threads, heavy in ((2, 1, 2), (64, 1, 4), (8, 4, 2), (1, 4, 1)):
        monkeypatch.setattr("service.settings.num_cores", lambda cores=cores: cores)
        settings = Settings(num_threads=threads)
        assert (settings.num_engines(2**28), settings.num_engines(2**22)) == (heavy, 1)
    assert Settings(num_workers=3).num_engines(2**22) == 3


def test_versions_that_are_loaded_on_demand_are_one_process_s() -> None:
    with pytest.raises(ValidationError, match="explicit"):
        Settings(num_processes=2, model_control="explicit")
    assert Settings(num_processes=2, model_control="watch").num_processes == 2
