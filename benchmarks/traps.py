"""Claim: a defence that only hides the gradient does not fool the default suite.

Small nets, each behind a defence of that kind and again without it (its twin). What PGD-40 would report, run on the module
as it is, shows that the trap is one (plain noise and dropout are none: they are there for their randomness, which nobody
declared); what an attack with the twin's gradient, or the gradient averaged over draws, leaves shows that the defence is no
defence. The suite is told nothing: neither that a module draws random numbers nor where it rounds.
Bar, for each trap: robust accuracy within 3 points of the twin's under the same evaluation, or a `fail` among the checks.
A module that `evaluate` refuses misses it.
Command: scripts/bench traps [-- --only NAME --suite SUITE --cache FOLDER]
Runs on: cpu
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from common import Sheet, arguments, predict
from defended import (
    Binarised,
    Clipped,
    Dropped,
    Jpeg,
    MedianFiltered,
    Noisy,
    Probabilities,
    Quantised,
    ResizedPadded,
    Rounded,
    SafeLog,
    Saturated,
    Scaled,
    Stairs,
    StochasticRounding,
    Thermometer,
    ThroughNumpy,
    Vote,
    quantised_weights,
    small_net,
    stepped_net,
)
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from trap_nets import Nets

from holdfast import Classifier, Linf, ModelError, Result, evaluate


@dataclass(frozen=True)
class Trap:
    """A defence and its undefended twin, with images `x` `[n, c, h, w]` in [0, 1], labels, and the change that is allowed."""

    defended: nn.Module
    twin: nn.Module
    threat: Linf
    x: Tensor
    y: Tensor
    stochastic: bool
    note: str


@cache
def digits(nets: Nets, seed: int = 0) -> nn.Module:
    """The plain net on MNIST."""
    return nets.fit(f"mnist-{seed}", small_net(1, 28, 10), *nets.mnist[0], seed=seed)


@cache
def signs(nets: Nets) -> nn.Module:
    """The plain net on traffic signs."""
    return nets.fit("signs", small_net(3, 32, 43, width=32), *nets.signs[0], epochs=15)


def masked(wrap: Callable[[nn.Module], nn.Module], radius: float, note: str, stochastic: bool = False) -> Callable[[Nets], Trap]:
    """The plain MNIST net behind a defence that leaves its weights alone."""

    def build(nets: Nets) -> Trap:
        net = digits(nets)
        return Trap(wrap(net).eval(), net, Linf(radius), *nets.mnist[1], stochastic, note)

    return build


def masked_signs(wrap: Callable[[nn.Module], nn.Module], note: str) -> Callable[[Nets], Trap]:
    """The plain traffic-sign net behind a defence that leaves its weights alone, at 8/255."""

    def build(nets: Nets) -> Trap:
        net = signs(nets)
        return Trap(wrap(net).eval(), net, Linf(8 / 255), *nets.signs[1], False, note)

    return build


def distilled(nets: Nets) -> Trap:
    (x, y), test = nets.mnist
    teacher = nets.fit("teacher", small_net(1, 28, 10), x, y, epochs=5, temperature=100)
    with torch.no_grad():
        soft = torch.cat([(teacher(part) / 100).softmax(dim=1) for part in x.split(1000)])
    student = nets.fit("student", small_net(1, 28, 10), x, soft, epochs=5, temperature=100, seed=1)
    return Trap(student, Scaled(student, 1 / 100).eval(), Linf(0.2), *test, False, "trained at T = 100, used at T = 1")


def thermometer(nets: Nets) -> Trap:
    train, test = nets.mnist
    hard = nets.fit("thermometer", Thermometer(small_net(10, 28, 10)), *train)
    return Trap(hard, Thermometer(hard.net, soft=True).eval(), Linf(0.3), *test, False, "the encoding has no slope")


def saturated(nets: Nets) -> Trap:
    train, test = nets.mnist
    steep = nets.fit("saturated", Saturated(small_net(1, 28, 10), 1000, 0.2), *train)
    return Trap(steep, steep.net, Linf(0.3), *test, False, "tanh(1000 (x − 0.2)) is flat in float32")


def binarised(nets: Nets) -> Trap:
    train, test = nets.mnist
    step = nets.fit("binarised", Binarised(small_net(1, 28, 10), 0.2), *train)
    return Trap(step, step.net, Linf(0.3), *test, False, "sign(x − 0.2) has no slope; within reach of black pixels")


def winners(nets: Nets) -> Trap:
    train, test = nets.mnist
    sparse = nets.fit("winners", small_net(1, 28, 10, winners=0.05), *train)
    return Trap(sparse, digits(nets), Linf(0.2), *test, False, "jumps everywhere; the twin has ReLU and weights of its own")


def resized(nets: Nets) -> Trap:
    train, test = nets.signs
    random = nets.fit("resized", ResizedPadded(small_net(3, 32, 43, width=32), 24), *train, epochs=15)
    return Trap(random, random.net, Linf(8 / 255), *test, True, "random size and place, trained with them")


def voted(nets: Nets) -> Trap:
    five = [digits(nets, seed) for seed in range(5)]
    return Trap(Vote(five).eval(), Vote(five, soft=True).eval(), Linf(0.2), *nets.mnist[1], False, "counts of votes have no slope")


def stepped(name: str, activation: Callable[[], nn.Module], note: str) -> Callable[[Nets], Trap]:
    """A net with a hard activation after its first convolution; there is no twin, so AutoAttack's protocol on the net itself is the bar."""

    def build(nets: Nets) -> Trap:
        train, test = nets.mnist
        hard = nets.fit(name, stepped_net(activation), *train, epochs=3)
        return Trap(hard, hard, Linf(0.1), *test, False, note)

    return build


def weights_rounded(nets: Nets) -> Trap:
    net = digits(nets)
    return Trap(
        quantised_weights(net).eval(), net, Linf(0.2), *nets.mnist[1], False, "15 levels a weight: honest, and must not be called masked"
    )


TRAPS: dict[str, Callable[[Nets], Trap]] = {
    "distilled": distilled,
    "logits x 1000": masked(lambda net: Scaled(net, 1000), 0.2, "cross-entropy saturates"),
    "probabilities": masked(lambda net: Probabilities(net, 0.02), 0.2, "softmax inside, saturated"),
    "safe log": masked(lambda net: SafeLog(net, 0.1), 0.2, "log-softmax at T = 0.1 above a floor"),
    "clipped": masked(Clipped, 0.2, "constant where sure"),
    "two decimals": masked(Rounded, 0.2, "rounded probabilities have no slope"),
    "binarised": binarised,
    "quantised": masked(Quantised, 0.2, "rounded inputs have no slope"),
    "thermometer": thermometer,
    "saturated": saturated,
    "numpy bytes": masked(ThroughNumpy, 0.2, "the graph ends at numpy"),
    "median": masked(MedianFiltered, 0.2, "the graph ends at numpy"),
    "vote": voted,
    "k winners": winners,
    "sign": stepped("sign", lambda: Stairs(2), "the first activation is a sign"),
    "staircase": stepped("staircase", lambda: Stairs(8), "the first activation has eight levels"),
    "hard tanh": stepped("hardtanh", lambda: nn.Hardtanh(-0.2, 0.2), "the first activation is flat nearly everywhere"),
    "quantised weights": weights_rounded,
    "stochastic rounding": masked(StochasticRounding, 0.2, "inputs rounded up or down by chance", stochastic=True),
    "noise": masked(lambda net: Noisy(net, 0.3, 0.5), 0.2, "fresh noise: PGD sees through it, if it is let near", stochastic=True),
    "dropout": masked(lambda net: Dropped(net, 0.3), 0.2, "dropout when answering: likewise", stochastic=True),
    "noise, voted": masked(lambda net: Vote([Noisy(net, 0.3, 0.5)] * 5), 0.2, "random, and votes have no slope", stochastic=True),
    "dropout, voted": masked(lambda net: Vote([Dropped(net, 0.3)] * 5), 0.2, "random, and votes have no slope", stochastic=True),
    "JPEG, signs": masked_signs(Jpeg, "rounded coefficients have no slope"),
    "bytes, signs": masked_signs(ThroughNumpy, "the graph ends at numpy"),
    "resized, signs": resized,
}


def pgd(trap: Trap, ask: Callable[[Tensor], Tensor], steps: int, draws: int = 1) -> Tensor:
    """The last point of PGD on the cross-entropy of `ask`, its gradient summed over `draws`; no gradient is no step."""
    radius, stride = trap.threat.radius, 2.5 * trap.threat.radius / steps
    x = trap.x
    point = (x + torch.empty_like(x).uniform_(-radius, radius)).clamp(0, 1)
    for _ in range(steps):
        point.requires_grad_()
        loss = torch.stack([cross_entropy(ask(point), trap.y, reduction="sum") for _ in range(draws)]).sum()
        (g,) = torch.autograd.grad(loss, point, allow_unused=True) if loss.requires_grad else (None,)
        moved = point.detach() if g is None else point.detach() + stride * g.nan_to_num().sign()
        point = (x + (moved - x).clamp(-radius, radius)).clamp(0, 1)
    return point


def knowing(trap: Trap) -> float:
    """The accuracy left by whoever knows the trap: the best of the twin's own examples, of the twin's gradient at the module's answer
    (BPDA), and of the module's gradient averaged over draws where it is random."""

    def straight(x: Tensor) -> Tensor:
        like = trap.twin(x)
        return like + (trap.defended(x) - like).detach()

    points = [pgd(trap, trap.twin, 40), pgd(trap, straight, 40)]
    if trap.stochastic:
        points.append(pgd(trap, trap.defended, 40, draws=4))
    held = torch.ones(len(trap.y), dtype=torch.bool)
    for point in points:
        right = [predict(trap.defended, point) == trap.y for _ in range(20 if trap.stochastic else 1)]
        held &= torch.stack(right).double().mean(dim=0) > 0.5
    return held.double().mean().item()


def accuracy(net: nn.Module, x: Tensor, y: Tensor) -> float:
    return (predict(net, x) == y).double().mean().item()


def measured(net: nn.Module, trap: Trap, suite: str | None) -> Result | Exception:
    """What the suite says of `net`, or why it refuses it."""
    classes = trap.twin(trap.x[:1]).shape[1]
    try:
        return evaluate(Classifier(net, classes=classes, bounds=(0, 1)), (trap.x, trap.y), trap.threat, suite=suite, seed=0)
    except (ModelError, RuntimeError) as error:  # what it does not foresee is a refusal too, said as such
        return error


def judge(sheet: Sheet, name: str, trap: Trap, suite: str | None, twins: dict[tuple[nn.Module, Linf], Result | Exception]) -> None:
    """One row; `twins` remembers what the suite said of a twin that several traps share."""
    defended, twin = trap.defended, trap.twin
    torch.manual_seed(0)
    naive = [accuracy(net, pgd(trap, net, 40), trap.y) for net in (defended, twin)]
    clean = [accuracy(net, trap.x, trap.y) for net in (defended, twin)]
    print(
        f"  {name} ({trap.note}; {trap.threat}): clean {clean[0]:.2f}, twin {clean[1]:.2f}; "
        f"PGD-40 would report {naive[0]:.2f}, on the twin {naive[1]:.2f}; who knows the trap leaves {knowing(trap):.2f}"
    )
    if (twin, trap.threat) not in twins:
        twins[twin, trap.threat] = measured(twin, trap, "autoattack" if twin is defended else suite)
    theirs, ours = twins[twin, trap.threat], measured(defended, trap, suite)
    assert isinstance(theirs, Result), theirs
    bar = "within 3 points of the twin, or a failed check"
    beside = f"{'AutoAttack' if twin is defended else 'twin'} {theirs.robust_accuracy:.2f}, PGD-40 {naive[0]:.2f}"
    if isinstance(ours, Exception):
        print(f"    {type(ours).__name__}: {ours}")
        sheet.row(f"traps: {name}", len(trap.x), "refused", beside, bar, False)
        return
    failed = [check.name for check in ours.checks if check.status == "fail"]
    for check in ours.checks:
        if check.status in ("warn", "fail"):
            print(f"    {check.name} {check.status}: {check.evidence}; {check.remedy}")
    value = f"robust accuracy {ours.robust_accuracy:.2f}; failed: {', '.join(failed) or 'none'}; {ours.seconds:.1f} s"
    met = bool(failed) or ours.robust_accuracy <= theirs.robust_accuracy + 0.03
    sheet.row(f"traps: {name}", len(trap.x), value, beside, bar, met)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--only", nargs="*", choices=list(TRAPS), default=list(TRAPS), metavar="NAME", help=", ".join(TRAPS))
    parser.add_argument("--suite", help="by default the library's own choice")
    parser.add_argument("--cache", type=Path, help="keep the trained nets here (by default they are trained anew)")
    options = parser.parse_args()
    sheet = Sheet(options.record)
    with tempfile.TemporaryDirectory(prefix="holdfast-traps-") as folder:
        nets = Nets(options.cache or Path(folder), 20 if options.quick else 100)
        twins: dict[tuple[nn.Module, Linf], Result | Exception] = {}
        for name in options.only:
            judge(sheet, name, TRAPS[name](nets), options.suite, twins)
    sheet.close()


if __name__ == "__main__":
    main()
