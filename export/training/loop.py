"""The training loop: optimise, average the weights, validate, keep the best, resume after a kill.

Device, precision and processes come from Lightning Fabric. It does not know which family it trains.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import sacrebleu
import sentencepiece
import torch
from lightning_fabric import Fabric
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from export.checkpoint import CONFIGURATION_FILE, VOCABULARY_FILE, save_weights
from export.configuration import OptimizationConfiguration, TrainingConfiguration
from export.models.build import build_model
from export.models.contract import PAD_ID, TranslationModel
from export.training.data import (
    Batch,
    Pair,
    collate,
    load_pairs,
    read_parallel,
    share,
    token_batches,
    train_vocabulary,
)
from export.training.decode import greedy
from export.training.loss import smoothed_cross_entropy
from export.training.monitor import EpochMetrics, Monitor
from export.training.state import Progress, restore, snapshot

STATE_FILE = "training_state.pt"


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


def train(config_path: Path, config: TrainingConfiguration, corpus: Path, folder: Path, fabric: Fabric) -> None:
    """Train until `max_epochs` or until validation no longer improves; `folder` becomes a checkpoint.

    Started again on the same folder it goes on after the last finished epoch.
    """
    options = config.optimization
    fabric.seed_everything(options.seed)
    vocabulary_path = folder / VOCABULARY_FILE
    if fabric.is_global_zero:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(config_path, folder / CONFIGURATION_FILE)
        if not vocabulary_path.exists():
            source, target = read_parallel(corpus, config.data.train, config.data)
            train_vocabulary(source + target, config.data.vocabulary_size, vocabulary_path)
    fabric.barrier()
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(vocabulary_path))
    train_pairs = [
        pair
        for pair in load_pairs(corpus, config.data.train, config.data, vocabulary_path)
        if 0 < len(pair[1]) < config.data.max_length and 1 < len(pair[0]) < config.data.max_length
    ]
    validation_pairs = load_pairs(corpus, config.data.validation, config.data, vocabulary_path)
    references = read_parallel(corpus, config.data.validation, config.data)[1]

    model = build_model(config.model, pieces.get_piece_size())
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(options.ema_decay)).to(fabric.device)
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=options.learning_rate,
        betas=(0.9, 0.98),
        weight_decay=options.weight_decay,
        fused=True,
    )
    parallel_model, parallel_optimizer = fabric.setup(model, optimizer)
    progress = restore(folder / STATE_FILE, model, average, optimizer)
    monitor = Monitor(folder, first_epoch=progress.epoch)

    local_tokens = max(1, options.batch_tokens // fabric.world_size)
    num_batches = len(token_batches(train_pairs, local_tokens, options.seed)) // fabric.world_size
    total_steps = num_batches * options.max_epochs
    while progress.epoch < options.max_epochs and progress.epochs_without_gain < options.patience:
        started = time.monotonic()
        model.train()
        batches = token_batches(train_pairs, local_tokens, options.seed + progress.epoch)
        loss_sum, token_sum = 0.0, 0
        bar = tqdm(
            share(batches, fabric.global_rank, fabric.world_size),
            total=len(batches) // fabric.world_size,
            desc=f"epoch {progress.epoch + 1}/{options.max_epochs}",
            disable=not fabric.is_global_zero,
            mininterval=1.0,
        )
        for batch in bar:
            rate = learning_rate(progress.step, total_steps, options)
            for group in optimizer.param_groups:
                group["lr"] = rate
            batch = batch.to(fabric.device)
            loss = smoothed_loss(parallel_model, batch, options.label_smoothing)
            parallel_optimizer.zero_grad()
            fabric.backward(loss)
            fabric.clip_gradients(parallel_model, parallel_optimizer, max_norm=options.gradient_clip)
            parallel_optimizer.step()
            average.update_parameters(model)
            progress = progress.after_step()
            num_tokens = int((batch.target_outputs != PAD_ID).sum())
            loss_sum += loss.item() * num_tokens
            token_sum += num_tokens
            bar.set_postfix(loss=f"{loss_sum / token_sum:.3f}", rate=f"{rate:.1e}", refresh=False)
        train_seconds = time.monotonic() - started
        averaged: TranslationModel = average.module
        validation = validate(averaged.eval(), validation_pairs, references, pieces)
        is_best = validation.bleu > progress.best_bleu
        progress = progress.after_epoch(validation.bleu)
        if fabric.is_global_zero:
            if is_best:
                save_weights(folder, averaged.state_dict())
            snapshot(folder / STATE_FILE, model, average, optimizer, progress)
            metrics = EpochMetrics(
                epoch=progress.epoch,
                step=progress.step,
                train_loss=loss_sum / token_sum,
                validation_loss=validation.loss,
                validation_bleu=validation.bleu,
                learning_rate=rate,
                tokens_per_second=token_sum * fabric.world_size / train_seconds,
                seconds=time.monotonic() - started,
            )
            monitor.record(metrics)
            print(metrics.line() + ("  best" if is_best else ""), flush=True)
        fabric.barrier()
    monitor.close()


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
    return Validation(loss_sum / token_sum, sacrebleu.corpus_bleu(hypotheses, [references]).score)
