"""Views against closed forms, a real JPEG, finite differences; what changes nothing changes nothing; each row draws its own."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from holdfast import Classifier
from holdfast.core.draw import Draw
from holdfast.core.errors import ConfigError, InputError
from holdfast.core.types import Bounds
from holdfast.parts.views import Blurred, Chain, Cropped, Exposed, Jpeg, Photographed, Printed, Rescaled, View, athalye, physical

STRONG: dict[str, View] = {
    "printed": Printed((0, 0.1), (0.8, 1), (0.5, 1), (0.7, 1.5), 0.05),
    "photographed": Photographed((0, 40), (-30, 30), (0.5, 1.5), (-0.2, 0.2), (0, 1)),
    "blurred": Blurred((0.2, 2)),
    "exposed": Exposed((0.6, 1.4), (-0.1, 0.1), (0.8, 1.2), (-0.05, 0.05), (0, 0.05)),
    "cropped": Cropped((0.5, 0.9)),
    "rescaled": Rescaled(0.75),
    "jpeg": Jpeg((20, 90), soft=True),
}
EVERY = pytest.mark.parametrize("name", STRONG)


def drawing(n: int, step: int = 0) -> Draw:
    return Draw(torch.arange(n) * 11 + 5, torch.full((n,), step))


def noise(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(len(shape) + shape[0]), dtype=dtype)


def picture(high: int = 43, wide: int = 61, channels: int = 3) -> np.ndarray:
    """Smooth colours with some grain, uint8: as hard to compress as a photograph."""
    generator = np.random.default_rng(0)
    coarse = Image.fromarray(generator.integers(30, 226, (6, 9, 3), dtype=np.uint8)).resize((wide, high), Image.Resampling.BICUBIC)
    grained = np.asarray(coarse.convert("RGB" if channels == 3 else "L")).astype(float) + generator.normal(0, 4, (high, wide, 3))[
        ..., :1
    ].squeeze(() if channels == 3 else -1)
    return grained.clip(0, 255).round().astype(np.uint8)


def planes(image: np.ndarray) -> Tensor:
    x = torch.from_numpy(image.astype(np.float32))
    return (x.permute(2, 0, 1) if x.ndim == 3 else x.unsqueeze(0)).unsqueeze(0)


@EVERY
def test_the_slope_is_that_of_finite_differences(name: str) -> None:
    v = (0.25 + 0.5 * noise(2, 3, 6, 5, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: STRONG[name].seen(v, drawing(2)), (v,), fast_mode=True)


@EVERY
@pytest.mark.parametrize("shape", [(4, 1, 7, 5), (4, 2, 1, 1), (4, 3, 8, 16)])
def test_a_row_is_seen_alike_in_any_company_and_shape(name: str, shape: tuple[int, ...]) -> None:
    view, x = STRONG[name], noise(*shape)
    together = view(x, drawing(4), Bounds())
    assert together.shape == x.shape and bool(((together >= 0) & (together <= 1)).all())
    order = torch.tensor([2, 0, 3])
    some = Draw(drawing(4).key[order], drawing(4).step[order])
    assert torch.equal(view(x[order], some, Bounds()), together[order])
    again = view(x, drawing(4, step=1), Bounds())
    # A single pixel has nothing to be blurred with, or cropped from.
    assert view.random != isinstance(view, Rescaled)
    assert not torch.equal(again, together) or not view.random or x.shape[2:] == (1, 1)


@pytest.mark.parametrize("view", [Printed(), Photographed(), Blurred(0.0), Exposed(), Cropped(1.0), Rescaled(1.0), athalye(0)], ids=repr)
def test_no_strength_changes_nothing(view: View) -> None:
    v = noise(3, 3, 9, 7)
    assert not view.random and torch.allclose(view.seen(v, drawing(3)), v, atol=2e-6)


def test_without_strength_only_the_rounding_of_jpeg_is_left() -> None:
    v = planes(picture()).repeat(2, 1, 1, 1) / 255
    assert float((physical(0).seen(v, drawing(2)) - Jpeg(100).seen(v, drawing(2))).abs().amax(dim=(0, 1, 2, 3))) < 2.5 / 255
    assert float((physical(1).seen(v, drawing(2)) - v).abs().mean(dim=(0, 1, 2, 3))) > 0.02


@pytest.mark.parametrize("scale", [(-1.0, 1.0), (0.0, 255.0), ((0.0, -1.0, 5.0), (1.0, 1.0, 6.0))])
def test_any_range_of_the_model_is_the_same_picture(scale: tuple[float, float]) -> None:
    bounds, v = Bounds(*scale), noise(2, 3, 8, 8, dtype=torch.float64)
    low, high = bounds.pair(v)
    again = (physical()(low + (high - low) * v, drawing(2), bounds) - low) / (high - low)
    assert torch.allclose(again, physical()(v, drawing(2), Bounds()), atol=1e-9)


def test_ink_and_paper_in_closed_form() -> None:
    v = noise(2, 1, 4, 4, dtype=torch.float64)
    printed = Printed(0.1, 0.9, 1.0, 2.0).seen(v, drawing(2))
    toe = 1 / 255
    assert torch.allclose(printed, 0.1 + 0.8 * ((v + toe) ** 2 - toe**2) / ((1 + toe) ** 2 - toe**2))
    red = torch.tensor([1.0, 0.0, 0.0]).reshape(1, 3, 1, 1)
    assert torch.allclose(Printed(saturation=0.0).seen(red, drawing(1)).flatten(), torch.full((3,), 0.299), atol=1e-6)
    grain = Printed(noise=0.05).seen(torch.full((1, 1, 200, 200), 0.5), drawing(1)) - 0.5
    assert abs(float(grain.std(dim=(2, 3))) - 0.05) < 0.001 and abs(float(grain.mean(dim=(2, 3)))) < 0.001


def test_a_whole_black_background_keeps_its_slope() -> None:
    v = torch.zeros(1, 1, 4, 4, requires_grad=True)
    (g,) = torch.autograd.grad(Printed(gamma=1.2).seen(v, drawing(1)).sum(), v)
    assert bool((g > 0.1).all())


def test_a_gaussian_adds_its_variances_and_keeps_the_mean() -> None:
    v = torch.zeros(1, 1, 41, 41, dtype=torch.float64).index_put(
        (torch.tensor(0), torch.tensor(0), torch.tensor(20), torch.tensor(20)), torch.tensor(1.0, dtype=torch.float64)
    )
    twice = Blurred(2.0).seen(Blurred(1.5).seen(v, drawing(1)), drawing(1))
    assert torch.allclose(twice, Blurred(2.5).seen(v, drawing(1)), atol=1e-4) and abs(float(twice.sum()) - 1) < 1e-6
    assert torch.allclose(Blurred(3.0).seen(torch.full_like(v, 0.3), drawing(1)), torch.full_like(v, 0.3))


def test_turned_by_right_angles_as_arrays_are() -> None:
    v = noise(2, 3, 8, 8)
    for quarter in range(4):
        seen = Photographed(roll=90 * quarter if quarter < 3 else -90).seen(v, drawing(2))
        assert torch.allclose(seen, v.rot90(-quarter, (2, 3)), atol=1e-5)


def test_a_tilted_print_keeps_straight_lines_and_shrinks_away_from_the_camera() -> None:
    """The far half is smaller than the near one, and both are narrower than the print that faces the camera."""
    v = torch.ones(64, 1, 64, 64)
    seen = Photographed(tilt=40.0, zoom=0.6, background=0.0).seen(v, drawing(64))
    area = seen.mean(dim=(1, 2, 3))
    # An axis through the centre: cos t of the frontal area times the mean of d³/(d + Q sin t)³ over the print.
    d, t, half = 3.0, math.radians(40), torch.linspace(-1, 1, 2001)
    expected = 0.36 * math.cos(t) * float((d**3 / (d + half * math.sin(t)) ** 3).mean())
    assert abs(float(area.mean()) - expected) < 0.03 * expected
    half_planes = torch.stack([seen[:, :, :32].mean(dim=(1, 2, 3)), seen[:, :, 32:].mean(dim=(1, 2, 3))])
    assert float((half_planes[0] - half_planes[1]).abs().amax()) > 0.05


@pytest.mark.parametrize("shift", [(0.25, 0.25)])
def test_moved_by_a_share_of_the_side(shift: tuple[float, float]) -> None:
    v = noise(1, 1, 8, 8)
    seen = Photographed(shift=shift, background=0.0).seen(v, drawing(1))
    assert torch.allclose(seen[:, :, 2:, 2:], v[:, :, :-2, :-2], atol=1e-5) and float(seen[:, :, :2].amax(dim=(0, 1, 2, 3))) < 1e-5


def test_no_moire() -> None:
    """A board of single pixels, taken from afar, is grey; by sampling alone it is a pattern that is not there."""
    board = ((torch.arange(64).unsqueeze(1) + torch.arange(64)) % 2).float().reshape(1, 1, 64, 64)
    middle = Photographed(zoom=0.47, background=0.5).seen(board, drawing(1))[:, :, 20:44, 20:44]
    place = ((torch.arange(24) + 20 - 31.5) / 0.47 + 31.5).round().long()
    sampled = board[:, :, place][:, :, :, place]
    assert float((middle - 0.5).abs().amax(dim=(0, 1, 2, 3))) < 0.1 < 0.4 < float((sampled - 0.5).abs().mean(dim=(0, 1, 2, 3)))


def test_a_crop_is_that_window() -> None:
    """A ramp stays a ramp, `share` times as steep, within the image."""
    ramp = ((torch.arange(32.0) + 0.5) / 32).expand(20, 1, 32, 32)
    seen = Cropped(0.5).seen(ramp, drawing(20))
    # Half a pixel beyond the last centre the border is repeated.
    assert torch.allclose(seen.diff(dim=3)[:, :, :, 1:-1], torch.full((20, 1, 32, 29), 0.5 / 32), atol=1e-5)
    first = seen[:, 0, 0, 0]
    assert float(first.amin()) >= 0 and float(first.amax()) <= 0.52 and float(first.std()) > 0.08


def test_rescaling_loses_what_is_finer_than_its_pixels() -> None:
    fine = ((torch.arange(32).unsqueeze(1) + torch.arange(32)) % 2).float().reshape(1, 1, 32, 32)
    assert float((Rescaled(0.5).seen(fine, drawing(1))[:, :, 4:-4, 4:-4] - 0.5).abs().max()) < 0.01
    ramp = ((torch.arange(32.0) + 0.5) / 32).expand(1, 1, 32, 32)
    assert torch.allclose(Rescaled(0.5).seen(ramp, drawing(1))[..., 4:-4], ramp[..., 4:-4], atol=1e-5)


@pytest.mark.parametrize("quality", [10, 30, 50, 75, 95, 100])
@pytest.mark.parametrize("kind", ["4:2:0", "4:4:4", "grey"])
def test_as_pillow_compresses(quality: int, kind: str) -> None:
    """Within a level on average (Pillow rounds pixels, and ties, otherwise), far nearer than the two are to what was compressed."""
    image = picture(channels=1 if kind == "grey" else 3)
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality, subsampling=2 if kind == "4:2:0" else 0)
    theirs, x = planes(np.asarray(Image.open(file))), planes(image)
    ours = 255 * Jpeg(quality, subsampling=kind == "4:2:0").seen(x / 255, drawing(1))
    apart, lost = float((ours - theirs).abs().mean(dim=(0, 1, 2, 3))), float((theirs - x).abs().mean(dim=(0, 1, 2, 3)))
    assert apart < 1.2 and (apart < 0.45 * lost or quality > 90), (apart, lost)


def test_as_pillow_compresses_real_photographs(data_dir: Path) -> None:
    with np.load(data_dir / "stop_signs" / "stop_photos_256.npz") as held:
        image = held["x"][1][:123, :77]
    for quality in (30, 75, 95):
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=quality)
        ours = 255 * Jpeg(quality).seen(planes(image) / 255, drawing(1))
        assert float((ours - planes(np.asarray(Image.open(file)))).abs().mean(dim=(0, 1, 2, 3))) < 1


def test_the_hard_file_has_the_slope_of_no_rounding() -> None:
    v = (0.3 + 0.4 * noise(1, 1, 8, 8)).requires_grad_()
    (g,) = torch.autograd.grad((Jpeg(40).seen(v, drawing(1)) * noise(1, 1, 8, 8)).sum(), v)
    assert torch.allclose(g, noise(1, 1, 8, 8), atol=1e-5)
    rounded = Jpeg(40).seen(v.detach(), drawing(1))
    assert float((Jpeg(40).seen(rounded, drawing(1)) - rounded).abs().amax(dim=(0, 1, 2, 3))) < 1e-5


def test_every_quality_of_the_range_is_drawn() -> None:
    v = planes(picture(16, 16))[:, :1].repeat(400, 1, 1, 1) / 255
    seen = Jpeg((40, 42)).seen(v, drawing(400))
    shares = [float((seen == Jpeg(quality).seen(v, drawing(400))).flatten(1).all(dim=1).double().mean()) for quality in (40, 41, 42)]
    assert all(share > 0.25 for share in shares) and abs(sum(shares) - 1) < 1e-9


def test_the_same_view_twice_draws_twice() -> None:
    v = torch.full((1, 1, 50, 50), 0.5)
    twice = Chain((Exposed(noise=0.05), Exposed(noise=0.05))).seen(v, drawing(1)) - 0.5
    assert abs(float(twice.std(dim=(2, 3))) - 0.05 * math.sqrt(2)) < 0.006


@pytest.mark.parametrize(
    "make",
    [
        lambda: Jpeg(0), lambda: Jpeg((90, 80)), lambda: Printed(gamma=0.0), lambda: Blurred(math.nan), lambda: Cropped(1.5),  # type: ignore[list-item]
        lambda: Rescaled(0.01), lambda: Rescaled((0.5, 0.9)),  # type: ignore[arg-type]
        lambda: Photographed(tilt=80), lambda: Exposed(noise=(0.1, 0.2, 0.3)), lambda: physical(2), lambda: athalye(-1),  # type: ignore[arg-type, list-item]
    ],
)  # fmt: skip
def test_values_that_make_no_sense_are_refused(make: object) -> None:
    with pytest.raises(ConfigError, match="expected a number"):
        make()  # type: ignore[operator]


def test_inputs_that_are_no_images_are_refused() -> None:
    with pytest.raises(InputError, match="images"):
        physical()(torch.rand(2, 6), drawing(2), Bounds())
    with pytest.raises(ConfigError, match="black and white"):
        physical()(torch.rand(2, 1, 4, 4), drawing(2), Bounds(-math.inf, math.inf))


def test_a_model_behind_views_draws_by_key_or_from_the_generator() -> None:
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(27, 4)).eval()
    model, x = Classifier(net, 4), noise(2, 3, 3, 3)
    seen = model.viewed(Exposed(noise=0.2))
    assert seen.stochastic and not model.stochastic and seen.fingerprint() != model.fingerprint()
    assert torch.equal(seen.drawn(x, drawing(2)).logits, seen.drawn(x, drawing(2)).logits)
    assert not torch.equal(seen(x).logits, seen(x).logits)
    still = model.viewed(Blurred(0.7))
    before = torch.get_rng_state()
    assert not still.stochastic and torch.equal(still(x).logits, model(Blurred(0.7)(x, drawing(2), Bounds())).logits)
    assert torch.equal(before, torch.get_rng_state())


def test_views_that_draw_anything_say_so() -> None:
    assert Photographed(tilt=15).random and Cropped(0.8).random and not Blurred(0.5).random and not Rescaled(0.5).random
