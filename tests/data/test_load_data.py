"""`load_data`: the word before the colon, options after the question mark, digits, and extras that may be missing."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from holdfast.core.errors import ConfigError, InputError
from holdfast.data import FORMATS, load_data
from holdfast.data.source import Source


class TestSpec:
    @pytest.mark.parametrize(
        ("spec", "place", "options"),
        [
            ("npz:a/b.npz", "a/b.npz", {}),
            ("folder:/x y/?size=224&resize=256", "/x y/", {"size": "224", "resize": "256"}),
            ("hf:user/name:part", "user/name:part", {}),
            ("digits", "", {}),
        ],
    )
    def test_is_taken_apart(self, spec: str, place: str, options: dict[str, str]) -> None:
        source = Source.parse(spec)
        assert (source.kind, source.place, source.options) == (spec.partition(":")[0], place, options)

    @pytest.mark.parametrize(
        ("spec", "said"),
        [
            ("nzp:file", "unknown format 'nzp': did you mean npz.*digits, npz, idx, folder, cifar10, hf, torchvision"),
            ("mnist.npz", "did you mean npz:mnist.npz"),
            ("", "unknown format ''"),
            ("npz", "a FILE is missing: write npz:FILE"),
            ("folder:", "a DIR is missing: write folder:DIR"),
            ("folder:x?size", "cannot read 'size'.*option=value"),
            ("folder:x?sise=3", "no option 'sise': did you mean size"),
            ("folder:x?size=-3", "size='-3': expected a whole number"),
            ("folder:x?resize=200", "resize=200, size=None: expected resize >= size"),
            ("folder:x?resize=200&size=224", "expected resize >= size"),
            ("folder:x?channels=2", r"channels=2: expected 1 \(grey\) or 3"),
            ("digits?size=3", "digits has no option 'size': it takes none"),
            ("npz:x?layout=chwn", "layout='chwn': expected one of nchw, nhwc, stored"),
            ("hf:", "a name is missing: write hf:NAME"),
        ],
    )
    def test_that_cannot_be(self, spec: str, said: str) -> None:
        with pytest.raises(ConfigError, match=said):
            load_data(spec)

    @pytest.mark.parametrize("kind", ["npz", "idx", "folder", "cifar10"])
    def test_missing_files_are_named(self, kind: str) -> None:
        with pytest.raises(InputError, match=r"no such (file|dir): nowhere/at.all: check the path"):
            load_data(f"{kind}:nowhere/at.all")

    def test_every_format_is_tried(self) -> None:
        assert list(FORMATS) == ["digits", "npz", "idx", "folder", "cifar10", "hf", "torchvision"]


class TestDigits:
    def test_values_are_the_file_s(self) -> None:
        data = load_data("digits", split="all")
        assert data.x.shape == (1797, 1, 8, 8)
        assert data.x.dtype == torch.float32
        sixteenths = data.x * 16
        assert torch.equal(sixteenths, sixteenths.round())
        assert (sixteenths.min(), sixteenths.max()) == (0, 16)
        # The first row of the first picture, a nought, as the repository of origin (UCI, optdigits) prints it.
        assert sixteenths[0, 0, 0].tolist() == [0, 0, 5, 13, 9, 1, 0, 0]
        assert data.y[:10].tolist() == list(range(10))

    def test_the_split_is_a_partition_and_stays(self) -> None:
        train, test = load_data("digits", split="train"), load_data("digits")
        assert (len(train), len(test)) == (1437, 360)
        assert sorted(train.ids.tolist() + test.ids.tolist()) == list(range(1797))
        assert test.ids[:5].tolist() == [1, 4, 29, 32, 33]
        assert test.y.bincount(minlength=10).min() >= 26

    def test_parts_keep_their_ids_and_values(self) -> None:
        whole, part = load_data("digits"), load_data("digits", limit=7, offset=20)
        assert torch.equal(part.ids, whole.ids[20:27])
        assert torch.equal(part.x, whole.x[20:27])

    def test_other_splits_and_places(self) -> None:
        with pytest.raises(ConfigError, match="split 'val' is unknown: choose one of test, train, all"):
            load_data("digits", split="val")
        with pytest.raises(ConfigError, match="need no place: write digits"):
            load_data("digits:here")
        with pytest.raises(InputError, match="360 in all and offset=360"):
            load_data("digits", offset=360)


@dataclass
class Table:
    """As much of a table of the `datasets` package as we ask for."""

    pictures: list[Image.Image]
    labels: list[int]
    features: dict[str, object]

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, place: int) -> dict[str, object]:
        return {"photo": self.pictures[place], "kind": self.labels[place]}

    def select(self, places: range) -> dict[str, list[int]]:
        return {"kind": [self.labels[place] for place in places]}


class ClassLabel:
    names = ("cat", "dog")


def pictures(mode: str, count: int = 6) -> list[Image.Image]:
    return [Image.new(mode, (5, 4), 10 * place if mode == "L" else (10 * place, 1, 2)) for place in range(count)]


class TestHub:
    @pytest.fixture
    def asked(self, monkeypatch: pytest.MonkeyPatch) -> list[object]:
        asked: list[object] = []

        def load_dataset(name: str, config: str | None, split: str) -> Table:
            asked.append((name, config, split))
            if name == "gone":
                raise ConnectionError("no route\nsecond line")
            features = {"photo": type("Image", (), {})(), "kind": ClassLabel()}
            return Table(pictures("RGB" if name == "colour" else "L"), [0, 1, 1, 0, 1, 0], features)

        module = ModuleType("datasets")
        monkeypatch.setitem(sys.modules, "datasets", module)
        monkeypatch.setattr(module, "load_dataset", load_dataset, raising=False)
        return asked

    def test_part_of_a_split(self, asked: list[object]) -> None:
        data = load_data("hf:colour?config=small", split="val", limit=2, offset=1)
        assert asked == [("colour", "small", "val")]
        assert data.x.tolist() == [[[[c] * 5] * 4 for c in (10 * place, 1, 2)] for place in (1, 2)]
        assert (data.y.tolist(), data.ids.tolist(), data.classes) == ([1, 1], [1, 2], ("cat", "dog"))

    @pytest.mark.usefixtures("asked")
    def test_grey_stays_grey_unless_asked(self) -> None:
        assert load_data("hf:grey").x.shape == (6, 1, 4, 5)
        assert load_data("hf:grey?channels=3").x.shape == (6, 3, 4, 5)

    @pytest.mark.usefixtures("asked")
    def test_errors_are_one_line(self) -> None:
        with pytest.raises(ConfigError, match=r"which column is the label\? say \?label=COLUMN; there are photo \(Image\), kind"):
            load_data("hf:grey?label=colour")
        with pytest.raises(InputError, match=r"cannot be fetched \(ConnectionError: no route\)") as caught:
            load_data("hf:gone")
        assert "\n" not in str(caught.value)


class TestTorchvision:
    @pytest.fixture(autouse=True)
    def _fake(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Colours:
            classes = ("cat", "dog")

            def __init__(self, root: str, train: bool = True, download: bool = False) -> None:
                assert download
                assert root == "here"
                self.samples = list(zip(pictures("RGB"), [1] * 6 if train else [0] * 6, strict=True))

            def __len__(self) -> int:
                return len(self.samples)

            def __getitem__(self, place: int) -> tuple[Image.Image, int]:
                if place == 5:
                    raise OSError("broken picture")
                return self.samples[place]

        class Halves:
            def __init__(self, root: str, split: str = "train") -> None:
                if split != "val":
                    raise ValueError(f"Unknown value '{split}' for argument split.")
                self.samples = [(Image.new("L", (3, 3)), np.int64(7))]

            def __len__(self) -> int:
                return 1

            def __getitem__(self, place: int) -> tuple[Image.Image, np.int64]:
                return self.samples[place]

        monkeypatch.setitem(sys.modules, "torchvision", ModuleType("torchvision"))
        monkeypatch.setitem(sys.modules, "torchvision.datasets", SimpleNamespace(Colours=Colours, Halves=Halves, utils=1))  # type: ignore[arg-type]

    def test_part_of_a_split(self) -> None:
        data = load_data("torchvision:Colours?root=here", limit=3, offset=2)
        assert data.x[:, 0, 0, 0].tolist() == [20, 30, 40]
        assert (data.y.tolist(), data.ids.tolist(), data.classes) == ([0, 0, 0], [2, 3, 4], ("cat", "dog"))
        assert load_data("torchvision:Colours?root=here", split="train", limit=2).y.tolist() == [1, 1]

    def test_a_dataset_with_named_splits(self) -> None:
        data = load_data("torchvision:Halves?root=here", split="val")
        assert data.x.shape == (1, 1, 3, 3)
        assert (data.y.tolist(), data.classes) == ([7], None)

    @pytest.mark.parametrize(
        ("kind", "spec", "split", "said"),
        [
            (ConfigError, "torchvision:Colour", "test", "torchvision has no dataset 'Colour'"),
            (ConfigError, "torchvision:utils", "test", "torchvision has no dataset 'utils'"),
            (ConfigError, "torchvision:Colours?root=here", "val", "split 'val' is unknown: Colours has train and test"),
            (InputError, "torchvision:Halves?root=here", "test", "cannot be fetched .ValueError: Unknown value 'test'"),
            (InputError, "torchvision:Colours?root=here", "test", "sample 5 cannot be decoded .OSError: broken picture"),
        ],
    )
    def test_errors(self, kind: type[Exception], spec: str, split: str, said: str) -> None:
        with pytest.raises(kind, match=said):
            load_data(spec, split)


@pytest.mark.parametrize(
    ("spec", "package", "extra"), [("hf:mnist", "datasets", "hub"), ("torchvision:MNIST", "torchvision.datasets", "vision")]
)
def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, spec: str, package: str, extra: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=rf"which cannot be imported .*pip install 'holdfast\[{extra}\]'"):
        load_data(spec)
