"""Adversarial patch: a picture that fools wherever it is put, whatever it is put on."""

from __future__ import annotations

from holdfast.parts.goals import goal
from holdfast.parts.objectives import CrossEntropy
from holdfast.training.shared.ask import Scene
from holdfast.training.shared.masks import Mask, mask_of
from holdfast.training.shared.moves import Climb
from holdfast.training.shared.placements import Pasted
from holdfast.training.shared.sentence import Shared
from holdfast.training.shared.short import shared


@shared("Brown, Mané, Roy, Abadi & Gilmer 2017, arXiv:1712.09665")
def patch(
    target: int | None = None,
    side: float = 0.4,
    shape: Mask | str = "disc",
    least: float = 0.6,
    turn: float = 20.0,
    passes: int = 20,
    rate: float = 0.05,
    batch: int = 64,
    draws: int = 1,
) -> Shared:
    """Adversarial patch: a picture trained over random places, sizes and turns, and over all inputs, to be taken for the target.

    p = argmax_p E_{x, t}[ log P(target | A(p, x, t)) ],  A puts p on x at the place, scale and angle t; without a target −log P(own class).

    Inputs `[n, c, h, w]` (of `[n, ...]` only images) in the model's finite range; `side` the share of the shorter side at full scale,
    scales uniform in [`least`, 1], angles in ± `turn` degrees; `shape` `disc`, `square` or a picture file; Adam at `rate`, each input seen
    `draws` times a step.

    Raises ConfigError for inputs that are no images, an infinite range, or shares outside (0, 1].
    Source: Brown et al. 2017, the expectation over images, places and transformations.
    Differs from the paper: Adam with values clipped to the range in place of plain gradient steps; no disguise (‖p − p₀‖∞ ≤ ε).

    >>> patch(target=3).scene.placement.side
    0.4
    """
    targeted = target is not None
    scene = Scene(goal(targeted), Pasted(side, least, turn, mask_of(shape)), draws=draws)
    return Shared(scene, Climb(CrossEntropy(targeted), rate), passes, batch, None, target, "last")
