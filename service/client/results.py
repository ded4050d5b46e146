"""What the commands show of whole translations: the best with their scores, where terms stand, a given one's score."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from service.client.options import DecodingOptions
from service.client.terminal import confidence_style, padded, show_line
from service.client.types import Completion, Hypothesis, ScoredTarget


def show_hypotheses(console: Console, completion: Completion, options: DecodingOptions) -> None:
    """Where several translations were asked for, each with its rank, score and log-probability, best first.

    Where terms were asked for, what became of each.
    """
    names = ["|".join(phrases) for phrases in options.terms] + list(options.untranslated)
    several = options.num_hypotheses > 1
    if several:
        show_line(console, f"{'':>4}  {'score':>9}  {'log-prob':>9}", style="dim")
    for rank, hypothesis in enumerate(completion.hypotheses, 1):
        if several:
            figures = f"{rank:>4}  {hypothesis.score:>9.4f}  {hypothesis.log_probability:>9.4f}"
            console.print(Text(figures, style="dim").append(f"  {hypothesis.text}", style="not dim"), soft_wrap=True)
        _show_terms(console, hypothesis, names)


def show_scored_target(console: Console, scored: ScoredTarget) -> None:
    """A line for each token, with its log-probability, then their sum."""
    for index, token in enumerate(scored.tokens):
        line = Text(f"{index:>4}  ", style="dim").append(padded(token.piece), style="not dim bold cyan")
        line.append(f"  {token.log_probability:>8.4f}", style=f"not dim {confidence_style(token.log_probability)}")
        console.print(line, soft_wrap=True)
    show_line(console, f"   => {scored.log_probability:.4f}", style="bold green")


def _show_terms(console: Console, hypothesis: Hypothesis, names: Sequence[str]) -> None:
    matches = {match.term: match for match in hypothesis.term_matches}
    for term, name in enumerate(names):
        if (match := matches.get(term)) is None:
            show_line(console, f"      {name}: missing", style="red")
            continue
        places = [f"target {_span(match.target_start, match.target_end)}"]
        if match.source_end:
            places.append(f"source {_span(match.source_start, match.source_end)}")
        show_line(console, f"      {match.phrase}: {', '.join(places)}", style="magenta")


def _span(start: int, end: int) -> str:
    return str(start) if end - start == 1 else f"{start}-{end - 1}"
