"""The peers' attacks behind one call: `attack(x, y, batch) -> adversarial`, each asked for no more than it must do."""

from __future__ import annotations

import logging
import random
import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.metadata import version
from types import ModuleType

import foolbox
import numpy as np
import torch
import torchattacks
from art.attacks import evasion
from art.estimators.classification import PyTorchClassifier
from torch import Tensor, nn

Peer = Callable[[Tensor, Tensor, int], Tensor]

logging.getLogger("art").setLevel(logging.ERROR)
PACKAGES = {"torchattacks": "torchattacks", "foolbox": "foolbox", "ART": "adversarial-robustness-toolbox", "adv-lib": "adv-lib"}


def versions() -> str:
    return ", ".join(f"{name} {version(package)}" for name, package in PACKAGES.items())


def _adv_lib_module() -> ModuleType:
    """adv-lib's attacks. It imports torchvision and visdom for a distance and a display that no attack here uses: empty modules stand in
    meanwhile, as the first may not import beside a CPU-only torch, and the second brings a server."""
    stubs = {name: ModuleType(name) for name in ("torchvision", "torchvision.models", "visdom")}
    stubs["torchvision"].models = stubs["torchvision.models"]  # type: ignore[attr-defined]
    kept = {name: sys.modules[name] for name in stubs if name in sys.modules}
    sys.modules.update(stubs)
    try:
        return import_module("adv_lib.attacks")
    finally:
        for name in stubs:
            del sys.modules[name]
        sys.modules.update(kept)


adv_lib = _adv_lib_module()


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


def _adv_lib(attack: Callable[[Tensor, Tensor], Tensor]) -> Peer:
    def run(x: Tensor, y: Tensor, batch: int) -> Tensor:
        return torch.cat([attack(a, b).detach() for a, b in zip(x.split(batch), y.split(batch), strict=True)])

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


def carlini_wagner(
    net: nn.Module, shape: tuple[int, ...], steps: int, searches: int, initial: float, rate: float = 0.01
) -> dict[str, Peer]:
    """torchattacks keeps its one weight c for all steps. An iteration of ART asks up to ten times, so it gets a tenth of them; it has its
    own first weight and ten searches, as from 1e-3 it fools nothing on MNIST."""
    adv_lib_attack = partial(
        adv_lib.carlini_wagner_l2, net, initial_const=initial, binary_search_steps=searches, max_iterations=steps, learning_rate=rate
    )
    return {
        "torchattacks": _torchattacks(torchattacks.CW(net, c=1, steps=steps * searches, lr=rate)),
        "foolbox": _foolbox(net, foolbox.attacks.L2CarliniWagnerAttack(searches, steps, rate, initial_const=initial)),
        "ART": _art(
            net, shape,
            lambda it: evasion.CarliniL2Method(
                it, learning_rate=rate, binary_search_steps=10, max_iter=max(1, steps // 10), initial_const=0.01, verbose=False
            ),
        ),
        "adv-lib": _adv_lib(adv_lib_attack),
    }  # fmt: skip


def carlini_wagner_l0(net: nn.Module, shape: tuple[int, ...], steps: int, searches: int) -> dict[str, Peer]:
    """As ART's L2 attack, which it repeats as often as the image has channels, and once more."""
    iterations, rounds = max(1, steps // 10), shape[0] + 1
    return {
        "ART": _art(
            net, shape,
            lambda it: evasion.CarliniL0Method(
                it, binary_search_steps=10, max_iter=max(1, iterations // rounds), initial_const=0.01, verbose=False
            ),
        )
    }  # fmt: skip


def carlini_wagner_linf(net: nn.Module, shape: tuple[int, ...], steps: int) -> dict[str, Peer]:
    """Up to `steps` of Adam at rate 0.1 for each weight from 0.1 and each bound, as ours. An iteration of ART asks for the gradients of
    two classes, one image at a time, so it gets a tenth of them."""
    attack = partial(adv_lib.carlini_wagner_linf, net, learning_rate=0.1, initial_const=0.1, max_iterations=steps)
    return {
        "ART": _art(
            net, shape,
            lambda it: evasion.CarliniLInfMethod(
                it, learning_rate=0.1, initial_const=0.1, max_iter=max(1, steps // 10), verbose=False
            ),
        ),
        "adv-lib": _adv_lib(attack),
    }  # fmt: skip


def deepfool(net: nn.Module, shape: tuple[int, ...], steps: int = 50, norm: float = 2) -> dict[str, Peer]:
    """torchattacks and ART know only L2."""
    kinds = {2: foolbox.attacks.L2DeepFoolAttack, np.inf: foolbox.attacks.LinfDeepFoolAttack}
    found = {
        "foolbox": _foolbox(net, kinds[norm](steps=steps, candidates=10, overshoot=0.02)),
        "adv-lib": _adv_lib(partial(adv_lib.df, net, steps=steps, overshoot=0.02, norm=norm)),
    }
    if norm == 2:
        found["torchattacks"] = _torchattacks(torchattacks.DeepFool(net, steps=steps, overshoot=0.02))
        found["ART"] = _art(net, shape, lambda it: evasion.DeepFool(it, max_iter=steps, epsilon=0.02, nb_grads=10, verbose=False))
    return found


def ddn(net: nn.Module, shape: tuple[int, ...], steps: int) -> dict[str, Peer]:
    """Without rounding to 8 bits, which only adv-lib does."""
    return {
        "foolbox": _foolbox(net, foolbox.attacks.DDNAttack(steps=steps)),
        "adv-lib": _adv_lib(partial(adv_lib.ddn, net, steps=steps, levels=None)),
    }


def fmn(net: nn.Module, shape: tuple[int, ...], steps: int, norm: float) -> dict[str, Peer]:
    kinds = {
        0: foolbox.attacks.L0FMNAttack,
        1: foolbox.attacks.L1FMNAttack,
        2: foolbox.attacks.L2FMNAttack,
        np.inf: foolbox.attacks.LInfFMNAttack,
    }
    return {
        "foolbox": _foolbox(net, kinds[norm](steps=steps)),
        "adv-lib": _adv_lib(partial(adv_lib.fmn, net, norm=norm, steps=steps)),
    }


def ead(net: nn.Module, shape: tuple[int, ...], steps: int, searches: int, beta: float, rule: str) -> dict[str, Peer]:
    """An iteration asks for a gradient and, in foolbox and torchattacks, twice for logits; in ART four times, so it gets half of them."""
    kind = {"L1": torchattacks.EADL1, "EN": torchattacks.EADEN}[rule]
    return {
        "torchattacks": _torchattacks(kind(net, lr=0.01, binary_search_steps=searches, max_iterations=steps, beta=beta)),
        "foolbox": _foolbox(net, foolbox.attacks.EADAttack(searches, steps, 0.01, regularization=beta, decision_rule=rule)),
        "ART": _art(
            net, shape,
            lambda it: evasion.ElasticNet(
                it, binary_search_steps=searches, max_iter=max(1, steps // 2), beta=beta, decision_rule=rule, verbose=False
            ),
        ),
    }  # fmt: skip


def sigma_zero(net: nn.Module, shape: tuple[int, ...], steps: int) -> dict[str, Peer]:
    return {"adv-lib": _adv_lib(partial(adv_lib.sigma_zero, net, num_steps=steps))}


def fab(net: nn.Module, shape: tuple[int, ...], steps: int, norm: float) -> dict[str, Peer]:
    """torchattacks' L1 ends in an error of its own."""
    found = {"adv-lib": _adv_lib(partial(adv_lib.fab, net, norm=norm, n_iter=steps))}
    if norm != 1:
        # What lies beyond its eps it gives up.
        attack = torchattacks.FAB(net, norm={2: "L2", np.inf: "Linf"}[norm], eps=1e9, steps=steps)
        found["torchattacks"] = _torchattacks(attack)
    return found


def jsma(net: nn.Module, shape: tuple[int, ...], theta: float, gamma: float) -> dict[str, Peer]:
    """Toward the class after the label, torchattacks' only choice; both take the label and aim by themselves."""
    art = _art(net, shape, lambda it: evasion.SaliencyMapMethod(it, theta, gamma, verbose=False))
    return {
        "torchattacks": _torchattacks(torchattacks.JSMA(net, theta, gamma)),
        "ART": lambda x, y, batch: art(x, (y + 1) % 10, batch),
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
