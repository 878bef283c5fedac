"""The tests run with the shapes and types that signatures state held against every call."""

from __future__ import annotations

import jaxtyping
import pytest
import torch

from holdfast import Linf


def test_a_wrong_type_is_caught() -> None:
    whole = torch.zeros(2, 3, dtype=torch.int64)
    with pytest.raises(jaxtyping.TypeCheckError):
        Linf(0.1).size(whole, torch.zeros(2, 3))


def test_a_wrong_shape_is_caught() -> None:
    with pytest.raises(jaxtyping.TypeCheckError):
        Linf(0.1).nearest(torch.zeros(2, 1), torch.zeros(2, 3))
