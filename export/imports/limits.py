"""What our graphs ask of an architecture, found out from its shapes before anything is written."""

from __future__ import annotations

from export.errors import ImportedModelError
from export.models.recurrent import Recurrent
from export.models.transformer import Transformer
from service.model.manifest import MAX_FILE_BYTES

OF_ENCODER = ("encoder", "upper_encoders.", "initial.", "attention.score.key.")
"""How the names of what the encoder's graph alone has begin, whatever the family."""
BYTES = 4
"""Of a float32."""


def check_size(model: Transformer | Recurrent) -> None:
    """Raises ImportedModelError where the weights of one graph are more than a file holds; the model may be on the meta
    device."""
    most = MAX_FILE_BYTES / 1e9
    for graph, size in zip(("encoder", "decoder"), graph_bytes(model), strict=True):
        if size > MAX_FILE_BYTES:
            raise ImportedModelError(
                f"the {graph} has {size / 1e9:.1f} GB of weights in float32; one ONNX file holds {most:.1f}"
            )


def graph_bytes(model: Transformer | Recurrent) -> tuple[int, int]:
    """Weights of the encoder's graph, which makes keys and values for the decoder's cross-attention, and of the
    decoder's."""
    sizes = {name: BYTES * tensor.numel() for name, tensor in model.state_dict().items()}
    source = sizes.pop("embedding.weight")
    encoder = sum(size for name, size in sizes.items() if name.startswith(OF_ENCODER))
    decoder = sum(sizes.values()) - encoder
    moved = sum(size for name, size in sizes.items() if ".cross_attention.projection." in name) * 2 // 3
    shared = source if model.config.shared_embedding else 0
    return source + encoder + moved, shared + decoder - moved
