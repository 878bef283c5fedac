"""The charts of a report: data and layout for plotly.js, with colours that the page's theme fills in.

A colour `var(--name)` is looked up in the page's style when the chart is drawn, so one chart serves light and dark.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from holdfast.evaluation import Result
from holdfast.evaluation.spectra import Spectra
from holdfast.report.curves import Points, curves
from holdfast.report.verdict import threat_words
from holdfast.report.words import counted

SERIES = 6
"""How many colours the page's style has, `--series-0` on; dashes tell apart what comes after them."""
DASHES = ("solid", "dash", "dot", "dashdot")


@dataclass(frozen=True)
class Chart:
    """One figure: `data` and `layout` as plotly.js takes them."""

    name: str
    title: str
    words: str
    data: list[dict[str, Any]]
    layout: dict[str, Any]


def charts(result: Result) -> list[Chart]:
    """The charts that a run's records can fill."""
    found, threat = curves(result), result.manifest["threat"]
    drawn: list[Chart] = []
    if found["radius"]:
        drawn.append(_radius(result, found["radius"]))
    if found["iterations"]:
        drawn.append(_iterations(found["iterations"]))
    if len(found["queries"]) > 1:
        drawn.append(_queries(result, found["queries"]))
    if found["sizes"]:
        drawn.append(_sizes(found["sizes"], threat["norm"], threat["radius"]))
    if found["confusion"]:
        drawn.append(_confusion(found["confusion"]))
    return drawn


def _radius(result: Result, curve: dict[str, Any]) -> Chart:
    points, threat, rate = curve["points"], result.manifest["threat"], result.robust_rate
    x = _column(points, "radius")
    band = {"x": x, "mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False}
    data = [
        band | {"y": _column(points, "low")},
        band | {"y": _column(points, "high"), "fill": "tonexty", "fillcolor": "var(--band)", "name": "95 % interval", "showlegend": True},
        line_of(0, curve["attack"], x, _column(points, "accuracy")) | {"mode": "lines+markers"},
        {
            "x": [threat["radius"]], "y": [rate.value], "name": "all attacks of the plan", "mode": "markers",
            "marker": {"color": colour_of(1), "size": 11, "symbol": "diamond"},
            "error_y": {
                "array": [rate.high - rate.value], "arrayminus": [rate.value - rate.low], "symmetric": False, "color": colour_of(1),
            },
        },
    ]  # fmt: skip
    words = (
        f"Share of samples that {curve['attack']} did not break within each radius, with the 95 % Wilson band; "
        f"the dotted line marks the plan's radius, {threat_words(result.manifest)}."
    )
    layout = layout_of(f"radius ({threat['norm']}, input units)", "accuracy") | _mark(threat["radius"])
    return Chart("radius", "Accuracy against radius", words, data, layout)


def _iterations(found: dict[str, Points]) -> Chart:
    data = [_stairs(i, label, _column(points, "step"), _column(points, "accuracy")) for i, (label, points) in enumerate(found.items())]
    words = (
        "Accuracy after each step of each attack; samples that it was not made on stay as earlier attacks left them. "
        "A line that still falls at its end asks for more steps."
    )
    return Chart("iterations", "Accuracy against iterations", words, data, layout_of("steps taken", "accuracy"))


def _queries(result: Result, points: Points) -> Chart:
    x, y, audit = _column(points, "forwards"), _column(points, "accuracy"), result.audit
    data = [_stairs(0, "whole plan", x, y)]
    words = "Accuracy left when every sample may cost so many forward passes, over the attacks in the plan's order."
    layout = layout_of("forward passes per sample", "accuracy") | {"showlegend": False}
    if audit is not None and y[-1] > 0:
        least = max(0.0, y[-1] - (audit.remaining_most + audit.left_out) / max(1, audit.n))
        band = {
            "type": "rect",
            "xref": "paper",
            "x0": 0,
            "x1": 1,
            "y0": least,
            "y1": y[-1],
            "fillcolor": "var(--band)",
            "line": {"width": 0},
        }
        layout |= {"shapes": [band | {"layer": "below"}]}
        words += " The band below its end is what more of the same search, and what was left out, would break at most (95 %)."
    return Chart("queries", "Accuracy against queries", words, data, layout)


def _sizes(found: dict[str, Points], norm: str, radius: float | None) -> Chart:
    data = [_stairs(i, label, _column(points, "size"), _column(points, "share")) for i, (label, points) in enumerate(found.items())]
    words = "Share of an attack's samples with an adversarial example no larger than the size; the dotted line marks the plan's radius."
    layout = layout_of(f"size of the change ({norm}, input units)", "share of samples broken") | _mark(radius)
    return Chart("sizes", "Sizes of the changes found", words, data, layout)


def _confusion(found: dict[str, Any]) -> Chart:
    names, counts = [_label(name) for name in found["classes"]], found["counts"]
    places = list(range(len(names)))
    data = [
        {
            "type": "heatmap", "x": places, "y": places, "z": [[cell or None for cell in row] for row in counts],
            "colorscale": [[0, "var(--cell-0)"], [1, "var(--cell-1)"]], "xgap": 1, "ygap": 1,
            "zmin": 0, "zmax": max(map(max, counts)), "hoverongaps": False,
            "showscale": len(names) > 20, "colorbar": {"title": {"text": "samples"}, "thickness": 12, "nticks": 5, "tickformat": "d"},
            "text": [[str(cell or "") for cell in row] for row in counts], "texttemplate": "%{text}" if len(names) <= 20 else "",
            "customdata": [[[names[i], names[j]] for j in places] for i in places],
            "hovertemplate": "%{customdata[0]} → %{customdata[1]}: %{z}<extra></extra>",
        }
    ]  # fmt: skip
    # Labels that would touch are left out; the hover names every cell.
    every = -(-len(names) // 25)
    ticks = {
        "tickvals": places[::every],
        "ticktext": names[::every],
        "showgrid": False,
        "zeroline": False,
        "range": [-0.5, len(names) - 0.5],
    }
    layout = layout_of("answer to the adversarial example", "label") | {"height": max(380, min(640, 150 + 22 * len(names)))}
    layout["xaxis"] = {"title": layout["xaxis"]["title"], "automargin": True} | ticks
    layout["yaxis"] = {"title": layout["yaxis"]["title"], "automargin": True} | ticks | {"range": [len(names) - 0.5, -0.5]}
    pairs = [(cell, i, j) for i, row in enumerate(counts) for j, cell in enumerate(row) if cell]
    most, i, j = max(pairs, key=lambda pair: pair[0])
    words = (
        f"What broken samples are taken for; the commonest is {found['classes'][i]} → {found['classes'][j]} ({counted(most, 'sample')})."
    )
    return Chart("confusion", "Confusions under attack", words, data, layout)


def spectrum_chart(found: Spectra, name: str) -> Chart:
    """The radial profile of spectra: clean, adversarial, change."""
    x = found.frequency.tolist()
    shown = {"clean": found.clean, "adversarial": found.adversarial, "change": found.change}
    data = [line_of(i, kind, x, found.profile(values).mean(dim=0).tolist()) for i, (kind, values) in enumerate(shown.items())]
    words = "Mean over the ring of each frequency; 0.5 is the highest along an axis, what follows lies in the corners."
    layout = layout_of("frequency (cycles per pixel)", "mean of log(1 + |F|)")
    layout["yaxis"] = {"title": layout["yaxis"]["title"], "rangemode": "tozero", "automargin": True}
    return Chart(name, "Radial profile", words, data, layout)


def loss_chart(losses: Sequence[float], most: int = 1000) -> Chart:
    """The loss of every step of a training, or where there are more than `most`, of as many stretches of steps."""
    each = max(1, -(-len(losses) // most))
    pieces = [losses[start : start + each] for start in range(0, len(losses), each)]
    x, y = [float(min((i + 1) * each, len(losses))) for i in range(len(pieces))], [sum(piece) / len(piece) for piece in pieces]
    layout = layout_of("steps taken", "loss") | {"showlegend": False}
    layout["yaxis"] = {"title": layout["yaxis"]["title"], "rangemode": "tozero", "automargin": True}
    words = f"Mean over each {each:,} steps." if each > 1 else "What each step lowered, on its own batch."
    return Chart("loss", "Loss", words, [line_of(0, "loss", x, y)], layout)


def lessons_chart(history: Sequence[dict[str, float]], best: int) -> Chart:
    """Accuracy on held-out samples after each epoch, the one that is kept marked."""
    x = _column(history, "epoch")
    data = [
        line_of(i, name, x, _column(history, name)) | {"mode": "lines+markers"}
        for i, name in enumerate(("clean", "robust"))
        if name in history[0]
    ]
    words = f"The dotted line marks epoch {best}, whose weights are kept." + " Robust means under PGD-10." * ("robust" in history[0])
    layout = layout_of("epoch (from 0)", "accuracy") | _mark(float(best))
    return Chart("lessons", "Accuracy on held-out samples", words, data, layout)


def layout_of(x: str, y: str) -> dict[str, Any]:
    return {
        "height": 370,
        "margin": {"l": 60, "r": 16, "t": 32, "b": 50},
        "xaxis": {"title": {"text": x}, "rangemode": "tozero", "automargin": True},
        "yaxis": {"title": {"text": y}, "range": [0, 1.03], "tickformat": ".0%", "automargin": True},
        "legend": {"orientation": "h", "y": -0.25, "yanchor": "top", "x": 0},
        "showlegend": True,
        "hovermode": "closest",
    }


def _mark(radius: float | None) -> dict[str, Any]:
    """A dotted line at the plan's radius, where it has one."""
    if radius is None:
        return {}
    line = {"color": "var(--soft)", "dash": "dot", "width": 1.5}
    return {"shapes": [{"type": "line", "x0": radius, "x1": radius, "y0": 0, "y1": 1, "yref": "paper", "line": line}]}


def line_of(place: int, name: str, x: list[float], y: list[float]) -> dict[str, Any]:
    line = {"color": colour_of(place), "dash": DASHES[place // SERIES % len(DASHES)], "width": 2}
    return {"x": x, "y": y, "name": _label(name), "mode": "lines", "line": line}


def _stairs(place: int, name: str, x: list[float], y: list[float]) -> dict[str, Any]:
    """A curve that changes at its points only."""
    line = line_of(place, name, x, y)
    return line | {"line": line["line"] | {"shape": "hv"}}


def colour_of(place: int) -> str:
    return f"var(--series-{place % SERIES})"


def _column(points: Iterable[dict[str, Any]], name: str) -> list[float]:
    return [point[name] for point in points]


def _label(name: str, most: int = 24) -> str:
    """A name as plotly shows it literally: it reads a little HTML in labels."""
    return html.escape(name if len(name) <= most else name[: most - 1] + "…")
