"""T5 and mT5 (Raffel et al. 2020; Xue et al. 2021): relative positions, RMS norms, no biases, gates in newer ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from export.configuration import TransformerConfiguration
from export.imports.architecture import Architecture, activation, first_of, output_origin, require
from export.imports.origin import Origin
from export.imports.weights import Weights


def describe(config: Any, weights: Weights, longest: int) -> Architecture:
    """The architecture for at most `longest` positions; raises ImportedModelError for what is not supported."""
    require(config, is_encoder_decoder=True)
    embeddings = "shared.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight"
    shared = first_of(weights, *embeddings)
    output = output_origin(weights, shared)
    configuration = TransformerConfiguration(
        hidden_size=config.d_model,
        num_heads=config.num_heads,
        head_size=config.d_kv,
        scaled_attention=False,
        feed_forward_size=config.d_ff,
        activation=activation(config.dense_act_fn),
        gated=config.is_gated_act,
        biases=False,
        norm="rms",
        norm_epsilon=config.layer_norm_epsilon,
        positions="relative",
        num_buckets=config.relative_attention_num_buckets,
        max_distance=config.relative_attention_max_distance,
        embedding_scale=1.0,
        tied_output=output is None,
        num_encoder_layers=config.num_layers,
        num_decoder_layers=config.num_decoder_layers,
        dropout=0.0,
        max_positions=longest,
        alignment_layer=max(0, config.num_decoder_layers - 2),
    )
    origins = dict(_origins(config))
    origins["embedding.weight"] = Origin((shared,))
    if output is not None:
        origins["output.weight"] = output
    size = weights.shape(shared)[0]
    unused = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"
    return Architecture(configuration, size, size, origins, frozenset((*embeddings, unused)))


def _origins(config: Any) -> Iterator[tuple[str, Origin]]:
    inner, outer = (("wi_1", "wi_0"), "wo") if config.is_gated_act else (("wi",), "wo")
    for side, layers in (("encoder", config.num_layers), ("decoder", config.num_decoder_layers)):
        for i in range(layers):
            here, there = f"{side}_layers.{i}", f"{side}.block.{i}.layer"
            yield from _attention(f"{here}.self_attention", f"{there}.0", "SelfAttention")
            if side == "decoder":
                yield from _attention(f"{here}.cross_attention", f"{there}.1", "EncDecAttention")
            last = f"{there}.{2 if side == 'decoder' else 1}"
            for ours, theirs in zip(("inner", "gate"), inner, strict=False):
                yield f"{here}.feed_forward.{ours}.weight", Origin((f"{last}.DenseReluDense.{theirs}.weight",))
            yield f"{here}.feed_forward.outer.weight", Origin((f"{last}.DenseReluDense.{outer}.weight",))
            yield f"{here}.feed_forward_norm.weight", Origin((f"{last}.layer_norm.weight",))
        # T5's tied output layer divides by the square root of the hidden size; the norm before it can as well.
        scale = config.d_model**-0.5 if side == "decoder" and getattr(config, "scale_decoder_outputs", False) else 1.0
        yield f"{side}_norm.weight", Origin((f"{side}.final_layer_norm.weight",), scale)
        bias = f"{side}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
        yield f"{side}_distances.weight", Origin((bias,))


def _attention(ours: str, theirs: str, name: str) -> Iterator[tuple[str, Origin]]:
    yield f"{ours}.projection.weight", Origin(tuple(f"{theirs}.{name}.{part}.weight" for part in "qkv"))
    yield f"{ours}.output.weight", Origin((f"{theirs}.{name}.o.weight",))
    yield f"{ours}_norm.weight", Origin((f"{theirs}.layer_norm.weight",))
