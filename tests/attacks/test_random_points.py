"""Random points: every second one a corner, each row's own, none twice, and enough of them find what is large."""

import pytest
import torch
from torch import nn

from holdfast.attacks import random_points
from holdfast.engine import Pieces, Samples, Setting, run
from holdfast.models import Classifier
from holdfast.parts.threats import L1, L2, Linf

EACH = pytest.mark.parametrize("threat", [Linf(0.1), L2(0.3), L1(0.4)], ids=str)


class Watching(nn.Module):
    """Never fooled; keeps what it was asked."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def forward(self, x):
        self.asked.append(x.detach().clone())
        return torch.tensor([[1.0, 0.0]], dtype=x.dtype, device=x.device).expand(len(x), 2)


def asked(threat, n=4, steps=12, ids=None, seed=0):
    """Where the model was asked, as changes of `x`: `[steps, n, d]`."""
    net = Watching()
    x = torch.full((n, 6), 0.5)
    samples = Samples.of(x, torch.zeros(n, dtype=torch.int64), torch.arange(n) if ids is None else ids)
    outcome = run(random_points(threat, steps=steps), Classifier(net, 2), samples, Setting(seed, 8, 4, Pieces(8)))
    assert outcome.forwards.tolist() == [1 + steps] * n and int(outcome.backwards.sum()) == 0
    return torch.stack([batch[:n] for batch in net.asked[1:]]) - x


@EACH
def test_every_second_point_is_a_corner_and_all_lie_in_the_ball(threat):
    moved = asked(threat)
    assert len(moved) == 12
    size = torch.stack([threat.size(torch.full((4, 6), 0.5), p) for p in moved])
    assert bool((size <= threat.radius * (1 + 1e-5)).all())
    assert torch.allclose(size[1::2], torch.full((6, 4), threat.radius), rtol=1e-4), "as far as it goes"
    if isinstance(threat, L1):  # whose random points lie on the sphere, away from its corners
        assert bool(((moved[::2] != 0).sum(dim=2) == 6).all()) and bool(((moved[1::2] != 0).sum(dim=2) == 1).all())
    else:
        assert bool((size[::2] < threat.radius * 0.9999).any(dim=0).all())
    if isinstance(threat, Linf):
        assert torch.allclose(moved[1::2].abs(), torch.full((6, 4, 6), 0.1), rtol=1e-4)


@EACH
def test_no_point_is_tried_twice_nor_by_two_rows(threat):
    inside = asked(threat, steps=40)[::2]
    assert len(inside.flatten(0, 1).unique(dim=0)) == 20 * 4


@EACH
def test_the_points_are_the_samples_own(threat):
    whole = asked(threat)
    assert torch.equal(asked(threat), whole)
    assert torch.allclose(asked(threat, 2, ids=torch.tensor([3, 1])), whole[:, [3, 1]], atol=1e-6)
    assert not torch.allclose(asked(threat, seed=1), whole)


def test_as_many_are_found_as_the_share_of_the_ball_promises():
    """The first value decides: a sixteenth of the points inside reach beyond, no corner counts, since it goes too far."""

    class Band(nn.Module):
        def forward(self, x):
            return torch.stack([torch.full_like(x[:, 0], 0.5), ((x[:, 0] > 0.5 + 0.07) & (x[:, 0] < 0.5 + 0.0825)).to(x.dtype)], dim=1)

    n, steps = 400, 20
    samples = Samples.of(torch.full((n, 6), 0.5), torch.zeros(n, dtype=torch.int64))
    found = run(random_points(0.1, steps=steps), Classifier(Band(), 2), samples)
    share, expected = float(found.success.double().mean()), 1 - (1 - 1 / 16) ** (steps // 2)
    assert abs(share - expected) < 4 * (expected * (1 - expected) / n) ** 0.5
