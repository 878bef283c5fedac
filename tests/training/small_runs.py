"""Runs of training so small that they can be killed, repeated and doubled; as a script, what each of several processes does."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from holdfast import Classifier, Linf
from holdfast.engine.snapshot import Snapshots
from holdfast.training import Crop, Flip, Recipe, Trained, objectives, train, trainer

Weights = dict[str, Tensor]


def classifier(dtype: torch.dtype = torch.float32, drop: float = 0.3, grouped: bool = False) -> Classifier:
    """A net with dropout and batch norm, or group norm, on images `[n, 1, 8, 8]` of 3 classes; its weights are always the same."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        norm: nn.Module = nn.GroupNorm(2, 4) if grouped else nn.BatchNorm2d(4)
        layers = [nn.Conv2d(1, 4, 3, 2, bias=False), norm, nn.ReLU(), nn.Flatten(), nn.Dropout(drop), nn.Linear(36, 3)]
        return Classifier(nn.Sequential(*layers).to(dtype).eval(), 3)


def images(n: int = 40) -> tuple[Tensor, Tensor]:
    """Uint8 images, each class with a bright column of its own."""
    generator = torch.Generator().manual_seed(n)
    x, y = torch.randint(200, (n, 1, 8, 8), generator=generator, dtype=torch.uint8), torch.arange(n) % 3
    x[torch.arange(n), 0, :, 2 * y] += 55
    return x, y


RECIPES = {
    "pgd": Recipe(objectives.pgd(0.1, steps=2), 3, 8, augment=(Crop(), Flip()), average=0.9, clip=1.0),
    "free": Recipe(objectives.free(0.1, repeats=2), 3, 8, augment=(Crop(), Flip()), average=0.9),
    "adamw": Recipe(objectives.trades(0.1, steps=2), 3, 8, optimiser="adamw", rate=1e-2, schedule="cosine", augment=(Crop(),)),
}


def weights(trained: Trained) -> Weights:
    return cast(nn.Module, trained.model.net).state_dict()


def run(name: str, out: Path | None = None, kill: float | None = None) -> Trained:
    """One run of a recipe; `kill`: seconds after the first step at which the process kills itself, wherever it is then."""

    def watch(step: int, steps: int, row: dict[str, float]) -> None:
        nonlocal kill
        if kill is not None:
            timer = threading.Timer(kill, os.kill, (os.getpid(), signal.SIGKILL))
            timer.daemon, kill = True, None
            timer.start()

    return train(classifier(), images(), RECIPES[name], threat=Linf(0.1), held=10, out=out, watch=watch)


def killed(name: str, out: Path, kill: float | None) -> None:
    """What a process that is to be killed does: a snapshot after every step, so that the kill falls into some."""
    torch.set_num_threads(1)
    trainer.Snapshots = partial(Snapshots, apart=0.0, least=0.0)  # type: ignore[misc, assignment]
    torch.save(weights(run(name, out, kill)), out / "weights")


SHARED = {
    "held, average": (RECIPES["pgd"], 10),
    "fifty steps": (Recipe(objectives.pgd(0.1, steps=2), 10, 8, augment=(Crop(),)), 0),
    "trades": (Recipe(objectives.trades(0.1, steps=2), 3, 8, clip=0.5), 0),
}
"""What is to come out the same in however many processes."""


def shared(name: str) -> tuple[Weights, dict[str, list[float]]]:
    recipe, held = SHARED[name]
    model = classifier(torch.float64, drop=0.0, grouped=True)
    trained = train(model, images(), recipe, threat=Linf(0.1), held=held)
    rows = {key: [row[key] for row in trained.history] for key in trained.history[0] if key != "seconds"}
    return weights(trained), {"losses": trained.losses.tolist(), **rows}


def main(out: Path) -> None:
    rank = int(os.environ["RANK"])
    for place, name in enumerate(SHARED):
        found, facts = shared(name)
        torch.save(found, out / f"{place}.{rank}.weights")
        (out / f"{place}.{rank}.json").write_text(json.dumps(facts))
    try:
        train(classifier(), images(), replace(RECIPES["pgd"], batch=7))
    except ValueError as error:
        (out / f"odd.{rank}").write_text(str(error))
    try:
        train(classifier(), images(), RECIPES["free"])
    except ValueError as error:
        (out / f"free.{rank}").write_text(str(error))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
