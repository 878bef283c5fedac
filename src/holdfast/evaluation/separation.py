"""Points within a threat and at its very edge, and the linear readout that tells the two apart."""

from __future__ import annotations

import warnings
from importlib import import_module

import torch
from torch import Tensor

from holdfast.core.rows import per_row
from holdfast.evaluation.features import Seen
from holdfast.evaluation.readout import height
from holdfast.parts.threats import Additive

# How much of the planted point's height over the decision boundary is taken from it (the authors' code).
CLOSE = 0.999


def readout(nearer: Seen, outer: Seen) -> tuple[Tensor, Tensor] | None:
    """Weight `[1, f]` and bias `[1]` with z < 0 on `nearer`, z > 0 (but only just) on `outer`; None where regression finds none.

    w, b = argmin Σ log(1 + exp(∓z));  b ← b − 0.999 min z(outer);  both scaled so that ±z spans what the model's logits span.
    """
    both = nearer.cat(outer)
    h = both.features.double().cpu()
    moves = (h != h[:1]).any(dim=0)
    if not bool(moves.any()) or not bool(h.isfinite().all()):
        return None
    label = (torch.arange(len(h)) >= len(nearer)).numpy()
    # Imported here because it takes a second, which nobody who does not need it should wait for.
    regression = import_module("sklearn.linear_model").LogisticRegression(C=float("inf"), max_iter=1000)
    with warnings.catch_warnings():
        # Separable points have no optimum; what counts is whether they are told apart, which is asked below.
        warnings.simplefilter("ignore")
        regression.fit(h[:, moves].numpy(), label)
    weight = torch.zeros(1, h.shape[1], dtype=torch.float64)
    weight[:, moves] = torch.from_numpy(regression.coef_)
    z = height(h, weight, torch.from_numpy(regression.intercept_))
    least = z[len(nearer) :].amin(dim=0)
    if not (bool(least > 0) and bool((z[: len(nearer)] < 0).all())):
        return None
    span = float(both.logits.amax() - both.logits.amin())
    scale = span / (2 * float(z.abs().amax())) if span > 0 else 1.0
    bias = torch.from_numpy(regression.intercept_) - CLOSE * least
    return (weight * scale).to(both.features), (bias * scale).to(both.features)


def outward(threat: Additive, x: Tensor, p: Tensor, radius: Tensor) -> Tensor:
    """`p` lengthened, within the valid range, until its size is `radius` `[n]`, or as near to it as the range lets it.

    s p with the s ≥ 1 found by bisection of log s over 1 … 1000; values that reach the end of the range stay there.
    """
    low, high = torch.ones_like(radius), torch.full_like(radius, 1000.0)
    for _ in range(24):
        middle = (low * high).sqrt()
        short = threat.size(x, threat.into_box(x, per_row(middle, p) * p)) < radius
        low, high = torch.where(short, middle, low), torch.where(short, high, middle)
    # Cut to the range before it is brought within the radius, or the cut would shorten it again.
    return threat.project(x, threat.into_box(x, per_row(high, p) * p), radius)
