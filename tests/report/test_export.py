"""What `holdfast attack` leaves: an npz that other tools read, and pictures whose pixels are the values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image
from report_bands import NAMES, Make, bands, judge

from holdfast import Classifier, Linf, evaluate
from holdfast.core.errors import StoreError
from holdfast.data import Dataset
from holdfast.evaluation import Result
from holdfast.report import export
from holdfast.report.export import instructive
from holdfast.report.strips import GAP, cut, font, plain

TOP = GAP + 17


def dataset(x: torch.Tensor, y: torch.Tensor, classes: tuple[str, ...] | None = NAMES) -> Dataset:
    return Dataset(x, y, torch.arange(len(x)) + 100, "bands", classes)


@pytest.fixture(scope="module")
def run(make: Make) -> Result:
    """Five of twelve bands broken by one attack."""
    return make(attacks=["pgd(steps=8, random_start=False)"])


@pytest.fixture(scope="module")
def data() -> Dataset:
    x, y = bands()
    y[-1] = (y[-1] + 1) % 3
    return dataset(x, y)


def files(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def test_npz_holds_the_broken_samples(run: Result, data: Dataset, tmp_path: Path) -> None:
    assert export(run, data, tmp_path).broken == 5
    with np.load(tmp_path / "adversarial.npz", allow_pickle=False) as stored:
        found = dict(stored)
    broken = [i for i in range(len(data)) if 100 + i in set(run.records.filter("broken")["sample"])]
    assert found["id"].tolist() == [100 + i for i in broken]
    assert (found["x"] == data.x[broken].numpy()).all() and (found["y"] == data.y[broken].numpy()).all()
    assert (found["x_adv"] == run.adversarial[broken]).all() and found["x_adv"].dtype == np.float32
    said = judge()(torch.from_numpy(found["x_adv"])).double().softmax(1)
    assert (found["prediction"] == said.argmax(1).numpy()).all() and (found["prediction"] != found["y"]).all()
    assert found["confidence"] == pytest.approx(said.amax(1).detach().numpy(), abs=1e-6)
    assert found["size"] == pytest.approx(np.abs(found["x_adv"] - found["x"]).max((1, 2, 3)), abs=1e-6)


def test_pictures_hold_the_values(run: Result, data: Dataset, tmp_path: Path) -> None:
    export(run, data, tmp_path)
    with np.load(tmp_path / "adversarial.npz") as found:
        assert {file.stem for file in (tmp_path / "pictures").iterdir()} == {str(i) for i in found["id"]}
        for i, sample in enumerate(found["id"]):
            shown = np.asarray(Image.open(tmp_path / "pictures" / f"{sample}.png"))
            panels = [shown[TOP : TOP + 192, left : left + 192] for left in (GAP, 2 * GAP + 192, 3 * GAP + 2 * 192)]
            change = (found["x_adv"] - found["x"]).astype(np.float64)[i, 0]
            expected = [found["x"][i, 0] * 255, found["x_adv"][i, 0] * 255, 127.5 + 127.5 * change / np.abs(change).max()]
            for panel, values in zip(panels, expected, strict=True):
                whole = np.kron(values, np.ones((32, 32)))
                assert np.abs(panel - whole[..., None]).max() <= 1, "every pixel a block of one value, grey in all channels"


def test_a_limit_leaves_out_and_says_so(run: Result, data: Dataset, tmp_path: Path) -> None:
    found = export(run, data, tmp_path, pictures=2, most=1)
    assert (found.broken, found.pictures, found.as_dict()["left_out"]) == (5, 2, 3)
    assert found.words == "pictures of 2 of 5 broken samples; 3 left out (--pictures 5 for all)"
    assert len(list((tmp_path / "pictures").iterdir())) == 2
    with np.load(tmp_path / "adversarial.npz") as stored:
        assert len(stored["x"]) == 5
    (tmp_path / "none").mkdir()
    none = export(run, data, tmp_path / "none", pictures=0)
    assert none.pictures == 0 and not none.sheet and [file.name for file in (tmp_path / "none").rglob("*.*")] == ["adversarial.npz"]


def test_sheet_holds_the_strips_in_columns(run: Result, data: Dataset, tmp_path: Path) -> None:
    one, five = tmp_path / "one", tmp_path / "five"
    for folder, most in ((one, 1), (five, 5)):
        folder.mkdir()
        export(run, data, folder, most=most)
    single, whole = Image.open(one / "sheet.png"), Image.open(five / "sheet.png")
    columns = whole.width // single.width
    assert columns == 1500 // single.width and whole.height == single.height * -(-5 // columns)
    assert (np.asarray(whole)[: single.height, : single.width] == np.asarray(single)).all()


def test_bytes_are_the_same_and_what_is_there_stays(run: Result, data: Dataset, tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    for folder in (first, second):
        folder.mkdir()
        export(run, data, folder)
    assert files(first) == files(second)
    drawn = sorted((first / "pictures").iterdir())
    drawn[0].write_bytes(b"kept")
    drawn[1].unlink()
    export(run, data, first)
    again = files(first)
    assert again.pop(f"pictures/{drawn[0].name}") == b"kept", "a picture that is there is not drawn again"
    assert again == {name: content for name, content in files(second).items() if not name.endswith(drawn[0].name)}


def test_uint8_colour_and_another_range(tmp_path: Path) -> None:
    """Stored bytes come out as the model's range in the npz, and as themselves in the pictures."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 4, 3)).eval()
    x = torch.randint(0, 256, (4, 3, 8, 4), dtype=torch.uint8)
    model = Classifier(net, 3, (-1.0, 3.0))
    y = model(model.bounds.intake(x, torch.float32, torch.device("cpu"))).logits.argmax(1)
    data = dataset(x, y, None)
    result = evaluate(model, data, Linf(4.0), attacks=["pgd(steps=8)"], out=tmp_path / "run")
    assert export(result, data, tmp_path / "run").pictures == 4
    with np.load(tmp_path / "run" / "adversarial.npz") as found:
        assert found["x"] == pytest.approx(x.numpy() / 255 * 4 - 1, abs=1e-6)
        assert found["x_adv"].min() >= -1 and found["x_adv"].max() <= 3
    shown = np.asarray(Image.open(tmp_path / "run" / "pictures" / "100.png"))[TOP : TOP + 192, GAP : GAP + 96]
    assert (shown == np.kron(x[0].permute(1, 2, 0).numpy(), np.ones((24, 24, 1)))).all()


def test_inputs_that_are_no_images_have_the_npz_alone(make: Make, tmp_path: Path) -> None:
    x, y = bands()
    flat = x.flatten(1)
    result = make(flat, y, attacks=["pgd(steps=8)"])
    found = export(result, dataset(flat, y), tmp_path)
    assert found.words == "inputs [36] are no images: adversarial.npz alone was written" and found.pictures == 0
    assert [file.name for file in tmp_path.iterdir()] == ["adversarial.npz"]


def test_nothing_broken_is_said(make: Make, data: Dataset, tmp_path: Path) -> None:
    found = export(make(attacks=["pgd(steps=2)"], radius=1e-4), data, tmp_path)
    assert found.broken == 0 and "no sample was broken" in found.words
    with np.load(tmp_path / "adversarial.npz") as stored:
        assert stored["x_adv"].shape == (0, 1, 6, 6)


def test_a_run_under_way_and_other_data_are_refused(halted_run: Result, run: Result, tmp_path: Path) -> None:
    x, y = bands()
    with pytest.raises(StoreError, match="has not ended: run the same command again"):
        export(halted_run, dataset(x, y), tmp_path)
    with pytest.raises(StoreError, match="bands lacks sample 100 of the run"):
        export(run, Dataset(x[1:], y[1:], torch.arange(11) + 101, "bands"), tmp_path)
    assert not list(tmp_path.glob("*.npz"))


def test_the_most_telling_come_first() -> None:
    """Each confusion once before any twice, the commonest first; of each the smallest change."""
    pairs = [(0, 1, 0.5), (0, 1, 0.2), (0, 1, 0.3), (2, 0, 0.9), (2, 0, 0.1), (1, 2, 0.01)]
    rows = pl.DataFrame([{"sample": i, "label": a, "prediction": b, "size": size} for i, (a, b, size) in enumerate(pairs)])
    assert instructive(rows)["sample"].to_list() == [1, 4, 5, 2, 3, 0]
    assert instructive(rows[::-1])["sample"].to_list() == [1, 4, 5, 2, 3, 0]


def test_captions_fit_and_have_letters() -> None:
    assert plain("naïve → 3 × ±∞ 猫") == "naive -> 3 x ?inf ?"
    assert cut("a short one", 500, 13) == "a short one"
    brief = cut("a caption that is far too long for its panel", 100, 13)
    assert brief.endswith("…") and font(13).getlength(brief) <= 100 < font(13).getlength(brief[:-1] + "mmm")
