"""`holdfast train`: what it leaves, how it goes on, what it measures and what it refuses."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import types
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import holdfast
from holdfast import catalogue, cli
from holdfast.models import load_net
from holdfast.progress import Interrupt
from holdfast.training import trainer
from holdfast.training.objective import OBJECTIVES

OPTIONS = {
    "--objective": "pgd(steps=2)", "--model": "mlp(64, 10, hidden=(16,))", "--data": "digits", "--limit": "320", "--threat": "linf:0.1",
    "--epochs": "3", "--batch": "64", "--rate": "0.05", "--held": "0.2", "--suite": "quick-1", "--test-limit": "24", "--out": "run",
}  # fmt: skip
ROOT = Path(holdfast.__file__).parents[2]


def words(changes: dict[str, str | None]) -> list[str]:
    """The words of a small training, some options changed; one of None is left out, of an empty string a flag."""
    given = OPTIONS | changes
    return ["train", *(word for name, value in given.items() if value is not None for word in (name, value) if word)]


def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], changes: dict[str, str | None]) -> tuple[int, str, str]:
    """Exit code, stdout and stderr."""
    monkeypatch.setattr(sys, "argv", ["holdfast", *words(changes)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_training_leaves_all_that_it_found_and_a_second_call_only_reports(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = torch.random.get_rng_state()
    code, out, err = call(monkeypatch, capsys, {"--json": ""})
    told = json.loads(out)
    assert code in (0, 1) and "robust accuracy" not in err
    assert torch.equal(before, torch.random.get_rng_state())
    assert told["n"] == 24 and 0 <= told["robust_accuracy"] <= told["clean_accuracy"] <= 1 and told["suite"] == "quick-1"
    training = told["training"]
    assert (training["epochs"], training["steps"], training["complete"]) == (3, 12, True)
    rows = list(csv.DictReader((place / "run" / "history.csv").read_text().splitlines()))
    assert [{name: float(value) for name, value in row.items()} for row in rows] == training["history"]
    best = max(range(3), key=lambda i: (training["history"][i]["robust"], training["history"][i]["clean"], i))
    assert training["best"] == best and training["held_out"] == {name: training["history"][best][name] for name in ("clean", "robust")}
    stored = json.loads((place / "run" / "train.json").read_text())
    assert (
        stored["setting"]["epochs"] == 3
        and stored["made"]["torch"]
        and (stored["loss"], stored["alarms"]) == (training["loss"], training["alarms"])
    )
    net = load_net(OPTIONS["--model"], place / "run" / "weights.safetensors")
    data = holdfast.load_data("digits", limit=24)
    with torch.no_grad():
        right = (net(data.x).argmax(1) == data.y).double().mean().item()
    assert right == pytest.approx(told["clean_accuracy"]), "the weights in the file are those that were measured"
    page = (place / "run" / "training.html").read_text()
    assert 'id="chart-loss"' in page and 'id="chart-lessons"' in page and (place / "run" / "evaluation" / "report.html").exists()
    kept = files(place / "run")
    again, out, _ = call(monkeypatch, capsys, {"--json": ""})
    assert again == code and json.loads(out) == told
    assert {name for name, content in files(place / "run").items() if kept[name] != content} == set()


def test_ctrl_c_keeps_what_was_done_and_the_same_command_ends_where_an_unbroken_run_does(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    changes: dict[str, str | None] = {"--no-evaluate": "", "--average": "0.9"}
    assert call(monkeypatch, capsys, changes | {"--out": "whole"})[0] == 0
    asked = iter([False] * 6 + [True] * 100)
    with monkeypatch.context() as patch:
        patch.setattr(Interrupt, "__call__", lambda self: next(asked))
        code, out, err = call(patch, capsys, changes)
    assert code == 130 and not out and err.strip().splitlines()[-1].startswith("stopped; run the same command again")
    assert not (place / "run" / "weights.safetensors").exists()
    assert len((place / "run" / "history.csv").read_text().splitlines()) == 2
    code, out, _ = call(monkeypatch, capsys, changes)
    assert code == 0 and "robust accuracy was not measured: --no-evaluate" in out
    whole, resumed = (load_file(place / folder / "weights.safetensors") for folder in ("whole", "run"))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    histories = [json.loads((place / folder / "train.json").read_text())["history"] for folder in ("whole", "run")]
    first, second = ([row | {"seconds": 0} for row in history] for history in histories)
    assert first == second and len(first) == 3
    assert len((place / "run" / "history.csv").read_text().splitlines()) == 4


def test_initial_weights_follow_from_the_seed(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    made = []
    for out, seed in (("a", "0"), ("b", "0"), ("c", "1")):
        torch.manual_seed(len(made))
        assert call(monkeypatch, capsys, {"--out": out, "--seed": seed, "--epochs": "1", "--no-evaluate": ""})[0] == 0
        made.append(json.loads((place / out / "train.json").read_text())["setting"]["starting_weights"])
    assert made[0] == made[1] != made[2]


def test_another_run_in_the_folder_is_refused_and_left_alone(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, capsys, {"--epochs": "1", "--no-evaluate": ""})[0] == 0
    before = files(place / "run")
    code, out, err = call(monkeypatch, capsys, {"--epochs": "2", "--objective": "trades", "--no-evaluate": ""})
    assert code == 2 and not out and "another run: it differs in objective, epochs" in err and files(place / "run") == before


def test_the_call_of_the_feature_denoising_paper(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """As in the guide, but for the net, the data and how long; the rate written down is that of each epoch's last step."""
    page = (ROOT / "docs" / "training.md").read_text() if (ROOT / "docs").exists() else ""
    options = {
        "--objective": "pgd(steps=3, targeted=True, still=0.2, smoothing=0.1)",
        "--schedule": "steps",
        "--drops": "2",
        "--warmup": "1",
    }
    assert not page or all(f"{name} " in page for name in options)
    assert call(monkeypatch, capsys, options | {"--decay": "1e-4", "--no-evaluate": ""})[0] == 0
    rates = [float(row.split(",")[3]) for row in (place / "run" / "history.csv").read_text().splitlines()[1:]]
    assert rates == pytest.approx([0.0375, 0.05, 0.005])


def test_a_net_of_convolutions_is_stored(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Trained in a layout of its own on a processor, its weights are read again as they were trained."""
    net = "resnet20(channels=1)"
    options = {"--model": net, "--limit": "30", "--batch": "8", "--epochs": "1", "--objective": "standard", "--no-evaluate": ""}
    code, _, err = call(monkeypatch, capsys, options | {"--threat": None})
    assert code == 0, err
    again = load_net(net, place / "run" / "weights.safetensors")
    assert again(torch.zeros(1, 1, 8, 8)).isfinite().all()


MISTAKES: list[tuple[dict[str, str | None], list[str]]] = [
    ({"--threat": None}, ["pgd", "threat is missing", "--threat"]),
    ({"--objective": "trade(beta=6)"}, ["'trade'", "trades", "holdfast list objectives"]),
    ({"--objective": "trades(bet=6)"}, ["'bet'", "beta"]),
    ({"--weights": "w.safetensors"}, ["w.safetensors", "no such file"]),
    ({"--teacher": "mlp(64, 10)"}, ["takes no teacher"]),
    ({"--teacher": "mlp(64, 10)", "--objective": "distillation(20)"}, ["learned nothing", "--teacher-weights"]),
    ({"--teacher-weights": "w.safetensors"}, ["--teacher MODEL"]),
    ({"--augment": "rotate"}, ["'rotate'", "crop, flip"]),
    ({"--optimiser": "adam"}, ["'adam'", "adamw"]),
    ({"--precision": "int3"}, ["'int3'"]),
    ({"--drops": "1,two"}, ["'1,two'", "35,70,95"]),
    ({"--drops": "1,2"}, ["drops=(1, 2)", "schedule steps"]),
    ({"--warmup": "3"}, ["warmup=3", "below all 3"]),
    ({"--held": "2.5"}, ["held=2.5"]),
    ({"--split": "tes"}, ["'tes'", "train"]),
    ({"--test-split": "tes"}, ["'tes'", "test"]),
    ({"--suite": "quickest"}, ["quickest", "quick-1"]),
    ({"--threat": "flow:1"}, ["pgd"]),
    ({"--objective": "standard", "--threat": "flow:1", "--suite": None}, ["standard-2", "--no-evaluate"]),
    ({"--out": "file"}, ["file", "--out"]),
    ({"--bounds": "1"}, ["--bounds"]),
    ({"--classes": "12"}, ["10 classes"]),
]


@pytest.mark.parametrize(("changes", "said"), MISTAKES, ids=lambda v: " ".join(map(str, v.items())) if isinstance(v, dict) else "")
def test_one_line(
    changes: dict[str, str | None], said: list[str], place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "file").write_text("")
    code, out, err = call(monkeypatch, capsys, changes | {"--json": ""})
    assert code == 2 and not out and err.startswith("error: ") and len(err.strip().splitlines()) == 1, err
    for word in said:
        assert word in err


def test_weights_that_do_not_fit(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(monkeypatch, capsys, {"--epochs": "1", "--no-evaluate": ""})[0] == 0
    changes = {"--weights": "run/weights.safetensors", "--model": "mlp(64, 10, hidden=(8,))", "--out": "other"}
    code, _, err = call(monkeypatch, capsys, changes)
    assert code == 2 and "linear1.weight has shape [16, 64], the network wants [8, 64]" in err


@pytest.mark.parametrize(("module", "changes", "remedy"), [
    ("lightning_fabric", {}, "pip install 'holdfast[train]'"),
    ("tensorboardX", {"--tensorboard": ""}, "pip install 'holdfast[tensorboard]'"),
])  # fmt: skip
def test_an_extra_that_is_missing(
    module: str, changes: dict[str, str | None], remedy: str, place: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setitem(sys.modules, module, None)
    code, _, err = call(monkeypatch, capsys, changes)
    assert code == 2 and remedy in err and len(err.strip().splitlines()) == 1


class Board:
    """Stands in for tensorboardX's writer."""

    told: ClassVar[list[tuple[str, int]]] = []

    def __init__(self, folder: str) -> None:
        assert folder == "run/tensorboard"

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.told.append((name, step))

    def flush(self) -> None: ...

    def close(self) -> None:
        self.told.append(("closed", 0))


def test_tensorboard_hears_each_epoch_once(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    module = types.ModuleType("tensorboardX")
    monkeypatch.setattr(module, "SummaryWriter", Board, raising=False)
    monkeypatch.setitem(sys.modules, "tensorboardX", module)
    monkeypatch.setattr(Board, "told", [])
    assert call(monkeypatch, capsys, {"--tensorboard": "", "--no-evaluate": ""})[0] == 0
    assert sorted(Board.told[:-1]) == sorted((name, step) for name in ("loss", "rate", "clean", "robust") for step in (4, 8, 12))
    assert Board.told[-1] == ("closed", 0)
    assert call(monkeypatch, capsys, {"--tensorboard": "", "--no-evaluate": ""})[0] == 0 and len(Board.told) == 13
    monkeypatch.setattr(Board, "told", [])
    monkeypatch.setattr(trainer, "EVERY", 5)
    (place / "run" / "train.snapshot").unlink()
    assert call(monkeypatch, capsys, {"--tensorboard": "", "--no-evaluate": ""})[0] == 0
    assert [step for name, step in Board.told if name == "running"] == [5, 10]
    assert "running" not in (place / "run" / "history.csv").read_text()


def test_rows_may_have_no_label(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    y = np.where(np.arange(60) % 3 == 0, -1, np.arange(60) % 10)
    np.savez(place / "some.npz", x_train=rng.random((60, 1, 8, 8), dtype=np.float32), y_train=y)
    changes: dict[str, str | None] = {"--data": "npz:some.npz", "--epochs": "1", "--batch": "16", "--held": "0"}
    code, _, err = call(monkeypatch, capsys, changes | {"--objective": "vat(1.0)"})
    assert code == 0, err
    code, _, err = call(monkeypatch, capsys, changes | {"--objective": "pgd", "--out": "other"})
    assert code == 2 and "have none (y = -1)" in err


def test_samples_that_were_learned_are_not_measured_on(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    np.savez(place / "plain.npz", x=rng.random((60, 1, 8, 8), dtype=np.float32), y=np.arange(60) % 10)
    changes: dict[str, str | None] = {"--data": "npz:plain.npz", "--epochs": "1", "--batch": "16"}
    code, out, _ = call(monkeypatch, capsys, changes | {"--json": ""})
    told = json.loads(out)
    assert code == 0 and told["robust_accuracy"] is None and "24 of the 24 test samples are among those it learns" in told["not_measured"]
    np.savez(place / "train.npz", x_train=rng.random((60, 1, 8, 8), dtype=np.float32), y_train=np.arange(60) % 10)
    code, out, err = call(monkeypatch, capsys, changes | {"--data": "npz:train.npz", "--out": "other"})
    assert code == 0 and "robust accuracy was not measured: the data have no test split" in out
    assert "epoch 0 of 0..0: loss" in err and "images/s" in err


def test_two_processes_train_and_one_of_them_speaks(place: Path) -> None:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "holdfast.cli"]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(
        [*launch, *words({"--epochs": "1", "--json": "", "--no-evaluate": ""})],
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    assert told["training"]["steps"] == 4 and set(files(place / "run")) == {
        "history.csv", "train.json", "train.snapshot", "training.html", "weights.safetensors",
    }  # fmt: skip


def test_the_guide_lists_every_objective() -> None:
    guide = (ROOT / "docs" / "training.md").read_text()
    for row in catalogue.objectives():
        if row["kind"] == "training":
            line = f"| `{row['name']}` | {row['summary']} | {row['paper']} |"
            assert line in guide, f"docs/training.md lacks this line: {line}"
    assert len([line for line in guide.splitlines() if line.startswith("| `")]) == len(OBJECTIVES)
