"""`holdfast train`: a net made robust by an objective, and what that was worth by the suite."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor

from holdfast.attacks.short import parse_threat
from holdfast.cli.diary import Diary
from holdfast.cli.ending import leave
from holdfast.cli.options import (
    Bounds,
    Classes,
    Data,
    Device,
    Json,
    Limit,
    Mean,
    Model,
    Seed,
    Std,
    Weights,
    around,
    console,
    net_of,
)  # fmt: skip
from holdfast.core.errors import ConfigError, HoldfastError
from holdfast.core.types import Threat
from holdfast.data import Dataset, load_data
from holdfast.engine.noise import kept_generators
from holdfast.evaluation import Result, evaluate
from holdfast.evaluation.evaluate import environment
from holdfast.evaluation.plan import plan
from holdfast.models import Classifier
from holdfast.progress import Interrupt, Show
from holdfast.report import html_report, json_report, verdict
from holdfast.report.machine import finite
from holdfast.report.training import summary
from holdfast.training import Recipe, train
from holdfast.training.augment import augmentations
from holdfast.training.fabric import Fabric, fabric_of
from holdfast.training.short import parse_objective

FEW = 0.01
"""The share of test samples that may be among those a net was trained on: some data sets hold pictures twice."""


def train_command(
    objective: Annotated[
        str, typer.Option(help="What is lowered: trades(beta=6), pgd(steps=7), awp(trades()) (holdfast list objectives).")
    ],
    model: Model,
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder of the run; the same command again goes on where it stopped.")],
    threat: Annotated[
        str | None,
        typer.Option(help="What an attacker may change, as in linf:8/255: for the objective, the held-out samples and the suite."),
    ] = None,
    split: Annotated[str, typer.Option(help="Which part of the data is learned.")] = "train",
    limit: Limit = None,
    epochs: Annotated[int, typer.Option(help="Times that the samples are gone through, but for what fills no batch.")] = Recipe.epochs,
    batch: Annotated[int, typer.Option(help="Samples a step, over all processes together.")] = Recipe.batch,
    rate: Annotated[float, typer.Option(help="The largest learning rate.")] = Recipe.rate,
    optimiser: Annotated[str, typer.Option(help="sgd | adamw")] = Recipe.optimiser,
    schedule: Annotated[str, typer.Option(help="cyclic | cosine | steps | constant")] = Recipe.schedule,
    drops: Annotated[str, typer.Option(help="Epochs after which the rate of the schedule steps falls to a tenth: 35,70,95.")] = "",
    warmup: Annotated[int, typer.Option(help="Epochs over which the rate rises from 0.")] = 0,
    momentum: Annotated[float, typer.Option(help="Nesterov's, or AdamW's first beta.")] = Recipe.momentum,
    decay: Annotated[float, typer.Option(help="Weight decay.")] = Recipe.decay,
    augment: Annotated[str, typer.Option(help="Of crop, flip, zoom, colour, separated by commas; nothing when not given.")] = "",
    average: Annotated[float, typer.Option(help="Decay of the weights' average, which is then what is kept: 0.999; 0 for none.")] = 0.0,
    clip: Annotated[float | None, typer.Option(help="The largest norm of a gradient.")] = None,
    patience: Annotated[
        int | None, typer.Option(help="Ends after so many epochs without better robust accuracy (clean, without --threat).")
    ] = None,
    precision: Annotated[str | None, typer.Option(help="bf16-mixed, 16-mixed; the net's own when not given.")] = None,
    search: Annotated[str, typer.Option(help="What attacks ask: own | folded | bfloat16 | float16 (faster copies).")] = Recipe.search,
    held: Annotated[float, typer.Option(help="Share of the samples (or their number) held out to choose the epoch.")] = 0.05,
    weights: Annotated[Path | None, typer.Option(help="Start from these; from ones that follow from --seed when not given.")] = None,
    teacher: Annotated[str | None, typer.Option(help="The model that distillation learns from, named as --model is.")] = None,
    teacher_weights: Weights = None,
    mean: Mean = None,
    std: Std = None,
    bounds: Bounds = "0,1",
    classes: Classes = None,
    device: Device = None,
    seed: Seed = 0,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Also event files for TensorBoard, in OUT/tensorboard.")] = False,
    measure: Annotated[bool, typer.Option("--evaluate/--no-evaluate", help="At the end, measure robust accuracy by the suite.")] = True,
    test_split: Annotated[str | None, typer.Option(help="Which part of the data that is measured on; test when not given.")] = None,
    test_limit: Limit = None,
    suite: Annotated[str | None, typer.Option(help="A named plan (holdfast list suites); standard-2 when not given.")] = None,
    as_json: Json = False,
) -> None:
    """Train a net by an objective, keep the epoch that is most robust, and measure it by the suite."""
    goal = parse_threat(threat) if threat else None
    # What cannot be read is told before anything is loaded.
    parse_objective(objective, goal)
    with kept_generators(torch.device("cpu")):
        torch.default_generator.manual_seed(seed)
        net = net_of(model, weights, device).eval()
    student = around(net, mean, std, bounds, classes, device)
    fabric = fabric_of(student, precision)
    tutor = None
    if teacher is not None:
        tutor = around(net_of(teacher, teacher_weights, str(fabric.device)).eval(), mean, std, bounds, classes, None)
    elif teacher_weights is not None:
        raise ConfigError(f"--teacher-weights {teacher_weights} need a teacher to hold them: give --teacher MODEL")
    recipe = Recipe(
        parse_objective(objective, goal, tutor), epochs, batch, optimiser, rate, momentum, decay, schedule,  # type: ignore[arg-type]
        augmentations(augment), average, clip, patience, precision, search, _epochs(drops), warmup,  # type: ignore[arg-type]
    )  # fmt: skip
    if teacher is not None and teacher_weights is None and ":" not in teacher:
        raise ConfigError(f"--teacher {teacher} has learned nothing yet: give --teacher-weights FILE")
    dataset = load_data(data, split=split, limit=limit, unlabelled=True)
    student.fit_classes(dataset.x)
    test, reason = None, "--no-evaluate"
    if measure:
        test, reason = _measurable(student, dataset, goal, data, test_split, test_limit, suite)
    share = int(held) if held >= 1 and held == int(held) else held
    setting = {field.name: getattr(recipe, field.name) for field in fields(recipe)} | {
        "objective": repr(recipe.objective), "augment": [repr(one) for one in recipe.augment], "threat": str(goal) if goal else None,
        "held": share, "seed": seed, "starting_weights": student.fingerprint(), "data": dataset.fingerprint(),
    }  # fmt: skip
    call = {"asked_for": objective, "model": model, "samples": f"{data}, {split}: {len(dataset):,}"}
    diary = Diary.begin(out, setting, {"call": call, "made": environment()}, tensorboard, fabric.is_global_zero)
    first = fabric.is_global_zero
    with Interrupt(patient=fabric.world_size > 1) as interrupt, Show(console, quiet=as_json or not first) as show:
        if unknown := int((dataset.y < 0).sum()):
            show.say(f"{unknown:,} of {len(dataset):,} samples have no label (y = -1)")
        if measure and reason:
            show.say(f"robust accuracy will not be measured: {reason}")

        def watch(step: int, steps: int, row: dict[str, float]) -> None:
            if first:
                diary.add(step, row)
                show.learn(epochs, batch, step, steps, row)

        said: list[str] = []

        def alarm(text: str) -> None:
            if text not in said:
                said.append(text)
                show.say(f"alarm: {text}")

        trained = train(student, dataset, recipe, goal, share, out, seed, fabric, watch, _together(fabric, interrupt), alarm)
        if not first:
            raise typer.Exit(0 if trained.complete else 130)
        found = diary.close(trained, net)
        for text in trained.alarms:
            alarm(text)
        result = None
        if trained.complete and test is not None and goal is not None:
            result = evaluate(trained.model, test, goal, suite=suite, out=out / "evaluation", seed=seed, watch=show, halt=interrupt)
    if not trained.complete:
        typer.echo(f"stopped; run the same command again to go on from {out}", err=True)
        raise typer.Exit(130)
    _tell(
        result, found | {"weights": str(out / "weights.safetensors"), "page": str(out / "training.html")}, summary(trained), reason, as_json
    )
    if result is not None:
        leave(result, None, interrupt)


def _epochs(text: str) -> tuple[int, ...]:
    """`35,70,95` as numbers; ConfigError for what is none."""
    try:
        return tuple(int(one) for one in text.split(",") if one.strip())
    except ValueError as error:
        raise ConfigError(f"--drops {text!r}: expected epochs separated by commas, as in 35,70,95") from error


def _measurable(
    model: Classifier, learned: Dataset, goal: Threat | None, data: str, split: str | None, limit: int | None, suite: str | None
) -> tuple[Dataset | None, str]:
    """What the trained net will be measured on, or why it cannot be; found out before hours are spent."""
    if goal is None:
        return None, "there is no --threat to measure it within, and epochs are compared by clean accuracy"
    try:
        plan(goal, suite)
    except ConfigError as error:
        raise ConfigError(f"{error}; or train with --no-evaluate") from error
    try:
        test = load_data(data, split=split or "test", limit=limit)
        test.validate(model.classes, model.bounds)
    except HoldfastError as error:
        if split is not None:
            raise
        return None, f"the data have no test split ({error})"
    # Whole pictures are read only where the rows in their middle are alike.
    middles = set(_contents(_middle(test.x)))
    seen = {_content(learned.x[i]) for i, middle in enumerate(_contents(_middle(learned.x))) if middle in middles}
    twice = sum(one in seen for one in _contents(test.x))
    if twice > FEW * len(test):
        return None, f"{twice:,} of the {len(test):,} test samples are among those it learns: name others with --test-split"
    return test, ""


def _middle(x: Tensor) -> Tensor:
    """The middle row of each picture; other inputs whole. A view: there may be more of them than memory holds."""
    return x[:, :, x.shape[2] // 2] if x.ndim == 4 else x


def _content(one: Tensor) -> int:
    return hash(one.contiguous().numpy().tobytes())


def _contents(x: Tensor) -> Iterator[int]:
    return (_content(one) for one in x)


def _together(fabric: Fabric, asked: Callable[[], bool]) -> Callable[[], bool]:
    """Whether to stop: what one process is asked, all do, before the same step."""
    if fabric.world_size == 1:
        return asked
    return lambda: bool(fabric.all_reduce(torch.tensor(float(asked()), device=fabric.device), reduce_op="max"))


def _tell(result: Result | None, found: dict[str, Any], words: str, reason: str, as_json: bool) -> None:
    """One number, where there is one, and where everything lies."""
    if result is not None:
        page = html_report(result, result.path / "report.html")
        json_report(result, result.path / "report.json")
    if as_json:
        measured = {"clean_accuracy": None, "robust_accuracy": None, "not_measured": reason}
        told = measured if result is None else result.summary() | {"report": str(page)}
        print(json.dumps(told | {"training": finite(found)}, allow_nan=False))
        return
    lines = [words, f"weights: {found['weights']}", f"charts: {found['page']}"]
    lines += [f"robust accuracy was not measured: {reason}"] if result is None else [verdict(result), f"report: {page}"]
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False)
