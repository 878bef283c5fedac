"""The command line: what it prints, what it stores, how it exits."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import save_file

from holdfast import Linf, catalogue, cli
from holdfast.evaluation.suites import suite_entries
from holdfast.models import mlp


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with weights of a small net and twelve samples."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    net = mlp(16, 3, (8,))
    with torch.no_grad():
        for weight in net.parameters():
            weight.mul_(4)
    save_file(net.state_dict(), tmp_path / "w.safetensors")
    x = np.random.default_rng(0).random((12, 1, 4, 4), dtype=np.float32)
    with torch.no_grad():
        y = net(torch.from_numpy(x)).argmax(1).numpy()
    np.savez(tmp_path / "data.npz", x=x, y=y)
    return tmp_path


def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of one command."""
    monkeypatch.setattr(sys, "argv", ["holdfast", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


BASE = ("evaluate", "--model", "mlp(16, 3, hidden=(8,))", "--weights", "w.safetensors", "--data", "npz:data.npz", "--threat", "linf:0.1")


def test_evaluate_stores_resumes_and_reports(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(monkeypatch, capsys, *BASE, "--out", "run", "--json")
    first = json.loads(out)
    assert code == 0
    assert first["n"] == 12 and first["clean_accuracy"] == 1.0 and 0 <= first["robust_accuracy"] <= 1
    assert {"forwards", "backwards", "seconds", "attacks", "checks", "run"} <= set(first)
    assert (place / "run" / "report.html").exists()
    _, out, _ = call(monkeypatch, capsys, *BASE, "--out", "run", "--json")
    assert json.loads(out) == first, "a finished run is read, not made again: even the seconds are the same"
    code, out, _ = call(monkeypatch, capsys, "report", "run", "--json")
    assert code == 0 and json.loads(out)["robust_accuracy"] == first["robust_accuracy"]


def test_effort_reaches_the_suite(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(monkeypatch, capsys, *BASE, "--out", "run", "--json", "--effort", "0.02")
    assert code == 0 and json.loads(out)["suite"] == "standard-2"
    manifest = json.loads((place / "run" / "manifest.json").read_text())
    little, usual = ([str(entry.attack) for entry in suite_entries("standard-2", Linf(0.1), effort)] for effort in (0.02, 1.0))
    assert manifest["effort"] == 0.02 and [row["attack"] for row in manifest["attacks"]] == little != usual


def test_the_gate(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    words = (*BASE, "--attack", "fgsm", "--out", "run", "--json", "--fail-under")
    assert call(monkeypatch, capsys, *words, "0")[0] == 0
    code, _, err = call(monkeypatch, capsys, *words, "0.99")
    assert code == 1 and "--fail-under" in err


def test_shards_merge_into_the_whole(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    words = (*BASE[:-1], "linf:0.4", "--attack", "pgd(steps=5)", "--attack", "fgsm", "--radii", "0.02,0.1", "--json")
    _, out, _ = call(monkeypatch, capsys, *words, "--out", "whole")
    whole = json.loads(out)
    for i in range(3):
        assert call(monkeypatch, capsys, *words, "--out", f"part{i}", "--shard", f"{i}/3")[0] == 0
    code, out, _ = call(monkeypatch, capsys, "merge", "joined", "part0", "part1", "part2", "--json")
    joined = json.loads(out)
    assert code == 0 and joined["n"] == whole["n"] and joined["complete"]
    assert 0 < joined["robust_accuracy"] == whole["robust_accuracy"] < 1


def test_attack_takes_the_short_form(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("attack", "pgd(0.2, steps=5)", *BASE[1:7], "--out", "adv", "--json")
    code, out, _ = call(monkeypatch, capsys, *words)
    assert code == 0 and json.loads(out)["attacks"][0]["call"] == "pgd(0.2, steps=5)"
    assert (place / "adv" / "shard-0-of-1" / "adversarial.npy").exists()
    code, out, _ = call(monkeypatch, capsys, "attack", "deepfool()", *BASE[1:7], "--out", "far", "--json")
    found = json.loads(out)
    assert code == 0 and found["threat"]["radius"] is None and found["attacks"][0]["median_size"] > 0


def test_attack_leaves_pictures_and_an_npz(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("attack", "pgd(0.5, steps=5)", *BASE[1:7], "--out", "adv", "--pictures", "2")
    code, out, _ = call(monkeypatch, capsys, *words, "--json")
    found = json.loads(out)["files"]
    with np.load("adv/adversarial.npz", allow_pickle=False) as stored:
        broken = len(stored["x_adv"])
        assert set(stored) == {"x", "x_adv", "y", "prediction", "confidence", "size", "id"}
    assert code == 0 and broken > 2
    assert (found["pictures"], found["left_out"], found["npz"], found["sheet"]) == (2, broken - 2, "adv/adversarial.npz", "adv/sheet.png")
    assert len(list(Path("adv/pictures").glob("*.png"))) == 2
    before = {file: file.read_bytes() for file in Path("adv").rglob("*.*") if file.suffix in (".png", ".npz")}
    code, out, _ = call(monkeypatch, capsys, *words)
    assert code == 0 and f"adv: pictures of 2 of {broken} broken samples; {broken - 2} left out (--pictures {broken} for all)" in out
    assert {file: file.read_bytes() for file in before} == before, "the same command again writes the same"


def test_spectra_of_a_run(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(monkeypatch, capsys, "attack", "pgd(0.5, steps=5)", *BASE[1:7], "--out", "adv", "--json")[0] == 0
    code, out, _ = call(monkeypatch, capsys, "spectra", "adv", "--json")
    assert code == 0 and json.loads(out)["report"] == "adv/spectra.html" and Path("adv/spectra.html").exists()
    mine = ("spectra", "adv", "--layer", "linear1")
    for words, said in (
        (mine, "--layer 'linear1' needs the model of the run"),
        ((*mine, *BASE[1:3]), "is not the model of adv: weights or views differ"),
        ((*mine, *BASE[1:5]), "layer 'linear1' answers ["),
        (("spectra", "adv", "--layer", "linera", *BASE[1:5]), "layer 'linera' is unknown: did you mean linear"),
    ):
        code, _, err = call(monkeypatch, capsys, *words)
        assert code == 2 and said in err and len(err.strip().splitlines()) == 1


def test_attack_fits_one_perturbation_for_all(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("attack", "universal_gradient(0.2, passes=2)", *BASE[1:7], "--out", "one", "--json")
    code, out, _ = call(monkeypatch, capsys, *words)
    told = json.loads(out)
    assert code == 0 and told["attack"] == "universal_gradient(0.2, passes=2)" and told["asked"] == 6 and told["size"] <= 0.2 + 1e-6
    with np.load(place / "one" / "perturbation.npz") as stored:
        assert stored["perturbation"].shape == (1, 4, 4) and len(stored["history"]) == told["passes"] == 2
    assert (place / "one" / "perturbation.png").exists()
    code, _, err = call(monkeypatch, capsys, "attack", "patch(size=3)", *BASE[1:7], "--out", "two")
    assert code == 2 and "no parameter 'size'" in err


@pytest.mark.parametrize("kind", ["attacks", "suites", "threats", "objectives", "models", "layers", "checks"])
def test_list_names_things(kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(monkeypatch, capsys, "list", kind, "--json")
    rows = json.loads(out)
    assert code == 0 and all(row["name"] and row["summary"] for row in rows)
    assert call(monkeypatch, capsys, "list", kind)[0] == 0


def test_every_attack_is_listed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from holdfast import attacks, exact, synthesis
    from holdfast.training.shared import SHARED

    _, out, _ = call(monkeypatch, capsys, "list", "--json")
    kinds = {row["name"]: row["kind"] for row in json.loads(out)}
    others = {method.name: method.kind for method in (*exact.METHODS, *synthesis.METHODS, *SHARED.values())}
    assert list(kinds) == sorted([*attacks.__all__, *others])
    assert kinds == dict.fromkeys(attacks.__all__, "row") | others


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("kind", sorted(catalogue.KINDS))
def test_a_list_can_be_read_and_loses_nothing(
    kind: str, width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli.commands, "console", Console(markup=False, width=width))
    lines = call(monkeypatch, capsys, "list", kind)[1].splitlines()
    margin = max(len(row["name"]) for row in catalogue.listing(kind)) + 2
    assert all(len(line) <= width for line in lines)
    assert len(lines) <= 12 * len(catalogue.listing(kind)), "narrow columns make long pages"
    assert [line[:margin].strip() for line in lines if line[0] != " "] == [row["name"] for row in catalogue.listing(kind)]
    told = " ".join(line[margin:].strip() for line in lines)
    for row in catalogue.listing(kind):
        assert row["summary"] in told and row.get("paper", "") in told


UNIVERSAL = ("attack", "universal_gradient(0.1, passes=1)", *BASE[1:-2], "--out", "fit", "--json")


@pytest.mark.parametrize("option", [("--slots", "8"), ("--no-replica",), ("--pictures", "0")])
def test_a_fit_refuses_what_it_has_no_use_for(
    option: tuple[str, ...], place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = call(monkeypatch, capsys, *UNIVERSAL, *option)
    assert code == 2 and not out and option[0] in err and "universal_gradient" in err and not (place / "fit").exists()


def test_a_threat_that_says_nothing_is_refused(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = call(monkeypatch, capsys, "attack", "patch(1)", *UNIVERSAL[2:], "--threat", "linf:0.1")
    assert code == 2 and "patch takes no threat" in err
    _, out, _ = call(monkeypatch, capsys, "attack", "universal_gradient(passes=1)", *UNIVERSAL[2:], "--threat", "linf:0.1")
    assert json.loads(out)["attack"] == "universal_gradient(Linf(0.1), passes=1)"
    code, _, err = call(monkeypatch, capsys, *BASE[:-1], "flow:1", "--attack", "stadv", "--curve", "--out", "run")
    assert code == 2 and "leave radii and --curve out" in err and "name attacks" not in err
    code, _, err = call(monkeypatch, capsys, *BASE, "--device", "gpu", "--out", "run")
    assert code == 2 and "--device 'gpu' cannot be used" in err


def noisy() -> torch.nn.Module:
    net = mlp(16, 3, (8,))
    net.register_forward_pre_hook(lambda module, given: given[0] + 0.1 * torch.randn_like(given[0]))
    return net.eval()


def test_a_fit_notices_a_net_that_answers_at_random(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    for model, found in (("test_commands:noisy", True), ("mlp(16, 3, hidden=(8,))", False)):
        words = (*UNIVERSAL[:2], "--model", model, "--data", "npz:data.npz", "--out", f"fit-{found}")
        code, out, _ = call(monkeypatch, capsys, *words, "--json")
        assert code == 0 and json.loads(out)["stochastic"] is found
        _, _, err = call(monkeypatch, capsys, *words[:-1], f"again-{found}")
        assert ("taken as --stochastic" in err) is found


def test_a_radius_that_is_no_limit_is_said_so(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for spec, said in (("ddn(steps=3)", True), ("pgd(steps=3)", False)):
        code, _, err = call(monkeypatch, capsys, "attack", spec, *UNIVERSAL[2:-3], "--out", spec[:3], "--threat", "l2:0.5")
        assert code == 0 and ("the radius of --threat l2:0.5 is no limit" in err) is said
