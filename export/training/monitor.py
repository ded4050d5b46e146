"""An epoch's metrics on TensorBoard, in metrics.csv and as a learning-curve picture."""

from __future__ import annotations

import csv
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from pydantic import TypeAdapter
from torch.utils.tensorboard import SummaryWriter

METRICS_FILE = "metrics.csv"
CURVE_FILE = "learning_curve.png"


@dataclass(frozen=True)
class EpochMetrics:
    """Losses in nats a token (training: smoothed, with dropout), BLEU greedy, throughput in target tokens."""

    epoch: int
    step: int
    train_loss: float
    validation_loss: float
    validation_bleu: float
    learning_rate: float
    tokens_per_second: float
    seconds: float

    def line(self) -> str:
        return (
            f"epoch {self.epoch}  loss {self.train_loss:.3f}  validation loss {self.validation_loss:.3f}"
            f"  BLEU {self.validation_bleu:.2f}  {self.tokens_per_second:.0f} tokens/s  {self.seconds:.0f} s"
        )


class Monitor:
    """Owns the metrics of one run; a resumed run forgets what lies after the epoch that it resumes from."""

    def __init__(self, folder: Path, *, first_epoch: int) -> None:
        self._folder = folder
        self._history = [m for m in read_metrics(folder / METRICS_FILE) if m.epoch <= first_epoch]
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=first_epoch + 1)

    def record(self, metrics: EpochMetrics) -> None:
        self._history.append(metrics)
        for name, value in asdict(metrics).items():
            self._board.add_scalar(name, value, metrics.epoch)
        self._board.flush()
        temporary = self._folder / (METRICS_FILE + ".new")
        with temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, [field.name for field in fields(EpochMetrics)])
            writer.writeheader()
            writer.writerows(asdict(m) for m in self._history)
        temporary.replace(self._folder / METRICS_FILE)
        draw_curve(self._history, self._folder / CURVE_FILE)

    def close(self) -> None:
        self._board.close()


def read_metrics(path: Path) -> list[EpochMetrics]:
    """The rows of metrics.csv, or none where the file does not exist."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [TypeAdapter(EpochMetrics).validate_python(row) for row in csv.DictReader(file)]


def draw_curve(history: list[EpochMetrics], path: Path) -> None:
    """Losses on the left axis, validation BLEU on the right one, by epoch."""
    epochs = [m.epoch for m in history]
    figure, losses = plt.subplots(figsize=(8, 4.5), layout="constrained")
    losses.plot(epochs, [m.train_loss for m in history], label="training loss (smoothed)", color="tab:gray")
    losses.plot(epochs, [m.validation_loss for m in history], label="validation loss", color="tab:blue")
    losses.set(xlabel="epoch", ylabel="nats a token")
    bleu = losses.twinx()
    bleu.plot(epochs, [m.validation_bleu for m in history], label="validation BLEU (greedy)", color="tab:orange")
    bleu.set_ylabel("BLEU")
    figure.legend(loc="outside upper center", ncols=3)
    figure.savefig(path, dpi=120)
    plt.close(figure)
