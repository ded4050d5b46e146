"""The training configuration file: what each key means, its unit and its default.

It does not know how any of it is carried out.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from service.model.placeholders import PLACEHOLDER
from service.model.vocabulary_files import LanguageCode

Activation = Literal["relu", "gelu", "gelu_tanh", "silu"]
Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]
WholePiece = Annotated[
    str, Field(pattern=r"^[!-~]+$", description="ASCII without spaces, which no vocabulary rewrites")
]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TransformerConfiguration(_Section):
    """A Transformer: as long as nothing else is said, pre-norm with tied embeddings and sinusoidal positions."""

    family: Literal["transformer"] = "transformer"
    hidden_size: PositiveInt = 128
    num_heads: PositiveInt = 4
    encoder_num_heads: PositiveInt | None = Field(None, description="none: num_heads")
    head_size: PositiveInt | None = Field(None, description="of each head; none: hidden_size / num_heads")
    scaled_attention: bool = Field(True, description="queries are divided by the square root of head_size")
    feed_forward_size: PositiveInt = 256
    encoder_feed_forward_size: PositiveInt | None = Field(None, description="none: feed_forward_size")
    activation: Activation = "relu"
    gated: bool = Field(False, description="the activation is of a second product, which multiplies the first")
    biases: bool = Field(True, description="of all products in the layers")
    num_encoder_layers: PositiveInt = 4
    num_decoder_layers: PositiveInt = 4
    decoder_history: Literal["attention", "ssru"] = Field(
        "attention", description="how a decoder's layer knows earlier tokens: by self-attention, or a recurrent unit"
    )
    history_projection: bool = Field(True, description="behind a recurrent unit of the decoder's history")
    tied_decoder_layers: tuple[NonNegativeInt, ...] = Field(
        (), description="for each decoder layer the one, from 0, whose weights it has; none: each has its own"
    )
    norm: Literal["layer", "rms"] = "layer"
    norm_position: Literal["before", "after"] = Field("before", description="of the norm and its sublayer")
    norm_epsilon: PositiveFloat = 1e-5
    residual_scale: PositiveFloat = Field(1.0, description="of what goes around each sublayer of the decoder")
    encoder_residual_scale: PositiveFloat | None = Field(None, description="none: residual_scale")
    final_norm: bool = Field(True, description="behind the last layer of encoder and decoder")
    embedding_norm: bool = Field(False, description="behind the embeddings of encoder and decoder")
    positions: Literal["sinusoidal", "learned", "relative"] = "sinusoidal"
    sinusoids: Literal["tensor2tensor", "vaswani", "alternating"] = Field(
        "tensor2tensor", description="how fast their rates fall; alternating: vaswani's, sines and cosines in turn"
    )
    position_offset: int = Field(0, ge=0, description="of the first token, of sinusoidal positions")
    unplaced_id: NonNegativeInt | None = Field(None, description="token of a target that has no sinusoidal position")
    num_buckets: int = Field(32, ge=4, multiple_of=4, description="of distances, of relative positions")
    max_distance: PositiveInt = Field(128, description="farther ones share a bucket, of relative positions")
    embedding_scale: PositiveFloat | None = Field(None, description="none: the square root of hidden_size")
    shared_embedding: bool = Field(True, description="of source and target")
    tied_output: bool = Field(True, description="the output layer is the target's embedding")
    output_bias: bool = False
    dropout: Fraction = 0.2
    max_positions: int = Field(512, ge=16, description="longest source or target, in tokens")
    alignment_layer: int = Field(2, ge=0, description="decoder layer whose cross-attention is reported, from 0")
    alignment_heads: tuple[NonNegativeInt, ...] = Field(
        (), description="its heads, from 0, whose mean is reported; none named: all of them"
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.hidden_size % 2 or self.hidden_size < 4:
            raise ValueError("hidden_size must be even and at least 4")
        if self.head_size is None and any(self.hidden_size % n for n in (self.num_heads, self.encoder_num_heads or 1)):
            raise ValueError("without a head_size, hidden_size must be a multiple of num_heads, the encoder's as well")
        if self.max_distance <= self.num_buckets // 2:
            raise ValueError("max_distance must be above half of num_buckets")
        if self.decoder_history != "attention" and self.positions == "relative":
            raise ValueError("relative positions need a decoder with self-attention")
        if self.tied_decoder_layers and len(self.tied_decoder_layers) != self.num_decoder_layers:
            raise ValueError("tied_decoder_layers must name one layer for each of num_decoder_layers")
        if any(own > layer for layer, own in enumerate(self.tied_decoder_layers)):
            raise ValueError("tied_decoder_layers must name no layer that comes later")
        if self.alignment_layer >= self.num_decoder_layers:
            raise ValueError("alignment_layer must be below num_decoder_layers")
        if len(set(self.alignment_heads)) < len(self.alignment_heads):
            raise ValueError("alignment_heads must not name a head twice")
        if max(self.alignment_heads, default=0) >= self.num_heads:
            raise ValueError("alignment_heads must be below num_heads")
        return self


class AttentionConfiguration(_Section):
    """How a recurrent decoder looks at the source: three choices that combine freely."""

    score: str = Field(
        "general", description="dot, general, concat, additive, scaled_dot, location, or another registered"
    )
    span: Literal["global", "local_m", "local_p"] = "global"
    window: PositiveInt = Field(10, description="D of a local span: it sees 2 D + 1 source positions")
    choice: Literal["soft", "hard"] = "soft"
    num_locations: PositiveInt = Field(
        100,
        description="source positions that the score `location` tells apart; a model with it refuses longer sources",
    )


class RecurrentConfiguration(_Section):
    """A bidirectional recurrent encoder and a decoder with attention, or `attention = "none"`."""

    family: Literal["recurrent"]
    cell: Literal["lstm", "gru"] = "lstm"
    encoder_cell: Literal["lstm", "gru"] | None = Field(None, description="none: cell")
    hidden_size: PositiveInt = Field(256, description="of the decoder, and of embeddings without a size of their own")
    embedding_size: PositiveInt | None = Field(None, description="none: hidden_size")
    encoder_embedding_size: PositiveInt | None = Field(None, description="none: embedding_size")
    encoder_hidden_size: PositiveInt = Field(128, description="of each encoder direction")
    num_encoder_layers: PositiveInt = 1
    num_decoder_layers: PositiveInt = 1
    attention: AttentionConfiguration | Literal["none"] = AttentionConfiguration()
    initial_state: Literal["mean", "last", "copy", "zero"] | None = Field(
        None,
        description="what the decoder's layers start from: tanh of a product with the mean of the encoder's states, or "
        "with its last state in each direction, these themselves (the forward one alone if that fits), or zeros; none: "
        "mean, but last without attention",
    )
    input_feeding: bool = Field(True, description="the decoder's cell reads the previous attentional state")
    attentional_bias: bool = False
    shared_embedding: bool = Field(True, description="of source and target")
    tied_output: bool = Field(True, description="the output layer is the target's embedding")
    dropout: Fraction = 0.3
    max_positions: int = Field(512, ge=256, description="longest source or target, in tokens")

    @model_validator(mode="after")
    def _check(self) -> Self:
        embedding = self.embedding_size or self.hidden_size
        if self.tied_output and embedding != self.hidden_size:
            raise ValueError("a tied output layer needs embeddings of hidden_size")
        if self.shared_embedding and self.encoder_embedding_size not in (None, embedding):
            raise ValueError("a shared embedding has one size")
        fits = self.hidden_size in (self.encoder_hidden_size, 2 * self.encoder_hidden_size)
        if self.initial_state == "copy" and not fits:
            raise ValueError("to copy the encoder's last states, hidden_size must be that of one direction or of both")
        return self


ModelConfiguration = Annotated[TransformerConfiguration | RecurrentConfiguration, Field(discriminator="family")]


class DataConfiguration(_Section):
    """A parallel corpus of files SPLIT.LANGUAGE.gz, one sentence a line."""

    corpus: str = Field("multi30k", description="name of the corpus, and of its folder where nothing else is said")
    source_language: LanguageCode
    target_language: LanguageCode
    train: str = "train"
    validation: str = "val"
    test: tuple[str, ...] = Field(
        ("test_2016_flickr", "test_2017_flickr"),
        description="what a published version is scored on; first the one to measure on",
    )
    vocabulary_size: PositiveInt = Field(6000, description="pieces of the joint SentencePiece BPE model")
    masks: tuple[WholePiece, ...] = Field(
        (), description="what stands for a sentence's placeholders (%s, {0}), in their order; none: they are plain text"
    )
    whole_pieces: tuple[WholePiece, ...] = Field(
        (), description="other pieces of text that the vocabulary never splits: <b>"
    )
    max_length: PositiveInt = Field(100, description="longer training pairs are left out, in tokens")
    golden: tuple[str, ...] = Field(
        (), description="sentences that a certificate may quote, where those of the test split may not be copied"
    )
    licence: str = Field(description="licence of the corpus, for the model card")
    citation: str = Field(description="what to cite, for the model card")

    @model_validator(mode="after")
    def _check(self) -> Self:
        symbols = (*self.masks, *self.whole_pieces)
        if len(set(symbols)) < len(symbols):
            raise ValueError("a mask or a whole piece must not be named twice")
        if control := {"<pad>", "<unk>", "<s>", "</s>"}.intersection(symbols):
            raise ValueError(f"{min(control)} means something else in every vocabulary")
        if exposed := [mask for mask in self.masks if not PLACEHOLDER.fullmatch(mask)]:
            raise ValueError(f"{exposed[0]} is no placeholder; as a mask it would be taken for the text that it is")
        return self


class OptimizationConfiguration(_Section):
    """Warm-up, stable phase, linear decay to zero (Hägele et al. 2024), AdamW, EMA of the weights."""

    seed: int = 1
    start_from: str | None = Field(
        None, description="checkpoint to take vocabulary and fitting weights from, relative to this file's folder"
    )
    batch_tokens: PositiveInt = Field(4096, description="target tokens of a batch over all processes, padding included")
    max_epochs: PositiveInt = 60
    learning_rate: PositiveFloat = 4e-3
    warmup_steps: PositiveInt = 1000
    decay_fraction: float = Field(0.3, gt=0, le=1, description="share of all steps spent decaying to zero")
    weight_decay: float = Field(0.0, ge=0)
    label_smoothing: Fraction = 0.1
    gradient_clip: PositiveFloat = Field(1.0, description="largest norm of the whole gradient")
    ema_decay: Fraction = Field(0.998, description="of the averaged weights, a step")
    patience: PositiveInt = Field(10, description="epochs without a better validation BLEU before stopping")


class TrainingConfiguration(_Section):
    """One model: its data, its architecture, how it is optimised."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    data: DataConfiguration
    model: ModelConfiguration
    optimization: OptimizationConfiguration = OptimizationConfiguration()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.data.max_length > self.model.max_positions:
            raise ValueError("data.max_length must not be above model.max_positions")
        attention = self.model.attention if isinstance(self.model, RecurrentConfiguration) else "none"
        if attention != "none" and attention.score == "location" and self.data.max_length > attention.num_locations:
            raise ValueError("data.max_length must not be above model.attention.num_locations")
        return self


def load_configuration(path: Path) -> TrainingConfiguration:
    """Read and check a TOML file; raises OSError, tomllib.TOMLDecodeError or pydantic.ValidationError."""
    return TrainingConfiguration.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
