"""`judge`: what a fitted perturbation does to other inputs, asked of the user's own model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from holdfast.core.draw import Draw, row_key
from holdfast.core.errors import ConfigError
from holdfast.core.expect import typed
from holdfast.core.types import Model
from holdfast.engine import Samples, admit_model
from holdfast.engine.noise import drawn, kept_generators, model_noise
from holdfast.parts.views import View
from holdfast.training.shared.ask import Scene
from holdfast.training.shared.fit import Fitted

_APART = 1 << 42


@dataclass(frozen=True)
class Judged:
    """Shares of `asked` = inputs × draws. With F the model's class, x' the input with the perturbation on it, both seen alike:

    `clean_accuracy` F(x) = y;  `accuracy` F(x') = y;  `altered_rate` F(x) ≠ F(x'), whatever the label (the fooling rate);  `success_rate`
    of those with F(x) = y, how many F(x') ≠ y; with a target t, of those with y ≠ t, how many F(x') = t;  `dissimilarity` the mean of
    ‖x − x'‖₂ / ‖x'‖₂, before any view. A share of none is 0.
    """

    asked: int
    clean_accuracy: float
    accuracy: float
    altered_rate: float
    success_rate: float
    dissimilarity: float


@typed
def judge(
    fitted: Fitted, model: Model, x: Tensor, y: Tensor, seed: int = 0, draws: int = 1, views: Sequence[View] | None = None, piece: int = 128
) -> Judged:
    """Put a fitted perturbation on the inputs `x` `[n, ...]` with labels `y` `[n]` and count what the model says.

    Each input is shown `draws` times, through `views` (the fit's own when None, () for none) drawn apart from all that the fit drew.

    Raises InputError for inputs outside the model's range or that the perturbation does not fit, or labels that are no classes.

    >>> from holdfast import Classifier
    >>> from holdfast.training.shared import universal_gradient, fit
    >>> model = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)).eval(), classes=3)
    >>> x, y = torch.rand(8, 1, 2, 2), torch.zeros(8, dtype=torch.int64)
    >>> judge(fit(universal_gradient(0.1, passes=1), model, x), model, x, y).asked
    8
    """
    samples = Samples.of(x, y)
    admit_model(model, "judge")
    samples.check(model)
    fitted.check(x)
    if draws < 1 or piece < 1:
        raise ConfigError(f"draws={draws}, piece={piece}: each is a whole number of at least 1")
    samples.check_labels(model.classes)
    method = fitted.method
    scene = Scene(method.scene.goal, method.scene.placement, method.scene.views if views is None else tuple(views))
    p = fitted.perturbation.to(model.device).unsqueeze(0)
    clean: list[Tensor] = []
    shown: list[Tensor] = []
    apart: list[Tensor] = []
    with kept_generators(model.device), torch.no_grad():
        for number in range(draws):
            for rows in torch.arange(len(x)).split(piece):
                inputs = model.bounds.intake(x[rows.to(x.device)], model.dtype, model.device)
                draw = Draw(row_key(seed, rows, torch.full_like(rows, number)).to(p.device), torch.full_like(rows, _APART).to(p.device))
                placed = scene.placement.apply(inputs, p, model.bounds, draw)
                for found, given in ((clean, None), (shown, p)):
                    with model_noise(model, seed, _APART + number * len(x) + int(rows[0]), purpose=1):
                        seen = scene.show(inputs, given, model.bounds, draw)
                        found.append(drawn(model, seen, draw.key, draw.step).logits.argmax(dim=1).cpu())
                length = placed.flatten(1).norm(dim=1).clamp_min(1e-12)
                apart.append(((inputs - placed).flatten(1).norm(dim=1) / length).cpu())
    before, after, label = torch.cat(clean), torch.cat(shown), y.cpu().repeat(draws)
    if method.target is None:
        counted, won = before == label, after != label
    else:
        counted, won = label != method.target, after == method.target

    def share(mask: Tensor) -> float:
        return mask.double().mean().item() if len(mask) else 0.0

    return Judged(
        len(after),
        share(before == label),
        share(after == label),
        share(before != after),
        share(won[counted]),
        share(torch.cat(apart)),
    )
