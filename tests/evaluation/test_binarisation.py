"""The binarisation test: sound attacks find what was planted, weak ones do not, and what is planted is really there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from holdfast import L0, L1, L2, Classifier, Linf, attacks
from holdfast.core.attack import Attack
from holdfast.core.errors import ConfigError
from holdfast.data import load_data
from holdfast.engine import Pieces, Samples, Setting, run
from holdfast.evaluation.binarisation import BinarisationReport, binarisation_test, search
from holdfast.evaluation.planting import Binarised, binarised
from holdfast.models import load_net, mlp
from holdfast.parts.threats import Additive

# In L1 a hundredth of 64 values is one: steps of one value miss most plants, steps of six find them.
THREATS: dict[str, Additive] = {"linf": Linf(0.1), "l2": L2(0.8), "l1": L1(5.0, spread=0.1)}
PLANTS = 8


def digits(n: int = 2 * PLANTS) -> Tensor:
    return torch.as_tensor(load_data("digits", split="test", limit=n).x).double()


def net() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return mlp(64, 10, (48, 48)).double().eval()


def planted(threat: Additive, seed: int = 0, rows: int = 128, plants: int = PLANTS) -> Binarised:
    setting = Setting(seed, pieces=Pieces(rows))
    return binarised(Classifier(net(), 10), digits(), threat, plants, inner=199, random=20, setting=setting)


@pytest.fixture(scope="module", params=THREATS)
def ground(request: pytest.FixtureRequest) -> Binarised:
    return planted(THREATS[request.param])


def weak(threat: Additive) -> Attack:
    return attacks.pgd(threat, steps=2, step=threat.radius / 1000, random_start=False)


@pytest.mark.parametrize(
    "make",
    [
        lambda threat: attacks.apgd(threat),
        lambda threat: attacks.apgd(threat, objective="dlr"),
        lambda threat: attacks.apgd(threat, targeted=True),
        lambda threat: attacks.apgd_targeted(threat),
        lambda threat: attacks.pgd(threat, steps=40, restarts=3, objective="margin"),
        lambda threat: attacks.apgd(threat, eot=2),
        lambda threat: attacks.fab(threat),
        lambda threat: attacks.deepfool(replace(threat, radius=float("inf"))),
    ],
    ids=["apgd", "apgd-dlr", "apgd-aimed", "apgd_targeted", "pgd", "apgd-eot", "fab", "deepfool"],
)
def test_sound_attacks_find_every_plant(ground: Binarised, make: Callable[[Additive], Attack]) -> None:
    assert bool(search(ground, [make(ground.threat)]).all())


@pytest.mark.parametrize("ground", ["linf", "l2"], indirect=True)
def test_starts_that_ask_and_objectives_in_turns_find_every_plant(ground: Binarised) -> None:
    assert bool(search(ground, [attacks.cosine(ground.threat, restarts=3, starts=("diversified", "uniform"))]).all())


@pytest.mark.parametrize("ground", ["linf", "l2"], indirect=True)
def test_scores_alone_are_enough(ground: Binarised) -> None:
    assert bool(search(ground, [attacks.square(ground.threat, steps=1000)]).all())


def test_a_crippled_attack_fails_and_what_follows_it_finds_the_rest(ground: Binarised) -> None:
    assert int(search(ground, [weak(ground.threat)]).sum()) < 0.5 * PLANTS
    assert bool(search(ground, [weak(ground.threat), attacks.apgd(ground.threat)]).all())


def heights(ground: Binarised, body: nn.Module, x: Tensor, shift: int = 0) -> Tensor:
    clean = ground.plants.clean
    return (body(x) * clean.weight.roll(shift, 0)).sum(dim=1) + clean.bias.roll(shift)


def test_what_is_planted_is_there(ground: Binarised) -> None:
    body, plants, threat = net()[:-1], ground.plants, ground.threat
    here, there = heights(ground, body, plants.x), heights(ground, body, plants.point)
    assert bool((here < 0).all()) and bool((there > 0).all())
    # Only just: a thousandth of what the regression had it above.
    assert bool((there < 0.01 * here.abs()).all())
    size = threat.size(plants.x, plants.point - plants.x)
    assert torch.allclose(size, torch.full_like(size, threat.radius), rtol=1e-4)
    assert bool(((plants.point >= 0) & (plants.point <= 1)).all())
    assert torch.allclose(plants.clean.logits, torch.stack([-here, here], dim=1))


def test_the_shared_run_is_each_binary_classifier_attacked_by_itself() -> None:
    ground = planted(Linf(0.1))
    plants = ground.plants
    attack = attacks.apgd(0.1, steps=10)
    samples = Samples(plants.x, torch.zeros(PLANTS, dtype=torch.int64), plants.sample)
    together = search(ground, [attack])
    for i in range(PLANTS):
        last = nn.Linear(48, 2).double()
        with torch.no_grad():
            last.weight.copy_(torch.stack([-plants.clean.weight[i], plants.clean.weight[i]]))
            last.bias.copy_(torch.stack([-plants.clean.bias[i], plants.clean.bias[i]]))
        alone = Classifier(nn.Sequential(*net()[:-1], last).eval(), 2)
        assert bool(run(attack, alone, samples, todo=torch.tensor([i])).success[i]) == bool(together[i])


def test_plants_follow_from_the_seed_alone() -> None:
    first, again, other = (planted(Linf(0.1), seed, rows, plants=2) for seed, rows in ((0, 128), (0, 40), (1, 128)))
    assert torch.equal(first.plants.point, again.plants.point)
    assert torch.allclose(first.plants.clean.weight, again.plants.clean.weight, rtol=1e-3)
    assert not torch.equal(first.plants.point, other.plants.point)


def test_an_attack_does_not_start_on_a_plant() -> None:
    # Were its random starts the plants' own noise, it would find them all.
    start = attacks.pgd(0.1, steps=1, step=1e-9, restarts=3)
    assert int(search(planted(Linf(0.1)), [start]).sum()) <= 2


def test_the_module_is_left_as_found() -> None:
    module = net()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    state = torch.get_rng_state()
    binarisation_test(Classifier(module, 10), digits(), [attacks.apgd(0.1)], Linf(0.1), plants=2, inner=49)
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())
    assert all(not part._forward_hooks and not part._forward_pre_hooks for part in module.modules())
    assert all(parameter.grad is None for parameter in module.parameters())
    assert torch.equal(state, torch.get_rng_state())


def test_normalisation_is_the_models_own() -> None:
    report = binarisation_test(
        Classifier(net(), 10, mean=0.3, std=0.4), digits(), [attacks.apgd(0.1)], Linf(0.1), PLANTS, inner=199, random=20
    )
    assert (report.plants, report.found, report.status) == (PLANTS, PLANTS, "pass")


class Coarse(nn.Module):
    """Rounds its input, so that its gradient is zero: what makes a net look robust to whoever trusts gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.net = net()

    def forward(self, x: Tensor) -> Tensor:
        return self.net((50 * x).round() / 50 + 0 * x)


def test_hidden_gradients_are_seen_through() -> None:
    model = Classifier(Coarse().eval(), 10)
    report = binarisation_test(model, digits(), [attacks.apgd(0.1)], Linf(0.1), PLANTS, inner=199, random=20)
    assert report.plants == PLANTS and report.status == "fail"
    assert "the attacks miss what is there" in report.check().remedy


class Deaf(nn.Module):
    """Hears only inputs that are bright on average: for the others its features are constant."""

    def __init__(self, least: float) -> None:
        super().__init__()
        self.body, self.last, self.least = net()[:-1], nn.Linear(48, 10).double(), least

    def forward(self, x: Tensor) -> Tensor:
        heard = x.flatten(1).mean(dim=1, keepdim=True) > self.least
        return self.last(self.body(x) * heard)


def test_samples_that_cannot_be_planted_are_left_out_and_counted() -> None:
    x = digits()
    x[1::2] *= 0.2
    report = binarisation_test(Classifier(Deaf(0.2).eval(), 10), x, [attacks.apgd(0.05)], Linf(0.05), PLANTS, inner=99, random=20)
    assert 0 < report.plants < report.tried == len(x)
    assert report.plants == report.found and "could not be planted" in report.check().evidence


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (nn.Sequential(nn.Conv2d(1, 10, 8), nn.Flatten()).double(), "it calls no nn.Linear"),
        (nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.ZeroPad1d((0, 5))).double(), r"answers \[2, 5\]"),
        (Deaf(2.0), "none of 16 samples"),
    ],
    ids=["no-linear", "not-last", "constant"],
)
def test_a_model_that_cannot_be_planted_is_not_tested(module: nn.Module, reason: str) -> None:
    report = binarisation_test(Classifier(module.eval(), 10), digits(), [attacks.apgd(0.1)], Linf(0.1), inner=9)
    check = report.check()
    assert check.status == "not run" and len(check.evidence.splitlines()) == 1
    assert torch.tensor(report.share).isnan()
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(check.evidence)


def test_a_function_is_no_module() -> None:
    model = Classifier(lambda x: x.flatten(1)[:, :10], 10)
    report = binarisation_test(model, digits().float(), [attacks.apgd(0.1)], Linf(0.1))
    assert "not an nn.Module" in report.reason


@pytest.mark.parametrize(
    ("tried", "threat", "change"),
    [
        ([], Linf(0.1), {}),
        ([attacks.apgd(0.2)], Linf(0.1), {}),
        ([attacks.apgd(L2(0.1))], Linf(0.1), {}),
        ([attacks.pgd(L0(3))], L0(3), {}),
        ([attacks.apgd(0.1)], Linf(0.1), {"inner": 0}),
    ],
    ids=["none", "radius", "norm", "l0", "inner"],
)
def test_what_does_not_fit_is_refused(tried: list[Attack], threat: Additive, change: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        binarisation_test(Classifier(net(), 10), digits(), tried, threat, **change)


@pytest.mark.parametrize(
    ("found", "lucky", "status"), [(199, 0, "pass"), (198, 100, "pass"), (197, 0, "warn"), (200, 101, "warn"), (189, 0, "fail")]
)
def test_verdicts(found: int, lucky: int, status: str) -> None:
    report = BinarisationReport(200, 200, found, lucky)
    assert report.status == report.check().status == status
    assert bool(report.check().remedy) == (status != "pass")


def test_on_an_adversarially_trained_lenet(data_dir: Path) -> None:
    module = load_net("lenet5", data_dir / "models" / "mnist_lenet5_adv.safetensors").eval()
    with np.load(data_dir / "mnist" / "mnist.npz") as file:
        x = torch.from_numpy(file["x_test"][:10]).unsqueeze(1)
    ground = binarised(Classifier(module, 10), x, Linf(0.3), 8, inner=199, random=50)
    assert len(ground.plants) == 8
    assert bool(search(ground, [attacks.apgd(0.3, objective="margin")]).all())
    assert int(search(ground, [weak(Linf(0.3))]).sum()) < 4
