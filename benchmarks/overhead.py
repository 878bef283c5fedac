"""Claim: the engine costs at most 10 % over a bare hand-written PGD-40 loop on a small net, 5 % on a ResNet-18.

Bar: ratio ≤ 1.10 (LeNet-5) and ≤ 1.05 (PreAct-ResNet-18, width 64), with the same piece size and memory layout in both,
once with the whole batch as one piece and once with the pieces that `engine.choose` chooses. Both sides take the same
number of forwards and backwards: 40 of each, then law 4's asks (every row once more, and what fooled once more after
8-bit rounding). Clean answers are outside both.
Command: scripts/bench overhead        (CPU)
         scripts/bench --gpu overhead  (CUDA, larger batches)
Runs on: cpu gpu
"""

from __future__ import annotations

import torch
from common import Sheet, arguments, case, interleaved, paired, span
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from holdfast import Classifier, attacks, engine
from holdfast.engine import Pieces, Samples, Setting
from holdfast.engine.verify import round_to_8_bits
from holdfast.models import preact_resnet18

STEPS = 40


def bare(net: nn.Module, x: Tensor, y: Tensor, epsilon: float, pieces: Pieces) -> tuple[Tensor, int]:
    """PGD as one writes it by hand; the adversarial examples, and how many rows were asked for logits."""
    found, asked = [], 0
    for clean, label in zip(x.split(pieces.rows), y.split(pieces.rows), strict=True):
        clean = pieces.arrange(clean)
        point = (clean + torch.empty_like(clean).uniform_(-epsilon, epsilon)).clamp_(0, 1)
        for _ in range(STEPS):
            point.requires_grad_()
            (g,) = torch.autograd.grad(cross_entropy(net(point), label, reduction="sum"), point)
            with torch.no_grad():
                point = (clean + (point + 2.5 * epsilon / STEPS * g.sign() - clean).clamp_(-epsilon, epsilon)).clamp_(0, 1)
        with torch.no_grad():
            fooled = net(point).argmax(dim=1) != label
            if fooled.any():
                net(pieces.arrange(round_to_8_bits(clean[fooled], point[fooled], 0.0, 1.0)))
        found.append(torch.where(fooled.reshape(-1, 1, 1, 1), point, clean).cpu())
        asked += (STEPS + 1) * len(clean) + int(fooled.sum())
    return torch.cat(found), asked


def compare(sheet: Sheet, name: str, net: nn.Module, x: Tensor, y: Tensor, epsilon: float, bar: float, rounds: int) -> None:
    model = Classifier(net, 10)
    samples = Samples.of(x, y)
    clean = engine.clean_answers(model, samples, engine.Asker(Pieces()))
    attack = attacks.pgd(epsilon, steps=STEPS, step=2.5 * epsilon / STEPS, early=False)
    # A clean error is no row of the attack; the bare loop leaves it out as well.
    right = (clean.logits.argmax(dim=1) == y.cpu()).nonzero().squeeze(1).to(x.device)
    bare_x, bare_y = x[right], y[right]
    settings = {"one piece": Pieces(len(x)), "tuned": engine.choose(model, x[:32], copies=False).pieces}
    outcomes: dict[str, engine.Outcome] = {}
    asked: dict[str, int] = {}

    def ours(label: str) -> None:
        outcomes[label] = engine.run(attack, model, samples, Setting(slots=len(x), pieces=settings[label]), clean=clean)

    def theirs(label: str) -> None:
        asked[label] = bare(net, bare_x, bare_y, epsilon, settings[label])[1]

    calls = {f"{label}, ours": lambda label=label: ours(label) for label in settings}
    calls |= {f"{label}, bare": lambda label=label: theirs(label) for label in settings}
    seconds = interleaved(calls, rounds)
    for label, pieces in settings.items():
        mine, other = seconds[f"{label}, ours"], seconds[f"{label}, bare"]
        ratio = paired(mine, other)
        outcome = outcomes[label]
        rows = int(outcome.forwards.sum()) + outcome.wasted_forwards
        print(f"  {name}, {label} {pieces}: rows asked {rows} here, {asked[label]} in the bare loop; broken {int(outcome.success.sum())}")
        assert abs(rows / asked[label] - 1) < 0.02, "both sides must do the same work"
        words = f"overhead: {name}, PGD-{STEPS} without early stop, pieces {label} ({pieces.rows} rows, {pieces.layout})"
        sheet.row(words, len(x), span(mine), f"{ratio:.3f} × bare loop ({span(other)})", f"≤ {bar:.2f}", ratio <= bar)
    gain = paired(seconds["tuned, ours"], seconds["one piece, bare"])
    sheet.row(f"overhead: {name}, tuned pieces against the bare loop in one piece", len(x), span(seconds["tuned, ours"]), f"{gain:.3f}")


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    device = "cuda" if options.gpu else "cpu"
    sheet = Sheet(options.record, device)
    torch.manual_seed(0)
    small = (64, 8) if options.quick else (4096, 512) if options.gpu else (512, 64)
    one = case("mnist_lenet5_adv", small[0])
    compare(sheet, "LeNet-5", one.plain.to(device), one.x.to(device), one.y.to(device), one.epsilon, 1.10, options.rounds)
    net = preact_resnet18(width=16 if options.quick else 64).eval().to(device)
    x = torch.rand(small[1], 3, 32, 32, device=device)
    with torch.no_grad():
        y = net(x).argmax(dim=1)
    compare(sheet, "PreAct-ResNet-18", net, x, y, 8 / 255, 1.05, options.rounds)
    sheet.close()


if __name__ == "__main__":
    main()
