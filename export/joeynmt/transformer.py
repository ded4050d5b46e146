"""JoeyNMT's Transformer (joeynmt.transformer_layers) in our Transformer's terms."""

from __future__ import annotations

import math
from collections.abc import Iterator

from export.configuration import Activation, TransformerConfiguration
from export.errors import ImportedModelError
from export.imports.architecture import Architecture
from export.imports.origin import Origin
from export.imports.weights import Weights
from export.joeynmt.configuration import CONFIGURATION_FILE, Model, TransformerDecoder, TransformerEncoder
from export.joeynmt.recurrent import KINDS, OUTPUT, SOURCE, TARGET

ACTIVATIONS: dict[str, Activation] = {"relu": "relu", "gelu": "gelu", "swish": "silu"}
LAYERS = {
    "encoder": {
        "self_attention_norm": "layer_norm",
        "feed_forward_norm": "feed_forward.layer_norm",
    },
    "decoder": {
        "self_attention_norm": "x_layer_norm",
        "cross_attention_norm": "dec_layer_norm",
        "feed_forward_norm": "feed_forward.layer_norm",
    },
}
ATTENTIONS = {
    "encoder": {"self_attention": "src_src_att"},
    "decoder": {"self_attention": "trg_trg_att", "cross_attention": "src_trg_att"},
}
EQUAL = ("hidden_size", "layer_norm", "activation")
"""What encoder and decoder must have in common."""


def describe(
    model: Model, encoder: TransformerEncoder, decoder: TransformerDecoder, weights: Weights, longest: int
) -> Architecture:
    """The architecture for at most `longest` positions; raises ImportedModelError or pydantic.ValidationError."""
    for field in EQUAL:
        if getattr(encoder, field) != getattr(decoder, field):
            raise ImportedModelError(f"encoder.{field} and decoder.{field} in {CONFIGURATION_FILE} are not the same")
    shared, hidden = model.tied_embeddings, decoder.hidden_size
    target_scale = _scale(encoder if shared else decoder)
    configuration = TransformerConfiguration(
        hidden_size=hidden,
        num_heads=decoder.num_heads,
        encoder_num_heads=encoder.num_heads,
        feed_forward_size=decoder.ff_size,
        encoder_feed_forward_size=encoder.ff_size,
        activation=ACTIVATIONS[decoder.activation],
        num_encoder_layers=encoder.num_layers,
        num_decoder_layers=decoder.num_layers,
        norm_position="before" if decoder.layer_norm == "pre" else "after",
        norm_epsilon=1e-6,
        residual_scale=decoder.alpha,
        encoder_residual_scale=encoder.alpha,
        final_norm=decoder.layer_norm == "pre",
        sinusoids="alternating",
        embedding_scale=target_scale,
        shared_embedding=shared,
        tied_output=model.tied_softmax,
        dropout=0.0,
        max_positions=longest,
        alignment_layer=decoder.num_layers - 1,
    )
    origins = dict(_origins(configuration))
    source_scale = 1.0 if shared else _scale(encoder) / target_scale
    origins["embedding.weight"] = Origin((SOURCE,), source_scale)
    if not shared:
        origins["target_embedding.weight"] = Origin((TARGET,))
    if not model.tied_softmax:
        origins["output.weight"] = Origin((OUTPUT,))
    return Architecture(
        configuration,
        source_size=weights.shape(SOURCE)[0],
        target_size=weights.shape(TARGET)[0],
        origins=origins,
        ignored=frozenset((TARGET, OUTPUT, "encoder.pe.pe", "decoder.pe.pe")),
    )


def _scale(part: TransformerEncoder | TransformerDecoder) -> float:
    return math.sqrt(part.hidden_size) if part.embeddings.scale else 1.0


def _origins(ours: TransformerConfiguration) -> Iterator[tuple[str, Origin]]:
    for side, number in (("encoder", ours.num_encoder_layers), ("decoder", ours.num_decoder_layers)):
        for i in range(number):
            here, there = f"{side}_layers.{i}", f"{side}.layers.{i}"
            for kind in KINDS:
                for name, original in LAYERS[side].items():
                    yield f"{here}.{name}.{kind}", Origin((f"{there}.{original}.{kind}",))
                for name, original in ATTENTIONS[side].items():
                    parts = tuple(f"{there}.{original}.{part}_layer.{kind}" for part in "qkv")
                    yield f"{here}.{name}.projection.{kind}", Origin(parts)
                    yield f"{here}.{name}.output.{kind}", Origin((f"{there}.{original}.output_layer.{kind}",))
                for name, place in (("inner", 0), ("outer", 3)):
                    original = f"{there}.feed_forward.pwff_layer.{place}.{kind}"
                    yield f"{here}.feed_forward.{name}.{kind}", Origin((original,))
        if ours.final_norm:
            for kind in KINDS:
                yield f"{side}_norm.{kind}", Origin((f"{side}.layer_norm.{kind}",))
