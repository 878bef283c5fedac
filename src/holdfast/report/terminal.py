"""The report for a terminal: a panel that fits 80 columns."""

from __future__ import annotations

import textwrap
from typing import Any

from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from holdfast.evaluation import Result
from holdfast.report.verdict import verdict
from holdfast.report.words import count, figure, percent, seconds

STYLES = {"pass": "green", "warn": "yellow", "fail": "bold red", "not run": "dim"}


def terminal(result: Result, console: Console) -> None:
    """Print the verdict, the attacks and the trust checks."""
    width = min(console.width, 110)
    pieces: list[Any] = [Text(_wrapped(verdict(result), width - 4))]
    if result.attacks:
        pieces += [Text(), _attacks(result)]
    pieces += [Text(), _checks(result)]
    console.print(Panel(Group(*pieces), title="Holdfast", title_align="left", width=width))


def _wrapped(text: str, width: int) -> str:
    """Lines of at most `width`, with no number parted from its per cent."""
    lines = textwrap.wrap(text.replace(" %", "\u00a0%"), max(20, width))
    return "\n".join(lines).replace("\u00a0", " ")


def _attacks(result: Result) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), expand=False)
    table.add_column("attack", no_wrap=True, overflow="ellipsis", max_width=24)
    for heading in ("tried", "broken", "left", "size", "fwd", "time"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in result.attacks:
        table.add_row(
            Text(row["attack"]), count(row["tried"]), count(row["broken"]), percent(row["accuracy_after"]), figure(row["median_size"]),
            figure(row["forwards"]), seconds(row["seconds"]),
        )  # fmt: skip
    return table


def _checks(result: Result) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False, expand=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for check in result.checks:
        remedy = f"\n→ {check.remedy}" if check.remedy and check.status in ("warn", "fail") else ""
        table.add_row(Text(check.status, STYLES[check.status]), Text(check.name), Text(check.evidence + remedy))
    return table
