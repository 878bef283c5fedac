"""Claim: sound attacks find at least 99 % of planted adversarial examples, a crippled one does not; cheap enough for every run.

The binarisation test of Zimmermann et al. 2022 as published: one boundary point against 999 inner ones, 200 plants on the
adversarially trained LeNet-5, L∞ 0.3; and the short form that fits into every evaluation, 32 plants with 199 inner points. The
same plants for every attack. Seconds of the planting (the model's answers dominate: 1201 a plant, 301 in the short form), then of
each attack.
Bar: each sound attack, and all one after the other, find at least 99 %; PGD of two steps of ε/100 from the input finds less than
95 %, and random points at most half, or the test would say little.
Command: scripts/bench binarisation        (CPU)
         scripts/bench --gpu binarisation  (CUDA)
         scripts/bench binarisation -- --attack "pgd(0.3, steps=40)"
Runs on: cpu gpu
"""

from __future__ import annotations

import time

from common import Case, Sheet, arguments, case, clock

from holdfast import Classifier, Linf
from holdfast.attacks.short import parse
from holdfast.core.attack import Attack
from holdfast.engine import Setting, choose
from holdfast.evaluation.binarisation import EASY, FAIL, PASS, search
from holdfast.evaluation.planting import Binarised, binarised

SOUND = ("apgd(0.3)", "apgd(0.3, objective='margin')", "pgd(0.3, steps=40, restarts=2)")
CRIPPLED = "pgd(0.3, steps=2, step=0.003, random_start=False)"


def measure(sheet: Sheet, one: Case, model: Classifier, sound: list[Attack], plants: int, inner: int, random: int) -> None:
    setting = Setting(pieces=choose(model, one.x[:32].to(model.device), copies=False).pieces)
    binarised(model, one.x, Linf(0.3), 1, 9)
    made: list[Binarised] = []
    begin = time.process_time()
    seconds = clock(lambda: made.append(binarised(model, one.x, Linf(0.3), plants, inner, 1, random, setting)))
    spent = time.process_time() - begin
    ground = made[0]
    n, lucky = len(ground.plants), int(ground.plants.lucky.sum())
    label = f"binarisation: mnist_lenet5_adv, L∞ 0.3, {inner} inner points"
    words = f"{seconds / n:.3f} s a plant ({spent / n:.3f} s of processor); {ground.tried - n} of {ground.tried} left out"
    sheet.row(f"{label}, planting", n, f"{seconds:.3g} s", words)
    share = lucky / n
    sheet.row(f"{label}, {random} random points", n, f"{share:.3f} found", "", f"≤ {EASY}", share <= EASY)
    trials = {str(attack): [attack] for attack in sound} | {"all of them, one after the other": sound, CRIPPLED: [parse(CRIPPLED)]}
    for name, tried in trials.items():
        found: list[float] = []
        seconds = clock(lambda tried=tried, found=found: found.append(search(ground, tried, setting).double().mean().item()))
        met, bar = (found[0] < FAIL, f"< {FAIL}") if name == CRIPPLED else (found[0] >= PASS, f"≥ {PASS}")
        sheet.row(f"{label}, {name}", n, f"{found[0]:.3f} found", f"{seconds:.3g} s", bar, met)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--attack", action="append", help="instead of the sound attacks: one by its short form; may be repeated")
    options = parser.parse_args()
    device = "cuda" if options.gpu else "cpu"
    sheet = Sheet(options.record, device)
    one = case("mnist_lenet5_adv", 250)
    model = Classifier(one.plain.to(device), 10)
    sound = [parse(text, Linf(0.3)) for text in options.attack or SOUND]
    measure(sheet, one, model, sound, 4 if options.quick else 32, 199, 100)
    measure(sheet, one, model, sound, 4 if options.quick else 200, 999, 200)
    sheet.close()


if __name__ == "__main__":
    main()
