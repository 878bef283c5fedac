"""The gallery: the right samples, and pictures that hold their values."""

from __future__ import annotations

import base64
import io
from collections import Counter

import numpy as np
import pytest
from PIL import Image
from report_bands import RADIUS, Make, bands

from holdfast.evaluation import Result
from holdfast.report.gallery import _spread, gallery
from holdfast.report.pictures import BARS, amplified, picture, scaled


def pixels(source: str) -> np.ndarray:
    head, _, body = source.partition(",")
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(body))))


def test_shows_broken_ones_first_with_their_answers(bands_run: Result) -> None:
    found = gallery(bands_run)
    fates = [card.attack is not None for card in found.cards]
    assert fates == sorted(fates, reverse=True) and sum(fates) == bands_run.clean_rate.of - bands_run.robust_rate.of
    assert len(found.cards) <= 12 and False in fates
    # Sample 111 has a wrong label: it was never right, so it is neither broken nor standing.
    assert 111 not in {card.sample for card in found.cards}
    records = {row["sample"]: row for row in bands_run.records.filter("broken").sort("attack", descending=True).to_dicts()}
    for card in found.cards:
        if card.attack:
            row = records[card.sample]
            assert card.attack == row["attack"] and f"({100 * row['confidence']:.1f} %)" in card.found


def test_pictures_hold_the_values(bands_run: Result) -> None:
    x, _ = bands()
    place = {int(sample): i for i, sample in enumerate(bands_run.clean["sample"])}
    for card in gallery(bands_run).cards:
        clean = x[place[card.sample], 0].numpy()
        shown = pixels(card.views[0].source)
        factor = shown.shape[0] // 6
        assert 100 <= shown.shape[0] <= 124
        assert (shown == np.kron(np.round(clean * 255), np.ones((factor, factor)))).all()
        if card.attack is None:
            continue
        found = bands_run.adversarial[place[card.sample], 0]
        assert (pixels(card.views[1].source)[::factor, ::factor] == np.round(found * 255)).all()
        change = found.astype(np.float64) - clean
        expected = 127.5 + 127.5 * change / np.abs(change).max()
        assert np.abs(pixels(card.views[2].source)[::factor, ::factor] - expected).max() <= 1
        assert card.views[2].words == f"change ×{0.5 / RADIUS:.3g}"


def test_choice_is_spread_over_attacks_and_labels() -> None:
    rows = [{"sample": i, "attack": "a" if i < 80 else "b", "label": i % 4} for i in range(100)]
    taken = _spread(rows, 12)
    assert taken == _spread(rows[::-1], 12)
    assert Counter(row["attack"] for row in taken) == {"a": 6, "b": 6}
    assert Counter(row["label"] for row in taken) == {0: 3, 1: 3, 2: 3, 3: 3}


def test_range_may_differ_by_channel() -> None:
    values = np.stack([np.full((2, 2), -1.0), np.full((2, 2), 3.0), np.full((2, 2), 5.0)])
    assert scaled(values, [-1.0, 1.0, 0.0], [1.0, 3.0, 10.0])[:, 0, 0].tolist() == [0.0, 1.0, 0.5]


def test_no_change_is_grey() -> None:
    same, _ = amplified(np.full((3, 4, 4), 0.2), np.full((3, 4, 4), 0.2))
    assert (pixels(picture(same, middle=True)) == 128).all()


def test_transparency_is_part_of_an_image_and_not_of_a_change() -> None:
    values = np.full((4, 2, 2), 0.5)
    assert pixels(picture(values)).shape[2] == 4 and pixels(picture(values, middle=True)).shape[2] == 3


@pytest.mark.parametrize("shape", [(1, 300, 500), (3, 32, 32), (4, 8, 8), (2, 9, 9), (5,), (2, 4000), (1, 1, 1)])
def test_every_shape_makes_a_picture_of_sensible_size(shape: tuple[int, ...]) -> None:
    shown = pixels(picture(np.linspace(0, 1, int(np.prod(shape))).reshape(shape)))
    assert 96 <= max(shown.shape[:2]) <= 256


def test_bars_rise_with_the_values() -> None:
    shown = pixels(picture(np.array([0.0, 0.25, 0.5, 1.0])))
    blue = (shown == (0, 114, 178)).all(axis=2).sum(axis=0).reshape(4, BARS // 4)[:, BARS // 8]
    assert np.abs(blue - np.array([0, 28, 56, 111])).max() <= 1


def test_range_without_an_end(make: Make) -> None:
    values = np.array([-4.0, 0.0, 4.0])
    assert scaled(values, -np.inf, np.inf).tolist() == [0.0, 0.5, 1.0]
