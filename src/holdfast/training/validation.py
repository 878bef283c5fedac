"""What held-out samples say of an epoch: accuracy as they are and under attack, which epoch is better, and when to raise an alarm."""

from __future__ import annotations

from typing import cast

import torch
from torch import nn

from holdfast import attacks
from holdfast.core.attack import Attack
from holdfast.core.errors import ConfigError
from holdfast.core.types import Threat
from holdfast.data import Dataset
from holdfast.engine.perturb import perturb
from holdfast.models import Classifier
from holdfast.training.lesson import calm

PIECE = 256


def score(row: dict[str, float]) -> tuple[float, float]:
    """What epochs are compared by: robust accuracy, then clean; of those without either the last is the best."""
    clean = row.get("clean", 0.0)
    return row.get("robust", clean), clean


def watched(threat: Threat) -> Attack:
    """The attack that held-out samples are put to.

    Raises ConfigError for a threat that it does not move in.
    """
    try:
        return attacks.pgd(threat, steps=10, early=False)
    except ConfigError as error:
        raise ConfigError(f"threat {threat}: epochs are compared under PGD, which cannot move in it ({error}): train without it") from error


def validated(model: Classifier, data: Dataset, threat: Threat | None, seed: int = 0) -> dict[str, float]:
    """Accuracy on samples as they are (`clean`) and, with a threat, where PGD-10 leads (`robust`), the net in eval mode."""
    attack = None if threat is None else watched(threat)
    right = {"clean": 0, "robust": 0}
    with calm(cast(nn.Module, model.net)), torch.no_grad():
        for rows in torch.arange(len(data)).split(PIECE):
            x = model.bounds.intake(data.x[rows], model.dtype, model.device)
            y, ids = data.y[rows].to(model.device), data.ids[rows].to(model.device)
            before = model(x).logits.argmax(dim=1) == y
            right["clean"] += int(before.sum())
            if attack is not None:
                after = model(perturb(attack, model, x, y, seed, ids=ids)).logits.argmax(dim=1) == y
                right["robust"] += int((before & after).sum())
    return {name: count / len(data) for name, count in right.items() if name == "clean" or attack is not None}


def alarms(history: list[dict[str, float]], n: int) -> list[str]:
    """What the history of robust accuracy on `n` samples gives cause to say: catastrophic overfitting, and robust overfitting.

    Nothing is said of a fall that other samples might not have shown: one within twice its standard error.
    """
    found, best = [], 0.0
    for row in history:
        if "robust" not in row:
            continue
        if row["robust"] < 0.5 * best and best > 0.1 and _fell(best, row["robust"], n):
            found.append(
                f"catastrophic overfitting in epoch {row['epoch']:.0f}: robust accuracy fell from {best:.1%} to {row['robust']:.1%}; "
                f"the best weights are kept: take more noise, a smaller step, or more steps in the attack"
            )
            break
        best = max(best, row["robust"])
    if history and "robust" in history[-1] and not found and history[-1]["robust"] < best - 0.05 and _fell(best, history[-1]["robust"], n):
        last = history[-1]["robust"]
        found.append(f"robust overfitting: robust accuracy was {best:.1%} at its best and {last:.1%} at the end; the best weights are kept")
    return found


def _fell(before: float, after: float, n: int) -> bool:
    return before - after > 2 * ((before * (1 - before) + after * (1 - after)) / n) ** 0.5
