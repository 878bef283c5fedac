"""Claim: our minimum-norm and sparse attacks find points as near as the best peer's, with no more queries, and sooner.

The same images (those the net classifies right) and budget for all; nets and images of `reference`. A tool's forwards and backwards are
counted by a net that counts; its outputs are judged by the plain net: a point that does not fool it, or is no image, is infinitely far,
and medians are over all images. For L0 a value that moved by 1e-5 or less is put back first, for every tool. EN is β‖d‖₁ + ‖d‖₂².
A peer that would take longer than `--minutes` gets fewer images, and ours is compared on those. `--cache DIR` keeps the peers' outputs.
Bar: median ≤ 1.01 × each peer's, success rate no lower. The ratio's interval (95 %, images drawn again) is stated.
`--time`: processor seconds an image in one thread (so that a busy machine matters little), the contenders in turn: ours on the model
itself with the peer's batch, and on the replica that `engine.choose` picks (outside the time). Bar: the former at most a third of the
time of a peer that goes image by image or class by class, at most 1.1 × that of a bare loop over a batch; the latter below all.
L-BFGS is not here: no peer has it.
Command: scripts/bench minimum_norm [-- --only fmn_l0 --cases cifar10_resnet20 --images 50 --cache DIR --time]
Runs on: cpu
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from math import inf
from pathlib import Path

import numpy as np
import peers
import torch
from common import Case, Sheet, arguments, clock, interleaved, predict, right_ones
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from holdfast import Classifier, engine
from holdfast.attacks.short import ENTRIES, parse
from holdfast.engine import Pieces, Samples, Setting
from reference import NETS, Counted

CASES = ("mnist_lenet5_clean", "mnist_strided_l2", "cifar10_resnet20")
BATCH, BETA, TIMED, ROUNDS = 125, 0.01, 128, 3


@dataclass(frozen=True)
class Bout:
    """One method at one budget: the short form of ours, the measure of distance, the makers of the peers.

    `loops`: whether the peers but ART are bare loops over a batch; `targeted`: at the class after the label; `most`: the share of features
    that may change (torchattacks' JSMA changes a pair more than it is told).
    """

    ours: str
    distance: str
    others: partial[dict[str, peers.Peer]]
    loops: bool = True
    targeted: bool = False
    most: float = 1.0


BOUTS = {
    "ddn": Bout("ddn(steps=100)", "L2", partial(peers.ddn, steps=100)),
    "fmn_l0": Bout("fmn(L0(inf), steps=100)", "L0", partial(peers.fmn, steps=100, norm=0)),
    "fmn_l1": Bout("fmn(L1(inf), steps=100)", "L1", partial(peers.fmn, steps=100, norm=1)),
    "fmn_l2": Bout("fmn(L2(inf), steps=100)", "L2", partial(peers.fmn, steps=100, norm=2)),
    "fmn_linf": Bout("fmn(Linf(inf), steps=100)", "Linf", partial(peers.fmn, steps=100, norm=inf)),
    "sigma_zero": Bout("sigma_zero(steps=100)", "L0", partial(peers.sigma_zero, steps=100)),
    "ead_l1": Bout("ead(steps=60, searches=6, decision='l1')", "L1", partial(peers.ead, steps=60, searches=6, beta=BETA, rule="L1")),
    "ead_en": Bout("ead(steps=60, searches=6, decision='en')", "EN", partial(peers.ead, steps=60, searches=6, beta=BETA, rule="EN")),
    "deepfool_l2": Bout("deepfool(L2(inf), steps=50)", "L2", partial(peers.deepfool, steps=50, norm=2), loops=False),
    "deepfool_linf": Bout("deepfool(Linf(inf), steps=50)", "Linf", partial(peers.deepfool, steps=50, norm=inf), loops=False),
    "carlini_wagner": Bout(
        "carlini_wagner(steps=100, searches=6, initial=1.0, rate=0.1)",
        "L2",
        partial(peers.carlini_wagner, steps=100, searches=6, initial=1.0, rate=0.1),
    ),
    "carlini_wagner_l0": Bout("carlini_wagner_l0(steps=50)", "L0", partial(peers.carlini_wagner_l0, steps=200, searches=9)),
    "carlini_wagner_linf": Bout("carlini_wagner_linf(steps=50)", "Linf", partial(peers.carlini_wagner_linf, steps=50)),
    "fab_l1": Bout("fab(L1(inf), steps=30)", "L1", partial(peers.fab, steps=30, norm=1), loops=False),
    "fab_l2": Bout("fab(L2(inf), steps=30)", "L2", partial(peers.fab, steps=30, norm=2), loops=False),
    "fab_linf": Bout("fab(Linf(inf), steps=30)", "Linf", partial(peers.fab, steps=30, norm=inf), loops=False),
    "jsma": Bout(
        "jsma(theta=1.0, gamma=0.1, targeted=True)", "L0", partial(peers.jsma, theta=1.0, gamma=0.1), loops=False, targeted=True, most=0.1
    ),
}


@dataclass(frozen=True)
class Found:
    """A tool's outputs on the first `len` images, its forwards, backwards and seconds an image."""

    adversarial: Tensor
    forwards: float
    backwards: float
    seconds: float

    def __len__(self) -> int:
        return len(self.adversarial)

    def asked(self) -> str:
        return f"{self.forwards:.0f} forwards, {self.backwards:.0f} backwards"


def measured(one: Case, attack: Callable[[nn.Module], Tensor]) -> Found:
    net, outputs = Counted(one.plain).eval(), []
    seconds = clock(lambda: outputs.append(attack(net)), time.process_time)
    n = len(outputs[0])
    return Found(outputs[0].contiguous(), net.forwards / n, net.backwards / n, seconds / n)


def images(one: Case, n: int) -> Case:
    return replace(one, x=one.x[:n], y=one.y[:n])


def ours(bout: Bout, one: Case, net: nn.Module) -> Tensor:
    return run(bout, one, Classifier(net, 10), Setting(pieces=Pieces(BATCH)))


def run(bout: Bout, one: Case, model: Classifier, setting: Setting, search: Classifier | None = None) -> Tensor:
    samples = Samples.of(one.x, one.y, target=(one.y + 1) % 10 if bout.targeted else None)
    return engine.run(parse(bout.ours), model, samples, setting, search=search).adversarial


def rivals(bout: Bout, one: Case, tools: list[str]) -> list[str]:
    return [tool for tool in bout.others(one.plain, tuple(one.x.shape[1:])) if tool in tools]


def theirs(bout: Bout, one: Case, tool: str, net: nn.Module, batch: int = BATCH) -> Tensor:
    torch.manual_seed(0)
    np.random.seed(0)
    return bout.others(net, tuple(one.x.shape[1:]))[tool](one.x, one.y, batch)


def affordable(bout: Bout, one: Case, tool: str, seconds: float, sizes: tuple[int, ...]) -> int:
    """The most of `sizes` images that a peer gets through in the time, by what eight take it; 0 for none."""
    if seconds == inf:
        return len(one.x)
    few = images(one, 8)
    each = clock(lambda: theirs(bout, few, tool, one.plain), time.process_time) / len(few.x)
    return max((n for n in sizes if n <= len(one.x) and n * each <= seconds), default=0)


def peer(name: str, bout: Bout, one: Case, tool: str, minutes: float, cache: Path | None) -> Found | None:
    """What a peer finds on as many images as it gets through, or found when its outputs were kept; None where it is too slow."""
    budget = "-".join(f"{word}={value}" for word, value in bout.others.keywords.items())
    stem = f"{one.name}-{name}-{budget}-{tool}-{version(peers.PACKAGES[tool])}"
    kept = {int(file.stem.rpartition("-")[2]): file for file in cache.glob(f"{stem}-*.safetensors")} if cache else {}
    n = max((n for n in kept if n <= len(one.x)), default=0)
    if n < len(one.x) and minutes:
        n = max(n, affordable(bout, one, tool, minutes * 60, (16, 32, 50, 100, 200, len(one.x))))
    if n in kept:
        held = load_file(str(kept[n]))
        return Found(held["adversarial"], *held["costs"].tolist())
    if n == 0:
        return None
    found = measured(images(one, n), lambda net: theirs(bout, images(one, n), tool, net))
    if cache:
        cache.mkdir(parents=True, exist_ok=True)
        costs = torch.tensor([found.forwards, found.backwards, found.seconds], dtype=torch.float64)
        save_file({"adversarial": found.adversarial, "costs": costs}, str(cache / f"{stem}-{n}.safetensors"))
    return found


def sizes(distance: str, change: Tensor) -> Tensor:
    flat = change.flatten(1).double()
    if distance == "EN":
        return BETA * flat.abs().sum(dim=1) + flat.square().sum(dim=1)
    return torch.linalg.vector_norm(flat, float(distance.removeprefix("L")), dim=1)


def distances(bout: Bout, one: Case, adversarial: Tensor) -> Tensor:
    """How far each output lies, infinitely where the plain net is not fooled or the point is no image."""
    if bout.distance == "L0":
        adversarial = torch.where((adversarial - one.x).abs() <= 1e-5, one.x, adversarial)
    valid = ((adversarial >= -1e-6) & (adversarial <= 1 + 1e-6)).flatten(1).all(dim=1)
    answer = predict(one.plain, adversarial)
    fooled = answer == (one.y + 1) % 10 if bout.targeted else answer != one.y
    allowed = (adversarial != one.x).flatten(1).sum(dim=1) <= bout.most * one.x[0].numel()
    return torch.where(fooled & valid & allowed, sizes(bout.distance, adversarial - one.x), inf)


def interval(far: Tensor, its: Tensor, draws: int = 2000) -> str:
    """The middle 95 % of the ratio of the two medians over images drawn again: with few images, or on a net whose gradients lead hither and
    thither, tools with the same algorithm differ by more than the bar."""
    index = torch.randint(len(far), (draws, len(far)), generator=torch.Generator().manual_seed(0))
    ratios = far[index].median(dim=1).values / its[index].median(dim=1).values
    low, high = ratios.nan_to_num(nan=1.0, posinf=inf).sort().values[[draws // 40, -(draws // 40) - 1]].tolist()
    return f"{low:.3f}–{high:.3f}"


def strength(sheet: Sheet, name: str, one: Case, tools: list[str], minutes: float, cache: Path | None) -> None:
    bout = BOUTS[name]
    known = bout.ours.partition("(")[0] in ENTRIES
    mine = measured(one, lambda net: ours(bout, one, net)) if known else None
    for tool in rivals(bout, one, tools):
        found = peer(name, bout, one, tool, minutes, cache)
        if found is None:
            print(f"  {one.name}, {name}: {tool} is too slow for {minutes:g} minutes", flush=True)
            continue
        few = images(one, len(found))
        its = distances(bout, few, found.adversarial)
        rival, its_rate = statistics.median(its.tolist()), its.isfinite().double().mean().item()
        words = f"{rival:.4f}, it fools {its_rate:.3f}; {found.asked()}; {found.seconds * 1000:.0f} ms an image"
        if mine is None:
            print(f"  {one.name}, {name}, {tool}, {len(found)} images: {words} (ours is not there yet)", flush=True)
            continue
        far = distances(bout, few, mine.adversarial[: len(found)])
        median, rate = statistics.median(far.tolist()), far.isfinite().double().mean().item()
        value = f"median {bout.distance} {median:.4f}, fools {rate:.3f}; {mine.asked()}; {mine.seconds * 1000:.0f} ms an image"
        ratio = f"{median / rival:.4f} ({interval(far, its)}) × " if rival < inf and rival else ""
        nearer = f"nearer on {(far < its).double().mean():.2f}, farther on {(far > its).double().mean():.2f}"
        met = median <= 1.01 * rival and rate >= its_rate
        sheet.row(
            f"minimum norm: {one.name}, {bout.ours} against {tool}",
            len(found),
            value,
            f"{ratio}{tool} ({words}); {nearer}",
            "≤ 1.01 ×",
            met,
        )


def race(sheet: Sheet, name: str, one: Case, tools: list[str], seconds: float) -> None:
    """Seconds an image of ours and of each peer, each on as many images as it gets through in the time."""
    bout = BOUTS[name]
    if bout.ours.partition("(")[0] not in ENTRIES:
        print(f"  {one.name}, {name}: ours is not there yet")
        return
    choices: list[engine.Choice] = []
    chosen = clock(lambda: choices.append(engine.choose(one.model, one.x[:32])), time.process_time)
    choice = replace(choices[0], dtype=None)
    search = engine.replica(one.model, choice)
    calls: dict[str, Callable[[], object]] = {
        "ours": partial(run, bout, one, one.model, Setting(pieces=Pieces(len(one.x)))),
        "ours, replica": partial(run, bout, one, one.model, Setting(pieces=choice.pieces), search),
    }
    counts = dict.fromkeys(calls, len(one.x))
    for tool in rivals(bout, one, tools):
        n = affordable(bout, one, tool, seconds, (8, 16, 32, 64, len(one.x)))
        if n == 0:
            print(f"  {one.name}, {name}: {tool} is too slow for {seconds:g} seconds")
            continue
        counts[tool] = n
        calls[tool] = partial(theirs, bout, images(one, n), tool, one.plain, n)
    run(bout, images(one, 8), one.model, Setting())
    taken = {tool: statistics.median(each) / counts[tool] for tool, each in interleaved(calls, ROUNDS, False, time.process_time).items()}
    plain, quick = taken.pop("ours"), taken.pop("ours, replica")
    value = f"{plain * 1000:.2f} ms an image; {quick * 1000:.2f} on the replica ({choice.form}, {choice.pieces}, chosen in {chosen:.1f} s)"
    for tool, its in taken.items():
        most = 1.1 if bout.loops and tool != "ART" else 1 / 3
        words = f"{plain / its:.2f} × {tool} ({its * 1000:.2f} ms, on {counts[tool]}), {quick / its:.2f} × on the replica"
        label = f"minimum norm: time, {one.name}, {bout.ours} against {tool}"
        sheet.row(label, len(one.x), value, words, f"≤ {most:.2f} ×, < 1 × on the replica", plain <= most * its and quick < its)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--only", choices=BOUTS, nargs="+", default=list(BOUTS))
    parser.add_argument("--cases", choices=[name for name, net in NETS.items() if net.classes == 10], nargs="+", default=CASES)
    parser.add_argument("--images", type=int, help="500, or 128 with --time, when not given")
    parser.add_argument("--minutes", type=float, default=10, help="for each peer; 0: only what is cached; inf: whatever it takes")
    parser.add_argument("--tools", choices=peers.PACKAGES, nargs="+", default=list(peers.PACKAGES), help="all when not given")
    parser.add_argument("--cache", type=Path, help="folder that keeps the peers' outputs")
    parser.add_argument("--time", action="store_true", help="the claim on time")
    options = parser.parse_args()
    torch.set_num_threads(1)
    sheet = Sheet(options.record)
    print(f"peers: {peers.versions()}")
    n = options.images or (16 if options.quick else TIMED if options.time else 500)
    for case in options.cases:
        net = NETS[case]
        one = right_ones(Case(case, net.plain(), net.model(), *net.images(2 * n), net.threat.radius), n)
        for name in options.only:
            if options.time:
                race(sheet, name, one, options.tools, 5 if options.quick else 30)
            else:
                strength(sheet, name, one, options.tools, 0.2 if options.quick else options.minutes, options.cache)
    sheet.close()


if __name__ == "__main__":
    main()
