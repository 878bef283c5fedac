"""Claim: stopping each input at its first success makes PGD-100 far faster where most break, and costs nothing where few do.

PGD-100, L∞ 0.3, step 2.5 ε/100, random start, the first 2000 MNIST test images; against torchattacks.PGD, foolbox
LinfPGD and ART, each at the fastest of three batch sizes. Ours on the replica that `engine.choose` picks, the picking within the time,
and with default pieces; clean asks included.
Bar: (a) mnist_lenet5_clean: at least 5 × faster than the fastest peer, robust accuracy no higher than the lowest; (b)
mnist_lenet5_adv: at most 1.1 × its time. Robust accuracy is judged by the plain net on each tool's outputs; in (b) the random start decides
some images either way (`parity` compares means over seeds), so it is stated there.
Command: scripts/bench early_stop
Runs on: cpu
"""

from __future__ import annotations

import statistics

import peers
import torch
from common import Case, Sheet, arguments, case, clock, interleaved, robust, span
from torch import Tensor

from holdfast import attacks, engine
from holdfast.engine import Pieces, Samples, Setting


def fastest_batch(attack: peers.Peer, one: Case, sizes: tuple[int, ...]) -> int:
    """The batch size at which this peer is fastest, on a short version of the attack."""
    seconds = {}
    for size in sizes:
        attack(one.x[:64], one.y[:64], size)
        seconds[size] = clock(lambda size=size: attack(one.x, one.y, size))
    return min(seconds, key=seconds.__getitem__)


def measure(sheet: Sheet, name: str, n: int, steps: int, rounds: int, faster: bool) -> None:
    one = case(name, n)
    shape, step = tuple(one.x.shape[1:]), 2.5 * one.epsilon / steps
    short = peers.pgd(one.plain, shape, one.epsilon, step, max(2, steps // 20))
    best = {tool: fastest_batch(attack, one, (128, 500, 2000)) for tool, attack in short.items()}
    attack = attacks.pgd(one.epsilon, steps=steps, step=step)
    samples = Samples.of(one.x, one.y)
    outputs: dict[str, Tensor] = {}

    def quick() -> None:
        choice = engine.choose(one.model, one.x[:32])
        search = engine.replica(one.model, choice)
        outputs["ours, replica"] = engine.run(attack, one.model, samples, Setting(pieces=choice.pieces), search=search).adversarial

    def default() -> None:
        outputs["ours, default pieces"] = engine.run(attack, one.model, samples, Setting(pieces=Pieces())).adversarial

    calls = {"ours, replica": quick, "ours, default pieces": default}
    for tool, peer in peers.pgd(one.plain, shape, one.epsilon, step, steps).items():

        def theirs(tool: str = tool, peer: peers.Peer = peer) -> None:
            outputs[tool] = peer(one.x, one.y, best[tool])

        calls[tool] = theirs
    # The short attacks have warmed the peers up; ours warm up on a few inputs.
    engine.run(attacks.pgd(one.epsilon, steps=2), one.model, Samples.of(one.x[:512], one.y[:512]))
    seconds = interleaved(calls, rounds, warm=False)
    accuracy = {tool: robust(one.plain, one.x, one.y, out, one.epsilon) for tool, out in outputs.items()}
    fastest = min(best, key=lambda tool: statistics.median(seconds[tool]))
    reference = statistics.median(seconds[fastest])
    lowest = min(accuracy[tool] for tool in best)
    for tool, times in seconds.items():
        ratio = statistics.median(times) / reference
        label = f"early_stop: {name}, PGD-{steps}, {tool}" + (f" (batch {best[tool]})" if tool in best else "")
        words = f"{ratio:.3f} × {fastest}'s time ({1 / ratio:.2f} × as fast); robust accuracy {accuracy[tool]:.4f}"
        if tool in best:
            sheet.row(label, n, span(times), words)
            continue
        met = ratio <= 0.2 and accuracy[tool] <= lowest if faster else ratio <= 1.1
        bar = f"≥ 5 × as fast, robust accuracy ≤ {lowest:.4f}" if faster else "≤ 1.1 × the time"
        sheet.row(label, n, span(times), words, bar, met)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    sheet = Sheet(options.record)
    torch.manual_seed(0)
    print(f"peers: {peers.versions()}")
    n, steps = (200, 20) if options.quick else (2000, 100)
    measure(sheet, "mnist_lenet5_clean", n, steps, options.rounds, faster=True)
    measure(sheet, "mnist_lenet5_adv", n, steps, options.rounds, faster=False)
    sheet.close()


if __name__ == "__main__":
    main()
