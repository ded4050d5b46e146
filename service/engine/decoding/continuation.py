"""How one target may go on: rules and penalties over a row, the tokens made of what is chosen, the score at the end."""

from __future__ import annotations

import math
from collections.abc import Sequence

from service.engine.decoding.rules import rules_of
from service.engine.decoding.search import StepRow
from service.engine.request import Decoding, FinishReason, Hypothesis, Token
from service.model.errors import NotFiniteError
from service.model.row import Ranked, Row
from service.model.rules import Rule, allowed

Target = tuple[Token, ...]


class Continuation:
    """Knows what a request's targets may hold; it keeps no target itself."""

    def __init__(self, decoding: Decoding, model_rules: Sequence[Rule], *, end_id: int) -> None:
        """model_rules hold for every target of the source, whatever the request says."""
        self.decoding = decoding
        self.end_id = end_id
        self._rules = (*rules_of(decoding, end_id=end_id), *model_rules)

    def best(self, target: Target, row: Row, count: int) -> Ranked:
        """The best `count` tokens that may follow a target; where none may, the end of the sentence."""
        if not self._rules and self.decoding.repetition_penalty == 1.0:
            return row.best(count)
        target_ids = [token.token_id for token in target]
        weighed = self._weighed(target_ids, row)
        ranked = allowed(weighed, self._rules, target_ids, count)
        return ranked or [(self.end_id, weighed.log_probability(self.end_id))]

    @property
    def has_rules(self) -> bool:
        """Whether some tokens may be out of the question."""
        return bool(self._rules)

    def weighed(self, target: Target, row: Row) -> Row:
        """The row as the repetition penalty leaves it."""
        return self._weighed([token.token_id for token in target], row)

    def only(self, target: Target, row: Row, token_id: int) -> Ranked:
        """That token alone, if it may follow a target."""
        target_ids = [token.token_id for token in target]
        ranked = [(token_id, self._weighed(target_ids, row).log_probability(token_id))]
        for rule in self._rules:
            ranked = rule.select(target_ids, ranked)
        return ranked

    def forced(self, target: Target) -> int | None:
        """The token that was made before or that the prefix sets after a target, None where the choice is free."""
        prefix, resumed = self.decoding.prefix, self.decoding.resumed
        if len(target) < len(resumed):
            return resumed[len(target)][0]
        return prefix[len(target)] if len(target) < len(prefix) else None

    def follow(self, target: Target, step: StepRow, token_id: int, log_probability: float) -> Target:
        """The target with one more token. Raises NotFiniteError for a log-probability of NaN or inf; -inf is of a token
        that the model has as impossible, and that a prefix or a term sets all the same."""
        if not log_probability < math.inf:
            raise NotFiniteError("a token's log-probability is no number")
        candidates: Ranked = []
        if count := self.decoding.num_candidates:
            is_free = self.forced(target) is None
            candidates = self.best(target, step.row, count) if is_free else step.row.best(count)
        return (*target, Token(token_id, log_probability, step.attention, candidates))

    def follow_prefix(self, target: Target, step: StepRow, token_id: int) -> Target:
        """The target with the token that `forced` gave, as probable as it was when it was made before, or as the model
        has it."""
        resumed = self.decoding.resumed
        is_resumed = len(target) < len(resumed)
        log_probability = resumed[len(target)][1] if is_resumed else step.row.log_probability(token_id)
        return self.follow(target, step, token_id, log_probability)

    def finish_reason(self, target: Target) -> FinishReason | None:
        """Why a target ends here, None where it goes on."""
        if target[-1].token_id == self.end_id:
            return FinishReason.END_OF_SENTENCE
        return FinishReason.MAX_LENGTH if len(target) == self.decoding.max_length else None

    def score(self, target: Target, log_probability: float) -> float:
        """What hypotheses are ranked by: log_probability, of what follows the prefix, normalized by the length, the end
        of the sentence included, and the coverage penalty."""
        score = self.normalized(log_probability, len(target))
        if self.decoding.coverage_penalty:
            score += self.decoding.coverage_penalty * coverage(target)
        return score

    def normalized(self, log_probability: float, length: int) -> float:
        """A log-probability over the length to the power of the length penalty (Wu et al. 2016, section 7, as
        CTranslate2 has it), or over (5 + length) / 6 as in the paper."""
        norm = (5 + length) / 6 if self.decoding.length_norm == "gnmt" else length
        normalized: float = log_probability / norm**self.decoding.length_penalty
        return normalized

    def hypothesis(self, target: Target, finish_reason: FinishReason) -> Hypothesis:
        """A target that has ended."""
        after_prefix = sum(token.log_probability for token in target[len(self.decoding.prefix) :])
        return Hypothesis(target, self.score(target, after_prefix), finish_reason)

    def _weighed(self, target_ids: Sequence[int], row: Row) -> Row:
        penalty = self.decoding.repetition_penalty
        return row.penalized(target_ids, penalty) if penalty != 1.0 and target_ids else row


def coverage(target: Sequence[Token]) -> float:
    """The sum over the source of log(min(attention received, 1)) (Wu et al. 2016, equation 14), positions that received
    none left out."""
    received = [sum(weights) for weights in zip(*(token.attention for token in target), strict=True)]
    return sum(math.log(min(one, 1.0)) for one in received if one > 0.0)
