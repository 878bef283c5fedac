"""Claim: adversarial training costs at most a twentieth more here than in a loop written by hand, and less than in the peers.

PGD-7 training and TRADES-10 of a PreAct-ResNet-18 (width 32) on CIFAR-10 images, float32, ε = 8/255, without augmentation: images a second
through `train`'s own loop, in a bare loop with the same forwards, backwards and modes (in the default layout, and in the one `train`
chooses), and, as one would call it for speed, against ART's trainers and a loop around torchattacks, each as it comes, in float32: with
`precision="bf16-mixed"` and attacks that ask a copy in bfloat16 where there are units for it (what robustness that leaves PGD training,
`objectives` says), else with attacks that ask a copy whose norms are folded. ART's TRADES ascends on the cross-entropy; both peers' start
as theirs do. On the CPU seconds are those of the process, for the machine may have other work.
Bar: ≥ 0.95 × the bare loop of the same layout; ≥ 3 × ART and torchattacks.
Command: scripts/bench training        (CPU)
         scripts/bench --gpu training  (CUDA)
Runs on: cpu gpu
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, NamedTuple, get_args

import numpy as np
import torch
import torchattacks
from art.attacks.evasion import ProjectedGradientDescent
from art.defences.trainer import AdversarialTrainer, AdversarialTrainerTRADESPyTorch
from art.estimators.classification import PyTorchClassifier
from common import Sheet, arguments, cifar10, interleaved, paired
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div, log_softmax, softmax

from holdfast import Classifier
from holdfast.models import preact_resnet18
from holdfast.training import Recipe, objectives, train
from holdfast.training.search import Search

EPSILON, RATE, BETA = 8 / 255, 0.01, 6.0
STEPS = {"PGD-7": 7, "TRADES-10": 10}


class Quick(NamedTuple):
    """What a recipe says for speed."""

    search: Search = "own"
    precision: str | None = None

    def __str__(self) -> str:
        return f"precision {self.precision or 'float32'}, search {self.search}"


PLAIN = Quick()

logging.getLogger("art").setLevel(logging.ERROR)
logging.getLogger("lightning_fabric").setLevel(logging.ERROR)


def net(device: str) -> nn.Module:
    torch.manual_seed(0)
    return preact_resnet18(width=32).to(device)


def sgd(one: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(one.parameters(), RATE, 0.9, weight_decay=5e-4, nesterov=True)


def divergence(near: Tensor, clean: Tensor, reduction: str) -> Tensor:
    return kl_div(log_softmax(near, dim=1), softmax(clean, dim=1), reduction=reduction)


def found(one: nn.Module, x: Tensor, y: Tensor, name: str) -> Tensor:
    """Where the ascent of that objective leads, the net in eval mode."""
    one.eval()
    step = 2.5 * EPSILON / STEPS[name]
    if name == "PGD-7":
        point = (x + torch.empty_like(x).uniform_(-EPSILON, EPSILON)).clamp_(0, 1)
    else:
        with torch.no_grad():
            point, clean = (x + 0.001 * torch.randn_like(x)).clamp_(0, 1), one(x)
    for _ in range(STEPS[name]):
        point.requires_grad_()
        logits = one(point)
        loss = cross_entropy(logits, y, reduction="sum") if name == "PGD-7" else divergence(logits, clean, "sum")
        (g,) = torch.autograd.grad(loss, point)
        with torch.no_grad():
            point = (x + (point + step * g.sign() - x).clamp_(-EPSILON, EPSILON)).clamp_(0, 1)
    return point.detach()


def looped(one: nn.Module, x: Tensor, y: Tensor, batch: int, name: str, find: Callable[..., Tensor]) -> None:
    """One epoch by hand: `find` finds the inputs, and the net learns from them in training mode."""
    optimiser = sgd(one)
    for rows in torch.randperm(len(x), device=x.device).split(batch):
        clean, label = x[rows], y[rows]
        near = find(one, clean, label, name)
        one.train()
        if name == "PGD-7":
            loss = cross_entropy(one(near), label)
        else:
            before = one(clean)
            loss = cross_entropy(before, label) + BETA * divergence(one(near), before, "batchmean")
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def ours(one: nn.Module, x: Tensor, y: Tensor, batch: int, name: str, quick: Quick = PLAIN) -> None:
    objective = objectives.pgd(EPSILON, 7) if name == "PGD-7" else objectives.trades(EPSILON, BETA, 10)
    recipe = Recipe(objective, 1, batch, rate=RATE, schedule="constant", search=quick.search, precision=quick.precision)
    train(Classifier(one.eval(), 10), (x, y), recipe, held=0)


def layout(one: nn.Module) -> torch.memory_format:
    """How the net's weights lie after `train` has had it."""
    weight = next(p for p in one.parameters() if p.ndim == 4 and p.shape[1] > 1 and p.shape[2] > 1)
    return torch.contiguous_format if weight.is_contiguous() else torch.channels_last


class Listed(nn.Module):
    """A net that answers with a list, as ART's TRADES expects of the module inside its classifier."""

    def __init__(self, one: nn.Module) -> None:
        super().__init__()
        self.one = one

    def forward(self, x: Tensor) -> list[Tensor]:
        return [self.one(x)]


def art(one: nn.Module, x: Tensor, y: Tensor, batch: int, name: str) -> None:
    estimator = PyTorchClassifier(
        one, nn.CrossEntropyLoss(), tuple(x.shape[1:]), 10, sgd(one), clip_values=(0.0, 1.0),
        device_type="gpu" if x.is_cuda else "cpu",
    )  # fmt: skip
    steps = STEPS[name]
    attack = ProjectedGradientDescent(
        estimator, np.inf, EPSILON, 2.5 * EPSILON / steps, max_iter=steps, num_random_init=1, batch_size=batch, verbose=False
    )
    inputs, labels = x.cpu().numpy(), np.eye(10, dtype=np.float32)[y.cpu().numpy()]
    trainer: Any = (
        AdversarialTrainer(estimator, attack, ratio=1.0) if name == "PGD-7" else AdversarialTrainerTRADESPyTorch(estimator, attack, BETA)
    )
    trainer.fit(inputs, labels, batch_size=batch, nb_epochs=1)


def torchattacked(one: nn.Module, x: Tensor, y: Tensor, name: str) -> Tensor:
    steps = STEPS[name]
    kind = torchattacks.PGD if name == "PGD-7" else torchattacks.TPGD
    return kind(one, EPSILON, 2.5 * EPSILON / steps, steps)(x, y)  # of TRADES' it takes the labels, but reads none


def compare(sheet: Sheet, name: str, device: str, batch: int, steps: int, rounds: int, quick: Quick) -> None:
    n = batch * max(1, steps // rounds)
    pixels, labels = cifar10(2000)
    rows = torch.arange(n) % 2000
    x, y = (pixels[rows].float() / 255).to(device), labels[rows].to(device)
    mine = net(device)
    ours(mine, x[:batch], y[:batch], batch, name)
    chosen = layout(mine)
    nets = {label: net(device) for label in ("quick", "bare", "bare, chosen layout", "ART", "torchattacks")}
    nets["bare, chosen layout"].to(memory_format=chosen)  # type: ignore[call-overload]
    arranged = x.contiguous(memory_format=chosen)
    calls: dict[str, Callable[[], object]] = {
        "ours": lambda: ours(mine, x, y, batch, name),
        "quick": lambda: ours(nets["quick"], x, y, batch, name, quick),
        "bare, chosen layout": lambda: looped(nets["bare, chosen layout"], arranged, y, batch, name, found),
        "bare": lambda: looped(nets["bare"], x, y, batch, name, found),
        "ART": lambda: art(nets["ART"], x, y, batch, name),
        "torchattacks": lambda: looped(nets["torchattacks"], x, y, batch, name, torchattacked),
    }
    seconds = interleaved(calls, rounds, timer=time.perf_counter if device != "cpu" else time.process_time)
    speed = {label: n * len(each) / sum(each) for label, each in seconds.items()}
    peers = ("ART", "torchattacks")
    contests = [("ours", "bare, chosen layout", 0.95), ("ours", "bare", None), *(("ours", peer, None) for peer in peers)]
    contests += [("quick", peer, 3.0) for peer in peers]
    for mode, label, bar in contests:
        ratio = paired(seconds[label], seconds[mode])
        words = (
            f"training: {name}, PreAct-ResNet-18 (width 32), batch {batch}, {chosen}, {PLAIN if mode == 'ours' else quick}, against {label}"
        )
        words = words.replace("torch.", "")
        said = f"{ratio:.2f} × {label} ({speed[label]:.4g} images/s)"
        value = f"{speed[mode]:.4g} images/s"
        sheet.row(words, n * rounds, value, said, f"≥ {bar:g}" if bar else "", bar is None or ratio >= bar)


def quickest(device: str) -> Quick:
    """Low precision where there are units for it."""
    low = device != "cpu" or torch.cpu._is_avx512_bf16_supported()
    return Quick("bfloat16", "bf16-mixed") if low else Quick("folded")


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--objectives", nargs="*", default=list(STEPS), choices=list(STEPS))
    parser.add_argument("--search", choices=get_args(Search), help="what attacks ask against the peers, in float32")
    options = parser.parse_args()
    if options.quick:
        options.steps, options.batch, options.rounds = 2, 8, 2
    sheet = Sheet(options.record, "cuda" if options.gpu else "cpu")
    quick = Quick(options.search) if options.search else quickest(sheet.device)
    for name in options.objectives:
        compare(sheet, name, sheet.device, options.batch, options.steps, options.rounds, quick)
    sheet.close()


if __name__ == "__main__":
    main()
