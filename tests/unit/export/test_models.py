"""What every family promises: training and decoding are one computation, and the loss is torch's."""

import pytest
import torch
import torch.nn.functional as F

from export.models.control_tokens import BEGIN_ID, PAD_ID
from export.training.loss import smoothed_cross_entropy


@pytest.fixture
def rows():
    torch.manual_seed(3)
    lengths = torch.tensor([9, 1, 4])
    source_ids = torch.randint(4, 40, (3, 9))
    targets = torch.randint(4, 40, (3, 7))
    targets[:, 0] = BEGIN_ID
    return source_ids, lengths, targets


@torch.inference_mode()
def test_forward_equals_step_token_by_token(tiny, rows):
    source_ids, lengths, targets = rows
    together = tiny.model(source_ids, lengths, targets)
    states = tiny.model.initial_states(source_ids, lengths, targets.shape[1])
    for position in range(targets.shape[1]):
        output = tiny.model.step(targets[:, position], torch.full((3,), position), lengths, states)
        states = states | output.states
        torch.testing.assert_close(output.logits, together[:, position], atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_words_beyond_the_length_and_later_targets_change_nothing(tiny, rows):
    source_ids, lengths, targets = rows
    expected = tiny.model(source_ids, lengths, targets)
    beyond = torch.arange(9)[None, :] >= lengths[:, None]
    garbage = torch.where(beyond, torch.randint(0, 40, (3, 9)), source_ids)
    torch.testing.assert_close(tiny.model(garbage, lengths, targets), expected, atol=0, rtol=0)
    later = targets.clone()
    later[:, 4:] = 7
    torch.testing.assert_close(tiny.model(source_ids, lengths, later)[:, :4], expected[:, :4])
    assert not torch.equal(tiny.model(source_ids, lengths, later)[:, 4:], expected[:, 4:])


@torch.inference_mode()
def test_attention_is_a_distribution_over_the_source_or_none(tiny, rows):
    source_ids, lengths, targets = rows
    states = tiny.model.initial_states(source_ids, lengths, 4)
    attention = tiny.model.step(targets[:, 0], torch.zeros(3, dtype=torch.int64), lengths, states).attention
    assert (attention is None) == (tiny.model.attention_description is None) == (tiny.kind == "none")
    if attention is not None:
        torch.testing.assert_close(attention.sum(-1), torch.ones(3))
        assert attention[1].tolist() == [1.0] + [0.0] * 8


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_and_its_gradient_are_those_of_cross_entropy(smoothing):
    torch.manual_seed(0)
    targets = torch.randint(1, 11, (20,))
    targets[::3] = PAD_ID
    mine, theirs = (torch.randn(20, 11, generator=torch.Generator().manual_seed(1)).requires_grad_() for _ in "ab")
    loss = smoothed_cross_entropy(mine, targets, smoothing)
    expected = F.cross_entropy(theirs, targets, ignore_index=PAD_ID, label_smoothing=smoothing)
    (3 * loss).backward()
    (3 * expected).backward()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(mine.grad, theirs.grad)
