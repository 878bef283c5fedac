"""The samples of a run as the engine takes them: stored inputs, labels, ids, wished targets, clean answers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from holdfast.core.attack import Attack
from holdfast.core.draw import Draw, row_key
from holdfast.core.errors import InputError, ModelError
from holdfast.core.expect import typed
from holdfast.core.types import Batch, Model, Out
from holdfast.engine.noise import drawn, kept_generators, model_noise
from holdfast.engine.pieces import Asker


@dataclass(frozen=True)
class Samples:
    """`x` `[n, ...]` uint8 or float, `y` `[n, ...]` labels, `ids` `[n]` stable ids, `target` `[n]` classes aimed at or None.

    Nothing is copied or cast until a row enters a slot.
    """

    x: Tensor
    y: Tensor
    ids: Tensor
    target: Tensor | None = None

    @classmethod
    @typed
    def of(cls, x: Tensor, y: Tensor, ids: Tensor | None = None, target: Tensor | None = None) -> Samples:
        """Samples numbered 0, 1, … unless `ids` says otherwise; InputError for what is no tensor."""
        if not x.ndim or not y.ndim:
            raise InputError(f"inputs of shape {list(x.shape)}, labels of shape {list(y.shape)}: expected [n, ...] and [n]")
        return cls(x.detach(), y, torch.arange(len(x)) if ids is None else ids.cpu().long(), target)

    def __len__(self) -> int:
        return len(self.x)

    def at(self, places: Tensor) -> Samples:
        """The samples at these positions `[m]`; a view where the positions are evenly spaced."""
        gaps = places.diff().unique()
        if len(gaps) <= 1 and len(places):
            step = int(gaps[0]) if len(gaps) else 1
            rows: slice | Tensor = slice(int(places[0]), int(places[-1]) + 1, step)
        else:
            rows = places

        def some(t: Tensor) -> Tensor:
            return t[rows] if isinstance(rows, slice) else t[rows.to(t.device)]

        return Samples(some(self.x), some(self.y), some(self.ids), None if self.target is None else some(self.target))

    def check(self, model: Model, piece: int = 512) -> None:
        """Raise InputError unless there are samples, one label and id each, and every value lies in the model's range."""
        if len(self) == 0:
            raise InputError("no samples: the data is empty; check --split, --limit and --offset")
        if len(self.y) != len(self) or len(self.ids) != len(self):
            raise InputError(f"{len(self)} inputs but {len(self.y)} labels and {len(self.ids)} ids: give one of each a sample")
        if self.target is not None and len(self.target) != len(self):
            raise InputError(f"{len(self)} inputs but {len(self.target)} targets: give one a sample")
        if self.x.ndim < 2:
            raise InputError(f"inputs of shape {list(self.x.shape)}: expected [n, ...]; a single feature is [n, 1]")
        for side in (model.bounds.low, model.bounds.high):
            if isinstance(side, tuple) and len(side) not in (1, self.x.shape[1]):
                raise InputError(f"inputs with {self.x.shape[1]} channels, but bounds for {len(side)}: give one number, or one per channel")
        if self.x.dtype == torch.uint8:
            return
        low, high = model.bounds.low, model.bounds.high
        for start in range(0, len(self), piece):
            x = self.x[start : start + piece]
            inside = model.bounds.contain(x)
            if not bool(inside.all()):
                place = int((~inside).nonzero()[0])
                raise InputError(
                    f"sample {int(self.ids[start + place])} holds values from {float(x[place].min()):g} to "
                    f"{float(x[place].max()):g}, outside the model's range {low} to {high}: pass uint8 images, rescale, or give "
                    f"Classifier the range your inputs have (bounds=...; inputs before normalisation, see mean and std)"
                )

    def check_labels(self, classes: int) -> None:
        """Raise InputError unless labels and targets fit the classes; others than one whole number a sample are the goal's affair."""
        for name, labels in (("label", self.y), ("target", self.target)):
            if labels is None or labels.ndim != 1 or labels.is_floating_point():
                continue
            off = ((labels < 0) | (labels >= classes)).nonzero()
            if len(off):
                place = int(off[0])
                raise InputError(
                    f"{name} {int(labels[place])} of sample {int(self.ids[place])} is outside 0..{classes - 1}: "
                    f"check the labels, or the number of classes given to the model"
                )

    def batch(self, attack: Attack, model: Model, clean: Out, seed: int, sample: Tensor, member: Tensor) -> Batch:
        """The rows for these `sample` positions and group `member`s (both `[m]`, on the host), on the model's device."""
        group, device = attack.group, model.device
        key = row_key(seed, self.ids[sample], member)
        answer = clean[sample]
        y = _labels(self.y, sample)
        wished = None if self.target is None else _labels(self.target, sample)
        if group.rivals:
            ranked = answer.logits.scatter(1, y.unsqueeze(1), -torch.inf).argsort(dim=1, descending=True, stable=True)
            target = ranked.gather(1, group.rank(member).unsqueeze(1)).squeeze(1)
        else:
            target = attack.goal.aim(answer, y, wished, Draw(key, torch.zeros_like(key)))
        x = model.bounds.intake(self.x[sample.to(self.x.device)], model.dtype, device)
        radius = group.radius(member, attack.threat.radius).to(model.dtype)
        there = answer.map(lambda t: t.to(device))
        return Batch(x, y.to(device), target.to(device), there, key.to(device), member.to(device), radius.to(device))


def _labels(labels: Tensor, sample: Tensor) -> Tensor:
    """The labels at `sample`, on the host; whole numbers of any width become int64, which indices must be."""
    some = labels[sample.to(labels.device)].cpu()
    return some if some.is_floating_point() else some.long()


def clean_answers(model: Model, samples: Samples, asker: Asker, seed: int = 0, chunk: int = 512) -> Out:
    """The model's answers to the unperturbed samples, on the host.

    Raises ModelError where the model answers NaN, or with other than one row of logits a sample.
    """
    parts: list[Out] = []
    for start in range(0, len(samples), chunk):
        x = samples.x[start : start + chunk]
        with kept_generators(model.device), model_noise(model, seed, start, purpose=2), torch.no_grad():
            x = model.bounds.intake(x, model.dtype, model.device)
            ids = samples.ids[start : start + chunk]
            key, first = row_key(seed, ids, torch.full_like(ids, -1)).to(x.device), torch.zeros_like(ids).to(x.device)

            def ask(rows: slice | Tensor, x: Tensor = x, key: Tensor = key, first: Tensor = first) -> Out:
                return drawn(model, asker.pieces.arrange(x[rows].clone()), key[rows], first[rows])

            out = asker.each(len(x), ask)
        out = out.map(lambda t: t.cpu())
        bad = out.logits.isnan().flatten(1).any(dim=1).nonzero()
        if len(bad):
            raise ModelError(
                f"the model answers NaN for clean sample {int(samples.ids[start + int(bad[0])])}: "
                f"an accuracy needs numbers; check the weights, the normalisation and the input range"
            )
        parts.append(out)
    return parts[0].cat(*parts[1:])
