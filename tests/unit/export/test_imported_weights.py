"""Tensors of a checkpoint, read where they lie or copied from there."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from export.errors import ImportedModelError
from export.imports.origin import Origin
from export.imports.weights import Weights

ROWS, COLUMNS = 700, 300


@pytest.fixture(params=[torch.float32, torch.float16], ids=str)
def tensors(request: pytest.FixtureRequest) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    return {
        name: torch.randn(ROWS + more, COLUMNS, generator=generator).to(request.param)
        for more, name in enumerate(("q", "k", "v"))
    }


@pytest.fixture
def weights(tensors: dict[str, torch.Tensor], tmp_path: Path) -> Weights:
    save_file(tensors, tmp_path / "model.safetensors")
    return Weights(tmp_path)


def test_parameters_of_several_tensors_are_copied_and_what_was_copied_is_read_again(
    tensors: dict[str, torch.Tensor], weights: Weights
) -> None:
    """Two parameters share a tensor whose pages the first of them has let go of."""
    held = weights.read("k")
    for names in (("q", "k"), ("k", "v"), ("k",)):
        wanted = torch.cat([tensors[name].float() for name in names])
        wanted[: len(tensors[names[0]])] *= 0.5
        assert torch.equal(Origin(names, scale=0.5).read(weights), wanted)
    assert torch.equal(Origin(("q", "v"), rows=(3, -2)).read(weights), torch.cat([tensors["q"], tensors["v"]])[3:-2])
    assert torch.equal(held, tensors["k"].float())


def test_what_lies_in_the_file_as_it_is_wanted_is_not_copied(
    tensors: dict[str, torch.Tensor], weights: Weights
) -> None:
    one, again = Origin(("q",)).read(weights), Origin(("q",)).read(weights)
    assert (one.data_ptr() == again.data_ptr()) is (tensors["q"].dtype is torch.float32)


def test_a_tensor_that_does_not_fit_under_the_first_is_named(tmp_path: Path) -> None:
    """One column is not taken for as many as the others have."""
    save_file({"q": torch.ones(4, 3), "k": torch.ones(4, 1)}, tmp_path / "model.safetensors")
    weights = Weights(tmp_path)
    for ask in (Origin(("q", "k")).shape, Origin(("q", "k")).read):
        with pytest.raises(ImportedModelError, match=r"k is \[4, 1\], which does not fit under \[4, 3\]"):
            ask(weights)


def test_a_tensor_that_is_not_there_is_named(weights: Weights) -> None:
    with pytest.raises(ImportedModelError, match="has no w"):
        Origin(("q", "w")).read(weights)


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="only Linux says what a process maps")
def test_copied_tensors_are_in_memory_once(tmp_path: Path) -> None:
    """Of 64 MiB that were copied, none of the file's pages stay."""
    save_file({name: torch.ones(4096, 1024) for name in "abcd"}, tmp_path / "model.safetensors")
    weights = Weights(tmp_path)
    before = _mapped_mib(tmp_path)
    whole = Origin(tuple("abcd")).read(weights)
    assert whole.sum() == whole.numel()
    assert _mapped_mib(tmp_path) - before < 1


def _mapped_mib(folder: Path) -> float:
    """Of the files in FOLDER that are in this process's memory."""
    kib, is_inside = 0, False
    for line in Path("/proc/self/smaps").read_text(encoding="utf-8").splitlines():
        if " " in line and "-" in line.split()[0]:
            is_inside = str(folder) in line
        elif is_inside and line.startswith("Rss:"):
            kib += int(line.split()[1])
    return kib / 1024
