"""Blind attackers, who know other nets alone; and the all-or-nothing criterion of CAAD 2018."""

from __future__ import annotations

from collections.abc import Iterable
from typing import final

import torch
from torch import Tensor, nn

from holdfast.data import Dataset
from holdfast.models import Classifier
from holdfast.reproduce.bench import right


@final
class Ensemble(nn.Module):
    """The mean of several models' logits: what an attack on all of them at once climbs (Dong et al. 2018, section 3.2)."""

    def __init__(self, *models: Classifier) -> None:
        super().__init__()
        self.models = models

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([model(x).logits for model in self.models]).mean(dim=0)


def all_or_nothing(model: Classifier, versions: Iterable[Dataset]) -> Tensor:
    """Which samples are right in every version, each the same samples as another attacker left them: bool `[n]`."""
    return torch.stack([right(model, version) for version in versions]).all(dim=0)
