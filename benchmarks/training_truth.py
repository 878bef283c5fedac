"""Claim: killed training loses nothing, in two processes, without batch norm, it is what it is in one, and second derivatives are right.

Killed: PGD training of a small convolutional net with batch norm on 2,000 MNIST images, with an average of the weights, in a process of its
own, killed with SIGKILL at five moments drawn over a third of the seconds that the unkilled run's steps take, counted from the first step
of each attempt, and called again each time; the final weights compared.
Two processes: fifty steps of PGD training of a group-norm net on CIFAR-10 in float64, alone and under `torchrun` on gloo; the loss
curves compared. Derivatives: what autograd says of CURE, LLR, VAT and double backprop along random ways in weight space, the inner
perturbation held fixed, against central differences with Richardson's step, in float64, on a tanh net and MNIST images.
Bar: equal weights, bit for bit; 1e-6; a relative error of 1e-6.
Command: scripts/bench training_truth
Runs on: cpu
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from common import Sheet, arguments, training_images
from nets import group_norm_net, strided
from torch import nn

from holdfast import Classifier, Linf
from holdfast.parts.objectives import divergence
from holdfast.training import Objective, Recipe, Trained, objectives, train
from holdfast.training.lesson import Lesson
from holdfast.training.objective import entropy
from holdfast.training.objectives.vat import Vat

KILLS, STEPS, BATCH = 5, 50, 16


def labels(name: str, n: int) -> torch.Tensor:
    return torch.randint(10, (n,), generator=torch.Generator().manual_seed(len(name)))


def run(name: str, out: Path | None, watch: Callable[[int, int, dict[str, float]], None] = lambda step, steps, row: None) -> Trained:
    """One of the two runs. What the labels are does not matter here."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    if name == "killed":
        x, recipe = training_images("mnist", 2000), Recipe(objectives.pgd(0.3), 3, 64, rate=0.05, average=0.99)
        return train(Classifier(strided(1, 10).eval(), 10), (x, labels(name, 2000)), recipe, Linf(0.3), 200, out, watch=watch)
    x = training_images("cifar10", STEPS * BATCH).double()
    model = Classifier(group_norm_net().double().eval(), 10)
    return train(model, (x, labels(name, len(x))), Recipe(objectives.pgd(8 / 255), 1, BATCH, rate=0.05), held=0)


def child(name: str, out: Path) -> None:
    begun = out / "begun"

    def watch(step: int, steps: int, row: dict[str, float]) -> None:
        begun.touch()

    trained = run(name, out, watch)
    torch.save((trained.model.net.state_dict(), trained.losses), out / f"done.{os.environ.get('RANK', '0')}")


def killed(sheet: Sheet, folder: Path) -> None:
    def attempt(out: Path, after: float | None) -> float | None:
        """The seconds from its first step on, None when it was killed `after` so many."""
        out.mkdir(exist_ok=True)
        (out / "begun").unlink(missing_ok=True)
        process = subprocess.Popen([sys.executable, __file__, "--child", "killed", str(out)])
        while process.poll() is None and not (out / "begun").exists():
            time.sleep(0.002)
        begin = time.monotonic()
        try:
            process.wait(after)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return None
        if process.returncode:
            sys.exit("training ended with an error")
        return time.monotonic() - begin

    whole, broken, kills = attempt(folder / "whole", None), folder / "broken", 0
    assert whole is not None
    moments = random.Random(0)
    while kills < KILLS and attempt(broken, moments.uniform(0.0, whole / 3)) is None:
        kills += 1
    attempt(broken, None)
    (one, losses), (other, again) = (torch.load(out / "done.0") for out in (folder / "whole", broken))
    same = torch.equal(losses, again) and all(torch.equal(one[name], other[name]) for name in one)
    sheet.row(
        f"training: killed {kills} times", len(losses), f"weights and losses {'equal, bit for bit' if same else 'DIFFER'}",
        f"unkilled run {whole:.1f} s", f"{KILLS} kills, bit for bit", same and kills == KILLS,
    )  # fmt: skip


def doubled(sheet: Sheet, folder: Path) -> None:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run([*launch, __file__, "--child", "doubled", str(folder)], check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    alone = run("doubled", None)
    for rank in (0, 1):
        weights, losses = torch.load(folder / f"done.{rank}")
        curve = float((losses - alone.losses).abs().max())
        apart = max(float((weights[name] - value).abs().max()) for name, value in alone.model.net.state_dict().items())
        sheet.row(
            f"training: two processes, gloo, float64, group norm, rank {rank}", len(losses), f"loss curves within {curve:.1e}",
            f"weights within {apart:.1e}", "≤ 1e-6", len(losses) == STEPS and curve <= 1e-6,
        )  # fmt: skip


def derivatives(sheet: Sheet) -> None:
    x, y = training_images("mnist", 32).double(), labels("derivatives", 32)
    tried: dict[str, Objective] = {
        "cure": objectives.cure(), "llr": objectives.llr(0.1), "vat": objectives.vat(2.0), "double_backprop": objectives.double_backprop(),
    }  # fmt: skip
    for name, objective in tried.items():
        torch.manual_seed(1)
        net = nn.Sequential(nn.Flatten(), nn.Linear(784, 24), nn.Tanh(), nn.Linear(24, 10)).double().eval()
        model, one, weights = Classifier(net, 10), Lesson.of(x, y), list(net.parameters())
        found = objective.look(model, one).detach()
        loss = objective.loss(model, one, found)
        g, worst = torch.autograd.grad(loss, weights), 0.0
        f = held(objective, model, one, found)
        for _ in range(8):
            way = [torch.randn_like(p) for p in weights]
            told = float(sum((a * d).sum() for a, d in zip(g, way, strict=True)))
            worst = max(worst, abs(told - along(f, weights, way)) / abs(told))
        sheet.row(f"training: gradient truth, {name}", 8, f"worst relative error {worst:.1e}", "", "≤ 1e-6", worst <= 1e-6)


def held(objective: Objective, model: Classifier, one: Lesson, found: torch.Tensor) -> Callable[[], torch.Tensor]:
    """The loss as a function of the weights, all that it holds fixed at its value of now: for VAT the clean answers too."""
    if not isinstance(objective, Vat):
        return lambda: objective.loss(model, one, found)
    before = model(one.x).logits.detach()
    return lambda: entropy(model(one.x).logits, one.y) + objective.weight * divergence(before, model(found).logits).mean(dim=0)


def along(f: Callable[[], torch.Tensor], weights: list[nn.Parameter], way: list[torch.Tensor], h: float = 1e-4) -> float:
    """The loss's derivative along `way`, of order h⁴ exact."""

    def at(t: float) -> float:
        with torch.no_grad():
            for p, d in zip(weights, way, strict=True):
                p.add_(t * d)
        value = float(f().detach())
        with torch.no_grad():
            for p, d in zip(weights, way, strict=True):
                p.sub_(t * d)
        return value

    coarse, fine = ((at(s) - at(-s)) / (2 * s) for s in (h, h / 2))
    return (4 * fine - coarse) / 3


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--child", nargs=2)
    options = parser.parse_args()
    if options.child:
        return child(options.child[0], Path(options.child[1]))
    sheet = Sheet(options.record)
    with tempfile.TemporaryDirectory() as folder:
        derivatives(sheet)
        for name, made in (("killed", killed), ("doubled", doubled)):
            place = Path(folder) / name
            place.mkdir()
            made(sheet, place)
    sheet.close()


if __name__ == "__main__":
    main()
