"""Exact attacks: the smallest change by calculation, where the model is simple enough."""

from holdfast.core.method import Method
from holdfast.core.types import Access
from holdfast.exact.linear import Exact, linear_exact, mix_weights
from holdfast.exact.linear_model import LinearModel, linear_model

METHODS = (
    Method(linear_exact, "exact", Access.GRADIENT, "Moosavi-Dezfooli, Fawzi & Frossard 2016, arXiv:1511.04599", ("linf", "l2", "l1"), True),
)

__all__ = ["METHODS", "Exact", "LinearModel", "linear_exact", "linear_model", "mix_weights"]
