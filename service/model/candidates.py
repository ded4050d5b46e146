"""What a step of the graph returns: the best tokens of each row, its logits and its attention, wherever those are.

It does not know how a token is chosen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

import numpy as np

from service.model.errors import NotFiniteError
from service.model.memory import Memory, host_zeros, on_host
from service.model.onnx_model import Floats, Ids, OnnxModel
from service.model.row import Row

Fetch = Callable[[], Floats]
"""Copies something that a device has made into memory of the host."""


class Candidates:
    """A step's results, for each row: ids and log_probabilities (rows, num_candidates), best first. Views that the next
    step overwrites.

    error: what the step of all rows failed with, if it did. Then each row was run without those that fail by
    themselves; culprits: these and their errors, whose results are anything.
    """

    def __init__(
        self,
        ids: Ids,
        log_probabilities: Floats,
        logits: Floats | Fetch,
        attention: Floats | Fetch | None,
        *,
        error: Exception | None = None,
        culprits: Mapping[int, Exception] = MappingProxyType({}),
    ) -> None:
        """What is to be fetched is fetched once, when somebody reads it, which must be before the next step."""
        self.error = error
        self.culprits = culprits
        self.ids = ids
        self.log_probabilities = log_probabilities
        self._logits = logits
        self._attention = attention

    @property
    def logits(self) -> Floats:
        """(rows, vocabulary)."""
        if not isinstance(self._logits, np.ndarray):
            self._logits = self._logits()
        return self._logits

    @property
    def attention(self) -> Floats | None:
        """(rows, source_length), None from a model without any."""
        if self._attention is not None and not isinstance(self._attention, np.ndarray):
            self._attention = self._attention()
        return self._attention

    def bad_rows(self, *, with_attention: bool) -> Mapping[int, Exception]:
        """The rows whose results nobody may use, and why: the culprits, and those with a log-probability or a weight
        that is no finite number. with_attention: fetch that from a device for it; on the host it is looked at anyway,
        since products of 8 bits make finite numbers of whatever they are given."""
        attention = self._attention
        if not isinstance(attention, np.ndarray):
            attention = self.attention if with_attention else None
        if _is_finite(self.log_probabilities) and (attention is None or _is_finite(attention)):
            return self.culprits
        results = [self.log_probabilities] if attention is None else [self.log_probabilities, attention]
        is_bad = ~np.concatenate([np.isfinite(result) for result in results], axis=1).all(axis=1)
        bad: dict[int, Exception] = {
            row: NotFiniteError("the graph's result is not a finite number") for row in np.flatnonzero(is_bad).tolist()
        }
        return bad | dict(self.culprits)

    def rows(self) -> list[Row]:
        """The same, row by row."""
        logits = self._logits
        each = (
            logits if isinstance(logits, np.ndarray) else [partial(self._of_row, row) for row in range(len(self.ids))]
        )
        triples = zip(self.ids.tolist(), self.log_probabilities.tolist(), each, strict=True)
        return [Row(ids, log_probabilities, logits) for ids, log_probabilities, logits in triples]

    def _of_row(self, row: int) -> Floats:
        logits: Floats = self.logits[row]
        return logits


class Outputs:
    """Room for the results of a step of up to max_rows rows: on the host, but logits and attention where the model has
    them."""

    def __init__(self, model: OnnxModel, max_rows: int, width: int) -> None:
        """width: of the source axis."""
        manifest = model.manifest
        self._model = model
        self._max_rows = max_rows
        self._ids = np.zeros((max_rows, manifest.num_candidates), np.int64)
        self._log_probabilities = np.zeros((max_rows, manifest.num_candidates), np.float32)
        self._logits = self._room("logits", manifest.vocabulary.target_size)
        self._attention = None if manifest.attention is None else self._room("attention", width)

    def resize(self, width: int) -> None:
        """Give the source axis another length."""
        if self._attention is not None:
            self._attention = self._room("attention", width)

    def bindings(self, first: int, stop: int) -> dict[str, Memory]:
        """Rows first to stop - 1, for the step graph."""
        outputs = {
            "candidate_ids": on_host(self._ids[first:stop]),
            "candidate_log_probabilities": on_host(self._log_probabilities[first:stop]),
            "logits": _memory(self._logits).rows(first, stop),
        }
        if self._attention is not None:
            outputs["attention"] = _memory(self._attention).rows(first, stop)
        return outputs

    def candidates(self, num_rows: int, *, error: Exception | None, culprits: Mapping[int, Exception]) -> Candidates:
        """What the step graph has written; see Candidates for what went wrong."""
        return Candidates(
            self._ids[:num_rows],
            self._log_probabilities[:num_rows],
            self._made(self._logits, num_rows),
            None if self._attention is None else self._made(self._attention, num_rows),
            error=error,
            culprits=culprits,
        )

    def _room(self, name: str, size: int) -> Floats | Memory:
        shape = (self._max_rows, size)
        return self._model.device.empty(shape) if name in self._model.on_device else host_zeros(shape)

    def _made(self, output: Floats | Memory, num_rows: int) -> Floats | Fetch:
        if isinstance(output, np.ndarray):
            return output[:num_rows]
        return partial(self._model.device.read, output.rows(0, num_rows))


def _is_finite(result: Floats) -> bool:
    """A sum of squares is one pass, in less than a microsecond, and spoiled by whatever is not finite."""
    values = result.ravel()
    return math.isfinite(values.dot(values))


def _memory(output: Floats | Memory) -> Memory:
    return on_host(output) if isinstance(output, np.ndarray) else output
