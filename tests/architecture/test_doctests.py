"""Every example in a docstring runs and says what it shows."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import holdfast

MODULES = sorted(m.name for m in pkgutil.walk_packages(holdfast.__path__, "holdfast.") if not m.name.endswith("__main__"))


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    module = importlib.import_module(name)
    import torch
    from torch import nn

    failed, _ = doctest.testmod(module, extraglobs={"torch": torch, "nn": nn})
    assert failed == 0
