"""Before anything is measured: does the model answer the same twice, and each row by itself?"""

from __future__ import annotations

import torch
from torch import Tensor

from holdfast.core.errors import ModelError
from holdfast.engine.noise import kept_generators
from holdfast.models import Classifier


def preflight(model: Classifier, x: Tensor, rows: int = 8) -> None:
    """Raise ModelError for a model that is random without being declared so, or whose answer to a row depends on the others."""
    some = model.bounds.intake(x[:rows], model.dtype, model.device)
    with kept_generators(model.device), torch.no_grad():
        first, second = model(some).logits, model(some).logits
        if model.stochastic or bool(first.isnan().any()):
            return
        scale = first.abs().amax().clamp_min(1e-6)
        apart = float((first - second).abs().amax() / scale)
        if apart > 1e-4:
            raise ModelError(
                f"the model answers the same inputs differently ({apart:.2g} of the largest logit): it draws random numbers; "
                f"call .eval() on it, or say Classifier(stochastic=True) (--stochastic)"
            )
        alone = torch.cat([model(some[i : i + 1]).logits for i in range(len(some))])
        apart = float((first - alone).abs().amax() / scale)
        if apart > 1e-2:
            raise ModelError(
                f"the model's answer to a row depends on the others in its batch ({apart:.2g} of the largest logit): "
                f"remove batch statistics from it, or call .eval() on it"
            )
