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
    if collapsed := collapse(history, n):
        return [collapsed]
    robust = [row["robust"] for row in history if "robust" in row]
    if robust and robust[-1] < max(robust) - 0.05 and _fell(max(robust), robust[-1], n):
        at = f"robust accuracy was {max(robust):.1%} at its best and {robust[-1]:.1%} at the end"
        return [f"robust overfitting: {at}; the best weights are kept"]
    return []


def collapse(history: list[dict[str, float]], n: int) -> str:
    """Where robust accuracy on `n` samples fell by half from one epoch to another, what to say of it; else nothing."""
    best = 0.0
    for row in history:
        robust = row.get("robust", best)
        if robust < 0.5 * best and best > 0.1 and _fell(best, robust, n):
            return (
                f"catastrophic overfitting in epoch {row['epoch']:.0f}: robust accuracy fell from {best:.1%} to {robust:.1%}; "
                f"the best weights are kept: take more noise, a smaller step, or more steps in the attack"
            )
        best = max(best, robust)
    return ""


def _fell(before: float, after: float, n: int) -> bool:
    return before - after > 2 * ((before * (1 - before) + after * (1 - after)) / n) ** 0.5
