"""What a training run needs to go on after a kill, saved once an epoch in one file.

Every epoch's batches and dropout come from the seed and the epoch's number: the file needs no reader position and no
random state.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch.optim.swa_utils import AveragedModel


@dataclass(frozen=True)
class Progress:
    """Finished epochs and steps, and how long ago validation was at its best."""

    epoch: int = 0
    step: int = 0
    best_bleu: float | None = None
    epochs_without_gain: int = 0

    def after_step(self) -> Progress:
        return replace(self, step=self.step + 1)

    def after_epoch(self, bleu: float) -> Progress:
        better = self.best_bleu is None or bleu > self.best_bleu
        return replace(
            self,
            epoch=self.epoch + 1,
            best_bleu=bleu if better else self.best_bleu,
            epochs_without_gain=0 if better else self.epochs_without_gain + 1,
        )

    @property
    def is_best(self) -> bool:
        """Whether the last finished epoch was the best so far."""
        return self.epoch > 0 and self.epochs_without_gain == 0


def snapshot(
    path: Path,
    model: torch.nn.Module,
    average: AveragedModel,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
) -> None:
    """Replace the file in one step: a kill leaves the old state or the new one."""
    temporary = path.with_suffix(".new")
    state = {
        "model": model.state_dict(),
        "average": average.state_dict(),
        "optimizer": optimizer.state_dict(),
        "progress": asdict(progress),
    }
    torch.save(state, temporary)
    temporary.replace(path)


def restore(path: Path, model: torch.nn.Module, average: AveragedModel, optimizer: torch.optim.Optimizer) -> Progress:
    """Load the file into model, average and optimizer, or start from nothing where there is none."""
    if not path.exists():
        return Progress()
    state = torch.load(path, map_location="cpu", weights_only=True)
    model.load_state_dict(state["model"])
    average.load_state_dict(state["average"])
    optimizer.load_state_dict(state["optimizer"])
    return Progress(**state["progress"])
