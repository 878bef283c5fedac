"""The page of a study: one self-contained HTML file, the same as JSON beside it, and lines for the terminal."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Any

from holdfast.report.machine import finite, write_page
from holdfast.report.render import render
from holdfast.report.words import NONE, percent, seconds
from holdfast.reproduce.bench import Bench
from holdfast.reproduce.finding import Finding
from holdfast.reproduce.study import Reproduction, Study
from holdfast.version import __version__

ONE_NET = (
    "Intervals are 95 % ones over test samples, of the nets as they were trained. Another seed trains other nets: what hangs on one net "
    "is best seen again with another --seed."
)


def summary(study: Study, bench: Bench, found: Reproduction, spent: float) -> dict[str, Any]:
    """What was found, ready for JSON."""
    facts = {
        "study": study.name,
        "document": study.document,
        "claim": study.claim,
        "data": bench.data,
        "fast": bench.fast,
        "seed": bench.seed,
    }
    parts: dict[str, Any] = {
        "trends": [asdict(trend) for trend in found.trends], "tables": [asdict(table) for table in found.tables],
        "scaled": [*found.scaled, ONE_NET], "seconds": spent, "version": __version__,
    }  # fmt: skip
    return facts | dict(finite(parts))


def write(study: Study, bench: Bench, found: Reproduction, spent: float) -> Path:
    """Write OUT/report.html and OUT/report.json; raises StoreError where they cannot be written."""
    whole = summary(study, bench, found, spent)
    values = {
        "study": study, "found": found, "written": written, "scaled": whole["scaled"],
        "facts": [
            ("Command", command(study, bench)), ("Data", bench.data), ("Seed", str(bench.seed)), ("Time of this call", seconds(spent)),
            ("Made with", f"holdfast {__version__}"),
        ],
    }  # fmt: skip
    write_page(bench.out / "report.json", json.dumps(whole, indent=1, allow_nan=False) + "\n")
    return write_page(bench.out / "report.html", render("study.html.j2", found.charts, values))


def command(study: Study, bench: Bench) -> str:
    """The call that makes the same again."""
    return f"holdfast reproduce {study.name}{' --fast' if bench.fast else ''} --data {shlex.quote(bench.data)} --seed {bench.seed}"


def written(findings: tuple[Finding, ...]) -> list[tuple[str, str, str, str]]:
    """Label, the document's figure, ours, its interval: as they are written."""
    return [
        (
            one.label, NONE if one.document is None else f"{100 * one.document:.2f} %", percent(one.ours),
            f"{100 * one.low:.1f} to {100 * one.high:.1f} %",
        )
        for one in findings
    ]  # fmt: skip
