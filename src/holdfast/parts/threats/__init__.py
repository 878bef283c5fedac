"""What may be changed. Additive norm balls inside the valid range."""

from holdfast.parts.threats.additive import L0, L1, L2, Additive, Linf

__all__ = ["L0", "L1", "L2", "Additive", "Linf"]
