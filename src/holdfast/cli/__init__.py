"""The command line: `holdfast demo | evaluate | attack | train | reproduce | merge | report | spectra | list`."""

from __future__ import annotations

import sys

import typer

from holdfast.cli import commands
from holdfast.cli.train import train_command
from holdfast.core.errors import HoldfastError

app = typer.Typer(
    name="holdfast", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
    help="Measure how robust a neural network really is, and make it more so.",
)  # fmt: skip
app.callback(invoke_without_command=True)(commands.root)
app.command("demo")(commands.demo)
app.command("evaluate")(commands.evaluate_command)
app.command("attack")(commands.attack)
app.command("train")(train_command)
app.command("merge")(commands.merge)
app.command("report")(commands.report)
app.command("spectra")(commands.spectra)
app.command("reproduce")(commands.reproduce_command)
app.command("list")(commands.list_command)


def main() -> None:
    """The entry point: a mistake is one line on stderr and exit code 2."""
    try:
        app()
    except HoldfastError as error:
        typer.echo("error: " + " ".join(str(error).split()), err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        typer.echo("stopped; run the same command again to go on", err=True)
        sys.exit(130)
