"""Bad input: one line that names the value, the expectation and the remedy, exit code 2, and nothing stored is lost."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import filelock
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from holdfast import cli
from holdfast.models import mlp


class Poison:
    """Writes a file when unpickled."""

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return (Path.touch, (Path("poisoned"),))


class Nan(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, :3] * torch.nan


def nan_net() -> nn.Module:
    return Nan().eval()


def training_net() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.BatchNorm1d(8), nn.Linear(8, 3)).train()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    save_file(mlp(16, 3, (8,)).state_dict(), tmp_path / "w.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"\x09\x00\x00\x00nonsense")
    torch.save({"weight": Poison()}, tmp_path / "code.pt")
    rng = np.random.default_rng(0)
    x, y = rng.random((6, 1, 4, 4), dtype=np.float32), np.array([0, 1, 2, 0, 1, 2])
    np.savez(tmp_path / "data.npz", x=x, y=y)
    np.savez(tmp_path / "wide.npz", x=x * 255, y=y)
    np.savez(tmp_path / "shape.npz", x=x[:, :, :3], y=y)
    np.savez(tmp_path / "labels.npz", x=x, y=y + 5)
    np.savez(tmp_path / "empty.npz", x=x[:0], y=y[:0])
    (tmp_path / "torn.npz").write_bytes((tmp_path / "data.npz").read_bytes()[:200])
    return tmp_path


def fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], changes: dict[str, str]) -> str:
    """The one line that a mistaken `evaluate` ends with."""
    options = {
        "--model": "mlp(16, 3, hidden=(8,))", "--weights": "w.safetensors", "--data": "npz:data.npz", "--threat": "linf:0.1",
        "--out": "run",
    } | changes  # fmt: skip
    words = [word for name, value in options.items() if value for word in (name, value)]
    monkeypatch.setattr(sys, "argv", ["holdfast", "evaluate", *words, "--json"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    out, err = capsys.readouterr()
    assert ended.value.code == 2, err
    assert out == ""
    assert err.startswith("error: ") and len(err.strip().splitlines()) == 1, err
    return err


MISTAKES = [
    ({"--data": "npz:wide.npz"}, ["outside", "range", "rescale"]),
    ({"--data": "npz:shape.npz"}, ["[1, 1, 3, 4]", "shape"]),
    ({"--data": "npz:labels.npz"}, ["label", "0..2", "check"]),
    ({"--data": "npz:empty.npz"}, ["empty"]),
    ({"--data": "npz:torn.npz"}, ["torn.npz"]),
    ({"--data": "npz:none.npz"}, ["none.npz"]),
    ({"--data": "zip:x"}, ["zip", "npz"]),
    ({"--data": "npz:data.npz", "--offset": "99"}, ["99"]),
    ({"--model": "test_mistakes:nan_net", "--weights": ""}, ["NaN", "check"]),
    ({"--model": "test_mistakes:training_net", "--weights": ""}, ["BatchNorm1d", "eval()"]),
    ({"--model": "lenett"}, ["lenett", "lenet5"]),
    ({"--model": "no.such:thing", "--weights": ""}, ["no"]),
    ({"--model": "mlp(16, 4, hidden=(8,))"}, ["[4", "[3"]),
    ({"--weights": "gone.safetensors"}, ["gone.safetensors"]),
    ({"--weights": "bad.safetensors"}, ["bad.safetensors"]),
    ({"--weights": "code.pt"}, ["code.pt"]),
    ({"--threat": "linf"}, ["linf", "linf:8/255"]),
    ({"--threat": "linf:-1"}, ["positive"]),
    ({"--threat": "l7:1"}, ["l7", "linf"]),
    ({"--suite": "quickest"}, ["quickest", "quick-1"]),
    ({"--effort": "0"}, ["effort=0.0", "positive"]),
    ({"--suite": "autoattack", "--effort": "2"}, ["effort=2.0", "only standard-1"]),
    ({"--attack": "pdg(steps=3)"}, ["pdg", "pgd"]),
    ({"--attack": "pgd(step_count=3)"}, ["step_count", "steps"]),
    ({"--attack": "pgd(steps=0)"}, ["steps=0"]),
    ({"--attack": "pgd(steps=__import__('os').getpid())"}, ["__import__"]),
    ({"--attack": "carlini_wagner()"}, ["linf", "l2"]),
    ({"--mean": "0.1,0.2"}, ["2 normalisation values", "1 channels"]),
    ({"--std": "0"}, ["positive"]),
    ({"--bounds": "1,0"}, ["bounds"]),
    ({"--shard": "4/2"}, ["shard"]),
    ({"--out": "data.npz"}, ["data.npz"]),
    ({"--radii": "a"}, ["--radii"]),
]


@pytest.mark.parametrize(
    ("changes", "words"), MISTAKES, ids=lambda v: " ".join(f"{k} {w}" for k, w in v.items()) if isinstance(v, dict) else ""
)
def test_one_line(
    changes: dict[str, str], words: list[str], place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = fails(monkeypatch, capsys, changes)
    for word in words:
        assert word in line, line
    assert not (place / "poisoned").exists()


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_another_run_in_the_same_folder_is_refused(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made(monkeypatch, capsys)
    before = files(place / "run")
    assert "its seed" in fails(monkeypatch, capsys, {"--attack": "fgsm", "--seed": "7"})
    assert "its threat" in fails(monkeypatch, capsys, {"--attack": "fgsm", "--threat": "linf:0.2"})
    assert files(place / "run") == before


def test_a_second_writer_is_refused(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    made(monkeypatch, capsys)
    before = files(place / "run")
    with filelock.FileLock(place / "run" / "shard-0-of-1" / "lock"):
        assert "another process" in fails(monkeypatch, capsys, {"--attack": "fgsm"})
    assert files(place / "run") == before


def made(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A finished run in `run`."""
    words = ["evaluate", "--model", "mlp(16, 3, hidden=(8,))", "--weights", "w.safetensors", "--data", "npz:data.npz"]
    monkeypatch.setattr(sys, "argv", ["holdfast", *words, "--threat", "linf:0.1", "--attack", "fgsm", "--out", "run", "--json"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    capsys.readouterr()


def test_pickles_here_are_poisonous(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps(Poison()))
    assert (tmp_path / "poisoned").exists()
