"""Whether a replica answers as the user's model does, to inputs and to gradients."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from holdfast.core.types import Model
from holdfast.engine.noise import by_place

COSINE = 0.99
"""Of the same precision: the mean cosine between input gradients, the logits being equal to 1e-3."""
SIGNS = 0.8
"""Of low precision: the share of equal gradient signs, with equal classes on 99 % of the rows that are not near a tie. On a LeNet-5 83 % of
the signs agree in bfloat16, which is good enough to search with."""
TIE = 0.01
"""Near a tie: the two likeliest classes lie less than this share of the largest logit apart."""


@dataclass(frozen=True)
class Reply:
    """What one ask gave and how many `seconds` it took.

    `logits` `[n, classes]`; `pair` `[n, 2]` the two classes whose margin was followed; `g` `[n, d]` its gradient in the input, None where
    there is none.
    """

    logits: Tensor
    pair: Tensor
    g: Tensor | None
    seconds: float


def ask(model: Model, x: Tensor, gradient: bool, pair: Tensor | None = None) -> Reply:
    """One ask of `x` `[n, ...]` as search makes it; the margin is between the classes of `pair`, the two likeliest when None."""
    wait = torch.cuda.synchronize if x.device.type == "cuda" else lambda: None
    wait()
    begin = time.perf_counter()
    x = x.detach().requires_grad_(gradient)
    with torch.set_grad_enabled(gradient):
        # A net may overwrite what it is given.
        logits = by_place(model, x.clone()).logits
        pair = logits.detach().topk(min(2, logits.shape[1]), dim=1).indices if pair is None else pair
        columns = logits.gather(1, pair)
        total = (columns[:, -1] - columns[:, 0]).sum()
    g = torch.autograd.grad(total, x, allow_unused=True)[0] if total.requires_grad else None
    wait()
    seconds = time.perf_counter() - begin
    return Reply(logits.detach(), pair, None if g is None else g.detach().flatten(1), seconds)


def close(found: Tensor, expected: Tensor) -> bool:
    """Whether logits are equal but for the order of float sums; where one is NaN or infinite they are not."""
    return bool(expected.isfinite().all()) and torch.allclose(found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().amax()))


def agree(own: Reply, other: Reply, low: bool) -> bool:
    """Whether logits and gradients agree as exactly as the precision lets them; NaN never does."""
    if low:
        margin = own.logits.gather(1, own.pair).diff(dim=1).abs().flatten()
        clear = margin > TIE * own.logits.abs().amax()
        differ = (own.logits.argmax(dim=1) != other.logits.argmax(dim=1))[clear]
        if not bool(other.logits.isfinite().all()) or int(differ.sum()) > 0.01 * len(differ):
            return False
    elif not close(other.logits, own.logits):
        return False
    if own.g is None or other.g is None:
        return own.g is other.g
    moved = own.g.abs().amax(dim=1) > 0
    mine, theirs = own.g[moved].double(), other.g[moved].double()
    if not len(mine):
        return True
    if low:
        return float((mine.sign() == theirs.sign())[mine != 0].double().mean()) >= SIGNS
    return float(cosine_similarity(mine, theirs, dim=1, eps=1e-300).mean()) >= COSINE
