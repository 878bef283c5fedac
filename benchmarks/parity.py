"""Claim: at the same budget our attacks are as strong as the best of the peers'.

The same net, images (those it classifies right) and budget for all: PGD-40 and APGD-CE (50 steps), L∞, by the mean
robust accuracy over three seeds; Carlini–Wagner L2 and DeepFool by how often they fool and how far they move. Outputs are
judged by the plain net. Two medians are compared over the images that both tools fooled: a tool that fools only the easy
ones would otherwise look near.
Bar: robust accuracy no higher than the best peer's; for each peer, success rate no lower and median L2 no larger than
1.01 × its own.
Command: scripts/bench parity [-- --only carlini_wagner --cases cifar10_resnet20]
Runs on: cpu
"""

from __future__ import annotations

import statistics

import numpy as np
import peers
import torch
from common import Case, Sheet, arguments, case, clock, predict, right_ones, robust
from torch import Tensor

from holdfast import attacks, engine
from holdfast.core.attack import Attack
from holdfast.engine import Pieces, Samples, Setting

CASES = ("mnist_lenet5_adv", "mnist_lenet5_clean", "cifar10_resnet20")
METHODS = ("pgd", "apgd", "carlini_wagner", "deepfool")
SEARCHES, SEEDS = 9, 3
# Twenty seconds an image and more: a line search of ten asks an iteration; one image at a time, with a backward for each class.
TOO_SLOW = {("carlini_wagner", "cifar10_resnet20", "ART"), ("deepfool", "cifar10_resnet20", "torchattacks")}


def distances(one: Case, adversarial: Tensor) -> Tensor:
    """L2 from the clean image, infinite where the plain net is not fooled or the point is no image."""
    size = (adversarial - one.x).flatten(1).norm(dim=1)
    valid = ((adversarial >= -1e-6) & (adversarial <= 1 + 1e-6)).flatten(1).all(dim=1)
    return torch.where((predict(one.plain, adversarial) != one.y) & valid, size, torch.inf)


def contenders(method: str, one: Case, quick: bool) -> tuple[Attack, dict[str, peers.Peer]]:
    shape, net, steps = tuple(one.x.shape[1:]), one.plain, 60 if quick else 200
    if method == "pgd":
        step = 2.5 * one.epsilon / 40
        return attacks.pgd(one.epsilon, steps=40, step=step), peers.pgd(net, shape, one.epsilon, step, 40)
    if method == "apgd":
        return attacks.apgd(one.epsilon, steps=50), peers.apgd(net, shape, one.epsilon, 50)
    if method == "deepfool":
        attack, found = attacks.deepfool(steps=50), peers.deepfool(net, shape, 50)
    else:
        attack, found = attacks.carlini_wagner(steps=steps, searches=SEARCHES), peers.carlini_wagner(net, shape, steps, SEARCHES, 1e-3)
    return attack, {tool: peer for tool, peer in found.items() if (method, one.name, tool) not in TOO_SLOW}


def compare(sheet: Sheet, method: str, one: Case, quick: bool) -> None:
    attack, others = contenders(method, one, quick)
    n, seconds = len(one.x), {}
    outputs: dict[tuple[str, int], Tensor] = {}

    def ours(seed: int) -> None:
        outputs["ours", seed] = engine.run(attack, one.model, Samples.of(one.x, one.y), Setting(seed, pieces=Pieces())).adversarial

    def theirs(seed: int, tool: str) -> None:
        torch.manual_seed(seed)
        np.random.seed(seed)
        outputs[tool, seed] = others[tool](one.x, one.y, n)

    # A random start decides a few images either way, so attacks that have one are compared by their means over seeds.
    seeds = range(SEEDS if method in ("pgd", "apgd") and not quick else 1)
    for seed in seeds:
        seconds["ours"] = clock(lambda seed=seed: ours(seed))
        for tool in others:
            seconds[tool] = clock(lambda seed=seed, tool=tool: theirs(seed, tool))
    said = ", ".join(f"{tool} {value:.1f} s" for tool, value in seconds.items())
    print(f"  {one.name}, {attack}: {said} (not a speed claim: one run each)")
    if method in ("pgd", "apgd"):
        found = {tool: [robust(one.plain, one.x, one.y, outputs[tool, seed], one.epsilon) for seed in seeds] for tool in ("ours", *others)}
        mine = statistics.mean(found.pop("ours"))
        means = {tool: statistics.mean(values) for tool, values in found.items()}
        best = min(means, key=means.__getitem__)
        words = "robust accuracy " + ", ".join(f"{tool} {means[tool]:.4f} ({min(v):.4f}–{max(v):.4f})" for tool, v in found.items())
        value = f"robust accuracy {mine:.4f}, mean of {len(seeds)}"
        sheet.row(f"parity: {one.name}, {attack}", n, value, words, f"≤ {best}", mine <= means[best] + 1e-9)
        return
    far = {tool: distances(one, out) for (tool, _), out in outputs.items()}
    mine = far.pop("ours")
    rate, median = mine.isfinite().double().mean().item(), mine[mine.isfinite()].median().item()
    for tool, other in far.items():
        both = mine.isfinite() & other.isfinite()
        rival = other.isfinite().double().mean().item()
        near, its = (mine[both].median().item(), other[both].median().item()) if both.any() else (0.0, 1.0)
        words = f"{near / its:.4f} × {tool} on the {int(both.sum())} that both fool ({near:.4f} : {its:.4f}); it fools {rival:.4f}"
        words = words if both.any() else f"{tool} fools {rival:.4f}, none in common"
        value = f"fools {rate:.4f}, median L2 {median:.4f}"
        sheet.row(f"parity: {one.name}, {attack} against {tool}", n, value, words, "≤ 1.01 ×", near <= 1.01 * its and rate >= rival)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--only", choices=METHODS, nargs="+", default=METHODS)
    parser.add_argument("--cases", choices=CASES, nargs="+", default=CASES)
    parser.add_argument("--images", type=int, help="of each case; 500 for the L∞ attacks and 200 for the others when not given")
    options = parser.parse_args()
    sheet = Sheet(options.record)
    print(f"peers: {peers.versions()}")
    for method in options.only:
        for name in options.cases:
            n = options.images or (24 if options.quick else 500 if method in ("pgd", "apgd") else 200)
            compare(sheet, method, right_ones(case(name, n + 100), n), options.quick)
    sheet.close()


if __name__ == "__main__":
    main()
