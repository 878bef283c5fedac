"""RP2: robust physical perturbations: stickers that fool from all angles and in all lights."""

from __future__ import annotations

import math

from holdfast.core.types import Threat
from holdfast.parts.goals import goal
from holdfast.parts.objectives import CrossEntropy
from holdfast.parts.threats import L2
from holdfast.parts.views import View, driven_by
from holdfast.training.shared.ask import Scene
from holdfast.training.shared.masks import Mask, mask_of
from holdfast.training.shared.moves import Climb
from holdfast.training.shared.penalties import Colour, Length, NonPrintability, Penalty
from holdfast.training.shared.placements import Added
from holdfast.training.shared.sentence import Shared
from holdfast.training.shared.short import shared


@shared("Eykholt, Evtimov, Fernandes, Li, Rahmati, Xiao, Prakash, Kohno & Song 2018, arXiv:1707.08945")
def rp2(
    target: int | None = None,
    mask: Mask | str = "bars",
    threat: Threat = L2(math.inf),
    weight: float = 0.5,
    power: int = 2,
    palette: tuple[Colour, ...] = (),
    printable: float = 0.01,
    passes: int = 60,
    rate: float = 0.04,
    batch: int = 64,
    draws: int = 4,
    views: tuple[View, ...] = (driven_by(),),
) -> Shared:
    """RP2: stickers on one object, trained over its photographs and over views of them, to be taken for the target.

    argmin_δ λ ‖M δ‖_p + μ NPS(M δ) + E_{x ∈ X^V} J(f(view(x + M δ)), t);  untargeted −J(f(·), own class).

    Inputs `[n, c, h, w]` (of `[n, ...]` only images): photographs of one object that fills them alike; `mask` `bars`, `disc`, `square`
    or a picture file; λ = `weight`, p = `power`; μ = `printable`, where a `palette` of printable colours is given; each photograph is
    seen `draws` times a step, through all of `views` (anything `view(x, draw) -> x` that has a gradient). A `threat` of finite radius
    keeps δ in that ball; it then climbs by steepest steps of `rate` times the radius in place of Adam's.

    Raises ConfigError for a mask, palette or weight that makes no sense, or inputs that are no images.
    Source: Eykholt et al. 2018, the objective with mask and non-printability score; that score Sharif et al. 2016.
    Differs from the paper: the views are drawn, each step anew, beside the photographs; they move sticker and object together, as the
    photographs are aligned, where the paper moves δ alone (T_i) onto objects that are not; a hard radius can take the place of λ.

    >>> rp2(3, weight=0.1).target
    3
    """
    targeted = target is not None
    penalties: tuple[Penalty, ...] = (Length(weight, power),)
    if palette:
        penalties += (NonPrintability(printable, palette),)
    scene = Scene(goal(targeted), Added(threat, mask_of(mask)), views, draws)
    return Shared(scene, Climb(CrossEntropy(targeted), rate, math.isfinite(threat.radius), penalties), passes, batch, None, target, "last")
