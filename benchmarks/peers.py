"""The peers' attacks behind one call: `attack(x, y, batch) -> adversarial`, each asked for no more than it must do."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from importlib.metadata import version

import foolbox
import numpy as np
import torch
import torchattacks
from art.attacks import evasion
from art.estimators.classification import PyTorchClassifier
from torch import Tensor, nn

Peer = Callable[[Tensor, Tensor, int], Tensor]

logging.getLogger("art").setLevel(logging.ERROR)


def versions() -> str:
    names = {"torchattacks": "torchattacks", "foolbox": "foolbox", "ART": "adversarial-robustness-toolbox"}
    return ", ".join(f"{name} {version(package)}" for name, package in names.items())


def _torchattacks(attack: torchattacks.attack.Attack) -> Peer:
    attack.set_model_training_mode(model_training=False, batchnorm_training=False, dropout_training=False)

    def run(x: Tensor, y: Tensor, batch: int) -> Tensor:
        return torch.cat([attack(a, b).detach() for a, b in zip(x.split(batch), y.split(batch), strict=True)])

    return run


def _foolbox(net: nn.Module, attack: foolbox.attacks.base.Attack, **words: float) -> Peer:
    model = foolbox.PyTorchModel(net.eval(), bounds=(0, 1), device="cpu")

    def run(x: Tensor, y: Tensor, batch: int) -> Tensor:
        pieces = zip(x.split(batch), y.split(batch), strict=True)
        found = torch.cat([attack.run(model, a, foolbox.criteria.Misclassification(b), **words).detach() for a, b in pieces])
        # Its Carlini–Wagner gives a black image where it found nothing.
        nothing = (found == 0).flatten(1).all(dim=1).reshape(-1, *[1] * (x.ndim - 1))
        return torch.where(nothing, x, found)

    return run


def _art(net: nn.Module, shape: tuple[int, ...], make: Callable[[PyTorchClassifier], evasion.EvasionAttack]) -> Peer:
    estimator = PyTorchClassifier(
        net.eval(), nn.CrossEntropyLoss(), input_shape=shape, nb_classes=10, clip_values=(0.0, 1.0), device_type="cpu"
    )
    attack = make(estimator)

    def run(x: Tensor, y: Tensor, batch: int) -> Tensor:
        attack.set_params(batch_size=batch)
        return torch.from_numpy(np.asarray(attack.generate(x.numpy(), y.numpy())))

    return run


def pgd(net: nn.Module, shape: tuple[int, ...], epsilon: float, step: float, steps: int) -> dict[str, Peer]:
    return {
        "torchattacks": _torchattacks(torchattacks.PGD(net, epsilon, step, steps, random_start=True)),
        "foolbox": _foolbox(net, foolbox.attacks.LinfPGD(abs_stepsize=step, steps=steps, random_start=True), epsilon=epsilon),
        "ART": _art(
            net, shape,
            lambda it: evasion.ProjectedGradientDescent(it, np.inf, epsilon, step, max_iter=steps, num_random_init=1, verbose=False),
        ),
    }  # fmt: skip


def apgd(net: nn.Module, shape: tuple[int, ...], epsilon: float, steps: int) -> dict[str, Peer]:
    """On the cross-entropy; foolbox has none."""
    return {
        "torchattacks": _torchattacks(torchattacks.APGD(net, "Linf", epsilon, steps, loss="ce")),
        "ART": _art(
            net, shape,
            lambda it: evasion.AutoProjectedGradientDescent(
                it, np.inf, epsilon, 2 * epsilon, max_iter=steps, nb_random_init=1, loss_type="cross_entropy", verbose=False
            ),
        ),
    }  # fmt: skip


def carlini_wagner(net: nn.Module, shape: tuple[int, ...], steps: int, searches: int) -> dict[str, Peer]:
    """torchattacks keeps its one weight c for all steps. An iteration of ART asks up to ten times, so it gets a tenth of them; it has its
    own first weight and ten searches, as from 1e-3 it fools nothing on MNIST."""
    return {
        "torchattacks": _torchattacks(torchattacks.CW(net, c=1, steps=steps * searches, lr=0.01)),
        "foolbox": _foolbox(net, foolbox.attacks.L2CarliniWagnerAttack(searches, steps, 0.01, initial_const=1e-3)),
        "ART": _art(
            net, shape,
            lambda it: evasion.CarliniL2Method(it, binary_search_steps=10, max_iter=max(1, steps // 10), initial_const=0.01, verbose=False),
        ),
    }  # fmt: skip


def deepfool(net: nn.Module, shape: tuple[int, ...], steps: int = 50) -> dict[str, Peer]:
    return {
        "torchattacks": _torchattacks(torchattacks.DeepFool(net, steps=steps, overshoot=0.02)),
        "foolbox": _foolbox(net, foolbox.attacks.L2DeepFoolAttack(steps=steps, candidates=10, overshoot=0.02)),
        "ART": _art(net, shape, lambda it: evasion.DeepFool(it, max_iter=steps, epsilon=0.02, nb_grads=10, verbose=False)),
    }


def universal(net: nn.Module, x: Tensor, epsilon: float, passes: int) -> Tensor:
    """ART's universal perturbation within L∞ `epsilon`, fitted to `x`; DeepFool inside, one image after the other."""
    estimator = PyTorchClassifier(
        net.eval(), nn.CrossEntropyLoss(), input_shape=tuple(x.shape[1:]), nb_classes=10, clip_values=(0.0, 1.0), device_type="cpu"
    )
    inner = {"max_iter": 10, "nb_grads": 10, "epsilon": 0.02, "batch_size": 1, "verbose": False}
    # It draws the order of the images from Python's own generator.
    random.seed(0)
    attack = evasion.UniversalPerturbation(
        estimator, "deepfool", inner, delta=0.0, max_iter=passes, eps=epsilon, norm=np.inf, batch_size=1, verbose=False
    )
    attack.generate(x.numpy())
    return torch.from_numpy(attack.noise[0])
