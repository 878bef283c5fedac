"""`Search`: which model each attack asks while it searches."""

from __future__ import annotations

from dataclasses import replace
from typing import final

from torch import Tensor

from holdfast.core.attack import Attack
from holdfast.core.types import Access, Model
from holdfast.engine import Choice, replica
from holdfast.evaluation.entry import Gradient
from holdfast.evaluation.reaction import Reaction


@final
class Search:
    """The replica that was chosen, seen as the reaction demands; each is made once. `x` `[m, ...]`: real inputs to try it on."""

    def __init__(self, model: Model, choice: Choice, reaction: Reaction, x: Tensor) -> None:
        self.model, self.choice, self.reaction, self.x = model, choice, reaction, x
        self._made: dict[tuple[Choice, bool], Model] = {}

    def __call__(self, attack: Attack, gradient: Gradient | None = None) -> Model:
        """What search for this attack asks, by the `gradient` that the reaction chose or by another."""
        choice = self.choice.suited(attack)
        # Where no gradient is asked, none need lead anywhere.
        straight = (gradient or self.reaction.gradient) == "straight" and attack.rule.needs >= Access.GRADIENT
        key = (choice, straight)
        if key not in self._made:
            base = self.model if straight else replica(self.model, choice)
            reaction = replace(self.reaction, gradient="straight") if straight else self.reaction
            self._made[key] = reaction.model(base, self.x, straight)
        return self._made[key]
