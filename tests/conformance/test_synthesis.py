"""Every synthesis of the catalogue keeps every promise of its suite, and the suite catches what goes wrong most often."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from holdfast import synthesis
from holdfast.engine import Setting
from holdfast.models import Classifier
from holdfast.synthesis import Synthesised, fooling_ascent, fooling_evolution

from .synthesis_suite import PROMISES, Make, Promise

IMAGE, FLAT = (3, 4, 4), (6,)


def ascent(model: Classifier, setting: Setting) -> Synthesised:
    return fooling_ascent(model, FLAT, restarts=2, confidence=0.9, steps=40, noise=0.1, setting=setting)


def smooth(model: Classifier, setting: Setting) -> Synthesised:
    return fooling_ascent(model, IMAGE, [4, 1], confidence=0.8, steps=40, blur=0.2, setting=setting)


def direct(model: Classifier, setting: Setting) -> Synthesised:
    return fooling_evolution(model, FLAT, encoding="direct", population=9, generations=25, confidence=0.9, setting=setting)


def patterns(model: Classifier, setting: Setting) -> Synthesised:
    return fooling_evolution(model, IMAGE, [0, 3, 2], population=10, generations=25, confidence=0.8, setting=setting)


CASES = [(ascent, FLAT), (smooth, IMAGE), (direct, FLAT), (patterns, IMAGE)]


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
@pytest.mark.parametrize(("make", "shape"), CASES, ids=[make.__name__ for make, _ in CASES])
def test_promises(make: Make, shape: tuple[int, ...], promise: Promise) -> None:
    promise(make, shape)


def test_all_of_the_catalogue_are_here() -> None:
    assert {method.name for method in synthesis.METHODS} == {"fooling_ascent", "fooling_evolution"}
    assert all(method.kind == "synthesis" for method in synthesis.METHODS)


def global_noise(model: Classifier, setting: Setting) -> Synthesised:
    made = direct(model, setting)
    return replace(made, images=(made.images + 1e-3 * torch.rand_like(made.images)).clamp(-1, 2))


def one_more_ask(model: Classifier, setting: Setting) -> Synthesised:
    made = direct(model, setting)
    model(made.images)
    return made


def beyond_the_range(model: Classifier, setting: Setting) -> Synthesised:
    made = direct(model, setting)
    return replace(made, images=made.images * 3)


def boastful(model: Classifier, setting: Setting) -> Synthesised:
    made = direct(model, setting)
    return replace(made, confidence=made.confidence * 0 + 0.9999)


def one_draw_for_all(model: Classifier, setting: Setting) -> Synthesised:
    made = direct(model, setting)
    return replace(made, images=made.images[:1].expand_as(made.images))


def by_piece(model: Classifier, setting: Setting) -> Synthesised:
    made = direct(model, setting)
    return replace(made, step=made.step + (setting.pieces.rows if setting.pieces else 0))


def trains_it(model: Classifier, setting: Setting) -> Synthesised:
    with torch.no_grad():
        next(model.net.parameters()).add_(1e-3)  # type: ignore[attr-defined]
    return direct(model, setting)


FLAWS = [
    (global_noise, "noise_is_keyed"), (one_more_ask, "counts_are_honest"), (beyond_the_range, "claims_hold"), (boastful, "claims_hold"),
    (one_draw_for_all, "images_differ"), (by_piece, "pieces_do_not_matter"), (trains_it, "module_is_left_alone"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "promise"), FLAWS, ids=[make.__name__ for make, _ in FLAWS])
def test_the_suite_catches(make: Make, promise: str) -> None:
    with pytest.raises(AssertionError):
        next(one for one in PROMISES if one.__name__ == promise)(make, FLAT)
