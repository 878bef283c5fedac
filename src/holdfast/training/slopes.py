"""`slope`: each row's cross-entropy and its gradient in the input, which may be differentiated again in the weights."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import cross_entropy

from holdfast.data import UNLABELLED
from holdfast.models import Classifier
from holdfast.training.lesson import calm


def losses(model: Classifier, x: Tensor, y: Tensor) -> Tensor:
    """ℓ(x) = −log softmax(f(x))_y of each row: `[n]`, 0 where there is no label; the net is in eval mode, so that rows never meet."""
    assert isinstance(model.net, nn.Module)
    with calm(model.net):
        return cross_entropy(model(x).logits, y, ignore_index=UNLABELLED, reduction="none")


def slope(model: Classifier, x: Tensor, y: Tensor, twice: bool) -> tuple[Tensor, Tensor]:
    """ℓ(x) `[n]` and ∇ℓ(x) `[n, ...]`, 0 where there is no label; with `twice` both can be differentiated in the weights."""
    # Of attention, only its plain form can be differentiated twice.
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH) if twice else nullcontext():
        point = x.detach().requires_grad_()
        value = losses(model, point, y)
        (g,) = torch.autograd.grad(value.sum(dim=0), point, create_graph=twice)
    return value, g


def labelled(value: Tensor, y: Tensor) -> Tensor:
    """The mean of `value` `[n]` over the rows that have a label, where it is 0 for the others."""
    return value.sum(dim=0) / (y != UNLABELLED).sum(dim=0).clamp_min(1)
