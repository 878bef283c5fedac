"""What may be changed: additive norm balls, flows, colours, a covered place, and one after another."""

from holdfast.parts.threats.additive import L0, L1, L2, Additive, Linf
from holdfast.parts.threats.colour import Colour
from holdfast.parts.threats.composed import Composed
from holdfast.parts.threats.elastic import ElasticNet
from holdfast.parts.threats.flow import Flow
from holdfast.parts.threats.occlusion import Occlusion
from holdfast.parts.threats.smooth import Penalised

__all__ = ["L0", "L1", "L2", "Additive", "Colour", "Composed", "ElasticNet", "Flow", "Linf", "Occlusion", "Penalised"]
