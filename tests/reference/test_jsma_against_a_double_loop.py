"""JSMA changes the same features, one step after another, as a literal double loop over the whole Jacobian of one input."""

import pytest
import torch
from torch import nn

from holdfast.attacks import jsma
from holdfast.engine import Samples, run
from holdfast.models.classifier import Classifier

torch.set_num_threads(1)


class Asked(nn.Module):
    def __init__(self, classes):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(5)
            self.body = nn.Sequential(nn.Linear(9, 20), nn.Tanh(), nn.Linear(20, classes)).double().eval()
        self.asked = []

    def forward(self, x):
        self.asked.append(x[0].detach().clone())
        return 4 * self.body(x)


def literal(net, x, y, target, theta, gamma, pairs, direction):
    """The points visited; Papernot et al. 2016, algorithm 3 and eq. 8, written out. `target` None: away from `y`."""
    signs = {"increase": (1,), "decrease": (-1,), "both": (1, -1)}[direction]
    d, point, points = len(x), x.clone(), [x.clone()]
    while True:
        z = 4 * net.body(point)
        if (int(z.argmax()) == target) if target is not None else (int(z.argmax()) != y):
            return points, True
        jacobian = torch.autograd.functional.jacobian(lambda q: 4 * net.body(q), point)
        t, turn = (target, 1) if target is not None else (y, -1)
        others = sum(jacobian[k] for k in range(len(z)) if k != t)
        moves = []
        for i in range(d):
            for sign in signs:
                room = float(1 - point[i] if sign > 0 else point[i])
                if room > theta / 100 and sign * float(point[i] - x[i]) >= 0:
                    moves.append((i, sign))
        best, chosen = 0.0, None
        singles = [(move,) for move in moves]
        for candidate in [(a, b) for k, a in enumerate(moves) for b in moves[k + 1 :]] if pairs else singles:
            alpha = sum(turn * sign * float(jacobian[t][i]) for i, sign in candidate)
            beta = sum(turn * sign * float(others[i]) for i, sign in candidate)
            if alpha > 0 and beta < 0 and alpha * abs(beta) > best:
                best, chosen = alpha * abs(beta), candidate
        if chosen is None:
            return points, False
        step = point.clone()
        for i, sign in chosen:
            step[i] = min(max(float(step[i]) + sign * theta, 0.0), 1.0)
        if int((step != x).sum()) > gamma * d + 1e-6:
            return points, False
        point = step
        points.append(point)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("direction", ["increase", "decrease", "both"])
@pytest.mark.parametrize(("theta", "gamma", "pairs"), [(1.0, 1.0, True), (0.3, 1.0, True), (0.3, 0.5, False), (0.15, 0.3, True)])
def test_the_points_are_those_of_the_loop(classes, targeted, direction, theta, gamma, pairs):
    moves = 0
    for seed in range(4):
        net = Asked(classes)
        x = torch.rand(1, 9, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        y = net(x).argmax(dim=1)
        target = (y + 1) % classes if targeted else None
        net.asked.clear()
        attack = jsma(theta=theta, gamma=gamma, pairs=pairs, direction=direction, targeted=targeted)
        outcome = run(attack, Classifier(net, classes), Samples.of(x, y, target=target))
        points, success = literal(net, x[0], int(y), int(target) if targeted else None, theta, gamma, pairs, direction)
        asked = net.asked[1:]
        found = [q for k, q in enumerate(asked) if k == 0 or not torch.equal(q, asked[k - 1])]
        # A success is asked once more, rounded to 8 bits.
        assert len(found) - len(points) in ((0, 1) if success else (0,))
        assert torch.allclose(torch.stack(found[: len(points)]), torch.stack(points), rtol=0, atol=1e-9)
        assert bool(outcome.success[0]) == success
        assert not success or float(outcome.found.size[0]) == int((points[-1] != x[0]).sum())
        moves += len(points) - 1
    assert moves >= 4
