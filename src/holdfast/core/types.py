"""The vocabulary that every room shares: what a model answers, what counts as fooled, what may be changed, how to move."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar, Protocol, Self, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from holdfast.core.draw import Draw
from holdfast.core.rows import Rows

PerRow = Float[Tensor, "n"]
Mask = Bool[Tensor, "n"]
Index = Int[Tensor, "n"]
Points = Float[Tensor, "n ..."]
Logits = Float[Tensor, "n classes"]


class Access(IntEnum):
    """What an attack must be able to ask of a model, from least to most."""

    DECISION = 0
    SCORE = 1
    GRADIENT = 2


@dataclass(frozen=True)
class Out(Rows):
    """What a model answers: `logits` `[n, classes]`, before softmax. A model with more to say answers with a subclass."""

    logits: Tensor


@dataclass(frozen=True)
class Batch(Rows):
    """What a rule is told of its rows.

    `x` `[n, ...]` the clean inputs; `y` `[n]` the labels (any shape after axis 0 for tasks that are not classes);
    `target` `[n]` the class aimed at, −1 for none; `clean` the model's answer to `x`; `key` `[n]` the key of the row's noise;
    `group` `[n]` the row's place among the siblings of its sample; `radius` `[n]` how far it may go.
    """

    x: Tensor
    y: Tensor
    target: Tensor
    clean: Out
    key: Tensor
    group: Tensor
    radius: Tensor


@dataclass(frozen=True)
class Bounds:
    """The valid range of inputs: numbers, or one per channel (axis 1)."""

    low: float | tuple[float, ...] = 0.0
    high: float | tuple[float, ...] = 1.0

    def pair(self, like: Tensor) -> tuple[Tensor | float, Tensor | float]:
        """Low and high, ready to broadcast against `like` `[n, ...]`."""
        low, high = self.low, self.high
        if isinstance(low, tuple) or isinstance(high, tuple):
            shape = (1, -1) + (1,) * (like.ndim - 2)
            return like.new_tensor(low).reshape(shape), like.new_tensor(high).reshape(shape)
        return low, high

    @property
    def finite(self) -> bool:
        """Whether the range has two ends everywhere."""
        sides = [side if isinstance(side, tuple) else (side,) for side in (self.low, self.high)]
        return all(math.isfinite(value) for side in sides for value in side)

    def intake(self, x: Tensor, dtype: torch.dtype, device: torch.device) -> Tensor:
        """Stored inputs as the model takes them: `uint8` 0..255 becomes low..high, floats are cast."""
        if x.dtype != torch.uint8:
            return x.to(device=device, dtype=dtype)
        x = x.to(device).to(dtype) / 255
        low, high = self.pair(x)
        return x if (low, high) == (0.0, 1.0) else low + x * (high - low)

    def clamp(self, x: Tensor) -> Tensor:
        """The nearest valid input."""
        low, high = self.pair(x)
        return torch.clamp(x, low, high)  # type: ignore[arg-type]

    def contain(self, x: Tensor) -> Mask:
        """Which rows lie wholly inside (NaN does not)."""
        low, high = self.pair(x)
        return ((x >= low) & (x <= high)).flatten(1).all(dim=1)


class Model(Protocol):
    """What the engine needs of a model. `independent`: a row's answer does not depend on its company."""

    access: Access
    bounds: Bounds
    stochastic: bool
    dtype: torch.dtype
    device: torch.device

    @property
    def independent(self) -> bool: ...

    @property
    def classes(self) -> int: ...

    def __call__(self, x: Tensor, /) -> Out: ...


@runtime_checkable
class Ranged(Protocol):
    """What every model has and no bare network: the range of its inputs."""

    bounds: Bounds


@runtime_checkable
class Marked(Protocol):
    """A model that can be told from others by what it is made of, on whatever device."""

    def fingerprint(self) -> str: ...


@runtime_checkable
class Keyed(Protocol):
    """A model with noise that follows from each row's key, not from a generator: the same `draw` is answered alike in any company."""

    def drawn(self, x: Tensor, draw: Draw, /) -> Out: ...


class Goal(ABC):
    """What counts as fooled."""

    targeted: ClassVar[bool] = False

    @abstractmethod
    def wrong(self, out: Out, batch: Batch) -> Mask:
        """Which rows are fooled; NaN never counts."""

    @abstractmethod
    def margin(self, out: Out, batch: Batch) -> PerRow:
        """Positive where fooled, ties apart; to be maximised."""

    def aim(self, clean: Out, y: Tensor, target: Tensor | None, draw: Draw) -> Tensor:
        """The class each row aims at `[n]`, given what the caller asked for; −1 for none."""
        return torch.full((len(y),), -1, device=y.device) if target is None else target


class Threat(ABC):
    """What may be changed, and how far. `p` lives in the threat's own space; `radius` is a number or one per row."""

    radius: float

    @property
    def kind(self) -> str:
        """What is changed, not how far: attacks whose threats are of one kind can be held against one radius."""
        return type(self).__name__

    def unfit(self, shape: tuple[int, ...]) -> str:
        """Why inputs of this `shape` (of one sample) cannot be changed in this way; empty where they can."""
        return ""

    @abstractmethod
    def within(self, bounds: Bounds) -> Self:
        """The same threat inside the valid range of a model."""

    @abstractmethod
    def zero(self, x: Points) -> Tensor:
        """The perturbation that changes nothing."""

    @abstractmethod
    def random(self, x: Points, draw: Draw, radius: Tensor) -> Tensor:
        """A random perturbation within `radius` `[n]`."""

    @abstractmethod
    def apply(self, x: Points, p: Tensor) -> Tensor:
        """The perturbed input."""

    def land(self, x: Points, p: Tensor, radius: Tensor) -> tuple[Tensor, PerRow]:
        """The input as it would be stored, and the size of the change that is really in it; `radius` `[n]` is what it should keep."""
        return self.apply(x, p), self.size(x, p)

    @abstractmethod
    def project(self, x: Points, p: Tensor, radius: Tensor | None = None) -> Tensor:
        """The admissible perturbation near `p`: within `radius` (its own when None) and the valid range."""

    @abstractmethod
    def size(self, x: Points, p: Tensor) -> PerRow:
        """How large the change is, in the units of `radius`."""


@runtime_checkable
class Normed(Protocol):
    """A threat that knows its steepest direction: argmax ⟨g, d⟩ over d of size 1."""

    def steepest(self, g: Tensor) -> Tensor: ...


@runtime_checkable
class Dual(Protocol):
    """A threat over a norm that knows how far a linear model's boundary is."""

    def nearest(self, gap: PerRow, w: Tensor) -> Tensor:
        """The smallest d with ⟨w, d⟩ = gap: `gap` `[n]`, `w` and d `[n, ...]`."""
        ...

    def reach(self, x: Points, p: Tensor, gap: PerRow, w: Tensor) -> Tensor:
        """The smallest d with ⟨w, d⟩ = gap and x + p + d in the valid range, or what comes nearest to it."""
        ...

    def gradient_norm(self, w: Tensor) -> PerRow:
        """The dual norm of `w`: the distance to {⟨w, d⟩ = gap} is |gap| over it."""
        ...


@dataclass(frozen=True)
class Answer(Rows):
    """What one ask told: the model's `out`, whether it is `wrong`, the goal's `margin`, the `size` of the change; each `[n]`."""

    out: Out
    wrong: Tensor
    margin: Tensor
    size: Tensor


Objective = Callable[[Out, Batch], Tensor]


class Probe(Protocol):
    """The only door to the model: it answers, counts, and remembers the best point.

    `where` `[n]` asks only some rows. `draws` asks so often, each time with fresh noise of the model, and answers with the means; a row
    is then wrong where the share of draws that are fooled is what a claim needs.
    """

    batch: Batch
    threat: Threat
    bounds: Bounds
    step: Tensor
    steps: int

    @property
    def draw(self) -> Draw: ...

    def decide(self, p: Tensor, where: Tensor | None = None) -> Mask:
        """Whether each row is fooled at `p`."""
        ...

    def score(self, p: Tensor, where: Tensor | None = None, draws: int = 1) -> Answer:
        """The model's answer at `p`."""
        ...

    def grad(self, p: Tensor, f: Objective, where: Tensor | None = None, draws: int = 1) -> tuple[Answer, PerRow, Tensor]:
        """The answer, the objective `f` `[n]` and its gradient in `p`."""
        ...

    def jacobian(
        self,
        p: Tensor,
        classes: Tensor,
        where: Tensor | None = None,
        draws: int = 1,
        base: Tensor | None = None,
        standing: bool = False,
    ) -> tuple[Answer, Tensor]:
        """The answer and the gradients `[n, k, ...]` of the logits of `classes` `[n, k]`; −1 stands for the sum of them all.

        `base` `[n]`: of what each logit is above that of this class; `standing`: rows that are wrong get zeros and cost no backward, and
        those that were found wrong before are not asked again where the attack ends at the first success.
        """
        ...


class Source(ABC):
    """Where a rule gets the objective and its gradient at a point from, by whatever means."""

    needs: ClassVar[Access]

    @abstractmethod
    def __call__(self, probe: Probe, p: Tensor, f: Objective) -> tuple[Answer, PerRow, Tensor]: ...

    def asks(self) -> int:
        """How often the model is asked about one point."""
        return 1


class Rule(ABC):
    """How to move. Rows know nothing of each other; all that is remembered is in the state.

    `requires` lists protocols (`Normed`, `Dual`) that the threat must satisfy.
    """

    needs: ClassVar[Access]
    State: ClassVar[type[Rows]]
    requires: ClassVar[tuple[type, ...]] = ()

    @abstractmethod
    def init(self, probe: Probe) -> Rows:
        """Where fresh rows begin."""

    @abstractmethod
    def step(self, state: Rows, probe: Probe) -> Rows:
        """One step of every row."""

    def pending(self, state: Rows) -> Tensor | None:
        """The point a row has moved to and not yet asked about; the engine asks before it gives the row up."""
        return None

    def finished(self, state: Rows) -> Mask | None:
        """Rows with nothing left to do, where that can be before the last step."""
        return None

    def fitted(self, classes: int) -> Self:
        """The rule for a model of so many classes: an objective that needs more falls back to one that does not."""
        return self

    def price(self) -> int:
        """How many forwards a row's first step costs: what a budget must hold at least."""
        return 1

    def sourced(self, source: Source) -> Rule:
        """The rule with another gradient source, where it has one."""
        return self


@dataclass(frozen=True)
class Verdict:
    """How a claim is verified: `asks` asks of the user's own model, fooled in at least `share` of them."""

    asks: int = 1
    share: float = 1.0

    @classmethod
    def of(cls, model: Model) -> Verdict:
        """One ask for a deterministic model; twenty fresh draws, half of them fooled, for a stochastic one."""
        return cls(20, 0.5) if model.stochastic else cls()
