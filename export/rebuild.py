"""Trains and publishes shipped models again, each from its committed configuration, and goes on where it was stopped.

It knows the order: what starts from another checkpoint comes after it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from export.alignment.choose import measure_checkpoint, read_record, store
from export.checkpoint import CONFIGURATION_FILE, VOCABULARY_FILE, WEIGHTS_FILE, load_checkpoint, pack_weights
from export.configuration import TrainingConfiguration
from export.errors import ConfigurationError
from export.publish import publish
from export.training.command import make_fabric, read_configuration, require_corpus
from export.training.data import read_parallel
from export.training.loop import BASE_FILE, Trainer
from export.training.monitor import CURVE_FILE, METRICS_FILE
from service.model.bundle import read_manifest
from service.model.certificate import read_certificate
from service.model.file_record import file_sha256
from service.model.store import list_versions


@dataclass(frozen=True)
class Places:
    """Folders: checkpoints/NAME/configuration.toml, corpora/CORPUS, runs/NAME, and the model store."""

    checkpoints: Path
    corpora: Path
    runs: Path
    model_store: Path


def rebuild(places: Places, names: Sequence[str], report: Callable[[str], None]) -> None:
    """Train, take over and publish the named models, or all; what is finished already is not done again.

    Everything is checked before anything is trained. Raises ConfigurationError for a name without a configuration,
    CorpusError, and what training and publishing raise.
    """
    configurations = _configurations(places.checkpoints)
    if unknown := [name for name in names if name not in configurations]:
        raise ConfigurationError(f"no configuration for {', '.join(unknown)}; there are {', '.join(configurations)}")
    chosen = [name for name in _in_order(configurations) if not names or name in names]
    for name in chosen:
        data = configurations[name].data
        require_corpus(places.corpora / data.corpus, data)
        for split in data.test:
            read_parallel(places.corpora / data.corpus, split, data)
    for name in chosen:
        _rebuild(places, name, configurations[name], report)


def _rebuild(places: Places, name: str, config: TrainingConfiguration, report: Callable[[str], None]) -> None:
    checkpoint, run = places.checkpoints / name, places.runs / name
    corpus = places.corpora / config.data.corpus
    if (base := _base(config)) is not None and _has_changed(run, places.checkpoints / base):
        report(f"{name}: {base} has changed since; it is trained again")
        shutil.rmtree(run)
    report(f"{name}: training in {run}")
    Trainer(checkpoint / CONFIGURATION_FILE, config, corpus, run, make_fabric("auto", "1", 1, "32-true")).run()
    attention = take_over(run, checkpoint, corpus)
    if (published := _published(places.model_store, name, checkpoint, attention)) is not None:
        report(f"{name}: {published} holds these weights already")
        return
    folder = publish(checkpoint, model_store=places.model_store, corpus=corpus, splits=config.data.test)
    report(f"{name}: published as {folder}")


def take_over(run: Path, checkpoint: Path, corpus: Path) -> str | None:
    """Make a finished run the checkpoint that is committed: packed weights, vocabulary, metrics, learning curve, and
    the attention that aligns best, which is returned in words."""
    for name in (WEIGHTS_FILE, VOCABULARY_FILE, METRICS_FILE, CURVE_FILE):
        shutil.copyfile(run / name, checkpoint / name)
    pack_weights(checkpoint)
    config, model = load_checkpoint(checkpoint)
    if model.attention_description is not None and read_record(checkpoint, config) is None:
        store(checkpoint, measure_checkpoint(checkpoint, corpus))
        _, model = load_checkpoint(checkpoint)
    return model.attention_description


def _has_changed(run: Path, base: Path) -> bool:
    """Whether a run started from other weights than the base has now."""
    started_from = run / BASE_FILE
    return started_from.exists() and started_from.read_text(encoding="ascii") != file_sha256(base / WEIGHTS_FILE)


def _configurations(checkpoints: Path) -> dict[str, TrainingConfiguration]:
    paths = sorted(checkpoints.glob(f"*/{CONFIGURATION_FILE}"))
    configurations = {path.parent.name: read_configuration(path) for path in paths}
    for folder, config in configurations.items():
        if config.name != folder:
            raise ConfigurationError(f"{checkpoints / folder} is the folder of a model named {config.name}")
    return configurations


def _in_order(configurations: dict[str, TrainingConfiguration]) -> Iterator[str]:
    """Names, each after the one that it starts from; raises ConfigurationError for a circle."""
    waiting = dict(configurations)
    while waiting:
        ready = [name for name, config in waiting.items() if _base(config) not in waiting]
        if not ready:
            raise ConfigurationError(f"{', '.join(waiting)} start from each other")
        for name in ready:
            yield name
            del waiting[name]


def _base(config: TrainingConfiguration) -> str | None:
    base = config.optimization.start_from
    return None if base is None else Path(base).name


def _published(model_store: Path, name: str, checkpoint: Path, attention: str | None) -> Path | None:
    """The newest version of a model, where it was made from the checkpoint's weights and reports this attention."""
    versions = [stored for stored in list_versions(model_store) if stored.name == name] if model_store.is_dir() else []
    if not versions:
        return None
    folder = versions[-1].folder
    manifest = read_manifest(folder)
    weights = read_certificate(folder / manifest.certificate).weights_sha256
    same = weights == file_sha256(checkpoint / WEIGHTS_FILE) and manifest.attention == attention
    return folder if same else None
