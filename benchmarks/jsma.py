"""Claim: JSMA runs batched, with two gradients a step however many classes, and changes no more features than the peers' image by image.

The nets: LeNet-5 on MNIST and ResNet-20 on CIFAR-10 (10 classes), a strided net on traffic signs (43 classes). All tools raise pairs of
features by θ = 1 toward the class after the label (modulo 10 for torchattacks' sake), until γ = 10 % are changed. Outputs are judged
by the plain net; the numbers of changed features are compared over the images that both tools fooled. A batch of 200 for us and
for ART, whose map is another (the two largest gradients of the target's logit, without the others'), and which we meet with features moved
both ways, at as many gradients and forwards a step; torchattacks goes image by image with a gradient for each
class and a table of all pairs, so it gets the first images only.
Processor seconds, in one thread, so that a busy machine matters little.
Bar: 20 times torchattacks' images a second; against both, success rate no lower and mean number of changed features no larger.
Command: scripts/bench jsma [-- --cases mnist_lenet5_clean --images 200 --peer-images 20]
Runs on: cpu
"""

from __future__ import annotations

import logging
import time

import numpy as np
import torch
import torchattacks
from art.attacks.evasion import SaliencyMapMethod
from art.estimators.classification import PyTorchClassifier
from common import Sheet, arguments, clock, predict
from torch import Tensor, nn

from holdfast import attacks, engine
from holdfast.attacks.jsma import Direction
from holdfast.engine import Pieces, Samples, Setting
from reference import NETS, Net

CASES = ("mnist_lenet5_clean", "gtsrb_strided_linf", "cifar10_resnet20")
GAMMA = 0.1

logging.getLogger("art").setLevel(logging.ERROR)


def ours(net: Net, x: Tensor, y: Tensor, target: Tensor, direction: Direction) -> Tensor:
    attack = attacks.jsma(gamma=GAMMA, targeted=True, direction=direction)
    return engine.run(attack, net.model(), Samples.of(x, y, target=target), Setting(pieces=Pieces())).adversarial


def theirs(plain: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """torchattacks; its own choice of target is (label + 1) mod 10. It writes into what it is given."""
    attack = torchattacks.JSMA(plain, theta=1.0, gamma=GAMMA)
    attack.set_model_training_mode(model_training=False, batchnorm_training=False, dropout_training=False)
    return attack(x.clone(), y).detach()


def arts(plain: nn.Module, x: Tensor, target: Tensor, classes: int) -> Tensor:
    shape = tuple(x.shape[1:])
    estimator = PyTorchClassifier(plain, nn.CrossEntropyLoss(), shape, classes, clip_values=(0.0, 1.0), device_type="cpu")
    attack = SaliencyMapMethod(estimator, theta=1.0, gamma=GAMMA, batch_size=len(x), verbose=False)
    return torch.from_numpy(np.asarray(attack.generate(x.numpy(), target.numpy())))


def changed(plain: nn.Module, x: Tensor, adversarial: Tensor, target: Tensor) -> Tensor:
    """How many features differ, infinite where the plain net does not answer the target, the point is no image, or more than γ of its
    features differ (torchattacks changes a pair more)."""
    count = ((adversarial - x).abs() > 1e-6).flatten(1).sum(dim=1).double()
    valid = ((adversarial >= -1e-6) & (adversarial <= 1 + 1e-6)).flatten(1).all(dim=1)
    allowed = valid & (count <= GAMMA * x[0].numel())
    return torch.where((predict(plain, adversarial) == target) & allowed, count, torch.inf)


def compare(sheet: Sheet, name: str, images: int, few: int) -> None:
    net = NETS[name]
    plain = net.plain()
    x, y = net.images(images + 100)
    right = (predict(plain, x) == y).nonzero().squeeze(1)[:images]
    x, y = x[right], y[right]
    target = (y + 1) % 10
    n, found = len(x), {}
    seconds = {
        "increase": clock(lambda: found.update(increase=ours(net, x, y, target, "increase")), time.process_time) / n,
        "both": clock(lambda: found.update(both=ours(net, x, y, target, "both")), time.process_time) / n,
        "ART": clock(lambda: found.update(ART=arts(plain, x, target, net.classes)), time.process_time) / n,
        "torchattacks": clock(lambda: found.update(torchattacks=theirs(plain, x[:few], y[:few])), time.process_time) / few,
    }
    for tool, way in (("torchattacks", "increase"), ("ART", "both")):
        mine = changed(plain, x, found[way], target)
        its = changed(plain, x[: len(found[tool])], found[tool], target[: len(found[tool])])
        own = mine[: len(its)]
        both = own.isfinite() & its.isfinite()
        rates = own.isfinite().double().mean().item(), its.isfinite().double().mean().item()
        means = (own[both].mean().item(), its[both].mean().item()) if both.any() else (0.0, 1.0)
        value = f"reaches {rates[0]:.3f}, {means[0]:.1f} features; {tool} {rates[1]:.3f}, {means[1]:.1f} on the {int(both.sum())} of both"
        ratio, bar = seconds[tool] / seconds[way], 20 if tool == "torchattacks" else 1
        words = f"{ratio:.1f} × {tool}'s images a second ({1 / seconds[way]:.2f} : {1 / seconds[tool]:.2f})"
        met = rates[0] >= rates[1] and means[0] <= means[1] and ratio >= bar
        sheet.row(f"jsma: {name}, {way}, against {tool}", n, value, words, f"≥ {bar} ×, no more features", met)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--cases", choices=CASES, nargs="+", default=CASES)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--peer-images", type=int, default=20, help="how many torchattacks gets")
    options = parser.parse_args()
    torch.set_num_threads(1)
    sheet = Sheet(options.record)
    for name in options.cases:
        compare(sheet, name, 24 if options.quick else options.images, 3 if options.quick else options.peer_images)
    sheet.close()


if __name__ == "__main__":
    main()
