"""The command line: `holdfast demo | evaluate | attack | merge | report | spectra | list`."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from torch import nn

from holdfast import catalogue
from holdfast.attacks.short import parse, parse_threat
from holdfast.core.errors import ConfigError, HoldfastError
from holdfast.data import Dataset, load_data
from holdfast.demo import demo_classifier
from holdfast.evaluation import CURVE, Budget, Result, evaluate
from holdfast.evaluation import merge as merge_runs
from holdfast.evaluation.diagnosis import STEADY, answers_apart
from holdfast.models import Classifier, load_net, load_views
from holdfast.progress import Interrupt, Show
from holdfast.report import Exported, export, html_report, json_report, spectra_report, terminal
from holdfast.reproduce import Bench, reproduce, tell
from holdfast.training.shared import SHARED, Shared, fit, judge, keep, parse_shared
from holdfast.version import __version__

app = typer.Typer(
    name="holdfast", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
    help="Measure how robust a neural network really is.",
)  # fmt: skip
# What is printed are names, paths and docstrings, whose brackets are no markup.
console = Console(markup=False)

Model = Annotated[str, typer.Option(help="One of ours by name (holdfast list models), or pkg.mod:callable.")]
Weights = Annotated[Path | None, typer.Option(help="A .safetensors file, or a .pt read as weights only.")]
Data = Annotated[str, typer.Option(help="digits | npz:FILE | idx:DIR | folder:DIR | cifar10:DIR | hf:NAME | torchvision:NAME")]
Split = Annotated[str, typer.Option(help="Which part of the data.")]
Limit = Annotated[int | None, typer.Option(min=1, help="At most so many samples.")]
Offset = Annotated[int, typer.Option(min=0, help="Leave out so many samples first.")]
Mean = Annotated[str | None, typer.Option(help="Subtracted before the model: a number, or one per channel, a,b,c.")]
Std = Annotated[str | None, typer.Option(help="Divided by before the model: a number, or one per channel, a,b,c.")]
Bounds = Annotated[str, typer.Option(help="Range of the inputs before normalisation: low,high.")]
Classes = Annotated[int | None, typer.Option(min=2, help="Number of classes; asked of the model when not given.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1; where the weights are when not given.")]
Views = Annotated[
    str | None, typer.Option(help="What the model sees its inputs through: physical, athalye(0.5), jpeg(75) (holdfast list views).")
]
Stochastic = Annotated[bool, typer.Option("--stochastic", help="The model draws random numbers: verify each claim by many asks.")]
Seed = Annotated[int, typer.Option(help="All randomness follows from it.")]
SlotCount = Annotated[int | None, typer.Option(min=1, help="Rows in flight at once.")]
Replica = Annotated[
    bool, typer.Option("--replica/--no-replica", help="Search on a faster copy of the model; claims are put to the model itself.")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, for machines.")]


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        console.print(f"holdfast {__version__}")
        raise typer.Exit


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder of the run.")] = Path("runs/demo"),
    limit: Limit = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """The main job on embedded real data: train a small net on scanned digits, attack it, report."""
    with Interrupt() as interrupt, Show(console, quiet=as_json) as show:
        model = demo_classifier(out, show.say)
        result = evaluate(
            model, load_data("digits", limit=limit), parse_threat("linf:0.15"), radii=[0.15 * share for share in CURVE],
            out=out / "run", seed=seed, watch=show, halt=interrupt,
        )  # fmt: skip
    _conclude(result, as_json, None, interrupt, report=out / "report.html")


@app.command(name="evaluate")
def evaluate_command(
    model: Model,
    data: Data,
    threat: Annotated[str, typer.Option(help="What an attacker may change: linf:8/255, l2:0.5, l1:12, l0:10, flow:1, colour:0.06.")],
    out: Annotated[Path, typer.Option(help="Folder of the run; the same command again goes on where it stopped.")],
    weights: Weights = None,
    split: Split = "test",
    limit: Limit = None,
    offset: Offset = 0,
    suite: Annotated[str | None, typer.Option(help="A named plan (holdfast list suites); standard-1 when not given.")] = None,
    effort: Annotated[float, typer.Option(help="Multiplies the restarts, rivals and queries of standard-1.")] = 1.0,
    attack: Annotated[list[str] | None, typer.Option(help="An attack of your own plan, as in 'pgd(steps=100)'; repeat it.")] = None,
    curve: Annotated[bool, typer.Option("--curve", help="Also the accuracy against the radius, from a quarter of it to twice.")] = False,
    radii: Annotated[str | None, typer.Option(help="Also the accuracy at these radii: 2/255,4/255,8/255.")] = None,
    mean: Mean = None,
    std: Std = None,
    bounds: Bounds = "0,1",
    classes: Classes = None,
    device: Device = None,
    views: Views = None,
    stochastic: Stochastic = False,
    seed: Seed = 0,
    slots: SlotCount = None,
    replica: Replica = True,
    queries: Annotated[int | None, typer.Option(min=1, help="Forwards that one sample may cost.")] = None,
    deadline: Annotated[float | None, typer.Option(help="Seconds after which the run pauses.")] = None,
    shard: Annotated[str, typer.Option(help="i/k: every k-th sample from the i-th, for several machines.")] = "0/1",
    fail_under: Annotated[float | None, typer.Option(min=0, max=1, help="Exit 1 when the robust accuracy's lower bound is below.")] = None,
    report: Annotated[Path | None, typer.Option(help="Where the HTML report goes; OUT/report.html when not given.")] = None,
    as_json: Json = False,
) -> None:
    """Measure clean and robust accuracy, store every record, report."""
    goal = parse_threat(threat)
    for item in attack or []:
        _on_rows(item)
    grid = _numbers(radii, "--radii") if radii else [goal.radius * share for share in CURVE] if curve else []
    net = _classifier(model, weights, mean, std, bounds, classes, device, stochastic, views)
    dataset = load_data(data, split=split, limit=limit, offset=offset)
    with Interrupt() as interrupt, Show(console, quiet=as_json) as show:
        result = evaluate(
            net, dataset, goal, suite=suite, attacks=attack or (), radii=grid, effort=effort, out=out, seed=seed, slots=slots,
            replica=replica, budget=Budget(queries, deadline), shard=_shard(shard), watch=show, halt=interrupt,
        )  # fmt: skip
    _conclude(result, as_json, fail_under, interrupt, report or out / "report.html")


@app.command()
def attack(
    spec: Annotated[str, typer.Argument(help="The attack, as in 'pgd(8/255, steps=40)'.")],
    model: Model,
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder of the run: adversarial examples, records, report.")],
    weights: Weights = None,
    split: Split = "test",
    limit: Limit = None,
    offset: Offset = 0,
    threat: Annotated[
        str | None,
        typer.Option(
            help="Used where the attack names none of its own; one that looks for the smallest change (minimum norm in the list) takes "
            "its norm and no radius: what it finds counts at any distance."
        ),
    ] = None,
    mean: Mean = None,
    std: Std = None,
    bounds: Bounds = "0,1",
    classes: Classes = None,
    device: Device = None,
    views: Views = None,
    stochastic: Stochastic = False,
    seed: Seed = 0,
    slots: SlotCount = None,
    replica: Replica = True,
    pictures: Annotated[int | None, typer.Option(min=0, help="Write a PNG of at most so many broken samples; 100 when not given.")] = None,
    as_json: Json = False,
) -> None:
    """Make adversarial examples with one attack, or one perturbation for all; a killed run goes on when called again."""
    given = parse_threat(threat) if threat else None
    one = parse_shared(spec, given) if spec.partition("(")[0].strip() in SHARED else None
    net = _classifier(model, weights, mean, std, bounds, classes, device, stochastic, views)
    dataset = load_data(data, split=split, limit=limit, offset=offset)
    if one is not None:
        for option, used in (("--slots", slots is not None), ("--no-replica", not replica), ("--pictures", pictures is not None)):
            if used:
                raise ConfigError(f"{option} is for attacks on rows, {one.name} is one perturbation for all: leave it out")
        return _fit(one, net, dataset, out, seed, as_json)
    _on_rows(spec)
    made = parse(spec, given)
    with Interrupt() as interrupt, Show(console, quiet=as_json) as show:
        if given and made.threat.radius > given.radius:
            show.say(f"{made.name} looks for the smallest change: the radius of --threat {threat} is no limit to it")
        result = evaluate(
            net, dataset, made.threat, attacks=[made], out=out, seed=seed, slots=slots, replica=replica, watch=show, halt=interrupt
        )
    made_files = None if interrupt.asked else export(result, dataset, out, 100 if pictures is None else pictures)
    _conclude(result, as_json, None, interrupt, out / "report.html", made_files)


@app.command()
def merge(
    out: Annotated[Path, typer.Argument(help="Folder for the joined run.")],
    runs: Annotated[list[Path], typer.Argument(help="Folders that hold shards of one run.")],
    as_json: Json = False,
) -> None:
    """Join the shards of one run, made on several machines, into one folder."""
    merge_runs(out, *runs)
    _show(Result(out), as_json, out / "report.html")


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="The run's folder.")],
    out: Annotated[Path | None, typer.Option(help="The HTML file; RUN/report.html when not given.")] = None,
    as_json: Json = False,
) -> None:
    """Make the report of a run again, from its records alone."""
    _show(Result(run), as_json, out or run / "report.html")


@app.command()
def spectra(
    run: Annotated[Path, typer.Argument(help="The folder of a run that broke images.")],
    model: Annotated[str | None, typer.Option(help="The model of the run, where layers are asked for.")] = None,
    weights: Weights = None,
    views: Views = None,
    layer: Annotated[list[str] | None, typer.Option(help="A module by name, as print(net) lists them; repeat it.")] = None,
    device: Device = None,
    out: Annotated[Path | None, typer.Option(help="The HTML file; RUN/spectra.html when not given.")] = None,
    as_json: Json = False,
) -> None:
    """Fourier spectra of a run's inputs and of layers' feature maps, before and after the attack."""
    result = Result(run)
    if layer and not model:
        raise ConfigError(f"--layer {layer[0]!r} needs the model of the run: give --model and --weights")
    net = _same_model(result, model, weights, device, views) if model and layer else None
    page = spectra_report(result, net, layer or [], out or run / "spectra.html")
    if as_json:
        print(json.dumps({"report": str(page)}))
    else:
        console.print(f"spectra: {page}", soft_wrap=True, highlight=False)


@app.command(name="list")
def list_command(
    kind: Annotated[str, typer.Argument(help=" | ".join(catalogue.KINDS))] = "attacks",
    as_json: Json = False,
) -> None:
    """List what there is by name."""
    rows = catalogue.listing(kind)
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for row in rows:
        facts = (_fact(name, value) for name, value in row.items() if name not in ("name", "summary") and value)
        table.add_row(row["name"], "\n".join(filter(None, (row["summary"], "; ".join(facts)))))
    console.print(table)


@app.command(name="reproduce")
def reproduce_command(
    name: Annotated[str, typer.Argument(help="Which one: holdfast list reproductions.")],
    fast: Annotated[bool, typer.Option("--fast", help="In minutes, on less data.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder of the study; the same command again goes on where it stopped.")] = None,
    data: Data = "digits", seed: Seed = 0, as_json: Json = False,
) -> None:  # fmt: skip
    """Run a table or figure of a document again: our figure beside the document's, and a verdict on each trend."""
    with Interrupt() as interrupt, Show(console, quiet=as_json) as show:
        found = reproduce(name, Bench(data, out or Path(f"runs/{name}{'-fast' if fast else ''}"), fast, seed, show.say, interrupt))
    tell(found, console, as_json)


def _fact(name: str, value: object) -> str:
    """`threats: linf, l2`; what is just so is said by its name alone."""
    word = name.replace("_", " ")
    return word if value is True else f"{word}: {', '.join(map(str, value)) if isinstance(value, list) else value}"


def _fit(method: Shared, net: Classifier, data: Dataset, out: Path, seed: int, as_json: bool) -> None:
    """Fit one perturbation to every other sample, judge it on the rest, store it."""
    if len(data) < 2:
        raise ConfigError(f"{method.name} is fitted to every other sample and judged on the rest: {len(data)} are too few, raise --limit")
    if (out / "manifest.json").exists():
        raise ConfigError(f"{out} holds another run: choose another folder with --out")
    out.mkdir(parents=True, exist_ok=True)
    with Interrupt() as interrupt, Show(console, quiet=as_json) as show:
        if answers_apart(net, net.bounds.intake(data.x[:32], net.dtype, net.device), seed)[1] > STEADY and not net.stochastic:
            show.say("the model answers the same inputs differently each time: taken as --stochastic")
            net = net.declared(True)
        said = lambda passed, rate: show.say(f"pass {passed}: {rate:.1%} fooled")  # noqa: E731
        fitted = fit(method, net, data.x[::2], seed, data.ids[::2], out / "fit.snapshot", interrupt, said)
    if not fitted.complete:
        typer.echo(f"stopped; run the same command again to go on from {out}", err=True)
        raise typer.Exit(130)
    judged = {"stochastic": net.stochastic} | asdict(judge(fitted, net, data.x[1::2], data.y[1::2], seed))
    costs = {"forwards": fitted.forwards, "backwards": fitted.backwards, "passes": len(fitted.history)}
    summary = {"attack": str(method), "size": fitted.size, **judged, **costs, "perturbation": str(keep(fitted, out))}
    if as_json:
        print(json.dumps(summary))
        return
    for name, value in summary.items():
        console.print(f"{name.replace('_', ' ')}: {f'{value:.4g}' if isinstance(value, float) else value}", soft_wrap=True, highlight=False)


def _classifier(
    model: str, weights: Path | None, mean: str | None, std: str | None, bounds: str, classes: int | None, device: str | None,
    stochastic: bool, views: str | None,
) -> Classifier:  # fmt: skip
    net = _net(model, weights, device)
    span = _numbers(bounds, "--bounds")
    if len(span) != 2:
        raise ConfigError(f"--bounds {bounds!r}: expected low,high, as in 0,1 or 0,255")
    low, high = span
    plain = Classifier(
        net, classes, (low, high), _numbers(mean, "--mean") if mean else None, _numbers(std, "--std") if std else None, device, stochastic
    )
    return plain.viewed(load_views(views)) if views else plain


def _net(model: str, weights: Path | None, device: str | None) -> nn.Module:
    net = load_net(model, weights, catalogue.NETS)
    try:
        return net.to(device) if device else net
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(
            f"--device {device!r} cannot be used ({str(error).splitlines()[0][:120]}): choose cpu, or leave it out"
        ) from error


def _on_rows(spec: str) -> None:
    """Raise ConfigError where the catalogue knows a method that is no attack on single rows."""
    name = spec.partition("(")[0].strip()
    kind = next((row["kind"] for row in catalogue.attacks() if row["name"] == name), "row")
    if kind == "shared":
        raise ConfigError(f"{name} is one perturbation for many inputs: fit it with holdfast attack '{name}(…)'")
    if kind != "row":
        raise ConfigError(f"{name} is a method of kind {kind}, not an attack on rows: call holdfast.{kind}.{name} in Python")


def _same_model(result: Result, model: str, weights: Path | None, device: str | None, views: str | None) -> Classifier:
    """The model of a run, with the range and normalisation that the run had."""
    kept = result.manifest["model"]
    net = _net(model, weights, device)
    found = Classifier(net, kept["classes"], (kept["low"], kept["high"]), kept["mean"], kept["std"], device, kept["stochastic"])
    found = found.viewed(load_views(views)) if views else found
    if found.fingerprint() != kept["fingerprint"]:
        raise ConfigError(
            f"--model {model!r} is not the model of {result.path}: weights or views differ; give its --model, --weights, --views"
        )
    return found


def _numbers(text: str, option: str) -> list[float]:
    """Comma-separated numbers, each of which may be a fraction."""
    try:
        return [float(top) / float(bottom or 1) for top, _, bottom in (part.partition("/") for part in text.split(","))]
    except (ValueError, ZeroDivisionError) as error:
        raise ConfigError(f"{option} {text!r}: expected numbers separated by commas, as in 0.5,0.5,0.5 or 2/255,4/255") from error


def _shard(text: str) -> tuple[int, int]:
    index, slash, count = text.partition("/")
    if not (slash and index.isdigit() and count.isdigit()):
        raise ConfigError(f"--shard {text!r}: expected i/k, as in 0/4")
    return int(index), int(count)


def _conclude(
    result: Result, as_json: bool, fail_under: float | None, interrupt: Interrupt, report: Path, exported: Exported | None = None
) -> None:
    """Show a result; exit 130 after Ctrl-C, 1 when the gate or a check fails."""
    _show(result, as_json, report, exported)
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


def _show(result: Result, as_json: bool, report: Path, exported: Exported | None = None) -> None:
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


if __name__ == "__main__":
    main()
