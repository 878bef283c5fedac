"""`Study`: a table or figure of a document that can be run again; `Reproduction`: what came of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from holdfast.report.charts import Chart
from holdfast.reproduce.bench import Bench
from holdfast.reproduce.finding import Table, Trend


@dataclass(frozen=True)
class Picture:
    """A picture as a data URI, under a title, with the words below it."""

    title: str
    words: str
    source: str


@dataclass(frozen=True)
class Reproduction:
    """Tables, charts and pictures of ours beside the document's, the verdict on each of its trends, and in which ways ours is smaller."""

    tables: tuple[Table, ...]
    charts: tuple[Chart, ...]
    trends: tuple[Trend, ...]
    scaled: tuple[str, ...]
    pictures: tuple[Picture, ...] = ()


@dataclass(frozen=True)
class Study:
    """One study: its `name`, the `document` and what it shows there, the `claim` in words, the data it is made for, and `run`."""

    name: str
    document: str
    claim: str
    data: str
    run: Callable[[Bench], Reproduction]
