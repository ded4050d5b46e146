"""What special:model.yml says, checked: all that changes a Transformer of Marian's, and nothing of its training.

Sources: Marian's src/models/transformer.h and the options that `marian --help` lists.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import yaml

from export.configuration import Activation
from export.errors import ImportedModelError
from export.marian.weights import CONFIGURATION

ACTIVATIONS: dict[str, Activation] = {"relu": "relu", "swish": "silu", "gelu": "gelu"}
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "input-types": ([],),
    "layer-normalization": (False,),
    "lemma-dim-emb": (0,),
    "lemma-dependency": ("",),
    "factors-dim-emb": (0,),
    "output-approx-knn": ([],),
    "right-left": (False,),
    "transformer-alibi-shift": (False,),
    "transformer-alibi-trainable": (False,),
    "transformer-attention-mask": ("default",),
    "transformer-decoder-ffn-depth": (0, 2),
    "transformer-disable-position-embeddings": (False,),
    "transformer-ffn-depth": (2,),
    "transformer-no-projection": (False,),
    "transformer-pool": (False,),
    "transformer-train-positions": (False,),
    "ulr": (False,),
}
"""What changes a model in ways that we do not have, with the values that leave it out."""
DROPOUT = "d"
NORMS: dict[str, Literal["layer", "rms"]] = {"n": "layer", "r": "rms"}
"""By the letters of transformer-preprocess and transformer-postprocess."""


@dataclass(frozen=True)
class MarianConfiguration:
    """A Transformer of Marian's. tied_layers: for each decoder layer the number, from 1, in its tensors' names."""

    hidden_size: int
    num_heads: int
    feed_forward_size: int
    decoder_feed_forward_size: int
    num_encoder_layers: int
    num_decoder_layers: int
    tied_layers: tuple[int, ...]
    activation: Activation
    norm: Literal["layer", "rms"]
    norm_position: Literal["before", "after"]
    final_norm: bool
    embedding_norm: bool
    recurrent: bool
    projected: bool
    shared_embedding: bool
    tied_output: bool
    output_bias: bool
    alignment_layer: int
    vocabulary_sizes: tuple[int, int]


def parse_configuration(text: str) -> MarianConfiguration:
    """Raises ImportedModelError for what is not YAML, and for what we do not have, by its name."""
    try:
        options = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ImportedModelError(f"{CONFIGURATION} is not YAML") from error
    if not isinstance(options, dict):
        raise ImportedModelError(f"{CONFIGURATION} has no options")
    try:
        return _configuration(options)
    except (KeyError, TypeError, ValueError) as error:
        raise ImportedModelError(f"{CONFIGURATION} lacks an option, or has one of another kind: {error}") from error


def _configuration(options: dict[str, Any]) -> MarianConfiguration:
    if options["type"] != "transformer":
        _refuse(options, "type", "transformer")
    for name, neutral in NEUTRAL.items():
        if name in options and options[name] not in neutral:
            _refuse(options, name, *neutral)
    autoregression = options.get("transformer-decoder-autoreg", "self-attention")
    if autoregression not in ("self-attention", "rnn"):
        _refuse(options, "transformer-decoder-autoreg", "self-attention", "rnn")
    recurrent = autoregression == "rnn"
    if recurrent and options.get("dec-cell") != "ssru":
        _refuse(options, "dec-cell", "ssru")
    if (activation := options.get("transformer-ffn-activation", "swish")) not in ACTIVATIONS:
        _refuse(options, "transformer-ffn-activation", *ACTIVATIONS)
    sizes = tuple(int(size) for size in options["dim-vocabs"])
    if len(sizes) != 2:
        raise ImportedModelError(f"dim-vocabs has {len(sizes)} vocabularies; a source and a target are supported")
    depth = int(options["dec-depth"])
    tied = tuple(int(number) for number in options.get("transformer-tied-layers") or ()) or tuple(range(1, depth + 1))
    if len(tied) != depth or any(not 1 <= number <= layer for layer, number in enumerate(tied, start=1)):
        raise ImportedModelError(f"transformer-tied-layers = {list(tied)} does not fit {depth} layers")
    norm, position = _norm(options)
    if position == "before" and not recurrent:
        raise ImportedModelError(
            f"transformer-preprocess = {options['transformer-preprocess']!r} with self-attention in the decoder is not "
            "supported: Marian's decoding leaves out norms that its training has"
        )
    inner = int(options["transformer-dim-ffn"])
    everywhere = bool(options.get("tied-embeddings-all"))
    return MarianConfiguration(
        hidden_size=int(options["dim-emb"]),
        num_heads=int(options["transformer-heads"]),
        feed_forward_size=inner,
        decoder_feed_forward_size=int(options.get("transformer-decoder-dim-ffn") or 0) or inner,
        num_encoder_layers=int(options["enc-depth"]),
        num_decoder_layers=depth,
        tied_layers=tied,
        activation=ACTIVATIONS[activation],
        norm=norm,
        norm_position=position,
        final_norm=_only_norm(options, "transformer-postprocess-top", norm),
        embedding_norm=_only_norm(options, "transformer-postprocess-emb", norm),
        recurrent=recurrent,
        projected=bool(options.get("transformer-rnn-projection")),
        shared_embedding=everywhere or bool(options.get("tied-embeddings-src")),
        tied_output=everywhere or bool(options.get("tied-embeddings")),
        output_bias=not options.get("output-omit-bias"),
        alignment_layer=_alignment_layer(options, depth),
        vocabulary_sizes=(sizes[0], sizes[1]),
    )


def _norm(options: dict[str, Any]) -> tuple[Literal["layer", "rms"], Literal["before", "after"]]:
    before = str(options.get("transformer-preprocess", "")).replace(DROPOUT, "")
    after = str(options.get("transformer-postprocess", "")).replace(DROPOUT, "")
    if before in NORMS and after == "a":
        return NORMS[before], "before"
    if before == "" and after[:1] == "a" and after[1:] in NORMS:
        return NORMS[after[1:]], "after"
    raise ImportedModelError(
        f"transformer-preprocess = {before!r} and transformer-postprocess = {after!r}, dropout left out, are not "
        "supported; a norm before a sublayer, 'n' and 'a', or after it, '' and 'an', is"
    )


def _only_norm(options: dict[str, Any], name: str, norm: str) -> bool:
    letters = str(options.get(name, "")).replace(DROPOUT, "")
    if letters == "":
        return False
    if NORMS.get(letters) != norm:
        raise ImportedModelError(f"{name} = {options[name]!r} is not supported beside the other norms")
    return True


def _alignment_layer(options: dict[str, Any], depth: int) -> int:
    layer = options.get("transformer-guided-alignment-layer", "last")
    number = depth if layer == "last" else int(layer)
    if not 1 <= number <= depth:
        raise ImportedModelError(f"transformer-guided-alignment-layer = {layer!r} is none of {depth} layers")
    return number - 1


def _refuse(options: dict[str, Any], name: str, *supported: Any) -> None:
    told = " or ".join(repr(one) for one in supported)
    raise ImportedModelError(f"{name} = {options.get(name)!r} is not supported; {told} is")
