"""Tables over records: pure functions from frames to frames and numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import polars as pl


@dataclass(frozen=True)
class Rate:
    """A share `of` `n` with its 95 % Wilson interval, all in [0, 1].

    >>> rate = Rate(8, 10)
    >>> round(rate.low, 3), round(rate.high, 3)
    (0.49, 0.943)
    """

    of: int
    n: int

    @property
    def value(self) -> float:
        return self.of / self.n if self.n else math.nan

    @property
    def low(self) -> float:
        return wilson(self.of, self.n)[0]

    @property
    def high(self) -> float:
        return wilson(self.of, self.n)[1]


def wilson(of: int, n: int, z: float = 1.959963984540054) -> tuple[float, float]:
    """The Wilson score interval of a proportion (Wilson 1927); (0, 1) where nothing was counted."""
    if n == 0:
        return 0.0, 1.0
    share, shrink = of / n, 1 + z * z / n
    centre = (share + z * z / (2 * n)) / shrink
    half = z / shrink * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return (0.0 if of == 0 else centre - half), (1.0 if of == n else centre + half)


def standing(clean: pl.DataFrame, records: pl.DataFrame) -> pl.DataFrame:
    """Per sample: `correct` on the clean input, and `robust`: correct, and broken by no attack (all-or-nothing)."""
    broken = records.filter("broken").select("sample").unique().with_columns(fallen=True)
    joined = clean.join(broken, on="sample", how="left", maintain_order="left")
    return joined.with_columns(robust=pl.col("correct") & ~pl.col("fallen").fill_null(False)).drop("fallen")


def by_attack(clean: pl.DataFrame, records: pl.DataFrame, labels: list[str]) -> list[dict[str, object]]:
    """One row per attack, in the plan's order.

    `tried`; `broken` within the threat; `accuracy_after` it and all before it (the pointwise worst case); `accuracy_alone` where it
    was made on every correct sample; `success_rate` broken / tried; `altered_rate` the share of all N samples whose answer it
    changed; `dissimilarity` mean of ||x − x'||₂/||x'||₂ over the broken; median sizes; queries per tried sample; the share that
    survives 8-bit storage; `nan_forwards`, `nan_backwards`: answers and gradients that were not numbers, in all.
    """
    n, correct = len(clean), int(clean["correct"].sum())
    fallen: set[int] = set()
    rows: list[dict[str, object]] = []
    for label in labels:
        part = records.filter(pl.col("attack") == label)
        won = part.filter("broken")
        fallen |= set(won["sample"].to_list())
        unfinished = int((part["status"] == "unfinished").sum())
        altered = int((won["prediction"] != won["clean_prediction"]).sum())
        rows.append(
            {
                "attack": label,
                "tried": len(part),
                "unfinished": unfinished,
                "broken": len(won),
                "accuracy_after": (correct - len(fallen)) / n,
                "accuracy_alone": (correct - len(won)) / n if len(part) == correct and not unfinished else None,
                "success_rate": len(won) / len(part) if len(part) else None,
                "altered_rate": altered / n,
                "dissimilarity": won["dissimilarity"].mean(),
                "median_size": won["size"].median(),
                "median_l2": won["l2"].median(),
                "forwards": part["forwards"].mean(),
                "backwards": part["backwards"].mean(),
                "eight_bit": won["eight_bit"].mean(),
                "nan_forwards": int(part["nan_forwards"].sum()),
                "nan_backwards": int(part["nan_backwards"].sum()),
            }
        )
    return rows


def by_iteration(clean: pl.DataFrame, records: pl.DataFrame, label: str) -> pl.DataFrame:
    """Accuracy after each step of one attack: columns `step` (0 is before it) and `accuracy` over all samples.

    Samples that it was not made on count as what they were: fallen where an earlier attack broke them, else standing.
    """
    n = len(clean)
    part = records.filter(pl.col("attack") == label)
    fallen = records.filter("broken", pl.col("attack") < label)["sample"]
    spared = clean.filter("correct", ~pl.col("sample").is_in(pl.concat([part["sample"], fallen]).implode())).height
    steps = part.filter("broken")["step"].value_counts().sort("step")
    found = dict(zip(steps["step"].to_list(), steps["count"].to_list(), strict=True))
    last, left, rows = max(found, default=0), len(part) + spared, []
    for step in range(last + 1):
        left -= found.get(step, 0)
        rows.append({"step": step, "accuracy": left / n})
    return pl.DataFrame(rows, schema={"step": pl.Int64, "accuracy": pl.Float64})


def by_queries(clean: pl.DataFrame, records: pl.DataFrame) -> pl.DataFrame:
    """Accuracy against the forwards that a sample had cost when it fell: columns `forwards`, `accuracy`."""
    n, correct = len(clean), int(clean["correct"].sum())
    if not n:
        return pl.DataFrame(schema={"forwards": pl.Int64, "accuracy": pl.Float64})
    spent = records.sort("attack").with_columns(total=pl.col("forwards").cum_sum().over("sample"))
    falls = spent.filter("broken").group_by("sample").agg(pl.col("total").min())["total"].sort()
    rows = [{"forwards": 0, "accuracy": correct / n}]
    rows += [{"forwards": int(at), "accuracy": (correct - i - 1) / n} for i, at in enumerate(falls)]
    if len(spent):
        rows.append({"forwards": int(spent["total"].max() or 0), "accuracy": (correct - len(falls)) / n})  # type: ignore[arg-type]
    return pl.DataFrame(rows).group_by("forwards").agg(pl.col("accuracy").min()).sort("forwards")


def by_radius(clean: pl.DataFrame, records: pl.DataFrame, label: str, radii: list[float]) -> pl.DataFrame:
    """Accuracy within each radius, by the smallest radius at which one attack broke each sample: `radius`, `accuracy`, `low`, `high`."""
    n, correct = len(clean), int(clean["correct"].sum())
    part = records.filter((pl.col("attack") == label) & pl.col("success"))
    rows = []
    for radius in [0.0, *radii]:
        fallen = int((part["size"] <= radius * (1 + 1e-5) + 1e-6).sum()) if radius else 0
        rate = Rate(correct - fallen, n)
        rows.append({"radius": radius, "accuracy": rate.value, "low": rate.low, "high": rate.high})
    return pl.DataFrame(rows)
