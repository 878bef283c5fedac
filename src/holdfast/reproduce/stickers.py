"""Stickers fitted by RP2 to the victims of a study, one for each of several wrong classes, and what nets say of inputs that wear them."""

from __future__ import annotations

from dataclasses import replace

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from holdfast.data import Dataset
from holdfast.engine.snapshot import write_whole
from holdfast.models import Classifier
from holdfast.parts.threats import L2
from holdfast.reproduce.bench import Bench
from holdfast.reproduce.finding import Interval, paired
from holdfast.training.shared import fit, rp2

STOP, VICTIMS = 14, 40
"""The class of stop signs among traffic signs, and how many of them the document attacks."""
LENGTH = 0.18
"""The stickers' L2 length over the victims' mean one: on signs that makes a relative dissimilarity of about 0.2, the document's."""
PASSES = 20
"""Of RP2 over the victims; on signs 100 altered no more answers."""


def victims(bench: Bench) -> Dataset:
    """Test samples of one class: of the stop signs where the labels go so far, else of the commonest."""
    test = bench.samples("test", 10**9)
    chosen = STOP if bool((test.y == STOP).any()) else int(test.y.mode().values)
    rows = (test.y == chosen).nonzero().squeeze(1)[:VICTIMS]
    return replace(test, x=test.x[rows], y=test.y[rows], ids=test.ids[rows])


def targets(bench: Bench, own: int, count: int) -> list[int]:
    """So many of the other classes, drawn by the seed."""
    order = torch.randperm(bench.classes, generator=torch.Generator().manual_seed(bench.seed)).tolist()
    return sorted([label for label in order if label != own][:count])


def worn(bench: Bench, name: str, model: Classifier, data: Dataset, aims: list[int]) -> Tensor:
    """The victims with the stickers that take `model` toward each target: `[targets, n, c, h, w]`; each is kept under `name`."""
    x = model.bounds.intake(data.x, model.dtype, model.device)
    threat, file = L2(bench.of(2 * LENGTH, LENGTH) * float(x.flatten(1).norm(dim=1).mean())), bench.out / "stickers" / f"{name}.safetensors"
    file.parent.mkdir(parents=True, exist_ok=True)
    known, shown = load_file(file) if file.exists() else {}, []
    bench.say(f"stickers {name}: {len(aims)} targets, {len(data)} victims")
    for aim in aims:
        method = rp2(aim, threat=threat, weight=0.0, rate=0.25, passes=PASSES, draws=2)
        mark = f"{model.fingerprint()[:16]}.{data.fingerprint()[:16]}.{method.digest}.{bench.seed}"
        if mark not in known:
            fitted = fit(method, model, x, bench.seed, data.ids, halt=bench.halt)
            if not fitted.complete:
                raise KeyboardInterrupt
            known[mark] = fitted.apply(x).contiguous()
            write_whole(file, save(known))
        shown.append(known[mark])
    return torch.stack(shown)


def answers(model: Classifier, x: Tensor) -> Tensor:
    """What the model takes inputs `[..., c, h, w]` for: `[...]`."""
    flat = x.flatten(0, -4)
    with torch.no_grad():
        found = torch.cat([model(model.bounds.intake(part, model.dtype, model.device)).logits.argmax(dim=1) for part in flat.split(500)])
    return found.reshape(x.shape[:-3])


def share(values: Tensor) -> Interval:
    """The mean of shares, one per sample, with the interval of `paired`, whose made-up samples are here 0 and 1."""
    found = paired(2 * values.double() - 1)
    return Interval((1 + found.value) / 2, (1 + found.low) / 2, (1 + found.high) / 2)


def told(bench: Bench, data: Dataset, aims: list[int]) -> tuple[str, str]:
    """What is smaller than the document's, or other, in what is attacked and how."""
    return (
        f"The document attacks 40 stop signs of 18 LISA classes; here {len(data)} test samples of class {int(data.y[0])} among "
        f"{bench.classes} of {bench.data}, toward {len(aims)} other classes drawn by the seed.",
        f"Stickers: two bars of an L2 length of at most {bench.of(2 * LENGTH, LENGTH):g} times the victims' mean one, a bound in place of "
        f"the document's weight, fitted to all victims at once by {PASSES} passes under a passing car's views; judged on these victims.",
    )
