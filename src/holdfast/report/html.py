"""The report for people: one HTML file that needs nothing but itself."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]

from holdfast.evaluation import Result
from holdfast.report.charts import charts
from holdfast.report.columns import COLUMNS
from holdfast.report.gallery import gallery
from holdfast.report.machine import finite, write_page
from holdfast.report.provenance import command, provenance
from holdfast.report.verdict import threat_words, verdict
from holdfast.report.words import counted, figure, interval, percent, seconds


def html_report(result: Result, path: str | Path) -> Path:
    """Write a run as one page: verdict, trust checks, attacks, curves, examples, provenance.

    The page opens offline, fetches nothing (its own policy forbids it), and is the same for the same store.

    Raises StoreError when the file cannot be written.
    """
    return write_page(path, page(result))


def page(result: Result) -> str:
    """What `html_report` writes."""
    drawn = charts(result)
    return _environment().get_template("page.html.j2").render(
        result=result, manifest=result.manifest, verdict=verdict(result), threat=threat_words(result.manifest),
        headlines=_headlines(result) if result.n else [], columns=COLUMNS, charts=drawn, gallery=gallery(result),
        figures=finite([{"name": chart.name, "data": chart.data, "layout": chart.layout} for chart in drawn]),
        plotly=_plotly() if drawn else "", provenance=provenance(result), command=command(result),
    )  # fmt: skip


def _headlines(result: Result) -> list[tuple[str, str, str]]:
    """Name, figure and small print."""
    clean, robust, n = result.clean_rate, result.robust_rate, result.n
    return [
        ("clean accuracy", percent(clean.value), f"{clean.of:,} of {n:,}; 95 % interval {interval(clean)}"),
        ("robust accuracy", percent(robust.value), f"{robust.of:,} of {n:,}; 95 % interval {interval(robust)}"),
        ("samples", f"{n:,}", f"of {result.manifest['data']['samples']:,} in the plan; {counted(len(result.facts), 'attack')} made"),
        ("queries per sample", figure(result.forwards / n), f"forward passes; {figure(result.backwards / n)} backward"),
        ("time in attacks", seconds(result.seconds), f"{figure(1000 * result.seconds / n)} ms per sample"),
    ]


@cache
def _environment() -> Environment:
    loader = PackageLoader("holdfast.report", ".")
    found = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    found.filters["unbroken"] = _unbroken
    return found


def _unbroken(text: str) -> Markup:
    """Escaped text in which no line ends between a number and its per cent."""
    return Markup(re.sub(r"[\d.,–]+ %", r'<span class="whole">\g<0></span>', str(escape(text))))


@cache
def _plotly() -> Markup:
    """The charts' library. Its map code names addresses that no chart here asks for; written with \\/, which is the same to
    JavaScript, they are not mistaken for things that the page fetches."""
    # Markup: the library is ours to trust, and autoescaping would break it.
    return Markup(re.sub(r"((?:src|href)=[\"'`]https?:)//", r"\1\\/\\/", get_plotlyjs()))
