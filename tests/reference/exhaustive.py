"""Every target that there is, with its score: what no search can better. It shares no code with the searches."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product

import torch

from export.models.contract import TranslationModel
from export.models.control_tokens import BEGIN_ID, END_ID
from tests.reference.options import Ids
from tests.reference.scores import attention_rows


def every_target(
    model: TranslationModel,
    source_ids: Ids,
    *,
    vocabulary_size: int,
    max_length: int,
    length_penalty: float = 1.0,
    coverage_penalty: float = 0.0,
) -> list[tuple[Ids, float]]:
    """(ids, score), best first; without an end token only where there is no room for one."""
    scored = []
    source, lengths = torch.tensor([source_ids]), torch.tensor([len(source_ids)])
    for ids in _all_ids(vocabulary_size, max_length):
        with torch.no_grad():
            logits = model(source, lengths, torch.tensor([[BEGIN_ID, *ids[:-1]]]))[0]
        total = logits.log_softmax(-1)[range(len(ids)), list(ids)].double().sum().item()
        score = total / len(ids) ** length_penalty
        if coverage_penalty:
            received = torch.tensor(attention_rows(model, source_ids, ids)).double().sum(0).tolist()
            score += coverage_penalty * sum(math.log(min(1.0, share)) for share in received if share > 0)
        scored.append((ids, score))
    return sorted(scored, key=lambda target: -target[1])


def _all_ids(vocabulary_size: int, max_length: int) -> Iterator[Ids]:
    others = [token for token in range(vocabulary_size) if token != END_ID]
    for length in range(max_length):
        yield from ((*tokens, END_ID) for tokens in product(others, repeat=length))
    yield from product(others, repeat=max_length)
