"""Fooling images beyond the promises of their kind: what more effort does, what small and broken models do, what mistakes say."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from conformance.synthesis_suite import model, net
from holdfast import Classifier, ConfigError, InputError, ModelError
from holdfast.catalogue import listing
from holdfast.core.types import Access
from holdfast.engine import Progress, Setting
from holdfast.synthesis import fooling_ascent, fooling_evolution
from holdfast.synthesis.ascent import blurred

SHAPE = (1, 3, 3)


@pytest.mark.parametrize("encoding", ["direct", "cppn"])
def test_elites_only_improve_and_a_longer_run_begins_as_a_shorter(encoding: str) -> None:
    last = torch.zeros(5, dtype=torch.float64)
    for generations in (1, 4, 12):
        made = fooling_evolution(model(SHAPE), SHAPE, encoding=encoding, population=10, generations=generations, confidence=0.999999)
        assert bool((made.confidence >= last - 1e-12).all())
        assert bool((made.step < generations).all())
        last = made.confidence


def test_a_first_generation_is_the_best_of_random_images() -> None:
    """Against a literal choice of the best of each class."""
    from holdfast.core.draw import Draw, row_key
    from holdfast.synthesis.encodings import Direct

    place = torch.arange(30)
    zero = torch.zeros_like(place)
    points = -1 + 3 * Direct(SHAPE).random(Draw(row_key(9, place, zero), zero), torch.float64).value
    with torch.no_grad():
        chance = net(SHAPE)(points).softmax(dim=1)
    made = fooling_evolution(model(SHAPE), SHAPE, encoding="direct", population=30, generations=1, setting=Setting(seed=9))
    assert torch.allclose(made.images, points[chance.argmax(dim=0)])
    assert torch.allclose(made.confidence, chance.amax(dim=0).double())


def test_evolution_ends_when_the_wanted_classes_are_reached() -> None:
    seen: list[Progress] = []
    every = fooling_evolution(model(SHAPE), SHAPE, population=10, generations=30, confidence=0.9999)
    best = int(every.confidence.argmax())
    between = 0.5 + 0.5 * float(fooling_evolution(model(SHAPE), SHAPE, [best], population=10, generations=1).confidence[0])
    assert float(every.confidence[best]) > between
    made = fooling_evolution(model(SHAPE), SHAPE, [best], population=10, generations=200, confidence=between, watch=seen.append)
    assert made.success.all() and made.target.tolist() == [best]
    assert 1 < seen[-1].rows <= 30 and seen[-1].broken == 1 and all(one.broken == 0 for one in seen[:-1])
    assert int(made.queries[0]) == seen[-1].rows * 10


def test_an_image_of_ascent_depends_on_its_class_and_restart_alone() -> None:
    whole = fooling_ascent(model(SHAPE), SHAPE, restarts=3, confidence=0.9, steps=20)
    part = fooling_ascent(model(SHAPE), SHAPE, [3], restarts=2, confidence=0.9, steps=20)
    assert torch.equal(part.images, whole.images[torch.tensor([3, 8])])
    assert torch.equal(part.queries, whole.queries[torch.tensor([3, 8])])


def test_ascent_stops_at_the_confidence_and_keeps_the_best_where_it_fails() -> None:
    made = fooling_ascent(model(SHAPE), SHAPE, confidence=0.9, steps=200)
    reached = made.success
    assert bool(reached.any()) and bool((made.queries[reached] < 150).all())
    assert float(made.confidence[reached].max()) < 0.99
    short = fooling_ascent(model(SHAPE), SHAPE, confidence=0.9999999, steps=3)
    shorter = fooling_ascent(model(SHAPE), SHAPE, confidence=0.9999999, steps=1)
    assert not bool(short.success.any()) and bool((short.confidence >= shorter.confidence).all())


def test_a_linear_model_rises_as_much_as_is_asked() -> None:
    """Without decay, in an unbounded range, two classes: the log-odds are linear, so each step adds `rise` exactly."""
    layer = nn.Linear(4, 2).double()
    layer.weight.data.copy_(torch.tensor([[2.0, -1.0, 3.0, 1.0], [-1.0, 1.0, -2.0, 2.0]]))
    two = Classifier(layer.eval(), 2, bounds=(-torch.inf, torch.inf))
    made = fooling_ascent(two, (4,), [1], confidence=0.9999, steps=5, rise=0.25, decay=0.0, noise=0.0)
    start = layer(torch.zeros(4).double()).softmax(dim=0)[1]
    odds = torch.logit(made.confidence) - torch.logit(start.detach())
    assert float(odds) == pytest.approx(4 * 0.25, abs=1e-6)
    assert made.step.tolist() == [4]


def test_the_blur_is_a_binomial_filter() -> None:
    image = torch.zeros(1, 1, 5, 5)
    image[0, 0, 2, 2] = 1.0
    row = torch.tensor([0, 0.25, 0.5, 0.25, 0])
    assert torch.equal(blurred(image)[0, 0], row.outer(row))
    assert torch.allclose(blurred(torch.ones(2, 3, 1, 4)), torch.ones(2, 3, 1, 4))


@pytest.mark.parametrize("encoding", ["direct", "cppn"])
def test_one_pixel_two_classes(encoding: str) -> None:
    tiny = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(1, 2)).eval(), 2)
    made = fooling_evolution(tiny, (1, 1, 1), encoding=encoding, population=3, generations=3)
    assert made.images.shape == (2, 1, 1, 1)
    assert fooling_ascent(tiny, (1, 1, 1), steps=3, blur=0.5).images.shape == (2, 1, 1, 1)


class Broken(nn.Module):
    """NaN for what is bright."""

    def __init__(self, always: bool) -> None:
        super().__init__()
        self.body, self.always = nn.Linear(4, 3), always

    def forward(self, x: Tensor) -> Tensor:
        nan = (x.mean(dim=1, keepdim=True) > 0.5) | self.always
        return torch.where(nan, torch.nan, self.body(x))


def test_answers_that_are_no_numbers_never_count() -> None:
    torch.manual_seed(0)
    made = fooling_evolution(Classifier(Broken(False).eval(), 3), (4,), encoding="direct", population=20, generations=4)
    assert bool((made.images.mean(dim=1) <= 0.5).all() and (made.confidence >= 0).all())
    with pytest.raises(ModelError, match="NaN to all 5 random images"):
        fooling_evolution(Classifier(Broken(True).eval(), 3), (4,), encoding="direct", population=5)
    silent = fooling_ascent(Classifier(Broken(True).eval(), 3), (4,), steps=3)
    assert not bool(silent.success.any()) and bool((silent.confidence == -1).all())


def test_stochastic_models_are_judged_by_many_asks() -> None:
    class Noisy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            score = 6 * x.flatten(1)[:, :2] + torch.randn(len(x), 2)
            return torch.cat([score, torch.zeros(len(x), 1)], dim=1)

    noisy = Classifier(Noisy().eval(), 3, stochastic=True)
    before = torch.get_rng_state()
    one, two = (fooling_evolution(noisy, (4,), encoding="direct", population=10, generations=5, confidence=0.99) for _ in range(2))
    assert torch.equal(one.images, two.images) and torch.equal(one.confidence, two.confidence)
    assert torch.equal(before, torch.get_rng_state())
    # The luckiest of many draws in the search; the claim is a mean.
    assert bool((one.confidence < 0.9999).all())


@pytest.mark.parametrize(
    ("error", "words", "call"),
    [
        (ConfigError, "confidence=1.0", lambda m: fooling_ascent(m, SHAPE, confidence=1.0)),
        (ConfigError, "0 steps", lambda m: fooling_evolution(m, SHAPE, generations=0)),
        (ConfigError, "population=0", lambda m: fooling_evolution(m, SHAPE, population=0)),
        (ConfigError, "encoding='hyper' is unknown", lambda m: fooling_evolution(m, SHAPE, encoding="hyper")),
        (ConfigError, "choose 'direct'", lambda m: fooling_evolution(model((6,)), (6,))),
        (ConfigError, r"classes=\[5\]", lambda m: fooling_evolution(m, SHAPE, [5])),
        (ConfigError, r"classes=\[\]", lambda m: fooling_ascent(m, SHAPE, [])),
        (ConfigError, "rise=0", lambda m: fooling_ascent(m, SHAPE, rise=0)),
        (ConfigError, "restarts=0", lambda m: fooling_ascent(m, SHAPE, restarts=0)),
        (ConfigError, "needs images", lambda m: fooling_ascent(model((6,)), (6,), blur=0.1)),
        (InputError, "start of shape", lambda m: fooling_ascent(m, SHAPE, start=torch.zeros(2))),
        (InputError, "in the range", lambda m: fooling_ascent(m, SHAPE, start=torch.full(SHAPE, 3.0))),
        (ModelError, "refuses inputs", lambda m: fooling_evolution(m, (2, 3, 3))),
        (ConfigError, "two ends", lambda m: fooling_evolution(Classifier(net(SHAPE), 5, bounds=(0, torch.inf)), SHAPE)),
        (ConfigError, "needs GRADIENT", lambda m: fooling_ascent(Classifier(net(SHAPE), 5, access=Access.SCORE), SHAPE)),
        (ConfigError, "needs SCORE", lambda m: fooling_evolution(Classifier(net(SHAPE), 5, access=Access.DECISION), SHAPE)),
    ],
)  # fmt: skip
def test_mistakes_say_what_to_do(error, words, call) -> None:
    with pytest.raises(error, match=words):
        call(model(SHAPE))


def test_the_list_says_their_kind() -> None:
    kinds = {row["name"]: row["kind"] for row in listing("attacks")}
    assert (
        kinds["fooling_ascent"] == kinds["fooling_evolution"] == "synthesis" and kinds["linear_exact"] == "exact" and kinds["pgd"] == "row"
    )


@pytest.mark.parametrize("make", [fooling_ascent, fooling_evolution])
def test_documented(make) -> None:
    for part in ("Source:", "Differs from", "Raises ConfigError", ">>> ", "[n, ...]"):
        assert part in make.__doc__
