"""`perturb`: the same steps with no ledger, for training."""

from __future__ import annotations

import torch
from torch import Tensor

from holdfast.core.attack import Attack
from holdfast.core.draw import row_key
from holdfast.core.errors import ConfigError
from holdfast.core.types import Answer, Batch, Model, Out
from holdfast.engine.noise import drawn, model_noise
from holdfast.engine.pieces import Asker, Pieces
from holdfast.engine.probe import Costs, EngineProbe


class BareProbe(EngineProbe):
    """Answers, and remembers nothing; its rows are always asked together."""

    def _asked(self) -> Tensor:
        return torch.full_like(self.step, self.asks)

    def _lost(self, g: Tensor) -> Tensor:
        return torch.zeros(len(g), device=g.device)

    def _note(self, answer: Answer, p: Tensor, where: Tensor | None, costs: Costs) -> None:
        pass


def perturb(
    attack: Attack, model: Model, x: Tensor, y: Tensor, seed: int = 0, target: Tensor | None = None,
    ids: Tensor | None = None, clean: Out | None = None,
) -> Tensor:  # fmt: skip
    """Where a rule's steps lead from `x` `[n, ...]`: no early stop, no verification, no claim that anything is fooled.

    `x` in the model's range, dtype and device; `seed` keys the noise: give each batch of a training run its own; `ids` `[n]` key that of
    each row, its place in the batch when not given; `clean`: what the model says of `x`, asked of it when not given.

    Raises ConfigError for a rule that has no current point (it looks for the smallest change).

    >>> from holdfast import Classifier, attacks
    >>> model = Classifier(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3)).eval(), classes=3)
    >>> x, y = torch.full((2, 1, 2, 2), 0.5), torch.tensor([0, 1])
    >>> bool(((perturb(attacks.pgd(0.1, steps=3), model, x, y) - x).abs() <= 0.1 + 1e-6).all())
    True
    """
    p = perturbation(attack, model, x, y, seed, target, ids, clean)
    return model.bounds.clamp(attack.threat.within(model.bounds).apply(x, p)).detach()


def perturbation(
    attack: Attack, model: Model, x: Tensor, y: Tensor, seed: int = 0, target: Tensor | None = None,
    ids: Tensor | None = None, clean: Out | None = None,
) -> Tensor:  # fmt: skip
    """What `perturb` applies: the change itself, in the threat's own space.

    Raises ConfigError as `perturb` does.
    """
    attack = attack.fitted(model.classes)
    if attack.group.members > 1:
        raise ConfigError(f"{attack} makes several attempts at each input: training takes one, without restarts, rivals or radii")
    probe = BareProbe(model, attack, Asker(Pieces(max(1, len(x)))), seed)
    place = torch.arange(len(x), device=x.device) if ids is None else ids
    step = torch.zeros_like(place)
    key = row_key(seed, place, step)
    if clean is None:
        with torch.no_grad(), model_noise(model, seed, 0, purpose=2):
            clean = drawn(model, x, key, step)
    radius = x.new_full((len(x),), attack.threat.radius)
    batch = Batch(x, y, step - 1, clean, key, step, radius)
    probe.batch, probe.step = batch, step
    aim = attack.goal.aim(clean, y, target, probe.draw)
    probe.batch = Batch(x, y, aim, clean, key, step, radius)
    state = attack.rule.init(probe)
    for _ in range(attack.stop.steps):
        state = attack.rule.step(state, probe)
        probe.step = probe.step + 1
    p = attack.rule.pending(state)
    if p is None:
        raise ConfigError(f"{attack.name} keeps no current point to train on: use one that ascends, such as pgd")
    return p.detach()
