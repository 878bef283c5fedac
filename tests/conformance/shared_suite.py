"""The promises that every shared perturbation keeps, one function each: `for promise in PROMISES: promise(method, bench.images())`."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from holdfast.models import Classifier
from holdfast.training.shared import Fitted, Shared, fit

from .bench import Case, Counted
from .suite import _state, bits

Promise = Callable[[Shared, Case], None]


def fitted(method: Shared, case: Case, seed: int = 0, **more: object) -> Fitted:
    return fit(method, case.model, case.samples.x, seed, case.samples.ids, **more)  # type: ignore[arg-type]


def assert_same(one: Fitted, other: Fitted, why: str) -> None:
    assert torch.equal(bits(one.perturbation), bits(other.perturbation)), f"{why}: another perturbation"
    assert one.history == other.history and one.best == other.best, f"{why}: another history"
    assert (one.forwards, one.backwards) == (other.forwards, other.backwards), f"{why}: other costs"


def noise_is_keyed(method: Shared, case: Case) -> None:
    """The global generator neither steers a fit nor is moved by it; the same seed repeats."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        before = torch.get_rng_state()
        first = fitted(method, case)
        assert torch.equal(before, torch.get_rng_state()), "the fit moved the global generator"
        torch.manual_seed(2)
        assert_same(first, fitted(method, case), "another global seed")
    assert not torch.equal(fitted(method, case, 1).perturbation, first.perturbation), "the seed does nothing"


def the_perturbation_holds(method: Shared, case: Case) -> None:
    """It is admissible as it is given back, finite, and the inputs that carry it are valid."""
    found, placement, bounds = fitted(method, case), method.scene.placement, case.model.bounds
    p = found.perturbation.unsqueeze(0)
    assert bool(p.isfinite().all()) and bool(p.any())
    assert torch.allclose(placement.project(p, bounds), p, rtol=0, atol=1e-9), "the perturbation given back is not admissible"
    radius = getattr(getattr(placement, "threat", None), "radius", torch.inf)
    assert found.size <= radius * (1 + 1e-6) + 1e-9
    shown = found.apply(case.samples.x)
    assert shown.shape == case.samples.x.shape and shown.dtype == case.samples.x.dtype
    assert bool(bounds.contain(shown).all()), "an input that carries it is not valid"
    assert torch.equal(bits(shown), bits(found.apply(case.samples.x))), "it is put on otherwise the second time"


def counts_are_honest(method: Shared, case: Case) -> None:
    """forwards and backwards are what the model itself counted."""
    net = Counted(case.net)
    found = fit(method, Classifier(net, case.classes), case.samples.x)
    assert (found.forwards, found.backwards) == (net.forwards, net.backwards), "the counts are not the model's own"
    assert found.backwards > 0


def the_history_is_true(method: Shared, case: Case) -> None:
    """One rate for each pass; the best is the last of the highest; the fit ended when it was told to."""
    found = fitted(method, case)
    assert found.complete and 1 <= len(found.history) <= method.passes and all(0 <= rate <= 1 for rate in found.history)
    best = max(i for i, rate in enumerate(found.history) if rate == max(found.history))
    assert found.best == (best if method.keep == "best" else len(found.history) - 1)
    assert len(found.history) == method.passes or found.history[-1] >= (method.until or 2)


def kills_do_not_matter(method: Shared, case: Case) -> None:
    """A fit halted after every pass, its snapshot torn in the middle of a write, goes on to the same end."""
    reference = fitted(method, case)
    with tempfile.TemporaryDirectory() as folder:
        snapshot = Path(folder) / "fit.snapshot"
        for _ in range(method.passes + 1):
            passes = iter((False, True))
            found = fitted(method, case, snapshot=snapshot, halt=lambda passes=passes: next(passes))
            if found.complete:
                return assert_same(reference, found, "killed after every pass")
            snapshot.with_name(snapshot.name + ".part").write_bytes(b"torn")
    raise AssertionError("the fit never ends")


def module_is_left_alone(method: Shared, case: Case) -> None:
    """Modes, gradients, `requires_grad`, weights and statistics of the user's module, and the inputs, are what they were."""
    before, x = _state(case.net), case.samples.x.clone()
    fitted(method, case)
    after = _state(case.net)
    assert before[0] == after[0], "a mode, a gradient or a flag changed"
    assert all(torch.equal(bits(a), bits(b)) for a, b in zip(before[1], after[1], strict=True)), "a weight or statistic changed"
    assert torch.equal(x, case.samples.x), "the inputs changed"


def names_go_with_inputs(method: Shared, case: Case) -> None:
    """What an input is shown through follows from its id, not from its place: shuffled inputs make the same first steps up to rounding."""
    order = torch.randperm(len(case.samples), generator=torch.Generator().manual_seed(1))
    one, other = fitted(method, case), fitted(method, case.at(order))
    assert abs(one.history[0] - other.history[0]) <= 2 / len(order), "the order of the inputs matters"


PROMISES: tuple[Promise, ...] = (
    noise_is_keyed,
    the_perturbation_holds,
    counts_are_honest,
    the_history_is_true,
    kills_do_not_matter,
    module_is_left_alone,
    names_go_with_inputs,
)
