"""The rate over a run: drops at epochs, and a warm-up before them."""

from __future__ import annotations

import pytest
from torch import nn

from holdfast.core.errors import ConfigError
from holdfast.training import Recipe, objectives


def rates(recipe: Recipe, each: int) -> list[float]:
    """The rate of every step, as the optimiser has it."""
    optimiser, schedule = recipe.optimised(nn.Linear(2, 2), recipe.epochs * each)
    found = []
    for _ in range(recipe.epochs * each):
        found.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    return found


@pytest.mark.parametrize("each", [1, 3, 7, 313])
def test_the_rate_of_the_feature_denoising_paper(each: int) -> None:
    found = rates(Recipe(objectives.standard(), 110, rate=1.6, schedule="steps", drops=(35, 70, 95), warmup=5), each)
    assert found[: 5 * each] == pytest.approx([1.6 * max(i / (5 * each), 1e-3) for i in range(5 * each)])
    for first, last, rate in ((5, 35, 1.6), (35, 70, 0.16), (70, 95, 0.016), (95, 110, 0.0016)):
        assert found[first * each : last * each] == pytest.approx([rate] * (last - first) * each), (first, last)


def test_without_drops_and_warmup_it_is_as_ever() -> None:
    found = rates(Recipe(objectives.standard(), 8, rate=0.1, schedule="steps"), 5)
    assert found == pytest.approx([0.1] * 20 + [0.01] * 10 + [0.001] * 10)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"drops": (3,)}, "drops=.*schedule steps"), ({"schedule": "steps", "drops": (9,)}, "epochs below 8"),
        ({"schedule": "steps", "drops": (0,)}, "epochs below 8"), ({"warmup": 8}, "below all 8"), ({"warmup": -1}, "below all 8"),
    ],
)  # fmt: skip
def test_epochs_that_there_are_not_are_refused(given: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Recipe(objectives.standard(), 8, **given)  # type: ignore[arg-type]
