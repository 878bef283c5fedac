"""Formats of arrays: npz, idx and the CIFAR-10 batches; written here, read back, and damaged in every way we know."""

from __future__ import annotations

import gzip
import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from holdfast.core.errors import ConfigError, InputError
from holdfast.data import load_data

RANDOM = np.random.default_rng(0)


def refused(said: str, spec: str, split: str = "test") -> None:
    with pytest.raises(InputError, match=said) as caught:
        load_data(spec, split)
    assert "\n" not in str(caught.value)


class TestNpz:
    @pytest.mark.parametrize(
        ("shape", "kind", "options", "order"),
        [
            ((4, 6, 5, 3), np.uint8, "", (0, 3, 1, 2)),
            ((4, 6, 5, 1), np.uint8, "", (0, 3, 1, 2)),
            ((4, 3, 6, 5), np.uint8, "", None),
            ((4, 3, 6, 3), np.uint8, "?layout=nchw", None),
            ((4, 3, 6, 5), np.float32, "", None),
            ((4, 6, 5, 3), np.float64, "", None),
            ((4, 6, 5, 3), np.float64, "?layout=nhwc", (0, 3, 1, 2)),
            ((4, 1, 9), np.float32, "?layout=stored", None),
            ((4, 9), np.float32, "", None),
            ((4, 9), np.uint8, "", None),
        ],
    )
    def test_layouts(self, tmp_path: Path, shape: tuple[int, ...], kind: type, options: str, order: tuple[int, ...] | None) -> None:
        x = (RANDOM.random(shape) * 255).astype(kind)
        np.savez(tmp_path / "a.npz", x=x, y=np.arange(4))
        data = load_data(f"npz:{tmp_path}/a.npz{options}")
        wanted = x if order is None else x.transpose(order)
        assert data.x.numpy().dtype == kind
        assert np.array_equal(data.x.numpy(), wanted)
        assert data.x.stride() == tuple(step // x.itemsize for step in wanted.strides)

    @pytest.mark.parametrize("kind", [np.uint8, np.float32])
    def test_pictures_without_a_channel_get_one(self, tmp_path: Path, kind: type) -> None:
        x = (RANDOM.random((4, 6, 5)) * 255).astype(kind)
        np.savez_compressed(tmp_path / "a.npz", x=x, y=np.arange(4))
        assert np.array_equal(load_data(f"npz:{tmp_path}/a.npz").x.numpy(), x[:, None])

    def test_splits_and_ids(self, tmp_path: Path) -> None:
        path, x = tmp_path / "a.npz", np.arange(8, dtype=np.uint8).reshape(4, 2)
        np.savez(path, x_train=x, y_train=np.zeros(4), x_test=x + 1, y_test=np.ones(4), x=x + 2, y=np.full(4, 2))
        for split, label in (("train", 0), ("test", 1), ("val", 2)):
            data = load_data(f"npz:{path}", split, limit=2, offset=1)
            assert data.y.tolist() == [label, label]
            assert data.x.tolist() == (x[1:3] + label).tolist()
            assert data.ids.tolist() == [1, 2]

    def test_keys_that_are_there_are_named(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "a.npz", x_train=np.zeros((2, 2)), y_train=np.zeros(2), x_test=np.zeros((2, 2)))
        refused(
            "needs keys x_test and y_test, or x and y; there are x_train, y_train, x_test: choose another --split", f"npz:{tmp_path}/a.npz"
        )

    def test_content_is_checked(self, tmp_path: Path) -> None:
        path = tmp_path / "a.npz"
        for x, y, said in (
            (np.zeros((2, 2)), np.array([0, -1]), "label -1 of sample 1"),
            (np.zeros((2, 2)), np.array([0, 0.5]), "labels are not whole numbers: 0.5 at sample 1"),
            (np.array([[0, np.nan]]), np.array([0]), "sample 0 holds NaN"),
            (np.zeros((3, 2)), np.zeros(2), "3 inputs, 2 labels"),
            (np.zeros((0, 2)), np.zeros(0), "no samples left"),
            (np.zeros((2, 2), np.int32), np.zeros(2), "inputs are int32"),
            (np.array([["a"], ["b"]]), np.zeros(2), "inputs are <U1: expected numbers"),
        ):
            np.savez(path, x=x, y=y)
            refused(said, f"npz:{path}")

    def test_damaged_files(self, tmp_path: Path) -> None:
        path = tmp_path / "a.npz"
        np.savez_compressed(path, x=RANDOM.integers(0, 255, (40, 9, 9)), y=np.arange(40))
        whole = path.read_bytes()
        middle = bytearray(whole)
        middle[200:260] = bytes(60)
        for raw in (b"", b"hello", bytes(300), whole[:100], whole[: len(whole) // 2], whole[:-5], bytes(middle)):
            path.write_bytes(raw)
            refused("is not an npz file, or it is damaged: save or fetch it again", f"npz:{path}")

    def test_what_is_not_an_archive_of_arrays(self, tmp_path: Path) -> None:
        np.save(tmp_path / "a.npy", np.zeros((2, 2)))
        refused("holds one bare array", f"npz:{tmp_path}/a.npy")
        np.savez(tmp_path / "b.npz", x=np.array([[Touch(tmp_path / "ran")]]), y=np.zeros(1))
        refused("holds Python objects, which are not unpickled", f"npz:{tmp_path}/b.npz")
        assert not (tmp_path / "ran").exists()
        refused("is a folder: expected npz:FILE", f"npz:{tmp_path}")

    def test_real_files(self, data_dir: Path) -> None:
        mnist = load_data(f"npz:{data_dir}/mnist/mnist.npz", limit=100)
        assert mnist.x.shape == (100, 1, 28, 28)
        assert mnist.y[:5].tolist() == [7, 2, 1, 0, 4]
        cifar = load_data(f"npz:{data_dir}/cifar10/cifar10_test_2k.npz")
        assert cifar.x.shape == (2000, 3, 32, 32)
        assert cifar.x.stride() == (3072, 1, 96, 3)
        assert cifar.y.bincount().tolist() == [200] * 10


class TestIdx:
    @staticmethod
    def write(path: Path, array: NDArray[np.generic], code: int = 8) -> None:
        raw = struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape) + array.tobytes()
        path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)

    @pytest.fixture
    def x(self) -> NDArray[np.uint8]:
        return RANDOM.integers(0, 256, (5, 4, 3), np.uint8)

    @pytest.mark.parametrize("packed", ["", ".gz"])
    @pytest.mark.parametrize("mark", ["-", "."])
    @pytest.mark.parametrize(("split", "stem"), [("train", "train"), ("test", "t10k")])
    def test_round_trip(self, tmp_path: Path, x: NDArray[np.uint8], packed: str, mark: str, split: str, stem: str) -> None:
        self.write(tmp_path / f"{stem}-images{mark}idx3-ubyte{packed}", x)
        self.write(tmp_path / f"{stem}-labels{mark}idx1-ubyte{packed}", np.array([3, 1, 4, 1, 5], np.uint8))
        data = load_data(f"idx:{tmp_path}", split, limit=3, offset=1)
        assert np.array_equal(data.x.numpy(), x[1:4, None])
        assert (data.y.tolist(), data.ids.tolist()) == ([1, 4, 1], [1, 2, 3])

    def test_numbers_are_big_endian(self, tmp_path: Path) -> None:
        values = RANDOM.random((2, 4, 3)).astype(">f4")
        self.write(tmp_path / "t10k-images-idx3-ubyte", values, code=0x0D)
        self.write(tmp_path / "t10k-labels-idx1-ubyte", np.array([0, 258], ">i4"), code=0x0C)
        data = load_data(f"idx:{tmp_path}")
        assert np.array_equal(data.x.numpy()[:, 0], values)
        assert data.y.tolist() == [0, 258]

    def test_damaged_files(self, tmp_path: Path, x: NDArray[np.uint8]) -> None:
        images, labels = tmp_path / "t10k-images-idx3-ubyte", tmp_path / "t10k-labels-idx1-ubyte"
        refused(f"no {images.name} or {images.name}.gz in", f"idx:{tmp_path}")
        self.write(images, x)
        refused(f"no {labels.name}", f"idx:{tmp_path}")
        self.write(labels, np.zeros(4, np.uint8))
        refused("5 inputs, 4 labels", f"idx:{tmp_path}")
        whole = images.read_bytes()
        for raw, said in (
            (whole[:-1], "holds 59 bytes of values, its header promises 60"),
            (whole + b"x", "holds 61 bytes of values, its header promises 60"),
            (whole[:9], "begins with 00 00 08 03, which is not an idx header"),
            (b"", "begins with nothing"),
            (b"\x89PNG" + whole, "begins with 89 50 4e 47"),
            (b"\0\0\7\3" + whole[4:], "not an idx header"),
        ):
            images.write_bytes(raw)
            refused(said, f"idx:{tmp_path}")

    def test_damaged_packing(self, tmp_path: Path, x: NDArray[np.uint8]) -> None:
        images = tmp_path / "t10k-images-idx3-ubyte.gz"
        self.write(images, x)
        whole = images.read_bytes()
        middle = bytearray(whole)
        middle[20:40] = bytes(20)
        for raw in (whole[:40], whole[:-3], bytes(middle), b"not gzip at all"):
            images.write_bytes(raw)
            refused("gzip packing is damaged", f"idx:{tmp_path}")

    def test_other_splits(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="split 'val' is unknown: choose one of train, test"):
            load_data(f"idx:{tmp_path}", "val")


class TestCifar10:
    @staticmethod
    def batch(first: int, n: int = 3) -> dict[bytes, object]:
        x = (np.arange(n * 3072) + first).astype(np.uint8).reshape(n, 3072)
        return {b"batch_label": b"a batch", b"labels": [(first + i) % 10 for i in range(n)], b"data": x, b"filenames": [b"a.png"] * n}

    def write(self, folder: Path, protocol: int = 2, binary: bool = False) -> None:
        folder.mkdir(exist_ok=True)
        for first, name in enumerate([*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]):
            held = self.batch(first)
            if binary:
                records = np.concatenate([np.array(held[b"labels"], np.uint8)[:, None], held[b"data"]], axis=1)  # type: ignore[list-item]
                (folder / f"{name}.bin").write_bytes(records.tobytes())
            else:
                (folder / name).write_bytes(pickle.dumps(held, protocol))

    @pytest.mark.parametrize("folder", [".", "cifar-10-batches-py"])
    @pytest.mark.parametrize(("binary", "protocol"), [(True, 2), (False, 2), (False, 4), (False, 5)])
    def test_round_trip(self, tmp_path: Path, folder: str, binary: bool, protocol: int) -> None:
        self.write(tmp_path / folder, protocol, binary)
        test, train = load_data(f"cifar10:{tmp_path}"), load_data(f"cifar10:{tmp_path}", "train")
        assert np.array_equal(test.x.numpy().reshape(3, 3072), self.batch(5)[b"data"])  # type: ignore[arg-type]
        assert (test.y.tolist(), len(test.classes or ())) == ([5, 6, 7], 10)
        assert test.x.shape == (3, 3, 32, 32)
        assert train.y.tolist() == [0, 1, 2, 1, 2, 3, 2, 3, 4, 3, 4, 5, 4, 5, 6]
        assert train.ids.tolist() == list(range(15))
        part = load_data(f"cifar10:{tmp_path}", "train", limit=4, offset=5)
        assert torch.equal(part.x, train.x[5:9])
        assert part.ids.tolist() == [5, 6, 7, 8]

    def test_as_python_2_wrote_it(self, tmp_path: Path) -> None:
        # Strings of Python 2 (opcode U) and numpy's old address, as in the published archive.
        x = bytes(range(256)) * 12
        raw = (
            b"\x80\x02}(U\x06labels]K\x07aU\x04datacnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
            b"(K\x01K\x01M\x00\x0c\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
            b"T" + struct.pack("<I", len(x)) + x + b"tbu."
        )
        (tmp_path / "test_batch").write_bytes(raw)
        data = load_data(f"cifar10:{tmp_path}")
        assert data.x.flatten().tolist() == list(x)
        assert data.y.tolist() == [7]

    def test_code_is_not_run(self, tmp_path: Path) -> None:
        for held in (Touch(tmp_path / "ran"), {b"data": Touch(tmp_path / "ran"), b"labels": [0]}):
            (tmp_path / "test_batch").write_bytes(pickle.dumps(held))
            refused(r"test_batch: asks for \w+.mkdir, which plain arrays do not need: not unpickled", f"cifar10:{tmp_path}")
        (tmp_path / "test_batch").write_bytes(b"c_codecs\nencode\n(Vabc\nVrot13\ntR.")
        refused("asks for the codec 'rot13'", f"cifar10:{tmp_path}")
        (tmp_path / "test_batch").write_bytes(b"cnumpy.testing._private.utils\nrunstring\n(Vx=1\n}tR.")
        refused("asks for numpy.testing._private.utils.runstring", f"cifar10:{tmp_path}")
        assert not (tmp_path / "ran").exists()

    def test_missing_and_damaged_batches(self, tmp_path: Path) -> None:
        refused("no test_batch or test_batch.bin in", f"cifar10:{tmp_path}")
        self.write(tmp_path)
        (tmp_path / "data_batch_3").unlink()
        refused("data_batch_3 is missing beside its 4 siblings", f"cifar10:{tmp_path}", "train")
        whole = (tmp_path / "test_batch").read_bytes()
        for raw in (b"", b"hello", whole[:500], whole[:-1]):
            (tmp_path / "test_batch").write_bytes(raw)
            refused("not a CIFAR-10 batch, or damaged", f"cifar10:{tmp_path}")
        for held in ({b"data": np.zeros((2, 5), np.uint8), b"labels": [0, 1]}, {b"fine_labels": [1]}, {b"data": [1], b"labels": [1]}):
            (tmp_path / "test_batch").write_bytes(pickle.dumps(held))
            refused("expected 'data' uint8", f"cifar10:{tmp_path}")
        (tmp_path / "test_batch").unlink()
        (tmp_path / "test_batch.bin").write_bytes(bytes(3072))
        refused("3072 bytes are not a number of records of 3073", f"cifar10:{tmp_path}")

    def test_labels_beyond_the_ten(self, tmp_path: Path) -> None:
        (tmp_path / "test_batch").write_bytes(pickle.dumps({b"data": np.zeros((1, 3072), np.uint8), b"labels": [10]}))
        refused(r"label 10 of sample 0 is outside 0\.\.9", f"cifar10:{tmp_path}")

    def test_other_splits(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="split 'val' is unknown"):
            load_data(f"cifar10:{tmp_path}", "val")


class Touch:
    """Leaves a folder behind if anyone unpickles it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)
