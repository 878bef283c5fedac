"""The weight of a penalty, searched for by each row: between the largest that did not do and the smallest that did."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from holdfast.core.rows import Rows
from holdfast.core.types import Mask, PerRow


@dataclass(frozen=True)
class Weight(Rows):
    """c ← (low + high) / 2, or √(low · high);  before both ends are known ten times more, or less.

    `value` `[n]` the weight to try; `low` the largest at which a search failed (0: none yet), `high` the smallest at which one succeeded
    (∞: none yet); `count` `[n]` how many searches are done.

    >>> weight = Weight.fresh(torch.ones(2), 1.0).after(torch.tensor([True, False]))
    >>> weight.value.tolist(), weight.after(torch.tensor([False, True])).value.tolist()
    ([0.5, 10.0], [0.75, 5.5])
    """

    value: Tensor
    low: Tensor
    high: Tensor
    count: Tensor

    @classmethod
    def fresh(cls, like: PerRow, initial: float) -> Self:
        """Nothing tried yet, in rows that look like `like` `[n]`."""
        zero = torch.zeros_like(like)
        return cls(torch.full_like(like, initial), zero, torch.full_like(like, torch.inf), zero.long())

    def after(self, succeeded: Mask, geometric: bool = False) -> Self:
        """The next weight of every row: smaller if the search at this one `succeeded`, else larger; `geometric`: halfway in logarithms."""
        low = torch.where(succeeded, self.low, torch.maximum(self.low, self.value))
        high = torch.where(succeeded, torch.minimum(self.high, self.value), self.high)
        middle = torch.where(low > 0, (low * high).sqrt(), high / 10) if geometric else (low + high) / 2
        value = torch.where(high.isfinite(), middle, self.value * 10)
        return replace(self, value=value, low=low, high=high, count=self.count + 1)
