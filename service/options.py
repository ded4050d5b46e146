"""What a caller may ask of a translation, checked and turned into what the engine searches by. It knows no gRPC."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from service.engine.request import Decoding, Sampling, Term
from service.errors import InvalidRequestError
from service.model.manifest import MAX_LENGTH_PENALTY, Manifest
from service.model.noise import MAX_SEED
from service.model.text import Source, Texts

MAX_HYPOTHESES = 32
MAX_CANDIDATES = 32
MAX_PATIENCE = 4.0
MAX_TERMS = 16
MAX_COST, MAX_ROUNDING = 1e30, 1e-3
"""Of a resumed token: its negative log-probability, whose sums are numbers of 32 bits then, and how far above 0 a
log-probability may be rounded."""


@dataclass(frozen=True)
class Options:
    """As `DecodingOptions` of the protocol, texts as texts; max_length 0 is the model's most,
    length_penalty None and languages that are empty its own. resumed are the tokens,
    with their log-probabilities, that the caller has of this translation from a server that was lost."""

    max_length: int = 0
    seed: int | None = None
    beam_size: int = 1
    num_hypotheses: int = 1
    length_penalty: float | None = None
    coverage_penalty: float = 0.0
    patience: float = 1.0
    min_length: int = 0
    repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    suppress_tokens: tuple[str, ...] = ()
    disable_unknown: bool = False
    sampling: Sampling | None = None
    target_prefix: str = ""
    target_prefix_ids: tuple[int, ...] = ()
    resumed: tuple[tuple[int, float], ...] = ()
    return_alternatives: bool = False
    min_alternative_expansion_prob: float = 0.0
    num_candidates: int = 0
    terms: tuple[tuple[str, ...], ...] = ()
    untranslated: tuple[str, ...] = ()
    ignore_end_of_sequence: bool = False
    source_language: str = ""
    target_language: str = ""

    @property
    def seed_of_request(self) -> int | None:
        """The seed, drawn here where sampling needs one and the caller gave none."""
        if self.seed is None and self.sampling is not None:
            return secrets.randbelow(MAX_SEED + 1)
        return self.seed

    @property
    def phrases(self) -> tuple[tuple[str, ...], ...]:
        """Every term, those to leave untranslated last."""
        return (*self.terms, *((word,) for word in self.untranslated))


def decoding_of(options: Options, manifest: Manifest, texts: Texts, source: Source, *, max_slots: int) -> Decoding:
    """What the engine searches by; raises InvalidRequestError for an option out of range or ones that exclude each
    other."""
    for problem in chain(_out_of_range(options, manifest, max_slots), _excluded(options, manifest)):
        raise problem
    max_length = options.max_length or manifest.longest_target(len(source.ids))
    prefix = _prefix(options, manifest, texts, source)
    if len(prefix) >= max_length:
        raise InvalidRequestError(
            "the target's prefix has {number} tokens; it must have fewer than {most}",
            number=len(prefix),
            most=max_length,
        )
    for problem in _unresumable(options, manifest, prefix, max_length):
        raise problem
    return Decoding(
        max_length=max_length,
        beam_size=options.beam_size,
        num_hypotheses=options.num_hypotheses,
        length_penalty=_length_penalty(options, manifest),
        coverage_penalty=options.coverage_penalty,
        patience=options.patience,
        min_length=max_length if options.ignore_end_of_sequence else options.min_length,
        repetition_penalty=options.repetition_penalty,
        no_repeat_ngram_size=options.no_repeat_ngram_size,
        suppressed=_suppressed(options, texts),
        sampling=options.sampling,
        prefix=prefix,
        resumed=options.resumed,
        alternatives=options.return_alternatives,
        min_alternative_probability=options.min_alternative_expansion_prob,
        num_candidates=options.num_candidates,
        terms=_terms(options, texts, source),
        length_norm=manifest.search.length_norm,
        beam_end=manifest.search.beam_end,
        forced_end=manifest.search.forced_end,
    )


def _length_penalty(options: Options, manifest: Manifest) -> float:
    return manifest.search.length_penalty if options.length_penalty is None else options.length_penalty


def _out_of_range(options: Options, manifest: Manifest, max_slots: int) -> Iterator[InvalidRequestError]:
    most = manifest.max_target_length
    if not 0 <= options.max_length <= most:
        yield InvalidRequestError(
            "max_length is {value}; it must be from 1 to {most}, or 0 for {most}", value=options.max_length, most=most
        )
    widest = min(MAX_HYPOTHESES, max_slots)
    sampling = options.sampling or Sampling()
    ranges = (
        ("beam_size", options.beam_size, 1, widest),
        ("num_hypotheses", options.num_hypotheses, 1, widest),
        ("length_penalty", _length_penalty(options, manifest), 0.0, MAX_LENGTH_PENALTY),
        ("coverage_penalty", options.coverage_penalty, 0.0, 10.0),
        ("patience", options.patience, 1.0, MAX_PATIENCE),
        ("repetition_penalty", options.repetition_penalty, 0.125, 10.0),
        ("min_length", options.min_length, 0, (options.max_length or most) - 1),
        ("no_repeat_ngram_size", options.no_repeat_ngram_size, 0, most),
        ("min_alternative_expansion_prob", options.min_alternative_expansion_prob, 0.0, 1.0),
        ("num_candidates", options.num_candidates, 0, MAX_CANDIDATES),
        ("top_k", sampling.top_k, 0, manifest.vocabulary.target_size),
        ("min_p", sampling.min_p, 0.0, 1.0),
    )
    for name, value, smallest, largest in ranges:
        if not smallest <= value <= largest:
            yield InvalidRequestError(
                "{field} is {value:g}; it must be from {smallest:g} to {largest:g}",
                field=name,
                value=value,
                smallest=smallest,
                largest=largest,
            )
    above_zero = (
        ("temperature", sampling.temperature, 100.0),
        ("top_p", sampling.top_p, 1.0),
    )
    for name, value, largest in above_zero:
        if not 0.0 < value <= largest:
            yield InvalidRequestError(
                "{field} is {value:g}; it must be above 0 and at most {largest:g}",
                field=name,
                value=value,
                largest=largest,
            )
    if len(options.phrases) > MAX_TERMS:
        yield InvalidRequestError(
            "there are {number} terms; at most {most} can be held at once",
            number=len(options.phrases),
            most=MAX_TERMS,
        )


def _excluded(options: Options, manifest: Manifest) -> Iterator[InvalidRequestError]:
    is_beam = options.beam_size > 1
    if is_beam and options.sampling is not None:
        yield InvalidRequestError("sampling and beam_size exclude each other")
    if options.return_alternatives and (is_beam or options.sampling is not None):
        yield InvalidRequestError("return_alternatives excludes beam_size and sampling")
    most = MAX_HYPOTHESES if options.sampling or options.return_alternatives else options.beam_size * options.patience
    if options.num_hypotheses > round(most):
        yield InvalidRequestError(
            "num_hypotheses is {value}; this search gives at most {most:g}", value=options.num_hypotheses, most=most
        )
    if options.num_candidates and is_beam:
        yield InvalidRequestError("num_candidates and beam_size exclude each other")
    if options.phrases and not is_beam:
        yield InvalidRequestError("terms need a beam_size above 1")
    if options.target_prefix and options.target_prefix_ids:
        yield InvalidRequestError("target_prefix and target_prefix_ids exclude each other")
    if options.coverage_penalty and manifest.attention is None:
        yield InvalidRequestError("this model has no attention, which coverage_penalty needs")


def _prefix(options: Options, manifest: Manifest, texts: Texts, source: Source) -> tuple[int, ...]:
    for token_id in options.target_prefix_ids:
        if not 0 <= token_id < manifest.vocabulary.target_size or texts.is_control(token_id):
            raise InvalidRequestError("target_prefix_ids has {value}, which no target can begin with", value=token_id)
    begun = options.target_prefix_ids or texts.read_target(options.target_prefix, source)
    return (*source.target_prefix, *begun)


def _unresumable(
    options: Options, manifest: Manifest, prefix: tuple[int, ...], max_length: int
) -> Iterator[InvalidRequestError]:
    resumed, vocabulary = options.resumed, manifest.vocabulary
    if not resumed:
        return
    token_ids = tuple(token_id for token_id, _ in resumed)
    shared = min(len(token_ids), len(prefix))
    if options.beam_size > 1 or options.num_hypotheses > 1 or options.return_alternatives:
        yield InvalidRequestError(
            "resume is for one hypothesis, without beam_size; any other search is repeated from its beginning"
        )
    if options.sampling is not None and options.seed is None:
        yield InvalidRequestError("resume needs the seed that the stream was sampled with")
    if len(token_ids) >= max_length:
        yield InvalidRequestError(
            "resume has {number} tokens; it must have fewer than {most}", number=len(token_ids), most=max_length
        )
    if not all(0 <= token_id < vocabulary.target_size and token_id != vocabulary.end_id for token_id in token_ids):
        yield InvalidRequestError("resume has a token that no target goes on after")
    if token_ids[:shared] != prefix[:shared]:
        yield InvalidRequestError("resume does not begin with the target's prefix")
    if not all(-MAX_COST <= log_probability <= MAX_ROUNDING for _, log_probability in resumed):
        yield InvalidRequestError("resume has a log-probability that no step can have had")


def _suppressed(options: Options, texts: Texts) -> frozenset[int]:
    suppressed = set()
    for piece in options.suppress_tokens:
        token_id = texts.target_id(piece)
        if token_id is None:
            raise InvalidRequestError("suppress_tokens: the vocabulary has no such piece, or not one of text")
        suppressed.add(token_id)
    return frozenset(suppressed | ({texts.unknown_id} if options.disable_unknown else set()))


def _terms(options: Options, texts: Texts, source: Source) -> tuple[Term, ...]:
    """Those that must appear, then those that stay untranslated; of these, the ones that the source has."""
    terms = []
    for number, phrases in enumerate(options.phrases):
        is_untranslated = number >= len(options.terms)
        place = texts.find_in_source(phrases[0], source) if is_untranslated else None
        if place is not None or not is_untranslated:
            terms.append(Term(number, tuple(texts.read_target(phrase, source) for phrase in phrases), place))
    if not all(term.phrases and all(term.phrases) for term in terms):
        raise InvalidRequestError("a term needs at least one phrase, and no phrase may be empty")
    return tuple(terms)
