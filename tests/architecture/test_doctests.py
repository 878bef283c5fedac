"""Every example in a docstring runs and says what it shows."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
from types import ModuleType

import pytest

import holdfast

MODULES = sorted(m.name for m in pkgutil.walk_packages(holdfast.__path__, "holdfast.") if not m.name.endswith("__main__"))


class Decorated(doctest.DocTestFinder):
    """Finds the examples of a decorated function where the function is written, too."""

    def _from_module(self, module: ModuleType | None, object: object) -> bool:
        return super()._from_module(module, inspect.unwrap(object) if callable(object) else object)  # type: ignore[misc]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    module = importlib.import_module(name)
    import torch
    from torch import nn

    runner = doctest.DocTestRunner()
    for test in Decorated().find(module, extraglobs={"torch": torch, "nn": nn}):
        runner.run(test)
    assert runner.failures == 0
