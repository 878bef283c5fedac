"""The charts' specifications are ones that plotly accepts, and say what the records say."""

from __future__ import annotations

import json
import re

import polars as pl
import pytest

from holdfast.evaluation import Result
from holdfast.report.charts import charts
from holdfast.report.curves import curves
from holdfast.report.html import page
from holdfast.report.lines import Axis, bars_chart

objects = pytest.importorskip("plotly.graph_objects")


def test_plotly_knows_every_word(bands_run: Result) -> None:
    drawn = charts(bands_run)
    assert [chart.name for chart in drawn] == ["radius", "iterations", "queries", "sizes", "confusion"]
    for chart in drawn:
        plain = re.sub(r"var\(--[\w-]+\)", "#123456", json.dumps([chart.data, chart.layout]))
        objects.Figure(*json.loads(plain))
        for axis in ("xaxis", "yaxis"):
            assert chart.layout[axis]["title"]["text"]


def test_every_colour_is_in_the_style(bands_run: Result) -> None:
    source = page(bands_run)
    used = set(re.findall(r"var\((--[\w-]+)\)", source))
    light, dark = (set(re.findall(r"(--[\w-]+):", block)) for block in re.findall(r":root[^{]*\{([^}]*)\}", source.split("plotly.js v")[0]))
    assert used <= light and light == dark


def test_accuracy_after_the_last_step_is_the_attacks_own(bands_run: Result) -> None:
    found = curves(bands_run)["iterations"]
    # One step is no curve, and a grid of radii is another.
    assert list(found) == ["01-pgd", "02-deepfool"]
    for label, points in found.items():
        alone = next(row["accuracy_alone"] for row in bands_run.attacks if row["attack"] == label)
        assert points[-1]["accuracy"] == pytest.approx(alone)
        assert [point["step"] for point in points] == sorted({point["step"] for point in points})
    assert found["01-pgd"][-1]["step"] == 8


def test_sizes_are_of_attacks_that_look_for_small_changes(bands_run: Result) -> None:
    found = curves(bands_run)["sizes"]
    assert list(found) == ["02-deepfool"]
    sizes = sorted(bands_run.records.filter((pl.col("attack") == "02-deepfool") & pl.col("success"))["size"].to_list())
    assert [point["size"] for point in found["02-deepfool"]] == [0.0, *sizes]
    assert found["02-deepfool"][-1]["share"] == pytest.approx(len(sizes) / 11)


def test_confusions_count_each_broken_sample_once(bands_run: Result) -> None:
    counts = curves(bands_run)["confusion"]["counts"]
    assert sum(map(sum, counts)) == bands_run.clean_rate.of - bands_run.robust_rate.of
    assert all(counts[i][i] == 0 for i in range(3))


def test_each_part_of_a_bar_has_a_shade_of_its_own() -> None:
    chart = bars_chart("bins", "Bins", "", Axis("place"), Axis("share"), ["one", "two"], {str(part): [0.1, 0.1] for part in range(10)})
    shades = [trace["marker"]["color"] for trace in chart.data]
    assert len(set(shades)) == 10 and all("opacity" not in trace["marker"] for trace in chart.data), "the legend shows no opacity"
