"""Pages from templates: escaped, self-contained, with the charts' library inside where a page has charts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]

from holdfast.report.charts import Chart
from holdfast.report.machine import finite


def render(template: str, charts: Sequence[Chart], values: Mapping[str, Any]) -> str:
    """A page of this room's templates; all that its script is to draw is in `charts`."""
    figures = finite([{"name": chart.name, "data": chart.data, "layout": chart.layout} for chart in charts])
    return _environment().get_template(template).render(dict(values) | {"figures": figures, "plotly": _plotly() if charts else ""})


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
