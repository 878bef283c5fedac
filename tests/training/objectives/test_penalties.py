"""Penalties on layers: what they add is what the formulas say, once, however often the net is asked."""

from __future__ import annotations

from typing import cast

import pytest
import torch
from torch import Tensor, nn

from holdfast import Classifier
from holdfast.core.errors import ConfigError
from holdfast.training.lesson import Lesson
from holdfast.training.objectives import blurnet_filters, blurnet_variation, free, pgd, standard, trades
from holdfast.training.objectives.penalties import penalised


def variation(maps: Tensor) -> Tensor:
    return (maps.diff(dim=2).abs().sum(dim=(2, 3)) + maps.diff(dim=3).abs().sum(dim=(2, 3))).mean()


def model() -> Classifier:
    torch.manual_seed(0)
    layers = (nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(2, 2, 3, padding=1, groups=2, bias=False), nn.Flatten(), nn.Linear(24, 3))
    return Classifier(nn.Sequential(*layers).double().eval(), 3)


def lesson() -> Lesson:
    return Lesson.of(torch.rand(4, 1, 3, 4, dtype=torch.float64), torch.tensor([0, 1, 2, 0]))


def test_variation_of_maps_is_summed_over_neighbours() -> None:
    net, one = model(), lesson()
    total = 0.0
    for maps in cast(nn.Sequential, net.net)[0](one.x).tolist():
        for f in maps:
            total += sum(abs(f[i + 1][j] - f[i][j]) for i in range(2) for j in range(4))
            total += sum(abs(f[i][j + 1] - f[i][j]) for i in range(3) for j in range(3))
    expected = pytest.approx(standard()(net, one).item() + 0.3 * total / (4 * 2), rel=1e-12)
    assert blurnet_variation(standard(), "0", 0.3)(net, one).item() == expected
    # A layer that writes over the maps afterwards changes nothing.
    over = cast(nn.Sequential, net.net)
    hidden = Classifier(nn.Sequential(over[0], nn.Hardtanh(0.4, 0.5, inplace=True), *over[1:]), 3)
    assert blurnet_variation(standard(), "0", 0.3)(hidden, one).item() - standard()(hidden, one).item() == pytest.approx(
        0.3 * total / (4 * 2), rel=1e-10
    )


def test_filters_are_penalised_by_their_largest_weight() -> None:
    net, one = model(), lesson()
    filters = cast(nn.Conv2d, cast(nn.Sequential, net.net)[1]).weight
    expected = 0.2 * sum(max(abs(w) for w in each.flatten().tolist()) for each in filters) / 2
    objective = blurnet_filters(pgd(0.1), "1", 0.2)
    loss = objective(net, one)
    assert loss.item() == pytest.approx(pgd(0.1)(net, one).item() + expected, rel=1e-12)
    slope = torch.autograd.grad(loss - pgd(0.1)(net, one), filters)[0]
    assert (slope.abs() > 1e-9).flatten(1).sum(dim=1).tolist() == [1, 1], "one value of each filter is the largest"


def test_two_asks_count_as_their_mean_and_layers_add_up() -> None:
    net, one, plain = model(), lesson(), trades(0.1)
    near, first = plain.look(net, one), cast(nn.Sequential, net.net)[0]
    both = [variation(first(x)).item() for x in (one.x, near)]
    single = penalised(plain, variation, "0", 1.0, "maps")(net, one).item() - plain(net, one).item()
    assert single == pytest.approx(sum(both) / 2, rel=1e-10)
    layers = [penalised(plain, variation, name, 1.0, "maps")(net, one).item() for name in ("0", "1", ("0", "1"))]  # type: ignore[arg-type]
    assert layers[2] == pytest.approx(layers[0] + layers[1] - plain(net, one).item(), rel=1e-12)


def test_the_net_is_left_without_hooks_and_mistakes_are_told() -> None:
    net, one = model(), lesson()
    with pytest.raises(ConfigError, match="no layer 'conv1'"):
        penalised(standard(), variation, "conv1", 1.0, "maps")(net, one)
    spare = Classifier(nn.ModuleDict({"used": cast(nn.Module, net.net), "spare": nn.Conv2d(1, 1, 1)}), 3)
    spare.net = type("Ask", (nn.Module,), {"forward": lambda self, x: self.parts["used"](x)})()
    cast(nn.Module, spare.net).parts = nn.ModuleDict({"used": cast(nn.Module, net.net), "spare": nn.Conv2d(1, 1, 1)})
    with pytest.raises(ConfigError, match="was not asked"):
        penalised(standard(), variation, ("parts.used.0", "parts.spare"), 1.0, "maps")(spare, one)
    penalised(standard(), variation, "0", 1.0, "maps")(net, one)
    assert not any(module._forward_hooks for module in cast(nn.Module, spare.net).modules())
    with pytest.raises(ConfigError, match=r"variation: maps \[4, 3\] of 3 do not fit it"):
        penalised(standard(), variation, "3", 1.0, "maps")(net, one)
    with pytest.raises(ConfigError, match="filter_penalty: not each of 2 has weight"):
        blurnet_filters(standard(), "2")(net, one)
    with pytest.raises(ConfigError, match="cannot wrap Free"):
        penalised(free(0.1), variation, "0", 1.0, "maps")
    with pytest.raises(ConfigError, match="expected names"):
        penalised(standard(), variation, (), 1.0, "maps")


def test_it_prints_alike_in_every_process() -> None:
    assert "0x" not in repr(penalised(standard(), variation, "0", 1.0, "maps"))
