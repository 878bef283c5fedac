"""The promises that every attack on single rows keeps, one function each.

For an attack of your own, with `tests` on the path: `for promise in suite.PROMISES: promise(attack, bench.flat())`; each raises
AssertionError where the promise is broken, and says for which samples.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from holdfast.core.attack import Attack
from holdfast.core.rows import Rows
from holdfast.engine import NONE, Outcome
from holdfast.parts.threats import Additive

from .bench import Case, Counted

Promise = Callable[[Attack, Case], None]


def bits(tensor: Tensor) -> Tensor:
    """The bytes of a tensor: NaN equals NaN, and −0 is not 0."""
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)


def tensors(outcome: Outcome) -> dict[str, Tensor]:
    """Everything that an outcome says of the samples."""
    flat: dict[str, Tensor] = {}
    for field in fields(outcome):
        value = getattr(outcome, field.name)
        flat |= value.flatten(f"{field.name}.") if isinstance(value, Rows) else {field.name: value} if isinstance(value, Tensor) else {}
    return flat


def assert_same(outcome: Outcome, other: Outcome, rows: Tensor | None = None, why: str = "") -> None:
    """Equal bit for bit; `rows`: the positions in `outcome` of the other's samples."""
    theirs = tensors(other)
    for name, tensor in tensors(outcome).items():
        mine = tensor if rows is None else tensor[rows]
        if not torch.equal(bits(mine), bits(theirs[name])):
            differ = (mine != theirs[name]).reshape(len(mine), -1).any(dim=1).nonzero().flatten().tolist()
            raise AssertionError(f"{why}: {name} differs at {differ} of {len(mine)} samples")


def slots_do_not_matter(attack: Attack, case: Case) -> None:
    """As many rows in flight as you like."""
    reference = case.run(attack, slots=64)
    for slots in (3, 7):
        assert_same(reference, case.run(attack, slots=slots), why=f"{slots} slots against 64")
    few = torch.arange(1, len(case.samples), 3)
    assert_same(reference, case.at(few).run(attack, slots=1), few, why="one slot against 64")


def harvest_does_not_matter(attack: Attack, case: Case) -> None:
    """However seldom the engine looks who is done."""
    reference = case.run(attack, harvest=1)
    for harvest, slots in ((2, 7), (5, 7), (5, 64)):
        assert_same(reference, case.run(attack, slots, harvest), why=f"harvest every {harvest} steps in {slots} slots")


def order_does_not_matter(attack: Attack, case: Case) -> None:
    """Samples in another order, each with its id."""
    order = torch.randperm(len(case.samples), generator=torch.Generator().manual_seed(11))
    reference = case.run(attack)
    for slots in (5, 64):
        assert_same(reference, case.at(order).run(attack, slots), order, why=f"another order in {slots} slots")


def shards_do_not_matter(attack: Attack, case: Case) -> None:
    """The halves of the samples, attacked apart."""
    reference = case.run(attack)
    for half in (torch.arange(0, len(case.samples), 2), torch.arange(1, len(case.samples), 2)):
        assert_same(reference, case.at(half).run(attack, slots=7), half, why="half of the samples")


def pieces_do_not_matter(attack: Attack, case: Case) -> None:
    """However many rows the model is asked at once."""
    reference = case.run(attack, rows=128)
    for rows in (1, 4, 64):
        assert_same(reference, case.run(attack, rows=rows), why=f"{rows} rows at once against 128")


def kills_do_not_matter(attack: Attack, case: Case) -> None:
    """A run halted after every few steps, its snapshot torn in the middle of a write, goes on to the same outcome."""
    reference = case.run(attack, slots=5)
    few = torch.arange(1, len(case.samples), 4)
    assert_same(reference, resumed(attack, case, 5), why="killed after every 5 windows")
    assert_same(reference, resumed(attack, case.at(few), 1), few, why="killed after every window")


def resumed(attack: Attack, case: Case, after: int) -> Outcome:
    """The outcome of a run that is killed after every `after` windows and started again with the same call."""
    with tempfile.TemporaryDirectory() as folder:
        snapshot = Path(folder) / "attack.snapshot"
        for _ in range(10_000):
            windows = iter(range(1, 10**9))
            outcome = case.run(attack, slots=5, snapshot=snapshot, halt=lambda windows=windows: next(windows) >= after)
            if outcome.complete:
                return outcome
            snapshot.with_name(snapshot.name + ".part").write_bytes(b"torn")
    raise AssertionError("the run never ends")


def noise_is_keyed(attack: Attack, case: Case) -> None:
    """The global generator neither steers an attack nor is moved by it; the same seed repeats, whatever was drawn before."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        before = torch.get_rng_state()
        first = case.run(attack)
        assert torch.equal(before, torch.get_rng_state()), "the attack moved the global generator"
        torch.manual_seed(2)
        assert_same(first, case.run(attack), why="another global seed")


def counts_are_honest(attack: Attack, case: Case) -> None:
    """forwards + wasted_forwards, and backwards alike, are what the model itself counted."""
    for slots, harvest in ((7, 1), (7, 4), (64, 2)):
        net = Counted(case.net)
        outcome = replace(case, net=net).run(attack, slots, harvest)
        assert int(outcome.forwards.sum()) + outcome.wasted_forwards == net.forwards, "forwards are not what the model counted"
        assert int(outcome.backwards.sum()) + outcome.wasted_backwards == net.backwards, "backwards are not what the model counted"
        assert outcome.wasted_forwards >= 0 and outcome.wasted_backwards >= 0, "waste is not negative"
        assert bool((outcome.forwards >= 1).all()), "every sample costs its clean answer at least"


def claims_hold(attack: Attack, case: Case) -> None:
    """Each success fools the plain net from the stored point, within its radius and range; failures hold the clean input."""
    outcome = case.run(attack)
    x, adversarial = case.samples.x, outcome.adversarial
    assert adversarial.dtype == x.dtype and adversarial.shape == x.shape and adversarial.device == x.device
    case.net.eval()
    with torch.no_grad():
        answer = case.net(adversarial).argmax(dim=1)
    found = outcome.found.member != NONE
    assert torch.equal(outcome.success, found | outcome.wrong), "success is a claim, or a clean input that meets the goal already"
    wanted = answer == outcome.found.target if attack.goal.targeted else answer != case.samples.y
    assert bool(wanted[found].all()), "a claimed success does not fool the net"
    if attack.goal.targeted and case.samples.target is not None:
        assert torch.equal(outcome.found.target[found], case.samples.target[found]), "the target is not the one asked for"
    assert torch.equal(outcome.found.prediction[found], answer[found])
    # What other threats did cannot be read off the example: there the size that verification told must hold.
    size = attack.threat.size(x, adversarial - x) if isinstance(attack.threat, Additive) else outcome.found.size
    assert bool((size <= outcome.found.radius * (1 + 1e-5) + 1e-6)[found].all()), "a claimed success is too large"
    assert bool((adversarial >= 0).all() and (adversarial <= 1).all()), "an example leaves the valid range"
    assert torch.equal(adversarial[~found], x[~found]), "a failure does not hold the clean input"
    assert bool((outcome.found.share[found] == 1).all()) and outcome.complete


def module_is_left_alone(attack: Attack, case: Case) -> None:
    """Modes, gradients, `requires_grad`, weights and statistics of the user's module are what they were."""
    net = case.net
    parameters = list(net.parameters())
    kept = torch.full_like(parameters[0], 0.25)
    parameters[0].grad = kept
    parameters[-1].requires_grad_(False)
    before = _state(net)
    case.run(attack)
    after = _state(net)
    given = parameters[0].grad
    parameters[0].grad = None
    parameters[-1].requires_grad_(True)
    assert before[0] == after[0], "a mode, a gradient or a flag changed"
    assert all(torch.equal(bits(a), bits(b)) for a, b in zip(before[1], after[1], strict=True)), "a weight or statistic changed"
    assert given is kept and bool((given == 0.25).all()), "a gradient that was there before is gone"


def _state(net: nn.Module) -> tuple[list[object], list[Tensor]]:
    facts: list[object] = [module.training for module in net.modules()]
    facts += [(p.requires_grad, p.grad is None) for p in net.parameters()]
    return facts, [t.detach().clone() for t in net.state_dict().values()]


PROMISES: tuple[Promise, ...] = (
    slots_do_not_matter,
    harvest_does_not_matter,
    order_does_not_matter,
    shards_do_not_matter,
    pieces_do_not_matter,
    kills_do_not_matter,
    noise_is_keyed,
    counts_are_honest,
    claims_hold,
    module_is_left_alone,
)
