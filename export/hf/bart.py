"""MarianMT, M2M100 and NLLB, BART and mBART: one family of architectures, with the same names of weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from export.configuration import TransformerConfiguration
from export.imports.architecture import Architecture, activation, first_of, output_origin, require
from export.imports.origin import Origin
from export.imports.weights import Weights

ARRANGEMENTS: dict[str, dict[str, Any]] = {
    "marian": {
        "norm_position": "after",
        "final_norm": False,
        "sinusoids": "vaswani",
    },
    "m2m_100": {"position_offset": 2},
    "bart": {"norm_position": "after", "final_norm": False, "embedding_norm": True, "positions": "learned"},
    "mbart": {"embedding_norm": True, "positions": "learned"},
}
"""By model_type, what differs from our defaults."""
LEARNED_OFFSET = 2
"""Rows of a table of learned positions before the first one's."""
NORMS = (("self_attention_norm", "self_attn_layer_norm"), ("feed_forward_norm", "final_layer_norm"))


def describe(config: Any, weights: Weights, longest: int) -> Architecture:
    """The architecture for at most `longest` positions; raises ImportedModelError for what is not supported."""
    require(config, is_encoder_decoder=True)
    arrangement = dict(ARRANGEMENTS[config.model_type])
    if "position_offset" in arrangement:
        arrangement |= {"position_offset": config.pad_token_id + 1, "unplaced_id": config.pad_token_id}
    separate = config.model_type == "marian" and not config.share_encoder_decoder_embeddings
    prefix = "model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight"
    shared = first_of(weights, "model.shared.weight", *prefix, "lm_head.weight")
    source, target = prefix if separate else (shared, shared)
    output = output_origin(weights, target)
    has_bias = "final_logits_bias" in weights.names and bool(torch.any(weights.read("final_logits_bias") != 0))
    configuration = TransformerConfiguration(
        hidden_size=config.d_model,
        num_heads=config.decoder_attention_heads,
        encoder_num_heads=config.encoder_attention_heads,
        scaled_attention=False,
        feed_forward_size=config.decoder_ffn_dim,
        encoder_feed_forward_size=config.encoder_ffn_dim,
        activation=activation(config.activation_function),
        num_encoder_layers=config.encoder_layers,
        num_decoder_layers=config.decoder_layers,
        embedding_scale=None if config.scale_embedding else 1.0,
        shared_embedding=not separate,
        tied_output=output is None,
        output_bias=has_bias,
        dropout=0.0,
        max_positions=min(longest, config.max_position_embeddings),
        alignment_layer=max(0, config.decoder_layers - 2),
        **arrangement,
    )
    origins = dict(_origins(config, configuration))
    origins["embedding.weight"] = Origin((source,))
    if separate:
        origins["target_embedding.weight"] = Origin((target,))
    if output is not None:
        origins["output.weight"] = output
    if has_bias:
        origins["output_bias"] = Origin(("final_logits_bias",))
    return Architecture(
        configuration,
        source_size=weights.shape(source)[0],
        target_size=weights.shape(target)[0],
        origins=origins,
        ignored=frozenset(
            (
                "model.shared.weight",
                *prefix,
                "lm_head.weight",
                "final_logits_bias",
                *(
                    f"model.{side}.embed_positions.weight{ending}"
                    for side in ("encoder", "decoder")
                    for ending in ("", "s")
                ),
                *(f"model.{side}.embed_positions._float_tensor" for side in ("encoder", "decoder")),
            )
        ),
    )


def _origins(config: Any, ours: TransformerConfiguration) -> Iterator[tuple[str, Origin]]:
    for side, layers, heads in (
        ("encoder", config.encoder_layers, config.encoder_attention_heads),
        ("decoder", config.decoder_layers, config.decoder_attention_heads),
    ):
        scale = (config.d_model // heads) ** -0.5
        for i in range(layers):
            here, there = f"{side}_layers.{i}", f"model.{side}.layers.{i}"
            for kind in ("weight", "bias"):
                yield from _attention(f"{here}.self_attention", f"{there}.self_attn", kind, scale)
                for our_norm, its_norm in NORMS:
                    yield f"{here}.{our_norm}.{kind}", Origin((f"{there}.{its_norm}.{kind}",))
                yield f"{here}.feed_forward.inner.{kind}", Origin((f"{there}.fc1.{kind}",))
                yield f"{here}.feed_forward.outer.{kind}", Origin((f"{there}.fc2.{kind}",))
                if side == "decoder":
                    yield from _attention(f"{here}.cross_attention", f"{there}.encoder_attn", kind, scale)
                    yield f"{here}.cross_attention_norm.{kind}", Origin((f"{there}.encoder_attn_layer_norm.{kind}",))
        for kind in ("weight", "bias"):
            if ours.embedding_norm:
                yield f"{side}_embedding_norm.{kind}", Origin((f"model.{side}.layernorm_embedding.{kind}",))
            if ours.final_norm:
                yield f"{side}_norm.{kind}", Origin((f"model.{side}.layer_norm.{kind}",))
        if ours.positions == "learned":
            rows = (LEARNED_OFFSET, LEARNED_OFFSET + ours.max_positions)
            yield f"{side}_positions", Origin((f"model.{side}.embed_positions.weight",), rows=rows)


def _attention(ours: str, theirs: str, kind: str, scale: float) -> Iterator[tuple[str, Origin]]:
    yield f"{ours}.projection.{kind}", Origin(tuple(f"{theirs}.{part}_proj.{kind}" for part in "qkv"), scale)
    yield f"{ours}.output.{kind}", Origin((f"{theirs}.out_proj.{kind}",))
