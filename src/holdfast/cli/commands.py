"""The commands that measure: each is one function of what was typed."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from holdfast import catalogue
from holdfast.attacks.short import parse, parse_threat
from holdfast.cli.ending import conclude, show
from holdfast.cli.options import (
    Bounds,
    Classes,
    Data,
    Device,
    Json,
    Limit,
    Mean,
    Model,
    Offset,
    Replica,
    Seed,
    SlotCount,
    Split,
    Std,
    Stochastic,
    Views,
    Weights,
    classifier,
    console,
    net_of,
    numbers,
)  # fmt: skip
from holdfast.core.errors import ConfigError
from holdfast.data import Dataset, load_data
from holdfast.demo import demo_classifier
from holdfast.evaluation import CONVERGE, CURVE, Budget, Result, evaluate
from holdfast.evaluation import merge as merge_runs
from holdfast.evaluation.diagnosis import STEADY, answers_apart
from holdfast.models import Classifier, load_views
from holdfast.progress import Interrupt, Show
from holdfast.report import export, spectra_report
from holdfast.reproduce import Bench, reproduce, study_of, tell
from holdfast.training.shared import SHARED, Shared, fit, judge, keep, parse_shared
from holdfast.version import __version__


def root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        console.print(f"holdfast {__version__}")
        raise typer.Exit


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
    conclude(result, as_json, None, interrupt, report=out / "report.html")


def evaluate_command(
    model: Model,
    data: Data,
    threat: Annotated[str, typer.Option(help="What an attacker may change: linf:8/255, l2:0.5, l1:12, l0:10, flow:1, colour:0.06.")],
    out: Annotated[Path, typer.Option(help="Folder of the run; the same command again goes on where it stopped.")],
    weights: Weights = None,
    split: Split = "test",
    limit: Limit = None,
    offset: Offset = 0,
    suite: Annotated[str | None, typer.Option(help="A named plan (holdfast list suites); standard-2 when not given.")] = None,
    effort: Annotated[float, typer.Option(help="Multiplies the restarts, rivals and queries of standard-2.")] = 1.0,
    converge: Annotated[
        float, typer.Option(help="Share of the samples that may still be estimated to fall when search ends (standard-2).")
    ] = CONVERGE,
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
    grid = numbers(radii, "--radii") if radii else [goal.radius * share for share in CURVE] if curve else []
    net = classifier(model, weights, mean, std, bounds, classes, device, stochastic, views)
    dataset = load_data(data, split=split, limit=limit, offset=offset)
    with Interrupt() as interrupt, Show(console, quiet=as_json) as show:
        result = evaluate(
            net, dataset, goal, suite=suite, attacks=attack or (), radii=grid, effort=effort, converge=converge, out=out, seed=seed,
            slots=slots, replica=replica, budget=Budget(queries, deadline), shard=_shard(shard), watch=show, halt=interrupt,
        )  # fmt: skip
    conclude(result, as_json, fail_under, interrupt, report or out / "report.html")


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
    net = classifier(model, weights, mean, std, bounds, classes, device, stochastic, views)
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
    conclude(result, as_json, None, interrupt, out / "report.html", made_files)


def merge(
    out: Annotated[Path, typer.Argument(help="Folder for the joined run.")],
    runs: Annotated[list[Path], typer.Argument(help="Folders that hold shards of one run.")],
    as_json: Json = False,
) -> None:
    """Join the shards of one run, made on several machines, into one folder."""
    merge_runs(out, *runs)
    show(Result(out), as_json, out / "report.html")


def report(
    run: Annotated[Path, typer.Argument(help="The run's folder.")],
    out: Annotated[Path | None, typer.Option(help="The HTML file; RUN/report.html when not given.")] = None,
    as_json: Json = False,
) -> None:
    """Make the report of a run again, from its records alone."""
    show(Result(run), as_json, out or run / "report.html")


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


def reproduce_command(
    name: Annotated[str, typer.Argument(help="Which one: holdfast list reproductions.")],
    fast: Annotated[bool, typer.Option("--fast", help="In minutes, on less data.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder of the study; the same command again goes on where it stopped.")] = None,
    data: Data = "digits", seed: Seed = 0, as_json: Json = False,
) -> None:  # fmt: skip
    """Run a table or figure of a document again: our figure beside the document's, and a verdict on each trend."""
    made = study_of(name).data
    with Interrupt() as interrupt, Show(console, quiet=as_json) as show:
        if data == "digits" and not fast:
            show.say(f"{name} is made for {made}: on the embedded digits, 8×8 pixels, trends may differ; choose other data with --data")
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
    net = net_of(model, weights, device)
    found = Classifier(net, kept["classes"], (kept["low"], kept["high"]), kept["mean"], kept["std"], device, kept["stochastic"])
    found = found.viewed(load_views(views)) if views else found
    if found.fingerprint() != kept["fingerprint"]:
        raise ConfigError(
            f"--model {model!r} is not the model of {result.path}: weights or views differ; give its --model, --weights, --views"
        )
    return found


def _shard(text: str) -> tuple[int, int]:
    index, slash, count = text.partition("/")
    if not (slash and index.isdigit() and count.isdigit()):
        raise ConfigError(f"--shard {text!r}: expected i/k, as in 0/4")
    return int(index), int(count)
