"""F8: stability training: accuracy on compressed, cropped and rescaled images, and how well these are found again among the originals."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from holdfast.core.draw import Draw, row_key
from holdfast.models import Classifier
from holdfast.parts.views import Cropped, Jpeg, Rescaled
from holdfast.report.lines import Axis, Point, lines_chart
from holdfast.reproduce.bench import Bench, four_layers
from holdfast.reproduce.finding import Finding, Interval, Table, Trend, paired
from holdfast.reproduce.stickers import answers, share
from holdfast.reproduce.study import Reproduction, Study
from holdfast.training import objectives
from holdfast.training.objectives.stability import features

LAYER, PRECISION, SIGMA = "conv3", 0.9, 0.1
ALPHAS = (0.01, 1.0)
"""Weights of stability: the objective's own, and a hundred times as much."""


def run(bench: Bench) -> Reproduction:
    """One net, trained on for as long plainly and for stability; and the same by a ranking of features."""
    train, test = bench.samples("train", bench.of(1437, 20000)), bench.samples("test", bench.of(360, 2000))
    shape, steps, more = tuple(test.x.shape[1:]), bench.of(300, 2500), bench.of(100, 1200)
    begin = bench.trained("plain", objectives.standard(), train, steps, begin=bench.fresh(lambda classes: four_layers(shape, classes)))
    x = begin.bounds.intake(test.x, begin.dtype, begin.device)
    copies = corrupted(begin, x, test.ids, bench.seed)
    seen = {"as they are": x} | copies
    names = {"trained on plainly": 0.0} | {f"for stability, α = {alpha:g}": alpha for alpha in ALPHAS}
    correct, apart, tables = {}, {}, []
    for name, alpha in names.items():
        objective = objectives.stability(alpha, SIGMA) if alpha else objectives.standard()
        model = bench.trained(f"class-{alpha:g}", objective, train, more, begin=begin)
        ranker = bench.trained(
            f"ranking-{alpha:g}", objectives.stability_ranking(alpha, layer=LAYER, sigma=SIGMA), train, more, begin=begin
        )
        correct[name] = {kind: (answers(model, some) == test.y).double() for kind, some in seen.items()}
        apart[name] = {kind: distances(ranker, some, x) for kind, some in copies.items()}
        rows = tuple(Finding.of(kind, share(one)) for kind, one in correct[name].items())
        tables.append(Table(f"Accuracy, {name}", f"On {len(test):,} test samples; the slide's figures are a gain of 2 to 3 points.", rows))
    again = {name: recalled(list(each.values())) for name, each in apart.items()}
    for name, found in again.items():
        rows = tuple(Finding.of(kind, share(one)) for kind, one in zip(copies, found, strict=True))
        tables.append(Table(f"Copies found again at a precision of {PRECISION:.0%}, {name}", WORDS, rows))
    plain, paper, strong = names
    mean = {name: torch.stack([each[kind] for kind in copies]).mean(dim=0) for name, each in correct.items()}
    draws = {name: redrawn(list(each.values())) for name, each in apart.items()}
    of = "mean over the corruptions, less that of the net trained on plainly"
    trends = (
        Trend.of("Stability training raises accuracy on corrupted images (the document: by 2 to 3 points)",
            paired(mean[paper] - mean[plain]), f"{paper}: accuracy, {of}"),
        Trend.of("Stability training finds more near-duplicates at the same precision (the document: by 2 to 3 points)",
            between(draws[paper] - draws[plain]), f"{paper}: recall, {of}"),
        Trend.of("Beyond the document: at a hundred times the weight it raises that accuracy",
            paired(mean[strong] - mean[plain]), f"{strong}: accuracy, {of}"),
        Trend.of("Beyond the document: at a hundred times the weight it finds more near-duplicates",
            between(draws[strong] - draws[plain]), f"{strong}: recall, {of}"),
    )  # fmt: skip
    scaled = (
        f"The document's nets are Inceptions for ImageNet and for image search; here three convolutions and a linear layer, at least "
        f"{steps:,} steps of AdamW on {len(train):,} samples of {bench.data}, then {more:,} more for each objective from the same weights.",
        f"Near-duplicates: each of {len(test):,} test samples, {', '.join(copies)}, looked for among all of them by the distance of what "
        f"{LAYER} answers, of unit length, after training by triplets; the paper searches images of the web.",
        f"The disturbance in training is Gaussian noise of deviation {SIGMA:g}, never one of the corruptions; it was not tuned.",
    )  # fmt: skip
    curves = {name: curve(list(each.values())) for name, each in apart.items()}
    words = "All pairs of a corrupted copy and an original, taken for the same where their features are near; one curve per net."
    chart = lines_chart("duplicates", "Precision against recall", words, Axis("recall"), Axis("precision"), curves)
    return Reproduction(tuple(tables), (chart,), trends, scaled)


WORDS = "Of the corrupted copies, those nearer to their own original than the threshold at which so large a share of all pairs is right."


def corrupted(model: Classifier, x: Tensor, ids: Tensor, seed: int) -> dict[str, Tensor]:
    """The same images `[n, c, h, w]` after each thing that happens to them on the way."""
    draw = Draw(row_key(seed, ids, torch.full_like(ids, 2)), torch.zeros_like(ids))
    views = {
        "JPEG at quality 20": Jpeg(20), "cropped to 90 % of the side": Cropped(0.9), "three quarters of the size and back": Rescaled(0.75),
    }  # fmt: skip
    return {name: view(x, draw, model.bounds) for name, view in views.items()}


def distances(model: Classifier, x: Tensor, others: Tensor) -> Tensor:
    """‖f(x_i) − f(x_j)‖₂ of what the layer answers, of unit length: `[n, m]`."""
    # The form by products cancels where two are near, which is what is asked here.
    with torch.no_grad():
        one, other = (torch.cat([features(model, part, LAYER) for part in some.split(500)]) for some in (x, others))
    return torch.cdist(one, other, compute_mode="donot_use_mm_for_euclid_dist")


def ranked(apart: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Of square distances with right pairs on the diagonals: those of right pairs in order, and recall and precision up to each: `[k]`."""
    own = torch.cat([each.diagonal() for each in apart]).sort().values
    wrong = torch.cat([each[~torch.eye(len(each), dtype=torch.bool)] for each in apart]).sort().values
    # Right pairs as near as this one count with it.
    hits = torch.searchsorted(own, own, right=True)
    misses = torch.searchsorted(wrong, own, right=True)
    return own, hits / len(own), hits / (hits + misses)


def recalled(apart: list[Tensor], precision: float = PRECISION) -> Tensor:
    """Which copies are found under the largest threshold of that precision over all kinds together: 0 or 1 `[kinds, n]`."""
    own, _, precise = ranked(apart)
    kept = own[precise >= precision]
    threshold = kept[-1] if len(kept) else own.new_tensor(-torch.inf)
    return torch.stack([each.diagonal() <= threshold for each in apart]).double()


def redrawn(apart: list[Tensor], precision: float = PRECISION, draws: int = 500, nearest: int = 50_000, seed: int = 0) -> Tensor:
    """Recall at that precision: first on the images as they are, then on `draws` resamplings of them, each with its own threshold.

    `[1 + draws]` float64. An image drawn k times brings its right pairs k times, two images their pair as often as both say; of the wrong
    pairs of a kind only the `nearest` are looked at, which is as far as thresholds of high precision come.
    """
    n = len(apart[0])
    parts = []
    for each in apart:
        flat = each.clone().fill_diagonal_(torch.inf).flatten()
        near = flat.topk(min(nearest, n * n - n), largest=False)
        parts.append((near.values, near.indices // n, near.indices % n))
    # Of pairs as far apart as each other the wrong ones come first, and so count with the right ones.
    parts += [(each.diagonal(), torch.arange(n), torch.arange(n)) for each in apart]
    far, one, other = (torch.cat(column) for column in zip(*parts, strict=True))
    order = far.argsort(stable=True)
    own, one, other = order >= len(far) - len(apart) * n, one[order], other[order]
    generator, found = np.random.default_rng(seed), []
    for draw in range(1 + draws):
        times = torch.from_numpy(np.ones(n) if draw == 0 else generator.multinomial(n, np.full(n, 1 / n)).astype(float))
        hits = torch.where(own, times[one], 0).cumsum(0)
        misses = torch.where(own, 0, times[one] * times[other]).cumsum(0)
        good = own & (hits >= precision * (hits + misses)) & (hits > 0)
        found.append(float(hits[good][-1] / hits[-1]) if bool(good.any()) else 0.0)
    return torch.tensor(found, dtype=torch.float64)


def between(draws: Tensor) -> Interval:
    """The first of `draws`, within the middle 95 % of the others."""
    low, high = np.quantile(draws[1:].numpy(), [0.025, 0.975])
    return Interval(float(draws[0]), float(low), float(high))


def curve(apart: list[Tensor], points: int = 100) -> list[Point]:
    """Precision against recall, thinned."""
    _, recall, precise = ranked(apart)
    rows = torch.linspace(0, len(recall) - 1, min(points, len(recall))).long()
    return [Point(float(recall[row]), float(precise[row])) for row in rows]


STUDY = Study(
    "f8",
    "Zheng, Towards robust deep learning, slides “Improving robustness via stability training” (Zheng et al. 2016)",
    "Stability training improves near-duplicate detection and classification by 2–3 % on corrupted images.",
    "CIFAR-10",
    run,
)
