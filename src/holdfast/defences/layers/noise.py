"""Random self-ensembles: `Noise` inside a net, in training and after, and the mean of its answers over many draws."""

from __future__ import annotations

import math
from typing import final

import torch
from torch import Tensor, nn

from holdfast.core.errors import ConfigError
from holdfast.core.inside import normal
from holdfast.defences.layers.placement import place
from holdfast.models.resnets import positive


@final
class Noise(nn.Module):
    """y = x + σ z, z standard normal, drawn afresh for each value at each ask, in training and in eval mode alike.

    `[n, ...]` to the same shape; σ = `deviation`, in the units of x. Inside `Classifier(net, stochastic=True)` a row's noise follows from
    its own key, so that evaluations can be repeated; elsewhere it comes from torch's generator.

    Raises ConfigError for a deviation that is negative or not finite.
    Source: Liu, Cheng, Zhang & Hsieh 2018, "Towards robust neural networks via random self-ensemble".

    >>> Noise(0.0)(torch.ones(1, 2))
    tensor([[1., 1.]])
    """

    def __init__(self, deviation: float) -> None:
        super().__init__()
        if not 0 <= deviation < math.inf:
            raise ConfigError(f"deviation={deviation}: expected a number of at least 0, such as 0.1")
        self.deviation = float(deviation)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.deviation * normal(x)

    def extra_repr(self) -> str:
        return f"{self.deviation:g}"


@final
class Ensemble(nn.Module):
    """log p, p = 1/k Σ_i softmax(net(x; z_i)): one answer from `draws` asks of a random net, averaged as probabilities.

    `[n, ...]` to the logarithms of k = `draws` asks' mean probabilities `[n, classes]`, which are logits: their softmax is p.
    The net is held, not copied.

    Raises ConfigError for fewer than one draw.
    Source: Liu et al. 2018, the ensemble of predictions; their code, xuanqing94/RobustNet, sums probabilities, too.

    >>> Ensemble(nn.Linear(4, 3), 5)(torch.rand(2, 4)).exp().sum(dim=1).round(decimals=5).tolist()
    [1.0, 1.0]
    """

    def __init__(self, net: nn.Module, draws: int = 10) -> None:
        super().__init__()
        self.net, self.draws, self.training = net, positive("draws", draws), net.training

    def forward(self, x: Tensor) -> Tensor:
        # One after the other, not side by side in one batch: a row of the net's batch stays a row of the ask.
        chances = torch.stack([self.net(x).log_softmax(dim=1) for _ in range(self.draws)])
        return chances.logsumexp(dim=0) - math.log(self.draws)

    def extra_repr(self) -> str:
        return f"draws={self.draws}"


def self_ensemble(net: nn.Module, example: Tensor, init: float = 0.4, inner: float = 0.1, draws: int = 10) -> Ensemble:
    """A copy of `net` with `Noise` before each convolution, answering with the mean of `draws` asks.

    `init` and `inner`: the noise's deviations before the first convolution in `net.named_modules()`, and before all others;
    `example` `[n, ...]`: an input that the net takes.
    Train `.net` on single draws, as the paper does, then ask the whole; give it to `Classifier(…, stochastic=True)`.

    Raises ConfigError where the net has no convolution, or for a negative deviation.
    Source: Liu et al. 2018; 0.4 and 0.1 are what the authors' scripts have for CIFAR-10 in [0, 1].
    Differs from their code: their VGG-16 puts `init` before the second convolution.

    >>> from holdfast.models import lenet5
    >>> [str(part) for part in self_ensemble(lenet5(), torch.rand(1, 1, 28, 28)).net.modules() if isinstance(part, Noise)]
    ['Noise(0.4)', 'Noise(0.1)']
    """
    names = [name for name, module in net.named_modules() if isinstance(module, nn.modules.conv._ConvNd)]
    if not names:
        raise ConfigError(f"{type(net).__name__} has no convolution to put noise before: use place() with names of its own")
    noisy = place(net, names[0], lambda channels: Noise(init), example, "before")
    return Ensemble(place(noisy, names[1:], lambda channels: Noise(inner), example, "before"), draws)
