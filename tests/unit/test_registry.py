from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from service.errors import InvalidRequestError, ModelNotFoundError
from service.registry import Registry


def make_model(name: str, version: int) -> Any:
    return SimpleNamespace(manifest=SimpleNamespace(name=name, version=version))


@pytest.fixture
def registry() -> Registry:
    registry = Registry()
    for name, version in (("b", 2), ("a", 1), ("b", 10), ("b", 9)):
        registry.add(make_model(name, version))
    return registry


def test_version_0_is_the_newest(registry: Registry) -> None:
    assert registry.find("b", 0).manifest.version == 10
    assert registry.find("b", 9).manifest.version == 9


def test_models_are_listed_by_name_then_by_version(registry: Registry) -> None:
    listed = [(model.manifest.name, model.manifest.version) for model in registry.all()]
    assert listed == [("a", 1), ("b", 2), ("b", 9), ("b", 10)]


@pytest.mark.parametrize(("name", "version"), [("c", 0), ("b", 3)])
def test_what_is_not_loaded_is_not_found(registry: Registry, name: str, version: int) -> None:
    with pytest.raises(ModelNotFoundError):
        registry.find(name, version)


@pytest.mark.parametrize(("name", "version"), [("", 0), ("b", -1), ("B", 0), ("../b", 0)])
def test_nonsense_is_invalid(registry: Registry, name: str, version: int) -> None:
    with pytest.raises(InvalidRequestError):
        registry.find(name, version)
