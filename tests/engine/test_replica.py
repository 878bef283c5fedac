"""Search on a replica: every claim holds on the user's own module, which stays as it is; what is found is what its own search finds."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from holdfast import L2, Classifier, ConfigError, Linf, ModelError, attacks, evaluate
from holdfast.engine import Choice, Pieces, Samples, Setting, choose, replica, run
from holdfast.engine.agree import agree, ask
from holdfast.models import preact_resnet18
from holdfast.report.provenance import provenance

SIDE = 8


class Attention(nn.Module):
    """The rows of an image as tokens of a transformer layer."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(3 * SIDE, 16)
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(self.embed(x.transpose(1, 2).flatten(2))).mean(dim=1))


class Recurrent(nn.Module):
    """The rows of an image read one after another."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.LSTM(3 * SIDE, 16, batch_first=True), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x.transpose(1, 2).flatten(2))[0][:, -1])


class Hooked(nn.Module):
    """A net whose hook changes its answers, as pruning and steering do."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Tanh(), nn.Flatten(), nn.Linear(8 * 36, 5))
        self.body[1].register_forward_hook(lambda module, given, answer: answer * 1.5 - 0.2)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


def group_norm() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.GroupNorm(2, 8), nn.ReLU(), nn.Conv2d(8, 8, 3, stride=2), nn.GroupNorm(4, 8), nn.ReLU(),
        nn.Flatten(), nn.Linear(8 * 9, 5),
    )  # fmt: skip


def batch_norm() -> nn.Module:
    return preact_resnet18(classes=5, width=8)


NETS: list[Callable[[], nn.Module]] = [batch_norm, group_norm, Attention, Recurrent, Hooked]
EVERY = pytest.mark.parametrize("make", NETS, ids=["batch norm", "group norm", "attention", "LSTM", "hooks"])


def built(make: Callable[[], nn.Module]) -> nn.Module:
    """The net in eval mode, its batch norms with statistics of their own."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        net = make()
        for _ in range(3):
            net.train()(torch.rand(32, 3, SIDE, SIDE))
    return net.eval()


def wrapped(net: nn.Module) -> Classifier:
    return Classifier(net, 5, mean=(0.4, 0.5, 0.6), std=0.3)


def problem(make: Callable[[], nn.Module], n: int = 24) -> tuple[nn.Module, Classifier, Samples]:
    net = built(make)
    x = torch.rand(n, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    model = wrapped(net)
    head = [module for module in net.modules() if isinstance(module, nn.Linear)][-1]
    with torch.no_grad():
        # Else an untrained net has one answer to everything.
        head.bias -= model(x).logits.mean(dim=0)
        return net, model, Samples.of(x, model(x).logits.argmax(dim=1))


def radius_where_half_stand(model: Classifier, samples: Samples) -> float:
    outcome = run(attacks.deepfool(Linf(0.9), steps=10), model, samples)
    return float(outcome.found.size[outcome.success].median())


def as_found(net: nn.Module) -> list[object]:
    tensors = [*net.named_parameters(), *net.named_buffers()]
    kept = [(name, t.detach().clone().flatten().tolist(), t.stride(), t.requires_grad, t.grad is None, id(t)) for name, t in tensors]
    return [kept, [(module.training, len(module._forward_hooks)) for module in net.modules()]]


def refused_by(net: nn.Module, adversarial: Tensor, found: Tensor, y: Tensor) -> int:
    """Claims that the plain module, asked as its user would, does not confirm."""
    with torch.no_grad():
        return int((wrapped(net)(adversarial[found]).logits.argmax(dim=1) == y[found]).sum())


@EVERY
@pytest.mark.parametrize("dtype", [None, "bfloat16"])
def test_claims_hold_on_the_users_module_and_as_much_is_found(make: Callable[[], nn.Module], dtype: str | None) -> None:
    net, model, samples = problem(make)
    attack = attacks.pgd(radius_where_half_stand(model, samples), steps=8)
    before = as_found(net)
    form = "folded" if make is batch_norm else "frozen"
    choice = Choice(form, dtype, Pieces(16, "channels_last"))  # type: ignore[arg-type]
    own = run(attack, model, samples, Setting(pieces=choice.pieces))
    found = run(attack, model, samples, Setting(pieces=choice.pieces), search=replica(model, choice))
    success = found.success & ~found.wrong
    assert bool(success.any()) and not bool(success.all())
    assert refused_by(net, found.adversarial, success, samples.y) == 0
    assert abs(int(found.success.sum()) - int(own.success.sum())) <= 1
    assert as_found(net) == before


@EVERY
def test_an_evaluation_searches_on_what_was_chosen(make: Callable[[], nn.Module], tmp_path: Path) -> None:
    net, model, samples = problem(make)
    before = as_found(net)
    threat = Linf(radius_where_half_stand(model, samples))
    plan = ["apgd(steps=8)", "deepfool(steps=5)"]
    result = evaluate(model, (samples.x, samples.y), threat, attacks=plan, out=tmp_path / "replica")
    own = evaluate(model, (samples.x, samples.y), threat, attacks=plan, out=tmp_path / "own", replica=False)
    assert own.manifest["once"]["choice"]["form"] == "own"
    assert ("What the search asked", result.manifest["once"]["choice"]["why"]) in provenance(result)
    broken = torch.from_numpy(result.standing.sort("sample")["robust"].to_numpy().copy()).logical_not()
    assert refused_by(net, torch.from_numpy(result.adversarial.copy()), broken, samples.y) == 0
    assert abs(result.robust_accuracy - own.robust_accuracy) <= 1.01 / len(samples)
    assert as_found(net) == before


def test_folding_takes_the_batch_norms_out_and_keeps_hooks() -> None:
    net, model, samples = problem(batch_norm)
    folded = replica(model, Choice("folded"))
    count = [sum(isinstance(m, nn.BatchNorm2d) for m in n.modules()) for n in (net, folded.net)]  # type: ignore[attr-defined]
    assert count[1] < count[0]
    assert torch.allclose(folded(samples.x).logits, model(samples.x).logits, rtol=1e-3, atol=1e-4)
    assert all(not p.requires_grad for p in folded.net.parameters())  # type: ignore[attr-defined]
    _, hooked, _ = problem(Hooked)
    assert "folded" not in choose(hooked, samples.x).why


class Lying(nn.Module):
    """A net whose copy answers otherwise."""

    def __init__(self, sign: float = 1.0) -> None:
        super().__init__()
        self.body, self.sign = group_norm(), sign

    def __deepcopy__(self, memo: object) -> Lying:
        other = Lying(-1.0)
        other.body.load_state_dict(self.body.state_dict())
        return other

    def forward(self, x: Tensor) -> Tensor:
        return self.sign * self.body(x)


class Dynamic(nn.Module):
    """Control flow that looks at the data, which cannot be traced."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 5))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x * 2 if float(x.detach().abs().sum()) > 1e9 else x)


class Selfish(nn.Module):
    """A net that is its own copy."""

    def __init__(self) -> None:
        super().__init__()
        self.body = group_norm()

    def __deepcopy__(self, memo: object) -> Selfish:
        return self

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


@pytest.mark.parametrize(("make", "said"), [(Lying, "otherwise"), (Selfish, "shares parts")])
def test_what_cannot_stand_in_is_not_used(make: Callable[[], nn.Module], said: str) -> None:
    net, model, samples = problem(make)
    before = as_found(net)
    choice = choose(model, samples.x)
    assert choice.form == "own" and said in choice.why
    assert as_found(net) == before


def test_what_cannot_be_traced_is_not_folded() -> None:
    _, model, samples = problem(Dynamic)
    choice = choose(model, samples.x)
    assert choice.form != "folded" and "no folded copy" in choice.why
    with pytest.raises(ModelError, match="--no-replica"):
        replica(model, Choice("folded"))


def test_a_callable_and_a_stochastic_net_are_asked_themselves() -> None:
    net, _, samples = problem(group_norm)
    assert choose(Classifier(lambda x: net(x), 5), samples.x).form == "own"
    assert choose(Classifier(net, 5, stochastic=True), samples.x).form == "own"


def test_a_net_without_gradients_is_timed_all_the_same() -> None:
    net, _, samples = problem(group_norm)
    assert choose(Classifier(lambda x: net(x.detach()), 5), samples.x).pieces.rows >= 32


def test_a_net_that_answers_nan_is_asked_itself() -> None:
    net, _, samples = problem(group_norm)
    with torch.no_grad():
        net[-1].bias.fill_(torch.nan)  # type: ignore[index, union-attr]
    assert choose(wrapped(net), samples.x).form == "own"


def test_agreement_is_as_exact_as_the_precision() -> None:
    _, model, samples = problem(batch_norm)
    own = ask(model, samples.x, True)
    low = ask(replica(model, Choice("folded", "bfloat16")), samples.x, True, own.pair)
    assert agree(own, low, low=True) and not agree(own, low, low=False)
    assert own.g is not None
    assert not agree(own, replace(own, g=-own.g), low=True) and not agree(own, replace(own, g=-own.g), low=False)
    assert not agree(own, replace(own, logits=own.logits * torch.nan), low=True)


def test_only_a_search_that_ends_at_its_first_success_runs_in_low_precision() -> None:
    low = Choice("frozen", "bfloat16")
    assert low.suited(attacks.pgd(0.1)) == low
    for attack in (attacks.deepfool(L2(1.0)), attacks.carlini_wagner(), attacks.fab(0.1), attacks.pgd(0.1, early=False)):
        assert low.suited(attack) == Choice("frozen")
    with pytest.raises(ConfigError, match="frozen"):
        Choice("own", "bfloat16")


def test_a_choice_survives_json() -> None:
    choice = Choice("folded", "float16", Pieces(64, "channels_last"), "because")
    again = Choice.read(json.loads(json.dumps(asdict(choice))))
    assert again == choice and again.why == choice.why


def test_a_resumed_run_obeys_the_choice_in_its_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, model, samples = problem(batch_norm)
    fixed, called = Choice("folded", "bfloat16", Pieces(16, "channels_last"), "by hand"), []

    def chosen(*given: object, **more: object) -> Choice:
        called.append(1)
        return fixed

    monkeypatch.setattr(sys.modules["holdfast.evaluation.evaluate"], "choose", chosen)
    threat, plan = Linf(radius_where_half_stand(model, samples)), ["pgd(steps=8, early=False)", "pgd(steps=8)"]
    data = (samples.x, samples.y)
    whole = evaluate(model, data, threat, attacks=plan, out=tmp_path / "whole")
    steps = iter([False] * 4 + [True] * 100)
    evaluate(model, data, threat, attacks=plan, out=tmp_path / "run", halt=lambda: next(steps))
    fixed = Choice(why="another day, another clock")
    again = evaluate(model, data, threat, attacks=plan, out=tmp_path / "run")
    assert len(called) == 2 and again.manifest["once"]["choice"]["why"] == "by hand"
    assert again.records.equals(whole.records)


class Optimist(nn.Module):
    """A stand-in that sees success everywhere."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        logits = self.net(x)
        return logits - 50 * nn.functional.one_hot(logits.detach().argmax(dim=1), 5)


def test_a_refused_claim_searches_on_and_finds_what_is_there() -> None:
    _, model, samples = problem(group_norm)
    attack = attacks.pgd(radius_where_half_stand(model, samples), steps=8)
    own = run(attack, model, samples)
    found = run(attack, model, samples, search=model.around(Optimist(model.net)))  # type: ignore[arg-type]
    assert found.refused > len(samples)
    assert refused_by(model.net, found.adversarial, found.success, samples.y) == 0  # type: ignore[arg-type]
    assert int(found.success.sum()) >= int(own.success.sum()) - 1
