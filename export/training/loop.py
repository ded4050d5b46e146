"""The training loop: optimise, average the weights, validate, keep the best, resume after a kill.

Device, precision and processes come from Lightning Fabric. It does not know which family it trains.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import sentencepiece
import torch
from lightning_fabric import Fabric
from safetensors import SafetensorError
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from export.checkpoint import CONFIGURATION_FILE, VOCABULARY_FILE, WEIGHTS_FILE, save_weights, start_from
from export.configuration import OptimizationConfiguration, TrainingConfiguration
from export.errors import ConfigurationError, DivergedError
from export.metrics import bleu
from export.models.build import build_model
from export.models.contract import TranslationModel
from export.models.control_tokens import PAD_ID
from export.training.command import read_configuration
from export.training.data import (
    Batch,
    Pair,
    collate,
    load_pairs,
    read_masked,
    share,
    token_batches,
    train_vocabulary,
)
from export.training.decode import greedy
from export.training.loss import smoothed_cross_entropy
from export.training.monitor import EpochMetrics, Monitor
from export.training.state import restore, snapshot
from service.model.file_record import file_sha256

STATE_FILE = "training_state.pt"
BASE_FILE = "started_from.sha256"
"""SHA-256 of the weights that a run started from."""
_UNTRAINED = {"alignment_layer", "alignment_heads", "test", "licence", "citation", "golden"}
"""Keys of a configuration that a run in progress may find changed."""


@dataclass(frozen=True)
class Validation:
    """Loss in nats a token, and greedy sacreBLEU."""

    loss: float
    bleu: float


def learning_rate(step: int, total_steps: int, config: OptimizationConfiguration) -> float:
    """Linear warm-up, a stable phase, linear decay to zero (Hägele et al. 2024, section 3)."""
    warmup = (step + 1) / config.warmup_steps
    decay = (total_steps - step) / max(1, round(total_steps * config.decay_fraction))
    return config.learning_rate * max(0.0, min(1.0, warmup, decay))


@dataclass(frozen=True)
class _Sentences:
    train: list[Pair]
    validation: list[Pair]
    references: list[str]
    pieces: sentencepiece.SentencePieceProcessor


@dataclass(frozen=True)
class _EpochResult:
    loss: float
    num_tokens: int
    learning_rate: float


class Trainer:
    """One run: its model, its averaged model, its optimiser, and the folder that becomes a checkpoint."""

    def __init__(self, config_path: Path, config: TrainingConfiguration, corpus: Path, folder: Path, fabric: Fabric):
        """Prepare a run in `folder`, or take up the one that was stopped there.

        Raises CorpusError for a corpus that cannot be read and ConfigurationError for what does not fit it.
        """
        self._config = config
        self._options = config.optimization
        self._folder = folder
        self._fabric = fabric
        fabric.seed_everything(self._options.seed)
        self._sentences = _prepare(config_path, config, corpus, folder, fabric)
        model = build_model(config.model, self._sentences.pieces.get_piece_size())
        base = None if (folder / STATE_FILE).exists() else _base(config_path, config)
        if base is not None:
            fresh = _start_from(model, base)
            if fabric.is_global_zero:
                (folder / BASE_FILE).write_text(file_sha256(base / WEIGHTS_FILE), encoding="ascii")
                print(f"weights of {base}; freshly drawn: {', '.join(fresh) or 'none'}", flush=True)
        average_weights = get_ema_multi_avg_fn(self._options.ema_decay)  # type: ignore[no-untyped-call]
        self._average = AveragedModel(model, multi_avg_fn=average_weights).to(fabric.device)
        self._model = model
        self._optimizer = torch.optim.AdamW(
            model.parameters(),
            lr=self._options.learning_rate,
            betas=(0.9, 0.98),
            weight_decay=self._options.weight_decay,
            fused=True,
        )
        self._parallel_model, self._parallel_optimizer = fabric.setup(model, self._optimizer)
        self._progress = restore(folder / STATE_FILE, model, self._average, self._optimizer)
        self._batch_tokens = max(1, self._options.batch_tokens // fabric.world_size)
        num_batches = len(self._batches(0)) // fabric.world_size
        if num_batches == 0:
            raise ConfigurationError("fewer batches than processes; lower batch_tokens")
        self._total_steps = num_batches * self._options.max_epochs

    def run(self) -> None:
        """Train until `max_epochs`, or until validation has not improved for `patience` epochs."""
        fabric = self._fabric
        monitor = Monitor(self._folder, first_epoch=self._progress.epoch) if fabric.is_global_zero else None
        options = self._options
        while self._progress.epoch < options.max_epochs and self._progress.epochs_without_gain < options.patience:
            started = time.monotonic()
            result = self._train_epoch()
            train_seconds = time.monotonic() - started
            self._require_equal_processes()
            validation = fabric.broadcast(self._validate())
            self._progress = self._progress.after_epoch(validation.bleu)
            if monitor is not None:
                if self._progress.is_best:
                    save_weights(self._folder, self._average.module.state_dict())
                metrics = EpochMetrics(
                    epoch=self._progress.epoch,
                    step=self._progress.step,
                    train_loss=result.loss,
                    validation_loss=validation.loss,
                    validation_bleu=validation.bleu,
                    learning_rate=result.learning_rate,
                    tokens_per_second=result.num_tokens / train_seconds,
                    seconds=time.monotonic() - started,
                )
                monitor.record(metrics)
                snapshot(self._folder / STATE_FILE, self._model, self._average, self._optimizer, self._progress)
                print(metrics.line() + ("  best" if self._progress.is_best else ""), flush=True)
            fabric.barrier()
        if monitor is not None:
            monitor.close()

    def _require_equal_processes(self) -> None:
        """Raises DivergedError where the processes no longer train the same model."""
        checksum = torch.stack([p.detach().double().sum() for p in self._model.parameters()]).sum()
        checksums = self._fabric.all_gather(checksum)
        assert isinstance(checksums, torch.Tensor)
        if not bool((checksums == checksum).all()):
            raise DivergedError(f"the processes hold different weights: {checksums.tolist()}")

    def _batches(self, epoch: int) -> list[list[Pair]]:
        return token_batches(self._sentences.train, self._batch_tokens, self._options.seed + epoch)

    def _train_epoch(self) -> _EpochResult:
        self._model.train()
        fabric = self._fabric
        torch.manual_seed(self._options.seed + self._progress.epoch * fabric.world_size + fabric.global_rank)
        batches = self._batches(self._progress.epoch)
        loss_sum, num_tokens, rate = 0.0, 0, 0.0
        bar = tqdm(
            share(batches, fabric.global_rank, fabric.world_size),
            total=len(batches) // fabric.world_size,
            desc=f"epoch {self._progress.epoch + 1}/{self._options.max_epochs}",
            disable=not fabric.is_global_zero,
            mininterval=1.0,
        )
        for batch in bar:
            rate = learning_rate(self._progress.step, self._total_steps, self._options)
            batch_loss, batch_num_tokens = self._train_step(batch.to(fabric.device), rate)
            loss_sum += batch_loss * batch_num_tokens
            num_tokens += batch_num_tokens
            bar.set_postfix(loss=f"{loss_sum / num_tokens:.3f}", rate=f"{rate:.1e}", refresh=False)
        sums = fabric.all_reduce(torch.tensor([loss_sum, num_tokens], device=fabric.device), reduce_op="sum")
        return _EpochResult(float(sums[0] / sums[1]), int(sums[1]), rate)

    def _train_step(self, batch: Batch, rate: float) -> tuple[float, int]:
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        loss = smoothed_loss(self._parallel_model, batch, self._options.label_smoothing)
        self._parallel_optimizer.zero_grad()
        self._fabric.backward(loss)
        self._fabric.clip_gradients(
            self._parallel_model, self._parallel_optimizer, max_norm=self._options.gradient_clip
        )
        self._parallel_optimizer.step()
        self._average.update_parameters(self._model)
        self._progress = self._progress.after_step()
        return loss.item(), int((batch.target_outputs != PAD_ID).sum())

    def _validate(self) -> Validation:
        averaged = self._average.module
        assert isinstance(averaged, TranslationModel)
        sentences = self._sentences
        language = self._config.data.target_language
        return validate(averaged.eval(), sentences.validation, sentences.references, sentences.pieces, language)


def _require_same_model(config: TrainingConfiguration, folder: Path) -> None:
    """Raises ConfigurationError where `folder` holds a run of another model or on other data."""
    if not (folder / STATE_FILE).exists():
        return
    before = read_configuration(folder / CONFIGURATION_FILE)
    if any(
        one.model_dump(exclude=_UNTRAINED) != other.model_dump(exclude=_UNTRAINED)
        for one, other in ((before.model, config.model), (before.data, config.data))
    ):
        raise ConfigurationError(f"{folder} holds a run with another [model] or [data]; choose another --output")


def _base(config_path: Path, config: TrainingConfiguration) -> Path | None:
    """The checkpoint to start from; raises ConfigurationError where there is none."""
    if config.optimization.start_from is None:
        return None
    folder = config_path.parent / config.optimization.start_from
    for name in (WEIGHTS_FILE, VOCABULARY_FILE):
        if not (folder / name).is_file():
            raise ConfigurationError(f"start_from: {folder / name} is missing")
    return folder


def _start_from(model: TranslationModel, base: Path) -> list[str]:
    """As `start_from`; raises ConfigurationError for damaged weights."""
    try:
        return start_from(model, base)
    except (OSError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise ConfigurationError(f"start_from: {base / WEIGHTS_FILE} cannot be loaded: {reason}") from error


def _copy(source: Path, target: Path) -> None:
    """Copy a file in one step: a kill leaves none at `target` or a whole one."""
    temporary = target.with_name(f"{target.name}.new")
    shutil.copyfile(source, temporary)
    temporary.replace(target)


def _prepare(
    config_path: Path, config: TrainingConfiguration, corpus: Path, folder: Path, fabric: Fabric
) -> _Sentences:
    vocabulary_path = folder / VOCABULARY_FILE
    data = config.data
    if fabric.is_global_zero:
        source, target = read_masked(corpus, data.train, data)
        folder.mkdir(parents=True, exist_ok=True)
        _require_same_model(config, folder)
        if config_path.resolve() != (folder / CONFIGURATION_FILE).resolve():
            shutil.copyfile(config_path, folder / CONFIGURATION_FILE)
        if not vocabulary_path.exists():
            if base := _base(config_path, config):
                _copy(base / VOCABULARY_FILE, vocabulary_path)
            else:
                symbols = (*data.masks, *data.whole_pieces)
                train_vocabulary(source + target, data.vocabulary_size, vocabulary_path, symbols)
    fabric.barrier()
    train_pairs = [
        (source, target)
        for source, target in load_pairs(corpus, data.train, data, vocabulary_path)
        if 0 < len(target) < data.max_length and 1 < len(source) < data.max_length
    ]
    if not train_pairs:
        raise ConfigurationError(f"no training pair is shorter than max_length {data.max_length}")
    return _Sentences(
        train_pairs,
        load_pairs(corpus, data.validation, data, vocabulary_path),
        read_masked(corpus, data.validation, data)[1],
        sentencepiece.SentencePieceProcessor(model_file=str(vocabulary_path)),
    )


def smoothed_loss(model: torch.nn.Module, batch: Batch, label_smoothing: float) -> torch.Tensor:
    """Cross-entropy with label smoothing, in nats, mean over the target's tokens."""
    logits = model(batch.source_ids, batch.source_lengths, batch.target_inputs)
    return smoothed_cross_entropy(logits.flatten(0, 1), batch.target_outputs.flatten(), label_smoothing)


@torch.inference_mode()
def validate(
    model: TranslationModel,
    pairs: list[Pair],
    references: list[str],
    pieces: sentencepiece.SentencePieceProcessor,
    target_language: str,
) -> Validation:
    """Score a model in evaluation mode; every process scores the whole split, so that all agree."""
    device = next(model.parameters()).device
    loss_sum, token_sum = 0.0, 0
    for rows in token_batches(pairs, 2048, seed=0):
        batch = collate(rows).to(device)
        num_tokens = int((batch.target_outputs != PAD_ID).sum())
        loss_sum += smoothed_loss(model, batch, 0.0).item() * num_tokens
        token_sum += num_tokens
    hypotheses = pieces.decode(greedy(model, [source for source, _ in pairs]))
    return Validation(loss_sum / token_sum, bleu(target_language).corpus_score(hypotheses, [references]).score)
