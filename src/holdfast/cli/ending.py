"""How a command ends: what it shows of a result, and its exit code."""

from __future__ import annotations

import json
from pathlib import Path

import typer

from holdfast.cli.options import console
from holdfast.evaluation import Result
from holdfast.progress import Interrupt
from holdfast.report import Exported, html_report, json_report, terminal


def conclude(
    result: Result, as_json: bool, fail_under: float | None, interrupt: Interrupt, report: Path, exported: Exported | None = None
) -> None:
    """Show a result; exit 130 after Ctrl-C, 1 when the gate or a check fails."""
    show(result, as_json, report, exported)
    leave(result, fail_under, interrupt)


def leave(result: Result, fail_under: float | None, interrupt: Interrupt) -> None:
    """Exit 130 after Ctrl-C, 1 when the gate or a check fails."""
    if interrupt.asked:
        typer.echo(f"stopped; all that was found is kept in {result.path}: run the same command again to go on", err=True)
        raise typer.Exit(130)
    low = result.robust_rate.low
    if fail_under is not None and low < fail_under:
        typer.echo(f"robust accuracy's lower bound {low:.4f} is below --fail-under {fail_under}", err=True)
        raise typer.Exit(1)
    failed = [check.name for check in result.checks if check.status == "fail"]
    if failed:
        typer.echo(f"not to be trusted: {', '.join(failed)}", err=True)
        raise typer.Exit(1)


def show(result: Result, as_json: bool, report: Path, exported: Exported | None = None) -> None:
    """A result as a page, as JSON beside it, and on the terminal (or, for machines, on stdout)."""
    page = html_report(result, report)
    json_report(result, report.with_suffix(".json"))
    if as_json:
        files = {"files": exported.as_dict()} if exported else {}
        print(json.dumps(result.summary() | files | {"report": str(page)}, allow_nan=False))
        return
    terminal(result, console)
    if exported:
        console.print(f"{exported.folder}: {exported.words}", soft_wrap=True, highlight=False)
    console.print(f"report: {page}", soft_wrap=True, highlight=False)
