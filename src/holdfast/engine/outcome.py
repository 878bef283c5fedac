"""What a run of one attack found, one row per sample; filled as rows finish, independent of the order in which they do."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from holdfast.core.attack import Attack, Group
from holdfast.core.rows import Rows
from holdfast.engine.probe import Ledger
from holdfast.engine.verify import Verified

NONE = torch.iinfo(torch.int64).max
# What the board keeps of each sample and member.
_COUNTS = ("forwards", "backwards", "nan_forwards", "nan_backwards", "margins", "cut", "fooled")


@dataclass(frozen=True)
class Found(Rows):
    """The claim that stands for each sample `[n]`: its `member` (`NONE` without one), its row's `step` then, what verification said."""

    member: Tensor
    step: Tensor
    size: Tensor
    margin: Tensor
    share: Tensor
    prediction: Tensor
    confidence: Tensor
    target: Tensor
    eight_bit: Tensor
    radius: Tensor

    @classmethod
    def nothing(cls, n: int) -> Found:
        integer, real = torch.zeros(n, dtype=torch.int64), torch.full((n,), torch.inf, dtype=torch.float64)
        zero = torch.zeros(n, dtype=torch.float64)
        return cls(integer + NONE, integer - 1, real, -real, zero, integer - 1, zero, integer - 1, integer.bool(), real)


@dataclass(frozen=True)
class Outcome:
    """One attack on `n` samples; every tensor is on the host with the sample as axis 0.

    `success` `[n]`: a verified adversarial example stands in `adversarial`; `wrong` `[n]`: the clean input already meets the
    goal (it counts as success at size 0, and no attack was made); `done` `[n]`: nothing is left to try. `forwards`, `backwards`
    `[n]` are logical: the sample's siblings up to the winner, verification included; the `wasted_` counts are what the model was
    asked beyond that. `margin`, `weakest` `[n]`: the best margin of the sibling that came furthest, and of the one that came least
    far; `hits` `[n]`: in how many of its restarts an example was found (those that a success ends early find none). `nan_forwards`,
    `nan_backwards` `[n]`: how many of its forwards and backwards told nothing, because answers or gradients were not numbers. `refused`
    counts claims that verification did not confirm; `halted`: it was told to stop, and can go on.
    """

    attack: Attack
    adversarial: Tensor
    success: Tensor
    wrong: Tensor
    done: Tensor
    found: Found
    margin: Tensor
    weakest: Tensor
    hits: Tensor
    forwards: Tensor
    backwards: Tensor
    nan_forwards: Tensor
    nan_backwards: Tensor
    wasted_forwards: int
    wasted_backwards: int
    refused: int
    seconds: float
    halted: bool

    @property
    def complete(self) -> bool:
        return bool(self.done.all())


class Board:
    """The results so far: per sample the claim that stands, per sample and member the queries."""

    def __init__(self, n: int, group: Group, smallest: bool, strongest: bool, adversarial: Tensor) -> None:
        self.group, self.smallest, self.strongest, self.adversarial = group, smallest, strongest, adversarial
        # Written in place, each leaf in memory of its own: a copy for every harvest would grow with the samples.
        self.found = Found.nothing(n).map(torch.clone)
        self.forwards = torch.full((n, group.members), -1, dtype=torch.int32)
        self.backwards = torch.zeros(n, group.members, dtype=torch.int32)
        self.nan_forwards, self.nan_backwards = torch.zeros_like(self.backwards), torch.zeros_like(self.backwards)
        self.margins = torch.full((n, group.members), -torch.inf, dtype=torch.float32)
        self.cut = torch.zeros(n, group.members, dtype=torch.bool)
        self.fooled = torch.zeros(n, group.members, dtype=torch.bool)
        self.refused = 0

    def cancelled(self, sample: Tensor, member: Tensor) -> Tensor:
        """Rows that an earlier sibling's success has made pointless `[m]`."""
        winner = self.found.member[sample]
        return (winner != NONE) & self.group.cancels(winner, member)

    def record(
        self, sample: Tensor, member: Tensor, ledger: Ledger, claim: Verified | None, at: Tensor, target: Tensor, radius: Tensor
    ) -> None:
        """Enter finished rows `[m]`; `claim` is what verification said (None: nothing was claimed), `at` the step of the claim."""
        for one in member.unique().tolist():
            rows = (member == one).nonzero().squeeze(1)
            self._record(sample[rows], one, ledger[rows], None if claim is None else claim[rows], at[rows], target[rows], radius[rows])

    def _record(
        self, sample: Tensor, member: int, ledger: Ledger, claim: Verified | None, at: Tensor, target: Tensor, radius: Tensor
    ) -> None:
        none = torch.zeros_like(ledger.forwards)
        asked, nan = (none, none) if claim is None else (claim.forwards, claim.nan_forwards)
        self.forwards[sample, member] = (ledger.forwards + asked).int()
        self.backwards[sample, member] = ledger.backwards.int()
        self.nan_forwards[sample, member] = (ledger.nan_forwards + nan).int()
        self.nan_backwards[sample, member] = ledger.nan_backwards.int()
        self.margins[sample, member] = ledger.margin.float()
        if claim is None:
            return
        self.margins[sample, member] = torch.fmax(ledger.margin, claim.margin).float()
        self.fooled[sample, member] = claim.holds
        now = self.found[sample]
        if self.smallest:
            better = (claim.size < now.size) | ((claim.size == now.size) & (member < now.member))
        elif self.strongest:
            better = (claim.margin > now.margin) | ((claim.margin == now.margin) & (member < now.member))
        else:
            better = member < now.member
        rows = (claim.holds & better).nonzero().squeeze(1)
        if not len(rows):
            return
        won, place = claim[rows], sample[rows]
        fresh = Found(
            torch.full_like(place, member), at[rows], won.size.double(), won.margin.double(), won.share, won.prediction, won.confidence,
            target[rows], won.eight_bit, radius[rows].double(),
        )  # fmt: skip
        held = self.found.flatten()
        for name, leaf in fresh.flatten().items():
            held[name][place] = leaf
        self.adversarial[place] = won.point.to(self.adversarial.dtype).to(self.adversarial.device)

    def counted(self) -> Tensor:
        """Which members of each sample count: those that its winner does not cancel `[n, members]`."""
        member = torch.arange(self.group.members).unsqueeze(0)
        winner = self.found.member.unsqueeze(1)
        return (winner == NONE) | ~self.group.cancels(winner, member)

    def done(self) -> Tensor:
        """Samples that fell, or of which every member that counts has ended by itself, not for want of queries `[n]`."""
        counted = self.counted()
        ended = ((self.forwards >= 0) | ~counted).all(dim=1)
        return ended & ((self.found.member != NONE) | ~(self.cut & counted).any(dim=1))

    def hits(self) -> Tensor:
        """In how many restarts each sample was fooled, toward whichever rival `[n]`."""
        fooled = self.fooled & self.counted()
        return fooled.unflatten(1, (-1, max(1, self.group.rivals))).any(dim=2).sum(dim=1)

    def flatten(self) -> dict[str, Tensor]:
        state = {name: getattr(self, name) for name in _COUNTS}
        return {f"board.{name}": t for name, t in state.items()} | self.found.flatten("found.")

    def restore(self, flat: dict[str, Tensor]) -> None:
        self.found = Found.unflatten(flat, "found.")
        for name in _COUNTS:
            setattr(self, name, flat[f"board.{name}"])
