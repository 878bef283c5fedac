"""The report for people: one HTML file that needs nothing but itself."""

from __future__ import annotations

from pathlib import Path

from holdfast.evaluation import Result
from holdfast.report.charts import charts
from holdfast.report.columns import COLUMNS
from holdfast.report.gallery import gallery
from holdfast.report.machine import write_page
from holdfast.report.provenance import command, provenance
from holdfast.report.render import render
from holdfast.report.spectral import input_section
from holdfast.report.verdict import threat_words, verdict
from holdfast.report.words import counted, figure, interval, percent, seconds


def html_report(result: Result, path: str | Path) -> Path:
    """Write a run as one page: verdict, trust checks, attacks, curves, examples, spectra, provenance.

    The page opens offline, fetches nothing (its own policy forbids it), and is the same for the same store.

    Raises StoreError when the file cannot be written.
    """
    return write_page(path, page(result))


def page(result: Result) -> str:
    """What `html_report` writes."""
    drawn, spectra = charts(result), input_section(result)
    values = {
        "result": result, "manifest": result.manifest, "verdict": verdict(result), "threat": threat_words(result.manifest),
        "headlines": _headlines(result) if result.n else [], "columns": COLUMNS, "charts": drawn, "gallery": gallery(result),
        "spectra": spectra, "provenance": provenance(result), "command": command(result),
    }  # fmt: skip
    return render("page.html.j2", [*drawn, *([spectra.chart] if spectra else [])], values)


def _headlines(result: Result) -> list[tuple[str, str, str]]:
    """Name, figure and small print."""
    clean, robust, n = result.clean_rate, result.robust_rate, result.n
    return [
        ("clean accuracy", percent(clean.value), f"{clean.of:,} of {n:,}; 95 % interval {interval(clean)}"),
        ("robust accuracy", percent(robust.value), f"{robust.of:,} of {n:,}; 95 % interval {interval(robust)}"),
        ("samples", f"{n:,}", f"of {result.manifest['data']['samples']:,} in the plan; {counted(len(result.attacks), 'attack')} made"),
        ("queries per sample", figure(result.forwards / n), f"forward passes; {figure(result.backwards / n)} backward"),
        ("time in attacks", seconds(result.seconds), f"{figure(1000 * result.seconds / n)} ms per sample"),
    ]
