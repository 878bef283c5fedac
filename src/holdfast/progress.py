"""What people see while a run goes on, and how Ctrl-C ends it."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from holdfast.evaluation import Event


class Interrupt:
    """Asked between steps whether to stop: the first Ctrl-C says yes, the second ends the process at once."""

    def __init__(self) -> None:
        self.asked = False
        self._before: Any = None

    def __call__(self) -> bool:
        return self.asked

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        signal.signal(signal.SIGINT, self._before)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


class Show:
    """A progress bar per attack on stderr: rows done, rows a second, samples broken so far, time left."""

    def __init__(self, console: Console, quiet: bool) -> None:
        self.quiet = quiet
        self.errors = Console(stderr=True, markup=False)
        self.bars = Progress(
            TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn(), TextColumn("rows"),
            TextColumn("{task.fields[rate]}"), TextColumn("{task.fields[broken]}"), TimeElapsedColumn(), TextColumn("left"),
            TimeRemainingColumn(), console=self.errors, disable=quiet or not self.errors.is_terminal,
        )  # fmt: skip
        self.tasks: dict[str, TaskID] = {}

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
            self.tasks[event.label] = self.bars.add_task(event.label, total=event.progress.total, rate="", broken="")
        task = self.tasks[event.label]
        speed = self.bars.tasks[task].speed
        rate = f"{speed:,.0f}/s" if speed else ""
        self.bars.update(task, completed=event.progress.rows, rate=rate, broken=f"{event.progress.broken} broken")

    def say(self, text: str) -> None:
        """A line for people."""
        if not self.quiet:
            self.errors.print(text, highlight=False)
