"""What our versions ask of an architecture, found out from its shapes before anything is written."""

from __future__ import annotations

from export.bundle import LENGTH_MULTIPLE
from export.errors import ImportedModelError
from export.models.recurrent import Recurrent
from export.models.transformer import Transformer
from service.model.file_record import MAX_WEIGHTS_BYTES

DEFAULT_LONGEST = 256
BYTES = 4
"""Of a float32."""


def check_size(model: Transformer | Recurrent) -> None:
    """Raises ImportedModelError for more weights than a version holds; the model may be on the meta device."""
    size = sum(BYTES * tensor.numel() for tensor in model.state_dict().values())
    if size > MAX_WEIGHTS_BYTES:
        raise ImportedModelError(
            f"the model has {size / 1e9:.1f} GB of weights in float32; a version holds {MAX_WEIGHTS_BYTES / 1e9:.1f}"
        )


def padded(length: int) -> int:
    """Rounded up to what lengths are multiples of."""
    return -(-length // LENGTH_MULTIPLE) * LENGTH_MULTIPLE
