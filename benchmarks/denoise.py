"""Claim: four denoising blocks cost at most half as much again as the bare net, at 32×32 in a PreAct-ResNet-18 of width 32.

Bar: ratio ≤ 1.50 for every operation, both for answers (forward) and for an attack's step (forward, and backward to the input), blocks
after each of the four stages. All nets are asked in turn, in every round; the images are CIFAR-10's.
Command: scripts/bench denoise        (CPU)
         scripts/bench --gpu denoise  (CUDA, larger batches)
Runs on: cpu gpu
"""

from __future__ import annotations

import torch
from common import Sheet, arguments, cifar10, interleaved, paired, span
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from holdfast.defences.layers import OPERATIONS, Denoise, place
from holdfast.models import preact_resnet18

BAR = 1.50


def answer(net: nn.Module, x: Tensor) -> None:
    with torch.no_grad():
        net(x)


def step(net: nn.Module, x: Tensor, y: Tensor) -> None:
    point = x.clone().requires_grad_()
    torch.autograd.grad(cross_entropy(net(point), y, reduction="sum"), point)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    device = "cuda" if options.gpu else "cpu"
    sheet = Sheet(options.record, device)
    torch.manual_seed(0)
    n = 8 if options.quick else 1024 if options.gpu else 64
    images, y = cifar10(n)
    x, y = images.float().to(device) / 255, y.to(device)
    bare = preact_resnet18(width=8 if options.quick else 32).eval().to(device).requires_grad_(False)
    nets: dict[str, nn.Module] = {"bare": bare}
    for name in OPERATIONS:
        net = place(bare, "layer?", lambda channels, name=name: Denoise(channels, name), x[:1]).requires_grad_(False)
        for block in net.modules():
            if isinstance(block, Denoise):
                nn.init.ones_(block.bn.weight)  # γ = 0 would be the same work, but on zeros
        nets[name] = net
    works = {"answers": answer, "an attack's step": lambda net, x: step(net, x, y)}
    for work, call in works.items():
        seconds = interleaved({name: lambda net=net, call=call: call(net, x) for name, net in nets.items()}, options.rounds)
        for name in OPERATIONS:
            ratio = paired(seconds[name], seconds["bare"])
            words = f"denoise: {work}, PreAct-ResNet-18 (width 32) with 4 blocks of {name}"
            said = f"{ratio:.3f} × bare net ({span(seconds['bare'])})"
            sheet.row(words, n, span(seconds[name]), said, f"≤ {BAR:.2f}", ratio <= BAR)
    sheet.close()


if __name__ == "__main__":
    main()
