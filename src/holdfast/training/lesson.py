"""`Lesson`: one batch to learn from; `calm`: the net as it answers, not as it learns."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from holdfast.core.draw import Draw, row_key
from holdfast.core.errors import InputError
from holdfast.core.rows import Rows
from holdfast.data import UNLABELLED


@dataclass(frozen=True)
class Lesson(Rows):
    """`x` `[n, ...]` in the model's range; `y` `[n]` the labels, −1 for none; `key` `[n]` that of each row's noise; `step` `[n]` how many
    steps the run has made: with the key it gives every row noise of its own, whichever process the row is in."""

    x: Tensor
    y: Tensor
    key: Tensor
    step: Tensor

    @classmethod
    def of(cls, x: Tensor, y: Tensor, ids: Tensor | None = None, seed: int = 0, step: int = 0) -> Lesson:
        """A lesson from inputs and labels; `ids` `[n]` name the samples (their places, when not given)."""
        ids = torch.arange(len(x), device=x.device) if ids is None else ids.to(x.device)
        return cls(x, y, row_key(seed, ids, torch.zeros_like(ids)), torch.full_like(ids, step))

    @property
    def draw(self) -> Draw:
        """All the noise of the lesson."""
        return Draw(self.key, self.step)

    @property
    def labelled(self) -> Tensor:
        """Which rows have a label: bool `[n]`."""
        return self.y != UNLABELLED

    def expect_labels(self, name: str) -> None:
        """Raise InputError where a row has no label, for what `name` does with each."""
        missing = int((~self.labelled).sum())
        if missing:
            raise InputError(
                f"{name} leads an input away from its label, and {missing} of {len(self)} have none (y = {UNLABELLED}): leave those out, "
                f"or train by what needs no label, such as trades or stability"
            )


@contextmanager
def calm(net: nn.Module) -> Iterator[None]:
    """Inside, the net is in eval mode: the statistics of batch norm stay, dropout sleeps; afterwards every module is as it was."""
    before = [module for module in net.modules() if module.training]
    net.eval()
    try:
        yield
    finally:
        for module in before:
            module.training = True
