"""What an objective's search asks: the net itself, or a copy of it that answers faster, made afresh at each step."""

from __future__ import annotations

from typing import Literal, cast

from torch import nn

from holdfast.core.errors import ModelError
from holdfast.engine.replica import Choice, Low, foldable, replica
from holdfast.models import Classifier

Search = Literal["own", "folded", "bfloat16", "float16"]


def searched(model: Classifier, search: Search = "own") -> Classifier:
    """The model that a search asks, its net being in eval mode: itself (`own`), or around a copy whose batch norms are `folded` into the
    layers before them, with weights and activations of lower precision where one is named.

    Raises ModelError where the net cannot be copied, or not `folded` as was asked; for a lower precision alone it need not be.

    >>> from holdfast.models import mlp
    >>> model = Classifier(mlp(4, 3).eval(), 3)
    >>> searched(model) is model, searched(model, "bfloat16").dtype
    (True, torch.float32)
    """
    if search == "own":
        return model
    low: Low | None = None if search == "folded" else search
    if foldable(cast(nn.Module, model.net)):
        try:
            return cast(Classifier, replica(model, Choice("folded", low)))
        except ModelError:
            if low is None:
                raise
    return cast(Classifier, replica(model, Choice("frozen", low)))
