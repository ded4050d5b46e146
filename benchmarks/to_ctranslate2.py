"""A Transformer as a CTranslate2 model directory, so that both can be measured on the same weights.

Tokens are ids written as decimal strings: id 17 is the token "17", whatever piece it stands for. It does not know
sentences, vocabularies or what is measured, nor any recurrent model, for which CTranslate2 has no layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import ctranslate2
import torch
from ctranslate2.specs import TransformerSpec
from torch import Tensor, nn

from export.configuration import TransformerConfiguration
from export.models.contract import TranslationModel
from export.models.control_tokens import BEGIN_ID, END_ID, UNKNOWN_ID
from export.models.multi_head import MultiHeadAttention
from export.models.transformer import Transformer
from export.models.transformer_layers import DecoderLayer, EncoderLayer, FeedForward

ARRANGEMENT = (
    "scaled_attention",
    "head_size",
    "encoder_num_heads",
    "activation",
    "gated",
    "biases",
    "norm",
    "norm_position",
    "final_norm",
    "embedding_norm",
    "positions",
    "sinusoids",
    "position_offset",
    "unplaced_id",
    "embedding_scale",
    "shared_embedding",
    "tied_output",
    "output_bias",
    "residual_scale",
    "encoder_residual_scale",
    "decoder_history",
    "tied_decoder_layers",
)
"""What the conversion takes as it is in every model that is trained here."""
Quantization = Literal["float32", "int8", "int8_float32", "int16", "float16", "bfloat16"]


def convert(model: TranslationModel, folder: Path, quantization: Quantization = "float32") -> None:
    """Write `model` into FOLDER, which is made and must not exist, for `ctranslate2.Translator(str(FOLDER))`; the model
    itself stays as it is.

    The attention it reports is that of the model's alignment heads, except that CTranslate2 4.8.5, in a beam search
    over several sources of one batch, takes the first target token's from another source. Raises TypeError for a model
    that is no Transformer, and FileExistsError.
    """
    if not isinstance(model, Transformer):
        raise TypeError(f"CTranslate2 has no layers for {type(model).__name__}: only a Transformer can be converted")
    if (field := _first_difference(model.config)) is not None:
        raise TypeError(f"only the Transformer that is trained here is converted, and this one has another {field}")
    spec = _specify(model)
    spec.validate()
    spec.optimize(quantization=quantization)
    folder.mkdir(parents=True)
    spec.save(str(folder))


def translate_ids(
    translator: ctranslate2.Translator, sources: Sequence[Sequence[int]], **options: Any
) -> list[list[list[int]]]:
    """The hypotheses of each source, best first, as ids without begin and end; `sources` are ids that end in `END_ID`.

    `options` are those of `Translator.translate_batch`, whose defaults are a beam of 2, one hypothesis, 1 to 256
    tokens, and all sources in one batch. CTranslate2 runs no model for a source of `END_ID` alone: its hypotheses are
    empty. Raises ValueError for options that contradict each other, and RuntimeError for a source or target of more
    than the model's `max_positions` tokens.
    """
    results = translator.translate_batch([_tokens(ids) for ids in sources], **options)
    return [[[int(token) for token in hypothesis] for hypothesis in result.hypotheses] for result in results]


def _tokens(ids: Sequence[int]) -> list[str]:
    return [str(each) for each in ids]


def _first_difference(config: TransformerConfiguration) -> str | None:
    """A field, other than sizes, that is not as this project trains its models; None where there is none."""
    trained = TransformerConfiguration()
    return next((field for field in ARRANGEMENT if getattr(config, field) != getattr(trained, field)), None)


def _specify(model: Transformer) -> Any:
    config = model.config
    heads = _reported_heads(config.alignment_heads, config.num_heads)
    spec = TransformerSpec.from_config(
        (config.num_encoder_layers, config.num_decoder_layers),
        config.num_heads,
        alignment_layer=config.alignment_layer,
        alignment_heads=len(heads),
    )
    _configure(spec, model)
    embedding, positions = _copy(model.embedding.weight), _copy(model.get_buffer("position_encodings"))
    spec.encoder.embeddings[0].weight = embedding
    spec.decoder.embeddings.weight = embedding
    spec.decoder.projection.weight = embedding
    spec.encoder.position_encodings.encodings = positions
    spec.decoder.position_encodings.encodings = positions
    _set_encoder(spec.encoder, model)
    _set_decoder(spec.decoder, model, heads)
    return spec


def _configure(spec: Any, model: Transformer) -> None:
    tokens = _tokens(range(model.vocabulary_size))
    spec.register_source_vocabulary(tokens)
    spec.register_target_vocabulary(tokens)
    spec.config.unk_token = tokens[UNKNOWN_ID]
    spec.config.bos_token = spec.config.decoder_start_token = tokens[BEGIN_ID]
    spec.config.eos_token = tokens[END_ID]
    spec.config.add_source_eos = False
    spec.config.layer_norm_epsilon = model.config.norm_epsilon


def _set_encoder(spec: Any, model: Transformer) -> None:
    _set_norm(spec.layer_norm, model.encoder_norm)
    for target, layer in zip(spec.layer, model.encoder_layers, strict=True):
        assert isinstance(layer, EncoderLayer)
        _set_norm(target.self_attention.layer_norm, layer.self_attention_norm)
        _set_self_attention(target.self_attention, layer.self_attention)
        _set_feed_forward(target.ffn, layer.feed_forward_norm, layer.feed_forward)


def _set_decoder(spec: Any, model: Transformer, reported_heads: Sequence[int]) -> None:
    _set_norm(spec.layer_norm, model.decoder_norm)
    for i, (target, layer) in enumerate(zip(spec.layer, model.decoder_layers, strict=True)):
        assert isinstance(layer, DecoderLayer)
        _set_norm(target.self_attention.layer_norm, layer.self_attention_norm)
        assert layer.self_attention is not None
        _set_self_attention(target.self_attention, layer.self_attention)
        _set_norm(target.attention.layer_norm, layer.cross_attention_norm)
        first = reported_heads if i == model.config.alignment_layer else ()
        _set_cross_attention(target.attention, layer.cross_attention, first)
        _set_feed_forward(target.ffn, layer.feed_forward_norm, layer.feed_forward)


def _reported_heads(named: Sequence[int], num_heads: int) -> Sequence[int]:
    return sorted(named) or range(num_heads)


def _set_self_attention(spec: Any, attention: MultiHeadAttention) -> None:
    _set_linear(spec.linear[0], attention.projection.weight, attention.projection.bias)
    _set_linear(spec.linear[1], attention.output.weight, attention.output.bias)


def _set_cross_attention(spec: Any, attention: MultiHeadAttention, first: Sequence[int]) -> None:
    """The heads `first` come before the others, since CTranslate2 reports the mean of so many first heads."""
    order = [*first, *(head for head in range(attention.num_heads) if head not in first)]
    hidden = attention.output.in_features
    rows = torch.arange(hidden).reshape(attention.num_heads, -1)[order].flatten()
    queries, keys, values = attention.projection.weight.chunk(3)
    query_bias, key_bias, value_bias = attention.projection.bias.chunk(3)
    _set_linear(spec.linear[0], queries[rows], query_bias[rows])
    _set_linear(spec.linear[1], torch.cat([keys[rows], values[rows]]), torch.cat([key_bias[rows], value_bias[rows]]))
    _set_linear(spec.linear[2], attention.output.weight[:, rows], attention.output.bias)


def _set_feed_forward(spec: Any, norm: nn.Module, feed_forward: FeedForward) -> None:
    _set_norm(spec.layer_norm, norm)
    _set_linear(spec.linear_0, feed_forward.inner.weight, feed_forward.inner.bias)
    _set_linear(spec.linear_1, feed_forward.outer.weight, feed_forward.outer.bias)


def _set_norm(spec: Any, norm: nn.Module) -> None:
    assert isinstance(norm, nn.LayerNorm)
    spec.gamma, spec.beta = _copy(norm.weight), _copy(norm.bias)


def _set_linear(spec: Any, weight: Tensor, bias: Tensor) -> None:
    spec.weight, spec.bias = _copy(weight), _copy(bias)


def _copy(tensor: Tensor) -> Tensor:
    """On the CPU and in memory of its own, which quantization overwrites."""
    return tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
