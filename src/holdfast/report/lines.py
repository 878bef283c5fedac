"""Charts of a few points each with its interval, for studies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from plotly.colors import sample_colorscale  # type: ignore[import-untyped]

from holdfast.report.charts import Chart, colour_of, layout_of, line_of


@dataclass(frozen=True)
class Axis:
    """The title of an axis; `log`: its ticks are powers of ten."""

    title: str
    log: bool = False


@dataclass(frozen=True)
class Point:
    """A share at a place, with its interval; the document's where there is none."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None


def lines_chart(name: str, title: str, words: str, x: Axis, y: Axis, lines: Mapping[str, Sequence[Point]]) -> Chart:
    """One line per name, in the order given; intervals as bars at its points."""
    data = []
    for place, (label, points) in enumerate(lines.items()):
        line = line_of(place, label, [point.x for point in points], [point.y for point in points]) | {"mode": "lines+markers"}
        if points and points[0].low is not None:
            line["error_y"] = {
                "array": [(point.high or 0.0) - point.y for point in points],
                "arrayminus": [point.y - (point.low or 0.0) for point in points],
                "symmetric": False, "color": colour_of(place), "thickness": 1,
            }  # fmt: skip
        data.append(line)
    layout: dict[str, Any] = layout_of(x.title, y.title)
    if x.log:
        layout["xaxis"] = {"title": {"text": x.title}, "type": "log", "automargin": True}
    if y.log:
        layout["yaxis"] = {"title": {"text": y.title}, "type": "log", "tickformat": ".1%", "automargin": True}
    return Chart(name, title, words, data, layout)


def bars_chart(name: str, title: str, words: str, x: Axis, y: Axis, places: Sequence[str], parts: Mapping[str, Sequence[float]]) -> Chart:
    """Shares of a whole stacked on each other, one bar per place, one shade per part, from the lightest."""
    shades = sample_colorscale("Blues", [0.15 + 0.85 * place / max(1, len(parts) - 1) for place in range(len(parts))])
    data = [
        {
            "type": "bar", "x": list(places), "y": list(shares), "name": label,
            "marker": {"color": shade},
        }
        for (label, shares), shade in zip(parts.items(), shades, strict=True)
    ]  # fmt: skip
    # Beside the bars, in the order in which they stand on each other.
    legend = {"orientation": "v", "x": 1.02, "y": 1, "traceorder": "reversed"}
    layout = layout_of(x.title, y.title) | {"barmode": "stack", "legend": legend}
    layout["xaxis"] = {"title": {"text": x.title}, "type": "category", "automargin": True}
    return Chart(name, title, words, data, layout)
