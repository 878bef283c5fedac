"""Affine models whose distance to every decision boundary is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linprog, nnls
from torch import Tensor, nn

from holdfast.models.classifier import Classifier

torch.set_num_threads(1)


@dataclass(frozen=True)
class Affine:
    """Inputs `x` `[n, d]` around the middle of the unit box with the labels `y` that the model itself gives."""

    net: nn.Linear
    x: Tensor
    y: Tensor

    @classmethod
    def drawn(cls, n: int, d: int, classes: int, dtype: torch.dtype, seed: int = 0, spread: float = 0.05) -> Affine:
        g = torch.Generator().manual_seed(seed)
        net = nn.Linear(d, classes).to(dtype).eval().requires_grad_(False)
        weight, offset = (torch.randn(*shape, generator=g, dtype=torch.float64) for shape in ((classes, d), (classes,)))
        net.weight.copy_(weight)
        net.bias.copy_(0.3 * offset - 0.5 * weight.sum(dim=1))
        x = (0.5 + spread * torch.randn(n, d, generator=g, dtype=torch.float64)).to(dtype)
        return cls(net, x, net(x).argmax(dim=1))

    @property
    def model(self) -> Classifier:
        return Classifier(self.net, self.net.out_features)

    def gaps(self, base: Tensor) -> tuple[Tensor, Tensor]:
        """How far each class lies ahead of class `base` `[n]`, and the normals: `[n, classes]`, `[n, classes, d]`, in float64."""
        w = self.net.weight.double()
        z = self.x.double() @ w.T + self.net.bias.double()
        return z - z.gather(1, base.unsqueeze(1)), w.unsqueeze(0) - w[base].unsqueeze(1)

    def distance(self, p: float) -> Tensor:
        """The exact distance, in the norm `p`, to the nearest other class: min_k gap_k / ‖w_k − w_y‖_q; p = 0: `fewest`."""
        if p == 0:
            return self.fewest()
        gap, normal = self.gaps(self.y)
        dual = {1: torch.inf, 2: 2, torch.inf: 1}[p]
        ratio = -gap / torch.linalg.vector_norm(normal, dual, dim=2)
        return ratio.scatter(1, self.y.unsqueeze(1), torch.inf).amin(dim=1)

    def within_the_box(self) -> Affine:
        """The same model, its inputs cut to the unit box."""
        x = self.x.clamp(0, 1)
        return Affine(self.net, x, self.net(x).argmax(dim=1))

    def fewest(self) -> Tensor:
        """How many values must change within the unit box: those that can move the difference of two logits most, until it is closed."""
        gap, normal = self.gaps(self.y)
        x = self.x.double().unsqueeze(1)
        gain = torch.where(normal > 0, normal * (1 - x), -normal * x).sort(dim=2, descending=True).values.cumsum(dim=2)
        count = 1 + (gain <= -gap.unsqueeze(2)).sum(dim=2).double()
        return count.scatter(1, self.y.unsqueeze(1), torch.inf).amin(dim=1)

    def distance_to(self, target: Tensor, p: float) -> Tensor:
        """The exact distance to the region of `target` `[n]`: a small quadratic (L2) or linear (L∞) program for each input."""
        gap, normal = self.gaps(target)
        others = [[k for k in range(gap.shape[1]) if k != int(t)] for t in target]
        solve = _least_l2 if p == 2 else _least_linf
        return torch.tensor([solve(-normal[i, k].numpy(), gap[i, k].numpy()) for i, k in enumerate(others)])


def _least_l2(a: np.ndarray, b: np.ndarray) -> float:
    """min ‖d‖₂ with a d ≥ b, by Lawson and Hanson's reduction to nonnegative least squares."""
    stacked, unit = np.vstack([a.T, b]), np.append(np.zeros(a.shape[1]), 1.0)
    solution, _ = nnls(stacked, unit)
    residual = stacked @ solution - unit
    return float(np.linalg.norm(residual[:-1] / residual[-1]))


def _least_linf(a: np.ndarray, b: np.ndarray) -> float:
    """min t with a d ≥ b and −t ≤ d ≤ t."""
    d = a.shape[1]
    ones, eye = np.ones((d, 1)), np.eye(d)
    rows = np.vstack([np.hstack([-a, np.zeros((len(a), 1))]), np.hstack([eye, -ones]), np.hstack([-eye, -ones])])
    limits = np.concatenate([-b, np.zeros(2 * d)])
    return float(linprog(np.append(np.zeros(d), 1.0), rows, limits, bounds=[(None, None)] * d + [(0, None)]).fun)
