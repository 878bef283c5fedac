"""Claim: `train` makes nets from random weights that withstand the suite, on two cores, within an hour each.

`cifar10`: N-FGSM in L∞ 8/255; `cifar10_bf16`: a larger net by the same, for processors with units for bfloat16; `mnist_pgd` and
`mnist_trades`: L∞ 0.3. The epoch is chosen on held-out training images; `standard-1` then judges test images that were never looked at
before. The seconds are those of the wall clock, training and validation together, without the suite. Weights, history and the suite's
run lie in `--out`; a killed run goes on there.
Bar: CIFAR-10 (2,000 test images) ≥ 0.34 robust and ≥ 0.64 clean; MNIST (1,000) ≥ 0.89 by PGD, ≥ 0.91 by TRADES; ≤ 60 minutes each.
Command: scripts/bench hardened -- --cases cifar10
Runs on: cpu
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from common import DATA, Sheet, arguments, cifar10, mnist, training_images
from nets import digits_net, halved_preact
from torch import Tensor, nn

from holdfast import Classifier, Linf, evaluate
from holdfast.evaluation.tables import Rate
from holdfast.models import preact_resnet18
from holdfast.training import Recipe, objectives, train
from holdfast.training.augment import Crop, Flip

MINUTES = 60


@dataclass(frozen=True)
class Hardening:
    """A net, its images, what it is trained by and held to."""

    net: Callable[[], nn.Module]
    radius: float
    test: Callable[[int], tuple[Tensor, Tensor]]
    images: int
    recipe: Recipe
    robust: float
    clean: float = 0.0


def labels(name: str) -> Tensor:
    if name.startswith("cifar10"):
        return torch.from_numpy(np.load(DATA / "cifar10" / "train_labels.npy")).long()
    with np.load(DATA / "mnist" / "mnist.npz") as file:
        return torch.from_numpy(file["y_train"]).long()


DIGITS = Recipe(objectives.ramp(objectives.pgd(0.3, 7), 1000), 16, 64, "adamw", 2e-3, average=0.995)
NEAR = replace(DIGITS, objective=objectives.ramp(objectives.trades(0.3, 6.0, 7), 1000), epochs=14)
FAST = Recipe(objectives.nfgsm(8 / 255), 19, 128, "sgd", 0.2, augment=(Crop(), Flip()), average=0.995, clip=1.0)
CASES = {
    "cifar10": Hardening(halved_preact, 8 / 255, cifar10, 2000, FAST, 0.34, 0.64),
    "cifar10_bf16": Hardening(
        partial(preact_resnet18, width=32), 8 / 255, cifar10, 2000, replace(FAST, epochs=22, precision="bf16-mixed"), 0.34, 0.64
    ),
    "mnist_pgd": Hardening(digits_net, 0.3, mnist, 1000, DIGITS, 0.89),
    "mnist_trades": Hardening(digits_net, 0.3, mnist, 1000, NEAR, 0.91),
}  # fmt: skip


def harden(sheet: Sheet, name: str, one: Hardening, out: Path, quick: bool) -> None:
    y = labels(name)[: 640 if quick else None]
    x = training_images(name, len(y))
    torch.manual_seed(0)
    model, threat = Classifier(one.net().eval(), 10), Linf(one.radius)
    recipe = replace(one.recipe, epochs=1) if quick else one.recipe
    out = out / "quick" if quick else out
    again = ", resumed" if (out / name).exists() else ""
    trained = train(model, (x, y), recipe, threat, 40 if quick else 500, out / name, watch=lambda step, steps, row: tell(name, step, row))
    minutes = trained.history[-1]["seconds"] / 60
    found = evaluate(trained.model, one.test(64 if quick else one.images), threat, suite="standard-1", out=out / name / "evaluation")
    robust, clean = (Rate(round(share * found.n), found.n) for share in (found.robust_accuracy, found.clean_accuracy))
    sheet.row(
        f"hardened: {name}, {len(y):,} training images, {recipe.epochs} epochs", found.n,
        f"robust {robust.value:.4f} ({robust.low:.4f}–{robust.high:.4f}), clean {clean.value:.4f} ({clean.low:.4f}–{clean.high:.4f}) "
        f"in {minutes:.1f} min{again}", f"standard-1, {threat}; epoch {trained.best + 1} kept; alarms: {len(trained.alarms)}",
        f"≥ {one.robust:g} robust" + (f", ≥ {one.clean:g} clean" if one.clean else "") + f", ≤ {MINUTES} min",
        robust.value >= one.robust and clean.value >= one.clean and minutes <= MINUTES,
    )  # fmt: skip


def tell(name: str, step: int, row: dict[str, float]) -> None:
    if row.get("step") == step:
        print(
            f"{name}: epoch {row['epoch'] + 1:.0f}, loss {row['loss']:.4f}, clean {row['clean']:.3f}, robust {row['robust']:.3f}, "
            f"{row['seconds'] / 60:.1f} min", flush=True,
        )  # fmt: skip


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=list(CASES))
    parser.add_argument("--out", type=Path, default=Path("runs/hardened"))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    sheet = Sheet(options.record)
    for name in options.cases:
        harden(sheet, name, CASES[name], options.out, options.quick)
    sheet.close()


if __name__ == "__main__":
    main()
