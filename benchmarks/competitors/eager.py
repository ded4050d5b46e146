"""The project's own model in PyTorch, eager, with its cache of keys and values: a batched greedy loop."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from torch import nn

from benchmarks.bundles import random_base
from benchmarks.comparison import TARGET_LENGTH
from export.models.contract import TranslationModel
from export.models.control_tokens import BEGIN_ID, END_ID


class Eager:
    """Contender of `benchmarks.comparison`, greedy. int8: feed-forward layers by torch's dynamic quantization; the
    attention's and the output's matrices are read as tensors, which it does not replace."""

    def __init__(self, *, int8: bool, num_threads: int) -> None:
        self.setting = str(num_threads)
        self._num_threads = num_threads
        self._model: TranslationModel = random_base()
        if int8:
            names = {name for name, module in self._model.named_modules() if isinstance(module, nn.Linear)}
            feed_forward = {name for name in names if ".feed_forward." in name}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch moves its quantization to another package
                self._model = torch.ao.quantization.quantize_dynamic(  # type: ignore[no-untyped-call]
                    self._model, feed_forward, dtype=torch.qint8
                )

    def translate(self, sources: Sequence[Sequence[int]], beam_size: int) -> None:
        """TARGET_LENGTH tokens of every source, of one length; none is the end of the sentence."""
        assert beam_size == 1
        torch.set_num_threads(self._num_threads)
        source_ids = torch.tensor(sources)
        lengths = torch.full((len(sources),), source_ids.shape[1])
        with torch.inference_mode():
            states = self._model.initial_states(source_ids, lengths, TARGET_LENGTH)
            token_ids = torch.full_like(lengths, BEGIN_ID)
            for position in range(TARGET_LENGTH):
                output = self._model.step(token_ids, torch.full_like(lengths, position), lengths, states)
                output.logits[:, END_ID] = -torch.inf
                token_ids = output.logits.argmax(-1)
                states |= output.states
