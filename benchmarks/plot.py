"""Draw lines into an SVG file that looks like the page around it, in light and dark."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from itertools import pairwise

__all__ = ["plot"]

WIDTH, HEIGHT = 640, 320
LEFT, RIGHT, TOP, BOTTOM = 64, 150, 40, 48
COLOURS = ("#2563eb", "#d97706", "#059669", "#db2777")

Points = Sequence[tuple[float, float]]


def plot(title: str, x: str, y: str, lines: Mapping[str, Points]) -> str:
    """Return a picture of ``lines`` over a logarithmic scale, from zero upwards."""
    xs = [point[0] for points in lines.values() for point in points]
    low, high = math.log10(min(xs)), math.log10(max(xs))
    top = _ceiling(max(point[1] for points in lines.values() for point in points))

    def place(point: tuple[float, float]) -> tuple[float, float]:
        along = (math.log10(point[0]) - low) / ((high - low) or 1)
        return (
            LEFT + along * (WIDTH - LEFT - RIGHT),
            HEIGHT - BOTTOM - point[1] / top * (HEIGHT - TOP - BOTTOM),
        )

    parts = [_text(LEFT, 20, title, weight="bold")]
    for step in range(5):
        value = top * step / 4
        _, height = place((10**low, value))
        parts.append(
            _line((LEFT, height), (WIDTH - RIGHT, height), "currentColor", 0.2)
        )
        parts.append(_text(LEFT - 8, height + 4, f"{value:,.4g}", anchor="end"))
    for value in sorted(set(xs)):
        across, _ = place((value, 0))
        parts.append(
            _text(across, HEIGHT - BOTTOM + 18, f"{value:,g}", anchor="middle")
        )
    middle = LEFT + (WIDTH - LEFT - RIGHT) / 2
    parts.append(_text(middle, HEIGHT - 8, x, anchor="middle"))
    parts.append(_text(LEFT, TOP - 4, y, size=11))
    for (name, points), colour in zip(lines.items(), COLOURS, strict=False):
        places = [place(point) for point in points]
        for begin, end in pairwise(places):
            parts.append(_line(begin, end, colour, 1.0, width=2))
        for across, height in places:
            parts.append(
                f'<circle cx="{across:.1f}" cy="{height:.1f}" r="3" fill="{colour}"/>'
            )
        across, height = places[-1]
        parts.append(_text(across + 10, height + 4, name, fill=colour))
    # A picture does not take the colours of the page, so it has a grey that both show.
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'width="{WIDTH}" height="{HEIGHT}" color="#808080" fill="currentColor" '
        'font-family="sans-serif" font-size="12" role="img">\n'
        f"<title>{escape(title)}</title>\n" + "\n".join(parts) + "\n</svg>\n"
    )


def _ceiling(value: float) -> float:
    """Return a round number that is not less."""
    size = 10 ** math.floor(math.log10(value))
    return float(next(n * size for n in (1, 2, 4, 8, 10) if n * size >= value))


def _line(
    begin: tuple[float, float],
    end: tuple[float, float],
    colour: str,
    opacity: float,
    *,
    width: float = 1,
) -> str:
    return (
        f'<line x1="{begin[0]:.1f}" y1="{begin[1]:.1f}" x2="{end[0]:.1f}" '
        f'y2="{end[1]:.1f}" stroke="{colour}" stroke-width="{width:g}" '
        f'opacity="{opacity:g}"/>'
    )


def _text(
    x: float,
    y: float,
    text: str,
    *,
    anchor: str = "start",
    fill: str = "currentColor",
    size: int = 12,
    weight: str = "normal",
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{fill}" '
        f'font-size="{size}" font-weight="{weight}">{escape(text)}</text>'
    )
