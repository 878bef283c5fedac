"""`SparseChange`: random search over which few values change, each to an end of the valid range."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from holdfast.core.errors import ConfigError
from holdfast.core.types import Probe
from holdfast.parts.norms import take_largest
from holdfast.parts.search import Proposal
from holdfast.parts.threats import L0


@dataclass(frozen=True)
class SparseChange(Proposal):
    """L0: of the best point's k changed places a share is put back, and as many others go to a random end of the range.

    The share falls from `share` to nothing along the steps; one place always moves. Begins with k random places.

    Source: after Croce et al. 2022, "Sparse-RS" (arXiv:2006.12834), algorithm 2.
    Differs from the paper: the share falls evenly, not in stages.
    """

    share: float = 0.3
    requires: ClassVar[tuple[type, ...]] = (L0,)

    def first(self, probe: Probe) -> Tensor:
        x = probe.batch.x
        return take_largest(self._weights("place", probe), self._ends(probe), probe.batch.radius.to(x.dtype))

    def next(self, best: Tensor, probe: Probe) -> Tensor:
        spent = probe.step.to(best.dtype) / probe.steps
        moved = (self.share * (1 - spent) * probe.batch.radius.to(best.dtype)).round().clamp_min(1)
        weights = self._weights("kept", probe)
        changed = best != 0
        if weights.shape[1] != best.shape[1]:
            changed = changed.any(dim=1, keepdim=True)
        kept = take_largest(torch.where(changed, 1 + weights, weights), best, (probe.batch.radius.to(best.dtype) - moved).clamp_min(0))
        still = (kept != 0).any(dim=1, keepdim=True) if weights.shape[1] != best.shape[1] else kept != 0
        fresh = take_largest(torch.where(still, -1.0, self._weights("fresh", probe)), self._ends(probe), moved)
        return torch.where(still, kept, fresh)

    def _weights(self, name: str, probe: Probe) -> Tensor:
        """A random number for each place: of an image, all channels of it, where the threat counts so."""
        x, threat = probe.batch.x, probe.threat
        assert isinstance(threat, L0)
        shape = (1, *x.shape[2:]) if threat.pixels and x.ndim > 2 else tuple(x.shape[1:])
        return probe.draw.uniform(name, shape, x.dtype)

    def _ends(self, probe: Probe) -> Tensor:
        """The change that takes each value to a random end of the range."""
        x, bounds = probe.batch.x, probe.bounds
        if not bounds.finite:
            raise ConfigError(f"sparse random search needs a finite range, not {bounds}: give Classifier(bounds=(low, high))")
        low, high = bounds.pair(x)
        upper = probe.draw.sign("end", tuple(x.shape[1:]), x.dtype) > 0
        return torch.where(upper, high - x, low - x)
