"""`Recipe`: how long, how fast and on what a net is trained; the optimiser and its schedule are torch's."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Literal, get_args

from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from holdfast.core.errors import ConfigError
from holdfast.training.augment import Augmentation
from holdfast.training.objective import Objective
from holdfast.training.search import Search

Schedule = Literal["cyclic", "cosine", "steps", "constant"]


@dataclass(frozen=True)
class Recipe:
    """What is lowered (`objective`), and how.

    `epochs` over the data in batches of `batch` (over all processes together); SGD with Nesterov momentum, or AdamW; the `rate` rises over
    the first 40 % of a `cyclic` schedule and falls to 0, falls along half a `cosine`, to a tenth after each of the epochs in `drops`
    (`steps`; at 1/2 and 3/4 where there are none), or stays, and rises from 0 over the first `warmup` epochs beside all that; `average`:
    the decay of the weights' exponential average (0: none), at step t no more than (1 + t) / (10 + t), which is then what is validated and
    kept (buffers of whole numbers are the last step's); `clip`: the largest norm of a gradient; `patience`: epochs without better robust
    accuracy (clean, where no threat is given) before it ends (None: never);
    `precision`: Fabric's, as `bf16-mixed`; the net's own when None; `search`: what the attacks ask, the net itself (`own`) or a copy made
    at each step, with batch norms `folded`, in `bfloat16` or `float16`: faster where a step has many asks, and there are units for it.

    Raises ConfigError for values that make no sense.
    """

    objective: Objective
    epochs: int = 30
    batch: int = 128
    optimiser: Literal["sgd", "adamw"] = "sgd"
    rate: float = 0.1
    momentum: float = 0.9
    decay: float = 5e-4
    schedule: Schedule = "cyclic"
    augment: tuple[Augmentation, ...] = ()
    average: float = 0.0
    clip: float | None = None
    patience: int | None = None
    precision: str | None = None
    search: Search = "own"
    drops: tuple[int, ...] = ()
    warmup: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)!r}: expected a whole number of at least 1")
        if not (self.rate > 0 and 0 <= self.momentum < 1 and self.decay >= 0 and 0 <= self.average < 1):
            raise ConfigError(
                f"rate={self.rate}, momentum={self.momentum}, decay={self.decay}, average={self.average}: "
                f"expected rate > 0, momentum and average in [0, 1), decay >= 0"
            )
        if self.optimiser not in ("sgd", "adamw") or self.schedule not in SHAPES:
            raise ConfigError(f"optimiser={self.optimiser!r}, schedule={self.schedule!r}: choose sgd or adamw, and of {', '.join(SHAPES)}")
        if self.search not in get_args(Search):
            raise ConfigError(f"search={self.search!r}: choose of {', '.join(get_args(Search))}")
        if (self.clip is not None and not self.clip > 0) or (self.patience is not None and self.patience < 1):
            raise ConfigError(f"clip={self.clip}, patience={self.patience}: expected a positive norm, and at least one epoch")
        if (self.drops and self.schedule != "steps") or not all(0 < drop < self.epochs for drop in self.drops):
            raise ConfigError(
                f"drops={self.drops}, schedule={self.schedule!r}: expected epochs below {self.epochs}, and the schedule steps"
            )
        if not 0 <= self.warmup < self.epochs:
            raise ConfigError(f"warmup={self.warmup}: expected a number of epochs below all {self.epochs}")

    @property
    def digest(self) -> str:
        """A hash of all of it: what a half-done run is known by."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:16]

    def optimised(self, net: nn.Module, steps: int) -> tuple[Optimizer, LambdaLR]:
        """The optimiser, and the schedule over so many steps. Weights of fewer than two axes do not decay."""
        groups = [
            {"params": [p for p in net.parameters() if p.requires_grad and (p.ndim >= 2) == large], "weight_decay": decay}
            for large, decay in ((True, self.decay), (False, 0.0))
        ]
        groups = [group for group in groups if group["params"]]
        if not groups:
            raise ConfigError("the net has no weights that take a gradient: nothing can be trained")
        made: Optimizer = (
            SGD(groups, self.rate, self.momentum, nesterov=self.momentum > 0)
            if self.optimiser == "sgd"
            else AdamW(groups, self.rate, (self.momentum, 0.999))
        )
        return made, LambdaLR(made, lambda step: self.share(min(step, steps) / steps))

    def share(self, done: float) -> float:
        """The share of the rate after a share of the run."""
        epoch = done * self.epochs + 1e-9
        rise = min(1.0, max(epoch / self.warmup, 1e-3)) if self.warmup else 1.0
        return rise * (0.1 ** sum(epoch >= drop for drop in self.drops) if self.drops else SHAPES[self.schedule](done))


def _cyclic(share: float) -> float:
    return max(share / 0.4, 1e-3) if share < 0.4 else (1 - share) / 0.6


SHAPES = {
    "cyclic": _cyclic,
    "cosine": lambda share: 0.5 * (1 + math.cos(math.pi * share)),
    "steps": lambda share: 1.0 if share < 0.5 else 0.1 if share < 0.75 else 0.01,
    "constant": lambda share: 1.0,
}
"""The share of the rate after a share of the run."""
