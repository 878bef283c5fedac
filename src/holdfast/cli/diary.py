"""`Diary`: what a run of training leaves in its folder beside the snapshot it goes on from."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import polars as pl
from safetensors.torch import save
from torch import nn

from holdfast.core.errors import ConfigError, StoreError
from holdfast.engine.snapshot import write_whole
from holdfast.report import training_report
from holdfast.report.machine import finite
from holdfast.training import Trained

Row = dict[str, float]


@dataclass(frozen=True)
class Diary:
    """`history.csv`, rewritten as each epoch ends, event files for TensorBoard if asked for, and at the end `weights.safetensors`,
    `training.html`, `train.json`.

    `setting`: what makes the run that run; `facts`: what else `train.json` says of it; `rows`: the epochs so far.
    """

    out: Path
    setting: dict[str, Any]
    facts: dict[str, Any]
    board: type[Any] | None
    rows: list[Row] = field(default_factory=list)
    open: list[Any] = field(default_factory=list)

    @classmethod
    def begin(cls, out: Path, setting: dict[str, Any], facts: dict[str, Any], tensorboard: bool, writes: bool) -> Diary:
        """The diary of a run that begins, or goes on; `writes`: this is the process that does.

        Raises StoreError for a folder that holds another run or cannot be made, ConfigError where tensorboardX is missing.
        """
        setting = json.loads(json.dumps(finite(setting)))
        try:
            board = import_module("tensorboardX").SummaryWriter if tensorboard else None
        except ImportError as error:
            raise ConfigError(
                f"--tensorboard needs tensorboardX ({error}): pip install 'holdfast[tensorboard]', or leave it out"
            ) from error
        rows: list[Row] = []
        if (out / "train.snapshot").exists():
            known = _known(out / "train.json")
            apart = [name for name, value in known.get("setting", setting).items() if setting.get(name) != value]
            if apart:
                raise StoreError(
                    f"{out} holds another run: it differs in {', '.join(apart)}; choose another folder with --out, or repeat the call "
                    f"that {out / 'train.json'} tells of"
                )
            facts = facts | {"made": known.get("made", facts["made"])}
            rows = _rows(out / "history.csv")
        diary = cls(out, setting, facts, board, rows)
        if writes:
            try:
                out.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise StoreError(f"cannot make the folder {out}: {error.strerror}; choose another with --out") from error
            if not rows:
                diary.tell({"complete": False})
        return diary

    def add(self, step: int, row: Row) -> None:
        """What the trainer's watcher hears: an epoch's row as it ends; for TensorBoard also the running loss, when it is new."""
        ends = row.get("step") == step
        epoch = {name: value for name, value in row.items() if name != "running"}
        if ends:
            self.rows[:] = [*(old for old in self.rows if old["epoch"] < row["epoch"]), epoch]
            self.write(self.rows)
        news = {name for name in row if name == "running" or ends} - {"epoch", "step", "seconds"}
        if self.board is not None and news:
            if not self.open:
                self.open.append(self.board(str(self.out / "tensorboard")))
            for name in news:
                self.open[0].add_scalar(name, row[name], step)
            self.open[0].flush()

    def write(self, history: Sequence[Row]) -> None:
        """`history.csv`, wholly or not at all."""
        if history:
            buffer = io.BytesIO()
            pl.DataFrame(list(history)).write_csv(buffer)
            write_whole(self.out / "history.csv", buffer.getvalue())

    def close(self, trained: Trained, net: nn.Module) -> dict[str, Any]:
        """Write what is left at the end, or where the run was stopped, and say what was found."""
        for board in self.open:
            board.close()
        self.write(trained.history)
        losses = trained.losses
        found = {
            "complete": trained.complete, "best": trained.best, "epochs": len(trained.history), "steps": len(losses),
            "loss": {"first": float(losses[0]), "last": float(losses[-1]), "least": float(losses.min())} if len(losses) else None,
            "seconds": trained.history[-1]["seconds"] if trained.history else None,
            "held_out": {name: trained.history[trained.best].get(name) for name in ("clean", "robust")} if trained.history else None,
            "alarms": list(trained.alarms), "history": list(trained.history),
        }  # fmt: skip
        if trained.complete:
            # Contiguous: on a processor, convolutions are trained in another layout, which the format does not know.
            weights = {name: t.detach().cpu().contiguous().clone() for name, t in net.state_dict().items()}
            write_whole(self.out / "weights.safetensors", save(weights))
        training_report(trained, self.facts["call"] | self.setting | self.facts["made"], self.out / "training.html")
        self.tell(found)
        return found

    def tell(self, found: dict[str, Any]) -> None:
        """`train.json`: the run's facts and what was found."""
        write_whole(
            self.out / "train.json",
            (json.dumps(finite(self.facts | {"setting": self.setting} | found), indent=1, allow_nan=False) + "\n").encode(),
        )


def _known(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    except (OSError, ValueError) as error:
        raise StoreError(f"{path} cannot be read ({str(error)[:100]}): delete it, then run the same command again") from error
    return found


def _rows(path: Path) -> list[Row]:
    """The epochs of a run that goes on; it is written anew at the end, so a torn file costs nothing."""
    try:
        return pl.read_csv(path).cast(pl.Float64).to_dicts()
    except (OSError, pl.exceptions.PolarsError):
        return []
