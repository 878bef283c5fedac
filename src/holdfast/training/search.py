"""What an objective's search asks: the net itself, or a copy of it that answers faster, made afresh at each step."""

from __future__ import annotations

from typing import Literal, cast

from torch import nn

from holdfast.engine.replica import Choice, foldable, replica
from holdfast.models import Classifier

Search = Literal["own", "folded", "bfloat16", "float16"]


def searched(model: Classifier, search: Search = "own") -> Classifier:
    """The model that a search asks, its net being in eval mode: itself (`own`), or around a copy whose batch norms are `folded` into the
    layers before them, with weights and activations of lower precision where one is named.

    Raises ModelError where the net cannot be copied or folded.

    >>> from holdfast.models import mlp
    >>> model = Classifier(mlp(4, 3).eval(), 3)
    >>> searched(model) is model, searched(model, "bfloat16").dtype
    (True, torch.float32)
    """
    if search == "own":
        return model
    form, low = "folded" if foldable(cast(nn.Module, model.net)) else "frozen", None if search == "folded" else search
    return cast(Classifier, replica(model, Choice(form, low)))  # type: ignore[arg-type]
