"""The studies on a handful of digits: from nets to page, the same again, and what goes wrong in one line."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from holdfast import Classifier, load_data
from holdfast.cli import main
from holdfast.core.errors import ConfigError
from holdfast.data import Dataset
from holdfast.report.charts import Chart
from holdfast.reproduce import STUDIES, Bench, Finding, Reproduction, Study, Table, Trend, reproduce
from holdfast.reproduce.bench import KINDS, Each, right
from holdfast.reproduce.f9 import amplitude, softened
from holdfast.reproduce.page import write
from holdfast.training import Objective, objectives


class Tiny(Bench):
    """A bench of few samples and steps, which changes nothing else."""

    def samples(self, split: str, limit: int) -> Dataset:
        return super().samples(split, min(limit, 128 if split == "train" else 16))

    def trained(
        self, name: str, objective: Objective, data: Dataset, steps: int, each: Each = lambda model, epoch: None,
        begin: Classifier | None = None,
    ) -> Classifier:  # fmt: skip
        return super().trained(name, objective, data, min(steps, 4), each, begin)


def tiny(folder: Path) -> Tiny:
    return Tiny("digits", folder, fast=True, say=lambda text: None)


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Reproduction, dict[str, object]]]:
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("holdfast.reproduce.stickers.PASSES", 2)
        for name in STUDIES:
            folder = tmp_path_factory.mktemp(name)
            found[name] = (folder, *reproduce(name, tiny(folder)))
    return found


@pytest.mark.parametrize("name", sorted(STUDIES))
def test_a_study_says_what_it_found(name: str, studied: dict[str, tuple[Path, Reproduction, dict[str, object]]]) -> None:
    folder, found, summary = studied[name]
    source = (folder / "report.html").read_text()
    assert not re.search(r"""(src|href)\s*=\s*\\?["'`]?(https?:)?//""", source), "it fetches nothing"
    assert found.trends and found.tables and found.charts and found.scaled
    stored = json.loads((folder / "report.json").read_text())
    assert stored["trends"] == summary["trends"] and stored["scaled"] == summary["scaled"]
    for table in found.tables:
        for one in table.findings:
            assert math.isnan(one.ours) or (0 <= one.low <= one.ours <= one.high <= 1), one
    for chart in found.charts:
        assert f'id="chart-{chart.name}"' in source


def test_sizes_grow_and_lie_within_each_other(studied: dict[str, tuple[Path, Reproduction, dict[str, object]]], tmp_path: Path) -> None:
    _, found, _ = studied["f12"]
    by_title = {table.title: [one.ours for one in table.findings] for table in found.tables}
    clean, robust, gap = (by_title[name] for name in by_title if name.startswith(("PGD", "gap")))
    assert gap == pytest.approx([a - b for a, b in zip(clean, robust, strict=True)])
    bench = Bench("digits", tmp_path)
    few, many = (set(bench.samples("train", n).ids.tolist()) for n in (40, 160))
    assert len(few) == 40 and few < many


def test_errors_are_noted_after_every_epoch(studied: dict[str, tuple[Path, Reproduction, dict[str, object]]]) -> None:
    _, found, _ = studied["f11"]
    curves = {line["name"]: line for line in found.charts[0].data}
    assert len(curves) == 4 and len({len(line["x"]) for line in curves.values()}) == 1
    last = {one.label: one.ours for one in found.tables[0].findings}
    for name in ("plainly", "on FGSM"):
        assert (
            last[f"trained {name}, tested clean"]
            <= last[f"trained {name}, tested FGSM"]
            <= last[f"trained {name}, tested standard-1"] + 1e-9
        )


def test_the_same_again_asks_for_no_training(tmp_path: Path) -> None:
    """A net that was trained is found again, bit for bit, and other settings do not take it for theirs."""
    bench, told = tiny(tmp_path), []
    data = bench.samples("train", 128)
    first = bench.trained("one", objectives.standard(), data, 4, lambda model, epoch: told.append(epoch))
    again = bench.trained("one", objectives.standard(), data, 4, lambda model, epoch: told.append(epoch))
    assert told == [0, 1] and first.fingerprint() == again.fingerprint()
    with pytest.raises(Exception, match="another run"):
        bench.trained("one", objectives.standard(0.1), data, 4)


def test_a_halted_study_says_so(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        STUDIES["f12"].run(Tiny("digits", tmp_path, True, say=lambda text: None, halt=lambda: True))


def test_amplitude_is_the_mean_of_the_jacobian() -> None:
    """Of softmax(Wx) it is diag(p) W − p (pᵀ W); a doubled, then saturated net has ever smaller ones, and no zero in double precision."""
    generator = torch.Generator().manual_seed(0)
    linear = nn.Linear(64, 3, bias=False)
    linear.weight.data = torch.randn(3, 64, generator=generator)
    model = Classifier(nn.Sequential(nn.Flatten(), linear).eval(), 3)
    data = load_data("digits", limit=5)
    w = linear.weight.detach().double()
    p = (data.x.flatten(1).double() @ w.T).softmax(dim=1)
    jacobian = p[:, :, None] * (w - (p @ w)[:, None])
    assert torch.allclose(amplitude(model, data, piece=2), jacobian.abs().mean(dim=(1, 2)))
    assert not model.dtype.is_complex and linear.weight.dtype == torch.float32, "the net stays as it was"


def test_probabilities_hide_gradients_that_logits_show() -> None:
    linear = nn.Linear(64, 3, bias=False)
    linear.weight.data *= 1e4
    model, data = Classifier(nn.Sequential(nn.Flatten(), linear).eval(), 3), load_data("digits", limit=8)

    def steepest(asked: Classifier) -> Tensor:
        x = data.x.clone().requires_grad_()
        return torch.autograd.grad(asked(x).logits[:, 0].sum(), x)[0].flatten(1).abs().amax(dim=1)

    assert bool((steepest(softened(model)) == 0).any()) and bool((steepest(model) > 1).all())
    assert bool((right(softened(model), data) == right(model, data)).all())


def test_the_page_shows_both_figures_and_escapes_names(tmp_path: Path) -> None:
    table = Table("Success <i>", "words", (Finding("T = 5", 0.2467, 0.25, 0.2, 0.31), Finding("T = 9", None, 0.5, 0.4, 0.6)))
    found = Reproduction((table,), (), (Trend("it falls", "undecided", "fall: +0.1 points"),), ("half the data",))
    study = Study("f0", "a lecture", "it falls", "digits", lambda bench: found)
    source = write(study, Bench("digits", tmp_path), found, 1.5).read_text()
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", source.partition("<main>")[2]))
    for words in ("24.67 %", "25.0 %", "20.0 to 31.0 %", "T = 9 – 50.0 %", "undecided", "half the data", "another --seed", "--data digits"):
        assert words in text, words
    assert "<i>" not in source.partition("<main>")[2].partition("</main>")[0]


def test_data_of_another_shape_are_refused_in_one_line(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "odd.npz",
        x_train=np.zeros((8, 5, 5), np.uint8),
        y_train=np.arange(8),
        x_test=np.zeros((8, 5, 5), np.uint8),
        y_test=np.arange(8),
    )
    bench = replace(Bench("digits", tmp_path), data=f"npz:{tmp_path / 'odd.npz'}")
    with pytest.raises(ConfigError, match=r"inputs \[1, 5, 5\].*\[1, 28, 28\]"):
        assert bench.kind
    assert all(kind.net(7)(torch.zeros(2, *shape)).shape == (2, 7) for shape, kind in KINDS.items())


def test_the_command_refuses_a_name_that_there_is_not(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["holdfast", "reproduce", "f99"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2 and "choose one of f1, f2, f3, f4, f8, f9, f11, f12" in capsys.readouterr().err


def test_the_command_prints_and_writes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    def run(bench: Bench) -> Reproduction:
        assert bench.fast and bench.seed == 3 and bench.out == tmp_path
        table = Table("Errors", "", (Finding("a", 0.2467, 0.25, 0.2, 0.31),))
        return Reproduction((table,), (Chart("c", "t", "w", [], {"height": 300}),), (Trend("it falls", "refuted", "fall"),), ("half",))

    monkeypatch.setitem(STUDIES, "f12", replace(STUDIES["f12"], run=run))
    for last in ([], ["--json"]):
        monkeypatch.setattr("sys.argv", ["holdfast", "reproduce", "f12", "--fast", "--seed", "3", "--out", str(tmp_path), *last])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 0
        out = capsys.readouterr().out
        if last:
            told = json.loads(out)
            assert told["trends"][0]["verdict"] == "refuted" and Path(told["report"]).exists()
        else:
            assert "24.67 %" in out and "25.0 %" in out and "refuted: it falls" in out


def test_a_real_study_runs_whole_on_the_embedded_digits(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Training on FGSM lowers the error under FGSM there."""
    monkeypatch.setattr("sys.argv", ["holdfast", "reproduce", "f11", "--fast", "--json", "--out", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        main()
    told = json.loads(capsys.readouterr().out)
    assert ended.value.code == 0 and told["fast"]
    assert next(trend["verdict"] for trend in told["trends"] if "lowers the error on adversarial" in trend["statement"]) == "confirmed"
    assert (tmp_path / "report.html").exists()
