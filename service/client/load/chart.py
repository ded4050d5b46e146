"""Lines in an SVG, in the colours of the page that it is put into. It knows no load test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from service.client.load.scales import Scale

WIDTH, HEIGHT = 640, 250
LEFT, RIGHT, TOP, BOTTOM = 62, 14, 12, 40
ROOM_FOR_WORDS = 120


@dataclass(frozen=True)
class Line:
    """colour: a number from 1, of the page's colours. A missing value is a gap in the line."""

    name: str
    points: Sequence[tuple[float, float | None]]
    colour: int
    is_dashed: bool = False
    has_dots: bool = False


@dataclass(frozen=True)
class Mark:
    """A vertical line at a value of the x axis, with a word."""

    at: float
    name: str


def chart(
    title: str,
    lines: Sequence[Line],
    *,
    x: Scale,
    y: Scale,
    x_title: str,
    y_title: str,
    marks: Sequence[Mark] = (),
) -> str:
    """A figure with its title and its legend."""
    legend = "".join(
        f'<li><svg width="22" height="10" aria-hidden="true"><line x1="1" x2="21" y1="5" y2="5" '
        f'class="{_classes(line)}"/></svg>{escape(line.name)}</li>'
        for line in lines
    )
    return (
        f"<figure><figcaption>{escape(title)}</figcaption>"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">'
        f"{_axes(x, y, x_title, y_title)}{''.join(_mark(mark, x) for mark in marks)}"
        f"{''.join(_line(line, x, y) for line in lines)}</svg><ul class=legend>{legend}</ul></figure>"
    )


def _axes(x: Scale, y: Scale, x_title: str, y_title: str) -> str:
    parts = []
    bottom = HEIGHT - BOTTOM
    for value, label in y.ticks:
        at = _down(y.place(value))
        parts.append(f'<line class=grid x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at}" y2="{at}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{at + 4}" text-anchor="end">{label}</text>')
    for value, label in x.ticks:
        at = _across(x.place(value))
        parts.append(f'<line class=axis x1="{at}" x2="{at}" y1="{bottom}" y2="{bottom + 4}"/>')
        parts.append(f'<text x="{at}" y="{bottom + 17}" text-anchor="middle">{label}</text>')
    parts.append(f'<line class=axis x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{bottom}" y2="{bottom}"/>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text class=unit x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">{escape(x_title)}</text>')
    centre = (TOP + bottom) / 2
    parts.append(
        f'<text class=unit transform="translate(12 {centre}) rotate(-90)" text-anchor="middle">{escape(y_title)}</text>'
    )
    return "".join(parts)


def _mark(mark: Mark, x: Scale) -> str:
    at = _across(x.place(mark.at))
    anchor, beside = ("end", -4) if at > WIDTH - ROOM_FOR_WORDS else ("start", 4)
    return (
        f'<line class=mark x1="{at}" x2="{at}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
        f'<text x="{at + beside}" y="{TOP + 9}" text-anchor="{anchor}">{escape(mark.name)}</text>'
    )


def _line(line: Line, x: Scale, y: Scale) -> str:
    places = [
        None if value is None else (_across(x.place(at)), _down(y.place(value)), at, value) for at, value in line.points
    ]
    path, is_down = [], False
    for place in places:
        if place is not None:
            path.append(f"{'L' if is_down else 'M'}{place[0]} {place[1]}")
        is_down = place is not None
    dots = "".join(
        f'<circle class="dot c{line.colour}" cx="{place[0]}" cy="{place[1]}" r="{3 if line.has_dots else 2}" '
        f"{'' if line.has_dots else 'fill-opacity=0 '}><title>{escape(line.name)}: {place[3]:,.4g} at {place[2]:,.6g}"
        "</title></circle>"
        for place in places
        if place is not None
    )
    return f'<path class="{_classes(line)}" d="{" ".join(path)}"/>{dots}'


def _classes(line: Line) -> str:
    return f"line c{line.colour}{' dashed' if line.is_dashed else ''}"


def _across(share: float) -> float:
    return round(LEFT + min(max(share, 0.0), 1.0) * (WIDTH - LEFT - RIGHT), 1)


def _down(share: float) -> float:
    return round(HEIGHT - BOTTOM - min(max(share, 0.0), 1.0) * (HEIGHT - TOP - BOTTOM), 1)
