"""From what the engine found to rows of the store."""

from __future__ import annotations

from typing import Any

import polars as pl
import torch
from torch import Tensor

from holdfast.core.types import Out, Threat
from holdfast.engine import NONE, Outcome, Samples
from holdfast.evaluation.store import CLEAN, SCHEMA
from holdfast.models import Classifier
from holdfast.parts.goals import at, best_other
from holdfast.parts.threats import L0, L1, L2, Linf

_NORMS = (Linf(), L2(), L1(), L0())


def clean_table(samples: Samples, out: Out) -> pl.DataFrame:
    """One row per sample: what the model answers to the clean input."""
    confidence, prediction = out.logits.double().softmax(dim=1).max(dim=1)
    y = samples.y.cpu().long()
    columns = {
        "sample": samples.ids, "label": y, "prediction": prediction, "confidence": confidence,
        "margin": (best_other(out.logits, y) - at(out.logits, y)).double(), "correct": prediction == y,
    }  # fmt: skip
    return pl.DataFrame({name: column.numpy() for name, column in columns.items()}, schema=CLEAN)


def frame(
    label: str,
    outcome: Outcome,
    samples: Samples,
    model: Classifier,
    threat: Threat,
    clean: pl.DataFrame,
    todo: Tensor,
) -> pl.DataFrame:
    """One row per sample that the attack was made on (`todo` `[n]`), in the samples' order."""
    index = todo.nonzero().squeeze(1)
    found = outcome.found[index]
    success = found.member != NONE
    size = found.size
    broken = success & (size <= threat.radius * (1 + 1e-5) + 1e-6)
    done = outcome.done[index]
    measures = _measure(outcome.adversarial, samples, model, index, success)
    prediction = torch.from_numpy(clean["prediction"].to_numpy().copy())[index]
    confidence = torch.from_numpy(clean["confidence"].to_numpy().copy())[index]
    columns: dict[str, Any] = {
        "sample": samples.ids[index],
        "label": samples.y.cpu()[index],
        "clean_prediction": prediction,
        "prediction": torch.where(success, found.prediction, prediction),
        "target": torch.where(success, found.target, -1),
        "broken": broken,
        "success": success,
        "radius": found.radius,
        "member": torch.where(success, found.member, -1),
        "step": torch.where(success, found.step, -1),
        "margin": torch.where(success, found.margin, outcome.margin[index].double()),
        "weakest": outcome.weakest[index].double(),
        "hits": outcome.hits[index],
        "share": found.share,
        "eight_bit": found.eight_bit & success,
        "confidence": torch.where(success, found.confidence, confidence),
        "forwards": outcome.forwards[index],
        "backwards": outcome.backwards[index],
        "nan_forwards": outcome.nan_forwards[index],
        "nan_backwards": outcome.nan_backwards[index],
        **measures,
    }
    table = pl.DataFrame({name: column.numpy() for name, column in columns.items()})
    status = pl.when("broken").then(pl.lit("broken")).when(pl.Series(done.numpy())).then(pl.lit("withstood"))
    absent = pl.when("success")
    return table.with_columns(
        attack=pl.lit(label),
        digest=pl.lit(outcome.attack.digest),
        status=status.otherwise(pl.lit("unfinished")),
        size=pl.when("success").then(pl.Series(size.numpy())),
        **{name: absent.then(pl.col(name)) for name in ("radius", "linf", "l2", "l1", "l0", "dissimilarity")},
    ).select(pl.col(name).cast(kind) for name, kind in SCHEMA.items())


def attack_facts(outcome: Outcome) -> dict[str, Any]:
    """What an attack was and what it cost in all, for JSON."""
    return {
        "attack": str(outcome.attack), "expanded": repr(outcome.attack), "digest": outcome.attack.digest, "complete": not outcome.halted,
        "forwards": int(outcome.forwards.sum()), "backwards": int(outcome.backwards.sum()), "refused": outcome.refused,
        "wasted_forwards": outcome.wasted_forwards, "wasted_backwards": outcome.wasted_backwards, "seconds": outcome.seconds,
    }  # fmt: skip


def _measure(adversarial: Tensor, samples: Samples, model: Classifier, index: Tensor, success: Tensor) -> dict[str, Tensor]:
    """Distances of the found examples from their clean inputs; 0 elsewhere."""
    names = ("linf", "l2", "l1", "l0", "dissimilarity")
    columns = {name: torch.zeros(len(index), dtype=torch.float64) for name in names}
    host = torch.device("cpu")
    for place in success.nonzero().squeeze(1).split(256):
        where = index[place]
        x = model.bounds.intake(samples.x[where.to(samples.x.device)], model.dtype, host)
        found = adversarial[where]
        delta = (found - x).double()
        for name, norm in zip(names, _NORMS, strict=False):
            columns[name][place] = norm.size(delta, delta).double()
        length = found.double().flatten(1).norm(dim=1).clamp_min(1e-12)
        columns["dissimilarity"][place] = columns["l2"][place] / length
    return columns
