"""`Attack`: a sentence over parts, hashable and with a repr that says everything."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor

from holdfast.core.errors import ConfigError
from holdfast.core.expect import expect_fields
from holdfast.core.types import Goal, Rule, Threat

Keep = Literal["first", "smallest", "strongest", "last"]


@dataclass(frozen=True)
class Group:
    """Rows of one sample that compete: restarts × rival classes × radii, in one order (radii slowest, then restarts).

    `rivals`: how many of the classes that the clean logits rank highest are aimed at, one row each (0: no aim);
    `radii`: an ascending grid (empty: the threat's own radius);
    `cancel`: a success ends the `later` siblings, only those of a `larger` radius, or `none`.
    """

    restarts: int = 1
    rivals: int = 0
    radii: tuple[float, ...] = ()
    cancel: Literal["later", "larger", "none"] = "later"

    def __post_init__(self) -> None:
        expect_fields(self)
        if self.restarts < 1:
            raise ConfigError(f"restarts={self.restarts}: at least one is needed")
        if list(self.radii) != sorted(set(self.radii)) or any(not radius >= 0 for radius in self.radii):
            raise ConfigError(f"radii={self.radii}: give each radius once, ascending and not negative")

    def fitted(self, classes: int) -> Group:
        """At most one rival for each other class."""
        return replace(self, rivals=min(self.rivals, classes - 1))

    @property
    def members(self) -> int:
        return self.siblings * max(1, len(self.radii))

    @property
    def siblings(self) -> int:
        """How many members share one radius."""
        return self.restarts * max(1, self.rivals)

    def radius(self, member: Tensor, default: float) -> Tensor:
        """How far each member may go: float64, shaped as `member`."""
        if not self.radii:
            return torch.full_like(member, default, dtype=torch.float64)
        return torch.tensor(self.radii, dtype=torch.float64, device=member.device)[member // self.siblings]

    def rank(self, member: Tensor) -> Tensor:
        """Which rival each member aims at: 0 is the likeliest wrong class."""
        return member % max(1, self.rivals)

    def cancels(self, winner: Tensor, member: Tensor) -> Tensor:
        """Whether a success of `winner` makes `member` pointless; shapes broadcast."""
        if self.cancel == "later":
            return member > winner
        if self.cancel == "larger":
            return member // self.siblings > winner // self.siblings
        return torch.zeros_like(member > winner)


@dataclass(frozen=True)
class Stop:
    """When a row ends: after `steps` steps, at the first success if `early`, or before it would pass `queries` forwards."""

    steps: int
    early: bool = True
    queries: int | None = None

    def __post_init__(self) -> None:
        expect_fields(self)
        if self.steps < 1:
            raise ConfigError(f"steps={self.steps}: at least one step is needed")
        if self.queries is not None and self.queries < 1:
            raise ConfigError(f"queries={self.queries}: at least one query is needed")


@dataclass(frozen=True)
class Attack:
    """A search for a perturbation: what counts (`goal`), what may change (`threat`), how to move (`rule`), when to end (`stop`).

    `keep`: which point is claimed: the `first` success, the `smallest`, the `strongest` (largest margin), or the `last` point.
    The short form (`call`) is what people write; the hash is of the expanded form, so a changed default is another attack.
    """

    goal: Goal
    threat: Threat
    rule: Rule
    stop: Stop
    group: Group = Group()
    keep: Keep = "first"
    call: str = field(default="", compare=False, repr=False)

    def __post_init__(self) -> None:
        expect_fields(self)
        for protocol in self.rule.requires:
            if not isinstance(self.threat, protocol):
                raise ConfigError(
                    f"{type(self.rule).__name__} needs a threat that is {protocol.__name__}, "
                    f"{self.threat!r} is not: choose L2, Linf or L1, or another attack"
                )

        if self.keep in ("smallest", "strongest") and self.group.members > 1 and self.group.cancel != "none":
            raise ConfigError(f"keep={self.keep!r} compares all siblings, but cancel={self.group.cancel!r} ends some: use cancel='none'")

    def __str__(self) -> str:
        return self.call or repr(self)

    @property
    def name(self) -> str:
        """The catalogue's name."""
        return self.call.partition("(")[0] or type(self.rule).__name__.lower()

    @property
    def digest(self) -> str:
        """A hash of the expanded form: the cache key and the provenance of a record."""
        # 5 and 5.0 make equal attacks, so they must give one hash.
        whole = re.sub(r"(?<=\d)\.0(?=[,)])", "", repr(self))
        return hashlib.sha256(whole.encode()).hexdigest()[:16]

    def fitted(self, classes: int) -> Attack:
        """The attack for a model of so many classes."""
        return replace(self, rule=self.rule.fitted(classes), group=self.group.fitted(classes))
