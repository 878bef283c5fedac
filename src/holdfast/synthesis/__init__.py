"""Synthesis: images made from nothing that a model is sure of."""

from holdfast.core.method import Method
from holdfast.core.types import Access
from holdfast.synthesis.ascent import fooling_ascent
from holdfast.synthesis.evolution import fooling_evolution
from holdfast.synthesis.synthesised import Synthesised

_PAPER = "Nguyen, Yosinski & Clune 2015, arXiv:1412.1897"
METHODS = (
    Method(fooling_ascent, "synthesis", Access.GRADIENT, _PAPER),
    Method(fooling_evolution, "synthesis", Access.SCORE, _PAPER),
)

__all__ = ["METHODS", "Synthesised", "fooling_ascent", "fooling_evolution"]
