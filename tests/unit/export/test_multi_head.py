"""Multi-head attention in its three uses is the same function three ways: the module, torch's own scaled dot-product
attention on the module's weights, and the exported graph in onnxruntime."""

import warnings
from itertools import pairwise

import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from export.models import masks
from export.models.multi_head import MultiHeadAttention
from export.to_onnx import OPSET

HIDDEN, LENGTH, CAPACITY = 64, 7, 16
LENGTHS = torch.tensor([LENGTH, 1, 4])
MEMORY_LENGTHS = torch.tensor([2, 9, 5])
TOLERANCE = 1e-5


class Uses(nn.Module):
    """Every use of one module, as a graph."""

    def __init__(self, attention):
        super().__init__()
        self.attention = attention

    def forward(self, x, lengths, memory, memory_lengths, token, key_cache, value_cache, positions):
        inside = masks.source_mask(lengths, x.shape[1])[:, None, None]
        visible = masks.source_mask(memory_lengths, memory.shape[1])
        keys, values = self.attention.keys_and_values(memory)
        return {
            "self": self.attention(x, inside),
            "causal": self.attention(x, masks.causal_mask(x.shape[1], x.device)),
            "cross": self.attention(x, visible[:, None, None], memory),
            **dict(
                zip(("step_cross", "weights"), self.attention.step_cross(token, keys, values, visible), strict=True)
            ),
            **dict(
                zip(
                    ("step_causal", "new_key_cache", "new_value_cache"),
                    self.attention.step_self(token, key_cache, value_cache, positions),
                    strict=True,
                )
            ),
        }


def to_session(uses, inputs):
    batch, length, memory_length = (torch.export.Dim(name, min=1) for name in ("batch", "length", "memory_length"))
    shapes = {name: {0: batch} for name in inputs}
    shapes["x"], shapes["memory"] = {0: batch, 1: length}, {0: batch, 1: memory_length}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            uses, (), kwargs=inputs, dynamo=True, opset_version=OPSET, dynamic_shapes=shapes, verbose=False
        )
    return onnxruntime.InferenceSession(program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module", params=[1, 2, 4, 8])
def uses(request):
    torch.manual_seed(request.param)
    attention = MultiHeadAttention(HIDDEN, request.param)
    for parameter in attention.parameters():
        nn.init.normal_(parameter, std=0.2)
    return Uses(attention).eval()


@pytest.fixture(scope="module")
def inputs(uses):
    heads = uses.attention.num_heads
    rows, cache = len(LENGTHS), (len(LENGTHS), heads, CAPACITY, HIDDEN // heads)
    return {
        "x": torch.randn(rows, LENGTH, HIDDEN),
        "lengths": LENGTHS,
        "memory": torch.randn(rows, 9, HIDDEN),
        "memory_lengths": MEMORY_LENGTHS,
        "token": torch.randn(rows, HIDDEN),
        "key_cache": torch.randn(cache),
        "value_cache": torch.randn(cache),
        "positions": torch.tensor([3, 0, CAPACITY - 1]),
    }


@pytest.fixture(scope="module")
def run_graph(uses, inputs):
    """Runs the exported graph on changed inputs, to tensors by name."""
    names = list(uses(**inputs))
    session = to_session(uses, inputs)

    def run(**changed):
        fed = {name: value.numpy() for name, value in (inputs | changed).items()}
        return {name: torch.from_numpy(value) for name, value in zip(names, session.run(None, fed), strict=True)}

    return run


def by_torch(attention, x, memory, **mask):
    """torch.nn.functional.scaled_dot_product_attention between the module's own matrices."""
    query_key_value = zip(attention.projection.weight.chunk(3), attention.projection.bias.chunk(3), strict=True)
    query, key, value = (
        F.linear(rows, weight, bias).unflatten(-1, (attention.num_heads, -1)).transpose(1, 2)
        for rows, (weight, bias) in zip((x, memory, memory), query_key_value, strict=True)
    )
    attended = F.scaled_dot_product_attention(query, key, value, **mask)
    return F.linear(attended.transpose(1, 2).flatten(2), attention.output.weight, attention.output.bias)


def require_close(found, expected):
    torch.testing.assert_close(found, expected, atol=TOLERANCE, rtol=0)


def inside(lengths, size):
    return (torch.arange(size) < lengths[:, None])[:, None, None]


@torch.inference_mode()
def test_self_attention_sees_each_rows_own_length(uses, inputs, run_graph):
    expected = by_torch(uses.attention, inputs["x"], inputs["x"], attn_mask=inside(LENGTHS, LENGTH))
    require_close(uses(**inputs)["self"], expected)
    require_close(run_graph()["self"], expected)


@torch.inference_mode()
def test_causal_self_attention_sees_nothing_later(uses, inputs, run_graph):
    expected = by_torch(uses.attention, inputs["x"], inputs["x"], is_causal=True)
    require_close(uses(**inputs)["causal"], expected)
    require_close(run_graph()["causal"], expected)


@torch.inference_mode()
def test_cross_attention_sees_the_memory_at_once_and_step_by_step(uses, inputs, run_graph):
    mask = inside(MEMORY_LENGTHS, 9)
    expected = by_torch(uses.attention, inputs["x"], inputs["memory"], attn_mask=mask)
    require_close(uses(**inputs)["cross"], expected)
    require_close(run_graph()["cross"], expected)
    one = by_torch(uses.attention, inputs["token"][:, None], inputs["memory"], attn_mask=mask)[:, 0]
    for outputs in (uses(**inputs), run_graph()):
        require_close(outputs["step_cross"], one)
        require_close(outputs["weights"].sum(-1), torch.ones(3, uses.attention.num_heads))
        assert not outputs["weights"][~mask[:, 0].expand(-1, uses.attention.num_heads, -1)].any()


@torch.inference_mode()
@pytest.mark.parametrize("form", ["module", "graph"])
def test_growing_keys_and_values_give_causal_attention_to_rows_of_any_age(uses, inputs, run_graph, form):
    """Row r begins r steps late; until it does, and beyond its own age, its caches hold what somebody left there."""
    step = run_graph if form == "graph" else lambda **changed: uses(**(inputs | changed))
    expected = by_torch(uses.attention, inputs["x"], inputs["x"], is_causal=True)
    late = torch.arange(3)
    caches = {name: inputs[name].clone() for name in ("key_cache", "value_cache")}
    for time in range(LENGTH + 2):
        positions = (time - late).clamp(0, LENGTH - 1)
        outputs = step(token=inputs["x"][torch.arange(3), positions], positions=positions, **caches)
        require_close(outputs["step_causal"], expected[torch.arange(3), positions])
        written = masks.written_mask(positions, CAPACITY)[:, None, :, None]
        caches = {name: torch.where(written, outputs[f"new_{name}"], inputs[name]) for name in caches}


@torch.inference_mode()
def test_another_number_of_heads_is_another_function(inputs):
    outputs = []
    for heads in (1, 2, 4, 8):
        torch.manual_seed(0)
        attention = MultiHeadAttention(HIDDEN, heads)
        outputs.append(attention(inputs["x"], torch.ones(1, dtype=torch.bool)))
    assert all(not torch.allclose(one, other, atol=1e-3) for one, other in pairwise(outputs))
