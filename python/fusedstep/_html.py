"""What notebooks show: a title, facts, a table, and a plot of a learning rate."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Mapping, Sequence

from fusedstep._messages import printable, some

__all__ = ["card", "plot", "text"]

_POINTS, _MOST_COLUMNS = 200, 8
_WIDTH, _HEIGHT, _LEFT, _TOP = 320.0, 72.0, 64.0, 12.0
_CELL = "text-align:left;padding:0 1em 0 0"


def text(value: object, width: int = 60) -> str:
    """A value as text of HTML, within a bound: names and options may be anything."""
    return html.escape(printable(value if isinstance(value, str) else repr(value), width))


def card(
    title: str,
    facts: Iterable[str] = (),
    head: Sequence[str] = (),
    rows: Mapping[str, Sequence[object]] | None = None,
    drawing: str = "",
    note: str = "",
) -> str:
    """A title with facts beside it, a table under a head, a note, and a drawing."""
    line = " · ".join([f"<b>{text(title, 200)}</b>", *(text(fact, 200) for fact in facts)])
    lines = [_row("th", "", head)] if head else []
    lines += [_row("td", name, values) for name, values in (rows or {}).items()]
    table = f"<table>{''.join(lines)}</table>" if lines else ""
    small = f'<div style="opacity:0.7;font-size:85%">{text(note, 600)}</div>' if note else ""
    return f'<div class="fusedstep"><div>{line}</div>{table}{small}{drawing}</div>'


def _row(tag: str, name: str, values: Sequence[object]) -> str:
    shown = some((text(value) for value in values), _MOST_COLUMNS, 2000)
    cells = "".join(f'<{tag} style="{_CELL}">{value}</{tag}>' for value in shown)
    return f'<tr><th style="{_CELL}">{text(name)}</th>{cells}</tr>'


def plot(
    rate: Callable[[int], float], steps: int, now: int | None = None, caption: str = ""
) -> str:
    """A drawing of a learning rate over so many steps, as SVG, with a dot at the step `now`."""
    points = _points(rate, steps)
    top = max((value for _, value in points), default=0.0)
    if len(points) < 2:
        return ""

    def place(step: int, value: float) -> str:
        x, y = _LEFT + _WIDTH * step / steps, _TOP + _HEIGHT * (1 - value / (top or 1.0))
        return f"{x:.1f},{y:.1f}"

    line = " ".join(place(*point) for point in points)
    bottom, right = _TOP + _HEIGHT, _LEFT + _WIDTH
    here = [] if now is None else _points(rate, now, 1)[-1:]
    dot = "".join(
        '<circle cx="{}" cy="{}" r="4" fill="#D55E00"/>'.format(*place(*point).split(","))
        for point in here
        if point[0] == now
    )
    small = f'<div style="font-size:85%">{text(caption, 200)}</div>' if caption else ""
    label = 'fill="currentColor" font-size="11" font-family="sans-serif"'
    return (
        f'{small}<svg xmlns="http://www.w3.org/2000/svg" width="{right + 16:.0f}" '
        f'height="{bottom + 18:.0f}" role="img" aria-label="learning rate by step">'
        f'<path d="M{_LEFT},{_TOP} V{bottom} H{right}" fill="none" stroke="currentColor" '
        'stroke-opacity="0.4"/>'
        f'<polyline points="{line}" fill="none" stroke="#0072B2" stroke-width="2"/>{dot}'
        f'<text x="{_LEFT - 6}" y="{_TOP + 4}" text-anchor="end" {label}>{top:.3g}</text>'
        f'<text x="{_LEFT - 6}" y="{bottom}" text-anchor="end" {label}>0</text>'
        f'<text x="{right}" y="{bottom + 14}" text-anchor="end" {label}>step {steps:,}</text>'
        "</svg>"
    )


def _points(
    rate: Callable[[int], float], steps: int, count: int = _POINTS
) -> list[tuple[int, float]]:
    """Rates at up to so many even distances, as far as the schedule has any."""
    points: list[tuple[int, float]] = []
    for step in sorted({round(steps * i / count) for i in range(count + 1)}):
        try:
            points.append((step, rate(step)))
        except Exception:  # noqa: BLE001 - the schedule's own: it ends here, say
            break
    return points
