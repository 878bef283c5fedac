"""What people see while a run goes on, and how Ctrl-C ends it."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from holdfast.evaluation import Event
from holdfast.report.words import percent


class Interrupt:
    """Asked between steps whether to stop: the first Ctrl-C says yes, the second ends the process at once.

    `patient`: it does not; whoever started several processes sends each more than one.
    """

    def __init__(self, patient: bool = False) -> None:
        self.asked, self.patient = False, patient
        self._before: Any = None

    def __call__(self) -> bool:
        return self.asked

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        signal.signal(signal.SIGINT, self._before)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.asked and not self.patient:
            raise KeyboardInterrupt
        self.asked = True


class Show:
    """Progress bars on stderr: of each attack, rows done, rows a second, samples broken so far, time left; of training, steps, images."""

    def __init__(self, console: Console, quiet: bool) -> None:
        self.quiet = quiet
        self.errors = Console(stderr=True, markup=False)
        self.bars = Progress(
            TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn(), TextColumn("{task.fields[unit]}"),
            TextColumn("{task.fields[rate]}"), TextColumn("{task.fields[note]}"), TimeElapsedColumn(), TextColumn("left"),
            TimeRemainingColumn(), console=self.errors, disable=quiet or not self.errors.is_terminal,
        )  # fmt: skip
        self.tasks: dict[str, TaskID] = {}
        self.loss: float | None = None

    def __enter__(self) -> Self:
        self.bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.bars.stop()

    def __call__(self, event: Event) -> None:
        if self.bars.disable:
            return
        if event.label not in self.tasks:
            if not event.progress.total:
                return
            self.tasks[event.label] = self.bars.add_task(event.label, total=event.progress.total, unit="rows", rate="", note="")
        task = self.tasks[event.label]
        speed = self.bars.tasks[task].speed
        rate = f"{speed:,.0f}/s" if speed else ""
        self.bars.update(task, completed=event.progress.rows, rate=rate, note=f"{event.progress.broken} broken")

    def learn(self, epochs: int, batch: int, step: int, steps: int, row: dict[str, float]) -> None:
        """A step of training, `row` as `train` tells it; where nobody watches a terminal, a line for each epoch."""
        ends = row.get("step") == step
        if ends or "running" in row or self.loss is None:
            self.loss = row["loss"] if ends else row.get("running", row.get("loss"))
        found = [] if self.loss is None else [f"loss {self.loss:.4g}"]
        note = ", ".join(found + [f"{name} {percent(row[name])}" for name in ("clean", "robust") if name in row])
        if self.bars.disable:
            if ends:
                self.say(f"epoch {row['epoch']:.0f} of 0..{epochs - 1}: {note}; {step * batch / max(row['seconds'], 1e-9):,.0f} images/s")
            return
        if "training" not in self.tasks:
            self.tasks["training"] = self.bars.add_task("training", total=steps, completed=step, unit="steps", rate="", note="")
        task = self.tasks["training"]
        speed = self.bars.tasks[task].speed
        self.bars.update(task, completed=step, rate=f"{speed * batch:,.0f} images/s" if speed else "", note=note)

    def say(self, text: str) -> None:
        """A line for people."""
        if not self.quiet:
            self.errors.print(text, highlight=False)
