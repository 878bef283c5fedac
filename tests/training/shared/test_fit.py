"""What a half-done fit is known by."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from holdfast import Classifier, StoreError
from holdfast.training.shared import Fitted, fit, universal_gradient

X = torch.rand(12, 6, generator=torch.Generator().manual_seed(3))


class Wavering(nn.Module):
    """A linear net whose answers differ in the last bits, as they do on another device or with other threads."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.layer, self.factor = nn.Linear(6, 3), 1.0

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) * self.factor


def halted(net: nn.Module, snapshot: str | Path, x: Tensor = X, done: int = 1) -> Fitted:
    passes = iter([False] * done + [True] * 9)
    return fit(universal_gradient(0.2, passes=3), Classifier(net.eval(), 3), x, snapshot=snapshot, halt=lambda: next(passes))


def test_a_fit_goes_on_where_the_last_bits_differ(tmp_path: Path) -> None:
    net = Wavering()
    assert not halted(net, tmp_path / "fit").complete
    net.factor = 1 + 2e-7
    assert halted(net, str(tmp_path / "fit"), done=3).complete


def test_another_model_or_other_inputs_are_another_fit(tmp_path: Path) -> None:
    halted(Wavering(), tmp_path / "fit")
    for net, x in ((Wavering(1), X), (Wavering(), X.flip(1))):
        with pytest.raises(StoreError, match="holds another fit"):
            halted(net, tmp_path / "fit", x)
