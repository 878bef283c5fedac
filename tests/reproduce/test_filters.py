"""What the studies of filters, stickers and near-duplicates stand on, against literal references."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from holdfast.data import Dataset
from holdfast.defences.layers import Blur
from holdfast.reproduce import Bench, f4
from holdfast.reproduce.bench import four_layers
from holdfast.reproduce.f3 import filtered
from holdfast.reproduce.f8 import LAYER, between, corrupted, curve, distances, ranked, recalled, redrawn
from holdfast.reproduce.stickers import LENGTH, answers, share, targets, victims, worn
from holdfast.training import objectives
from holdfast.training.objectives.penalties import Penalised
from holdfast.training.shared.masks import Bars


def bench(folder: Path, data: str = "digits") -> Bench:
    return Bench(data, folder, fast=True, say=lambda text: None)


def signs(folder: Path, classes: int) -> str:
    """A file of noise whose labels go to `classes`, most of them class 1."""
    y = np.r_[np.arange(classes), np.ones(5, np.int64)]
    x = np.random.default_rng(0).integers(0, 256, (len(y), 32, 32, 3), dtype=np.uint8)
    np.savez(folder / f"{classes}.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    return f"npz:{folder / f'{classes}.npz'}"


def test_victims_are_stop_signs_where_there_are_any(tmp_path: Path) -> None:
    assert set(victims(bench(tmp_path, signs(tmp_path, 43))).y.tolist()) == {14}
    few = bench(tmp_path, signs(tmp_path, 9))
    assert set(victims(few).y.tolist()) == {1} and few.classes == 9
    assert targets(few, 1, 3) == targets(few, 1, 3) and targets(few, 1, 99) == [0, 2, 3, 4, 5, 6, 7, 8]
    assert 1 not in targets(few, 1, 3) and targets(few, 1, 5) != targets(replace(few, seed=1), 1, 5)


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32), (1, 9, 17)])
def test_four_layers_answer_inputs_of_any_size(shape: tuple[int, ...]) -> None:
    assert four_layers(shape, 7)(torch.rand(2, *shape)).shape == (2, 7)


def test_a_filtered_net_has_the_same_weights_and_one_blur(tmp_path: Path) -> None:
    own, x = bench(tmp_path), torch.rand(3, 1, 8, 8)
    model = own.fresh(lambda classes: four_layers((1, 8, 8), classes))
    net = cast(nn.Sequential, model.net)
    assert torch.allclose(filtered(model, "input", 3, x[:1])(x).logits, net(Blur(3)(x)), atol=1e-6)
    for place in (1, 2, 3):
        y = x
        for name, layer in net.named_children():
            y = Blur(5)(layer(y)) if name == f"conv{place}" else layer(y)
        assert torch.allclose(filtered(model, f"layer {place}", 5, x[:1])(x).logits, y, atol=1e-6)


def test_stickers_stay_within_bars_and_length_and_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = bench(tmp_path)
    model, data = own.fresh(lambda classes: four_layers((1, 8, 8), classes)), victims(own)
    data = replace(data, x=data.x[:6], y=data.y[:6], ids=data.ids[:6])
    shown = worn(own, "one", model, data, [0, 2])
    change = shown - data.x
    assert shown.shape == (2, *data.x.shape) and float(shown.min()) >= 0 and float(shown.max()) <= 1
    assert bool((change * (1 - Bars()(data.x)) == 0).all()) and bool((change != 0).any())
    assert float(change.flatten(2).norm(dim=2).max()) <= 2 * LENGTH * float(data.x.flatten(1).norm(dim=1).mean()) + 1e-5
    other = own.fresh(lambda classes: four_layers((1, 8, 8), classes))
    cast(nn.Sequential, other.net).get_parameter("linear.weight").data *= -1
    fresh = worn(own, "one", other, data, [0])
    assert not torch.equal(fresh[0], shown[0]) and len(load_file(tmp_path / "stickers" / "one.safetensors")) == 3
    monkeypatch.setattr("holdfast.reproduce.stickers.fit", lambda *given, **named: pytest.fail("it was fitted again"))
    assert torch.equal(worn(own, "one", model, data, [0, 2]), shown)


def test_stickers_go_onto_pictures_that_are_stored_with_channels_last(tmp_path: Path) -> None:
    own = bench(tmp_path, signs(tmp_path, 43))
    data = victims(own)
    model = own.fresh(lambda classes: four_layers((3, 32, 32), classes))
    assert worn(own, "one", model, data, [0]).shape == (1, *data.x.shape)


def test_a_halted_fit_says_so(tmp_path: Path) -> None:
    own = replace(bench(tmp_path), halt=lambda: True)
    with pytest.raises(KeyboardInterrupt):
        worn(own, "one", own.fresh(), victims(own), [0])


def test_answers_keep_every_axis_before_the_image(tmp_path: Path) -> None:
    own = bench(tmp_path)
    model, x = own.fresh(), torch.rand(2, 5, 1, 8, 8)
    assert torch.equal(answers(model, x), torch.stack([model(part).logits.argmax(dim=1) for part in x]))


def test_a_share_keeps_its_interval_within_bounds() -> None:
    for values in (torch.zeros(40), torch.ones(40), torch.zeros(0), torch.full((40,), 0.3)):
        found = share(values)
        assert 0 <= found.low <= found.high <= 1 and (not len(values) or found.value == pytest.approx(float(values.mean())))
    # Of 30 in 40 near the Wilson interval.
    found = share((torch.arange(40) < 30).double())
    assert (found.low, found.high) == pytest.approx((0.598, 0.858), abs=0.03)


def test_training_goes_on_from_a_net_and_leaves_it(tmp_path: Path) -> None:
    own = bench(tmp_path)
    begin, data = own.fresh(), own.samples("train", 64)
    mark = begin.fingerprint()
    made = own.trained("one", objectives.standard(), data, 1, begin=begin)
    assert begin.fingerprint() == mark != made.fingerprint()
    with pytest.raises(Exception, match="another run"):
        own.trained("one", objectives.standard(), data, 1, begin=made)


def test_the_rows_of_table_2_are_trained_as_it_says() -> None:
    for name, row in f4.ROWS.items():
        made = row.objective()
        if name == "baseline":
            assert made == objectives.standard()
            continue
        assert isinstance(made, Penalised) and made.alpha == row.alpha
        assert (made.of, made.layers) == (("weight", ("conv1.1",)) if row.size else ("maps", ("conv1",)))
        assert f4._net((1, 8, 8), row.size, 10)(torch.rand(2, 1, 8, 8)).shape == (2, 10)


def _slow(apart: list[Tensor]) -> list[tuple[float, float, float]]:
    """Threshold, recall and precision at each right pair's distance, by looking at all pairs."""
    pairs = [(float(d[i, j]), i == j) for d in apart for i in range(len(d)) for j in range(len(d))]
    rows = []
    for threshold in sorted(distance for distance, own in pairs if own):
        taken = [own for distance, own in pairs if distance <= threshold]
        rows.append((threshold, sum(taken) / sum(own for _, own in pairs), sum(taken) / len(taken)))
    return rows


@pytest.mark.parametrize("ties", [False, True])
def test_precision_and_recall_are_those_of_all_pairs(ties: bool) -> None:
    generator = torch.Generator().manual_seed(3)
    apart = [torch.rand(12, 12, generator=generator) + 0.4 * ~torch.eye(12, dtype=torch.bool) for _ in range(2)]
    apart = [(8 * each).round() / 8 if ties else each for each in apart]
    slow = _slow(apart)
    assert torch.allclose(torch.stack(ranked(apart), dim=1), torch.tensor(slow), atol=1e-6)
    for precision in (0.5, 0.9, 1.0):
        best = max((row for row in slow if row[2] >= precision), default=None, key=lambda row: row[0])
        assert float(recalled(apart, precision).mean()) == pytest.approx(0.0 if best is None else best[1], abs=1e-6)
        assert float(redrawn(apart, precision, 0)[0]) == pytest.approx(0.0 if best is None else best[1], abs=1e-6)
    points = curve(apart)
    assert (points[-1].x, points[-1].y) == pytest.approx(slow[-1][1:])


def test_nothing_is_found_where_no_threshold_is_precise() -> None:
    assert float(recalled([1 + torch.eye(5)]).sum()) == 0 == float(redrawn([1 + torch.eye(5)], draws=9).sum())


def test_a_redrawn_recall_is_that_of_the_images_drawn() -> None:
    """By a literal count: an image drawn k times brings its own pairs k times, and two images theirs as often as both say."""
    generator = torch.Generator().manual_seed(5)
    apart = [torch.rand(9, 9, generator=generator) + 0.3 * ~torch.eye(9, dtype=torch.bool) for _ in range(2)]
    found = redrawn(apart, 0.6, draws=20, seed=4)
    again = np.random.default_rng(4)
    for value in found[1:]:
        times = again.multinomial(9, np.full(9, 1 / 9))
        pairs = [(float(d[i, j]), i == j, times[i] if i == j else times[i] * times[j]) for d in apart for i in range(9) for j in range(9)]
        whole, best = sum(count for _, own, count in pairs if own), 0.0
        for threshold in [distance for distance, own, _ in pairs if own]:
            taken = [(own, count) for distance, own, count in pairs if distance <= threshold]
            right = sum(count for own, count in taken if own)
            if right and right >= 0.6 * sum(count for _, count in taken):
                best = max(best, right / whole)
        assert float(value) == pytest.approx(best)
    interval = between(found)
    assert interval.low <= interval.value <= interval.high and interval.low < interval.high


def test_distances_are_of_the_layers_answers(tmp_path: Path) -> None:
    own, x = bench(tmp_path), torch.rand(7, 1, 8, 8)
    model = own.fresh(lambda classes: four_layers((1, 8, 8), classes))
    net = cast(nn.Sequential, model.net)
    told = net[: list(dict(net.named_children())).index(LAYER) + 1](x).flatten(1)
    told = told / told.norm(dim=1, keepdim=True)
    slow = torch.stack([(told - row).norm(dim=1) for row in told])
    assert torch.allclose(distances(model, x, x), slow, atol=1e-3)


def test_corruptions_keep_shape_and_range_and_are_the_same_again(tmp_path: Path) -> None:
    own = bench(tmp_path)
    data: Dataset = own.samples("test", 9)
    model = own.fresh()
    found = corrupted(model, data.x, data.ids, 0)
    part = corrupted(model, data.x[2:5], data.ids[2:5], 0)
    for kind, one in found.items():
        assert one.shape == data.x.shape and float(one.min()) >= 0 and float(one.max()) <= 1
        assert bool((one != data.x).flatten(1).any(dim=1).all()), kind
        assert torch.allclose(part[kind], one[2:5], atol=1e-6)
