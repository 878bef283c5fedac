"""The gallery: a few samples before and after, chosen the same way every time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from holdfast.evaluation import Result
from holdfast.evaluation.store import Part
from holdfast.report.curves import class_name, first_broken
from holdfast.report.pictures import Array, amplified, is_image, picture, scaled
from holdfast.report.words import figure, percent

MOST, WITHSTOOD = 12, 4

Row = dict[str, Any]


@dataclass(frozen=True)
class View:
    """One picture and what it is of."""

    source: str
    alt: str
    words: str


@dataclass(frozen=True)
class Card:
    """One sample: its pictures, and the answers before and after. `attack` is None where it withstood them all."""

    sample: int
    label: str
    clean: str
    attack: str | None
    found: str
    size: str
    views: list[View]


@dataclass(frozen=True)
class Gallery:
    """The cards, and what a reader must know of them."""

    cards: list[Card]
    note: str


def gallery(result: Result, most: int = MOST) -> Gallery:
    """Up to `most` samples whose clean inputs the run kept: broken ones spread over attacks and labels, then a few that withstood."""
    kept = kept_inputs(result)
    if not kept:
        return Gallery([], "The run's folder holds no inputs to show.")
    before = {row["sample"]: row for row in result.clean.to_dicts() if row["sample"] in kept and row["correct"]}
    after = {row["sample"]: row for row in first_broken(result).to_dicts() if row["sample"] in before}
    broken = _spread(list(after.values()), most)
    held = sorted(sample for sample in before if sample not in after)[: max(WITHSTOOD, most // 2 - len(broken))]
    broken = broken[: most - len(held)]
    cards = [_card(result, kept[row["sample"]], before[row["sample"]], row) for row in broken]
    cards += [_card(result, kept[sample], before[sample], None) for sample in held[: most - len(broken)]]
    return Gallery(cards, _note([*kept.values()], bool(cards)))


def kept_inputs(result: Result) -> dict[int, tuple[Array, Array]]:
    """By sample, the clean and the stored adversarial input of those whose clean input the run kept."""
    return {sample: values for part in result.parts for sample, values in _kept(part)}


def _note(inputs: list[tuple[Array, Array]], shown: bool) -> str:
    if not shown:
        return "None of the samples that the run kept was classified right."
    if is_image(inputs[0][0]):
        return "The change is scaled to its own largest value, by the factor given; grey is no change."
    return "The inputs are not images: bars show their values, from the bottom of the model's range to its top; changes from the middle."


def _kept(part: Part) -> Iterator[tuple[int, tuple[Array, Array]]]:
    """Samples of a part with their clean and stored adversarial inputs, where both can be read."""
    stored = part.gallery()
    if stored is None:
        return
    try:
        adversarial = part.adversarial()
    except (OSError, ValueError):
        return
    place = {sample: i for i, sample in enumerate(part.samples()[0].tolist())}
    for sample, clean in zip(stored["sample"].tolist(), stored["clean"], strict=True):
        yield sample, (clean, np.array(adversarial[place[sample]]))


def _spread(rows: list[Row], most: int) -> list[Row]:
    """As many rows, each of the attack and label that were taken least so far; the lowest id where they tie."""
    left = sorted(rows, key=lambda row: row["sample"])
    taken: list[Row] = []
    used: Counter[Any] = Counter()
    while left and len(taken) < most:
        row = min(left, key=lambda row: (used[row["attack"], row["label"]], used[row["attack"]], used[row["label"]], row["sample"]))
        left.remove(row)
        taken.append(row)
        used.update([(row["attack"], row["label"]), row["attack"], row["label"]])
    return taken


def _card(result: Result, inputs: tuple[Array, Array], before: Row, after: Row | None) -> Card:
    model, label = result.manifest["model"], class_name(result, before["label"])
    clean = scaled(inputs[0], model["low"], model["high"])
    said = f"{class_name(result, before['prediction'])} ({percent(before['confidence'])})"
    views = [View(picture(clean), f"sample {before['sample']}, {label}, as it is", "clean")]
    if after is None:
        return Card(before["sample"], label, said, None, "", "", views)
    found = scaled(inputs[1], model["low"], model["high"], inputs[0])
    now = class_name(result, after["prediction"])
    change, factor = amplified(clean, found)
    views += [
        View(picture(found), f"sample {before['sample']} after {after['attack']}, taken for {now}", "adversarial"),
        View(picture(change, middle=True), f"what {after['attack']} changed in sample {before['sample']}", f"change ×{factor:.3g}"),
    ]
    size = f"{result.manifest['threat']['norm']} {figure(after['size'])}"
    return Card(before["sample"], label, said, after["attack"], f"{now} ({percent(after['confidence'])})", size, views)
