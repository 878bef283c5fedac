"""What a study found, on the terminal."""

from __future__ import annotations

import json
from typing import Any

from rich.console import Console
from rich.table import Table as Grid

from holdfast.reproduce.page import written
from holdfast.reproduce.study import Reproduction


def tell(outcome: tuple[Reproduction, dict[str, Any]], console: Console, as_json: bool = False) -> None:
    """Print tables, what was scaled down, the verdicts and where the page lies; or, for machines, one JSON object."""
    found, summary = outcome
    if as_json:
        print(json.dumps(summary, allow_nan=False))
        return
    for table in found.tables:
        grid = Grid("", "document", "ours", "95 % interval", title=table.title, title_justify="left", box=None, pad_edge=False)
        for row in written(table.findings):
            grid.add_row(*row)
        console.print(grid)
    verdicts = [f"{trend.verdict}: {trend.statement} ({trend.evidence})" for trend in found.trends]
    for line in (*summary["scaled"], *verdicts, f"report: {summary['report']}"):
        console.print(line, soft_wrap=True, highlight=False)
