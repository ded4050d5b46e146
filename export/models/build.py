"""Makes the model that a configuration describes; the one place that knows both families."""

from __future__ import annotations

from export.configuration import ModelConfiguration, TransformerConfiguration
from export.models.recurrent import Recurrent
from export.models.transformer import Transformer


def build_model(
    config: ModelConfiguration, vocabulary_size: int, source_vocabulary_size: int | None = None
) -> Transformer | Recurrent:
    """A freshly initialised model on the CPU; source_vocabulary_size: where the source has a vocabulary of its own."""
    match config:
        case TransformerConfiguration():
            return Transformer(config, vocabulary_size, source_vocabulary_size)
        case _:
            return Recurrent(config, vocabulary_size, source_vocabulary_size)
