"""Nets with one hidden layer of two ReLU neurons: the exact smallest change is the least over their four affine pieces."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
import torch
from scipy.optimize import linprog, nnls
from torch import Tensor, nn

from holdfast.models.classifier import Classifier

torch.set_num_threads(1)


@dataclass(frozen=True)
class TwoNeurons:
    """Inputs `x` `[n, d]` around the middle of the unit box, where both neurons have their kinks, with the labels `y` of the net itself."""

    net: nn.Sequential
    x: Tensor
    y: Tensor

    @classmethod
    def drawn(cls, n: int, d: int, classes: int, seed: int = 0, spread: float = 0.03, lead: float = 0.0) -> TwoNeurons:
        """`lead`: how far ahead class 0 is made to lie."""
        g = torch.Generator().manual_seed(seed)
        hidden, out = nn.Linear(d, 2).double(), nn.Linear(2, classes).double()
        net = nn.Sequential(hidden, nn.ReLU(), out).eval().requires_grad_(False)
        weight, mix = torch.randn(2, d, generator=g, dtype=torch.float64), torch.randn(classes, 2, generator=g, dtype=torch.float64)
        hidden.weight.copy_(weight)
        hidden.bias.copy_(0.05 - 0.5 * weight.sum(dim=1))
        out.weight.copy_(mix)
        out.bias.copy_(-0.1 * mix.sum(dim=1))
        out.bias[0] += lead
        x = (0.5 + spread * torch.randn(n, d, generator=g, dtype=torch.float64)).clamp(0, 1)
        return cls(net, x, net(x).argmax(dim=1))

    @property
    def model(self) -> Classifier:
        return Classifier(self.net, self.net[2].out_features)

    def pieces(self, i: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """For each pattern of active neurons and each rival: A, b such that d with A d ≥ b keeps to the pattern and reaches the rival."""
        (w, b), (v, c) = ((m.weight.numpy(), m.bias.numpy()) for m in (self.net[0], self.net[2]))
        at, y = w @ self.x[i].numpy() + b, int(self.y[i])
        found = []
        for pattern, rival in product(product((0, 1), repeat=2), range(len(c))):
            if rival == y:
                continue
            sign = 2 * np.array(pattern) - 1
            lead = (v[rival] - v[y]) * np.array(pattern)
            rows = np.vstack([sign[:, None] * w, lead @ w])
            found.append((rows, np.append(-sign * at, c[y] - c[rival] - lead @ at)))
        return found

    def distance(self, p: float) -> Tensor:
        """The exact distance `[n]` to the nearest other class in the norm `p`; for p = 0 inside the unit box, else anywhere."""
        solve = {0: self._least_l0, 1: _least_l1, 2: _least_l2, np.inf: _least_linf}[p]
        if p == 0:
            return torch.tensor([self._least_l0(i) for i in range(len(self.x))], dtype=torch.float64)
        return torch.tensor([min(solve(*piece) for piece in self.pieces(i)) for i in range(len(self.x))], dtype=torch.float64)

    def dead(self) -> Tensor:
        """Where neither neuron is active, so that no gradient points anywhere `[n]`."""
        return (self.net[0](self.x) <= 0).all(dim=1)

    def crosses_a_kink(self) -> Tensor:
        """Whether the nearest point of another class, in L2, has other neurons active than the input `[n]`."""
        own = [tuple((self.net[0](self.x[i]) > 0).int().tolist()) for i in range(len(self.x))]
        rivals = self.net[2].out_features - 1
        nearest = [int(np.argmin([_least_l2(*piece) for piece in self.pieces(i)])) // rivals for i in range(len(self.x))]
        patterns = list(product((0, 1), repeat=2))
        return torch.tensor([patterns[k] != o for k, o in zip(nearest, own, strict=True)])

    def _least_l0(self, i: int) -> float:
        """The fewest values that must change: all sets of values, the small ones first, each tried by a linear program."""
        x = self.x[i].numpy()
        for count in range(1, len(x) + 1):
            for chosen in combinations(range(len(x)), count):
                room = [(-x[j], 1 - x[j]) for j in chosen]
                for a, b in self.pieces(i):
                    if linprog(np.zeros(count), -a[:, list(chosen)], -b, bounds=room).status == 0:
                        return count
        return np.inf


def _least_l2(a: np.ndarray, b: np.ndarray) -> float:
    """min ‖d‖₂ with a d ≥ b by Lawson and Hanson's reduction to nonnegative least squares; ∞ where nothing satisfies it."""
    stacked, unit = np.vstack([a.T, b]), np.append(np.zeros(a.shape[1]), 1.0)
    solution, _ = nnls(stacked, unit)
    residual = stacked @ solution - unit
    return float(np.linalg.norm(residual[:-1] / residual[-1])) if abs(residual[-1]) > 1e-12 else np.inf


def _least_l1(a: np.ndarray, b: np.ndarray) -> float:
    """min Σ(u + v) with a (u − v) ≥ b and u, v ≥ 0."""
    solved = linprog(np.ones(2 * a.shape[1]), np.hstack([-a, a]), -b)
    return float(solved.fun) if solved.status == 0 else np.inf


def _least_linf(a: np.ndarray, b: np.ndarray) -> float:
    """min t with a d ≥ b and −t ≤ d ≤ t."""
    d = a.shape[1]
    ones, eye = np.ones((d, 1)), np.eye(d)
    rows = np.vstack([np.hstack([-a, np.zeros((len(a), 1))]), np.hstack([eye, -ones]), np.hstack([-eye, -ones])])
    limits = np.concatenate([-b, np.zeros(2 * d)])
    solved = linprog(np.append(np.zeros(d), 1.0), rows, limits, bounds=[(None, None)] * d + [(0, None)])
    return float(solved.fun) if solved.status == 0 else np.inf
