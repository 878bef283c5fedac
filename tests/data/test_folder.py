"""`folder:`: class folders, stable ids, pictures of all kinds and sizes, and those that cannot be read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from holdfast.core.errors import InputError
from holdfast.data import Dataset, load_data

RANDOM = np.random.default_rng(0)


def paint(path: Path, width: int = 5, height: int = 4) -> NDArray[np.uint8]:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = RANDOM.integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


def by_id(data: Dataset) -> dict[int, tuple[int, list[int]]]:
    return {int(i): (int(y), x.flatten().tolist()) for i, y, x in zip(data.ids, data.y, data.x, strict=True)}


def refused(said: str, spec: str, split: str = "test") -> None:
    with pytest.raises(InputError, match=said) as caught:
        load_data(spec, split)
    assert "\n" not in str(caught.value)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("zebra", "ant", "cow"):
        for place in range(4):
            paint(tmp_path / name / f"{place}.png")
    return tmp_path


def test_pixels_labels_and_names(tmp_path: Path) -> None:
    painted = {label: paint(tmp_path / name / "a.png") for label, name in enumerate(("ant", "cow", "zebra"))}
    data = load_data(f"folder:{tmp_path}")
    assert data.classes == ("ant", "cow", "zebra")
    assert sorted(data.y.tolist()) == [0, 1, 2]
    for x, y in zip(data.x, data.y, strict=True):
        assert np.array_equal(x.permute(1, 2, 0).numpy(), painted[int(y)])


@pytest.mark.parametrize("suffix", ["png", "jpg", "jpeg", "bmp", "webp", "PNG"])
def test_formats(tmp_path: Path, suffix: str) -> None:
    pixels = np.full((4, 5, 3), (200, 100, 50), np.uint8)
    (tmp_path / "ant").mkdir()
    Image.fromarray(pixels).save(tmp_path / "ant" / f"a.{suffix}")
    (tmp_path / "ant" / "notes.txt").write_text("not a picture")
    (tmp_path / "ant" / "._a.png").write_text("what some systems leave behind")
    data = load_data(f"folder:{tmp_path}")
    assert data.x.shape == (1, 3, 4, 5)
    torch.testing.assert_close(data.x[0].permute(1, 2, 0).float(), torch.from_numpy(pixels).float(), atol=3, rtol=0)


def test_a_file_keeps_its_id_when_others_come(root: Path) -> None:
    before = by_id(load_data(f"folder:{root}"))
    paint(root / "ant" / "0000.png")
    paint(root / "bee" / "0.png")
    after = by_id(load_data(f"folder:{root}"))
    assert len(after) == 14
    assert {i: after[i][1] for i in before} == {i: pixels for i, (_, pixels) in before.items()}
    assert all(0 <= i < 2**63 for i in after)


def test_ids_do_not_depend_on_where_the_folder_is(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    before = load_data(f"folder:{root}")
    moved = root.rename(tmp_path_factory.mktemp("new") / "place")
    assert load_data(f"folder:{moved}").fingerprint() == before.fingerprint()


def test_the_first_few_are_not_one_class(tmp_path: Path) -> None:
    for name in ("ant", "zebra"):
        for place in range(20):
            paint(tmp_path / name / f"{place}.png", 1, 1)
    assert set(load_data(f"folder:{tmp_path}", limit=20).y.tolist()) == {0, 1}


def test_only_what_is_asked_for_is_decoded(root: Path) -> None:
    whole = load_data(f"folder:{root}")
    first = next(iter(whole.ids.tolist()))
    broken = next(path for path in root.rglob("*.png") if by_id(load_data(f"folder:{root}"))[first][1] == list(pixels_of(path)))
    broken.write_bytes(b"no picture any more")
    part = load_data(f"folder:{root}", limit=4, offset=1)
    assert torch.equal(part.x, whole.x[1:5])
    assert torch.equal(part.ids, whole.ids[1:5])
    assert part.classes == whole.classes
    refused(f"{broken.parent.name}/{broken.name} cannot be decoded", f"folder:{root}")


def pixels_of(path: Path) -> list[int]:
    with Image.open(path) as picture:
        return np.asarray(picture).transpose(2, 0, 1).flatten().tolist()  # type: ignore[no-any-return]


def test_splits(tmp_path: Path) -> None:
    for split, count in (("train", 3), ("val", 2)):
        for place in range(count):
            paint(tmp_path / split / "ant" / f"{place}.png")
    train, val = load_data(f"folder:{tmp_path}", "train"), load_data(f"folder:{tmp_path}", "val")
    assert (len(train), len(val), train.classes) == (3, 2, ("ant",))
    assert not set(train.ids.tolist()) & set(val.ids.tolist())
    refused("class folder .*train holds no pictures: choose --split train or val", f"folder:{tmp_path}")


def test_a_class_called_test_is_a_class(tmp_path: Path) -> None:
    for name in ("test", "train"):
        paint(tmp_path / name / "0.png")
    assert load_data(f"folder:{tmp_path}").classes == ("test", "train")


def test_folders_that_are_no_classes(root: Path) -> None:
    (root / ".cache").mkdir()
    (root / "__MACOSX").mkdir()
    assert load_data(f"folder:{root}").classes == ("ant", "cow", "zebra")
    (root / "docs").mkdir()
    refused("class folder .*docs holds no pictures: add pictures, or take the folder out", f"folder:{root}")


def test_no_classes_at_all(tmp_path: Path) -> None:
    refused("no class folders in", f"folder:{tmp_path}")
    paint(tmp_path / "loose.png")
    refused(r"expected .*/CLASS/\*.png", f"folder:{tmp_path}")
    refused("is a file: expected folder:DIR", f"folder:{tmp_path}/loose.png")


class TestSize:
    def test_sizes_that_differ(self, root: Path) -> None:
        paint(root / "cow" / "9.png", 7, 6)
        refused(r"\.png is \d+x\d+, .*\.png is \d+x\d+: pictures must be of one size: pass folder:.*\?size=224", f"folder:{root}")
        assert load_data(f"folder:{root}?size=3").x.shape == (13, 3, 3, 3)

    @pytest.mark.parametrize(("width", "height"), [(8, 4), (4, 8)])
    def test_the_centre_is_kept(self, tmp_path: Path, width: int, height: int) -> None:
        pixels = paint(tmp_path / "ant" / "a.png", width, height)
        data = load_data(f"folder:{tmp_path}?size=4")
        top, left = (height - 4) // 2, (width - 4) // 2
        assert np.array_equal(data.x[0].permute(1, 2, 0).numpy(), pixels[top : top + 4, left : left + 4])

    def test_the_shorter_side_is_brought_to_size(self, tmp_path: Path) -> None:
        (tmp_path / "ant").mkdir()
        ramp = np.repeat(np.arange(0, 240, 20, dtype=np.uint8)[:, None], 6, axis=1)
        Image.fromarray(ramp).save(tmp_path / "ant" / "a.png")  # 6 wide, 12 high: halved to 3 by 6, middle 3 kept
        column = load_data(f"folder:{tmp_path}?size=3").x[0, 0, :, 1].float()
        torch.testing.assert_close(column[1:] - column[:-1], torch.full((2,), 40.0), atol=2, rtol=0)
        assert load_data(f"folder:{tmp_path}?size=2&resize=3").x.shape == (1, 3, 2, 2)

    def test_grey(self, tmp_path: Path) -> None:
        (tmp_path / "ant").mkdir()
        pixels = RANDOM.integers(0, 256, (4, 5), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "ant" / "a.png")
        assert np.array_equal(load_data(f"folder:{tmp_path}?channels=1").x[0, 0].numpy(), pixels)
        assert np.array_equal(load_data(f"folder:{tmp_path}").x[0].numpy(), np.stack([pixels] * 3))


class TestPictures:
    def test_transparent_palette(self, tmp_path: Path) -> None:
        (tmp_path / "ant").mkdir()
        picture = Image.fromarray(np.full((4, 5, 3), (200, 100, 50), np.uint8)).quantize(4)
        picture.save(tmp_path / "ant" / "a.png", transparency=bytes([100, 100, 255, 255]))
        assert load_data(f"folder:{tmp_path}").x[0, :, 0, 0].tolist() == [200, 100, 50]

    def test_more_than_eight_bits(self, tmp_path: Path) -> None:
        (tmp_path / "ant").mkdir()
        Image.fromarray(np.full((4, 5), 40_000, np.uint16)).save(tmp_path / "ant" / "a.png")
        refused("a.png cannot be decoded .*more than 8 bits a channel", f"folder:{tmp_path}")

    @pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "webp"])
    def test_damaged(self, tmp_path: Path, suffix: str) -> None:
        path = tmp_path / "ant" / f"a.{suffix}"
        paint(path, 40, 40)
        whole = path.read_bytes()
        for raw in (b"", b"hello", bytes(100), whole[:20], whole[: len(whole) // 2]):
            path.write_bytes(raw)
            refused(f"ant/a.{suffix} cannot be decoded", f"folder:{tmp_path}")


def test_decoded_once_and_read_from_the_file(root: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = tmp_path_factory.mktemp("cache") / "below"
    plain, spec = load_data(f"folder:{root}"), f"folder:{root}?cache={kept}"
    first = load_data(spec)
    monkeypatch.setattr("holdfast.data.folder.stack", None)
    again = load_data(spec)
    assert torch.equal(first.x, plain.x) and torch.equal(again.x, plain.x) and torch.equal(again.ids, plain.ids)
    assert again.fingerprint() == plain.fingerprint()
    again.x[0] = 7
    assert torch.equal(load_data(spec).x, plain.x), "what is written to the tensor has reached the file"
    assert [file.suffix for file in kept.iterdir()] == [".npy"]


def test_other_pictures_are_decoded_anew(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    kept = tmp_path_factory.mktemp("cache")
    spec = f"folder:{root}?cache={kept}"
    before = load_data(spec)
    pixels = paint(root / "ant" / "0.png", 5, 4)
    after = load_data(spec)
    changed = (before.x != after.x).flatten(1).any(dim=1)
    assert int(changed.sum()) == 1
    assert np.array_equal(after.x[changed][0].permute(1, 2, 0).numpy(), pixels)
    assert load_data(f"{spec}&size=3").x.shape[2:] == (3, 3)


def test_a_picture_that_cannot_be_read_leaves_no_file(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    kept = tmp_path_factory.mktemp("cache")
    (root / "cow" / "1.png").write_bytes(b"no picture")
    refused("cannot be decoded", f"folder:{root}?cache={kept}")
    assert not list(kept.iterdir())
