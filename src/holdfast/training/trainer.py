"""`train`: one visible loop for every objective, on one device or many, that can be killed at any moment and goes on exactly."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from holdfast.core.draw import Draw, row_key
from holdfast.core.errors import ConfigError, InputError, ModelError, StoreError
from holdfast.core.types import Threat
from holdfast.data import Dataset, from_tensors
from holdfast.engine.noise import kept_generators, seeded_generators
from holdfast.engine.snapshot import Snapshots
from holdfast.models import Classifier
from holdfast.training.augment import augmented
from holdfast.training.checkpoint import Checkpoint, Progress, weights_of
from holdfast.training.fabric import Fabric, checked, fabric_of
from holdfast.training.lesson import Lesson
from holdfast.training.objective import Objective
from holdfast.training.recipe import Recipe
from holdfast.training.replayed import Memory, Replayed
from holdfast.training.search import Search
from holdfast.training.validation import alarms, collapse, score, validated, watched

Parts = tuple[Tensor, ...] | list[Tensor]

EVERY = 50
"""Steps between two looks at the running loss, for which the device is waited for."""


@dataclass(frozen=True)
class Trained:
    """A trained `model`, in eval mode, with the weights of the `best` epoch (from 0; of the last where nothing was validated).

    `history`: of each epoch its mean `loss`, the last `rate`, `seconds` so far, and on the held-out samples `clean` and `robust` accuracy;
    `losses` `[steps]` float64; `alarms`: sentences about what went wrong; `complete`: it was not halted.
    """

    model: Classifier
    history: tuple[dict[str, float], ...]
    losses: Tensor
    best: int
    alarms: tuple[str, ...]
    complete: bool


class Task(nn.Module):
    """The objective as a module of the net's weights: what the engine wraps, so that each step is one forward, however many inside."""

    def __init__(self, model: Classifier, objective: Objective, search: Search) -> None:
        super().__init__()
        self.net, self.model, self.objective, self.search = cast(nn.Module, model.net), model, objective, search
        self.value, self.memory = torch.zeros(()), Memory()
        self.lesson: Lesson | None = None

    def forward(self, step: Tensor) -> Tensor:
        # The lesson is no argument: in low precision the engine would round the inputs to it, and radii with them.
        lesson, objective = self.lesson, self.objective
        assert lesson is not None
        if isinstance(objective, Replayed):
            loss = objective.again(self.model, lesson, self.memory)
        else:
            loss = objective(self.model, lesson, self.search)
        # The engine may return it in another precision.
        self.value = loss.detach().double()
        return loss


def train(
    model: Classifier,
    data: Dataset | tuple[Tensor, Tensor],
    recipe: Recipe,
    threat: Threat | None = None,
    held: float | int = 0.05,
    out: Path | str | None = None,
    seed: int = 0,
    fabric: Fabric | None = None,
    watch: Callable[[int, int, dict[str, float]], None] = lambda step, steps, row: None,
    halt: Callable[[], bool] = lambda: False,
    say: Callable[[str], None] = warnings.warn,
) -> Trained:
    """Train a net by an objective: every epoch each sample once, in an order of its own, in batches over all processes together.

    `model`: its net's weights are changed in place, and at the end are those of the best epoch; `data`: a `Dataset`, or (x, y), uint8 or in
    the model's range; `threat`: what the `held` samples (a share of the data, or so many) are attacked with after each epoch, by PGD-10
    from a random start: the epoch with the highest robust accuracy is kept; None validates on clean inputs. `out`: a folder whose
    `train.snapshot` the same call, with a net of the same first weights, goes on from, after a kill at any moment, to the same weights, bit
    for bit on CPU. `seed` keys the noise
    of attacks and augmentations by (sample, step), so that it is the same in however many processes; what layers draw, as dropout does,
    follows from (step, process). `fabric`: one device, or DDP. `watch` hears the step, how many there are, and the last epoch's row, at
    every 50th step with `running`, the mean loss of the last 50; `halt` is asked before each step; `say` hears at once where robust
    accuracy collapses.

    Where the loss or the weights stop being finite, it ends with an alarm and the weights of the best epoch before; looked at as an epoch
    ends and as a snapshot is due, so that no step waits for it.

    Raises ConfigError or InputError for what does not fit together, StoreError for a snapshot of another run, ModelError for numbers that
    are not finite before any epoch was kept.
    Differs from common loops: norms' and biases' weights do not decay; attacks see the net in eval mode (but `free`'s); the last batch of
    an epoch is left out where it is not whole.

    >>> from holdfast import Classifier
    >>> from holdfast.training import Recipe, objectives, train
    >>> net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3)).eval()
    >>> x, y = torch.rand(64, 1, 2, 2), torch.randint(3, (64,))
    >>> trained = train(Classifier(net, 3), (x, y), Recipe(objectives.pgd(0.1), epochs=2, batch=16))
    >>> len(trained.history), len(trained.losses)
    (2, 6)
    """
    if not isinstance(model.net, nn.Module):
        raise ConfigError(f"model around {type(model.net).__name__}: only an nn.Module can be trained")
    dataset = data if isinstance(data, Dataset) else from_tensors(*data)
    with kept_generators(model.device):
        made = fabric_of(model, recipe.precision) if fabric is None else checked(fabric, recipe.precision)
        return _Run(model, dataset, recipe, threat, held, out, seed, made).go(watch, halt, say)


class _Run:
    def __init__(
        self, model: Classifier, data: Dataset, recipe: Recipe, threat: Threat | None, held: float | int, out: Path | str | None,
        seed: int, fabric: Fabric,
    ) -> None:  # fmt: skip
        self.recipe, self.threat, self.seed, self.fabric = recipe, threat, seed, fabric
        net = cast(nn.Module, model.net)
        model.fit_classes(data.x)
        data.validate(model.classes, model.bounds, unlabelled=True)
        if threat is not None:
            watched(threat)
        self.device = fabric.device
        learned, self.valid = _parted(data, held, seed)
        self.x = data.x.to(self.device) if _fits(data.x, self.device) else data.x
        self.learned, self.y, self.ids = (t.to(self.device) for t in (learned, data.y, data.ids))
        self.batch = _batch(recipe, len(learned), len(self.valid), fabric.world_size)
        self.repeats = recipe.objective.repeats if isinstance(recipe.objective, Replayed) else 1
        self.each = len(learned) // self.batch * self.repeats
        self.steps = recipe.epochs * self.each
        net.to(self.device)
        if self.device.type == "cpu":
            # Its convolutions are faster in this layout, both ways.
            net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.model = model.around(net)
        self.model.device = self.device
        optimiser, self.schedule = recipe.optimised(net, self.steps)
        self.net, self.inner = net, Task(self.model, recipe.objective, recipe.search)
        self.task, self.optimiser = fabric.setup(self.inner, optimiser)
        self.model.dtype = next(p.dtype for p in net.parameters() if p.is_floating_point())
        # The net that was given is this one.
        model.device, model.dtype = self.device, self.model.dtype
        self.order = torch.zeros(0, dtype=torch.int64)
        self.average = AveragedModel(net, multi_avg_fn=self._averaging, use_buffers=True) if recipe.average else None
        self.progress = Progress(torch.zeros(self.steps, dtype=torch.float64, device=self.device))
        self.kept: dict[str, Tensor] = {}
        scaling = fabric.strategy.precision
        self.checkpoint = Checkpoint(net, self.average, optimiser, self.schedule, self.kept, self.inner.memory, self.progress, scaling)
        folder = None if out is None else Path(out)
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        self.snapshots = Snapshots(None if folder is None else folder / "train.snapshot")
        whole = (recipe.digest, str(threat), held, seed, model.fingerprint(), data.fingerprint(), scaling.precision)
        self.identity = " ".join(str(part) for part in whole) if folder is not None else ""

    def go(
        self, watch: Callable[[int, int, dict[str, float]], None], halt: Callable[[], bool], say: Callable[[str], None]
    ) -> Trained:  # fmt: skip
        one, complete, sound = self.progress, True, True
        self.checkpoint.read(self.snapshots, self.identity)
        self._together()
        self.begun = time.monotonic() - one.seconds
        self.net.train()
        while one.step < self.steps and not self._over():
            if halt():
                complete = False
                break
            one.losses[one.step] = self._step(one.step)
            one.step += 1
            one.seconds = time.monotonic() - self.begun
            # The first process alone writes.
            ends, due = one.step % self.each == 0, self.fabric.is_global_zero and self.snapshots.is_due()
            sound = not (ends or due) or self._sound()
            # Of several processes, all see an epoch end, and each its own clock.
            if not sound and (ends or self.fabric.world_size == 1):
                break
            if ends:
                self._epoch(say)
            running = {} if one.step % EVERY else {"running": float(one.losses[one.step - EVERY : one.step].mean())}
            watch(one.step, self.steps, (one.history[-1] if one.history else {}) | running)
            if due and sound:
                self.checkpoint.write(self.snapshots, self.identity)
        self.net.eval()
        sound = sound and self._sound()
        losses = one.losses[: one.step].cpu()
        lost = [] if sound else [self._lost(losses)]
        if sound and self.fabric.is_global_zero:
            self.checkpoint.write(self.snapshots, self.identity)
        if (complete or lost) and self.kept:
            self.net.load_state_dict(self.kept)
        return Trained(self.model, tuple(one.history), losses, one.best, (*alarms(one.history, len(self.valid)), *lost), complete)

    def _together(self) -> None:
        """Raise StoreError where processes would go on from different steps."""
        step = torch.tensor([-1.0, 1.0], device=self.device) * self.progress.step
        least, most = cast(Tensor, self.fabric.all_reduce(step, reduce_op="max")).tolist()
        if -least != most:
            raise StoreError(f"processes would go on from steps {-least:.0f} to {most:.0f}: give an --out that all machines see")

    def _over(self) -> bool:
        """Whether robust accuracy has not risen for as many epochs as patience lasts."""
        scores = [score(row)[0] for row in self.progress.history if "clean" in row]
        return self.recipe.patience is not None and len(scores) > scores.index(max(scores)) + self.recipe.patience if scores else False

    def _sound(self) -> bool:
        """Whether the last loss and all weights are finite: the one question that waits for the device."""
        last = self.progress.losses[max(self.progress.step, 1) - 1]
        return bool(torch.stack([tensor.isfinite().all() for tensor in (last, *self.net.parameters())]).all())

    def _lost(self, losses: Tensor) -> str:
        """What there is to say of weights that are no numbers any more, where an epoch's are kept.

        Raises ModelError where none are.
        """
        bad = (~losses.isfinite()).nonzero()
        step = int(bad[0]) + 1 if len(bad) else len(losses)
        said = f"the loss or the weights were no finite numbers at step {step} of {self.steps}"
        remedy = f"take a lower rate than {self.recipe.rate:g}, clip=1, or a wider precision"
        if not self.kept:
            raise ModelError(f"{said}, before any epoch was kept: {remedy}")
        return f"{said}, and the training ended; the weights of epoch {self.progress.best} are kept: {remedy}"

    def _step(self, step: int) -> Tensor:
        lesson = self._lesson(step)
        # What dropout and the like draw follows from the step, so that a resumed run draws the same.
        with seeded_generators(self.device, self.seed, step, 16 + self.fabric.global_rank):
            self.inner.lesson = lesson
            loss = self.task(lesson.step)
        self.optimiser.zero_grad()
        self.fabric.backward(loss)
        if self.recipe.clip is not None:
            self.fabric.clip_gradients(self.task, self.optimiser, max_norm=self.recipe.clip, error_if_nonfinite=False)
        self.optimiser.step()
        self.rate = float(self.optimiser.param_groups[0]["lr"])
        self.schedule.step()
        if self.average is not None:
            self.average.update_parameters(self.net)
        return cast(Tensor, self.fabric.all_reduce(self.inner.value, reduce_op="mean"))

    def _averaging(self, averaged: Parts, current: Parts, count: Tensor | int) -> None:
        """The exponential average, which forgets fast at first, so that the random weights of the start do not stay in it."""
        step = self.progress.step
        if averaged[0].is_floating_point():
            get_ema_multi_avg_fn(min(self.recipe.average, (1 + step) / (10 + step)))(averaged, current, count)
        else:
            # Places in a table, say, have no mean.
            for mine, new in zip(averaged, current, strict=True):
                mine.copy_(new)

    def _lesson(self, step: int) -> Lesson:
        """This process's share of the batch of that step, augmented, in the model's range."""
        shown = step // self.repeats
        epoch, place = divmod(shown, self.each // self.repeats)
        if place == 0 or not len(self.order):
            generator = torch.Generator().manual_seed(int(row_key(self.seed, torch.tensor([epoch]), torch.tensor([1]))) & (2**62 - 1))
            self.order = torch.randperm(len(self.learned), generator=generator).to(self.device)
        order = self.order[place * self.batch : (place + 1) * self.batch][self.fabric.global_rank :: self.fabric.world_size]
        rows = self.learned[order]
        ids = self.ids[rows]
        draw = Draw(row_key(self.seed, ids, torch.ones_like(ids)), torch.full_like(ids, shown))
        x = self.model.bounds.intake(
            augmented(self.x[rows.to(self.x.device)].to(self.device), self.recipe.augment, draw), self.model.dtype, self.device
        )
        return Lesson.of(x, self.y[rows], ids, self.seed, step)

    def _epoch(self, say: Callable[[str], None]) -> None:
        """The row of an epoch that has ended; the weights, where none have been as good."""
        one = self.progress
        losses = one.losses[one.step - self.each : one.step]
        row = {
            "epoch": float(len(one.history)), "step": float(one.step), "loss": float(losses.mean()),
            "rate": self.rate,
        }  # fmt: skip
        net = self.net if self.average is None else self.average.module
        # The first process judges for all: each has batch norm's statistics of its own until the next step.
        if len(self.valid) and self.fabric.is_global_zero:
            with seeded_generators(self.device, self.seed, one.step, 15):
                row |= validated(self.model.around(net), self.valid, self.threat, self.seed)
        one.seconds = row["seconds"] = time.monotonic() - self.begun
        known = collapse(one.history, len(self.valid))
        one.history.append(self.fabric.broadcast(row))
        if one.best < 0 or score(one.history[-1]) >= score(one.history[one.best]):
            one.best = len(one.history) - 1
            self.kept.update(self.fabric.broadcast(weights_of(self.net, self.average)))
        if (told := collapse(one.history, len(self.valid))) and not known and self.fabric.is_global_zero:
            # Hours may be left.
            say(told)


def _batch(recipe: Recipe, learned: int, held: int, processes: int) -> int:
    """The batch over all processes; ConfigError for what of a recipe does not go with so many samples and processes."""
    objective = recipe.objective
    if isinstance(objective, Replayed) and processes > 1:
        raise ConfigError(f"{type(objective).__name__} carries a memory from step to step: train it in one process")
    last = objective.chain[-1]
    if recipe.search != "own" and (isinstance(last, Replayed) or type(last).look is Objective.look):
        raise ConfigError(f"search={recipe.search!r}: {type(last).__name__} makes no search of its own; leave search out")
    if recipe.patience is not None and not held:
        raise ConfigError(f"patience={recipe.patience}: no samples are held out to judge an epoch by; hold some, or leave patience out")
    if recipe.batch % processes:
        raise ConfigError(f"batch={recipe.batch} over {processes} processes: expected a multiple of their number")
    if learned < processes:
        raise ConfigError(f"{learned} samples over {processes} processes: expected at least one for each")
    batch = min(recipe.batch, learned)
    return batch - batch % processes


def _fits(x: Tensor, device: torch.device) -> bool:
    """Whether all inputs may lie on the device: in a quarter of what is free there. Else each batch goes when it is needed."""
    return device.type != "cuda" or x.nbytes < torch.cuda.mem_get_info(device)[0] / 4


def _parted(data: Dataset, held: float | int, seed: int) -> tuple[Tensor, Dataset]:
    """The places of the samples to learn from, and those held out: drawn by the seed, all labelled."""
    count = round(held * len(data)) if isinstance(held, float) else held
    if not 0 <= count < len(data):
        raise ConfigError(f"held={held} of {len(data)} samples: expected a share in [0, 1), or fewer than there are")
    order = row_key(seed, data.ids, torch.full_like(data.ids, 2)).argsort(stable=True)
    order = torch.cat([order[data.y[order] >= 0], order[data.y[order] < 0]])
    if count and not bool((data.y[order[:count]] >= 0).all()):
        raise InputError(f"held={held}: there are too few samples with a label; give held=0")
    learned, kept = order[count:].sort().values, order[:count].sort().values
    return learned, replace(data, x=data.x[kept], y=data.y[kept], ids=data.ids[kept])
