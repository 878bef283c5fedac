"""The curves of a result as plain numbers: what the charts draw and the JSON holds."""

from __future__ import annotations

from typing import Any

import polars as pl

from holdfast.evaluation import Result, tables

MOST_CLASSES = 50
"""A confusion table of more classes than this cannot be read."""

Points = list[dict[str, Any]]


def curves(result: Result) -> dict[str, Any]:
    """Everything that is a curve, as lists of points; None or empty where a run has none.

    `iterations`: per attack, accuracy after each step; `queries`: accuracy against forwards spent; `radius`: accuracy against
    the radius with its 95 % band; `sizes`: per attack that looks for small changes, the share of its samples it broke within
    each size; `confusion`: counts, label × answer to the adversarial example.
    """
    if result.n == 0:
        return {"iterations": {}, "queries": [], "radius": None, "sizes": {}, "confusion": None}
    radius = result.curve()
    return {
        "iterations": _iterations(result),
        "queries": tables.by_queries(result.clean, result.records).to_dicts() if len(result.records) else [],
        "radius": None if radius is None else {"attack": radius[0], "points": radius[1].to_dicts()},
        "sizes": _sizes(result),
        "confusion": _confusion(result),
    }


def _made(result: Result) -> list[dict[str, Any]]:
    """The plan's attacks that have records, without those of the grid of radii."""
    return [entry for entry in result.manifest["attacks"] if entry["label"] in result.facts and not entry["curve"]]


def _iterations(result: Result) -> dict[str, Points]:
    found = {}
    for entry in _made(result):
        label, steps = entry["label"], entry["steps"]
        if steps < 2 or result.records.filter(pl.col("attack") == label).is_empty():
            continue
        points = tables.by_iteration(result.clean, result.records, label).to_dicts()
        # Steps in which nothing more fell are part of the picture.
        if result.facts[label]["complete"] and points[-1]["step"] < steps:
            points.append({"step": steps, "accuracy": points[-1]["accuracy"]})
        if len(points) > 1:
            found[label] = points
    return found


def _sizes(result: Result) -> dict[str, Points]:
    """Attacks that go to the edge of the ball on every sample have one size, and no curve."""
    found = {}
    for entry in _made(result):
        part = result.records.filter(pl.col("attack") == entry["label"])
        sizes = part.filter("success")["size"].drop_nulls().sort()
        if len(sizes) < 2 or _quantile(sizes, 0.9) - _quantile(sizes, 0.1) <= 0.05 * _quantile(sizes, 0.9):
            continue
        points = [{"size": 0.0, "share": 0.0}]
        points += [{"size": size, "share": (i + 1) / len(part)} for i, size in enumerate(sizes.to_list())]
        found[entry["label"]] = _thinned(points)
    return found


def _quantile(values: pl.Series, share: float) -> float:
    return float(values[int(share * (len(values) - 1))])


def _thinned(points: Points, most: int = 1000) -> Points:
    """At most so many points, evenly spread, both ends among them."""
    if len(points) <= most:
        return points
    return [points[round(i * (len(points) - 1) / (most - 1))] for i in range(most)]


def _confusion(result: Result) -> dict[str, Any] | None:
    classes = result.manifest["model"]["classes"]
    first = first_broken(result)
    if first.is_empty() or classes is None or classes > MOST_CLASSES:
        return None
    counts = [[0] * classes for _ in range(classes)]
    for label, prediction in first.select("label", "prediction").iter_rows():
        counts[label][prediction] += 1
    return {"classes": [class_name(result, i) for i in range(classes)], "counts": counts}


def first_broken(result: Result) -> pl.DataFrame:
    """One record per broken sample: records come in the plan's order, and the first that broke it is the one whose example is stored."""
    return result.records.filter("broken").unique("sample", keep="first", maintain_order=True)


def class_name(result: Result, index: int) -> str:
    """The class's name where the data have names, its number elsewhere."""
    names = result.manifest["data"]["classes"]
    return str(names[index]) if names and 0 <= index < len(names) else str(index)
