"""ReColorAdv: one function of colour for the whole image, alone or with other changes."""

from __future__ import annotations

from holdfast.attacks.short import attack, bounded
from holdfast.attacks.stadv import smooth_ascent
from holdfast.core.attack import Attack
from holdfast.core.types import Threat
from holdfast.parts.threats import Colour


@attack("Laidlaw & Feizi 2019, arXiv:1906.00001", threats=("colour", "composed"))
def recolor(
    threat: Threat | float = Colour(0.06),
    steps: int = 100,
    rate: float | None = None,
    tau: float = 0.05,
    confidence: float = 0.0,
    targeted: bool = False,
    eot: int = 1,
) -> Attack:
    """ReColorAdv: the smoothest recolouring that fools, the same new colour for all pixels of one colour, by Adam on a penalised hinge.

    min_p max( max_{j≠t} z_j − z_t, −κ ) + τ Σ_a Σ_{b ∈ N(a)} ‖p(a) − p(b)‖₂,  x' = C⁻¹( c + p(c) ),  ‖p‖_∞ ≤ ε.

    Inputs: images `[n, c, h, w]` of `[n, ...]` in the model's finite range, of up to three channels; `threat`: colours (a bare number is
    their radius), or several changes composed, as in `Colour(0.06) + Flow(1) + Linf(8/255)` (C+S+D of the paper), where p and `rate` are
    shares of each radius; `steps`: gradients an input, all of them spent; `rate`: Adam's, by default a 20th of the radius, falling to 0
    along a cosine; τ = `tau`; κ = `confidence` in logits. Of all that fooled, the one of least penalty is claimed; `eot`: draws of a
    stochastic model that each gradient is the mean of.

    Raises ConfigError for an infinite radius, no steps, no draws, a rate that is not positive, or a negative weight or confidence.
    Source: Laidlaw & Feizi 2019; ε = 0.06, 16 × 32 × 32 entries, 100 steps of Adam and τ = 0.05 of the authors' code.
    Differs from the paper: the rate falls (the code's is 0.001 throughout); the hinge ends at κ, where the code's has no end; the
    smoothest success is kept, not that of the greatest loss.

    >>> recolor().threat.radius
    0.06
    """
    threat = bounded(threat if isinstance(threat, Threat) else Colour(float(threat)), "recolor")
    return smooth_ascent("recolor", threat, steps, threat.radius / 20 if rate is None else rate, tau, confidence, targeted, eot)
