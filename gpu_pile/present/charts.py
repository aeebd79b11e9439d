"""Charts as inline SVG strings, for report.html and notebooks.

A chart has no script, and no font or style from elsewhere. Lines and letters take the colour of the text around the
chart, so that it can be read on a light or dark background and in print. Each chart has a title in words. All texts are
escaped.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterator, Sequence

from gpu_pile.present.tables import html_text

Point = tuple[float, float]
Size = tuple[int, int]
"""(width, height) in pixels."""

BAR = "var(--bar, #3b7dd8)"
BOUND = "var(--bound, #c9372c)"
"""Colours: a page may set these two variables of CSS."""

COLOURS = ("#3b7dd8", "#d1622b", "#2e8b57", "#a04fb5", "#b8860b", "#d14d7a", "#2a9d9d", "#808080")
"""Colours of lines, which differ for most eyes and on light and dark grounds."""

SLIDER_LEFT, SLIDER_RIGHT = 4.0, 8.0
"""Pixels between the ends of a slider's track and those of a chart of the same width below it."""

TICK_DISTANCE = 36
"""Pixels between the ticks of a slider's axis."""

DIGIT = 6
"""Pixels of a digit on an axis."""

LINE_HEIGHT = 11
"""Pixels from one label to the next below it."""

NAME_MAX = 28
"""Letters of a name at the end of a line."""


def number(value: float) -> str:
    """A number as short as an axis needs it: 0.25, 12, 1,200, 3.4M."""
    if not math.isfinite(value):
        return str(value)
    for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6)):
        if abs(value) >= size:
            return f"{value / size:.3g}{unit}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _svg(width: float, height: float, title: str, elements: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
        f'height="{height:g}" role="img" aria-label="{html_text(title)}" font-family="inherit" font-size="10" '
        f'fill="currentColor" style="max-width:100%;height:auto">'
        f"<title>{html_text(title)}</title>{''.join(elements)}</svg>"
    )


def _text(x: float, y: float, text: str, anchor: str = "middle", attributes: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{attributes}>{html_text(text)}</text>'


class _Axis:
    """A linear or logarithmic axis from low to high over `width` pixels from `left`."""

    def __init__(self, low: float, high: float, left: float, width: float, logarithmic: bool = False) -> None:
        self.logarithmic = logarithmic
        self.low, self.high = (math.log10(low), math.log10(high)) if logarithmic else (low, high)
        self.left, self.width = left, width

    def __call__(self, value: float) -> float:
        """The x of a value; values outside are drawn at the end of the axis."""
        if self.logarithmic:
            value = math.log10(value) if value > 0 else self.low
        share = (value - self.low) / ((self.high - self.low) or 1.0)
        return self.left + self.width * min(1.0, max(0.0, share))

    def ticks(self) -> list[float]:
        """About five round values."""
        if self.logarithmic:
            first, last = math.ceil(self.low - 1e-9), math.floor(self.high + 1e-9)
            every = max(1, (last - first + 4) // 5)
            return [10.0**e for e in range(first, last + 1, every)] or [10**self.low]
        power = 10.0 ** math.floor(math.log10(((self.high - self.low) or 1.0) / 3))
        step = power * next((m for m in (1, 2, 5) if (self.high - self.low) / (m * power) <= 5), 10)
        first = math.ceil(self.low / step - 1e-9)
        return [i * step for i in range(first, math.floor(self.high / step + 1e-9) + 1)]


class _Steps:
    """The axis of a slider over some values: each is as far from the next as the others, with a step at both ends."""

    logarithmic = False

    def __init__(self, values: Sequence[float], left: float, width: float) -> None:
        self.values, self.left, self.width = list(values), left, width

    def __call__(self, value: float) -> float:
        """The x of a value; values outside are drawn at the end of the axis."""
        i = bisect.bisect_right(self.values, value)
        place = float(i)
        if 0 < i < len(self.values):
            place += (value - self.values[i - 1]) / (self.values[i] - self.values[i - 1])
        return self.left + self.width * place / (len(self.values) + 1)

    def ticks(self) -> list[float]:
        """The roundest values, at least TICK_DISTANCE apart."""
        ticks: list[float] = []
        for value in sorted(self.values, key=lambda v: (_digits(v), v)):
            if all(abs(self(value) - self(other)) >= TICK_DISTANCE for other in ticks):
                ticks.append(value)
        return sorted(ticks)


def _digits(value: float) -> int:
    """How round a number is: 0 for 0 and powers of ten, 1 for 2 and 5 times these, then by its digits."""
    digits = f"{abs(value):e}".partition("e")[0].rstrip("0").rstrip(".")
    return 0 if digits in ("0", "1") else 1 if digits in ("2", "5") else len(digits) + 1


def _baseline(axis: _Axis | _Steps, y: float) -> list[str]:
    """The axis as a line with ticks and numbers."""
    right = axis.left + axis.width
    elements = [f'<path d="M{axis.left:.1f} {y:.1f}H{right:.1f}" stroke="currentColor" opacity=".4"/>']
    free = -math.inf  # where the last number ends
    for tick in axis.ticks():
        x, shown = axis(tick), number(tick)
        elements.append(f'<path d="M{x:.1f} {y:.1f}v3" stroke="currentColor" opacity=".4"/>')
        share = (x - axis.left) / axis.width
        anchor, before = ("end", 1.0) if share > 0.95 else ("start", 0.0) if share < 0.02 else ("middle", 0.5)
        begin = x - before * DIGIT * len(shown)
        if begin > free:
            elements.append(_text(x, y + 13, shown, anchor, ' opacity=".7"'))
            free = begin + DIGIT * (len(shown) + 1)
    return elements


def _shares(left: float, right: float, top: float, base: float) -> list[str]:
    """Horizontal lines at 0 %, 50 % and 100 %."""
    elements = []
    for share in (0.0, 0.5, 1.0):
        y = base - (base - top) * share
        elements.append(f'<path d="M{left} {y:.1f}H{right:.1f}" stroke="currentColor" opacity=".15"/>')
        elements.append(_text(left - 5, y + 3, f"{share:.0%}", "end", ' opacity=".7"'))
    return elements


def histogram(
    limits: Sequence[float],
    counts: Sequence[float],
    *,
    logarithmic: bool,
    title: str,
    bounds: Sequence[tuple[str, float]] = (),
    steps: Sequence[float] = (),
    size: Size = (320, 110),
) -> str:
    """Draw bars between limits, and bounds as vertical lines; heights are square roots, so that rare values show.

    What a bound removes is drawn in the colour of bounds. Every bar says its count when the pointer is over it.

    Args:
        limits: n + 1 values. counts: of the n bars. bounds: ("min" or "max", value) of each bound.
        steps: the values of a slider of this width, to be drawn below it.
    """
    width, height = size
    left, top, base = 42.0, 18.0, height - 18.0
    axis: _Axis | _Steps = _Axis(limits[0], limits[-1], left, width - left - 6, logarithmic)
    if steps:
        left = SLIDER_LEFT
        axis = _Steps(steps, left, width - left - SLIDER_RIGHT)
    tallest = max([*counts, 1.0])
    inside = [axis(limits[0]), axis(limits[-1])]
    for kind, value in bounds:
        inside = [max(inside[0], axis(value)), inside[1]] if kind == "min" else [inside[0], min(inside[1], axis(value))]
    kept: list[str] = []
    removed: list[str] = []
    hover: list[str] = []
    for i, count in enumerate(counts):
        x, right = axis(limits[i]), axis(limits[i + 1])
        if count >= 0.5:
            said = f"{number(limits[i])} to {number(limits[i + 1])}: {count:,.0f} documents"
            hover.append(f'<path d="M{x:.1f} {top:g}H{right:.1f}V{base:g}H{x:.1f}z"><title>{said}</title></path>')
        if count > 0:
            tall = max(0.7, (base - top) * math.sqrt(count / tallest))
            right = max(x + 0.5, right - 0.4)
            for path, start, end in (
                (removed, x, min(right, inside[0])),
                (kept, max(x, inside[0]), min(right, inside[1])),
                (removed, max(x, inside[1]), right),
            ):
                if end > start:
                    path.append(f"M{start:.1f} {base:g}v{-tall:.1f}H{end:.1f}V{base:g}z")
    elements = [
        *_heights(tallest, left, width - 6, top, base, inside=bool(steps)),
        f'<path d="{"".join(kept)}" fill="{BAR}"/>',
        f'<path d="{"".join(removed)}" fill="{BOUND}" opacity=".6"/>',
        *_baseline(axis, base),
        *_bound_lines(axis, bounds, width, top, base),
        f'<g fill="none" pointer-events="all">{"".join(hover)}</g>',
    ]
    listed = ", ".join(f"{kind} {value:,g}" for kind, value in bounds)
    return _svg(width, height, f"{title}: histogram{f', bounds {listed}' if listed else ''}", elements)


def _heights(tallest: float, left: float, right: float, top: float, base: float, *, inside: bool) -> list[str]:
    """Lines at the tallest bar's count and at a quarter of it, which is half as high."""
    elements = []
    for count in (tallest, tallest / 4):
        y = base - (base - top) * math.sqrt(count / tallest)
        elements.append(f'<path d="M{left:g} {y:.1f}H{right:g}" stroke="currentColor" opacity=".15"/>')
        if count >= 1:
            x, down, anchor = (left, -2, "start") if inside else (left - 4, 3, "end")
            elements.append(_text(x, y + down, number(round(count)), anchor, ' opacity=".7"'))
    return elements


def _bound_lines(
    axis: _Axis | _Steps, bounds: Sequence[tuple[str, float]], width: float, top: float, base: float
) -> Iterator[str]:
    """A vertical line with its name for each bound; names of two bounds point away from each other."""
    for kind, value in bounds:
        x = axis(value)
        anchor = "end" if x > width * 0.7 else "start" if x < width * 0.3 else "middle"
        if len(bounds) > 1 and anchor == "middle":
            anchor = "end" if kind == "min" else "start"
        yield f'<path d="M{x:.1f} {top - 5:.1f}V{base:.1f}" stroke="{BOUND}" stroke-width="1.5"/>'
        yield _text(x, top - 8, f"{kind} {value:,g}", anchor, f' fill="{BOUND}" font-weight="600"')


def s_curve(
    curve: Sequence[Point], pairs: Sequence[tuple[float, float, int, int]], threshold: float, *, title: str
) -> str:
    """Draw the probability of becoming a candidate pair by similarity as a line, the run's candidate pairs as bars.

    Args:
        curve: (similarity, probability) of each point.
        pairs: (from, to, candidate pairs, verified pairs among them) of each bar; heights are square roots.
    """
    width, height, left, top, base = 560.0, 240.0, 34.0, 20.0, 210.0
    axis = _Axis(0.0, 1.0, left, width - left - 10)
    elements = _shares(left, width - 10, top, base)
    tallest = math.sqrt(max([1, *(p[2] for p in pairs)]))
    for low, high, candidates, verified in pairs:
        for count, opacity in ((candidates, 0.35), (verified, 1.0)):
            if count:
                tall = max(1.0, (base - top) * math.sqrt(count) / tallest)
                x, right = axis(low), axis(high)
                elements.append(
                    f'<path d="M{x + 0.5:.1f} {base:.1f}v{-tall:.1f}H{right - 0.5:.1f}V{base:.1f}z" fill="{BAR}" '
                    f'opacity="{opacity}"><title>similarity {low:g} to {high:g}: {candidates:,} candidate pairs, '
                    f"{verified:,} verified</title></path>"
                )
    line = "L".join(f"{axis(x):.1f} {base - (base - top) * y:.1f}" for x, y in curve)
    elements.append(f'<path d="M{line}" fill="none" stroke="currentColor" stroke-width="2"/>')
    x = axis(threshold)
    elements.append(f'<path d="M{x:.1f} {top - 4:.1f}V{base:.1f}" stroke="{BOUND}" stroke-width="1.5"/>')
    elements.append(_text(x, top - 8, f"threshold {threshold:g}", "middle", f' fill="{BOUND}" font-weight="600"'))
    return _svg(width, height, title, [*elements, *_baseline(axis, base)])


def columns(values: Sequence[tuple[str, float]], *, title: str, width: int = 560, height: int = 150) -> str:
    """Draw one bar per label with its count above; heights are logarithms, and a count of 1 is a low bar."""
    base, top = height - 16.0, 16.0
    step = width / max(1, len(values))
    tallest = math.log10(max([10.0, *(v for _, v in values)])) + 0.3
    elements = []
    for i, (label, value) in enumerate(values):
        tall = (base - top) * (math.log10(value) + 0.3) / tallest if value >= 1 else 0.0
        elements.append(
            f'<path d="M{i * step + 2:.1f} {base:.1f}v{-tall:.1f}h{step - 4:.1f}V{base:.1f}z" fill="{BAR}">'
            f"<title>{html_text(label)}: {value:,.0f}</title></path>"
        )
        elements.append(_text((i + 0.5) * step, base - tall - 3, number(value)))
        elements.append(_text((i + 0.5) * step, base + 12, label, attributes=' opacity=".7"'))
    return _svg(width, height, title, elements)


def lines(series: Sequence[tuple[str, Sequence[Point]]], *, title: str, width: int = 640, height: int = 260) -> str:
    """Draw shares between 0 and 1 as lines, named at their ends; the first one is the thickest.

    The y axis begins at the tenth below the smallest share.
    """
    left, top, base, right = 40.0, 8.0, height - 20.0, 190.0
    xs = [x for _, points in series for x, _ in points] or [0.0]
    lowest = min([1.0, *(y for _, points in series for _, y in points)])
    lowest = min(0.9, math.floor(lowest * 10 + 1e-9) / 10)
    logarithmic = min(xs) > 0 and max(xs) / min(xs) > 20
    axis = _Axis(min(xs), max(xs), left, width - left - right, logarithmic)
    heights = _Axis(lowest, 1.0, base, top - base)
    elements = []
    for share in (lowest, (lowest + 1) / 2, 1.0):
        y = heights(share)
        elements.append(f'<path d="M{left:g} {y:.1f}H{width - right:.1f}" stroke="currentColor" opacity=".15"/>')
        elements.append(_text(left - 5, y + 3, f"{share:.0%}", "end", ' opacity=".7"'))
    ends = sorted((heights(points[-1][1]), i) for i, (_, points) in enumerate(series) if points)
    label = -math.inf
    for y, i in ends:
        name, points = series[i]
        colour = COLOURS[i % len(COLOURS)]
        dashes = f' stroke-dasharray="{3 * (i // len(COLOURS))} 3"' if i >= len(COLOURS) else ""
        path = "L".join(f"{axis(x):.1f} {heights(share):.1f}" for x, share in points)
        thick = 3 if i == 0 else 1.5
        said = "; ".join(f"{number(x)}: {share:.1%}" for x, share in points)
        elements.append(
            f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="{thick}"{dashes}>'
            f"<title>{html_text(name)}, {said}</title></path>"
        )
        label = max(label + LINE_HEIGHT, y + 3)  # labels of lines that end close together move apart
        end = width - right
        elements.append(f'<path d="M{end:.1f} {y:.1f}L{end + 12:.1f} {label - 3:.1f}" stroke="{colour}" opacity=".6"/>')
        shown = f"{name[:NAME_MAX]} {points[-1][1]:.0%}"
        elements.append(_text(end + 15, label, shown, "start", f' fill="{colour}"'))
    return _svg(width, max(height, label + 6), title, [*elements, *_baseline(axis, base)])
