"""Claim: threats beyond Lp break a standard net as surely as norm balls do, within their bounds, and the penalty buys smoothness.

CIFAR-10, ResNet-20 trained as usual, test images that it classifies right. stAdv (flow of at most a pixel) and ReColorAdv (CIELUV, 0.06),
each with its penalty (τ = 0.05) and without; then ReColorAdv with additive changes, with flow, and with both (C+D, C+S, C+S+D of
Laidlaw & Feizi 2019). Of each attack the change itself is taken, applied to the images, and judged by the plain net.
Checked on the outputs: the valid range; no displacement beyond a pixel, and the image is the one that torch's own grid_sample makes of
the flow; no shift of a table beyond 0.06, and no pixel whose colour has moved farther than that.
Bar: stAdv and ReColorAdv fool at least 99 %; every bound holds; with the penalty a lower median roughness than without, at no lower
success.
Command: scripts/bench beyond_lp -- --images 300 --steps 50
Runs on: cpu gpu
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from common import Case, Sheet, arguments, case, clock, predict
from torch import Tensor
from torch.nn.functional import grid_sample

from holdfast import attacks
from holdfast.core.attack import Attack
from holdfast.core.types import Model
from holdfast.engine import choose, replica
from holdfast.engine.perturb import perturbation
from holdfast.parts.cieluv import luv
from holdfast.parts.threats import Colour, Composed, Flow, Linf, Penalised


@dataclass(frozen=True)
class Found:
    """What an attack did to the images `x`: the change `p`, the images after it, which of them fool, and how rough each change is."""

    p: Tensor
    after: Tensor
    fooled: Tensor
    roughness: Tensor

    @property
    def share(self) -> float:
        return self.fooled.double().mean().item()

    @property
    def median(self) -> float:
        return self.roughness[self.fooled].median().item()


def made(sheet: Sheet, one: Case, search: Model, attack: Attack, label: str, bar: float | None = None) -> Found:
    parts: list[Tensor] = []
    seconds = clock(
        lambda: parts.extend(perturbation(attack, search, x, y) for x, y in zip(one.x.split(128), one.y.split(128), strict=True))
    )
    p, threat = torch.cat(parts), attack.threat
    assert isinstance(threat, Penalised)
    # As `perturb` does it: a sum may round to a hair above white.
    after = search.bounds.clamp(threat.apply(one.x, p))
    size = threat.size(one.x, p)
    fooled = (predict(one.plain, after) != one.y) & (size <= threat.radius * (1 + 1e-5))
    found = Found(p, after, fooled, threat.penalty(one.x, p))
    valid = bool(((after >= 0) & (after <= 1)).all()) and bool((size <= threat.radius * (1 + 1e-5)).all())
    words = f"median roughness {found.median:.4g}, median size {size[fooled].median():.3g}, largest {size.max():.4g}; {seconds:.3g} s"
    met = valid and (bar is None or found.share >= bar)
    sheet.row(f"beyond Lp: {label}", len(one.x), f"{found.share:.3f} fooled", words, f"≥ {bar}" if bar else "bounds", met)
    return found


def bent(x: Tensor, flow: Tensor) -> Tensor:
    """The warp as torch's own sampler makes it."""
    height, width = x.shape[2:]
    down, across = torch.arange(height, device=x.device).unsqueeze(1), torch.arange(width, device=x.device)
    grid = torch.stack([2 * (across + flow[:, 1]) / (width - 1) - 1, 2 * (down + flow[:, 0]) / (height - 1) - 1], dim=3)
    return grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=True)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--composed", type=int, default=100, help="how many of the images the composed threats are tried on")
    options = parser.parse_args()
    device = "cuda" if options.gpu else "cpu"
    sheet = Sheet(options.record, device)
    whole = case("cifar10_resnet20", 2000)
    net = whole.plain.to(device)
    whole.model.net.to(device)
    x, y = whole.x[: 2 * options.images].to(device), whole.y[: 2 * options.images].to(device)
    right = (predict(net, x) == y).nonzero().flatten()[: 16 if options.quick else options.images]
    one = Case(whole.name, net, whole.model, x[right], y[right], whole.epsilon)
    search = replica(one.model, choose(one.model, one.x[:32]).suited(attacks.stadv()))
    steps, few = 3 if options.quick else options.steps, options.composed

    flow, colour = Flow(1.0), Colour(0.06)
    smooth = made(sheet, one, search, attacks.stadv(flow, steps=steps), "stAdv within a pixel, τ = 0.05", 0.99)
    rough = made(sheet, one, search, attacks.stadv(flow, steps=steps, tau=0.0), "stAdv within a pixel, τ = 0")
    judge(sheet, "stAdv", smooth, rough)
    apart = (smooth.after - bent(one.x, smooth.p)).abs().amax().item()
    sheet.row("beyond Lp: stAdv against grid_sample", len(one.x), f"{apart:.2g} apart at most", "", "≤ 1e-4", apart <= 1e-4)

    smooth = made(sheet, one, search, attacks.recolor(colour, steps=steps), "ReColorAdv within 0.06, τ = 0.05", 0.99)
    rough = made(sheet, one, search, attacks.recolor(colour, steps=steps, tau=0.0), "ReColorAdv within 0.06, τ = 0")
    judge(sheet, "ReColorAdv", smooth, rough)
    moved = (luv(smooth.after) - luv(one.x)).abs().amax(dim=1).flatten()
    beyond = (moved > 0.06 + 2e-4).double().mean().item()
    words = f"{beyond:.2%} of pixels beyond 0.06"
    sheet.row("beyond Lp: ReColorAdv, colours really moved", len(moved), f"{moved.max():.4g} at most", words, "none", beyond == 0)

    some = Case(one.name, net, one.model, one.x[:few], one.y[:few], one.epsilon)
    for label, others in (("C+D", (Linf(8 / 255),)), ("C+S", (flow,)), ("C+S+D", (flow, Linf(8 / 255)))):
        made(sheet, some, search, attacks.recolor(Composed((colour, *others)), steps=steps), f"ReColorAdv composed, {label}", 0.99)
    sheet.close()


def judge(sheet: Sheet, name: str, smooth: Found, rough: Found) -> None:
    """Is the penalised change the smoother one, on the images that both fooled?"""
    both = smooth.fooled & rough.fooled
    ratio = (smooth.roughness[both] / rough.roughness[both]).median().item()
    met = ratio < 1 and smooth.share >= rough.share
    sheet.row(
        f"beyond Lp: {name}, roughness with τ = 0.05 over that without", int(both.sum()), f"{ratio:.3g}", "", "< 1, no less success", met
    )


if __name__ == "__main__":
    main()
