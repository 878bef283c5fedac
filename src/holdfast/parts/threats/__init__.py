"""What may be changed. Additive norm balls inside the valid range."""

from holdfast.parts.threats.additive import L0, L1, L2, Additive, Linf
from holdfast.parts.threats.elastic import ElasticNet

__all__ = ["L0", "L1", "L2", "Additive", "ElasticNet", "Linf"]
