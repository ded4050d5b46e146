"""Runs published graphs over rows, step by step, giving every output by name.

It compares nothing. The arrays are its own, so that a trace may have any width, capacity and stale contents.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from export.models.control_tokens import END_ID
from service.model.memory import host_zeros
from service.model.noise import gumbel_noise
from service.model.onnx_model import Array, Floats, Ids, OnnxModel

NUM_CONTROL_TOKENS = 4
NUM_FILLING_IDS = 64
"""Each brings pages of a table of embeddings into memory."""
Outputs = dict[str, Floats]


@dataclass(frozen=True)
class Rows:
    """source_ids (batch, source_length), anything beyond a row's length; source_lengths (batch,);
    token_ids and positions (steps, batch): what each step continues from, and where; seeds (batch,): of each row's
    noise, negative for none."""

    source_ids: Ids
    source_lengths: Ids
    token_ids: Ids
    positions: Ids
    seeds: Ids

    def inside(self) -> npt.NDArray[np.bool_]:
        """(batch, source_length): the positions before each row's length."""
        return np.arange(self.source_ids.shape[1])[None, :] < self.source_lengths[:, None]

    def of_width(self, width: int, filling: np.random.Generator | None = None, vocabulary_size: int = 1) -> Rows:
        """The same sentences on a source axis of another length, beyond each of them zeros or some random ids."""
        batch, old = self.source_ids.shape
        shape = (batch, max(width, old))
        ids = np.zeros(shape, np.int64)
        if filling is not None:
            ids = filling.choice(filling.integers(0, vocabulary_size, NUM_FILLING_IDS), shape)
        ids[:, :old] = np.where(self.inside(), self.source_ids, ids[:, :old])
        return replace(self, source_ids=ids[:, :width])

    def take(self, order: npt.NDArray[np.int64]) -> Rows:
        """Some of the rows, in another order."""
        return Rows(
            self.source_ids[order],
            self.source_lengths[order],
            self.token_ids[:, order],
            self.positions[:, order],
            self.seeds[order],
        )

    def noise(self, step: int) -> Floats:
        """(batch, source_length): what models that draw are given in a step."""
        noise = np.zeros(self.source_ids.shape, np.float32)
        for row, seed in enumerate(self.seeds.tolist()):
            if seed >= 0:
                length = int(self.source_lengths[row])
                noise[row, :length] = gumbel_noise(seed, int(self.positions[step, row]), length)
        return noise


def make_rows(sources: Sequence[Sequence[int]], width: int, num_steps: int, vocabulary_size: int, seed: int) -> Rows:
    """Rows of given sources and random tokens; row r begins r steps late, so that the rows' ages differ; every other
    one draws."""
    rng = np.random.default_rng(seed)
    ids = np.zeros((len(sources), width), np.int64)
    for row, source in enumerate(sources):
        ids[row, : len(source)] = source
    late = np.arange(len(sources)) % max(1, num_steps // 2)
    return Rows(
        source_ids=ids,
        source_lengths=np.array([len(source) for source in sources]),
        token_ids=rng.integers(NUM_CONTROL_TOKENS, vocabulary_size, (num_steps, len(sources))),
        positions=np.maximum(0, np.arange(num_steps)[:, None] - late[None, :]),
        seeds=np.where(np.arange(len(sources)) % 2, np.arange(len(sources)), -1),
    )


def random_sources(batch: int, longest: int, vocabulary_size: int, seed: int) -> list[list[int]]:
    """The first source has `longest` tokens, the others any number up to it; all end in the end of the sentence."""
    rng = np.random.default_rng(seed)
    lengths = [longest, *rng.integers(1, longest + 1, batch - 1).tolist()]
    return [[*rng.integers(NUM_CONTROL_TOKENS, vocabulary_size, n - 1).tolist(), END_ID] for n in lengths]


def encode_onnx(model: OnnxModel, rows: Rows) -> Outputs:
    """Constant and carried states of the encoder graph."""
    return model.encode(rows.source_ids, rows.source_lengths)


def trace_onnx(
    model: OnnxModel, rows: Rows, *, capacity: int | None = None, stale: np.random.Generator | None = None
) -> Iterator[tuple[Ids, Outputs]]:
    """For each step: candidate ids (batch, num_candidates) and every other output; of a growing state, the entry that
    the step wrote. `stale` fills growing states with what another sentence might have left there. Equal states of the
    encoder may be one array, and are copied."""
    manifest = model.manifest
    batch, width = rows.source_ids.shape
    states: dict[str, Array] = {}
    encoded = encode_onnx(model, rows)
    for name in list(encoded):
        states[name] = encoded.pop(name).copy()
    noise = tuple(state.name for state in manifest.states_of("noise"))
    for state in manifest.states_of("growing", "noise"):
        shape = state.shape(batch=batch, source_length=width, capacity=capacity or manifest.capacity)
        if stale is None or state.kind == "noise":
            states[state.name] = host_zeros(shape)
        else:
            states[state.name] = stale.normal(size=shape).astype(np.float32)
    carried = {f"new_{state.name}": np.zeros_like(states[state.name]) for state in manifest.states_of("carried")}
    token_ids, positions = np.zeros(batch, np.int64), np.zeros(batch, np.int64)
    candidate_ids = np.zeros((batch, manifest.num_candidates), np.int64)
    outputs: Outputs = {
        "candidate_log_probabilities": np.zeros(candidate_ids.shape, np.float32),
        "logits": np.zeros((batch, manifest.vocabulary.target_size), np.float32),
    }
    if manifest.attention is not None:
        outputs["attention"] = np.zeros((batch, width), np.float32)
    bound = model.bind_step(
        {"token_ids": token_ids, "positions": positions, "source_lengths": rows.source_lengths, **states},
        {
            "candidate_ids": candidate_ids,
            **outputs,
            **carried,
            **{f"new_{state.name}": states[state.name] for state in manifest.states_of("growing")},
        },
    )
    for step, (tokens, here) in enumerate(zip(rows.token_ids, rows.positions, strict=True)):
        token_ids[:], positions[:] = tokens, here
        for name in noise:
            states[name][...] = rows.noise(step)
        bound.run()
        for name, new in carried.items():
            states[name.removeprefix("new_")][...] = new
        made = outputs | carried
        for state in manifest.states_of("growing"):
            made[f"new_{state.name}"] = entry_at(states[state.name], state.axes.index("capacity"), here)
        yield candidate_ids.copy(), {name: np.array(value, np.float32) for name, value in made.items()}


def within_lengths(model: OnnxModel, rows: Rows, states: Outputs) -> Outputs:
    """States of the encoder with zeros wherever the source axis, where they have one, lies beyond a row's length."""
    kept = dict(states)
    for state in model.manifest.states_of("constant"):
        if "source_length" not in state.axes:
            continue
        axis = state.axes.index("source_length")
        shape = [1] * len(state.axes)
        shape[0], shape[axis] = rows.inside().shape
        kept[state.name] = np.where(rows.inside().reshape(shape), states[state.name], np.float32(0.0))
    return kept


def corner(value: Floats) -> tuple[slice, ...]:
    """Selects as many entries along every axis as `value` has."""
    return tuple(slice(size) for size in value.shape)


def entry_at(array: Array, axis: int, positions: Ids) -> Floats:
    """(batch, ...) without `axis`: of each row, the entry at its position."""
    entries = np.moveaxis(array, axis, 1)[np.arange(len(positions)), positions]
    return np.asarray(entries, np.float32)
