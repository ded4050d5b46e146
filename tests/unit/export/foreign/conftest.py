"""Foreign pairs, imported once each."""

from collections.abc import Callable
from pathlib import Path

import pytest

from export.foreign.publish import import_onnx
from tests.unit.export.foreign.pairs import PAIRS, Pair


@pytest.fixture(scope="session")
def import_pair(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Pair, Path]]:
    """A pair by its name, and the version that it was published as."""
    made: dict[str, tuple[Pair, Path]] = {}

    def make(name: str) -> tuple[Pair, Path]:
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            pair = PAIRS[name][0]()
            made[name] = pair, import_onnx(pair.write(folder / "theirs"), model_store=folder / "store")
        return made[name]

    return make
