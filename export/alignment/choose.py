"""Chooses the attention that a checkpoint's model reports, and stores the choice in the checkpoint's own files.

`configuration.toml` gets layer and heads, `alignment.json` the measure, which the model card states.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from export.alignment.measure import MEASURE, Choice, measure
from export.alignment.toml_lines import with_keys
from export.checkpoint import CONFIGURATION_FILE, VOCABULARY_FILE, WEIGHTS_FILE, open_checkpoint
from export.configuration import TrainingConfiguration
from export.errors import CheckpointError, ConfigurationError
from service.model.file_record import file_sha256

ALIGNMENT_FILE = "alignment.json"


class AlignmentRecord(BaseModel):
    """alignment.json: the alignment error rate of what these weights report. layer and heads are from 0, null and none
    where the model has no choice of them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    split: str
    measure: str
    layer: int | None
    heads: tuple[int, ...]
    aer: float
    weights_sha256: str


@dataclass(frozen=True)
class Measurement:
    """choices: best first; is_choosable: whether the model can report another layer or other heads."""

    split: str
    choices: list[Choice]
    is_choosable: bool


def measure_checkpoint(checkpoint: Path, corpus: Path, split: str | None = None) -> Measurement:
    """Measure every choice on a split, by default the one that training validates on. Raises CheckpointError,
    CorpusError or, for a model without attention, ConfigurationError."""
    config, model = open_checkpoint(checkpoint)
    if model.attention_description is None:
        raise ConfigurationError(f"{checkpoint} has no attention")
    split = split or config.data.validation
    limit = config.model.max_positions
    limits = min(limit, model.longest_source or limit) - 1, limit - 1
    choices = measure(model, checkpoint / VOCABULARY_FILE, corpus, split, config.data, limits)
    return Measurement(split, choices, config.model.family == "transformer")


def store(checkpoint: Path, measurement: Measurement) -> None:
    """Make the best choice the checkpoint's own; raises ConfigurationError where its configuration is written so that
    it cannot be edited line by line, and then nothing has changed."""
    best = measurement.choices[0]
    layer, heads = (best.layer, best.heads) if measurement.is_choosable else (None, ())
    if layer is not None:
        path = checkpoint / CONFIGURATION_FILE
        keys: dict[str, int | list[int]] = {"alignment_layer": layer, "alignment_heads": list(heads)}
        _replace(path, with_keys(path.read_bytes().decode("utf-8"), "model", keys))
    record = AlignmentRecord(
        split=measurement.split,
        measure=MEASURE,
        layer=layer,
        heads=heads,
        aer=round(best.error_rate, 4),
        weights_sha256=file_sha256(checkpoint / WEIGHTS_FILE),
    )
    _replace(checkpoint / ALIGNMENT_FILE, record.model_dump_json(indent=2) + "\n")


def read_record(checkpoint: Path, config: TrainingConfiguration) -> AlignmentRecord | None:
    """What was measured of the attention that the model reports; None where nothing was, or other weights or heads
    were. Raises CheckpointError for a file of another form."""
    path, model = checkpoint / ALIGNMENT_FILE, config.model
    if not path.exists():
        return None
    try:
        record = AlignmentRecord.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise CheckpointError(f"{path} is not what choose-alignment writes") from error
    reported = (model.alignment_layer, model.alignment_heads) if model.family == "transformer" else (None, ())
    is_current = (record.layer, record.heads) == reported
    return record if is_current and record.weights_sha256 == file_sha256(checkpoint / WEIGHTS_FILE) else None


def _replace(path: Path, content: str) -> None:
    """Write a file in one step: a kill leaves the old one or the new one."""
    temporary = path.with_name(path.name + ".new")
    temporary.write_bytes(content.encode("utf-8"))
    temporary.replace(path)
