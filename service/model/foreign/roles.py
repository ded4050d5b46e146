"""What the tensors of a foreign encoder/decoder pair are for: a part of manifest.json. It runs nothing."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, StringConstraints, model_validator

from service.model.part import Part

ForeignAxis = Literal["batch", "source_length", "target_length", "age", "vocabulary"]
"""target_length: tokens fed so far, the one of this step included; age: the same without it."""
ForeignType = Literal["bool", "int32", "int64", "float32"]
Tokenizer = Literal["characters", "pieces", "sentencepiece"]
TensorName = Annotated[str, StringConstraints(min_length=1, max_length=512)]


class ForeignTensor(Part):
    """An input or output of a graph: its own name, type and axes, in the graph's order; numbers are fixed sizes."""

    name: TensorName
    dtype: ForeignType
    axes: tuple[ForeignAxis | PositiveInt, ...]


class ForeignMask(Part):
    """An input that tells tokens from padding. marks: what true, or 1, stands for."""

    tensor: ForeignTensor
    marks: Literal["tokens", "padding"]


class Sharing(Part):
    """Which rows one run of a graph may hold. rows: more than one; lengths: with sources of different lengths; ages: at
    different positions."""

    rows: bool = True
    lengths: bool = True
    ages: bool = True

    @property
    def limit(self) -> str:
        """What rows of one run must have in common, in words; empty where that is nothing."""
        if not self.rows:
            return "one row a run"
        equal = [what for what, shared in (("source length", self.lengths), ("age", self.ages)) if not shared]
        return f"rows of equal {' and '.join(equal)} a run" if equal else ""


class ForeignEncoder(Part):
    """states: by the name of the state, the output that it is."""

    source_ids: ForeignTensor
    source_mask: ForeignMask | None = None
    source_lengths: ForeignTensor | None = None
    states: dict[str, ForeignTensor]
    sharing: Sharing = Sharing()


class ForeignState(Part):
    """A decoder state: the input that reads it, and the output that it becomes, which constant ones have not."""

    read: ForeignTensor
    written: ForeignTensor | None = None


class ForeignDecoder(Part):
    """last_token or prefix, all tokens from the begin on, is what each step is told; scores are log-probabilities, or
    logits where that is said, and have a "target_length" axis where there are some for every token of the prefix."""

    last_token: ForeignTensor | None = None
    prefix: ForeignTensor | None = None
    prefix_mask: ForeignMask | None = None
    prefix_lengths: ForeignTensor | None = None
    positions: ForeignTensor | None = None
    source_mask: ForeignMask | None = None
    source_lengths: ForeignTensor | None = None
    scores: ForeignTensor
    are_logits: bool
    attention: ForeignTensor | None = None
    states: dict[str, ForeignState]
    sharing: Sharing = Sharing()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.last_token is None) == (self.prefix is None):
            raise ValueError("a decoder takes the last token or the prefix")
        return self


class ForeignPair(Part):
    """Everything that serving a foreign pair takes besides the manifest's other fields."""

    encoder: ForeignEncoder
    decoder: ForeignDecoder
    source_tokenizer: Tokenizer
    target_tokenizer: Tokenizer
    source_prefix: tuple[NonNegativeInt, ...] = Field((), description="token ids before those of every text")
    source_suffix: tuple[NonNegativeInt, ...] = Field((), description="token ids after them")
    pad_id: NonNegativeInt = Field(0, description="what follows a shorter source")
    prefix_pad_id: NonNegativeInt = Field(0, description="what follows a shorter prefix")
    never: tuple[NonNegativeInt, ...] = Field((), description="target tokens that are never made")
    min_target_length: NonNegativeInt = Field(0, description="tokens before which the sentence does not end")
    ended_hypotheses: Literal["leave", "stay"] = Field(
        "leave", description="whether a hypothesis of a beam search that has ended keeps its place among the best"
    )

    @property
    def sharing(self) -> str:
        """What one run of each graph may hold, in words."""
        encoder = self.encoder.sharing.limit or "any rows together"
        return f"encoder: {encoder}; steps: {self.decoder.sharing.limit or 'any rows together'}"
