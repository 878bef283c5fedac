"""`Denoise`: the block that takes noise out of a net's features."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import final

from torch import Tensor, nn

from holdfast.core.errors import ConfigError
from holdfast.defences.layers.operations import Maps, bilateral_dot, bilateral_gaussian, mean, median, nonlocal_dot, nonlocal_gaussian
from holdfast.models.resnets import positive

LOCAL: dict[str, Callable[[Tensor], Tensor]] = {"mean": mean, "median": median, "null": lambda x: x}
WEIGHTED: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "bilateral_dot": bilateral_dot,
    "bilateral_gaussian": bilateral_gaussian,
    "nonlocal_dot": nonlocal_dot,
    "nonlocal_gaussian": nonlocal_gaussian,
}
OPERATIONS = (*LOCAL, *WEIGHTED)
"""What `Denoise` takes as its operation."""


@final
class Denoise(nn.Module):
    """y = x + BN(W op(x)): an operation that averages, a 1×1 convolution W, and the features themselves added again.

    `[n, c, h, w]` with c = `channels`, any h and w, to the same shape. `operation`: `mean`, `median` (3×3), `bilateral_gaussian`,
    `bilateral_dot` (weights within 3×3), `nonlocal_gaussian`, `nonlocal_dot` (weights over the whole image), or `null` (the
    convolution alone); see `operations`. `embedded`: the weights are made of two embeddings θ x and φ x, 1×1 convolutions to
    c / 2 features; None is the choice of the authors' nets, Gaussian weights embedded, dot products not.

    Starts as the identity: the normalisation's γ is 0, as in each residual block of the authors' code. Memory is linear in h w; where a
    gradient is itself differentiated (CURE, LLR, double backpropagation), `nonlocal_gaussian` keeps n (h w)² weights.

    Raises ConfigError for an unknown operation, an embedding where there are no weights, fewer than one channel.
    Source: Xie et al. 2019, "Feature denoising for improving adversarial robustness", section 4, figures 4 and 5.
    Differs from their code: `mean`, `median` and the bilateral ones, which it leaves out, are the paper's.

    >>> block = Denoise(6, "nonlocal_gaussian").eval()
    >>> x = torch.rand(2, 6, 5, 7)
    >>> torch.equal(block(x), x), [name for name, _ in block.named_children()]
    (True, ['theta', 'phi', 'conv', 'bn'])
    """

    def __init__(self, channels: int, operation: str = "nonlocal_gaussian", embedded: bool | None = None) -> None:
        super().__init__()
        if operation not in OPERATIONS:
            near = difflib.get_close_matches(operation, OPERATIONS, 1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise ConfigError(f"operation={operation!r} is unknown: {hint}there are {', '.join(OPERATIONS)}")
        if embedded and operation in LOCAL:
            raise ConfigError(f"embedded=True: {operation} has no weights to make of embeddings; only {', '.join(WEIGHTED)} have")
        self.operation, channels = operation, positive("channels", channels)
        self.embedded = operation.endswith("gaussian") if embedded is None else embedded
        if self.embedded:
            self.theta, self.phi = (nn.Conv2d(channels, max(1, channels // 2), 1, bias=False) for _ in range(2))
            nn.init.normal_(self.theta.weight, std=0.01)
            nn.init.normal_(self.phi.weight, std=0.01)
        self.conv = nn.Conv2d(channels, channels, 1, bias=False)
        self.bn = nn.BatchNorm2d(channels)
        nn.init.zeros_(self.bn.weight)

    def forward(self, x: Maps) -> Tensor:
        return x + self.bn(self.conv(self.smoothed(x)))

    def smoothed(self, x: Maps) -> Tensor:
        """op(x), of the same shape."""
        if self.operation in LOCAL:
            return LOCAL[self.operation](x)
        return WEIGHTED[self.operation](x, *((self.theta(x), self.phi(x)) if self.embedded else (x, x)))

    def extra_repr(self) -> str:
        return self.operation
