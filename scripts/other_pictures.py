"""Pictures of what is no attack on single inputs: one change for all inputs, images made from nothing, closed forms.

All on scikit-learn's scans, which come with it, under models that are trained here in seconds, the same each time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, partial
from importlib import import_module
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from holdfast import L1, L2, Classifier, Linf, load_data
from holdfast.core.draw import Draw, row_key
from holdfast.exact import linear_exact, linear_model
from holdfast.report.pictures import amplified, drawn
from holdfast.report.strips import Panel, sheet, strip
from holdfast.report.words import figure, percent
from holdfast.synthesis import Synthesised, fooling_ascent, fooling_evolution
from holdfast.training.shared import fit, judge, parse_shared
from holdfast.training.shared.placements import Added, Pasted

SIDE, LETTERS, FITTED = 112, 11, 100
NET = "a small convolutional net for scikit-learn's scans of digits, enlarged to 28×28"

Drawn = tuple[Image.Image, str]


@cache
def scans(split: str) -> tuple[Tensor, Tensor]:
    """scikit-learn's 8×8 scans, smoothly enlarged to 20×20 with a margin of 4, in [0, 1], and their labels."""
    data = load_data("digits", split=split)
    x = nn.functional.interpolate(data.x, size=20, mode="bicubic", align_corners=False)
    return nn.functional.pad(x.clamp(0, 1), (4, 4, 4, 4)), data.y


@cache
def net() -> Classifier:
    """Two convolutions, of stride 2, and a linear layer."""
    torch.manual_seed(0)
    convolutions = nn.Conv2d(1, 16, 5, 2, 2), nn.ReLU(), nn.Conv2d(16, 32, 5, 2, 2), nn.ReLU()
    layers = nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(32 * 7 * 7, 10))
    x, y = scans("train")
    optimiser = torch.optim.Adam(layers.parameters(), lr=2e-3)
    for _ in range(10):
        for rows in torch.randperm(len(x)).split(64):
            loss = nn.functional.cross_entropy(layers(x[rows]), y[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return Classifier(layers.eval(), classes=10)


def says(x: Tensor) -> list[str]:
    """What the net takes each input for, and how sure it is."""
    with torch.no_grad():
        sure, answer = net()(x).logits.softmax(dim=1).max(dim=1)
    return [f"{one} ({percent(share)})" for one, share in zip(answer.tolist(), sure.tolist(), strict=True)]


def panel(image: Tensor, *lines: str, side: int = SIDE) -> Panel:
    return Panel(drawn(image.numpy(), side=side), lines)


def change(p: Tensor, title: str, *lines: str, side: int = SIDE) -> Panel:
    """A change around grey, as strong as it can be shown."""
    shown, factor = amplified(torch.zeros_like(p).numpy(), p.numpy())
    return Panel(drawn(shown, True, side), (f"{title} ×{factor:.3g}", *lines))


def answered(title: str, x: Tensor, *first: Panel) -> Image.Image:
    """A strip of images with what the net says of each."""
    return strip(title, [*first, *(panel(image, said) for image, said in zip(x, says(x), strict=True))], LETTERS)


def shared(call: str) -> Drawn:
    """The one perturbation; scans that it was not fitted to, without it and with it; how often it works on all of those."""
    (x, y), method = scans("test"), parse_shared(call)
    fitted = fit(method, net(), scans("train")[0][:FITTED])
    rate, p, target, placement = judge(fitted, net(), x, y), fitted.perturbation, method.target, method.scene.placement
    rows = [int((y == digit).nonzero()[0]) for digit in range(10) if digit != target][:5]
    if isinstance(placement, Pasted):
        what = panel(p * placement.shape(p[None])[0], "the patch", f"{p.shape[-1]} of 28 pixels wide")
    else:
        what = change(p, "perturbation", f"Linf {figure(fitted.size)}")
    done = f"{percent(rate.altered_rate)} of {len(x)} change class"
    if target is not None:
        done = f"{percent(rate.success_rate)} of other digits become {target}"
    strips = [
        answered("One change for all inputs, and scans that it was not fitted to", x[rows], what),
        answered(
            f"The same scans with it: {done}",
            fitted.apply(x)[rows],
            Panel(Image.new("RGB", (what.image.width, 1), "white"), ()),
        ),
    ]
    return sheet(strips, 1), f"`{method}` against {NET}: fitted to {FITTED}, shown on others"


def stickers(call: str, digit: int = 1, photographs: int = 12) -> Drawn:
    """An object, where stickers may be, the stickers; photographs of it that were not fitted to, without them and with them."""
    (x, y), method = scans("test"), parse_shared(call)
    scene, bounds, sign = method.scene, net().bounds, x[(y == digit).nonzero()[0]]
    assert isinstance(scene.placement, Added) and scene.placement.mask is not None

    def seen(p: Tensor | None, seed: int, n: int) -> Tensor:
        ids = torch.arange(n)
        return scene.show(sign.expand(n, -1, -1, -1), p, bounds, Draw(row_key(seed, ids, torch.zeros_like(ids)), torch.zeros_like(ids)))

    p = fit(method, net(), seen(None, 0, photographs)).perturbation
    stuck = bounds.clamp(sign + p)
    with torch.no_grad():
        rate = (net()(seen(p[None], 1, 200)).logits.argmax(dim=1) == method.target).double().mean().item()
    strips = [
        strip(
            "One object, and where it may be covered",
            [
                panel(sign[0], "the object", says(sign)[0]), panel(scene.placement.mask(sign)[0], "mask: white", "may be covered"),
                change(p, "stickers"), panel(stuck[0], "with stickers", says(stuck)[0]),
            ],
            LETTERS,
        ),
        answered("New photographs of it", seen(None, 1, 4)),
        answered(f"The same with the stickers: {percent(rate)} of 200 become {method.target}", seen(p[None], 1, 4)),
    ]  # fmt: skip
    return sheet(strips, 1), f"`{method}` against {NET}: fitted to {photographs} drawn photographs of one scan, shown on others"


def fooling(make: Callable[..., Synthesised], **given: Any) -> Drawn:
    """The image for each class, and the net's probability of that class."""
    found = make(net(), (1, 28, 28), **given)
    cells = [
        panel(image, f"taken for {target}", percent(sure))
        for image, target, sure in zip(found.images, found.target.tolist(), found.confidence.tolist(), strict=True)
    ]
    titles = ("One image for each class: what the net takes it for, and how sure it is", "")
    strips = [strip(title, cells[place * 5 : place * 5 + 5], LETTERS) for place, title in enumerate(titles)]
    words = ", ".join(["model, (1, 28, 28)", *(f"{name}={value!r}" for name, value in given.items())])
    return sheet(strips, 1), f"`{make.__name__}({words})` for {NET}"


def linear() -> Drawn:
    """A 3 and a model that tells 3 from 8: its weights, the smallest change in each norm, and the sum that gives it."""
    x, y = ((data := load_data("digits", split="train")).x, data.y)
    both = (y == 3) | (y == 8)
    model = import_module("sklearn.linear_model").LogisticRegression(C=0.05).fit(x[both].flatten(1).numpy(), y[both].numpy())
    known, three = linear_model(model, (1, 8, 8)), x[y == 3][:1].double()
    w, lead, strips = known.weight[1] - known.weight[0], -float(known.scores(three)[0, 1]), []
    norms = {
        "Linf: the size of a change is the most that one value moves": (Linf, 1, "L1 norm"),
        "L2: the size of a change is its length": (L2, 2, "L2 norm"),
        "L1: the size of a change is the sum of all": (L1, math.inf, "largest"),
    }
    for title, (norm, dual, name) in norms.items():
        zero = torch.zeros(1, dtype=torch.int64)
        free, found = (linear_exact(model, three, zero, norm(math.inf), bounds) for bounds in (None, (0, 1)))
        length, beyond = float(w.flatten().norm(p=dual)), float(known.scores(found.adversarial)[0, 1])
        panels = [
            panel(three[0], "a 3", f"score {-lead:.3f} (8 if > 0)", side=144),
            change(w, "weights", f"{name} {length:.3f}", side=144),
            change(
                found.perturbation[0], "smallest change", f"{lead:.3f} / {length:.3f} = {float(free.distance):.3f}",
                f"kept in 0..1: {float(found.distance):.3f}", side=144,
            ),
            panel(found.adversarial[0], "taken for 8", f"score {beyond:.1g}", side=144),
        ]  # fmt: skip
        strips.append(strip(title, panels, LETTERS))
    return sheet(
        strips, 1
    ), "`linear_exact(LogisticRegression(C=0.05), x, y, threat, (0, 1))` of a model that tells 3 from 8 in scikit-learn's scans"


OTHERS: dict[str, Callable[[], Drawn]] = {
    "universal": partial(shared, "universal(0.3, passes=5)"),
    "universal_gradient": partial(shared, "universal_gradient(0.3)"),
    "patch": partial(shared, "patch(3, side=0.7, least=0.8, passes=60, rate=0.1, batch=50)"),
    "rp2": partial(stickers, "rp2(8, weight=0.1, passes=40, draws=2)"),
    "fooling_ascent": partial(fooling, fooling_ascent),
    "fooling_evolution": partial(fooling, fooling_evolution, generations=100),
    "linear_exact": linear,
}
"""Each draws a picture and says, with the call in backticks, what it shows."""
