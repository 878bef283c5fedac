"""Claim: one perturbation fitted to 2,000 training images fools as many test images as ART's, or more, by either algorithm.

ResNet-20 on CIFAR-10 at L∞ 10/255 and the clean LeNet-5 on MNIST at L∞ 0.2; 2,000 test images. The fooling rate is the share of images
whose class the perturbation changes from what the net says of the clean one, judged by the plain net. `universal` and ART's
UniversalPerturbation (DeepFool inside: ten steps, ten classes) get the same images and passes (ours overshoots by half, so that one push
lasts longer); `universal_gradient` gets ten passes, which cost less than one of theirs.
Bar: both versions at least 75 % on CIFAR-10, and on both nets no lower than ART.
Command: scripts/bench universal [-- --cases cifar10_resnet20 --passes 2 --images 500 --alone]
Runs on: cpu
"""

from __future__ import annotations

import time
from collections.abc import Callable

from common import Case, Sheet, arguments, case, predict, training_images
from torch import Tensor

from holdfast.training.shared import Shared, fit, universal, universal_gradient

EPSILON = {"cifar10_resnet20": 10 / 255, "mnist_lenet5_clean": 0.2}


def fooled(one: Case, p: Tensor) -> float:
    """The share of test images whose class changes."""
    return (predict(one.plain, one.x) != predict(one.plain, (one.x + p).clamp(0, 1))).double().mean().item()


def ours(one: Case, x: Tensor, method: Shared) -> tuple[float, str]:
    begin = time.perf_counter()
    fitted = fit(method, one.model, x)
    return fooled(
        one, fitted.perturbation
    ), f"{fitted.forwards} forwards, {fitted.backwards} backwards, {time.perf_counter() - begin:.0f} s"


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--cases", default=",".join(EPSILON))
    parser.add_argument("--passes", type=int, default=2, help="of the two DeepFool versions")
    parser.add_argument("--images", type=int, default=2000, help="fitted to")
    parser.add_argument("--alone", action="store_true", help="without ART, which takes its time: one image after the other")
    given = parser.parse_args()
    sheet = Sheet(given.record)
    images, passes = (40, 1) if given.quick else (given.images, given.passes)
    for name in given.cases.split(","):
        one, epsilon = case(name, 100 if given.quick else 2000), EPSILON[name]
        x = training_images(name, images)
        rates: dict[str, float] = {}
        contenders: dict[str, Callable[[], tuple[float, str]]] = {
            "universal": lambda x=x, one=one, e=epsilon: ours(one, x, universal(e, passes=passes, until=1.0, overshoot=0.5)),
            "universal_gradient": lambda x=x, one=one, e=epsilon: ours(one, x, universal_gradient(e)),
        }
        if not given.alone:
            from peers import universal as theirs

            contenders["ART"] = lambda x=x, one=one, e=epsilon: timed(lambda: fooled(one, theirs(one.plain, x, e, passes)))
        for tool, call in reversed(contenders.items()):
            rates[tool], said = call()
            peer, high = rates.get("ART", 0.0), 0.75 if name.startswith("cifar") else 0.0
            bar = "" if tool == "ART" else f">= {max(peer, high):.1%}"
            sheet.row(
                f"universal: {tool}, {name}, fooling rate",
                len(one.x),
                f"{rates[tool]:.1%}",
                said,
                bar,
                tool == "ART" or rates[tool] >= max(peer, high),
            )
    sheet.close()


def timed(call: Callable[[], float]) -> tuple[float, str]:
    begin = time.perf_counter()
    return call(), f"{time.perf_counter() - begin:.0f} s"


if __name__ == "__main__":
    main()
