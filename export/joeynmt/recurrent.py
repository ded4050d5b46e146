"""JoeyNMT's recurrent models (joeynmt.encoders, decoders, attention) in our recurrent model's terms."""

from __future__ import annotations

import math
from collections.abc import Iterator

from export.configuration import AttentionConfiguration, RecurrentConfiguration
from export.imports.architecture import Architecture
from export.imports.origin import Origin
from export.imports.weights import Weights
from export.joeynmt.configuration import Model, RecurrentDecoder, RecurrentEncoder
from export.joeynmt.origins import Columns, Sum

SCORES = {"bahdanau": "concat", "luong": "general"}
"""Both read the decoder's state after the update, which for Bahdanau's is what Luong et al. call concat."""
INITIAL_STATES = {"bridge": "last", "last": "copy", "zero": "zero"}
SOURCE, TARGET, OUTPUT = "src_embed.lut.weight", "trg_embed.lut.weight", "decoder.output_layer.weight"
KINDS = ("weight", "bias")


def describe(
    model: Model, encoder: RecurrentEncoder, decoder: RecurrentDecoder, weights: Weights, longest: int
) -> Architecture:
    """The architecture for at most `longest` positions; raises ImportedModelError or pydantic.ValidationError."""
    shared = model.tied_embeddings
    target_embeddings = encoder.embeddings if shared else decoder.embeddings
    tied = model.tied_softmax and not target_embeddings.scale
    configuration = RecurrentConfiguration.model_validate(
        {
            "family": "recurrent",
            "cell": decoder.rnn_type,
            "encoder_cell": encoder.rnn_type,
            "hidden_size": decoder.hidden_size,
            "embedding_size": target_embeddings.embedding_dim,
            "encoder_embedding_size": encoder.embeddings.embedding_dim,
            "encoder_hidden_size": encoder.hidden_size,
            "num_encoder_layers": encoder.num_layers,
            "num_decoder_layers": decoder.num_layers,
            "attention": AttentionConfiguration(score=SCORES[decoder.attention]),
            "initial_state": INITIAL_STATES[decoder.init_hidden],
            "input_feeding": decoder.input_feeding,
            "attentional_bias": True,
            "shared_embedding": shared,
            "tied_output": tied,
            "dropout": 0.0,
            "max_positions": max(longest, 256),
        }
    )
    origins = dict(_origins(configuration, decoder))
    origins["embedding.weight"] = Origin((SOURCE,), _scale(encoder.embeddings.scale, encoder.embeddings.embedding_dim))
    if not shared:
        scale = _scale(decoder.embeddings.scale, decoder.embeddings.embedding_dim)
        origins["target_embedding.weight"] = Origin((TARGET,), scale)
    if not tied:
        origins["output.weight"] = Origin((OUTPUT,))
    return Architecture(
        configuration,
        source_size=weights.shape(SOURCE)[0],
        target_size=weights.shape(TARGET)[0],
        origins=origins,
        ignored=frozenset((TARGET, OUTPUT)),
    )


def _scale(is_scaled: bool, size: int) -> float:
    return math.sqrt(size) if is_scaled else 1.0


def _origins(ours: RecurrentConfiguration, decoder: RecurrentDecoder) -> Iterator[tuple[str, Origin]]:
    for layer in range(ours.num_encoder_layers):
        here = "encoder" if layer == 0 else f"upper_encoders.{layer - 1}"
        for direction, ending in (("forwards", ""), ("backwards", "_reverse")):
            for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                yield f"{here}.{direction}.{part}_l0", Origin((f"encoder.rnn.{part}_l{layer}{ending}",))
    hidden, embedding = ours.hidden_size, ours.embedding_size or ours.hidden_size
    first = "decoder.rnn.weight_ih_l0"
    yield "token_gates.weight", Columns((first,), ranges=((0, embedding),))
    if ours.input_feeding:
        yield "feed_gates.weight", Columns((first,), ranges=((embedding, embedding + hidden),))
    yield from _cell("token_gates.bias", "cell", ours.cell, 0)
    for layer in range(1, ours.num_decoder_layers):
        here = f"upper_layers.{layer - 1}"
        yield f"{here}.gates.weight", Origin((f"decoder.rnn.weight_ih_l{layer}",))
        yield from _cell(f"{here}.gates.bias", f"{here}.cell", ours.cell, layer)
    if decoder.init_hidden == "bridge":
        number = ours.num_decoder_layers * (2 if ours.cell == "lstm" else 1)
        for kind in KINDS:
            yield f"initial.{kind}", Origin((f"decoder.bridge_layer.{kind}",) * number)
    yield "attention.score.key.weight", Origin(("decoder.attention.key_layer.weight",))
    if decoder.attention == "bahdanau":
        yield "attention.score.query.weight", Origin(("decoder.attention.query_layer.weight",))
        yield "attention.score.vector", Origin(("decoder.attention.energy_layer.weight",))
    context = 2 * ours.encoder_hidden_size
    attentional = "decoder.att_vector_layer"
    yield "attentional.weight", Columns((f"{attentional}.weight",), ranges=((hidden, hidden + context), (0, hidden)))
    yield "attentional.bias", Origin((f"{attentional}.bias",))


def _cell(input_bias: str, cell: str, kind: str, layer: int) -> Iterator[tuple[str, Origin]]:
    """An LSTM's two biases are always added, a GRU's are not."""
    yield f"{cell}.recurrent.weight", Origin((f"decoder.rnn.weight_hh_l{layer}",))
    biases = f"decoder.rnn.bias_ih_l{layer}", f"decoder.rnn.bias_hh_l{layer}"
    if kind == "lstm":
        yield input_bias, Sum(biases)
    else:
        yield input_bias, Origin(biases[:1])
        yield f"{cell}.recurrent.bias", Origin(biases[1:])
