"""The columns of the per-attack table: what each is called, how it is written, what it means."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from holdfast.report.words import count, figure, percent, seconds


@dataclass(frozen=True)
class Column:
    """`keys` of a row of `result.attacks`, written one after the other."""

    keys: tuple[str, ...]
    heading: str
    write: Callable[[Any], str]
    words: str

    def written(self, row: dict[str, Any]) -> str:
        return " / ".join(self.write(row[key]) for key in self.keys)


COLUMNS = (
    Column(("tried",), "tried", count, "samples that the attack was made on: classified right, and in a suite not broken before"),
    Column(("broken",), "broken", count, "of these, samples with a verified adversarial example within the threat"),
    Column(("accuracy_after",), "accuracy after", percent, "share of all samples left standing by this attack and all before it"),
    Column(("accuracy_alone",), "alone", percent, "share of all samples left standing by this attack alone, where it was made on all"),
    Column(("success_rate",), "success", percent, "broken / tried"),
    Column(("altered_rate",), "altered", percent, "share of all samples whose answer the attack changed"),
    Column(("dissimilarity",), "dissimilarity", figure, "mean of ‖x − x′‖₂ / ‖x′‖₂ over the broken samples"),
    Column(("median_size",), "median size", figure, "median size of the change over the broken samples, in the threat's norm"),
    Column(("forwards",), "forwards", figure, "forward passes per tried sample, verification included"),
    Column(("backwards",), "backwards", figure, "backward passes per tried sample"),
    Column(("seconds",), "time", seconds, "spent in the attack, over all shards and resumptions"),
    Column(("eight_bit",), "8-bit", percent, "share of the adversarial examples that still fool the model when stored with 8 bits a value"),
    Column(("refused",), "refused", count, "claims of the search that the model itself did not confirm; they count as not broken"),
    Column(("wasted_forwards", "wasted_backwards"), "wasted", count, "forward / backward passes on rows that were cancelled or padding"),
)
