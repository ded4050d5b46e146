"""Heads that get units of weight zero, so that the decoder's steps can have them, say what they said before."""

import pytest
import torch

from export.configuration import TransformerConfiguration
from export.imports.architecture import Architecture
from export.imports.heads import HEAD_MULTIPLE, WiderHeads
from export.imports.origin import Origin
from export.models.control_tokens import END_ID
from export.models.transformer import Transformer

SIZE = 30


class Tensors:
    """A checkpoint whose queries, keys and values are tensors of their own."""

    described_in = "config.json"

    def __init__(self, model):
        self._tensors = {}
        for name, tensor in model.state_dict().items():
            parts = tensor.chunk(3) if ".projection." in name else (tensor,)
            self._tensors |= {f"{name}.{i}": part for i, part in enumerate(parts)}
        self.names = set(self._tensors)

    def shape(self, name):
        return tuple(self._tensors[name].shape)

    def copy(self, name, into):
        into.copy_(self._tensors[name])

    def read(self, name):
        return self._tensors[name].clone()


def architecture(config, model):
    origins = {
        name: Origin(tuple(f"{name}.{i}" for i in range(3 if ".projection." in name else 1)))
        for name in model.state_dict()
    }
    return Architecture(config, SIZE, SIZE, origins, frozenset()).with_whole_heads()


@pytest.mark.parametrize(
    "arrangement",
    [
        {"num_heads": 2},
        {"num_heads": 2, "scaled_attention": False},
        {"num_heads": 6, "encoder_num_heads": 2},
        {"num_heads": 2, "head_size": 5, "biases": False, "norm": "rms", "positions": "relative"},
    ],
)
def test_a_translation_is_the_same_with_wider_heads(arrangement):
    torch.manual_seed(3)
    config = TransformerConfiguration(
        hidden_size=24,
        feed_forward_size=16,
        num_encoder_layers=2,
        num_decoder_layers=2,
        alignment_layer=1,
        **arrangement,
    )
    model = Transformer(config, SIZE).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    tensors = Tensors(model)
    found = architecture(config, model)
    found.check(tensors)
    wider = found.load(tensors)
    assert wider.config.head_size % HEAD_MULTIPLE == 0
    source, target = torch.randint(4, SIZE, (2, 7)), torch.randint(4, SIZE, (2, 5))
    source[:, -1] = END_ID
    with torch.inference_mode():
        before, after = (each(source, torch.tensor([7, 7]), target) for each in (model, wider))
    assert torch.allclose(before, after, atol=1e-5)
    assert not torch.allclose(before[0], before[1], atol=0.1)


def test_heads_that_fit_stay_as_they_are():
    config = TransformerConfiguration(hidden_size=32, num_heads=4)
    found = architecture(config, Transformer(config, SIZE))
    assert found.configuration == config
    assert not any(isinstance(origin, WiderHeads) for origin in found.origins.values())
