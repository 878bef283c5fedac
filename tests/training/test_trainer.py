"""What `train` promises of weights, modes, held-out samples, labels, types and numbers that run away."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import cast

import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies import FSDPStrategy
from small_runs import RECIPES, classifier, images, weights
from torch import Tensor, nn

from holdfast import Classifier, Linf
from holdfast.core.errors import ConfigError, InputError, ModelError
from holdfast.defences.layers import Noise
from holdfast.parts.threats import Occlusion
from holdfast.training import Objective, Recipe, Trained, objectives, train, trainer
from holdfast.training.fabric import fabric_of
from holdfast.training.lesson import Lesson
from holdfast.training.objective import taught
from holdfast.training.trainer import _parted
from holdfast.training.validation import alarms, collapse, validated

PLAIN = Recipe(objectives.standard(), 2, 8, rate=0.05, schedule="constant")


def row(epoch: int, robust: float) -> dict[str, float]:
    return {"epoch": float(epoch), "clean": 0.9, "robust": robust}


def net(model: Classifier) -> nn.Module:
    return cast(nn.Module, model.net)


def linear(seed: int = 0) -> Classifier:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Classifier(nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).double().eval(), 3)


def test_it_is_the_loop_one_writes_by_hand() -> None:
    """SGD with Nesterov's momentum on a linear net, all gradients written out; the order is taken from what the net was shown."""
    x, y = images(24)
    trained = train(model := linear(), (x, y), replace(PLAIN, epochs=1, decay=0.01, clip=0.5), held=0)
    shown: list[Tensor] = []

    @dataclass(frozen=True)
    class Listening(Objective):
        def loss(self, model: Classifier, lesson: Lesson, found: Tensor) -> Tensor:
            shown.append(found)
            return taught(model, found, lesson.y)

    train(linear(), (x, y), replace(PLAIN, objective=Listening(), epochs=1), held=0)
    label = {tuple(image.flatten().tolist()): int(c) for image, c in zip(x.double() / 255, y, strict=True)}
    assert len(shown) == 3
    seen = [tuple(image.flatten().tolist()) for batch in shown for image in batch]
    assert sorted(seen) == sorted(label)
    weight, bias = (p.detach().clone() for p in net(linear()).parameters())
    speeds = [torch.zeros_like(weight), torch.zeros_like(bias)]
    for batch, loss in zip(shown, trained.losses.tolist(), strict=True):
        flat = batch.flatten(1)
        logits = flat @ weight.T + bias
        answer = torch.eye(3, dtype=torch.float64)[[label[tuple(image.tolist())] for image in flat]]
        assert loss == pytest.approx(float(-(logits.log_softmax(1) * answer).sum(1).mean()), abs=1e-12)
        error = (logits.softmax(1) - answer) / len(flat)
        slopes = [error.T @ flat, error.sum(0)]
        norm = float(torch.cat([g.flatten() for g in slopes]).norm())
        slopes = [g * min(1.0, 0.5 / (norm + 1e-6)) for g in slopes]
        slopes[0] = slopes[0] + 0.01 * weight
        for place, (p, g) in enumerate(zip((weight, bias), slopes, strict=True)):
            speeds[place] = 0.9 * speeds[place] + g
            p -= 0.05 * (g + 0.9 * speeds[place])
    for p, expected in zip(net(model).parameters(), (weight, bias), strict=True):
        torch.testing.assert_close(p.detach(), expected, rtol=1e-9, atol=1e-12)


def test_the_average_is_the_exponential_one_and_is_what_is_kept() -> None:
    steps: list[Tensor] = []
    model = linear()

    def watch(*_: object) -> None:
        steps.append(net(model)[1].weight.detach().clone())  # type: ignore[index]

    trained = train(model, images(), replace(PLAIN, average=0.4), held=0, watch=watch)
    expected = steps[0]
    assert len(steps) > 6, "the decay is still rising"
    for place, weight in enumerate(steps[1:], 1):
        decay = min(0.4, (1 + place) / (10 + place))
        expected = decay * expected + (1 - decay) * weight
    torch.testing.assert_close(weights(trained)["1.weight"], expected, rtol=1e-9, atol=1e-12)


class Placed(nn.Module):
    """A net that looks places up in a table of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 3)
        self.register_buffer("place", torch.arange(64).flip(0))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear(x.flatten(1)[:, self.place])
        return out


def test_buffers_of_whole_numbers_are_not_averaged() -> None:
    trained = train(Classifier(Placed().eval(), 3), images(), replace(PLAIN, average=0.9, epochs=40), held=0)
    assert torch.equal(net(trained.model).place, torch.arange(64).flip(0))


def test_the_best_epoch_is_kept_and_patience_ends_the_run() -> None:
    """A rate that ruins what was learned: the weights are those of the epoch that was best, and validating them says so again."""
    recipe = replace(PLAIN, rate=30.0, epochs=12, patience=2)
    trained = train(classifier(drop=0.0), images(), recipe, Linf(0.05), held=10)
    robust = [(one["robust"], one["clean"]) for one in trained.history]
    last = max(place for place, score in enumerate(robust) if score == max(robust))
    assert trained.best == last
    assert trained.complete
    alone = [score[0] for score in robust]
    assert len(robust) == min(12, alone.index(max(alone)) + 3), "clean accuracy does not prolong it"
    _, held = _parted(_dataset(), 10, 0)
    again = validated(trained.model, held, Linf(0.05))
    assert (again["robust"], again["clean"]) == robust[last]


def test_epochs_as_good_as_the_best_do_not_prolong_patience() -> None:
    constant = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(64, 3), nn.Hardtanh(0.0, 1e-30)).eval(), 3)
    trained = train(constant, images(), replace(PLAIN, epochs=9, patience=3), Linf(0.1), held=10)
    assert len({one["robust"] for one in trained.history}) == 1
    assert len(trained.history) == 4
    assert trained.best == 3


def test_clean_accuracy_that_rises_does_not_prolong_patience() -> None:
    """Nothing withstands pixels that may be any, so robust accuracy stays where it is while clean accuracy is learned."""
    trained = train(linear(3), images(120), replace(PLAIN, rate=0.02, epochs=12, patience=2), Linf(1.0), held=40)
    clean = [one["clean"] for one in trained.history]
    assert {one["robust"] for one in trained.history} == {0.0}
    assert len(clean) == 3
    assert clean[2] > clean[0]


def _dataset():  # type: ignore[no-untyped-def]
    from holdfast.data import from_tensors

    return from_tensors(*images())


@pytest.mark.parametrize(
    ("robust", "said"),
    [
        ([], []),
        ([0.1, 0.3, 0.4], []),
        ([0.1, 0.4, 0.36], []),
        ([0.1, 0.4, 0.34], ["robust overfitting: robust accuracy was 40.0% at its best and 34.0% at the end"]),
        ([0.1, 0.4, 0.1, 0.4], ["catastrophic overfitting in epoch 2: robust accuracy fell from 40.0% to 10.0%"]),
        ([0.09, 0.01], ["robust overfitting"]),
        ([0.04, 0.0], []),
        ([0.1, 0.4, 0.2, 0.4], []),
    ],
)
def test_alarms_of_made_up_histories(robust: list[float], said: list[str]) -> None:
    history = [row(epoch, value) for epoch, value in enumerate(robust)]
    found = alarms(history, 1000)
    assert len(found) == len(said)
    for sentence, start in zip(found, said, strict=True):
        assert sentence.startswith(start)
    assert alarms(history, 5) == [], "of five samples one or two prove nothing"
    assert alarms([{"epoch": 0.0, "clean": 0.5}, {"epoch": 1.0, "clean": 0.1}], 1000) == []
    assert collapse(history, 1000) == "".join(found[:1] if found and found[0].startswith("catastrophic") else [])


def test_a_collapse_is_told_once_and_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    falling = iter([0.5, 0.1, 0.05, 0.4])
    monkeypatch.setattr(trainer, "validated", lambda *_: {"clean": 0.9, "robust": next(falling)})
    heard: list[int] = []
    with pytest.warns(UserWarning, match="catastrophic overfitting in epoch 1: robust accuracy fell from 50.0% to 10.0%") as said:
        trained = train(classifier(), images(), replace(RECIPES["pgd"], epochs=4), Linf(0.1), 30, watch=lambda *_: heard.append(len(said)))
    each = len(heard) // 4
    assert heard == [0] * (2 * each - 1) + [1] * (2 * each + 1)
    assert len(trained.alarms) == 1 and trained.alarms[0].startswith("catastrophic overfitting in epoch 1")


def test_the_running_loss_is_told_between_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "EVERY", 3)
    heard: list[dict[str, float]] = []
    trained = train(classifier(), images(), RECIPES["pgd"], held=0, watch=lambda step, steps, row: heard.append(row))
    each = len(trained.losses) // RECIPES["pgd"].epochs
    assert each > 3
    for step, row in enumerate(heard, 1):
        assert row.get("running") == (None if step % 3 else pytest.approx(float(trained.losses[step - 3 : step].mean())))
        assert row.get("step") == (step // each * each or None)
    assert all("running" not in row for row in trained.history)


def test_a_net_is_not_cut_in_pieces() -> None:
    with pytest.raises(ConfigError, match="strategy FSDPStrategy: expected one device or ddp"):
        train(classifier(), images(), PLAIN, held=0, fabric=cast(Fabric, SimpleNamespace(strategy=FSDPStrategy())))


@dataclass(frozen=True)
class Bursting(Objective):
    """The cross-entropy until a step, and from then on no number."""

    burst: int

    def loss(self, model: Classifier, lesson: Lesson, found: Tensor) -> Tensor:
        return taught(model, found, lesson.y) * torch.where(lesson.step[0] >= self.burst, torch.nan, 1.0)


def test_a_loss_that_is_no_number_ends_the_run_with_what_was_kept(tmp_path) -> None:  # type: ignore[no-untyped-def]
    heard: list[int] = []
    recipe = replace(PLAIN, objective=Bursting(12), epochs=9)
    for _ in range(2):  # the second time it goes on from the snapshot of the first
        trained = train(classifier(), images(), recipe, held=0, out=tmp_path, watch=lambda step, *_: heard.append(step))
        assert max(heard) <= 15
        assert len(trained.history) == 2
        assert trained.best == 1
        assert trained.alarms == (
            "the loss or the weights were no finite numbers at step 13 of 45, and the training ended; the weights of epoch 1 are kept: "
            "take a lower rate than 0.05, clip=1, or a wider precision",
        )
    whole = train(classifier(), images(), recipe, held=0, halt=iter([False] * 10 + [True]).__next__)
    assert all(torch.equal(weights(trained)[name], tensor) for name, tensor in weights(whole).items())
    with pytest.raises(ModelError, match="no finite numbers at step 3 of 45, before any epoch was kept: take a lower rate"):
        train(classifier(), images(), replace(recipe, objective=Bursting(2)), held=0)


def test_weights_that_run_away_end_the_run() -> None:
    model = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).eval(), 3)
    with pytest.raises(ModelError, match="take a lower rate than 1e\\+38"):
        train(model, images(), replace(PLAIN, rate=1e38), Linf(0.1))


def test_modes_and_what_the_net_holds_besides() -> None:
    model = classifier()
    heard: list[bool] = []
    trained = train(
        model, images(), RECIPES["pgd"], Linf(0.1), 10, watch=lambda *_: heard.append(all(m.training for m in net(model).modules()))
    )
    assert all(heard)
    assert trained.model.net is model.net
    assert not any(module.training for module in net(model).modules())
    trained.model.check_mode()
    assert int(weights(trained)["1.num_batches_tracked"]) > 0


@pytest.mark.parametrize("objective", [objectives.trades(0.1, steps=2), objectives.vat(1.0), objectives.stability()])
def test_rows_without_a_label_teach_and_are_never_held_out(objective: Objective) -> None:
    x, y = images()
    y = torch.where(torch.arange(len(y)) % 2 == 0, y, -1)
    trained = train(classifier(), (x, y), replace(PLAIN, objective=objective), Linf(0.1), held=10)
    assert trained.losses.isfinite().all()
    other = train(classifier(), (torch.where(y.reshape(-1, 1, 1, 1) < 0, 255 - x, x), y), replace(PLAIN, objective=objective), held=10)
    assert not torch.equal(trained.losses, other.losses)
    with pytest.raises(InputError, match="too few samples with a label"):
        train(classifier(), (x, y), replace(PLAIN, objective=objective), held=30)
    with pytest.raises(InputError, match="away from its label"):
        train(classifier(), (x, y), replace(PLAIN, objective=objectives.pgd(0.1)), held=10)


def test_bytes_and_floats_are_the_same_images() -> None:
    x, y = images()
    one = train(classifier(torch.float64), (x, y), RECIPES["pgd"], Linf(0.1), 10)
    other = train(classifier(torch.float64), (x.double() / 255, y), RECIPES["pgd"], Linf(0.1), 10)
    assert one.losses.dtype == torch.float64
    assert torch.equal(one.losses, other.losses)
    assert weights(one)["0.weight"].dtype == torch.float64


def test_a_class_that_is_missing() -> None:
    x, y = images()
    some = y != 1
    trained = train(classifier(), (x[some], y[some]), RECIPES["pgd"], Linf(0.1), 5)
    assert trained.losses.isfinite().all()
    with pytest.raises(InputError, match="label 3"):
        train(classifier(), (x, y + 1), PLAIN)


def test_fewer_samples_than_a_batch_are_one_batch() -> None:
    x, y = images(5)
    trained = train(classifier(), (x, y), replace(PLAIN, epochs=4), held=0)
    assert len(trained.losses) == 4
    assert trained.best == 3
    assert "clean" not in trained.history[0]
    with pytest.raises(ConfigError, match="held=5 of 5"):
        train(classifier(), (x, y), PLAIN, held=5)


def test_a_batch_of_one_row_where_batch_norm_needs_two() -> None:
    x, y = images(3)
    flat = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)).eval(), 3)
    with pytest.raises(ModelError, match="more than 1 value per channel when training"):
        train(flat, (x, y), replace(PLAIN, batch=1), held=0)
    trained = train(classifier(), (x, y), replace(PLAIN, batch=1), held=0)
    assert trained.losses.isfinite().all()


@pytest.mark.parametrize("name", list(RECIPES))
def test_lower_precision_learns_and_goes_on(name: str, tmp_path) -> None:  # type: ignore[no-untyped-def]
    recipe = replace(RECIPES[name], precision="bf16-mixed")
    whole = train(classifier(), images(), recipe, Linf(0.1), 10)
    train(classifier(), images(), recipe, Linf(0.1), 10, tmp_path, halt=iter([False] * 4 + [True]).__next__)
    again = train(classifier(), images(), recipe, Linf(0.1), 10, tmp_path)
    assert weights(whole)["0.weight"].dtype == torch.float32
    assert all(torch.equal(weights(again)[key], tensor) for key, tensor in weights(whole).items())
    assert not torch.equal(whole.losses, train(classifier(), images(), RECIPES[name], Linf(0.1), 10).losses)


@dataclass(frozen=True)
class Wary(Objective):
    """An objective that notes what its inputs are, and the largest distance from them to what is found."""

    inner: Objective
    seen: list[tuple[torch.dtype, float]] = field(default_factory=list, repr=False)

    def look(self, model: Classifier, lesson: Lesson) -> Tensor:
        found = self.inner.look(model, lesson)
        self.seen.append((lesson.x.dtype, float((found - lesson.x).abs().max())))
        return found

    def loss(self, model: Classifier, lesson: Lesson, found: Tensor) -> Tensor:
        return self.inner.loss(model, lesson, found)


@pytest.mark.parametrize("inner", [objectives.pgd(0.01, steps=3), objectives.trades(0.01, steps=3)], ids=["pgd", "trades"])
def test_in_mixed_precision_radii_are_whole_and_every_weight_learns(inner: Objective) -> None:
    """Bright inputs, whose last place in bfloat16 is near the radius."""
    wary, model, moved = Wary(inner), classifier(drop=0.0), []
    x, y = images()

    def watch(*_: object) -> None:
        moved.append(all(p.grad is not None and bool((p.grad != 0).any()) for p in net(model).parameters()))

    train(model, (x // 2 + 128, y), Recipe(wary, 2, 8, precision="bf16-mixed"), held=0, watch=watch)
    assert {dtype for dtype, _ in wary.seen} == {torch.float32}
    assert all(0.005 < far <= 0.01 + 1e-6 for _, far in wary.seen)
    assert len(moved) == 10 and all(moved)


def test_validation_draws_the_same_wherever_the_generator_stands() -> None:
    histories = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        model = Classifier(nn.Sequential(Noise(0.5), nn.Flatten(), nn.Linear(64, 3)).double().eval(), 3)
        with torch.no_grad():
            for p in net(model).parameters():
                p.copy_(torch.linspace(-1, 1, p.numel(), dtype=p.dtype).reshape(p.shape))
        found = train(model, images(), PLAIN, Linf(0.05), held=20)
        histories.append([(row["clean"], row["robust"], row["loss"]) for row in found.history])
    assert histories[0] == histories[1]


@pytest.mark.parametrize("precision", ["bf16-true", "64-true"])
def test_the_net_itself_in_another_precision(precision: str) -> None:
    trained = train(given := classifier(), images(), replace(PLAIN, precision=precision), Linf(0.1), 10)
    assert trained.model.dtype == weights(trained)["0.weight"].dtype == (torch.bfloat16 if "bf16" in precision else torch.float64)
    assert trained.losses.isfinite().all()
    # What was given is trained in place, and goes on answering.
    for one in (given, trained.model):
        assert one((images()[0] / 255).to(one.dtype)).logits.dtype == one.dtype == trained.model.dtype
        again = train(one, images(), replace(PLAIN, precision=precision), held=0)
        assert again.losses.isfinite().all()


@pytest.mark.parametrize("precision", ["bf16-true", "64-true", "bf16-mixed"])
def test_a_teacher_of_another_precision_teaches(precision: str) -> None:
    trained = train(
        classifier(), images(), replace(PLAIN, objective=objectives.distillation(5.0, classifier()), precision=precision), held=0
    )
    assert trained.losses.isfinite().all()


def test_what_cannot_be_trained_is_refused() -> None:
    with pytest.raises(ConfigError, match="can be trained"):
        train(Classifier(lambda x: x.flatten(1)[:, :3], 3), images(), PLAIN)
    frozen = classifier()
    net(frozen).requires_grad_(False)
    with pytest.raises(ConfigError, match="nothing can be trained"):
        train(frozen, images(), PLAIN)
    with pytest.raises(ConfigError, match="patience=2: no samples are held out"):
        train(classifier(), images(), replace(PLAIN, patience=2), held=0)
    with pytest.raises(ConfigError, match="precision='bf16-mixed', but the fabric given has 32-true"):
        train(classifier(), images(), replace(PLAIN, precision="bf16-mixed"), fabric=fabric_of(classifier()))
    with pytest.raises(ConfigError, match="search='bfloat16': Standard makes no search"):
        train(classifier(), images(), replace(PLAIN, search="bfloat16"))
    with pytest.raises(ConfigError, match="search='folded': Free makes no search"):
        train(classifier(), images(), replace(RECIPES["free"], search="folded"))
    with pytest.raises(ConfigError, match=r"threat .*: epochs are compared under PGD, which cannot move in it"):
        train(classifier(), images(), PLAIN, Occlusion(2.0))
    with pytest.raises(InputError, match="label -2"):
        train(classifier(), (images()[0], images()[1] - 2), PLAIN)
    with pytest.raises(ConfigError, match="precision='fp12'"):
        train(classifier(), images(), replace(PLAIN, precision="fp12"))
    with pytest.raises(InputError, match="images"):
        train(linear(), (torch.rand(9, 64), torch.arange(9) % 3), RECIPES["pgd"])


def test_it_learns() -> None:
    """Columns that are bright by more than the radius can be told apart robustly."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(120) % 3
    x = 0.2 * torch.rand(120, 1, 8, 8, generator=generator)
    x[torch.arange(120), 0, :, 2 * y] += 0.8
    trained: Trained = train(linear(), (x, y), Recipe(objectives.pgd(0.1, steps=3), 6, 16, rate=0.1), Linf(0.1), held=30)
    assert trained.history[trained.best]["robust"] > 0.9
