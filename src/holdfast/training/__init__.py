"""Training: what is fitted to data."""

from holdfast.training import objectives

__all__ = ["objectives"]
