"""An architecture of another library in our models' terms: a configuration, and where each weight comes from.

It reads shapes and names alone until a weight is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch

from export.configuration import Activation, RecurrentConfiguration, TransformerConfiguration
from export.errors import ImportedModelError
from export.imports.heads import widen
from export.imports.limits import check_size
from export.imports.origin import Origin
from export.imports.weights import Weights
from export.models.build import build_model
from export.models.recurrent import Recurrent
from export.models.transformer import Transformer

ACTIVATIONS: dict[str, Activation] = {
    "relu": "relu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "silu": "silu",
    "swish": "silu",
}
"""By transformers' names of them."""


@dataclass(frozen=True)
class Architecture:
    """Our configuration, the sizes of both vocabularies, where each parameter comes from, and the tensors of the
    checkpoint that hold nothing else. impossible: tokens that have no probability at all."""

    configuration: TransformerConfiguration | RecurrentConfiguration
    source_size: int
    target_size: int
    origins: dict[str, Origin]
    ignored: frozenset[str]
    impossible: tuple[int, ...] = ()

    def without(self, token_ids: tuple[int, ...]) -> Architecture:
        """The same with logits of minus infinity for some tokens, so that the probabilities of all others sum to 1."""
        return replace(self.with_output_bias(), impossible=token_ids)

    def with_output_bias(self) -> Architecture:
        """The same with a bias of zeros where the output layer has none: with one the product is an ONNX Gemm, which
        reads a tied embedding as it lies; without one the graph would hold the embedding twice. A recurrent model has
        one in any case."""
        if isinstance(self.configuration, RecurrentConfiguration):
            return self
        biased = self.configuration.model_copy(update={"output_bias": True})
        return replace(self, configuration=biased)

    def with_whole_heads(self) -> Architecture:
        """The same with heads of a size that the decoder's steps can have."""
        if isinstance(self.configuration, RecurrentConfiguration):
            return self
        configuration, origins = widen(self.configuration, self.origins)
        return replace(self, configuration=configuration, origins=origins)

    def check(self, weights: Weights) -> None:
        """Raises ImportedModelError where our graphs cannot have such an architecture, and where the checkpoint lacks a
        tensor, or has one of another shape or too many."""
        model = self.outline()
        check_size(model)
        wanted = {name: tuple(one.shape) for name, one in model.state_dict().items()}
        for name, shape in wanted.items():
            if (origin := self.origins.get(name)) is None:
                continue  # a bias that is ours alone
            found = origin.shape(weights)
            if found != shape and tuple(size for size in found if size > 1) != shape:
                raise ImportedModelError(
                    f"{origin.names[0]} is {list(weights.shape(origin.names[0]))}, which does not fit {list(shape)}, "
                    f"as {weights.described_in} has it"
                )
        used = {part for origin in self.origins.values() for part in origin.names}
        if extra := sorted(weights.names - used - self.ignored):
            raise ImportedModelError(f"the checkpoint has {extra[0]}, of which its {weights.described_in} says nothing")

    def outline(self) -> Transformer | Recurrent:
        """The model without memory for its weights."""
        with torch.device("meta"):
            return build_model(self.configuration, self.target_size, self.source_size)

    def load(self, weights: Weights) -> Transformer | Recurrent:
        """The model with the checkpoint's weights, each of which is in memory once."""
        model = self.outline()
        for name, tensor in model.state_dict().items():
            origin = self.origins.get(name)
            read = torch.zeros(tensor.shape) if origin is None else origin.read(weights).reshape(tensor.shape)
            if name == "output_bias":
                read[list(self.impossible)] = float("-inf")
            parent, _, attribute = name.rpartition(".")
            setattr(model.get_submodule(parent), attribute, torch.nn.Parameter(read, requires_grad=False))
        return model.eval()


def activation(name: str) -> Activation:
    """Raises ImportedModelError for one that our Transformer does not have."""
    if name not in ACTIVATIONS:
        raise ImportedModelError(f"the activation {name} is not supported; supported are {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]


def first_of(weights: Weights, *names: str) -> str:
    """The first name that the checkpoint has; tensors that are shared are saved under one of their names."""
    return next((name for name in names if name in weights.names), names[0])


def output_origin(weights: Weights, embedding: str) -> Origin | None:
    """Where the output layer comes from; None where it is the target's embedding."""
    if "lm_head.weight" not in weights.names or embedding == "lm_head.weight":
        return None
    same = weights.shape("lm_head.weight") == weights.shape(embedding) and torch.equal(
        weights.read("lm_head.weight"), weights.read(embedding)
    )
    return None if same else Origin(("lm_head.weight",))


def require(config: Any, **neutral: Any) -> None:
    """Raises ImportedModelError for a field of config.json that is not as it must be."""
    for field, value in neutral.items():
        if getattr(config, field, value) not in (value, None):
            raise ImportedModelError(f"{field} = {getattr(config, field)!r} in config.json is not supported")
