"""A training as one page: the loss, the accuracy on held-out samples, and what was done."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from holdfast.report.charts import lessons_chart, loss_chart
from holdfast.report.machine import write_page
from holdfast.report.render import render
from holdfast.report.words import counted, figure, percent, seconds
from holdfast.training import Trained


def training_report(trained: Trained, facts: Mapping[str, object], path: str | Path) -> Path:
    """Write one page that opens offline: loss per step, clean and robust accuracy per epoch, alarms, and the `facts` about the run.

    Raises StoreError when the file cannot be written.
    """
    history = trained.history
    drawn = [loss_chart(trained.losses.tolist())] if len(trained.losses) else []
    drawn += [lessons_chart(history, trained.best)] if history and "clean" in history[0] else []
    shown = [(name.replace("_", " ").capitalize(), str(value)) for name, value in facts.items() if value not in (None, "", [])]
    values = {"words": summary(trained), "cards": _cards(trained), "alarms": trained.alarms, "charts": drawn, "facts": shown}
    return write_page(path, render("training.html.j2", drawn, values))


def summary(trained: Trained) -> str:
    """What was trained and what is kept, in a sentence or two.

    Accuracy on held-out samples chose the epoch, so it flatters; it is no measurement.
    """
    if not trained.history:
        return f"{counted(len(trained.losses), 'step')} made; no epoch has ended yet."
    spent = seconds(trained.history[-1]["seconds"])
    made = f"{counted(len(trained.history), 'epoch')}, {counted(len(trained.losses), 'step')}, in {spent}"
    kept = trained.history[trained.best]
    told = [f"{name} {percent(kept[name])}" for name in ("clean", "robust") if name in kept]
    held = f": {', '.join(told)} on the held-out samples that chose it" if told else ", the last: no samples were held out"
    ended = "" if trained.complete else " The training is not finished."
    return f"{made}; kept is epoch {trained.best} (from 0){held}.{ended}"


def _cards(trained: Trained) -> list[tuple[str, str, str]]:
    if not trained.history:
        return []
    kept, last = trained.history[trained.best], trained.history[-1]
    cards = [("loss", figure(last["loss"]), "mean over the last epoch")]
    for name, words in (("clean", "clean accuracy"), ("robust", "robust accuracy")):
        if name in kept:
            cards.append((f"{words}, held out", percent(kept[name]), f"epoch {trained.best}; {percent(last[name])} at the end"))
    return [*cards, ("time", seconds(last["seconds"]), counted(len(trained.losses), "step"))]
