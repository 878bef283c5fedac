"""Genomes: patterns against a literal network, colours against the standard library, mutation against its definition."""

from __future__ import annotations

import colorsys
import math

import pytest
import torch

from holdfast.core.draw import Draw, row_key
from holdfast.synthesis.cppn import Cppn, Networks, one_of
from holdfast.synthesis.encodings import Direct, Pixels, colour, crossed, polynomial


def draw(n: int, generation: int = 0) -> Draw:
    place = torch.arange(n)
    return Draw(row_key(5, place, torch.zeros_like(place)), torch.full_like(place, generation))


def grown(code: Cppn, n: int, generations: int) -> Networks:
    nets = code.random(draw(n), torch.float64)
    for generation in range(1, generations + 1):
        nets = code.child(nets, nets, draw(n, generation), generation)
    return nets


def literal(net: Networks, i: int, output: int, x: float, y: float) -> float:
    """One output of one network at one place, by recursion over its connections."""

    def node(place: int) -> float:
        if place < 4:
            return (x, y, math.hypot(x, y), 1.0)[place]
        total = sum(float(net.weight[i, place, j]) * node(j) for j in range(net.on.shape[1]) if net.on[i, place, j])
        kind = int(net.kind[i, place])
        if kind == 3:
            return max(-1.0, min(1.0, total / 3))
        return (math.sin(total), 2 / (1 + math.exp(-total)) - 1, math.exp(-total * total))[kind]

    return node(4 + output)


def test_patterns_are_what_their_networks_say() -> None:
    code = Cppn((2, 3, 5), hidden=8)
    nets = grown(code, 12, 15)
    images = code.render(nets)
    assert images.shape == (12, 2, 3, 5)
    assert int(((nets.depth > 0) & (nets.depth < 1)).sum(dim=1).max()) >= 3
    for i in range(12):
        for row, column in ((0, 0), (1, 2), (2, 3)):
            expected = [abs(literal(nets, i, c, -1 + column / 2, -1.0 + row)) for c in range(2)]
            assert images[i, :, row, column].tolist() == pytest.approx(expected, abs=1e-9)


def test_networks_stay_networks() -> None:
    """No loops, no connection from or to a node that is not there, none into an input, weights within −10..10."""
    nets = grown(Cppn((3, 4, 4), hidden=6), 40, 60)
    into, source = nets.depth.unsqueeze(2).expand_as(nets.on)[nets.on], nets.depth.unsqueeze(1).expand_as(nets.on)[nets.on]
    assert bool((source < into).all() and (into <= 1).all() and (source >= 0).all() and (into > 0).all())
    assert float(nets.weight.abs().max()) <= 10 and bool((nets.weight[~nets.on] == 0).all())
    hidden = ((nets.depth > 0) & (nets.depth < 1)).sum(dim=1)
    assert int(hidden.max()) == 6 and bool((nets.depth[:, 4:7] == 1).all())


def test_a_child_depends_on_its_own_parents_alone() -> None:
    code = Cppn((3, 4, 4))
    nets = grown(code, 10, 5)
    whole = code.child(nets, nets, draw(10, 6), 6)
    some = torch.tensor([7, 2])
    part = code.child(nets[some], nets[some], Draw(draw(10).key[some], torch.tensor([6, 6])), 6)
    assert all(torch.equal(a, whole[some].flatten()[name]) for name, a in part.flatten().items())


def test_one_of_chooses_evenly_and_only_what_is_there() -> None:
    mask = torch.tensor([[False, True, False, True, True]]).expand(3000, 5)
    u = (torch.arange(3000) + 0.5) / 3000
    picked = one_of(mask, u)
    assert picked.sum(dim=1).unique().tolist() == [1]
    assert picked.sum(dim=0).tolist() == [0, 1000, 0, 1000, 1000]
    assert not bool(one_of(torch.zeros(2, 5, dtype=torch.bool), torch.tensor([0.1, 0.999])).any())


def test_colours_are_those_of_the_standard_library() -> None:
    generator = torch.Generator().manual_seed(0)
    hsv = torch.cat(
        [
            torch.rand(1, 3, 8, 8, generator=generator, dtype=torch.float64),
            torch.tensor([0.0, 1.0, 1.0]).reshape(1, 3, 1, 1).expand(1, 3, 8, 8),
        ]
    )
    rgb = colour(hsv)
    for i in range(2):
        for place in range(8):
            expected = colorsys.hsv_to_rgb(*hsv[i, :, place, place].tolist())
            assert rgb[i, :, place, place].tolist() == pytest.approx(expected, abs=1e-12)


def test_polynomial_mutation_has_its_distribution() -> None:
    """|δ| ≤ t has the probability 1 − (1 − t)^16, and both signs are alike."""
    u = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000
    delta = polynomial(u)
    for t in (0.01, 0.05, 0.2):
        assert float((delta.abs() <= t).double().mean()) == pytest.approx(1 - (1 - t) ** 16, abs=1e-4)
    assert float(delta.mean()) == pytest.approx(0, abs=1e-9) and bool((delta.diff() >= 0).all())


def test_crossover_keeps_the_middle_and_the_range() -> None:
    """The two children of a pair lie on its two sides inside [0, 1]; equal parents have equal children."""
    generator = torch.Generator().manual_seed(1)
    a, b, u = (torch.rand(20_000, generator=generator, dtype=torch.float64) for _ in range(3))
    low, high = crossed(a, b, u, -torch.ones_like(a)), crossed(a, b, u, torch.ones_like(a))
    middle = (a + b) / 2
    assert bool((low <= middle).all() and (high >= middle).all() and (low >= 0).all() and (high <= 1).all())
    assert torch.equal(crossed(a, a, u, torch.ones_like(a)), a)
    # A spread below 1 is drawn as often as alpha says: β ≤ 1 where u ≤ 1 / α.
    gap, least = (a - b).abs(), torch.minimum(a, b)
    alpha = 2 - (1 + 2 * least / gap) ** -11
    assert torch.equal((middle - low) <= gap / 2 + 1e-12, u <= 1 / alpha)


@pytest.mark.parametrize(("generation", "rate"), [(0, 0.1), (999, 0.1), (1000, 0.05), (2500, 0.025)])
def test_the_rate_of_direct_mutation_halves(generation: int, rate: float) -> None:
    code = Direct((4000,), crossing=0.0)
    parents = Pixels(torch.full((20, 4000), 0.5))
    changed = code.child(parents, parents, draw(20, generation), generation).value != 0.5
    assert float(changed.double().mean()) == pytest.approx(rate, rel=0.05)
