"""`Dataset`: what it takes, how it is cut without copies, what its fingerprint sees, what its checks refuse."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from holdfast.core.errors import ConfigError, InputError
from holdfast.core.types import Bounds
from holdfast.data.dataset import PIECE, Dataset, from_tensors


def some(n: int = 10, classes: tuple[str, ...] | None = None) -> Dataset:
    x = torch.arange(n * 12, dtype=torch.float32).reshape(n, 3, 2, 2) / 1000
    return from_tensors(x, torch.arange(n) % 3, ids=torch.arange(n) + 100, classes=classes)


def refused(said: str, x: object, y: object, ids: object = None) -> None:
    with pytest.raises(InputError, match=said) as caught:
        from_tensors(x, y, ids)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


class TestIntake:
    def test_memory_is_shared(self) -> None:
        x = np.zeros((4, 2, 2, 3), np.uint8)
        data = from_tensors(x.transpose(0, 3, 1, 2), np.array([0, 1, 0, 1]))
        x[2, 1, 0, 2] = 7
        assert data.x[2, 2, 1, 0] == 7
        assert data.x.dtype == torch.uint8
        assert data.ids.tolist() == [0, 1, 2, 3]

    @pytest.mark.parametrize("kind", [np.uint8, np.int8, np.uint16, np.int32, np.float32, np.float64, ">i4", ">f8"])
    def test_labels_of_any_whole_type(self, kind: str) -> None:
        data = from_tensors(torch.zeros(3, 2), np.array([2, 0, 1]).astype(kind))
        assert data.y.dtype == torch.int64
        assert data.y.tolist() == [2, 0, 1]

    def test_arrays_that_cannot_be_written_or_run_backwards(self) -> None:
        x = np.frombuffer(bytes(range(8)), np.uint8).reshape(4, 2)[::-1]
        assert from_tensors(x, np.arange(4)).x.tolist() == [[6, 7], [4, 5], [2, 3], [0, 1]]

    def test_a_gradient_does_not_come_along(self) -> None:
        assert not from_tensors(torch.zeros(2, 2, requires_grad=True), torch.zeros(2)).x.requires_grad

    @pytest.mark.parametrize(
        ("y", "said"),
        [
            ([0.0, 1.5, 2.0], "labels are not whole numbers: 1.5 at sample 1"),
            ([0.0, 1.0, math.nan], "labels are not whole numbers: nan at sample 2"),
            ([0.0, math.inf, 1.0], "labels are not whole numbers: inf at sample 1"),
            ([1j, 0, 0], "labels are complex128: expected numbers"),
            (["cat", "dog", "cat"], "labels are <U3: expected numbers"),
            ([0, 1], "3 inputs, 2 labels, 2 ids"),
            (1, r"labels have shape \[\]"),
            ([[0, 1], [1, 0], [0, 1]], r"labels have shape \[3, 2\].*argmax"),
        ],
    )
    def test_labels_that_are_none(self, y: object, said: str) -> None:
        refused(said, torch.zeros(3, 2), np.asarray(y))

    @pytest.mark.parametrize(
        ("x", "said"),
        [
            (torch.zeros(3), r"inputs have shape \[3\]"),
            (torch.zeros(3, 1, 1, 1, 1), r"inputs have shape \[3, 1, 1, 1, 1\]"),
            (torch.zeros(3, 2, dtype=torch.int64), "inputs are int64: expected uint8 0..255, or floats"),
            (torch.zeros(3, 2, dtype=torch.bool), "inputs are bool"),
            (torch.zeros(3, 2, dtype=torch.complex64), "inputs are complex64"),
        ],
    )
    def test_inputs_that_are_none(self, x: Tensor, said: str) -> None:
        refused(said, x, torch.zeros(3))

    def test_ids_are_one_whole_number_each(self) -> None:
        refused("3 inputs, 3 labels, 2 ids", torch.zeros(3, 2), torch.zeros(3), torch.arange(2))
        refused("ids are not whole numbers: 0.5", torch.zeros(2, 2), torch.zeros(2), torch.tensor([0.5, 1]))

    def test_labels_of_pixels(self) -> None:
        data = from_tensors(torch.zeros(2, 3, 4, 4), torch.full((2, 4, 4), 11))
        data.validate(classes=11)  # 11 marks pixels that belong to no class

    def test_the_class_itself_wants_int64(self) -> None:
        with pytest.raises(InputError, match="labels are int32 and ids int64: expected int64"):
            Dataset(torch.zeros(2, 2), torch.zeros(2, dtype=torch.int32), torch.arange(2), "raw")


class TestCuts:
    @pytest.mark.parametrize("count", [1, 2, 3, 10, 13])
    def test_shards_are_a_partition_into_views(self, count: int) -> None:
        data = some()
        shards = [data.shard(index, count) for index in range(count)]
        assert sorted(int(i) for shard in shards for i in shard.ids) == data.ids.tolist()
        assert max(map(len, shards)) - min(map(len, shards)) <= 1
        for shard in shards:
            assert shard.x.untyped_storage().data_ptr() == data.x.untyped_storage().data_ptr()
            assert torch.equal(shard.x, data.x[shard.ids - 100])
            assert torch.equal(shard.y, data.y[shard.ids - 100])

    @pytest.mark.parametrize(("index", "count"), [(2, 2), (-1, 2), (0, 0)])
    def test_shards_that_are_none(self, index: int, count: int) -> None:
        with pytest.raises(ConfigError, match=f"shard {index} of {count}"):
            some().shard(index, count)

    @pytest.mark.parametrize(
        ("limit", "offset", "ids"), [(None, 0, range(100, 110)), (3, 0, range(100, 103)), (3, 8, (108, 109)), (None, 9, (109,))]
    )
    def test_select_keeps_ids(self, limit: int | None, offset: int, ids: range) -> None:
        part = some().select(limit, offset)
        assert part.ids.tolist() == list(ids)
        assert torch.equal(part.x, some().x[part.ids - 100])

    @pytest.mark.parametrize(
        ("limit", "offset", "kind"), [(0, 0, ConfigError), (-1, 0, ConfigError), (3, -1, ConfigError), (3, 10, InputError)]
    )
    def test_select_that_leaves_nothing(self, limit: int, offset: int, kind: type[Exception]) -> None:
        with pytest.raises(kind, match=f"offset={offset}"):
            some().select(limit, offset)


class TestFingerprint:
    def test_layout_and_name_do_not_matter(self) -> None:
        data = some()
        x = data.x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
        assert Dataset(x, data.y, data.ids, "another").fingerprint() == data.fingerprint()

    def test_every_value_type_and_shape_matters(self) -> None:
        data = some(PIECE + 3)
        seen = [data.fingerprint(), data.select(5).fingerprint()]
        for place in (0, PIECE + 2):
            for part in ("x", "y", "ids"):
                tensors = {name: getattr(data, name).clone() for name in ("x", "y", "ids")}
                tensors[part][place] += 1
                seen.append(from_tensors(tensors["x"], tensors["y"], tensors["ids"]).fingerprint())
        flat = from_tensors(data.x.flatten(1), data.y, data.ids)
        seen += [flat.fingerprint(), from_tensors(data.x.double(), data.y, data.ids).fingerprint()]
        assert len(set(seen)) == len(seen)

    def test_it_stays_the_same_for_good(self) -> None:
        data = from_tensors(np.arange(8, dtype=np.uint8).reshape(2, 4), np.array([0, 1]))
        assert data.fingerprint() == "cfadf1b48987e5a8d5e8cf912f221721571899f4cbea54fc1210628fedf5f942"


class TestValidate:
    def test_good_data_pass(self) -> None:
        some().validate(classes=3, bounds=Bounds(0.0, (0.2, 0.5, 1.0)))

    @pytest.mark.parametrize(("label", "classes", "span"), [(3, 3, r"0\.\.2"), (-1, 3, r"0\.\.2"), (-1, None, "0, 1, 2, ...")])
    def test_labels_out_of_range(self, label: int, classes: int | None, span: str) -> None:
        data = some()
        data.y[4] = label
        with pytest.raises(InputError, match=f"label {label} of sample 104 is outside {span}: check"):
            data.validate(classes)

    def test_names_say_how_many_classes_there_are(self) -> None:
        with pytest.raises(InputError, match=r"label 2 of sample 102 is outside 0\.\.1"):
            some(classes=("cat", "dog")).validate()

    @pytest.mark.parametrize("place", [0, PIECE + 1])
    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
    @pytest.mark.parametrize("bounds", [None, Bounds(0.0, 10.0)])
    def test_values_that_are_no_numbers(self, place: int, value: float, bounds: Bounds | None) -> None:
        data = some(PIECE + 2)
        data.x[place, 1, 0, 1] = value
        with pytest.raises(InputError, match=f"sample {place + 100} holds NaN or infinite values"):
            data.validate(bounds=bounds)

    def test_values_out_of_bounds(self) -> None:
        with pytest.raises(InputError, match=r"sample 108 holds values from 0\.096 to 0\.107, outside 0\.0 to 0\.1: rescale"):
            some().validate(bounds=Bounds(0.0, 0.1))

    def test_bytes_are_always_in_range(self) -> None:
        from_tensors(torch.full((2, 3, 4, 4), 255, dtype=torch.uint8), torch.zeros(2)).validate(bounds=Bounds(0.0, 1.0))

    def test_no_samples(self) -> None:
        for empty in (
            some().shard(11, 12),
            from_tensors(torch.zeros(0, 3), torch.zeros(0)),
            from_tensors(torch.zeros(2, 0), torch.zeros(2)),
        ):
            with pytest.raises(InputError, match="no samples"):
                empty.validate()

    def test_two_samples_with_one_id(self) -> None:
        with pytest.raises(InputError, match="id 5 names two samples"):
            from_tensors(torch.zeros(3, 2), torch.zeros(3), torch.tensor([5, 4, 5])).validate()
