"""A Transformer of Marian's in our Transformer's terms: a configuration, and where each weight comes from."""

from __future__ import annotations

from collections.abc import Iterator

from export.configuration import TransformerConfiguration
from export.imports.architecture import Architecture
from export.imports.origin import Origin
from export.marian.configuration import MarianConfiguration
from export.marian.weights import BEGIN_BIAS, BEGIN_ROW, MarianWeights

NORM_EPSILON = 1e-6
OUTPUT = "decoder_ff_logit_out"
HEAD = 0
"""Whose attention Marian reports as its alignment."""


def describe(config: MarianConfiguration, weights: MarianWeights, longest: int) -> Architecture:
    """The architecture for at most `longest` positions. A target begins with a token of our own behind Marian's, of
    which nothing is embedded but its position, and which never comes; raises ImportedModelError."""
    source, target = ("Wemb", "Wemb") if config.shared_embedding else ("encoder_Wemb", "decoder_Wemb")
    begun = Origin((target, BEGIN_ROW))
    origins = dict(_origins(config))
    origins["embedding.weight"] = begun if config.shared_embedding else Origin((source,))
    if not config.shared_embedding:
        origins["target_embedding.weight"] = begun
    if not config.tied_output:
        matrix = f"{OUTPUT}_Wt" if f"{OUTPUT}_Wt" in weights.names else f"{OUTPUT}_W"
        origins["output.weight"] = Origin((matrix, BEGIN_ROW))
    if config.output_bias:
        origins["output_bias"] = Origin((f"{OUTPUT}_b", BEGIN_BIAS))
    num_targets = weights.shape(target)[0]
    architecture = Architecture(
        configuration=_ours(config, longest),
        source_size=weights.shape(source)[0] + int(config.shared_embedding),
        target_size=num_targets + 1,
        origins=origins,
        ignored=frozenset((BEGIN_ROW, BEGIN_BIAS)),
    )
    return architecture.without((num_targets,)).with_whole_heads()


def _ours(config: MarianConfiguration, longest: int) -> TransformerConfiguration:
    return TransformerConfiguration(
        hidden_size=config.hidden_size,
        num_heads=config.num_heads,
        feed_forward_size=config.decoder_feed_forward_size,
        encoder_feed_forward_size=config.feed_forward_size,
        activation=config.activation,
        num_encoder_layers=config.num_encoder_layers,
        num_decoder_layers=config.num_decoder_layers,
        decoder_history="ssru" if config.recurrent else "attention",
        history_projection=config.projected,
        tied_decoder_layers=tuple(number - 1 for number in config.tied_layers),
        norm=config.norm,
        norm_position=config.norm_position,
        norm_epsilon=NORM_EPSILON,
        final_norm=config.final_norm,
        embedding_norm=config.embedding_norm,
        shared_embedding=config.shared_embedding,
        tied_output=config.tied_output,
        dropout=0.0,
        max_positions=longest,
        alignment_layer=config.alignment_layer,
        alignment_heads=(HEAD,),
    )


def _origins(config: MarianConfiguration) -> Iterator[tuple[str, Origin]]:
    names = {
        "encoder": tuple(range(1, config.num_encoder_layers + 1)),
        "decoder": config.tied_layers,
    }
    for side, numbers in names.items():
        for i, number in enumerate(numbers):
            here, there = f"{side}_layers.{i}", f"{side}_l{number}"
            if side == "decoder":
                yield from _attention(config, f"{here}.cross_attention", f"{there}_context")
            if side == "decoder" and config.recurrent:
                yield from _recurrence(config, here, f"{there}_rnn")
            else:
                yield from _attention(config, f"{here}.self_attention", f"{there}_self")
            for place, part in (("1", "inner"), ("2", "outer")):
                yield f"{here}.feed_forward.{part}.weight", Origin((f"{there}_ffn_W{place}",))
                yield f"{here}.feed_forward.{part}.bias", Origin((f"{there}_ffn_b{place}",))
            yield from _layer_norm(config, f"{here}.feed_forward_norm", f"{there}_ffn_ffn")
        if config.embedding_norm:
            yield from _norm(config, f"{side}_embedding_norm", f"{side}_emb", "_pre")
        if config.final_norm:
            yield from _norm(config, f"{side}_norm", f"{side}_top", "")


def _attention(config: MarianConfiguration, ours: str, theirs: str) -> Iterator[tuple[str, Origin]]:
    for kind, letter in (("weight", "W"), ("bias", "b")):
        yield f"{ours}.projection.{kind}", Origin(tuple(f"{theirs}_{letter}{part}" for part in "qkv"))
        yield f"{ours}.output.{kind}", Origin((f"{theirs}_{letter}o",))
    yield from _layer_norm(config, f"{ours}_norm", f"{theirs}_Wo")


def _recurrence(config: MarianConfiguration, ours: str, theirs: str) -> Iterator[tuple[str, Origin]]:
    yield f"{ours}.recurrence.new.weight", Origin((f"{theirs}_W",))
    yield f"{ours}.recurrence.forget.weight", Origin((f"{theirs}_Wf",))
    yield f"{ours}.recurrence.forget.bias", Origin((f"{theirs}_bf",))
    if config.projected:
        yield f"{ours}.recurrence.output.weight", Origin((f"{theirs}_Wo",))
        yield f"{ours}.recurrence.output.bias", Origin((f"{theirs}_bo",))
    place = theirs if config.norm_position == "before" else f"{theirs}_ffn"
    yield from _layer_norm(config, f"{ours}.self_attention_norm", place)


def _layer_norm(config: MarianConfiguration, ours: str, theirs: str) -> Iterator[tuple[str, Origin]]:
    yield from _norm(config, ours, theirs, "_pre" if config.norm_position == "before" else "")


def _norm(config: MarianConfiguration, ours: str, theirs: str, suffix: str) -> Iterator[tuple[str, Origin]]:
    if config.norm == "rms":
        yield f"{ours}.weight", Origin((f"{theirs}_rms_scale{suffix}",))
    else:
        yield f"{ours}.weight", Origin((f"{theirs}_ln_scale{suffix}",))
        yield f"{ours}.bias", Origin((f"{theirs}_ln_bias{suffix}",))
