"""Runs a torch model over the rows that its graphs are run over, giving every output under the same name."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from export.models.contract import TranslationModel
from export.trace import Outputs, Rows, entry_at
from service.model.onnx_model import Ids


@torch.inference_mode()
def encode_torch(model: TranslationModel, rows: Rows) -> Outputs:
    """Constant and carried states of the model's encoder."""
    states = model.encode(torch.from_numpy(rows.source_ids), torch.from_numpy(rows.source_lengths))
    return {name: tensor.numpy() for name, tensor in states.items()}


@torch.inference_mode()
def trace_torch(model: TranslationModel, rows: Rows, num_candidates: int) -> Iterator[tuple[Ids, Outputs]]:
    """As `trace_onnx`, from the model's own `encode` and `step`."""
    lengths = torch.from_numpy(rows.source_lengths)
    states = model.initial_states(torch.from_numpy(rows.source_ids), lengths, int(rows.positions.max()) + 1)
    noise = tuple(spec.name for spec in model.state_specs if spec.kind == "noise")
    for step, (tokens, here) in enumerate(zip(rows.token_ids, rows.positions, strict=True)):
        states |= dict.fromkeys(noise, torch.from_numpy(rows.noise(step)))
        output = model.step(torch.from_numpy(tokens), torch.from_numpy(here), lengths, states)
        states = states | output.states
        best, ids = output.logits.log_softmax(-1).topk(num_candidates, dim=-1)
        made: Outputs = {"candidate_log_probabilities": best.numpy(), "logits": output.logits.numpy()}
        if output.attention is not None:
            made["attention"] = output.attention.numpy()
        for spec in model.state_specs:
            if spec.kind == "carried":
                made[f"new_{spec.name}"] = output.states[spec.name].numpy()
            elif spec.kind == "growing":
                axis = spec.axes.index("capacity")
                made[f"new_{spec.name}"] = entry_at(output.states[spec.name].numpy(), axis, here)
        yield ids.numpy(), made
