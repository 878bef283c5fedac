"""What attacks ask in training: the net itself, or a faster copy of it as it is at that step."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from holdfast import Classifier
from holdfast.core.errors import ConfigError, ModelError
from holdfast.defences.layers import Denoise
from holdfast.training import Recipe, objectives, train
from holdfast.training.lesson import Lesson
from holdfast.training.search import searched


def normed() -> Classifier:
    """A net whose batch norms have something to fold."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(216, 4)).double()
    for _ in range(5):
        net(3 * torch.rand(8, 1, 8, 8, dtype=torch.float64) + 1)
    return Classifier(net.eval(), 4)


def lesson() -> Lesson:
    torch.manual_seed(1)
    return Lesson.of(torch.rand(6, 1, 8, 8, dtype=torch.float64), torch.randint(4, (6,)))


def test_a_folded_copy_answers_alike_and_the_net_stays_as_it_is() -> None:
    model, one = normed(), lesson()
    before = copy.deepcopy(model.net.state_dict())
    quick = searched(model, "folded")
    assert quick is not model and not any(isinstance(module, nn.BatchNorm2d) for module in quick.net.modules())
    torch.testing.assert_close(quick(one.x).logits, model(one.x).logits, rtol=1e-12, atol=1e-12)
    for name, value in model.net.state_dict().items():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize("objective", [objectives.pgd(0.1), objectives.trades(0.1), objectives.awp(objectives.pgd(0.1))], ids=repr)
def test_the_loss_is_that_of_what_the_copy_found(objective) -> None:
    model, one = normed(), lesson()
    found = objective.look(searched(model, "bfloat16"), one)
    assert objective(model, one, "bfloat16") == objective.loss(model, one, found)
    assert not torch.equal(found, objective.look(model, one)), "low precision has no effect at all"
    torch.testing.assert_close(objective(model, one, "folded"), objective(model, one), rtol=1e-6, atol=0)


def test_a_net_that_cannot_be_folded_is_asked_in_low_precision_all_the_same() -> None:
    torch.manual_seed(3)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), Denoise(4, "mean"), nn.Flatten(), nn.Linear(144, 4)).eval()
    model, one = Classifier(net, 4), lesson()
    x = one.x.float()
    torch.testing.assert_close(searched(model, "bfloat16")(x).logits, model(x).logits, rtol=0.05, atol=0.05)
    assert not torch.equal(searched(model, "bfloat16")(x).logits, model(x).logits)
    with pytest.raises(ModelError, match="cannot be folded"):
        searched(model, "folded")


def test_each_step_asks_a_copy_of_the_net_as_it_is_then() -> None:
    torch.manual_seed(2)
    x, y = torch.rand(64, 1, 8, 8, dtype=torch.float64), torch.randint(4, (64,))
    losses = [
        train(normed(), (x, y), Recipe(objectives.pgd(0.1), 3, 16, rate=0.05, search=search), held=0).losses for search in ("own", "folded")
    ]
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-3, atol=0)
    assert losses[0][-1] != losses[0][0]


def test_another_word_is_told_what_there_is() -> None:
    with pytest.raises(ConfigError, match="search='fp8': choose of own, folded, bfloat16, float16"):
        Recipe(objectives.standard(), search="fp8")
